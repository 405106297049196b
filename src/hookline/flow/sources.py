"""Managing sources: made, changed, deleted; what they refused of late. Free of HTTP.

Every change is committed with a new registry version before it is answered, so that a request that comes afterwards
is judged by it, on any node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.address import Target
from hookline.core.broker_source import KEYLESS, parse_address
from hookline.core.errors import Conflict, NotFound, Refusal
from hookline.core.event import TENANT_DEFAULT
from hookline.core.ids import IdMaker
from hookline.core.rejection import Rejection
from hookline.core.secret import NONCE_BYTES, Keyring
from hookline.core.source import PATH, TOKEN, TOKEN_BYTES, SourceSecrets, SourceSpec
from hookline.core.source_spec import HTTP, check_spec, decode_spec, encode_spec, merge_patch, parse_spec
from hookline.core.verified_by import (
    check_source_config,
    is_secret,
    masked,
    preset_for,
    proves_nothing,
    secrets_of,
)
from hookline.core.verifiers import presets
from hookline.core.verifiers.preset import Preset
from hookline.flow.catalogue import Catalogue
from hookline.flow.changing import on_the_newest
from hookline.flow.registry import Registry
from hookline.ports.clock import Clock
from hookline.ports.store import Page, SourceRow, Store

NOT_PROVEN: Final = "Nothing proves who sends: whoever knows the address is believed (verifier none)."
NOT_ENCRYPTED: Final = "The address is http: what comes can be read and changed on its way. Serve https."
NO_KEY: Final = (
    "At least once: this broker's messages have no coordinates of their own, so one that comes again is a new event. "
    "Name what tells them apart in reading.id, as header:message-id."
)
BROKER_NOT_ENCRYPTED: Final = "The broker's address is not encrypted: what comes can be read and changed on its way."
NOT_CONFIGURED: Final = "No secret is configured: requests that need one are refused until there is one."
SEALED: Final = "Its secrets were sealed with a key that is not here: requests are answered 503 until it is."
NO_SPOOL: Final = "There is no spool here: it needs HOOKLINE_SPOOL_PATH, a folder on a persistent volume."
_SECRETS: Final = msgspec.json.Decoder(SourceSecrets)


class DescribedSource(msgspec.Struct, frozen=True):
    """A source as it may be shown: secrets masked."""

    row: SourceRow
    spec: SourceSpec
    url: str
    """Where the provider is to send to; of one that consumes the broker's address."""
    warnings: Sequence[str]


class ConfigKey(msgspec.Struct, frozen=True):
    """A member of a preset's `config`. What is secret is sealed in the store and shown as `***`."""

    key: str
    secret: bool


class PresetView(msgspec.Struct, frozen=True):
    """A provider that is known: `verifier` is its name."""

    name: str
    title: str
    config: Sequence[ConfigKey]
    methods: Sequence[str]
    splits: bool
    """One request may be many events."""
    answer_within_s: float
    """After so long it gives up."""
    retry_window_s: float
    """Over so long it repeats a request."""
    never_retries: bool
    """What is not taken at once is lost."""


class NotedRejection(msgspec.Struct, frozen=True):
    """A refused request with its id, which says when it came."""

    id: bytes
    rejection: Rejection


Judge = Callable[[Target, str], Awaitable[None]]
"""(host and port, tenant): raises `Refusal` where a broker there may not be connected to."""


