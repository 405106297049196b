"""Request bodies of the services: strict JSON, once, into a type of ours."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from hookline.core.json_text import check_depth, check_keys, check_utf8, decoded

T = TypeVar("T")

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read(decoder: msgspec.json.Decoder[T], body: bytes, *, code: str, noun: str) -> T:
    """The body as what `decoder` makes of it.

    Raises `Refusal` with a pointer to the fault: `malformed_json` (not UTF-8, not JSON, a member twice), `too_deep`,
    `unknown_field`, and `code` for JSON that is not what is asked for.
    """
    check_utf8(body)
    members = decoded(_members, body, code=code, noun=noun)
    check_keys(body, members)
    check_depth(body)
    return decoded(decoder.decode, body, code=code, noun=noun)


def read_optional(decoder: msgspec.json.Decoder[T], body: bytes, *, code: str, noun: str) -> T:
    """The same, where nothing at all means the empty object."""
    return read(decoder, body if body.strip() else b"{}", code=code, noun=noun)
