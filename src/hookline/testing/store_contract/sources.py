"""Sources, their quarantine and their rejections: kept as given, one transaction with the events, bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from hookline.core.errors import Conflict, NotFound, StaleRegistry
from hookline.core.event import Origin
from hookline.ports.store import (
    AcceptedItem,
    AcceptRequest,
    EventTypeRow,
    Keep,
    NewEvent,
    NewQuarantine,
    QuarantinedRow,
    RejectionRow,
    SourceRow,
    TenantRow,
)
from hookline.testing.samples import endpoint_row
from hookline.testing.store_contract.case import Case, StoreContract

DAY_S = 86_400.0
PROBLEM = b'{"code":"schema_violation"}'


async def make_source(case: Case, name: str = "stripe", tenant: str = "default", **changes: Any) -> SourceRow:
    """A stored source."""
    row = SourceRow(case.new_id(), tenant, name, None, b'{"verifier":"stripe"}', b"sealed")
    return await case.store.put_source(msgspec.structs.replace(row, **changes))


def bad(case: Case, of: SourceRow, *, kept_max: int = 10_000, key: bytes | None = None, **changes: Any) -> NewEvent:
    """An item that is to go into the quarantine of a source."""
    event = case.event(tenant=of.tenant, **changes)
    return NewEvent(event, dedupe_key=key, quarantine=NewQuarantine(of.id, PROBLEM, kept_max))


async def put_aside(case: Case, source: SourceRow, **changes: Any) -> bytes:
    """Put one in quarantine; its id there."""
    item = bad(case, source, **changes)
    assert list(await case.accept(item)) == [AcceptedItem(item.event.id, 0, quarantined=True)]
    return item.event.id


async def waiting(case: Case, source: SourceRow) -> list[bytes]:
    """What a source has in quarantine, newest first."""
    return [row.id for row in (await case.store.quarantined(source.id, 100, None)).rows]


async def kept_reasons(case: Case, source: SourceRow, limit: int = 1000) -> list[bytes]:
    """The rejections that are kept of a source, newest first."""
    return [row.packed for row in (await case.store.rejections(source.id, limit, None)).rows]


class TestSources(StoreContract):
    """Sources as rows."""

    async def test_a_source_is_kept_as_given(self, case: Case) -> None:
        """Every field comes back as given, secrets as bytes, with times and a new registry version set by the store."""
        before = await case.version()
        row = SourceRow(case.new_id(), "acme", "in-1", "uid-1", '{"é":"☃"}'.encode(), bytes(range(256)))
        stored = await case.store.put_source(row)
        now_ms = case.store.now_ms()
        assert stored == msgspec.structs.replace(row, created_at_ms=now_ms, updated_at_ms=now_ms, version=before + 1)
        await case.restart()
        for since in (0, before):
            changes = await case.store.changes(since)
            assert (list(changes.sources), changes.version) == ([stored], before + 1)

    async def test_replacing_keeps_when_it_was_made(self, case: Case) -> None:
        """A replaced source has its new fields, the time of its creation, and a new version."""
        first = await make_source(case)
        case.clock.advance(60)
        second = await case.store.put_source(msgspec.structs.replace(first, spec=b"{}", uid="u"), first.version)
        assert second == msgspec.structs.replace(
            first, spec=b"{}", uid="u", updated_at_ms=first.updated_at_ms + 60_000, version=first.version + 1
        )
        assert list((await case.store.changes(0)).sources) == [second]

    async def test_of_two_who_replace_one_wins(self, case: Case) -> None:
        """Replacing by a version that is not the last raises Conflict and changes nothing."""
        first = await make_source(case)
        second = await case.store.put_source(msgspec.structs.replace(first, spec=b"second"), first.version)
        with pytest.raises(Conflict) as refused:
            await case.store.put_source(msgspec.structs.replace(first, spec=b"third"), first.version)
        assert refused.value.code == "conflict"
        changes = await case.store.changes(0)
        assert (list(changes.sources), changes.version) == ([second], second.version)

    async def test_a_reference_means_one_source_of_a_tenant(self, case: Case) -> None:
        """A name or uid that another source of the tenant has, as either of the two, is taken, at creation and later;
        another tenant's is free."""
        first = await make_source(case, "a", uid="one")
        second = await make_source(case, "b", uid="two")
        before = await case.version()
        for name, uid, code in (("a", None, "name_taken"), ("one", None, "name_taken"), ("c", "one", "uid_taken"),
                                ("c", "a", "uid_taken")):  # fmt: skip
            with pytest.raises(Conflict) as refused:
                await make_source(case, name, uid=uid)
            assert refused.value.code == code, (name, uid)
            with pytest.raises(Conflict) as refused:
                await case.store.put_source(msgspec.structs.replace(second, name=name, uid=uid), second.version)
            assert refused.value.code == code, (name, uid)
        assert await case.version() == before
        await make_source(case, "a", "other", uid="one")
        await case.store.put_source(msgspec.structs.replace(first, name="one", uid="a"), first.version)

    async def test_what_is_not_there_is_not_changed(self, case: Case) -> None:
        """Replacing or deleting an unknown or deleted source, or another tenant's, raises NotFound and is no change."""
        gone = await make_source(case)
        kept = await make_source(case, "kept")
        await case.store.delete_source(gone.id)
        before = await case.version()
        for row in (gone, msgspec.structs.replace(kept, id=case.new_id()), msgspec.structs.replace(kept, tenant="x")):
            with pytest.raises(NotFound):
                await case.store.put_source(row, row.version)
        for source_id in (gone.id, case.new_id()):
            with pytest.raises(NotFound):
                await case.store.delete_source(source_id)
        assert await case.version() == before

    async def test_deleting(self, case: Case) -> None:
        """A deleted one is a tombstone without secrets in the changes, is not there for who reads all, and its name
        is free."""
        first = await make_source(case, uid="u")
        await case.store.delete_source(first.id)
        changes = await case.store.changes(first.version)
        assert [(row.id, row.deleted, row.sealed) for row in changes.sources] == [(first.id, True, b"")]
        assert list((await case.store.changes(0)).sources) == []
        again = await make_source(case, uid="u")
        assert list((await case.store.changes(0)).sources) == [again]

    async def test_a_routed_request_is_routed_again_after_a_change(self, case: Case) -> None:
        """An accept that was routed before a source changed raises StaleRegistry and commits nothing."""
        source = await make_source(case)
        version = await case.version()
        await case.store.put_source(msgspec.structs.replace(source, spec=b"{}"), source.version)
        request = AcceptRequest("default", [bad(case, source)])
        with pytest.raises(StaleRegistry):
            await case.store.accept([request], version)
        assert await waiting(case, source) == []

    async def test_they_go_with_their_tenant(self, case: Case) -> None:
        """Deleting a tenant deletes his sources and their rejections in the same version, and nobody else's; nothing
        is made for him afterwards; his quarantine is purged."""
        await case.store.put_tenant(TenantRow("acme", b"{}"))
        mine, other = await make_source(case, tenant="acme"), await make_source(case, tenant="other")
        await put_aside(case, mine)
        await put_aside(case, other)
        await case.store.add_rejections([RejectionRow(case.new_id(), s.id, b"r") for s in (mine, other)])
        before = await case.version()
        await case.store.delete_tenant("acme")
        changes = await case.store.changes(before)
        assert [(row.id, row.deleted, row.version) for row in changes.sources] == [(mine.id, True, before + 1)]
        assert [row.id for row in (await case.store.changes(0)).sources] == [other.id]
        assert (await kept_reasons(case, mine), await kept_reasons(case, other)) == ([], [b"r"])
        with pytest.raises(NotFound):
            await make_source(case, "late", "acme")
        assert await purged(case, Keep(DAY_S)) == 1
        assert ((await case.counts("acme")).quarantined, (await case.counts("other")).quarantined) == (0, 1)
        assert (await waiting(case, mine), len(await waiting(case, other))) == ([], 1)

    async def test_other_changes_are_not_disturbed(self, case: Case) -> None:
        """Changes of sources, endpoints, types and tenants have one version, and each is told with the others."""
        before = await case.version()
        await case.store.put_endpoint(endpoint_row(id=case.new_id()))
        source = await make_source(case)
        await case.store.put_event_type(EventTypeRow(tenant="default", name="a", number=0, mode="off"), create=True)
        changes = await case.store.changes(before)
        assert (len(changes.endpoints), list(changes.sources), len(changes.event_types)) == (1, [source], 1)
        assert changes.version == before + 3


