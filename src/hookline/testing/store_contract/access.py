"""Tenants and API keys: kept as given, of one version with the registry, and gone together."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hookline.core.errors import Conflict, NotFound
from hookline.ports.store import EventTypeRow, KeyRow, TenantRow
from hookline.testing.samples import endpoint_row
from hookline.testing.store_contract.case import Case, StoreContract

TENANT = "acme"


def digest(number: int) -> bytes:
    """What stands for a key."""
    return number.to_bytes(32, "big")


async def make_tenant(case: Case, name: str = TENANT) -> TenantRow:
    """A tenant with limits of his own."""
    return await case.store.put_tenant(TenantRow(name, b'{"endpoints_max":3}'))


async def make_key(case: Case, number: int = 1, tenant: str | None = TENANT, **changes: Any) -> KeyRow:
    """A stored key."""
    row = KeyRow(case.new_id(), tenant, digest(number), "hl_…abcd", b'{"scopes":["read"]}')
    return await case.store.put_key(msgspec.structs.replace(row, **changes))


class TestTenants(StoreContract):
    """Tenants as rows."""

    async def test_a_tenant_is_kept_as_given(self, case: Case) -> None:
        """Every field comes back as given, with times and a new registry version set by the store."""
        before = await case.version()
        stored = await make_tenant(case)
        now_ms = case.store.now_ms()
        assert stored == TenantRow(TENANT, b'{"endpoints_max":3}', now_ms, now_ms, before + 1)
        await case.restart()
        for since in (0, before):
            changes = await case.store.changes(since)
            assert (list(changes.tenants), changes.version) == ([stored], before + 1)

    async def test_replacing_keeps_when_he_was_made(self, case: Case) -> None:
        """A replaced tenant has his new spec, the time of his creation, and a new version."""
        first = await make_tenant(case)
        case.clock.advance(60)
        second = await case.store.put_tenant(msgspec.structs.replace(first, spec=b"{}"), first.version)
        assert second == msgspec.structs.replace(
            first, spec=b"{}", updated_at_ms=first.updated_at_ms + 60_000, version=first.version + 1
        )
        assert list((await case.store.changes(0)).tenants) == [second]

    async def test_of_two_who_replace_one_wins(self, case: Case) -> None:
        """Replacing by a version that is not the last raises Conflict and changes nothing."""
        first = await make_tenant(case)
        second = await case.store.put_tenant(msgspec.structs.replace(first, spec=b"second"), first.version)
        with pytest.raises(Conflict) as refused:
            await case.store.put_tenant(msgspec.structs.replace(first, spec=b"third"), first.version)
        assert refused.value.code == "conflict"
        changes = await case.store.changes(0)
        assert (list(changes.tenants), changes.version) == ([second], second.version)

    async def test_a_name_belongs_to_one_tenant(self, case: Case) -> None:
        """Creating one who is there raises Conflict `name_taken` and leaves him as he is."""
        first = await make_tenant(case)
        with pytest.raises(Conflict) as refused:
            await case.store.put_tenant(TenantRow(TENANT, b"other"))
        assert refused.value.code == "name_taken"
        assert list((await case.store.changes(0)).tenants) == [first]

    async def test_who_is_not_there_is_not_changed(self, case: Case) -> None:
        """Replacing or deleting an unknown or deleted tenant raises NotFound and is no change."""
        first = await make_tenant(case)
        await case.store.delete_tenant(TENANT)
        before = await case.version()
        for name in (TENANT, "unknown"):
            with pytest.raises(NotFound):
                await case.store.put_tenant(msgspec.structs.replace(first, id=name), first.version)
            with pytest.raises(NotFound):
                await case.store.delete_tenant(name)
        assert await case.version() == before

    async def test_deleting_takes_all_that_is_his(self, case: Case) -> None:
        """In one version: a tombstone, his endpoints, keys and event types gone, and nobody else's."""
        await make_tenant(case)
        await make_tenant(case, "other")
        mine = [await case.endpoint(TENANT, uid="uid"), await case.endpoint(TENANT)]
        kept = await case.endpoint("other", uid="uid")
        my_key, other_key, operators = (
            await make_key(case, 1),
            await make_key(case, 2, "other"),
            await make_key(case, 3, None),
        )
        for tenant in (TENANT, "other"):
            row = EventTypeRow(tenant=tenant, name="order.created", number=0, mode="enforce", schema=b"{}")
            await case.store.put_event_type(row, create=True)
        before = await case.version()
        await case.store.delete_tenant(TENANT)
        changes = await case.store.changes(before)
        assert changes.version == before + 1
        assert [(row.id, row.deleted, row.version) for row in changes.tenants] == [(TENANT, True, before + 1)]
        assert {(row.id, row.deleted) for row in changes.endpoints} == {(endpoint, True) for endpoint in mine}
        assert [(row.id, row.deleted) for row in changes.keys] == [(my_key.id, True)]
        assert [(row.tenant, row.name, row.deleted) for row in changes.event_types] == [(TENANT, "order.created", True)]
        whole = await case.store.changes(0)
        assert [row.id for row in whole.endpoints] == [kept]
        assert {row.id for row in whole.keys} == {other_key.id, operators.id}
        assert [row.tenant for row in whole.event_types] == ["other"]
        assert {(row.id, row.deleted) for row in whole.tenants} == {(TENANT, True), ("other", False)}

    async def test_what_is_open_for_a_deleted_tenant_is_closed(self, case: Case) -> None:
        """The open deliveries of a deleted tenant's endpoints are discarded as those of a deleted endpoint are."""
        await make_tenant(case)
        endpoint = await case.endpoint(TENANT)
        delivery = await case.one(endpoint, tenant=TENANT)
        await case.store.delete_tenant(TENANT)
        assert await case.store.close_deleted() == 1
        row = await case.row(delivery)
        assert (row.state, row.reason) == ("discarded", "endpoint_deleted")
        assert (await case.counts(TENANT)).discarded == 1

    async def test_nothing_is_made_for_a_deleted_tenant(self, case: Case) -> None:
        """An endpoint, a key, an event type that come too late raise NotFound."""
        await make_tenant(case)
        await case.store.delete_tenant(TENANT)
        before = await case.version()
        with pytest.raises(NotFound):
            await case.store.put_endpoint(endpoint_row(id=case.new_id(), tenant=TENANT))
        with pytest.raises(NotFound):
            await make_key(case)
        with pytest.raises(NotFound):
            await case.store.put_event_type(EventTypeRow(tenant=TENANT, name="a", number=0, mode="off"), create=True)
        assert await case.version() == before

    async def test_a_deleted_one_may_be_made_again(self, case: Case) -> None:
        """Made again he is new, with nothing of what he had."""
        await make_tenant(case)
        await case.endpoint(TENANT)
        await make_key(case)
        await case.store.delete_tenant(TENANT)
        case.clock.advance(60)
        again = await make_tenant(case)
        assert (again.created_at_ms, again.deleted) == (case.store.now_ms(), False)
        changes = await case.store.changes(0)
        assert (list(changes.tenants), list(changes.endpoints), list(changes.keys)) == ([again], [], [])
        await make_key(case)


