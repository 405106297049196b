"""The registry: endpoints and event types, each change a new version, nothing missed between two versions."""

from __future__ import annotations

import msgspec
import pytest

from hookline.core.endpoint import EndpointState
from hookline.core.errors import Conflict, NotFound
from hookline.ports.store import EndpointRow, EventTypeRow, HealthChange, HealthRow
from hookline.testing.samples import endpoint_row
from hookline.testing.store_contract.case import HELD_STATES, Case, StoreContract

SCHEMA = b'{"type": "object"}'


class TestEndpoints(StoreContract):
    """Endpoints as rows."""

    async def test_an_endpoint_is_kept_as_given(self, case: Case) -> None:
        """Every field comes back as given, secrets as bytes, with times and version set by the store."""
        row = endpoint_row(
            id=case.new_id(),
            tenant="other",
            uid="uid-1",
            state=EndpointState.UNVERIFIED,
            spec='{"description": "é☃"}'.encode(),
            sealed=bytes(range(256)),
            warnings=["the name does not resolve", "é"],
        )
        stored = await case.store.put_endpoint(row)
        now_ms = case.store.now_ms()
        expected = msgspec.structs.replace(
            row, created_at_ms=now_ms, updated_at_ms=now_ms, version=await case.version(), warnings=stored.warnings
        )
        assert stored == expected
        assert list(stored.warnings) == ["the name does not resolve", "é"]
        await case.restart()
        changes = await case.store.changes(0)
        assert [comparable(endpoint) for endpoint in changes.endpoints] == [comparable(stored)]

    async def test_replacing_keeps_when_it_was_made(self, case: Case) -> None:
        """A replaced endpoint has its new fields, the time of its creation, and a new version."""
        endpoint = await case.endpoint()
        (before,) = (await case.store.changes(0)).endpoints
        case.clock.advance(60)
        row = msgspec.structs.replace(before, spec=b'{"new": true}', uid="named")
        after = await case.store.put_endpoint(row, before.version)
        assert (after.id, after.spec, after.uid) == (endpoint, b'{"new": true}', "named")
        assert after.created_at_ms == before.created_at_ms
        assert after.updated_at_ms == before.updated_at_ms + 60_000
        assert after.version == before.version + 1 == await case.version()

    async def test_of_two_who_replace_one_wins(self, case: Case) -> None:
        """Replacing by a version that is not the last raises Conflict and changes nothing."""
        await case.endpoint()
        (row,) = (await case.store.changes(0)).endpoints
        first = await case.store.put_endpoint(msgspec.structs.replace(row, spec=b"first"), row.version)
        with pytest.raises(Conflict) as refused:
            await case.store.put_endpoint(msgspec.structs.replace(row, spec=b"second"), row.version)
        assert refused.value.code == "conflict"
        changes = await case.store.changes(0)
        assert [endpoint.spec for endpoint in changes.endpoints] == [b"first"]
        assert changes.version == first.version

    async def test_what_is_not_there_is_not_replaced(self, case: Case) -> None:
        """Replacing, pausing an unknown or deleted endpoint raises NotFound."""
        endpoint = await case.endpoint()
        (row,) = (await case.store.changes(0)).endpoints
        await case.store.delete_endpoint(endpoint)
        for missing in (endpoint, b"\x01" * 12):
            with pytest.raises(NotFound):
                await case.store.put_endpoint(msgspec.structs.replace(row, id=missing), row.version)
            with pytest.raises(NotFound):
                await case.store.set_endpoint_state(missing, EndpointState.PAUSED)

    async def test_a_uid_belongs_to_one_endpoint_of_its_tenant(self, case: Case) -> None:
        """A taken uid raises Conflict at creation and at replacing; another tenant may have the same."""
        await case.endpoint(uid="mine")
        other = await case.endpoint(uid="other")
        await case.endpoint("other", uid="mine")
        before = await case.version()
        with pytest.raises(Conflict) as refused:
            await case.endpoint(uid="mine")
        assert refused.value.code == "uid_taken"
        row = next(row for row in (await case.store.changes(0)).endpoints if row.id == other)
        with pytest.raises(Conflict) as refused:
            await case.store.put_endpoint(msgspec.structs.replace(row, uid="mine"), row.version)
        assert refused.value.code == "uid_taken"
        assert await case.version() == before
        kept = await case.store.put_endpoint(row, row.version)
        assert kept.uid == "other"

    async def test_a_uid_is_free_after_its_endpoint(self, case: Case) -> None:
        """After a delete, or a change of uid, the old uid can be taken."""
        first = await case.endpoint(uid="name")
        await case.store.delete_endpoint(first)
        second = await case.endpoint(uid="name")
        row = next(row for row in (await case.store.changes(0)).endpoints if row.id == second)
        await case.store.put_endpoint(msgspec.structs.replace(row, uid=None), row.version)
        third = await case.endpoint(uid="name")
        assert {row.id: row.uid for row in (await case.store.changes(0)).endpoints} == {second: None, third: "name"}

    async def test_set_state(self, case: Case) -> None:
        """A state that was set is there, with a new version, and leaves the rest as it was."""
        endpoint = await case.endpoint(uid="u")
        before = await case.version()
        for number, state in enumerate(EndpointState, 1):
            row = await case.store.set_endpoint_state(endpoint, state)
            assert (row.id, row.uid, row.state, row.version) == (endpoint, "u", state, before + number)
        await case.restart()
        assert [row.state for row in (await case.store.changes(0)).endpoints] == [state]

    @pytest.mark.parametrize("state", HELD_STATES)
    async def test_resuming_forgets_health(self, case: Case, state: EndpointState) -> None:
        """Resumed, an endpoint has no health worth the name, waits for nothing and needs no probe."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.change_health(endpoint, wait_s=3600, probe_s=3600)
        await case.store.set_endpoint_state(endpoint, state)
        await case.resume(endpoint)
        assert [(row.packed, row.wait_s, row.probe_s) for row in await case.store.healths()] in (
            [],
            [(b"", None, None)],
        )
        assert len(await case.claim(endpoint)) == 1
        await case.change_health(endpoint, packed=b"new")
        assert [row.packed for row in await case.store.healths()] == [b"new"]

    async def test_replacing_by_an_active_one_forgets_health(self, case: Case) -> None:
        """An endpoint that becomes active by a replacement has no past; one that was active keeps its health."""
        endpoint = await case.endpoint()
        await case.change_health(endpoint, wait_s=60, probe_s=60)
        (row,) = (await case.store.changes(0)).endpoints
        row = await case.store.put_endpoint(row, row.version)
        assert [health.endpoint_id for health in await case.store.healths()] == [endpoint]
        row = await case.store.put_endpoint(msgspec.structs.replace(row, state=EndpointState.UNVERIFIED), row.version)
        await case.store.put_endpoint(msgspec.structs.replace(row, state=EndpointState.ACTIVE), row.version)
        assert [health.packed for health in await case.store.healths()] in ([], [b""])

    async def test_health_judged_before_a_resume_is_not_heard_after_it(self, case: Case) -> None:
        """Forgetting does not turn the version back: who judged by the old health cannot overwrite the new one."""
        endpoint = await case.endpoint()
        await case.change_health(endpoint)
        (old,) = await case.store.healths()
        await case.pause(endpoint)
        await case.resume(endpoint)
        await case.change_health(endpoint, packed=b"new")
        late = HealthChange(HealthRow(endpoint, old.version, b"late", probe_s=60.0))
        assert list((await case.record(healths=[late])).health_applied) == [False]
        assert [row.packed for row in await case.store.healths()] == [b"new"]

    async def test_health_of_a_deleted_endpoint_is_gone(self, case: Case) -> None:
        """A deleted endpoint's health is not read any more."""
        endpoint = await case.endpoint()
        await case.change_health(endpoint)
        await case.store.delete_endpoint(endpoint)
        assert list(await case.store.healths()) == []


