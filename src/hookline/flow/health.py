"""The health of endpoints: failing, probes, waiting for Retry-After, disabled; kept here, stored with the outcomes.

The rules are `core.health`'s. A change is stored by compare-and-set on its version, in the commit of the outcome
that brought it about, together with the operational events that tell of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.core.health import Health, Step, after_failure, after_success
from hookline.core.verdict import Verdict
from hookline.flow import report
from hookline.flow.channel import Channel, Job
from hookline.flow.registry import Registry
from hookline.flow.report import Report
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import HealthChange, HealthRow, NewEvent, Store

EventMaker = Callable[[], tuple[NewEvent, ...]]
_CLEAN = Health()


class HealthEntry(msgspec.Struct, gc=False):
    """A change of health on its way to the store."""

    channel: Channel
    change: HealthChange
    makers: tuple[EventMaker, ...]
    """What makes its events; more may come for the same endpoint while this is on its way."""


class HealthKeeper:
    """Judges outcomes for their endpoint's health and keeps what is to be stored of it."""

    def __init__(
        self, store: Store, registry: Registry, reporter: Report, wake: Wake, clock: Clock, observer: Observer
    ) -> None:
        self._store = store
        self._registry = registry
        self._report = reporter
        self._wake = wake
        self._clock = clock
        self._observer = observer
        self._events: dict[bytes, list[EventMaker]] = {}
        self._disable: set[bytes] = set()
        self._dirty: dict[bytes, Channel] = {}
        self._looks: set[Channel] = set()

    def judge(self, channel: Channel, endpoint: Endpoint, job: Job, verdict: Verdict) -> None:
        """Take an attempt's verdict into account."""
        if verdict.success and channel.health == _CLEAN and not verdict.endpoint_wait_s:
            channel.slow.success()  # nearly every attempt ends here
            return
        now_ms = self._store.now_ms()
        now_s = self._clock.monotonic_s()
        if verdict.endpoint_wait_s:
            channel.wait_until_s = max(channel.wait_until_s, now_s + verdict.endpoint_wait_s)
            self._mark(channel)
            self._observer.endpoint_changed(endpoint, "waiting", f"{verdict.endpoint_wait_s:.0f} s")
            self._wake.at(endpoint.id, verdict.endpoint_wait_s)
        if verdict.disable and endpoint.url == channel.endpoint.url:  # else it was another address that said so
            self.disable(channel, endpoint, job.event, verdict.reason or "rule")
        if verdict.success is None:
            if channel.health.failing:
                # The endpoint answered, so it is no longer silent, but it did not take it: look again soon.
                self._step(channel, endpoint, job, after_failure(channel.health, now_ms), now_s)
            return
        if verdict.success:
            channel.slow.success()
            self._step(channel, endpoint, job, after_success(channel.health, now_ms), now_s)
        else:
            channel.slow.failure()
            self._step(channel, endpoint, job, after_failure(channel.health, now_ms), now_s)

    def _step(self, channel: Channel, endpoint: Endpoint, job: Job, step: Step, now_s: float) -> None:
        channel.health = step.health
        if step.probe_s is not None:
            channel.probe_at_s = now_s + step.probe_s
            self._wake.at(endpoint.id, step.probe_s)
        elif not step.health.failing:
            channel.probe_at_s = None
        if step.became_failing:
            self._registry.set_failing(endpoint.id, failing=True)
            self._observer.endpoint_changed(endpoint, "failing", "ten failures in a row")
            self._say(endpoint, report.ENDPOINT_FAILING, job.event)
        if step.recovered:
            channel.slow.restart()
            self._registry.set_failing(endpoint.id, failing=False)
            self._observer.endpoint_changed(endpoint, "recovered", "")
            self._say(endpoint, report.ENDPOINT_RECOVERED, job.event)
            channel.overflow = True
            self._wake.ready(endpoint.id)
        if step.disable:
            self.disable(channel, endpoint, job.event, "no success for five days")
        if step.changed:
            self._mark(channel)

    def disable(self, channel: Channel, endpoint: Endpoint, event: Event, why: str) -> None:
        """The endpoint is to be disabled, in the commit of the next outcome; `event` led to it."""
        if endpoint.id in self._disable or not channel.endpoint.state.delivers:
            return
        self._disable.add(endpoint.id)
        channel.disabling = True  # nothing further starts, although the registry does not know it yet
        self._observer.endpoint_changed(endpoint, "disabled", why)
        self._say(endpoint, report.ENDPOINT_DISABLED, event, reason=why)
        self._mark(channel)

    def _say(self, endpoint: Endpoint, name: str, cause: Event, **fields: object) -> None:
        def make() -> tuple[NewEvent, ...]:
            return self._report.endpoint(name, endpoint, cause=cause, **fields)

        self._events.setdefault(endpoint.id, []).append(make)

    def _mark(self, channel: Channel) -> None:
        channel.health_dirty = True
        self._dirty[channel.endpoint.id] = channel

    def forget(self, channel: Channel) -> None:
        """A person resumed the endpoint: it starts clean, slowly. (The store has forgotten it in the same commit.)"""
        channel.health = Health()
        channel.health_version = 0
        channel.health_dirty = False
        channel.disabling = False
        channel.wait_until_s = 0.0
        channel.probe_at_s = None
        channel.slow.restart()
        self._drop(channel.endpoint.id)
        self._registry.set_failing(channel.endpoint.id, failing=False)

    def gone(self, channel: Channel) -> None:
        """The endpoint was deleted: nothing of its health is to be stored."""
        self._looks.discard(channel)
        channel.health_dirty = False
        self._drop(channel.endpoint.id)

    def _drop(self, endpoint_id: bytes) -> None:
        self._dirty.pop(endpoint_id, None)
        self._disable.discard(endpoint_id)
        self._events.pop(endpoint_id, None)

    def adopt(self, row: HealthRow, channel: Channel) -> None:
        """What the store knows of an endpoint's health, at the start or after another process changed it."""
        now_s = self._clock.monotonic_s()
        channel.health_version = row.version
        if channel.health_dirty:
            return
        channel.health = Health.unpack(row.packed) if row.packed else Health()
        channel.wait_until_s = now_s + row.wait_s if row.wait_s is not None else 0.0
        channel.probe_at_s = now_s + row.probe_s if row.probe_s is not None else None
        self._registry.set_failing(row.endpoint_id, failing=channel.health.failing)

    @property
    def dirty(self) -> bool:
        """Whether anything of it is to be stored."""
        return bool(self._dirty)

    def look_again(self, channel: Channel) -> None:
        """The endpoint was changed while it fails or waits: a person may have resumed it (see `resumed`)."""
        # Also one that was disabled and resumed before the registry was read in between: it was active all along here.
        if channel.disabling or channel.health.failing or channel.wait_until_s > self._clock.monotonic_s():
            self._looks.add(channel)

    async def resumed(self) -> None:
        """Start those anew whose health the store has been told to forget. Raises `StoreUnavailable`."""
        if not self._looks:
            return
        looks = {channel: channel.health_version for channel in self._looks}
        known = {row.endpoint_id for row in await self._store.healths()}
        for channel, version in looks.items():
            if version and channel.health_version == version and channel.endpoint.id not in known:
                self.forget(channel)
                self._wake.ready(channel.endpoint.id)
            if version or not channel.health_dirty:
                self._looks.discard(channel)

    def changes(self) -> list[HealthEntry]:
        """What is to be committed: one compare-and-set for each endpoint whose health changed."""
        now_s = self._clock.monotonic_s()
        entries: list[HealthEntry] = []
        for endpoint_id, channel in self._dirty.items():
            probe_s = None
            if channel.health.failing:
                probe_s = max(0.0, (channel.probe_at_s or now_s) - now_s)
            wait_s = channel.wait_until_s - now_s
            row = HealthRow(
                endpoint_id=endpoint_id,
                version=channel.health_version,
                packed=channel.health.pack(),
                wait_s=wait_s if wait_s > 0 else None,
                probe_s=probe_s,
            )
            makers = tuple(self._events.get(endpoint_id, ()))
            events = [e for make in makers for e in make()]
            change = HealthChange(row, disable=endpoint_id in self._disable, events=events)
            entries.append(HealthEntry(channel, change, makers))
            channel.health_dirty = False
        self._dirty = {}
        return entries

    def route_again(self, entries: Sequence[HealthEntry]) -> None:
        """The registry has changed: make the events of these changes anew."""
        for entry in entries:
            events = [e for make in entry.makers for e in make()]
            entry.change = msgspec.structs.replace(entry.change, events=events)

    def cut(self, entries: Sequence[HealthEntry]) -> bool:
        """These cannot be stored: their events are left out. False: they had none, and are given up until the next
        outcome."""
        had = any(entry.change.events for entry in entries)
        for entry in entries:
            self._told(entry)
            entry.makers = ()
            entry.change = msgspec.structs.replace(entry.change, events=())
            if not had:
                entry.channel.disabling = False
                self._disable.discard(entry.channel.endpoint.id)
        return had

    def _told(self, entry: HealthEntry) -> None:
        """Its events need not be made again."""
        endpoint_id = entry.channel.endpoint.id
        left = self._events.get(endpoint_id, [])[len(entry.makers) :]
        if left:
            self._events[endpoint_id] = left
        else:
            self._events.pop(endpoint_id, None)

    def applied(self, entries: Sequence[HealthEntry], done: Sequence[bool]) -> tuple[bool, bool]:
        """What the store made of them. Returns whether one missed its version (adopt the store's and go on), and
        whether one disabled its endpoint (the registry has changed)."""
        missed = disabled = False
        for entry, ok in zip(entries, done, strict=True):
            endpoint_id = entry.channel.endpoint.id
            if ok:
                entry.channel.health_version = entry.change.row.version + 1
                self._told(entry)
                if entry.change.disable:
                    disabled = True
                    self._disable.discard(endpoint_id)
                if not entry.channel.health.failing:
                    # A claim that came before this commit found the endpoint still failing, or waiting.
                    self._wake.ready(endpoint_id)
            elif self._registry.endpoint(endpoint_id) is not None:
                missed = True
                self._mark(entry.channel)
            else:
                self._drop(endpoint_id)
        return missed, disabled
