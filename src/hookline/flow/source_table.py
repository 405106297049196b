"""The sources in memory, compiled, by each of the ways in which they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.event import TENANT_DEFAULT
from hookline.core.secret import Keyring
from hookline.core.source import Source, SourceSecrets
from hookline.core.source_spec import build_source, decode_spec
from hookline.core.verified_by import preset_for
from hookline.ports.store import SourceRow

_SECRETS: Final = msgspec.json.Decoder(SourceSecrets)


class SourceTable:
    """Kept by `flow.registry`. Reading it never waits."""

    def __init__(self, keyring: Keyring, warn: Callable[..., None]) -> None:
        """`warn` is told a name and fields of what a person should look at."""
        self._keyring = keyring
        self._warn = warn
        self._sources: dict[bytes, Source] = {}
        self._names: dict[tuple[str, str], bytes] = {}
        """By tenant and name, and by tenant and uid: the store lets no two sources have the same one."""
        self._tokens: dict[str, bytes] = {}

    def get(self, source_id: bytes) -> Source | None:
        """The source, unless unknown or deleted."""
        return self._sources.get(source_id)

    def consuming(self) -> list[Source]:
        """The enabled ones that consume from a broker."""
        return [source for source in self._sources.values() if source.kind != "http" and source.enabled]

    def of(self, tenant: str, reference: str) -> Source | None:
        """The tenant's source with this `src_…`, name or uid."""
        source_id = ids.parse(ids.SOURCE, reference) or self._names.get((tenant, reference))
        source = None if source_id is None else self._sources.get(source_id)
        return None if source is None or source.tenant != tenant else source

    def at(self, address: str) -> Source | None:
        """The enabled source at the path `/in/{address}`."""
        source_id = self._tokens.get(address) or ids.parse(ids.SOURCE, address)
        source = self.of(TENANT_DEFAULT, address) if source_id is None else self._sources.get(source_id)
        if source is None or not source.enabled:
            return None
        if source.kind != "http":
            return None
        # A uid is no address, and where there is a token nothing else is.
        if source.addressed:
            return source if source_id is not None or source.name == address else None
        return source if source.token == address else None

    def put(self, row: SourceRow) -> None:
        """Take over a change. Raises what building a stored source may raise; then it is as it was."""
        source = None if row.deleted else self._build(row)
        before = self._sources.pop(row.id, None)
        if before is not None:
            for name in (before.name, before.uid):
                # Another one may have got it, in a change that came before this one.
                if name is not None and self._names.get((before.tenant, name)) == before.id:
                    del self._names[before.tenant, name]
            if before.token is not None:
                self._tokens.pop(before.token, None)
        if source is None:
            return
        self._sources[source.id] = source
        for name in (source.name, source.uid):
            if name is not None:
                self._names[source.tenant, name] = source.id
        if source.token is not None:
            self._tokens[source.token] = source.id

    def _build(self, row: SourceRow) -> Source:
        secrets: SourceSecrets | None
        try:
            secrets = _SECRETS.decode(self._keyring.open(row.sealed))
        except ValueError as error:
            # Sealed with a key that is not here: what comes is answered 503, so that it comes again.
            self._warn("source_sealed", source=ids.text(ids.SOURCE, row.id), error=str(error))
            secrets = None
        spec = decode_spec(row.spec)
        return build_source(
            id=row.id,
            tenant=row.tenant,
            version=row.version,
            spec=spec,
            preset=preset_for(spec.kind, spec.verifier),
            secrets=secrets,
        )
