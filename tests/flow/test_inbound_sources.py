"""Sources in the running engine: compiled at once, sealed, resealed, released out of quarantine, and a log that costs
refusing nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hookline.core import ids
from hookline.core.errors import Conflict, NotFound, StaleRegistry, StoreUnavailable
from hookline.core.event import Event
from hookline.core.rejection import Rejection, rejection
from hookline.core.secret import Keyring
from hookline.flow.rejections import NOTED_MAX
from hookline.flow.sources import SEALED, DescribedSource, Sources
from hookline.ports.store import REJECTIONS_KEPT, AcceptRequest, NewEvent, NewQuarantine
from hookline.testing.faults import FaultyStore
from tests.flow.rig import Rig

OLD, NEW = b"k" * 32, b"n" * 32
URL = "https://hooks.example"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A started engine."""
    rig = Rig(tmp_path / "a.db")
    await rig.start()
    yield rig
    await rig.stop()


def service(rig: Rig) -> Sources:
    """The service over the engine's parts."""
    engine = rig.engine
    return Sources(engine.store, engine.registry, engine.catalogue, rig.keyring, rig.clock, engine.ids, URL)


async def make(rig: Rig, name: str = "stripe", tenant: str = "default", **spec: Any) -> DescribedSource:
    """A new source."""
    body = {"name": name, "verifier": "stripe", "config": {"secret": "s3cret"}, **spec}
    return await service(rig).create(tenant, json.dumps(body).encode())


async def put_aside(rig: Rig, of: DescribedSource, **fields: Any) -> bytes:
    """Put a request into its quarantine, as receiving does; its id there."""
    event = Event(rig.engine.ids.make(rig.store.now_ms()), "default", "payment.made", b'{"n": 1.50}', **fields)
    item = NewEvent(event, quarantine=NewQuarantine(of.row.id, b"{}"))
    await rig.store.accept([AcceptRequest("default", [item])], rig.engine.registry.version)
    return event.id


async def restarted(rig: Rig, *keys: bytes) -> Rig:
    """The next process on the same data, with these keys."""
    again = Rig(rig.path, rig.clock)
    again.keyring = Keyring(keys)
    again.engine = again._engine()
    await again.start()
    return again


def refused(reason: str = "wrong_signature") -> Rejection:
    """A refused request."""
    return rejection(
        request_id="req_1", status=401, reason=reason, detail="", method="POST", target="/in/stripe",
        client="192.0.2.1", size_bytes=0, headers=[],
    )  # fmt: skip


class TestRegistry:
    """What the hot path asks."""

    async def test_what_is_made_is_known_at_once(self, rig: Rig):
        """When a creation, a change or a deletion is answered, the registry has it, also after a restart."""
        made = await make(rig, schemas={"a.*": {"type": "object"}}, rate={"n": 5})
        source = rig.engine.registry.source_at("stripe")
        assert (source.id, source.config, source.rate.n) == (made.row.id, {"secret": "s3cret"}, 5)
        assert source.schema_of("a.b") is not None
        await service(rig).patch("default", "stripe", b'{"body_bytes_max": 7}')
        assert rig.engine.registry.source_at("stripe").body_bytes_max == 7
        again = await restarted(rig, OLD) if await _stopped(rig) else rig
        assert again.engine.registry.source_at("stripe").body_bytes_max == 7
        await service(again).delete("default", "stripe")
        assert again.engine.registry.source_at("stripe") is None
        await again.stop()

    async def test_every_way_to_a_source(self, rig: Rig):
        """An address is a name of the default tenant or an id; a uid is only a reference, and only its tenant's."""
        mine, theirs = await make(rig, uid="pay"), await make(rig, tenant="acme", uid="pay")
        registry = rig.engine.registry
        assert registry.source_at("stripe").id == mine.row.id
        assert registry.source_at("pay") is None
        for made in (mine, theirs):
            public_id = ids.text(ids.SOURCE, made.row.id)
            assert registry.source_at(public_id).id == made.row.id
            assert registry.source(made.row.id).public_id == public_id
            for reference in ("stripe", "pay", public_id):
                assert registry.source_of(made.row.tenant, reference).id == made.row.id
        assert registry.source_of("acme", ids.text(ids.SOURCE, mine.row.id)) is None
        assert [registry.source_of(tenant, "other") for tenant in ("acme", "nobody")] == [None, None]
        for nothing in ("", "src_", "tok_" + "0" * 32, "src_" + "0" * 24, "Stripe"):
            assert registry.source_at(nothing) is None

    async def test_a_uid_may_change_hands(self, rig: Rig):
        """A uid that went from one source to another, within one look at the store, leads to the other."""
        first, second = await make(rig, "a", uid="pay"), await make(rig, "b")
        await rig.store.put_source(
            msgspec.structs.replace(first.row, uid=None, spec=_with_uid(first, None)), first.row.version
        )
        await rig.store.put_source(
            msgspec.structs.replace(second.row, uid="pay", spec=_with_uid(second, "pay")), second.row.version
        )
        await rig.engine.registry.refresh()
        assert rig.engine.registry.source_of("default", "pay").id == second.row.id
        assert (await service(rig).get("default", "pay")).row.id == second.row.id

    async def test_one_that_cannot_be_read_harms_no_other(self, rig: Rig):
        """A stored source that this program cannot build is said, and the others go on."""
        bad, good = await make(rig, "a"), await make(rig, "b")
        await rig.store.put_source(msgspec.structs.replace(bad.row, spec=b"{}"), bad.row.version)
        await service(rig).patch("default", "b", b'{"body_bytes_max": 7}')
        assert rig.engine.registry.source(good.row.id).body_bytes_max == 7
        assert "source_unreadable" in {name for name, _ in rig.observer.warnings}


