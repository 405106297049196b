"""A broker's message becomes events: a CloudEvent as it is, anything else as the source's reading maps it.

A broker is told no refusal: what cannot be read or may not pass waits in quarantine, whole, and the message is
acknowledged. So a poison message is seen once, and stops nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from hookline.core import bindings
from hookline.core.bindings import CONTENT_TYPE, Binding, Value
from hookline.core.draft import Draft, check_text, event_of
from hookline.core.errors import Refusal
from hookline.core.event import JSON, Event, Origin
from hookline.core.expression import ExpressionError
from hookline.core.ids import IdMaker
from hookline.core.json_text import check_syntax, check_utf8
from hookline.core.page import format_time
from hookline.core.reading import Item, TooManyItems, events_of
from hookline.core.source import Source
from hookline.core.verifiers.inbound import Inbound
from hookline.flow.received_events import OPAQUE, Judged, ReceivedEvents, kept_headers, request_id
from hookline.ports.consumer import Message
from hookline.ports.store import NewQuarantine

METHOD: Final = "CONSUME"
"""In place of a request's method."""
KEPT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a message that is too large for an event, so much is kept for a person to look at."""
HEADER_CHARS_MAX: Final = 8192
_NAME: Final = re.compile("[!-~]{1,255}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
BINDINGS: Final[Mapping[str, Binding]] = {
    "redis": bindings.REDIS,
    "nats": bindings.NATS,
    "rabbitmq": bindings.AMQP,
    "kafka": bindings.KAFKA,
    "mqtt": bindings.MQTT,
}
"""By the kind of the source, how its messages carry CloudEvents."""


class ConsumedEvents:
    """Makes events of messages. Never raises."""

    def __init__(self, events: ReceivedEvents, id_maker: IdMaker) -> None:
        self._events = events
        self._ids = id_maker

    def make(self, source: Source, message: Message, now_ms: int) -> Judged:
        """The events of a message, each with why it is to be quarantined, or None. None of them where the array that
        it is to be split by is empty."""
        request = _request(source, message)
        identity = request_id(self._ids, now_ms)
        try:
            binding = BINDINGS[source.kind]
            draft = bindings.decode(binding, message.content_type, message.properties, message.body, now_ms)
            if draft is not None:
                return self._of_draft(source, request, draft, identity, now_ms)
            items = events_of(request, source.reading)
            if not items:
                return Judged([], [], split=True)
            judged = self._events.make(source, request, items, identity, now_ms)
        except TooManyItems as error:
            problem = Refusal("batch_too_large", f"The message has {error}.")
        except ExpressionError as error:
            problem = Refusal("unavailable", f"How this source reads messages cannot be used: {error}.")
        except Refusal as refusal:
            problem = refusal
        else:
            judged.events = [_known_by(event, message, item) for event, item in zip(judged.events, items, strict=True)]
            return judged
        return self.whole(source, message, problem, now_ms)

    def whole(self, source: Source, message: Message, problem: Refusal, now_ms: int) -> Judged:
        """A message that cannot become events, for the quarantine."""
        request = _request(source, message)
        origin = Origin(source.name, request_id(self._ids, now_ms), METHOD, kept_headers(source, request))
        event = Event(
            id=self._ids.make(now_ms),
            tenant=source.tenant,
            type=source.reading.default_type or "message",
            data=message.body[:KEPT_BYTES_MAX],
            content_type=OPAQUE,
            source=source.event_source,
            source_id=_coordinates(message.coordinates),
            inbound=origin,
        )
        return Judged([event], [NewQuarantine(source.id, msgspec.json.encode(problem.problem()))], split=False)

    def _of_draft(self, source: Source, request: Inbound, draft: Draft, identity: str, now_ms: int) -> Judged:
        """Raises `Refusal`."""
        item = Item(draft.type, "", "", "", draft.data, draft.content_type)
        judged = self._events.make(source, request, [item], identity, now_ms)
        seen = judged.events[0]
        event = event_of(draft, seen.id, source.tenant)
        judged.events = [msgspec.structs.replace(event, content_type=seen.content_type, inbound=seen.inbound)]
        return judged


def _request(source: Source, message: Message) -> Inbound:
    """The message as the expressions of a reading see it."""
    values: dict[str, Value] = {name.lower(): value for name, value in message.properties.items()}
    values.update({"message-topic": message.topic, "message-key": message.key, "message-id": message.id})
    if message.content_type:
        values[CONTENT_TYPE] = message.content_type
    headers = tuple((name, text) for name, value in values.items() if _NAME.fullmatch(name) and (text := _text(value)))
    if not any(name == CONTENT_TYPE for name, _ in headers):
        headers += ((CONTENT_TYPE, _content_type(message.body)),)
    return Inbound(METHOD, f"{source.kind}:{message.topic}", headers, message.body)


def _text(value: Value) -> str:
    """A value as text, without what no text of ours has; empty where nothing is left of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _decoded(value) if isinstance(value, bytes) else str(value)
    return _CONTROL.sub("", text[:HEADER_CHARS_MAX]).strip()


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _content_type(body: bytes) -> str:
    """Of a message that says nothing of it."""
    try:
        check_utf8(body)
        check_syntax(body)
    except Refusal:
        return OPAQUE
    return JSON


def _known_by(event: Event, message: Message, item: Item) -> Event:
    """With what makes a repeat, where the reading found nothing, and with what orders it."""
    changes: dict[str, str | None] = {}
    if event.source_id is None and message.coordinates:
        changes["source_id"] = _coordinates(message.coordinates + (f"#{item.pointer}" if item.pointer else ""))
    if event.time is None and message.time_ms is not None and message.time_ms > 0:
        changes["time"] = format_time(message.time_ms)
    if message.key:
        try:
            check_text(message.key, "message-key")
            changes["ordering_key"] = message.key
        except Refusal:
            pass  # it is no text: nothing is ordered by it
    return msgspec.structs.replace(event, **changes) if changes else event


def _coordinates(text: str) -> str | None:
    return text or None
