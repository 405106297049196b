"""Replays of many: what may be asked, what becomes of each delivery that is found, how far a replay is. Pure.

A replay walks deliveries (or events) oldest first, up to the moment it was asked for, and is made in small steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from hookline.core import ids
from hookline.core.attempt import REASONS
from hookline.core.delivery import OPEN, State
from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal
from hookline.core.json_text import check_depth, check_keys, check_utf8, decoded
from hookline.core.page import parse_time
from hookline.core.quota import burst_of

STEP_DELIVERIES_MAX: Final = 500
"""Made in one commit."""
RUNNING_MAX: Final = 10
"""Of one tenant, at the same time."""
OPEN_MAX: Final = 10_000
"""A replay waits while an endpoint has more open deliveries than this."""
PORTION_S: Final = 0.25
"""A capped replay is made in portions of at least what its rate allows in this time."""
_TEXT_CHARS_MAX: Final = 2048
_BURST_MAX: Final = 1_000_000

_Text = Annotated[str, Meta(max_length=_TEXT_CHARS_MAX)]
_OF_BOTH: Final = ("type", "since", "until")
_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "deliveries": ("state", "endpoint", "event", "reason", *_OF_BOTH),
    "events": ("source", "source_id", "subject", *_OF_BOTH),
}
_STATES: Final = {state.word: state for state in State}


class ReplayFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which deliveries or events: the filters of the two lists, with their names and rules. What is named is to hold
    all together."""

    state: _Text | None = None
    endpoint: _Text | None = None
    """An endpoint's id or uid."""
    event: _Text | None = None
    reason: _Text | None = None
    type: _Text | None = None
    source: _Text | None = None
    source_id: _Text | None = None
    subject: _Text | None = None
    since: _Text | None = None
    """RFC 3339, inclusive: when the delivery was made, or the event accepted."""
    until: _Text | None = None
    """Exclusive."""


class ReplaySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `POST /v1/replays` takes. At least one member of `filter` is asked for: nobody replays everything by a
    slip."""

    filter: ReplayFilter = ReplayFilter()
    of: Literal["deliveries", "events"] = "deliveries"
    endpoint_id: _Text | None = None
    """Where to: an endpoint's id or uid. None: deliveries go to their own endpoints, events to all that match now."""
    rate: RateSpec | None = None
    """At most so many are made; None: as fast as it goes."""
    dry_run: bool = False
    """Only count."""


class EndpointReplaySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `POST /v1/endpoints/{id}/replay` takes: the short form for one endpoint; `failed` ones unless said."""

    since: _Text | None = None
    until: _Text | None = None
    state: _Text = State.FAILED.word
    type: _Text | None = None
    reason: _Text | None = None
    rate: RateSpec | None = None
    dry_run: bool = False


class StoredReplay(msgspec.Struct, frozen=True, omit_defaults=True):
    """A replay as it is kept: endpoints by id, and the time from which progress is measured."""

    spec: ReplaySpec
    start_ms: int = 0


# ----------------------------------------------------------------------------------------------------- reading

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_spec = msgspec.json.Decoder(ReplaySpec).decode
_decode_short = msgspec.json.Decoder(EndpointReplaySpec).decode
_decode_stored = msgspec.json.Decoder(StoredReplay).decode
_encode = msgspec.json.Encoder().encode


def parse_replay(body: bytes) -> ReplaySpec:
    """A replay as a client wrote it, with all checks that need nothing else.

    Raises `Refusal` with a pointer: `malformed_json`, `too_deep`, `unknown_field`, `invalid_replay`.
    """
    _check_json(body)
    spec = decoded(_decode_spec, body, code="invalid_replay", noun="replay")
    _check_filter(spec, "/filter")
    return spec


def parse_endpoint_replay(body: bytes, endpoint_id: bytes) -> ReplaySpec:
    """The short form for one endpoint, as the same replay; an empty body asks for all that failed there.

    Raises `Refusal` like `parse_replay`.
    """
    body = body if body.strip() else b"{}"
    _check_json(body)
    short = decoded(_decode_short, body, code="invalid_replay", noun="replay")
    wanted = ReplayFilter(
        state=short.state,
        endpoint=ids.text(ids.ENDPOINT, endpoint_id),
        reason=short.reason,
        type=short.type,
        since=short.since,
        until=short.until,
    )
    spec = ReplaySpec(filter=wanted, rate=short.rate, dry_run=short.dry_run)
    _check_filter(spec, "")
    return spec


def _check_json(body: bytes) -> None:
    check_utf8(body)
    members = decoded(_members, body, code="invalid_replay", noun="replay")
    check_keys(body, members)
    check_depth(body)
    for member in members.values():
        inner = bytes(member)
        if inner.startswith(b"{"):
            check_keys(inner, _members(inner))


def _refused(detail: str, pointer: str) -> Refusal:
    return Refusal("invalid_replay", detail, pointer=pointer)


def _check_filter(spec: ReplaySpec, at: str) -> None:
    asked = {
        name: value for name in ReplayFilter.__struct_fields__ if (value := getattr(spec.filter, name)) is not None
    }
    known = _MEMBERS[spec.of]
    for name, value in asked.items():
        if name not in known:
            detail = f"A replay of {spec.of} has no filter {name!r}: known are {', '.join(known)}."
            raise Refusal("unknown_field", detail, pointer=f"{at}/{name}")
        if not value.isprintable():
            raise _refused(f"{name} has a character that is not printable.", f"{at}/{name}")
    if not asked:
        raise _refused("The filter is empty: name at least one member, as since.", at)
    if spec.filter.event is not None and ids.parse(ids.EVENT, spec.filter.event) is None:
        raise _refused(f"event is an id, as {ids.EVENT}….", f"{at}/event")
    if spec.filter.reason is not None and spec.filter.reason not in REASONS:
        raise _refused("There is no such reason.", f"{at}/reason")
    _check_state(spec, at)
    since_ms, until_ms = _time_ms(spec.filter.since, f"{at}/since"), _time_ms(spec.filter.until, f"{at}/until")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise _refused("since is not before until.", f"{at}/since")


def _check_state(spec: ReplaySpec, at: str) -> None:
    word = spec.filter.state
    if word is None:
        return
    if word not in _STATES:
        raise _refused(f"state is one of {', '.join(sorted(_STATES))}.", f"{at}/state")
    if spec.endpoint_id is None and _STATES[word] in OPEN:
        detail = f"What is {word} is on its way still; replayed are failed, discarded and delivered ones."
        raise _refused(detail, f"{at}/state")


def _time_ms(text: str | None, pointer: str) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except Refusal as refusal:
        raise _refused(refusal.detail, pointer) from None


def window_ms(wanted: ReplayFilter) -> tuple[int | None, int | None]:
    """`since` and `until` in ms since 1970, of a filter that was checked."""
    return _time_ms(wanted.since, "/filter/since"), _time_ms(wanted.until, "/filter/until")


def pack_replay(spec: ReplaySpec, start_ms: int) -> bytes:
    """A replay as it is stored."""
    return _encode(StoredReplay(spec, start_ms))


def unpack_replay(packed: bytes) -> StoredReplay:
    """What `pack_replay` made. Raises `msgspec.DecodeError`."""
    return _decode_stored(packed)


# ---------------------------------------------------------------------------------------------------- deciding


class Action(Enum):
    """What a replay does with a delivery."""

    REOPEN = "reopen"
    """It is open again: the same delivery, with its history and its place in its lane."""
    NEW = "new"
    """Another delivery of the same event, with the same `webhook-id`."""
    SKIP = "skip"


def action(state: str, *, own: bool) -> Action:
    """What to do with a delivery whose state is reported as `state`. `own`: it goes to its own endpoint again."""
    if not own or state == State.DELIVERED.word:
        return Action.NEW
    return Action.REOPEN if state in (State.FAILED.word, State.DISCARDED.word) else Action.SKIP


def bound(replay_id: bytes, until_ms: int | None) -> bytes:
    """The id below which a replay ends: nothing made after it began is part of it."""
    return replay_id if until_ms is None else min(replay_id, ids.floor(until_ms))


def progress(state: str, start_ms: int, after: bytes | None, until: bytes) -> float:
    """How much of the range of time was walked, 0 to 1."""
    if state == "done":
        return 1.0
    span_ms = ids.time_ms(until) - start_ms
    if after is None or span_ms <= 0:
        return 0.0
    return round(min(max((ids.time_ms(after) - start_ms) / span_ms, 0.0), 1.0), 4)


def portions(rate: RateSpec) -> RateSpec:
    """The rate with a burst of at least a portion, so that a fast one does not need a commit for each delivery."""
    least = math.ceil(rate.n / rate.per_s * PORTION_S)
    return msgspec.structs.replace(rate, burst=min(max(burst_of(rate), least), _BURST_MAX))


class Turns:
    """Whose turn it is: tenants in turn, and the replays of each in turn."""

    def __init__(self) -> None:
        self._turn = 0
        self._tenants: dict[str, int] = {}
        self._replays: dict[bytes, int] = {}

    def take(self, ready: Mapping[bytes, str]) -> bytes:
        """The next of the replays that could go on (id → tenant): the one whose tenant, and then which itself, was
        not served for longest."""
        taken = min(ready, key=lambda one: (self._tenants.get(ready[one], 0), self._replays.get(one, 0), one))
        self._turn += 1
        self._tenants[ready[taken]] = self._replays[taken] = self._turn
        return taken

    def keep(self, running: Mapping[bytes, str]) -> None:
        """Forget all but these."""
        tenants = set(running.values())
        self._tenants = {tenant: turn for tenant, turn in self._tenants.items() if tenant in tenants}
        self._replays = {one: turn for one, turn in self._replays.items() if one in running}
