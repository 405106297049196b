"""Tenants and keys in the flow: what may be published and how fast, what is noted, what a deletion takes along."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from hookline.core.api_key import KeySpec, digest
from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal, StoreUnavailable
from hookline.core.tenant import TenantSpec
from hookline.ports.store import KeyRow, Query, TenantRow


async def put_tenant(rig, name="default", **limits):
    """Lay down what is given for a tenant, or change it."""
    spec = msgspec.json.encode(TenantSpec(name, **limits))
    known = rig.engine.registry.tenant(name) is not None
    version = (await rig.store.changes(0)).tenants[0].version if known else None
    await rig.store.put_tenant(TenantRow(name, spec), version)
    await rig.engine.registry.refresh()


async def put_key(rig, key="a-key-of-acme", **members):
    """Issue a key, or change it; compiled."""
    spec = KeySpec(**{"scopes": ["publish"], "tenant": "acme", **members})
    row = KeyRow(b"k" * 12, spec.tenant, digest(key), key[-4:], msgspec.json.encode(spec))
    await rig.store.put_key(row)
    await rig.engine.registry.refresh()
    return rig.engine.registry.keys[digest(key)]


def events(*types):
    """Events to publish together."""
    return [{"type": one, "data": 1} for one in types]


async def test_a_tenant_publishes_at_his_rate(rig):
    """Beyond the burst it is 429 with a Retry-After that is true, for him alone; and then it goes on."""
    await put_tenant(rig, "slow", events_rate=RateSpec(1, 10.0, 2))
    for _ in range(2):
        assert (await rig.publishing(events("x")[0], tenant="slow")).status == 202
    answer = await rig.publishing(events("x")[0], tenant="slow")
    assert answer.status == 429
    assert json.loads(answer.body)["code"] == "rate_limited"
    assert answer.headers == ((b"retry-after", b"10"),)
    assert (await rig.publishing(events("x")[0], tenant="other")).status == 202
    rig.clock.advance(9.0)
    assert (await rig.publishing(events("x")[0], tenant="slow")).headers == ((b"retry-after", b"1"),)
    rig.clock.advance(1.0)
    assert (await rig.publishing(events("x")[0], tenant="slow")).status == 202


async def test_a_batch_passes_a_rate_as_a_whole_or_not_at_all(rig):
    """Each item counts, also one that is invalid; what does not fit takes nothing, and what never could is 413."""
    await put_tenant(rig, events_rate=RateSpec(5, 1.0))
    assert (await rig.publishing(events("a", "b", "no type"))).status == 202
    assert (await rig.publishing(events("a", "b", "c"))).status == 429
    assert (await rig.publishing(events("a", "b"))).status == 202
    assert (await rig.publishing(events("a"))).status == 429
    answer = await rig.publishing(events(*"abcdef"))
    problem = json.loads(answer.body)
    assert (answer.status, problem["code"], problem["events_max"]) == (413, "batch_too_large", 5)


async def test_a_rate_holds_from_the_next_publish_on(rig):
    """A rate that is changed or taken away counts at once."""
    await put_tenant(rig, events_rate=RateSpec(1, 3600.0))
    assert (await rig.publishing(events("a"))).status == 202
    assert (await rig.publishing(events("a"))).status == 429
    await put_tenant(rig)
    assert (await rig.publishing(events("a"))).status == 202
    await put_tenant(rig, events_rate=RateSpec(1, 3600.0))
    await rig.store.delete_tenant("default")
    await rig.engine.registry.refresh()
    assert (await rig.publishing(events("a", "b"))).status == 202


async def publish_allowed(rig, body, allowed, **more):
    """Publish with a key that may publish some types only."""
    future = asyncio.get_running_loop().create_future()
    raw = json.dumps(body).encode()
    content_type = more.get("content_type", "application/json")
    rig.engine.accept.publish("default", more.get("headers", {}), content_type, raw, future.set_result, allowed)
    answer = await future
    return answer.status, json.loads(answer.body)


async def test_a_key_publishes_its_types_only(rig):
    """Another type is 403 with a pointer, and in a batch that item is invalid; nothing of it is stored."""
    key = await put_key(rig, event_types=["order.*"])
    endpoint = await rig.endpoint()
    status, problem = await publish_allowed(rig, events("user.created")[0], key.allowed)
    assert (status, problem["code"], problem["pointer"]) == (403, "forbidden", "/type")
    cloudevent = {"specversion": "1.0", "id": "1", "source": "/s", "type": "user.created"}
    content_type = "application/cloudevents+json"
    assert (await publish_allowed(rig, cloudevent, key.allowed, content_type=content_type))[0] == 403
    status, answer = await publish_allowed(rig, events("order.created", "user.created"), key.allowed)
    assert status == 202
    assert [row["status"] for row in answer["data"]] == ["accepted", "invalid"]
    assert answer["data"][1]["problem"]["code"] == "forbidden"
    assert answer["data"][1]["problem"]["pointer"] == "/1/type"
    status, problem = await publish_allowed(rig, events("user.created", "order"), key.allowed)
    assert (status, problem["code"]) == (422, "nothing_acceptable")
    await rig.quiet()
    assert (await rig.counts(endpoint)).deliveries == 1


async def test_uses_are_noted_and_written_together(rig):
    """The first use of each interval is written by the step and at the end, and none is lost while the store fails."""
    key = await put_key(rig)
    guard, store = rig.engine.key_guard, rig.store
    used_ms = store.now_ms()
    guard.note(key.id)
    assert await guard.last_uses() == {key.id: used_ms}
    assert await store.key_uses() == {}
    real = store.note_key_uses

    async def fails(uses):
        raise StoreUnavailable("no")

    store.note_key_uses = fails
    with pytest.raises(StoreUnavailable):
        await rig.engine.upkeep.once("key_uses")
    await guard.close()
    assert rig.observer.warnings[-1][0] == "key_uses_left"
    store.note_key_uses = real
    assert await rig.engine.upkeep.once("key_uses") is False
    assert await store.key_uses() == await guard.last_uses() == {key.id: used_ms}
    assert guard.noted == {}
    rig.clock.advance(60)
    guard.note(key.id)
    await guard.close()
    assert (await store.key_uses())[key.id] >= used_ms + 60_000


async def test_a_key_ends(rig):
    """A key has ended from its last instant on, by the store's clock."""
    key = await put_key(rig, expires_at="2026-01-01T00:01:00Z")
    assert not rig.engine.key_guard.has_ended(key)
    rig.clock.advance(59.9)
    assert not rig.engine.key_guard.has_ended(key)
    rig.clock.advance(0.2)
    assert rig.engine.key_guard.has_ended(key)


