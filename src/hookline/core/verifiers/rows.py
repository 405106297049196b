"""How rows of the table are written: the parameters of the engine in short."""

from __future__ import annotations

from typing import Final

from hookline.core.verifiers.content import content
from hookline.core.verifiers.hmac_scheme import HmacScheme
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import Reply
from hookline.core.verifiers.signed_message import Fields, SignedMessage
from hookline.core.verifiers.timestamp import Timestamp

HOUR_S: Final = 3600.0
EMPTY: Final = Reply(200, "text/plain", "")
"""A status is all that the provider looks at, or may see."""


def hmac_of_body(header: str, *, encoding: str = "hex", prefix: str = "", algorithm: str = "sha256") -> HmacScheme:
    """The commonest row: a header has the HMAC of the body, keyed with the secret's own characters."""
    message = SignedMessage(place(f"header:{header}"), content("{body}"), encoding, prefix)
    return HmacScheme(message, algorithm)


def hmac_of_dated_body(
    signature: str,
    template: str,
    *,
    timestamp: str,
    tolerance_s: float | None,
    prefix: str = "",
    fields: Fields | None = None,
    encoding: str = "hex",
) -> HmacScheme:
    """A row whose timestamp is signed too: in the header `timestamp`, or with `fields` in the field of that name."""
    stamp = Timestamp(field=timestamp) if fields else Timestamp(place(f"header:{timestamp}"))
    where = place(f"header:{signature}")
    return HmacScheme(SignedMessage(where, content(template), encoding, prefix, fields, stamp, tolerance_s))