async def _stopped(rig: Rig) -> bool:
    await rig.stop()
    return True


def _with_uid(source: DescribedSource, uid: str | None) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(source.spec, uid=uid))


class TestSecrets:
    """Sealed, resealed, and what happens without their key."""

    async def test_nothing_secret_is_in_the_file_in_the_clear(self, rig: Rig):
        """Neither a secret nor a token can be read in the database's files."""
        await make(rig, token=True, config={"secret": ["first-s3cret", "second-s3cret"]})
        token = rig.engine.registry.source_of("default", "stripe").token
        await rig.stop()
        for file in rig.path.parent.iterdir():
            raw = file.read_bytes()
            assert not [text for text in (b"first-s3cret", b"second-s3cret", token.encode()) if text in raw], file
        await rig.start()

    async def test_they_are_resealed_with_the_newest_key(self, rig: Rig, tmp_path: Path):
        """After a rotation all sources are sealed anew, and then the new key alone opens them."""
        names = [f"s{number}" for number in range(25)]
        for name in names:
            await make(rig, name)
        await rig.endpoint()
        await rig.stop()
        again = await restarted(rig, NEW, OLD)
        while await again.engine.upkeep.once("reseal"):
            pass
        await again.stop()
        last = await restarted(rig, NEW)
        assert [last.engine.registry.source_at(name).config for name in names] == [{"secret": "s3cret"}] * 25
        assert last.observer.warnings == []
        await last.stop()
        rig.keyring = Keyring([NEW])
        rig.engine = rig._engine()
        await rig.start()

    async def test_without_its_key_it_verifies_nothing(self, rig: Rig):
        """A source whose secrets no key opens is known, not readable and has none (the mask is no secret), says
        so, and cannot be changed; with its key it is as before."""
        await make(rig)
        await rig.stop()
        without = await restarted(rig, NEW)
        source = without.engine.registry.source_at("stripe")
        assert (source.readable, source.config) == (False, {})
        assert SEALED in (await service(without).get("default", "stripe")).warnings
        with pytest.raises(Conflict) as refusal:
            await service(without).patch("default", "stripe", b'{"description": "x"}')
        assert refusal.value.code == "wrong_state"
        while await without.engine.upkeep.once("reseal"):
            pass
        assert {"source_sealed", "secret_not_resealed"} <= {name for name, _ in without.observer.warnings}
        await without.stop()
        await rig.start()
        assert rig.engine.registry.source_at("stripe").readable


