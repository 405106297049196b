"""What a provider is answered: its own answer, the source's, or ours; and how a refusal is said to a possible forger.

A refusal says what is wrong in general, never which check failed: that is in the source's rejections, for its owner.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Sequence
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.errors import Refusal
from hookline.core.expression import Scope
from hookline.core.reply import compile_template
from hookline.core.source import Source
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Handshake, Refused
from hookline.flow.answers import JSON, PROBLEM, Answer, refused
from hookline.ports.store import AcceptedItem

STORED: Final = "Stored."
KNOWN: Final = "Known already; it is stored once."
SPOOLED: Final = "Kept safe here; it is stored as soon as the store is back."
KEPT: Final = "Kept to be looked at by a person."
NOTHING_IN_IT: Final = "There is nothing in it."
UNPROVEN: Final = "The request does not prove that it comes from this source's sender."
SANDBOX: Final = (b"content-security-policy", b"default-src 'none'; sandbox")
"""An answer may be what a provider or an endpoint wrote: nothing in it runs on a page of ours."""
CHALLENGE: Final = (b"www-authenticate", b'Webhook realm="in"')
"""RFC 9110, 11.6.1: a 401 names a scheme. It is none that a browser would ask a password for."""
_CODE_BY_STATUS: Final = {400: "malformed_request", 403: "forbidden", 405: "method_not_allowed", 503: "unavailable"}
_NOT_PASSED: Final = frozenset({"content-type", "content-length", "transfer-encoding", "connection"})
_SINGLE: Final = b'{"status":"success","message":"%b","event_id":"' + ids.EVENT.encode() + b'%b"}'
_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True):
    """What became of a request."""

    items: Sequence[AcceptedItem]
    types: Sequence[str]
    request_id: str
    split: bool
    spooled: bool = False
    """It waits on this machine's disk: what is said of its events is what will be, unless it is a repeat."""

    @property
    def ids(self) -> list[str]:
        """Of the events that are stored, now or before."""
        return [ids.text(ids.EVENT, item.event_id) for item in self.items if not item.quarantined]

    @property
    def message(self) -> str:
        """One sentence."""
        if not self.items:
            return NOTHING_IN_IT
        if self.spooled:
            return SPOOLED
        if all(item.quarantined for item in self.items):
            return KEPT
        return KNOWN if all(item.duplicate for item in self.items) else STORED


def stored(source: Source, request: Inbound, told: Told) -> Answer:
    """The answer when it is durable: the template of the source or of its preset, else ours."""
    reply = source.reply
    plain = not told.split and not told.spooled and len(told.items) == 1
    if reply.body is None and plain and not told.items[0].quarantined:
        item = told.items[0]  # as nearly all are
        message = KNOWN if item.duplicate else STORED
        return Answer(reply.status, _SINGLE % (message.encode(), hexlify(item.event_id)), (SANDBOX,), JSON)
    event_ids = told.ids
    if reply.body is None:
        members: dict[str, object] = {
            "status": "success",
            "message": told.message,
            "event_id": event_ids[0] if event_ids else None,
        }
        if told.spooled:
            members["spooled"] = True
        if told.split:
            members["event_ids"] = event_ids
            members["request_id"] = told.request_id
        return Answer(reply.status, _encode(members), (SANDBOX,), JSON)
    body = b""
    if reply.body:
        answer = {
            "status": "success",
            "message": told.message,
            "event_id": event_ids[0] if event_ids else None,
            "event_ids": event_ids,
            "request_id": told.request_id,
            "type": told.types[0] if told.types else None,
            "spooled": told.spooled,
            "duplicate": bool(told.items) and all(item.duplicate for item in told.items),
        }
        body = compile_template(reply.body, reply.content_type).fill(Scope(request, answer))
    return Answer(reply.status, body, (SANDBOX,), reply.content_type.encode("latin-1"))


def handshake(said: Handshake) -> Answer:
    """The answer to a provider's question."""
    content_type = next((value for name, value in said.headers if name.lower() == "content-type"), "text/plain")
    headers = tuple(
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in said.headers
        if name.lower() not in _NOT_PASSED and "\r" not in value and "\n" not in value
    )
    return Answer(said.status, said.body, (*headers, SANDBOX), content_type.encode("latin-1", "replace"))


def unproven(source: Source, said: Refused) -> Answer:
    """The answer to a request that is not verified."""
    status = 503 if said.reason == "key_unavailable" else said.status
    headers: tuple[tuple[bytes, bytes], ...] = (SANDBOX,)
    if status == 401:
        headers += (CHALLENGE,)
    elif status == 405:
        headers += (allow(source),)
    own = source.preset.refusal
    if own is not None and status < 500:
        return Answer(status, (own.body or "").encode(), headers, own.content_type.encode("latin-1"))
    refusal = Refusal(_CODE_BY_STATUS.get(status, "unverified"), UNPROVEN)
    if status == 503:
        refusal = Refusal("unavailable", "What proves the sender could not be fetched; try again.", retry_after_s=5)
    members = {**refusal.problem(), "status": status}
    if refusal.retry_after_s is not None:
        headers += ((b"retry-after", str(refusal.retry_after_s).encode()),)
    return Answer(status, _encode(members), headers, PROBLEM)


def refusal_answer(refusal: Refusal, *more: tuple[bytes, bytes]) -> Answer:
    """The answer to a request that is refused for another reason."""
    answer = refused(refusal)
    return Answer(answer.status, answer.body, (*answer.headers, *more, SANDBOX), answer.content_type)


def allow(source: Source) -> tuple[bytes, bytes]:
    """The Allow header of its address (RFC 9110, 10.2.1)."""
    return b"allow", ", ".join(sorted(source.methods)).encode("ascii")
