"""The registry in memory: endpoints, event types, sources, tenants and keys, compiled, at one version.

The accept transaction compares that version with the store's: if the store's is newer, nothing is committed, the
snapshot is refreshed and the event is routed again. So an endpoint whose creation was answered misses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from hookline.core import ids
from hookline.core.api_key import Key, KeySpec, build_key
from hookline.core.endpoint import Endpoint, EndpointState, RateSpec, Secrets
from hookline.core.errors import StoreUnavailable
from hookline.core.event_type import PatternIndex
from hookline.core.schema import Schema
from hookline.core.secret import Keyring
from hookline.core.source import Source
from hookline.core.subscribe import build_endpoint, decode_spec
from hookline.core.tenant import TenantSpec
from hookline.flow.source_table import SourceTable
from hookline.ports.observer import Observer
from hookline.ports.store import EndpointRow, EventTypeRow, Keep, KeyRow, TenantRow
from hookline.ports.store import Registry as RegistryStore

_TENANT = msgspec.json.Decoder(TenantSpec)
_KEY = msgspec.json.Decoder(KeySpec)


class EventType(msgspec.Struct, frozen=True):
    """An event type of the catalogue, its current schema compiled."""

    name: str
    mode: str
    """`enforce`, `warn` or `off`."""
    schema: Schema | None


class Registry:
    """What the store knows of its configuration, ready for use. Reading it never waits."""

    def __init__(self, store: RegistryStore, keyring: Keyring, observer: Observer | None = None) -> None:
        self._store = store
        self._observer = observer
        self._keyring = keyring
        self._refreshing: asyncio.Task[None] | None = None
        self._endpoints: dict[bytes, Endpoint] = {}
        self._uids: dict[tuple[str, str], bytes] = {}
        self._patterns: dict[str, PatternIndex[Endpoint]] = {}
        self._types: dict[tuple[str, str], EventType] = {}
        self._sources = SourceTable(keyring, self._warn)
        self._failing: set[bytes] = set()
        self._tenants: dict[str, TenantSpec] = {}
        self._digests: dict[bytes, bytes] = {}
        """Of each key, by its id."""
        self._keep: dict[str, float] = {}
        self.keys: dict[bytes, Key] = {}
        """Every issued key by its digest; one and the same object while it changes."""
        self.deleted_tenants: set[str] = set()
        """One and the same object while it changes."""
        self.events_rates: dict[str, RateSpec] = {}
        """The tenants that may not publish as fast as they like; one and the same object while it changes."""
        self._watchers: list[Callable[[Endpoint | None, Endpoint], None]] = []
        self.version = 0
        self.refreshed: Callable[[], None] = lambda: None
        """Called after every change that was taken over."""

    def watch(self, changed: Callable[[Endpoint | None, Endpoint], None]) -> None:
        """Call `changed(before, after)` for every endpoint that changes (`after.deleted` when it is gone)."""
        self._watchers.append(changed)

    def endpoint(self, endpoint_id: bytes) -> Endpoint | None:
        """The endpoint, unless unknown or deleted."""
        return self._endpoints.get(endpoint_id)

    def endpoint_of(self, tenant: str, reference: str) -> Endpoint | None:
        """The tenant's endpoint with this `ep_…` or uid, unless unknown or deleted."""
        endpoint_id = ids.parse(ids.ENDPOINT, reference) or self._uids.get((tenant, reference))
        endpoint = None if endpoint_id is None else self._endpoints.get(endpoint_id)
        return None if endpoint is None or endpoint.tenant != tenant else endpoint

    def event_type(self, tenant: str, name: str) -> EventType | None:
        """The catalogue's entry, or None."""
        return self._types.get((tenant, name))

    def source(self, source_id: bytes) -> Source | None:
        """The source, unless unknown or deleted."""
        return self._sources.get(source_id)

    def source_of(self, tenant: str, reference: str) -> Source | None:
        """The tenant's source with this `src_…`, name or uid, unless unknown or deleted."""
        return self._sources.of(tenant, reference)

    def source_at(self, address: str) -> Source | None:
        """The source whose path is `/in/` and this: a token, a name (of the tenant `default`), or a `src_…` (of any).
        None: unknown, deleted, or disabled."""
        return self._sources.at(address)

    def consuming(self) -> Sequence[Source]:
        """The enabled sources that consume from a broker, of tenants that are there."""
        return [source for source in self._sources.consuming() if source.tenant not in self.deleted_tenants]

    def candidates(self, tenant: str, event_type: str) -> Sequence[Endpoint]:
        """The tenant's endpoints with a pattern for this type; their filters are still to be asked."""
        patterns = self._patterns.get(tenant)
        return () if patterns is None else patterns.match(event_type)

    def tenant(self, name: str) -> TenantSpec | None:
        """What was laid down for the tenant; None: nothing, or he is deleted."""
        return self._tenants.get(name)

    def tenant_deleted(self, name: str) -> bool:
        """Whether he was deleted and not created again: nobody may act for him."""
        return name in self.deleted_tenants

    def keep(self, default_s: float) -> Keep:
        """How long things are kept, by tenant: nothing of those who are deleted."""
        return Keep(default_s, {**self._keep, **dict.fromkeys(self.deleted_tenants, 0.0)})

    def failing(self, endpoint_id: bytes) -> bool:
        """Whether the endpoint's health is failing: reported on top of `active`."""
        return endpoint_id in self._failing

    def set_failing(self, endpoint_id: bytes, failing: bool) -> None:
        """Told by `flow.deliver`, which keeps the health."""
        (self._failing.add if failing else self._failing.discard)(endpoint_id)

    async def refresh(self) -> None:
        """Take over all changes that were committed before this call."""
        # A refresh that already runs may have read the store before the caller's change: wait for it, then run one
        # more, which all waiting callers share.
        while self._refreshing is not None and not self._refreshing.done():
            running = self._refreshing
            await asyncio.shield(running)
            if self._refreshing is running:
                break
            if not self._refreshing.done():
                await asyncio.shield(self._refreshing)
                return
        self._refreshing = asyncio.get_running_loop().create_task(self._apply())
        await asyncio.shield(self._refreshing)

    async def take_over(self) -> None:
        """Refresh after a change that is committed. It must not be answered as if it were not, so a store that cannot
        be read now is passed over: the next accept finds the new version in its own transaction and refreshes then."""
        try:
            await self.refresh()
        except StoreUnavailable:
            pass

    async def _apply(self) -> None:
        changes = await self._store.changes(self.version)
        for row in changes.endpoints:
            try:
                self._put_endpoint(row)
            except Exception as error:  # noqa: BLE001 - a row that cannot be read must not block all the others
                self._warn("endpoint_unreadable", endpoint=ids.text(ids.ENDPOINT, row.id), error=repr(error))
        for type_row in changes.event_types:
            try:
                self._put_event_type(type_row)
            except Exception as error:  # noqa: BLE001 - the same
                self._warn("event_type_unreadable", event_type=type_row.name, error=repr(error))
        for tenant_row in changes.tenants:
            try:
                self._put_tenant(tenant_row)
            except Exception as error:  # noqa: BLE001 - the same
                self._warn("tenant_unreadable", tenant=tenant_row.id, error=repr(error))
        for key_row in changes.keys:
            try:
                self._put_key(key_row)
            except Exception as error:  # noqa: BLE001 - the same
                self._warn("key_unreadable", key=ids.text(ids.KEY, key_row.id), error=repr(error))
        for source_row in changes.sources:
            try:
                self._sources.put(source_row)
            except Exception as error:  # noqa: BLE001 - the same
                self._warn("source_unreadable", source=ids.text(ids.SOURCE, source_row.id), error=repr(error))
        if changes.version > self.version:
            self.version = changes.version
            self.refreshed()

    def _warn(self, name: str, **fields: object) -> None:
        if self._observer is not None:
            self._observer.warn(name, **fields)

    def _put_endpoint(self, row: EndpointRow) -> None:
        before = self._endpoints.get(row.id)
        endpoint = None if row.deleted else self._build(row)
        if before is not None:
            del self._endpoints[row.id]
            self._patterns[before.tenant].remove(before.patterns, before)
            # Another one may have got its uid, in a change that came before this one.
            if before.uid is not None and self._uids.get((before.tenant, before.uid)) == before.id:
                del self._uids[before.tenant, before.uid]
        if endpoint is None:
            self._failing.discard(row.id)
            if before is not None:
                self._tell(before, msgspec.structs.replace(before, deleted=True))
            return
        self._endpoints[row.id] = endpoint
        if endpoint.uid is not None:
            self._uids[endpoint.tenant, endpoint.uid] = endpoint.id
        patterns = self._patterns.get(endpoint.tenant)
        if patterns is None:
            patterns = self._patterns[endpoint.tenant] = PatternIndex()
        patterns.add(endpoint.patterns, endpoint)
        self._tell(before, endpoint)

    def _build(self, row: EndpointRow) -> Endpoint:
        state = EndpointState(row.state)
        try:
            secrets = msgspec.json.decode(self._keyring.open(row.sealed), type=Secrets)
        except ValueError as error:
            # Sealed with a key that is not here: events are still routed to it, nothing is sent unsigned, and what
            # waits is delivered once the key is back.
            self._warn("endpoint_sealed", endpoint=ids.text(ids.ENDPOINT, row.id), error=str(error))
            secrets = Secrets([])
            state = EndpointState.PAUSED if state.delivers else state
        return build_endpoint(
            id=row.id,
            tenant=row.tenant,
            uid=row.uid,
            version=row.version,
            state=state,
            spec=decode_spec(row.spec),
            secrets=secrets,
        )

    def _put_event_type(self, row: EventTypeRow) -> None:
        key = (row.tenant, row.name)
        if row.deleted:
            self._types.pop(key, None)
            return
        schema = Schema(row.schema) if row.schema is not None else None
        self._types[key] = EventType(name=row.name, mode=row.mode, schema=schema)

    def _put_tenant(self, row: TenantRow) -> None:
        for table in (self._tenants, self._keep, self.events_rates):
            table.pop(row.id, None)
        if row.deleted:
            self.deleted_tenants.add(row.id)
            return
        self.deleted_tenants.discard(row.id)
        spec = self._tenants[row.id] = _TENANT.decode(row.spec)
        if spec.retention_s is not None:
            self._keep[row.id] = spec.retention_s
        if spec.events_rate is not None:
            self.events_rates[row.id] = spec.events_rate

    def _put_key(self, row: KeyRow) -> None:
        known_as = self._digests.pop(row.id, None)
        if known_as is not None:
            del self.keys[known_as]
        if row.deleted:
            return
        self.keys[row.digest] = build_key(row.id, row.digest, _KEY.decode(row.spec))
        self._digests[row.id] = row.digest

    def _tell(self, before: Endpoint | None, after: Endpoint) -> None:
        for watcher in self._watchers:
            watcher(before, after)