class TestRelease:
    """Out of quarantine into the flow."""

    async def test_it_is_delivered(self, rig: Rig):
        """A released request goes to every endpoint that wants it, byte for byte."""
        await rig.endpoint("a", event_types=["payment.*"])
        await rig.endpoint("b", event_types=["other"])
        source = await make(rig)
        quarantined_id = await put_aside(rig, source)
        released = await rig.engine.quarantine.release("default", "stripe", quarantined_id)
        assert (released.deliveries, released.event.data) == (1, b'{"n": 1.50}')
        await rig.until(lambda: rig.sender.times("http://receiver.example/a") == 1)
        counts = await rig.store.counts(None)
        assert (counts.events, counts.quarantined) == (1, 0)

    async def test_it_is_routed_as_things_are_when_it_is_committed(self, rig: Rig):
        """An endpoint that came between routing and commit gets it, too."""
        source = await make(rig)
        quarantined_id = await put_aside(rig, source)
        await rig.endpoint("a")
        accept = rig.store.accept
        calls: list[int] = []

        async def late(requests: Any, version: int) -> Any:
            calls.append(version)
            if len(calls) == 1:
                await rig.endpoint("b")
                raise StaleRegistry("told")
            return await accept(requests, version)

        rig.store.accept = late
        released = await rig.engine.quarantine.release("default", "stripe", quarantined_id)
        assert (released.deliveries, len(calls)) == (2, 2)

    async def test_a_repeat_of_it_is_a_duplicate(self, rig: Rig):
        """What was released is known by the provider's id from then on, for the source's window."""
        source = await make(rig)
        quarantined_id = await put_aside(rig, source, source="/in/stripe", source_id="evt_1")
        released = await rig.engine.quarantine.release("default", "stripe", quarantined_id)
        body = {"type": "payment.made", "data": 1, "source": "/in/stripe", "id": "evt_1"}
        again = await rig.publish(body)
        assert (again["duplicate"], again["id"]) == (True, released.event.public_id)

    async def test_a_big_fanout(self, rig: Rig):
        """One that very many want is unfolded to all of them."""
        source = await make(rig)
        for number in range(300):
            await rig.endpoint(f"e{number}")
        released = await rig.engine.quarantine.release("default", "stripe", await put_aside(rig, source))
        assert released.deliveries == 300
        await rig.until(lambda: len(rig.sender.sent) == 300, "all are delivered")

    async def test_what_is_not_there(self, rig: Rig):
        """An unknown one, another source's and another tenant's are not found by anybody."""
        source = await make(rig)
        await make(rig, "other")
        await make(rig, "stripe", "acme")
        quarantined_id = await put_aside(rig, source)
        quarantine = rig.engine.quarantine
        for place in (("default", "other"), ("acme", "stripe"), ("default", "unknown")):
            for act in (quarantine.get, quarantine.release, quarantine.drop):
                with pytest.raises(NotFound):
                    await act(*place, quarantined_id)
        assert len((await quarantine.page("default", "stripe", 10, None)).rows) == 1


class TestRejectionLog:
    """Refusing costs no commit."""

    async def test_they_are_written_in_the_background(self, rig: Rig):
        """What is noted is there after the next step of the upkeep, newest first."""
        source = await make(rig)
        for number in range(3):
            rig.engine.rejections.note(source.row.id, refused(f"r{number}"))
        assert await _reasons(rig, source) == []
        await rig.engine.upkeep.once("rejections")
        assert await _reasons(rig, source) == ["r2", "r1", "r0"]

    async def test_a_flood_is_bounded(self, rig: Rig):
        """However many are refused, of one source the newest hundred are kept, and of very many sources so few wait in
        memory that a process does not notice."""
        source = await make(rig)
        log = rig.engine.rejections
        commits = rig.store.commits
        for number in range(10_000):
            log.note(source.row.id, refused(f"r{number}"))
        while await rig.engine.upkeep.once("rejections"):
            pass
        reasons = await _reasons(rig, source, 1000)
        assert (len(reasons), reasons[0], reasons[-1]) == (REJECTIONS_KEPT, "r9999", "r9900")
        assert rig.store.commits - commits <= 3
        for number in range(NOTED_MAX + 500):
            log.note(number.to_bytes(12, "big"), refused())
        assert log._count == sum(len(noted) for noted in log._noted.values()) == NOTED_MAX
        while await rig.engine.upkeep.once("rejections"):
            pass
        assert (log._count, log._noted) == (0, {})
        assert "rejections_passed_over" in {name for name, _ in rig.observer.warnings}

    async def test_a_store_that_fails_loses_none(self, rig: Rig):
        """What could not be written is noted still, in its order, bounded as before."""
        source = await make(rig)
        faulty = FaultyStore(rig.store)
        log = rig.engine.rejections
        log._store = faulty.wrapped
        faulty.fail("add_rejections", StoreUnavailable("told"))
        for number in range(REJECTIONS_KEPT):
            log.note(source.row.id, refused(f"r{number}"))
        with pytest.raises(StoreUnavailable):
            await log.flush()
        log.note(source.row.id, refused("newest"))
        while await log.flush():
            pass
        reasons = await _reasons(rig, source, 1000)
        assert (reasons[0], reasons[-1], len(reasons)) == ("newest", "r1", REJECTIONS_KEPT)

    async def test_they_are_written_at_the_end(self, rig: Rig):
        """What is noted when the process ends in order is written."""
        source = await make(rig)
        rig.engine.rejections.note(source.row.id, refused("last"))
        await rig.stop()
        await rig.start()
        assert await _reasons(rig, source) == ["last"]


async def _reasons(rig: Rig, source: DescribedSource, limit: int = 100) -> list[str]:
    page = await service(rig).rejections("default", source.spec.name, limit, None)
    return [noted.rejection.reason for noted in page.rows]
