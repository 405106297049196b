"""The live view on SQLite with a told clock: what was committed reaches every reader, each entry once, in order."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import EndpointState
from hookline.core.errors import NotFound, Refusal, StoreUnavailable
from hookline.core.event import Event
from hookline.core.history import AttemptRecord
from hookline.flow.stream import OPERATOR_READERS, POLL_S, RETRY_S, TENANT_READERS_MAX, Live
from hookline.flow.stream_entry import KINDS, Item, Reset, Wanted
from hookline.ports.store import Accepted, Attempted, Change, DeliveryRow, Entry
from hookline.testing.faults import FaultyStore
from tests.flow.rig import Rig

ALL = Wanted(None)
FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)


def told(entry: Entry) -> bytes:
    """An entry in short: a word, an id, and what makes it unlike others."""
    what = entry.what
    if isinstance(what, Accepted):
        return b"event " + what.event.id.hex().encode()
    if isinstance(what, Attempted):
        return b"attempt %b %d" % (what.delivery.id.hex().encode(), what.fence)
    return b"change %b %b %b" % ((what.delivery_id or what.endpoint_id).hex().encode(), what.before.encode(),
                                 what.after.encode())  # fmt: skip


class Client:
    """Reads along in a task of its own; `got` are the entries, `position` is where it would come back."""

    def __init__(self, live: Live, wanted: Wanted = ALL) -> None:
        self.live, self.wanted = live, wanted
        self.got: list[bytes] = []
        self.resets = 0
        self.position: bytes | None = None
        self.why: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self.reader = await self.live.open(self.wanted, self.position)
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                items = await self.reader.read(15)
                for item in items:
                    self.position = item.position
                    if isinstance(item, Reset):
                        self.resets += 1
                    else:
                        self.got.append(item.data)
                if not items and self.reader.over:
                    self.why = self.reader.over
                    return
                if not items:
                    self.position = self.reader.position
        finally:
            self.reader.close()

    async def disconnect(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def over(self) -> bool:
        return self._task is not None and self._task.done()


@pytest.fixture
async def rig(tmp_path):
    """A running engine."""
    rig = Rig(tmp_path / "stream.db")
    await rig.start()
    yield rig
    await rig.stop()


@pytest.fixture
def live(rig):
    """Readers of its store, with their calls counted and faults on cue."""
    rig.faults = FaultyStore(rig.store)
    return Live(rig.faults.wrapped, rig.engine.registry, rig.clock, rig.observer, told)


async def pass_on(rig: Rig, rounds: int = 3) -> None:
    """Let the tailer look a few times."""
    for _ in range(rounds):
        await rig.quiet()
        rig.clock.advance(POLL_S)
        await asyncio.sleep(0.01)


async def committed(rig: Rig, after: bytes) -> list[bytes]:
    """All that the store has behind a position."""
    found: list[bytes] = []
    while page := await rig.store.stream(after):
        found += map(told, page)
        after = page[-1].position
    return found


def in_order(entries: list[bytes], word: bytes) -> list[bytes]:
    """Those of one kind, as they came."""
    return [entry for entry in entries if entry.startswith(word)]


async def test_what_happens_is_read_as_it_happens(rig, live):
    """A reader gets events, attempts and changes that are committed after it came, and nothing older."""
    endpoint = await rig.endpoint("a")
    await rig.publish({"type": "order.early", "data": 1})
    await rig.quiet()
    start = await rig.store.stream_end()
    client = Client(live)
    await client.connect()
    await rig.publish({"type": "order.created", "data": 1})
    await rig.set_state(endpoint, EndpointState.PAUSED)
    await pass_on(rig)
    assert client.got == await committed(rig, start)
    assert [entry.split()[0] for entry in client.got].count(b"event") == 1
    assert sorted({entry.split()[0] for entry in client.got}) == [b"attempt", b"change", b"event"]
    await client.disconnect()


@pytest.mark.rule(n=30)
@pytest.mark.parametrize("seed", range(4))
async def test_any_sequence_of_disconnects_misses_nothing(rig, live, seed):
    """Over any disconnects, with buffers that overflow, each client sees every entry once and each kind in order."""
    chance = random.Random(seed)
    live.entries_max = (5, 40, 90, 1000)[seed]
    await rig.endpoint("a", retry={"schedule_s": [0.1]})
    rig.sender.script["http://receiver.example/a"] = [FAIL] * 10
    start = await rig.store.stream_end()
    clients = [Client(live) for _ in range(4)]
    for client in clients:
        client.position = start
    for _ in range(25):
        for client in clients:
            if client.over or chance.random() < 0.3:
                await client.disconnect()
                await client.connect()
        batch = [{"type": "order.created", "data": n} for n in range(chance.choice((1, 3, 30, 150)))]
        publishing = rig.publishing(batch)
        if chance.random() < 0.5:
            rig.clock.advance(POLL_S)
            await asyncio.sleep(chance.choice((0, 0.001, 0.01)))
        assert (await publishing).status == 202
    for _ in range(60):
        await pass_on(rig, 1)
        for client in clients:
            if client.over:
                await client.connect()
    wanted = await committed(rig, start)
    assert len(wanted) > 500
    assert live.cut_offs > 0 or live.entries_max > 5
    for client in clients:
        assert client.resets == 0
        assert sorted(client.got) == sorted(wanted)
        for word in (b"event", b"attempt", b"change"):
            assert in_order(client.got, word) == in_order(wanted, word)
        await client.disconnect()
    assert live.readers == 0


async def test_two_meet_and_read_together(rig, live):
    """Who has caught up reads no more by itself: from then on the store is asked once for all."""
    start = await rig.store.stream_end()
    await rig.publish([{"type": "order.created", "data": n} for n in range(700)])
    clients = [Client(live) for _ in range(5)]
    for client in clients:
        client.position = start
        await client.connect()
    await pass_on(rig, 10)
    assert [len(client.got) for client in clients] == [700] * 5
    before = rig.faults.calls["stream"]
    await rig.publish({"type": "order.created", "data": 1})
    await pass_on(rig, 10)
    assert [len(client.got) for client in clients] == [701] * 5
    assert rig.faults.calls["stream"] - before <= 11
    for client in clients:
        await client.disconnect()


async def test_nobody_reads_nothing_is_asked(rig, live):
    """Before the first reader and after the last one the store is not asked, and no task is left."""
    await pass_on(rig)
    assert rig.faults.calls["stream"] == 0
    client = Client(live)
    await client.connect()
    await pass_on(rig)
    assert rig.faults.calls["stream"] > 1
    await client.disconnect()
    await asyncio.sleep(0)
    calls = rig.faults.calls["stream"]
    await pass_on(rig)
    assert (rig.faults.calls["stream"], live.readers, live.at) == (calls, 0, b"")
    assert [task for task in asyncio.all_tasks() if "stream" in task.get_name()] == []


async def test_who_does_not_read_is_cut_off(rig, live):
    """A full buffer ends its reader, who gets what is in it and then the end; others go on; coming back, it has all."""
    live.entries_max = 10
    start = await rig.store.stream_end()
    slow = await live.open(ALL, None)
    client = Client(live)
    await client.connect()
    for n in range(12):
        await rig.publish({"type": "order.created", "data": n})
        await pass_on(rig)
    assert (slow.over, live.cut_offs, len(client.got)) == ("cut_off", 1, 12)
    had = await slow.read(1)
    assert [item.data for item in had] == client.got[:10]
    assert (list(await slow.read(1)), slow.position) == ([], had[-1].position)
    slow.close()
    again = await live.open(ALL, had[-1].position)
    assert [item.data for item in await again.read(1)] == client.got[10:] == (await committed(rig, start))[10:]
    again.close()
    await client.disconnect()


async def test_a_buffer_counts_bytes(rig, live):
    """Few large entries cut off like many small ones."""
    live.bytes_max = 2000
    slow = await live.open(ALL, None)
    await rig.publish([{"type": "order.created", "subject": "s", "data": n} for n in range(20)])
    await pass_on(rig)
    assert slow.over == "cut_off"
    assert 1 < len(await slow.read(1)) < 20
    slow.close()


async def test_a_position_that_cannot_be_resumed(rig, live):
    """A position of another history, or none at all, begins with a reset that says so, and goes on from now."""
    await rig.publish({"type": "order.created", "data": 1})
    for client, known in ((Client(live), True), (Client(live), False)):
        reader = await live.open(ALL, b"\xff" * 28, known=known)
        (item,) = await reader.read(1)
        assert isinstance(item, Reset)
        assert b"cannot go on" in item.data
        reader.close()
        client.position = item.position
        await client.connect()
        event = await rig.publish({"type": "order.created", "data": 2})
        await pass_on(rig)
        assert (client.got, client.resets) == ([b"event " + event["id"][4:].encode()], 0)
        await client.disconnect()


async def test_only_so_many(rig, live):
    """Beyond the limit a reader is refused and told when to come back; one that leaves makes room."""
    few = Live(rig.store, rig.engine.registry, rig.clock, rig.observer, told, readers_max=2)
    readers = [await few.open(ALL, None) for _ in range(2)]
    with pytest.raises(Refusal) as caught:
        await few.open(ALL, None)
    assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 5)
    readers.pop().close()
    readers.append(await few.open(ALL, None))
    for reader in readers:
        reader.close()


async def test_no_tenant_takes_the_places_of_the_others(rig, live):
    """A tenant has a share of the readers, and all tenants together leave some for readers of all of them."""

    def of(tenant: str) -> Wanted:
        return msgspec.structs.replace(ALL, tenant=tenant)

    readers = [await live.open(of("a"), None) for _ in range(TENANT_READERS_MAX)]
    with pytest.raises(Refusal, match="20 readers of this tenant follow already") as caught:
        await live.open(of("a"), None)
    assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 5)
    for tenant in "bcd":
        readers += [await live.open(of(tenant), None) for _ in range(TENANT_READERS_MAX)]
    with pytest.raises(Refusal, match="All places for readers of one tenant are taken"):
        await live.open(of("e"), None)
    readers += [await live.open(ALL, None) for _ in range(OPERATOR_READERS)]
    with pytest.raises(Refusal, match="100 readers follow already"):
        await live.open(ALL, None)
    readers.pop(0).close()
    readers.append(await live.open(of("a"), None))
    for reader in readers:
        reader.close()


async def test_a_drain_ends_all_at_once(rig, live):
    """Closing ends readers that wait, that lag and that have not read what they have, and lets nobody in."""
    waiting, full = Client(live), await live.open(ALL, None)
    await waiting.connect()
    await rig.publish({"type": "order.created", "data": 1})
    await pass_on(rig)
    live.close()
    await asyncio.sleep(0.01)
    assert (waiting.over, waiting.why, list(await full.read(15))) == (True, "closed", [])
    full.close()
    with pytest.raises(Refusal) as caught:
        await live.open(ALL, None)
    assert (caught.value.code, live.readers) == ("draining", 0)


async def test_a_store_that_is_away(rig, live):
    """While the store cannot be read followers wait and then go on; who has to catch up comes back; who is new is
    refused."""
    client = Client(live)
    await client.connect()
    behind = client.reader.position
    rig.faults.fail("stream", StoreUnavailable("away"), times=3)
    with pytest.raises(StoreUnavailable):
        await live.open(ALL, None)
    assert live.readers == 1
    await rig.publish({"type": "order.created", "data": 1})
    for _ in range(4):
        await pass_on(rig, 1)
        rig.clock.advance(RETRY_S)
    await pass_on(rig)
    assert len(client.got) == 1
    lagging = await live.open(ALL, behind)
    rig.faults.fail("stream", StoreUnavailable("away"), times=1)
    assert list(await lagging.read(15)) == []
    assert lagging.over == "failed"
    lagging.close()
    await client.disconnect()


async def test_a_defect_is_told_and_ends_readers(rig, live):
    """When the tailer itself fails its readers are ended, so that they come back, and somebody hears of it."""
    client = Client(live)
    await client.connect()
    live._show = None  # a defect: nothing can be shown
    await rig.publish({"type": "order.created", "data": 1})
    await pass_on(rig)
    assert (client.over, client.why) == (True, "failed")
    assert [name for name, _ in rig.observer.warnings] == ["stream_failed"]
    live._show = told
    again = Client(live)
    await again.connect()
    await rig.publish({"type": "order.created", "data": 2})
    await pass_on(rig)
    assert len(again.got) == 1
    await again.disconnect()


async def test_handing_on_that_is_cut_short(rig, live):
    """Who brings the tailer up and is cancelled over it costs nobody an entry: the others come back for theirs."""
    clients = [Client(live) for _ in range(30)]
    for client in clients:
        await client.connect()
    start = clients[0].reader.position
    await rig.publish({"type": "order.created", "data": 1})
    await rig.quiet()
    opening = asyncio.create_task(live.open(ALL, None))
    while not any(client.reader.position != start or client.got for client in clients):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await pass_on(rig)
    ended = [client for client in clients if client.over]
    assert {client.why for client in ended} == {"failed"}
    for client in ended:
        client.position = start
        await client.connect()
    await pass_on(rig)
    assert {len(client.got) for client in clients} == {1}
    for client in clients:
        await client.disconnect()
    assert live.readers == 0


async def test_what_is_not_wanted_moves_the_position(rig, live):
    """A reader whose filter drops everything, following or catching up, stands where the stream is."""
    start = await rig.store.stream_end()
    nothing = Wanted(None, pattern="nothing.*")
    reader = await live.open(nothing, None)
    await rig.publish([{"type": "order.created", "data": n} for n in range(500)])
    await pass_on(rig, 5)
    end = await rig.store.stream_end()
    assert reader.position == end
    lagging = await live.open(nothing, start)
    reading = asyncio.create_task(lagging.read(15))
    await pass_on(rig)
    assert lagging.position == end
    reading.cancel()
    for one in (reader, lagging):
        one.close()


async def test_which_endpoint_is_meant(rig, live):
    """An id or a uid finds the tenant's endpoint; another tenant's id is found only by who asks for every tenant."""
    endpoint = await rig.endpoint("a", uid="shop")
    for reference in ("shop", endpoint.public_id):
        assert await live.endpoint_id("default", reference, every_tenant=False) == endpoint.id
        with pytest.raises(NotFound):
            await live.endpoint_id("other", reference, every_tenant=False)
    assert await live.endpoint_id("other", endpoint.public_id, every_tenant=True) == endpoint.id
    for unknown in ("nobody", "ep_" + "0" * 24, ""):
        with pytest.raises(NotFound):
            await live.endpoint_id("default", unknown, every_tenant=True)


EVENT_ID, OTHER_ID, ENDPOINT_ID, OTHER_ENDPOINT = b"e" * 12, b"f" * 12, b"p" * 12, b"q" * 12
EVENT = Event(id=EVENT_ID, tenant="acme", type="order.created", data=b"")
ROW = DeliveryRow(
    EVENT_ID + b"0001", EVENT_ID, ENDPOINT_ID, "acme", "order.created", "failed", 1, None, "timeout", 0, 0, None, None
)
ENTRIES = {
    "event": Entry(b"1", Accepted(EVENT)),
    "attempt": Entry(b"2", Attempted(1, AttemptRecord(1, 0, "retry"), ROW)),
    "delivery": Entry(
        b"3", Change(0, "acme", ENDPOINT_ID, ROW.id, "failed", "discarded", None, EVENT_ID, "order.created")
    ),
    "endpoint": Entry(b"4", Change(0, "acme", ENDPOINT_ID, None, "active", "disabled")),
}


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (Wanted(None), KINDS),
        (Wanted("acme"), KINDS),
        (Wanted("default"), ()),
        (Wanted("acme", frozenset({"attempt", "endpoint"})), ("attempt", "endpoint")),
        (Wanted("acme", pattern="order.*"), ("event", "attempt", "delivery")),
        (Wanted("acme", pattern="order.created"), ("event", "attempt", "delivery")),
        (Wanted("acme", pattern="*"), ("event", "attempt", "delivery")),
        (Wanted("acme", pattern="invoice.*"), ()),
        (Wanted("acme", endpoint_id=ENDPOINT_ID), ("attempt", "delivery", "endpoint")),
        (Wanted("acme", endpoint_id=OTHER_ENDPOINT), ()),
        (Wanted("acme", event_id=EVENT_ID), ("event", "attempt", "delivery")),
        (Wanted("acme", event_id=OTHER_ID), ()),
        (Wanted("acme", state="failed"), ("attempt",)),
        (Wanted("acme", state="discarded"), ("delivery",)),
        (Wanted("acme", state="disabled"), ("endpoint",)),
        (Wanted("acme", pattern="order.*", endpoint_id=ENDPOINT_ID, state="failed"), ("attempt",)),
    ],
)
def test_filters(wanted, got):
    """Each filter drops what does not meet it, and what has no such thing."""
    items = [Item(entry, told) for entry in ENTRIES.values()]
    assert [item.kind for item in items] == list(KINDS)
    assert [item.kind for item in items if wanted.wants(item)] == list(got)


def test_an_entry_is_shown_once_for_all():
    """However many read it, an entry is made ready once."""
    shown = []
    item = Item(ENTRIES["event"], lambda entry: shown.append(entry) or msgspec.json.encode(entry.position))
    assert item.data == item.data == b'"MQ=="'
    assert len(shown) == 1