class TestChanges(StoreContract):
    """`changes(since)`: a snapshot follows the registry without missing anything."""

    async def test_an_empty_registry(self, case: Case) -> None:
        """A new store has no endpoints and no event types."""
        changes = await case.store.changes(0)
        assert (list(changes.endpoints), list(changes.event_types)) == ([], [])

    async def test_only_what_changed_since(self, case: Case) -> None:
        """After a version come only the rows that changed after it, each as it is now, tombstones included."""
        kept, paused, deleted = await case.endpoints(3)
        before = await case.version()
        assert not (await case.store.changes(before)).endpoints
        await case.pause(paused)
        await case.store.delete_endpoint(deleted)
        made = await case.endpoint()
        changes = await case.store.changes(before)
        assert changes.version == before + 3
        found = {row.id: row for row in changes.endpoints}
        assert set(found) == {paused, deleted, made}
        assert found[paused].state is EndpointState.PAUSED
        assert [found[endpoint].deleted for endpoint in (paused, deleted, made)] == [False, True, False]
        assert {row.id for row in (await case.store.changes(0)).endpoints} == {kept, paused, made}

    async def test_a_snapshot_that_follows_is_the_registry(self, case: Case) -> None:
        """Applied in turn, the changes since each last version make exactly what a fresh read gives."""
        snapshot: dict[bytes, EndpointRow] = {}
        version = 0
        for number in range(12):
            endpoint = await case.endpoint()
            if number % 3 == 1:
                await case.pause(endpoint)
            if number % 4 == 2:
                await case.store.delete_endpoint(min(snapshot))
            if number % 2:
                changes = await case.store.changes(version)
                version = changes.version
                snapshot.update({row.id: row for row in changes.endpoints})
                snapshot = {key: row for key, row in snapshot.items() if not row.deleted}
        changes = await case.store.changes(0)
        assert changes.version == version
        assert {row.id: comparable(row) for row in changes.endpoints} == {
            key: comparable(row) for key, row in snapshot.items()
        }