async def test_requests_are_counted_by_key_and_by_address(rig):
    """Each address has its own rate, all together the key's; a refused request is counted nowhere."""
    guard = rig.engine.key_guard
    key = await put_key(rig, rate=RateSpec(3, 60.0), address_rate=RateSpec(1, 60.0, 1))
    guard.count(key, "192.0.2.1")
    for client in ("192.0.2.1", "192.0.2.1"):
        with pytest.raises(Refusal, match="from your address") as refusal:
            guard.count(key, client)
        assert (refusal.value.code, refusal.value.retry_after_s) == ("rate_limited", 60)
    guard.count(key, "2001:db8::1")
    with pytest.raises(Refusal, match="from your address"):
        guard.count(key, "2001:db8::2")
    guard.count(key, "192.0.2.2")
    with pytest.raises(Refusal, match="with this key") as refusal:
        guard.count(key, "192.0.2.3")
    assert refusal.value.retry_after_s == 20
    rig.clock.advance(20)
    guard.count(key, "192.0.2.3")


async def test_the_registry_knows_tenants_and_keys(rig):
    """What is stored, changed, deleted and made again is known after a refresh, and how long things are kept."""
    registry = rig.engine.registry
    assert registry.tenant("acme") is None
    assert not registry.tenant_deleted("acme")
    await put_tenant(rig, "acme", retention_s=60.0)
    key = await put_key(rig, "first-key")
    assert registry.tenant("acme") == TenantSpec("acme", retention_s=60.0)
    assert (registry.keep(5.0).of("acme"), registry.keep(5.0).of("other")) == (60.0, 5.0)
    changed = await put_key(rig, "first-key", scopes=["read"])
    assert (key.scopes, changed.scopes) == ({"publish"}, {"read"})
    await rig.store.delete_tenant("acme")
    await registry.refresh()
    assert registry.tenant("acme") is None
    assert registry.tenant_deleted("acme")
    assert registry.keys == {}
    assert registry.keep(5.0).of("acme") == 0.0
    await put_tenant(rig, "acme")
    assert not registry.tenant_deleted("acme")
    assert registry.keep(5.0).of("acme") == 5.0


async def test_what_cannot_be_read_is_told_and_may_nothing(rig):
    """A key or tenant that this version cannot read opens nothing, is told, and hides no other."""
    registry = rig.engine.registry
    await rig.store.put_tenant(TenantRow("odd", b'{"id": 5}'))
    await rig.store.put_key(KeyRow(b"o" * 12, "odd", digest("an-odd-key"), "-key", b"{"))
    key = await put_key(rig)
    assert list(registry.keys.values()) == [key]
    assert {name for name, _ in rig.observer.warnings} == {"tenant_unreadable", "key_unreadable"}


async def test_a_deleted_tenant_leaves_balanced_books(rig):
    """His endpoints go with him, and what was open is discarded; the books add up."""
    await put_tenant(rig)
    endpoint = await rig.endpoint(retry={"first_s": 100, "attempts": 3})
    rig.sender.gates[endpoint.url] = asyncio.Event()
    await rig.publish(events("a", "b", "c"))
    await rig.store.delete_tenant("default")
    await rig.engine.registry.refresh()
    assert rig.engine.registry.endpoint(endpoint.id) is None
    rig.sender.gates[endpoint.url].set()
    await rig.advance(200)
    while await rig.engine.upkeep.once("close_deleted"):
        pass
    counts = await rig.counts()
    assert counts.delivered + counts.discarded == counts.deliveries == 3
    assert (await rig.store.deliveries(Query(tenant="default"))).rows != ()
