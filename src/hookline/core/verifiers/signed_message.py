"""A signed message in a request: the signatures offered, the timestamp, and the bytes that were signed.

What the verifiers by HMAC and by public key have in common, as parameters: where the signature stands and how it is
written, where the timestamp is, and what is signed. A row of these describes most providers; a user describes his own
scheme by the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.content import Content
from hookline.core.verifiers.encoded import SIGNATURES_MAX, from_base64, from_base64url, from_hex
from hookline.core.verifiers.place import Place
from hookline.core.verifiers.request_parts import Parts, Unproven
from hookline.core.verifiers.timestamp import Timestamp, check_fresh

DECODERS: Final[Mapping[str, Callable[[str], bytes | None]]] = {
    "hex": from_hex,
    "base64": from_base64,
    "base64url": from_base64url,
}
ITEMS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Fields:
    """A signature's text that is a list of named fields: `t=1,v1=ab,v1=cd`, `v1,ab v1a,cd`."""

    separator: str
    """Between fields; blanks around a field do not count."""
    assign: str
    """Between a field's name and its text."""
    name: str
    """Of the fields that are signatures. Others are passed over: a provider may offer several versions."""

    def texts(self, written: str, name: str) -> list[str]:
        """The texts of the fields of that name, in order."""
        found = []
        for part in written.split(self.separator):
            own, assign, text = part.strip(" \t").partition(self.assign)
            if assign and own == name:
                found.append(text)
        return found


@dataclass(frozen=True, slots=True)
class Claim:
    """What one message claims: one of `signatures` is over `message`."""

    signatures: tuple[bytes, ...]
    message: bytes
    at_s: float | None
    """Its timestamp, in s since 1970; None: it has none, or nobody asks."""


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """Where everything is."""

    signature: Place
    content: Content
    encoding: str = "hex"
    prefix: str = ""
    """Before the signature; without it there is none."""
    fields: Fields | None = None
    timestamp: Timestamp | None = None
    tolerance_s: float | None = None
    """The default; None: any age, unless `tolerance_s` is configured."""
    each: tuple[str, ...] = ()
    """Path to the items of a JSON body, each signed by itself; `*` stands for every element of an array. Without it
    the request is one message."""
    signatures_max: int = SIGNATURES_MAX
    plain: bool = field(init=False)
    """One header has one signature over the raw body, and nothing else."""

    def __post_init__(self) -> None:
        place = self.signature
        one_header = place.source == "header" and len(place.names) == 1 and not place.numbered
        whole_body = [piece.kind for piece in self.content.pieces] == ["body"]
        plain = one_header and whole_body and self.fields is None and self.timestamp is None and not self.each
        object.__setattr__(self, "plain", plain and self.signatures_max > 0)

    def claims(self, parts: Parts, config: Config) -> Iterator[Claim]:
        """The messages of the request, one by one: all of them must be proven. Raises `Unproven` or
        `ConfigError`."""
        if not self.each:
            yield self._claim(parts, config, None)
            return
        items = list(_items(parts.json(), self.each))
        if not 0 < len(items) <= ITEMS_MAX:
            raise Unproven("malformed_body", f"the body has no items to verify, or more than {ITEMS_MAX}")
        for item in items:
            yield self._claim(parts, config, item)

    def check_age(self, claim: Claim, config: Config, now_s: float) -> None:
        """Raise `Unproven` for a message whose timestamp is too far from now."""
        tolerance_s = config.seconds("tolerance_s", -1.0 if self.tolerance_s is None else self.tolerance_s)
        if claim.at_s is not None and tolerance_s >= 0:
            check_fresh(claim.at_s, now_s, tolerance_s)

    def _claim(self, parts: Parts, config: Config, item: Any) -> Claim:
        written = self.signature.values(parts, item, "missing_signature")
        signatures = self._signatures(written)
        stamp, at_s = "", None
        if self.timestamp is not None:
            stamp = self._timestamp(self.timestamp, parts, item, written)
            at_s = self.timestamp.seconds(stamp)
        return Claim(signatures, self.content.octets(parts, config, stamp, item), at_s)

    def _signatures(self, written: list[Any]) -> tuple[bytes, ...]:
        texts: list[str] = []
        for one in written:
            if not isinstance(one, str):
                raise Unproven("malformed_signature", f"{self.signature} is not a text")
            texts += [one] if self.fields is None else self.fields.texts(one, self.fields.name)
        if len(texts) > self.signatures_max:
            raise Unproven("malformed_signature", f"more than {self.signatures_max} signatures")
        decode = DECODERS[self.encoding]
        found = [decode(text.removeprefix(self.prefix)) for text in texts if text.startswith(self.prefix)]
        signatures = tuple(one for one in found if one)
        if not signatures:
            raise Unproven("malformed_signature", f"{self.signature} has no signature that can be read")
        return signatures

    def _timestamp(self, timestamp: Timestamp, parts: Parts, item: Any, written: list[Any]) -> str:
        if timestamp.place is not None:
            return timestamp.text(parts, item)
        assert self.fields is not None
        found = self.fields.texts(written[0], timestamp.field)
        if len(found) != 1:
            raise Unproven("malformed_timestamp", f"{self.signature} has not one timestamp")
        return found[0]


def _items(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if not path:
        yield value
    elif path[0] == "*":
        if not isinstance(value, list):
            raise Unproven("malformed_body", "the body has no array where its items should be")
        for one in value:
            yield from _items(one, path[1:])
    else:
        if not isinstance(value, Mapping) or path[0] not in value:
            raise Unproven("malformed_body", f"the body has no {path[0]} where its items should be")
        yield from _items(value[path[0]], path[1:])
