"""The books: what the program counts is what there is; and at the end nothing is left in memory."""

from __future__ import annotations

from hookline.core.delivery import State
from tests.simulate.loop import at_once
from tests.simulate.process import TENANT, Process
from tests.simulate.world import World

_FANOUTS = (
    "SELECT coalesce(sum(length(endpoint_ids) / 12 - coalesce(done, 0)), 0) FROM fanouts LEFT JOIN fanout_cursors"
    " USING (n)"
)


def check(world: World, process: Process) -> None:
    """Deliveries made = delivered + failed + discarded + open, by the program's counters and by what is there."""
    store, truth = process.disk_store, world.truth
    folded = world.disk.rows(_FANOUTS)[0][0]
    store.quiet = True
    try:
        everyone: list[bytes | None] = [None]
        if world.chance.random() < 0.2:
            everyone += [known.id for known in world.by_id.values()][:6]
        for endpoint_id in everyone:
            counts = at_once(store.counts(TENANT, endpoint_id))
            made = truth.count(endpoint_id)
            waiting = made[State.PENDING] + made[State.HELD] + (folded if endpoint_id is None else 0)
            there = (waiting, *(made[state] for state in _SINGLE))
            said = (
                counts.pending + counts.held,
                counts.leased,
                counts.unconfirmed,
                counts.delivered,
                counts.failed,
                counts.discarded,
            )
            if there != said or counts.deliveries != sum(said):
                truth.fault(f"the books say {counts}, there is {there} (waiting, leased, unconfirmed, closed)")
            if endpoint_id is None and counts.events != len(truth.events):
                truth.fault(f"the books say {counts.events} events, there were {len(truth.events)}")
    finally:
        store.quiet = False


_SINGLE = (State.LEASED, State.UNCONFIRMED, State.DELIVERED, State.FAILED, State.DISCARDED)


def check_memory(world: World, process: Process) -> None:
    """Nothing is in flight: then nothing is reserved, handed, queued or waited for either."""
    deliver = process.engine.deliver
    left = (deliver._handed, deliver._handed_bytes, deliver.slots.in_flight)
    if left != (0, 0, 0):
        world.truth.fault(f"nothing is in flight, and in memory {left} are")
    for channel in deliver._channels.values():
        if not channel.idle:
            counts = (channel.queued, channel.in_flight, channel.reserved, channel.leased_by_claim)
            world.truth.fault(f"{channel.endpoint.url} is not idle: {counts}")
        if channel.destination.queued or channel.destination.in_flight:
            world.truth.fault(f"the destination of {channel.endpoint.url} is not idle")
    confirmed = world.truth
    for row in confirmed.rows.values():
        if row.state == State.DELIVERED and world.asked_to_confirm.get(row.id) and row.id not in world.said:
            confirmed.fault(f"{row.id.hex()} is delivered and nobody said so")