class TestKeys(StoreContract):
    """API keys as rows."""

    @pytest.mark.parametrize("tenant", [TENANT, None])
    async def test_a_key_is_kept_as_given(self, case: Case, tenant: str | None) -> None:
        """Every field comes back as given, a tenant's and the operator's, with a new registry version."""
        before = await case.version()
        row = KeyRow(case.new_id(), tenant, bytes(range(32)), "hl_…é", b'{"scopes":["publish"]}')
        stored = await case.store.put_key(row)
        assert stored == msgspec.structs.replace(row, created_at_ms=case.store.now_ms(), version=before + 1)
        await case.restart()
        for since in (0, before):
            assert list((await case.store.changes(since)).keys) == [stored]

    async def test_replacing_changes_what_it_may(self, case: Case) -> None:
        """A replaced key has its new spec and hint and a new version; its digest and creation stay."""
        first = await make_key(case)
        case.clock.advance(60)
        second = await case.store.put_key(msgspec.structs.replace(first, spec=b"{}", hint="new", digest=digest(9)))
        assert second == msgspec.structs.replace(first, spec=b"{}", hint="new", version=first.version + 1)
        assert list((await case.store.changes(0)).keys) == [second]

    async def test_a_digest_belongs_to_one_key(self, case: Case) -> None:
        """A second key of the same digest raises Conflict, also for another tenant; after a revocation it is free."""
        first = await make_key(case)
        with pytest.raises(Conflict) as refused:
            await make_key(case, tenant="other")
        assert refused.value.code == "conflict"
        await case.store.delete_key(first.id)
        second = await make_key(case, tenant="other")
        assert list((await case.store.changes(0)).keys) == [second]

    async def test_revoking(self, case: Case) -> None:
        """A revoked key is a tombstone in the changes, stays revoked for those who replace it, and is revoked once."""
        key = await make_key(case)
        await case.store.delete_key(key.id)
        changes = await case.store.changes(key.version)
        assert [(row.id, row.deleted) for row in changes.keys] == [(key.id, True)]
        with pytest.raises(NotFound):
            await case.store.put_key(msgspec.structs.replace(key, spec=b"{}"))
        for missing in (key.id, case.new_id()):
            with pytest.raises(NotFound):
                await case.store.delete_key(missing)
        assert list((await case.store.changes(0)).keys) == []
        assert await case.version() == changes.version

    async def test_a_key_stays_with_its_tenant(self, case: Case) -> None:
        """Replacing a key as another tenant's raises NotFound."""
        key = await make_key(case)
        with pytest.raises(NotFound):
            await case.store.put_key(msgspec.structs.replace(key, tenant="other"))
        assert list((await case.store.changes(0)).keys) == [key]

    async def test_uses_go_forward(self, case: Case) -> None:
        """Last uses are kept, never go back, are no change of the registry, and unknown keys are passed over."""
        first, second, third = [await make_key(case, number) for number in (1, 2, 3)]
        before = await case.version()
        assert dict(await case.store.key_uses()) == {}
        await case.store.note_key_uses({first.id: 2_000, second.id: 1_000, case.new_id(): 5_000})
        await case.store.note_key_uses({first.id: 1_000, second.id: 3_000})
        await case.store.note_key_uses({})
        await case.restart()
        assert dict(await case.store.key_uses()) == {first.id: 2_000, second.id: 3_000}
        assert await case.version() == before
        await case.store.delete_key(first.id)
        await case.store.put_key(msgspec.structs.replace(second, spec=b"{}"))
        await case.store.note_key_uses({first.id: 9_000, third.id: 4_000})
        assert dict(await case.store.key_uses()) == {second.id: 3_000, third.id: 4_000}
