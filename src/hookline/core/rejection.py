"""A rejection: what is remembered of an inbound request that was refused, for the question why it was.

Nothing of it is a secret: values of headers and of query parameters that carry a credential are masked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from hookline.core.json_text import cut
from hookline.core.secret import MASK
from hookline.core.source import is_credential

HEADERS_MAX: Final = 50
VALUE_CHARS_MAX: Final = 512
TARGET_CHARS_MAX: Final = 1024
DETAIL_CHARS_MAX: Final = 1024
HEADERS_CHARS_MAX: Final = 8192
_PARAMETERS_MAX: Final = 50
_SECRET_PARAMETERS: Final = ("token", "key", "secret", "password", "signature", "sig", "hmac")


class Rejection(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A refused request. New fields go to the end: it is stored in this form."""

    request_id: str
    """`req_…`."""
    status: int
    """What it was answered."""
    reason: str
    """A stable code: of `core.verifiers.verdict.REASONS`, or an error's."""
    detail: str
    """For the operator; the sender was told less."""
    method: str
    target: str
    """Path and query."""
    client: str
    """The client's address."""
    size_bytes: int
    """Of its body, as far as it was read."""
    headers: list[tuple[str, str]]

    def pack(self) -> bytes:
        """As it is stored."""
        return _encode(self)

    @staticmethod
    def unpack(packed: bytes) -> Rejection:
        """What `pack` made."""
        return _decode(packed)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Rejection).decode


def rejection(
    *,
    request_id: str,
    status: int,
    reason: str,
    detail: str,
    method: str,
    target: str,
    client: str,
    size_bytes: int,
    headers: Iterable[tuple[str, str]],
    secret_headers: frozenset[str] = frozenset(),
) -> Rejection:
    """A rejection with everything cut to its bound and masked. `headers` have lower-case names and latin-1 values;
    `secret_headers` are those of the source that carry a credential (`Kept.secret`)."""
    shown: list[tuple[str, str]] = []
    chars = 0
    for name, value in headers:
        text = MASK if name in secret_headers or is_credential(name) else cut(_plain(value), VALUE_CHARS_MAX)
        known_as = cut(_plain(name), VALUE_CHARS_MAX)
        chars += len(known_as) + len(text)
        if len(shown) == HEADERS_MAX or chars > HEADERS_CHARS_MAX:
            break
        shown.append((known_as, text))
    return Rejection(
        request_id=request_id,
        status=status,
        reason=reason,
        detail=cut(_plain(detail), DETAIL_CHARS_MAX),
        method=cut(_plain(method), 32),
        target=shown_target(target),
        client=client,
        size_bytes=size_bytes,
        headers=shown,
    )


def shown_target(target: str) -> str:
    """Path and query of a request as they may be shown: values of parameters that sound like a credential masked."""
    path, mark, query = target.partition("?")
    if not mark:
        return cut(_plain(path), TARGET_CHARS_MAX)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_PARAMETERS_MAX)
    except ValueError:
        return cut(_plain(path), TARGET_CHARS_MAX) + "?…"
    masked = [(name, MASK if _is_secret(name) else value) for name, value in pairs]
    return cut(_plain(path) + "?" + urlencode(masked, safe="*/:@,"), TARGET_CHARS_MAX)


def _is_secret(name: str) -> bool:
    lower = name.lower()
    return any(word in lower for word in _SECRET_PARAMETERS)


def _plain(text: str) -> str:
    """Without control characters and lone surrogates: it is shown on terminals and pages."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char.isprintable() and not "\ud800" <= char <= "\udfff" else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
