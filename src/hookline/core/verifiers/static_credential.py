"""Senders that prove themselves by what they know: a header's text, a bearer token, Basic, or a
parameter of the URL. The body is covered by none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import any_same, from_base64, header_bytes
from hookline.core.verifiers.request_parts import Parts, Unproven

CREDENTIAL_CHARS_MAX: Final = 16_384
AUTHORIZATION: Final = "authorization"


def check_header(parts: Parts, name: str, credentials: Sequence[str]) -> str:
    """The one of `credentials` that the header has verbatim. Raises `Unproven`."""
    return _one_of(header_bytes(_header(parts, name)), credentials)


def check_bearer(parts: Parts, tokens: Sequence[str], *, header: str = AUTHORIZATION) -> str:
    """The one of `tokens` that stands after `Bearer`. Raises `Unproven`."""
    scheme, _, token = _header(parts, header).partition(" ")
    if scheme.lower() != "bearer":
        raise Unproven("malformed_signature", f"header:{header} has no bearer token")
    return _one_of(header_bytes(token.strip(" ")), tokens)


def check_query(parts: Parts, name: str, credentials: Sequence[str]) -> str:
    """The one of `credentials` that the parameter of the URL has. Raises `Unproven`."""
    found = parts.request.query_all(name)
    if len(found) != 1:
        raise Unproven("missing_signature", f"query:{name} is missing, or there more than once")
    return _one_of(found[0].encode("utf-8", "surrogatepass"), credentials)


def check_basic(parts: Parts, username: str, passwords: Sequence[str], *, header: str = AUTHORIZATION) -> str:
    """The one of `passwords` that came with `username` by HTTP Basic. Raises `Unproven`."""
    scheme, _, text = _header(parts, header).partition(" ")
    octets = from_base64(text.strip(" "))
    if scheme.lower() != "basic" or octets is None or b":" not in octets:
        raise Unproven("malformed_signature", f"header:{header} has no Basic credentials")
    name, _, password = octets.partition(b":")
    named = any_same([name], _octets(username))
    proven = [one for one in passwords if any_same([password], _octets(one))]
    if not (named and proven):
        raise Unproven("wrong_credential", "the username and password are not the configured ones")
    return proven[0]


@dataclass(frozen=True, slots=True)
class StaticCredential:
    """The ways in which a sender may prove itself: Basic where `username` and `password` are configured, a header or a
    parameter of the URL where the secret is.

    Of the configured ways at least one must have come, and all that came must be right: nothing wrong is passed over
    for something else. `prove` is a `Prove` of `request_parts`.
    """

    header: str = ""
    """The header that has the secret; empty: none has."""
    named: bool = False
    """Whether `header` of the configuration can name another."""
    bearer: str = "no"
    """Whether `Bearer` stands before it in the header: `no`, `yes`, or `maybe`."""
    query: str = ""
    """The parameter of the URL that has the secret; empty: none has."""
    secret: str = "secret"  # noqa: S105 - the name of a key of the configuration
    basic: bool = False

    def prove(self, parts: Parts, config: Config, _now_s: float) -> str:
        """What proved the sender. Raises `Unproven` or `ConfigError`."""
        ways = self._ways(parts, config)
        if not ways:
            config.text("password" if self.basic and not (self.header or self.query) else self.secret)
        proven = [check() for came, check in ways if came]
        if not proven:
            raise Unproven("missing_signature", "no configured credential came")
        return proven[0]

    def _ways(self, parts: Parts, config: Config) -> list[tuple[bool, Callable[[], str]]]:
        """Each configured way: whether it came, and its check."""
        ways: list[tuple[bool, Callable[[], str]]] = []
        by_basic = self.basic and (config.has("username") or config.has("password"))
        if by_basic:
            ways.append((bool(parts.request.all(AUTHORIZATION)), lambda: _basic(parts, config)))
        if not config.has(self.secret):
            return ways
        header = config.text_or("header", self.header).lower() if self.named else self.header
        if header and not (by_basic and header == AUTHORIZATION):
            ways.append((bool(parts.request.all(header)), lambda: self._by_header(parts, header, config)))
        if self.query:
            secrets = config.texts(self.secret)
            ways.append((bool(parts.request.query_all(self.query)), lambda: check_query(parts, self.query, secrets)))
        return ways

    def _by_header(self, parts: Parts, header: str, config: Config) -> str:
        secrets = config.texts(self.secret)
        if self.bearer == "yes":
            return check_bearer(parts, secrets, header=header)
        try:
            return check_header(parts, header, secrets)
        except Unproven:
            if self.bearer == "no" or not _header(parts, header).lower().startswith("bearer "):
                raise
        return check_bearer(parts, secrets, header=header)


def _basic(parts: Parts, config: Config) -> str:
    return check_basic(parts, config.text("username"), config.texts("password"))


def _header(parts: Parts, name: str) -> str:
    found = parts.request.all(name)
    if len(found) != 1:
        raise Unproven("missing_signature", f"header:{name} is {'missing' if not found else 'there more than once'}")
    if len(found[0]) > CREDENTIAL_CHARS_MAX:
        raise Unproven("malformed_signature", f"header:{name} is longer than {CREDENTIAL_CHARS_MAX} characters")
    return found[0]


def _octets(credential: str) -> list[bytes]:
    """As it may travel: in UTF-8, and by older senders in latin-1."""
    try:
        return [credential.encode(), credential.encode("latin-1")]
    except UnicodeEncodeError:
        return [credential.encode()]


def _one_of(offered: bytes, credentials: Sequence[str]) -> str:
    found = None
    for one in credentials:  # all of them, so that the time does not tell which one it was
        if any_same([offered], _octets(one)):
            found = one
    if found is None:
        raise Unproven("wrong_credential", "it is not a configured credential")
    return found
