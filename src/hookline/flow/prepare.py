"""Prepare: a publisher's request becomes events, each judged: its form, its key's right to the type, its schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from hookline.core.errors import Refusal
from hookline.core.event import Event
from hookline.core.ids import IdMaker
from hookline.core.publish import Draft, event_of, parse_publication
from hookline.flow.answers import Done, Note
from hookline.flow.registry import Registry
from hookline.flow.repeats import idempotency_key
from hookline.ports.observer import Observer
from hookline.ports.store import AcceptedItem, AcceptRequest, IdempotencyKey, NewEvent, NewQuarantine

Allowed = Callable[[str], bool]
SINGLE: Final = Note(batch=False, problems=[])


class Received(msgspec.Struct, gc=False):
    """What a request from a source has beyond a publish."""

    quarantine: list[NewQuarantine | None]
    """For each event, why it is quarantined, or None."""
    dedupe_s: float
    """How long the provider's ids are known; 0: not at all."""
    stored: Callable[[Sequence[NewEvent], Sequence[AcceptedItem]], None]
    """Called in place of `done` when it is durable, before anything is sent, with what became of each event."""
    own_keys_s: float = 0.0
    """Not 0: an event without such an id is known by its own, for so long. It may come twice, out of a spool."""


class Pending(msgspec.Struct, gc=False):
    """A publish that waits for its commit."""

    tenant: str
    events: list[Event]
    """What is acceptable of it."""
    note: Note
    done: Done
    idempotency: IdempotencyKey | None
    size_bytes: int
    request: AcceptRequest | None = None
    received: Received | None = None
    routed_ms: int = 0
    """When its hand-offs were leased: their leases run since then, however late the commit is heard of."""


class Prepare:
    """Judges requests. `strict` refuses types that are not in the catalogue; `dedupe_s` is how long an
    Idempotency-Key is known."""

    def __init__(self, registry: Registry, ids: IdMaker, observer: Observer, *, strict: bool, dedupe_s: float) -> None:
        self._registry = registry
        self._ids = ids
        self._observer = observer
        self._strict = strict
        self._dedupe_s = dedupe_s

    def request(
        self,
        tenant: str,
        headers: Mapping[str, str],
        content_type: str,
        body: bytes,
        done: Done,
        allowed: Allowed | None,
        now_ms: int,
    ) -> Pending:
        """The events of a request, with their ids. Raises `Refusal` where nothing of it is acceptable."""
        publication = parse_publication(content_type, headers, body, now_ms)
        idempotency = idempotency_key(tenant, headers, content_type, body, self._dedupe_s) if headers else None
        if publication.batch:
            return self._batch(tenant, publication.drafts, done, allowed, now_ms, idempotency)
        event = self._event(tenant, publication.drafts[0], allowed, now_ms, "")
        return Pending(tenant, [event], SINGLE, done, idempotency, event.size_bytes)

    def _batch(
        self,
        tenant: str,
        found: Sequence[Draft | Refusal],
        done: Done,
        allowed: Allowed | None,
        now_ms: int,
        idempotency: IdempotencyKey | None,
    ) -> Pending:
        events: list[Event] = []
        problems: list[tuple[int, bytes]] = []
        for place, draft in enumerate(found):
            try:
                events.append(self._event(tenant, draft, allowed, now_ms, f"/{place}"))
            except Refusal as refusal:
                problems.append((place, msgspec.json.encode(refusal.problem())))
        if not events:
            items = [msgspec.Raw(problem) for _, problem in problems]
            raise Refusal("nothing_acceptable", "No item of the batch is acceptable.", extra={"items": items})
        size_bytes = sum(event.size_bytes for event in events)
        return Pending(tenant, events, Note(batch=True, problems=problems), done, idempotency, size_bytes)

    def _event(self, tenant: str, draft: Draft | Refusal, allowed: Allowed | None, now_ms: int, at: str) -> Event:
        """The event of one item, which stands `at` this place of the request. Raises `Refusal`."""
        if isinstance(draft, Refusal):
            raise draft
        if allowed is not None and not allowed(draft.type):
            raise _forbidden(draft.type, at)
        self._check_type(tenant, draft, at)
        return event_of(draft, self._ids.make(now_ms), tenant)

    def _check_type(self, tenant: str, draft: Draft, at: str) -> None:
        known = self._registry.event_type(tenant, draft.type)
        if known is None:
            if self._strict:
                detail = f"The event type {draft.type} is not in the catalogue."
                raise Refusal("unknown_event_type", detail, pointer=f"{at}/type")
            return
        if known.schema is None or known.mode == "off":
            return
        violations = known.schema.violations_of(draft.data, draft.content_type)
        if not violations:
            return
        if known.mode == "warn":
            self._observer.warn("schema_violation", tenant=tenant, type=draft.type, pointer=violations[0].pointer)
            return
        first = violations[0]
        raise Refusal(
            "schema_violation",
            f"The payload breaks the schema of {draft.type}: expected {first.expected}.",
            pointer=at + first.pointer,
            extra={
                "expected": first.expected,
                "found": first.found,
                "violations": [
                    {"pointer": at + v.pointer, "expected": v.expected, "found": v.found} for v in violations
                ],
            },
        )


def _forbidden(event_type: str, at: str) -> Refusal:
    return Refusal("forbidden", f"This key may not publish events of the type {event_type}.", pointer=f"{at}/type")