class Sources:
    """The service behind `/v1/sources`. `public_url` is our own address as the world sees it, without a slash at its
    end; `judge` judges the addresses of brokers; `has_spool`: a source may ask for the spool.

    Methods raise `Refusal` for what is asked for wrongly, `NotFound` (also for another tenant's), `Conflict` and
    `StoreUnavailable`.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        catalogue: Catalogue,
        keyring: Keyring,
        clock: Clock,
        id_maker: IdMaker,
        public_url: str,
        *,
        judge: Judge | None = None,
        has_spool: bool = False,
    ) -> None:
        self._judge = judge
        self._store = store
        self._registry = registry
        self._catalogue = catalogue
        self._keyring = keyring
        self._clock = clock
        self._ids = id_maker
        self._public_url = public_url
        self._has_spool = has_spool

    async def create(self, tenant: str, body: bytes) -> DescribedSource:
        """Make a source of the JSON that a client sent; from then on it takes requests."""
        spec = parse_spec(body)
        stored, secrets = await self._checked(tenant, spec, SourceSecrets(), None)
        row = SourceRow(
            id=self._ids.make(self._store.now_ms()),
            tenant=tenant,
            name=spec.name,
            uid=spec.uid,
            spec=encode_spec(stored),
            sealed=self._seal(secrets),
        )
        return await self._changed(await self._store.put_source(row))

    async def get(self, tenant: str, reference: str) -> DescribedSource:
        """One source, by id, name or uid."""
        return self._described(await self._catalogue.source(tenant, reference))

    async def page(self, tenant: str, limit: int, before: bytes | None) -> Page[DescribedSource]:
        """A page of sources, newest first."""
        page = await self._catalogue.sources(tenant, limit, before)
        return Page([self._described(row) for row in page.rows], page.next)

    async def patch(self, tenant: str, reference: str, body: bytes) -> DescribedSource:
        """Change a source by a JSON Merge Patch (RFC 7396). A secret that is not named stays as it is."""

        async def change(row: SourceRow) -> SourceRow:
            before = decode_spec(row.spec)
            spec = merge_patch(before, body)
            stored, secrets = await self._checked(tenant, spec, self._secrets(row), before.answer.endpoint)
            changed = msgspec.structs.replace(row, uid=spec.uid, spec=encode_spec(stored), sealed=self._seal(secrets))
            return await self._store.put_source(changed, row.version)

        row = await on_the_newest(lambda: self._catalogue.source(tenant, reference), change)
        return await self._changed(row)

    async def delete(self, tenant: str, reference: str) -> None:
        """From then on its address is unknown. Refused while it has anything in quarantine."""
        row = await self._catalogue.source(tenant, reference)
        await self._store.delete_source(row.id)
        await self._registry.take_over()

    async def rejections(self, tenant: str, reference: str, limit: int, before: bytes | None) -> Page[NotedRejection]:
        """What it refused of late, newest first."""
        row = await self._catalogue.source(tenant, reference)
        page = await self._store.rejections(row.id, limit, before)
        return Page([NotedRejection(one.id, Rejection.unpack(one.packed)) for one in page.rows], page.next)

    # ----------------------------------------------------------------------------------------------- together

    async def _checked(
        self, tenant: str, spec: SourceSpec, stored: SourceSecrets, endpoint_before: str | None
    ) -> tuple[SourceSpec, SourceSecrets]:
        """The spec as it is stored, and its secrets. Raises `Refusal`."""
        if spec.spool and not self._has_spool:
            raise Refusal("invalid_source", NO_SPOOL, pointer="/spool")
        preset = preset_for(spec.kind, spec.verifier)
        check_spec(spec, preset)
        own = secrets_of(preset, spec.config, stored.config)
        check_source_config(spec.kind, preset, {**spec.config, **own})
        if spec.kind != HTTP and self._judge is not None:
            for target in parse_address(spec.kind, spec.config["url"]).targets:
                await self._judge(target, tenant)
        await self._check_endpoint(tenant, spec, endpoint_before)
        token = stored.token or TOKEN + self._clock.random_bytes(TOKEN_BYTES).hex() if spec.token else None
        shown = msgspec.structs.replace(spec, config=masked(preset, spec.config))
        return shown, SourceSecrets(own, token)

    async def _check_endpoint(self, tenant: str, spec: SourceSpec, before: str | None) -> None:
        """Raise `Refusal` unless `answer.endpoint` names one of this tenant. One that did so `before` may stay, though
        the endpoint is gone since: whoever changes something else need not care."""
        reference = spec.answer.endpoint
        if reference is None or reference == before:
            return
        try:
            await self._catalogue.endpoint(tenant, reference)
        except NotFound:
            detail = "This tenant has no such endpoint: answer.endpoint is the id or the uid of one."
            raise Refusal("invalid_source", detail, pointer="/answer/endpoint") from None

    async def _changed(self, row: SourceRow) -> DescribedSource:
        await self._registry.take_over()
        return self._described(row)

    def _described(self, row: SourceRow) -> DescribedSource:
        spec = decode_spec(row.spec)
        address = row.name if row.tenant == TENANT_DEFAULT else ids.text(ids.SOURCE, row.id)
        warnings: list[str] = []
        try:
            secrets = self._secrets(row)
        except Conflict:
            warnings.append(SEALED)
            secrets = SourceSecrets()
        if spec.kind != HTTP:
            return DescribedSource(row, spec, str(spec.config.get("url", "")), warnings + _warnings_of_broker(spec))
        if spec.token:
            address = secrets.token or "tok_…"
        if spec.spool and not self._has_spool:
            warnings.append(NO_SPOOL)
        url = f"{self._public_url}{PATH}{address}"
        return DescribedSource(row, spec, url, warnings + _warnings(spec, preset_for(spec.kind, spec.verifier), url))

    def _seal(self, secrets: SourceSecrets) -> bytes:
        return self._keyring.seal(msgspec.json.encode(secrets), self._clock.random_bytes(NONCE_BYTES))

    def _secrets(self, row: SourceRow) -> SourceSecrets:
        try:
            return _SECRETS.decode(self._keyring.open(row.sealed))
        except ValueError as error:
            raise Conflict(str(error), code="wrong_state") from None


def _warnings(spec: SourceSpec, preset: Preset, url: str) -> list[str]:
    found: list[str] = []
    if proves_nothing(spec.verifier):
        found.append(NOT_PROVEN)
    elif preset.keys and not any(key in spec.config for key in preset.keys):
        found.append(NOT_CONFIGURED)
    if url.startswith("http://"):
        found.append(NOT_ENCRYPTED)
    return found


def _warnings_of_broker(spec: SourceSpec) -> list[str]:
    found: list[str] = []
    if spec.kind in KEYLESS and not spec.reading.id:
        found.append(NO_KEY)
    if not parse_address(spec.kind, str(spec.config.get("url", ""))).tls:
        found.append(BROKER_NOT_ENCRYPTED)
    return found


def known_presets() -> list[PresetView]:
    """Every provider that is known, in the order of the documentation. Slow the first time: all of them are loaded."""
    return [_view(presets.preset(name)) for name in presets.NAMES]


def _view(preset: Preset) -> PresetView:
    return PresetView(
        name=preset.name,
        title=preset.title,
        config=[ConfigKey(key, is_secret(preset, key)) for key in preset.keys],
        methods=preset.methods,
        splits=bool(preset.reading.split),
        answer_within_s=preset.answer_within_s,
        retry_window_s=preset.retry_window_s,
        never_retries=preset.never_retries,
    )