async def purged(case: Case, keep: Keep) -> int:
    """Purge the whole circle; how many went out of quarantine."""
    count = 0
    while (step := await case.store.purge(keep)).examined:
        count += step.quarantined
    return count


class TestQuarantine(StoreContract):
    """What a source's schema does not allow."""

    async def test_it_is_kept_as_given(self, case: Case) -> None:
        """The event that it would be, its payload and what is wrong come back as given; a list has no payloads."""
        source = await make_source(case)
        item = bad(
            case, source, type="order.created", data=bytes(range(256)), content_type="application/xml",
            source="/in/stripe", source_id="evt_1", subject="o-1", time="2026-01-01T00:00:00Z",
            inbound=Origin("stripe", "req_1", "POST", (("x-a", "é"), ("x-a", "b"))),
        )  # fmt: skip
        await case.accept(item)
        await case.restart()
        row = await case.store.quarantined_of(source.id, item.event.id)
        assert row == QuarantinedRow(item.event, source.id, PROBLEM, 256)
        page = await case.store.quarantined(source.id, 10, None)
        assert list(page.rows) == [msgspec.structs.replace(row, event=msgspec.structs.replace(item.event, data=b""))]

    async def test_it_is_no_event(self, case: Case) -> None:
        """What is in quarantine is in no list of events and makes no deliveries; the books count it apart."""
        source = await make_source(case)
        await case.endpoint()
        quarantined_id = await put_aside(case, source)
        assert await case.listed_events() == []
        assert await case.store.event(None, quarantined_id) is None
        counts = await case.counts()
        assert (counts.events, counts.deliveries, counts.quarantined) == (0, 0, 1)
        assert [(await case.counts(tenant)).quarantined for tenant in ("default", "other")] == [1, 0]

    async def test_it_commits_with_the_events_of_its_request(self, case: Case) -> None:
        """One request's good and bad items are one transaction: each becomes what it is, in order."""
        source = await make_source(case)
        endpoint = await case.endpoint()
        good, wrong, last = case.new(endpoint), bad(case, source), case.new(endpoint)
        results = await case.accept(good, wrong, last)
        assert [(item.event_id, item.deliveries, item.quarantined) for item in results] == [
            (good.event.id, 1, False), (wrong.event.id, 0, True), (last.event.id, 1, False),
        ]  # fmt: skip
        await case.restart()
        assert [event.id for event in await case.listed_events()] == [last.event.id, good.event.id]
        assert await waiting(case, source) == [wrong.event.id]

    async def test_a_repeat_is_a_duplicate(self, case: Case) -> None:
        """A known key of what is in quarantine makes the next one a duplicate that says where the first is."""
        source = await make_source(case)
        first = await put_aside(case, source, key=b"k" * 16)
        for again in (bad(case, source, key=b"k" * 16), case.new(dedupe_key=b"k" * 16)):
            assert list(await case.accept(again)) == [AcceptedItem(first, 0, duplicate=True, quarantined=True)]
        assert await waiting(case, source) == [first]

    async def test_it_is_bounded(self, case: Case) -> None:
        """A source has no more in quarantine than it may: what is more is `full` and leaves nothing, not even its
        key; another source's is not counted, and what goes makes room."""
        source, other = await make_source(case), await make_source(case, "other")
        await put_aside(case, other, kept_max=1)
        first = await put_aside(case, source, kept_max=2)
        await put_aside(case, source, kept_max=2)
        third = bad(case, source, kept_max=2, key=b"k" * 16)
        assert list(await case.accept(third)) == [AcceptedItem(third.event.id, 0, full=True)]
        assert len(await waiting(case, source)) == 2
        await case.store.drop_quarantined(source.id, first)
        await put_aside(case, source, kept_max=2, key=b"k" * 16)

    async def test_pages(self, case: Case) -> None:
        """Newest first, in pages, of one source."""
        source, other = await make_source(case), await make_source(case, "other")
        put = [await put_aside(case, source) for _ in range(5)]
        await put_aside(case, other)
        found: list[bytes] = []
        before: bytes | None = None
        while True:
            page = await case.store.quarantined(source.id, 2, before)
            assert len(page.rows) <= 2
            found += [row.id for row in page.rows]
            if page.next is None:
                break
            before = page.next
        assert found == put[::-1]
        assert await case.store.quarantined_of(other.id, put[0]) is None

    async def test_dropping(self, case: Case) -> None:
        """A dropped one is gone, once; of another source it is not there; a repeat of it stays a duplicate."""
        source, other = await make_source(case), await make_source(case, "other")
        quarantined_id = await put_aside(case, source, key=b"k" * 16)
        with pytest.raises(NotFound):
            await case.store.drop_quarantined(other.id, quarantined_id)
        await case.store.drop_quarantined(source.id, quarantined_id)
        with pytest.raises(NotFound):
            await case.store.drop_quarantined(source.id, quarantined_id)
        assert (await waiting(case, source), (await case.counts()).quarantined) == ([], 0)
        (again,) = await case.accept(bad(case, source, key=b"k" * 16))
        assert again.duplicate

    async def test_a_source_stays_while_it_has_any(self, case: Case) -> None:
        """Deleting a source with something in quarantine raises Conflict `wrong_state`; without it, it goes."""
        source = await make_source(case)
        quarantined_id = await put_aside(case, source)
        before = await case.version()
        with pytest.raises(Conflict) as refused:
            await case.store.delete_source(source.id)
        assert (refused.value.code, await case.version()) == ("wrong_state", before)
        await case.store.drop_quarantined(source.id, quarantined_id)
        await case.store.delete_source(source.id)

    async def test_retention(self, case: Case) -> None:
        """What has waited for longer than its tenant's retention goes, and is counted; what is younger stays."""
        mine, other = await make_source(case), await make_source(case, tenant="other")
        await put_aside(case, mine)
        kept = await put_aside(case, other)
        case.clock.advance(2 * DAY_S)
        young = await put_aside(case, mine)
        assert await purged(case, Keep(DAY_S, {"other": 10 * DAY_S})) == 1
        assert (await waiting(case, mine), await waiting(case, other)) == ([young], [kept])
        assert (await case.counts()).quarantined == 2


