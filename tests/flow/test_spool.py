"""The spool: a provider that never repeats is answered while the store is away, and nothing is lost or comes twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookline.adapters.queues.embedded import EmbeddedQueue
from hookline.adapters.spools.file import FileSpool
from hookline.adapters.stores.sqlite.store import SqliteStore
from hookline.core.errors import CommitUnknown, DataError, Refusal, StoreUnavailable
from hookline.flow.answers import Answer
from hookline.flow.engine import Engine
from hookline.testing.faults import FaultyStore
from tests.flow.receiving import Provider, github, header, said
from tests.flow.rig import Rig

pytestmark = pytest.mark.rule(n=29)
MIB = 1024 * 1024
AWAY = StoreUnavailable("the connection is lost")
ALWAYS = 1_000_000


class SpoolRig(Rig):
    """The store fails on cue, and there is a spool."""

    bytes_max = MIB

    def _engine(self) -> Engine:
        self.store = SqliteStore(str(self.path), self.clock, disk_free_min_bytes=0)
        self.faults = FaultyStore(self.store)
        self.spool = FileSpool(self.path.with_name("spool"), self.clock, bytes_max=self.bytes_max)
        return Engine(
            self.faults.wrapped,
            {"http": self.sender},
            EmbeddedQueue(),
            self.keyring,
            self.clock,
            self.observer,
            self.limits,
            None,
            self.spool,
        )

    def away(self, error: StoreUnavailable = AWAY, *, after_commit: bool = False) -> None:
        """From now on the store takes nothing."""
        self.faults.fail("accept", error, times=ALWAYS, after_commit=after_commit)

    async def passing(self, wait_s: float) -> None:
        """Let time pass, while the store may hang."""
        for _ in range(round(wait_s / 0.25)):
            await asyncio.sleep(0.01)
            self.clock.advance(0.25)
        await asyncio.sleep(0.01)

    async def drained(self) -> None:
        """Return when nothing is spooled any more."""
        for _ in range(400):
            if not self.spool.state.records:
                return
            self.clock.advance(0.5)
            await asyncio.sleep(0.005)
        raise AssertionError("the spool does not drain")

    def warned(self, name: str) -> bool:
        return any(found == name for found, _ in self.observer.warnings)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[SpoolRig]:
    made = SpoolRig(tmp_path / "flow.db")
    await made.start()
    yield made
    made.faults.heal()
    await made.stop()


@pytest.fixture
async def provider(rig: SpoolRig) -> Provider:
    """Sends to a source with a spool."""
    provider = Provider(rig)
    await provider.source(spool=True)
    return provider


async def ids_of(provider: Provider) -> list[str]:
    return [event.public_id for event in await provider.events()]


async def test_answered_while_the_store_is_away(rig: SpoolRig, provider: Provider) -> None:
    """It is answered with `spooled` and the ids that its events have later; they come in order, are delivered once, and
    what comes afterwards goes the direct way."""
    endpoint = await rig.endpoint("a", event_types=["push"])
    rig.away()
    answers = [await provider.github({"n": n}, f"d-{n}") for n in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert said(answers[0]) == {
        "status": "success",
        "message": "Kept safe here; it is stored as soon as the store is back.",
        "event_id": said(answers[0])["event_id"],
        "spooled": True,
    }
    assert await provider.events() == []
    assert rig.spool.state.records == 5
    assert rig.engine.intake.gauges()["spool_records"] == 5
    assert rig.engine.intake.takes
    assert rig.warned("spooling")
    await rig.advance(3)
    assert rig.engine.intake.gauges()["spool_oldest_seconds"] == pytest.approx(3, abs=0.5)
    rig.faults.heal()
    await rig.drained()
    assert await ids_of(provider) == [said(answer)["event_id"] for answer in answers]
    await rig.quiet()
    assert [data for _, data, _ in rig.sender.sent] == [b'{"n": %d}' % n for n in range(5)]
    assert rig.sender.times(endpoint.url) == 5
    direct = await provider.github({"n": 5}, "d-5")
    assert "spooled" not in said(direct)
    assert rig.observer.outcomes["src", "spooled"] == 5
    assert rig.observer.outcomes["src", "accepted"] == 6


async def test_a_store_that_hangs_is_not_waited_for(rig: SpoolRig, provider: Provider) -> None:
    """What the store has not answered within two seconds is spooled; when the store turns out to have it, once."""
    rig.faults.stall("accept", times=ALWAYS, after_commit=True)
    answer = provider.calling(*github({"n": 1}))
    await rig.passing(1.75)
    assert not answer.done()
    await rig.passing(0.5)
    assert said(await answer)["spooled"]
    at_once = await provider.github({"n": 2}, "d-2")
    assert said(at_once)["spooled"]
    rig.faults.heal()
    await rig.drained()
    assert await ids_of(provider) == [said(await answer)["event_id"], said(at_once)["event_id"]]


@pytest.mark.parametrize("reading", [{}, {"id": ""}], ids=["with ids", "without"])
async def test_a_lost_answer_of_the_store(rig: SpoolRig, provider: Provider, reading: dict[str, Any]) -> None:
    """A commit of which nobody knows whether it was made is spooled, drained as often as it takes, and stored once."""
    await provider.source("other", spool=True, **reading)
    endpoint = await rig.endpoint("a")
    rig.away(CommitUnknown("the connection is lost"), after_commit=True)
    answer = await provider.github({"n": 1}, to="other")
    assert said(answer)["spooled"]
    await rig.advance(5, 0.5)
    assert rig.spool.state.records == 1
    rig.faults.heal()
    await rig.drained()
    await rig.advance(20, 1)
    assert await ids_of(provider) == [said(answer)["event_id"]]
    assert rig.sender.times(endpoint.url) == 1
    assert rig.observer.outcomes["other", "accepted"] == 1
    assert rig.observer.outcomes["other", "duplicate"] == 0


async def test_what_is_not_proven_is_refused_as_always(rig: SpoolRig, provider: Provider) -> None:
    """A forged request is refused while the store is away, and nothing of it is spooled."""
    rig.away()
    answer = await provider.github({"n": 1}, headers={"X-Hub-Signature-256": "sha256=" + "0" * 64})
    assert answer.status == 401
    assert rig.spool.state.records == 0


async def test_only_for_sources_that_ask(rig: SpoolRig, provider: Provider) -> None:
    """Publishing, and a source without `spool`, are answered 503 while the store is away."""
    await provider.source("plain")
    rig.away()
    assert (await provider.github({"n": 1}, to="plain")).status == 503
    assert (await rig.publishing({"type": "x", "data": 1})).status == 503
    assert rig.spool.state.records == 0


async def test_a_repeat_is_found_at_the_drain(rig: SpoolRig, provider: Provider) -> None:
    """A repeat of what is stored already is spooled, and makes nothing."""
    first = await provider.github({"n": 1})
    rig.away()
    assert said(await provider.github({"n": 1}))["spooled"]
    assert said(await provider.github({"n": 2}, "d-2"))["spooled"]
    assert said(await provider.github({"n": 2}, "d-2"))["spooled"]
    rig.faults.heal()
    await rig.drained()
    assert (await ids_of(provider))[0] == said(first)["event_id"]
    assert [event.source_id for event in await provider.events()] == ["d-1", "d-2"]
    assert rig.observer.outcomes["src", "duplicate"] == 2


async def test_many_events_and_a_quarantine(rig: SpoolRig, provider: Provider) -> None:
    """A split request keeps the ids of all its events; what its schema does not allow goes into quarantine later."""
    schemas = {"*": {"type": "object", "required": ["n"]}}
    source = await provider.source(
        "many", spool=True, split="body:items", id="", schemas=schemas, on_invalid="quarantine"
    )
    rig.away()
    answer = await provider.github({"items": [{"n": 1}, {"bad": 2}, {"n": 3}]}, to="many")
    assert said(answer)["spooled"]
    assert len(said(answer)["event_ids"]) == 2
    rig.faults.heal()
    await rig.drained()
    assert await ids_of(provider) == said(answer)["event_ids"]
    assert len((await rig.store.quarantined(source.id, 10, None)).rows) == 1


async def test_a_full_spool_refuses(tmp_path: Path) -> None:
    """Without room it is 503 with Retry-After, said in the log; with room again it is taken."""
    made = SpoolRig(tmp_path / "flow.db")
    made.spool._bytes_max = 100_000
    await made.start()
    provider = Provider(made)
    await provider.source(spool=True)
    made.away()
    answers = [await provider.github({"x": "y" * 20_000}, f"d-{n}") for n in range(8)]
    taken = [answer for answer in answers if answer.status == 200]
    refused = answers[-1]
    assert 3 <= len(taken) <= 4
    assert (refused.status, said(refused)["code"], header(refused, "retry-after")) == (503, "overloaded", "5")
    assert made.warned("spool_refused")
    assert not made.engine.intake.takes
    made.faults.heal()
    await made.drained()
    assert await ids_of(provider) == [said(answer)["event_id"] for answer in taken]
    assert made.engine.intake.takes
    await made.stop()


async def test_what_the_store_never_takes_is_set_aside(rig: SpoolRig, provider: Provider) -> None:
    """A record that cannot be read, and one that the store calls wrong, are set aside with a warning; the rest goes."""
    rig.away()
    first = await provider.github({"n": 1}, "d-1")
    await rig.spool.append(rig.clock.wall_ms(), [b"no record"])
    last = await provider.github({"n": 2}, "d-2")
    rig.faults.heal()
    rig.faults.fail("accept", DataError("no"))  # the first, tried alone
    await rig.drained()
    assert rig.spool.state.set_aside == 2
    assert [fields["why"] for name, fields in rig.observer.warnings if name == "spool_set_aside"]
    assert await ids_of(provider) == [said(last)["event_id"]]
    assert said(first)["event_id"] not in await ids_of(provider)


async def test_a_stop_drains_or_says_what_remains(tmp_path: Path) -> None:
    """A stop with the store away leaves the records and says so; the next start brings them, with the announced ids."""
    made = SpoolRig(tmp_path / "flow.db")
    await made.start()
    provider = Provider(made)
    await provider.source(spool=True)
    made.away()
    answers = [await provider.github({"n": n}, f"d-{n}") for n in range(3)]
    assert not await made.engine.stop(1)
    assert made.observer.warnings[-1][0] == "spool_left"
    again = SpoolRig(tmp_path / "flow.db")
    await again.start()
    await again.drained()
    provider = Provider(again)
    assert await ids_of(provider) == [said(answer)["event_id"] for answer in answers]
    again.away()
    answers.append(await provider.github({"n": 3}, "d-3"))
    again.faults.heal()
    assert await again.engine.stop(1)
    last = SpoolRig(tmp_path / "flow.db")
    await last.start()
    assert await ids_of(Provider(last)) == [said(answer)["event_id"] for answer in answers]
    await last.stop()


async def test_a_source_cannot_ask_for_what_is_not_there(tmp_path: Path) -> None:
    """Without a spool here `spool` is refused, with a pointer and what to set."""
    made = Rig(tmp_path / "flow.db")
    await made.start()
    with pytest.raises(Refusal, match="HOOKLINE_SPOOL_PATH") as refused:
        await Provider(made).source(spool=True)
    assert refused.value.pointer == "/spool"
    assert not made.engine.intake.takes
    await made.stop()


@pytest.mark.parametrize("seed", range(12))
async def test_random_outages(tmp_path: Path, seed: int) -> None:
    """Whatever fails when, before or after the commit, and however often the process stops: every request that was
    answered is stored once, under the announced id."""
    chance = random.Random(seed)
    made = SpoolRig(tmp_path / "flow.db")
    await made.start()
    provider = Provider(made)
    await provider.source(spool=True)
    answered: dict[str, str] = {}
    waiting: dict[str, asyncio.Future[Answer]] = {}
    for n in range(60):
        dice = chance.random()
        if dice < 0.7:
            waiting[f"d-{n}"] = provider.calling(*github({"n": n}, f"d-{n}"))
        elif dice < 0.8:
            made.faults.heal()
            error = chance.choice([AWAY, CommitUnknown("lost")])
            made.away(error, after_commit=isinstance(error, CommitUnknown) and chance.random() < 0.5)
        elif dice < 0.9:
            made.faults.heal()
        elif dice < 0.97:
            made.clock.advance(chance.random() * 3)
        else:
            await made.engine.stop(1)
            made.engine = made._engine()
            await made.start()
            provider = Provider(made)
        await asyncio.sleep(0.002)
    made.faults.heal()
    await made.drained()
    for name, future in waiting.items():
        answer = await future
        assert answer.status == 200
        answered[name] = said(answer)["event_id"]
    stored = {event.source_id: event.public_id for event in await provider.events()}
    assert stored == answered
    assert len(await provider.events()) == len(answered)
    await made.stop()