class TestEventTypes(StoreContract):
    """The catalogue."""

    def row(self, name: str = "order.created", tenant: str = "default", **changes: object) -> EventTypeRow:
        """An event type as it is given."""
        row = EventTypeRow(tenant=tenant, name=name, number=0, mode="enforce", schema=SCHEMA)
        return msgspec.structs.replace(row, **changes)

    async def test_an_event_type_is_kept_as_given(self, case: Case) -> None:
        """Every field comes back as given, as version number 1, and raises the registry's version."""
        before = await case.version()
        row = self.row(example=b'{"a":  1}', description="An order was created: é")
        stored = await case.store.put_event_type(row, create=True)
        assert stored == msgspec.structs.replace(row, number=1, version=before + 1, created_at_ms=case.store.now_ms())
        await case.restart()
        assert list((await case.store.changes(before)).event_types) == [stored]
        assert list(await case.store.event_type_versions("default", "order.created")) == [stored]

    async def test_a_name_belongs_to_one_type_of_its_tenant(self, case: Case) -> None:
        """A taken name raises Conflict; another tenant may have the same."""
        await case.store.put_event_type(self.row(), create=True)
        await case.store.put_event_type(self.row(tenant="other"), create=True)
        with pytest.raises(Conflict) as refused:
            await case.store.put_event_type(self.row(), create=True)
        assert refused.value.code == "name_taken"

    async def test_a_changed_schema_is_a_new_version(self, case: Case) -> None:
        """A new schema raises the number and keeps the old one; the newest is the current one."""
        first = await case.store.put_event_type(self.row(), create=True)
        second = await case.store.put_event_type(self.row(schema=b'{"type": "array"}'), create=False)
        assert (first.number, second.number) == (1, 2)
        versions = await case.store.event_type_versions("default", "order.created")
        assert [(row.number, row.schema) for row in versions] == [(2, b'{"type": "array"}'), (1, SCHEMA)]
        assert [row.number for row in (await case.store.changes(0)).event_types] == [2]

    async def test_the_rest_is_changed_in_place(self, case: Case) -> None:
        """Another mode, example or description with the same schema is no new version, but a change."""
        first = await case.store.put_event_type(self.row(), create=True)
        changed = await case.store.put_event_type(
            self.row(mode="warn", example=b"{}", description="changed"), create=False
        )
        assert (changed.number, changed.mode, changed.version) == (1, "warn", first.version + 1)
        (row,) = await case.store.event_type_versions("default", "order.created")
        assert (row.mode, row.example, row.description) == ("warn", b"{}", "changed")
        assert [row.mode for row in (await case.store.changes(first.version)).event_types] == ["warn"]

    async def test_what_is_not_there_is_not_changed(self, case: Case) -> None:
        """Changing or deleting an unknown type, or another tenant's, raises NotFound; versions of it are none."""
        await case.store.put_event_type(self.row(tenant="other"), create=True)
        with pytest.raises(NotFound):
            await case.store.put_event_type(self.row(), create=False)
        with pytest.raises(NotFound):
            await case.store.delete_event_type("default", "order.created")
        assert list(await case.store.event_type_versions("default", "order.created")) == []

    async def test_delete(self, case: Case) -> None:
        """A deleted type is a tombstone in the changes, is gone with its versions, and its name is free."""
        await case.store.put_event_type(self.row(), create=True)
        await case.store.put_event_type(self.row(schema=b"{}"), create=False)
        before = await case.version()
        await case.store.delete_event_type("default", "order.created")
        changes = await case.store.changes(before)
        assert [(row.tenant, row.name, row.deleted) for row in changes.event_types] == [
            ("default", "order.created", True)
        ]
        assert list((await case.store.changes(0)).event_types) == []
        assert list(await case.store.event_type_versions("default", "order.created")) == []
        again = await case.store.put_event_type(self.row(mode="off"), create=True)
        assert [row.mode for row in (await case.store.changes(before)).event_types if not row.deleted] == ["off"]
        assert list((await case.store.changes(0)).event_types) == [again]


def comparable(row: EndpointRow) -> EndpointRow:
    """The row with its warnings as a tuple: a store may give any sequence."""
    return msgspec.structs.replace(row, warnings=tuple(row.warnings))