class TestReleaseQuarantined(StoreContract):
    """Out of quarantine, as an event."""

    def released(self, case: Case, quarantined_id: bytes, *endpoints: bytes, **changes: Any) -> NewEvent:
        """An event that comes of a request in quarantine."""
        return msgspec.structs.replace(case.new(*endpoints, **changes), released=quarantined_id)

    async def test_it_becomes_an_event_in_one_transaction(self, case: Case) -> None:
        """The event comes with its deliveries, and what was in quarantine is gone."""
        source = await make_source(case)
        endpoint = await case.endpoint()
        quarantined_id = await put_aside(case, source)
        item = self.released(case, quarantined_id, endpoint)
        (accepted,) = await case.accept(item)
        assert (accepted.event_id, accepted.deliveries, accepted.gone) == (item.event.id, 1, False)
        await case.restart()
        assert await waiting(case, source) == []
        assert [event.id for event in await case.listed_events()] == [item.event.id]
        counts = await case.counts()
        assert (counts.events, counts.deliveries, counts.quarantined) == (1, 1, 0)

    async def test_it_happens_once(self, case: Case) -> None:
        """What is not in quarantine any more, or is another tenant's, makes nothing: `gone`."""
        source = await make_source(case)
        quarantined_id = await put_aside(case, source)
        stranger = self.released(case, quarantined_id, tenant="other")
        assert list(await case.accept(stranger)) == [AcceptedItem(stranger.event.id, 0, gone=True)]
        await case.accept(self.released(case, quarantined_id))
        again = self.released(case, quarantined_id)
        assert list(await case.accept(again)) == [AcceptedItem(again.event.id, 0, gone=True)]
        assert len(await case.listed_events()) == 1

    async def test_of_many_at_once_one_releases(self, case: Case) -> None:
        """However many release the same one at the same moment, one event comes of it."""
        source = await make_source(case)
        quarantined_id = await put_aside(case, source)
        version = await case.version()
        results = await asyncio.gather(
            *(
                case.store.accept([AcceptRequest("default", [self.released(case, quarantined_id)])], version)
                for _ in range(8)
            )
        )
        assert sorted(result[0].items[0].gone for result in results) == [False] + [True] * 7
        assert len(await case.listed_events()) == 1

    async def test_a_repeat_is_then_a_duplicate_of_the_event(self, case: Case) -> None:
        """The key that was known for what was in quarantine stands for the event from then on."""
        source = await make_source(case)
        endpoint = await case.endpoint()
        quarantined_id = await put_aside(case, source, key=b"k" * 16)
        item = self.released(case, quarantined_id, endpoint, dedupe_key=b"k" * 16)
        await case.accept(item)
        for again in (bad(case, source, key=b"k" * 16), case.new(endpoint, dedupe_key=b"k" * 16)):
            assert list(await case.accept(again)) == [AcceptedItem(item.event.id, 1, duplicate=True)]


