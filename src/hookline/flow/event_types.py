"""The catalogue of event types: names with versions of a JSON Schema, enforced at publish. Free of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from hookline.core.errors import NotFound, Refusal
from hookline.core.event_type import check_type, is_operational
from hookline.core.schema import Schema
from hookline.flow.catalogue import Catalogue
from hookline.flow.reading import read
from hookline.flow.registry import Registry
from hookline.ports.store import EventTypeRow, Page
from hookline.ports.store import Registry as RegistryStore

Mode = Literal["enforce", "warn", "off"]
DESCRIPTION_CHARS_MAX: Final = 1024
SCHEMA_BYTES_MAX: Final = 256 * 1024
EXAMPLE_BYTES_MAX: Final = 64 * 1024
_NULL: Final = b"null"


class EventTypeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new event type."""

    name: str
    schema: Raw | UnsetType = UNSET
    """JSON Schema 2020-12, without remote references."""
    mode: Mode = "enforce"
    """What a payload that breaks the schema gets: `enforce` a 422, `warn` a log line, `off` nothing."""
    example: Raw | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX)] = ""


class EventTypePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of an event type; what is not named stays. A changed schema is a new version."""

    schema: Raw | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    example: Raw | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX)] | UnsetType = UNSET


_SPEC = msgspec.json.Decoder(EventTypeSpec)
_PATCH = msgspec.json.Decoder(EventTypePatch)


class EventTypes:
    """The service behind `/v1/event-types`. Methods raise `Refusal`, `NotFound`, `Conflict`, `StoreUnavailable`."""

    def __init__(self, store: RegistryStore, registry: Registry, catalogue: Catalogue) -> None:
        self._store = store
        self._registry = registry
        self._catalogue = catalogue

    async def create(self, tenant: str, body: bytes) -> EventTypeRow:
        """Add an event type; publishes accepted after this are held to it."""
        spec = read(_SPEC, body, code="invalid_event_type", noun="event type")
        try:
            check_type(spec.name)
        except Refusal as refusal:
            raise Refusal(refusal.code, refusal.detail, pointer="/name") from None
        if is_operational(spec.name):
            raise Refusal("reserved_event_type", "Names that begin with hookline. are ours.", pointer="/name")
        row = EventTypeRow(
            tenant=tenant,
            name=spec.name,
            number=1,
            mode=spec.mode,
            schema=_schema(spec.schema),
            example=_example(spec.example),
            description=spec.description,
        )
        return await self._changed(await self._store.put_event_type(row, create=True))

    async def patch(self, tenant: str, name: str, body: bytes) -> EventTypeRow:
        """Change what is named; the answer is the version that holds from now on."""
        patch = read(_PATCH, body, code="invalid_event_type", noun="event type")
        row = await self._catalogue.event_type(tenant, name)
        changed = msgspec.structs.replace(
            row,
            mode=row.mode if patch.mode is UNSET else patch.mode,
            schema=row.schema if patch.schema is UNSET else _schema(patch.schema),
            example=row.example if patch.example is UNSET else _example(patch.example),
            description=row.description if patch.description is UNSET else patch.description,
        )
        return await self._changed(await self._store.put_event_type(changed, create=False))

    async def get(self, tenant: str, name: str) -> Sequence[EventTypeRow]:
        """All versions of an event type, newest first."""
        versions = await self._store.event_type_versions(tenant, name)
        if not versions:
            raise NotFound("no such event type")
        return versions

    async def page(self, tenant: str, limit: int, after: bytes | None) -> Page[EventTypeRow]:
        """A page of current versions, by name."""
        return await self._catalogue.event_types(tenant, limit, after)

    async def delete(self, tenant: str, name: str) -> None:
        """Remove it with all its versions; publishing the type is then as with any unknown one."""
        await self._store.delete_event_type(tenant, name)
        await self._registry.take_over()

    async def _changed(self, row: EventTypeRow) -> EventTypeRow:
        await self._registry.take_over()
        return row


def _schema(raw: Raw | UnsetType) -> bytes | None:
    text = _bounded(raw, "schema", SCHEMA_BYTES_MAX)
    if text is not None:
        Schema(text)  # raises Refusal
    return text


def _example(raw: Raw | UnsetType) -> bytes | None:
    return _bounded(raw, "example", EXAMPLE_BYTES_MAX)


def _bounded(raw: Raw | UnsetType, member: str, bytes_max: int) -> bytes | None:
    if raw is UNSET:
        return None
    text = bytes(raw)
    if text == _NULL:
        return None
    if len(text) > bytes_max:
        raise Refusal("payload_too_large", f"A {member} is at most {bytes_max // 1024} KiB.", pointer=f"/{member}")
    return text