class TestRejections(StoreContract):
    """What was refused of late."""

    async def test_only_the_newest_stay(self, case: Case) -> None:
        """Of each source the newest are kept, newest first, over restarts; others' are not pruned with them."""
        source, other = await make_source(case), await make_source(case, "other")
        await case.store.add_rejections([RejectionRow(case.new_id(), other.id, b"other")], kept=3)
        for number in range(5):
            row = RejectionRow(case.new_id(), source.id, b"%d" % number)
            await case.store.add_rejections([row], kept=3)
        await case.store.add_rejections([])
        await case.restart()
        assert await kept_reasons(case, source) == [b"4", b"3", b"2"]
        assert await kept_reasons(case, other) == [b"other"]
        many = [RejectionRow(case.new_id(), source.id, b"m%d" % number) for number in range(10)]
        await case.store.add_rejections(many, kept=2)
        assert await kept_reasons(case, source) == [b"m9", b"m8"]

    async def test_pages(self, case: Case) -> None:
        """They come in pages, newest first."""
        source = await make_source(case)
        rows = [RejectionRow(case.new_id(), source.id, b"%d" % number) for number in range(5)]
        await case.store.add_rejections(rows)
        first = await case.store.rejections(source.id, 2, None)
        assert list(first.rows) == [rows[4], rows[3]]
        second = await case.store.rejections(source.id, 3, first.next)
        assert (list(second.rows), second.next) == ([rows[2], rows[1], rows[0]], None)

    async def test_they_go_with_their_source(self, case: Case) -> None:
        """Those of a deleted source are gone; what comes for one that is not there is passed over; no registry
        version is raised."""
        source = await make_source(case)
        await case.store.add_rejections([RejectionRow(case.new_id(), source.id, b"r")])
        await case.store.delete_source(source.id)
        before = await case.version()
        rows = [RejectionRow(case.new_id(), source_id, b"late") for source_id in (source.id, case.new_id())]
        await case.store.add_rejections(rows)
        assert [await kept_reasons(case, row) for row in (source,)] == [[]]
        assert list((await case.store.rejections(rows[1].source_id, 10, None)).rows) == []
        assert await case.version() == before
