"""Managing endpoints: made, changed, paused, resumed, given a new secret, deleted. Free of HTTP.

Every change is committed with a new registry version before it is answered, so no event accepted afterwards misses
it, on any node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from hookline.core import ids
from hookline.core.consent import must_ask
from hookline.core.endpoint import EndpointSpec, EndpointState, Secrets, SigningKey
from hookline.core.errors import Conflict, Refusal, StoreUnavailable
from hookline.core.ids import IdMaker
from hookline.core.secret import (
    NONCE_BYTES,
    RANDOM_BYTES,
    Keyring,
    check_signing_secret,
    make_signing_secret,
    public_key,
)
from hookline.core.subscribe import check_spec, decode_spec, encode_spec, keep_auth, merge_patch, parse_spec
from hookline.flow.catalogue import Catalogue
from hookline.flow.changing import on_the_newest
from hookline.flow.reading import read_optional
from hookline.flow.registry import Registry
from hookline.flow.verification import Verification
from hookline.ports.clock import Clock
from hookline.ports.sender import Sender
from hookline.ports.store import Counts, EndpointRow, Page, Store

OVERLAP_S_DEFAULT: Final = 86_400.0
OVERLAP_S_MAX: Final = 30 * 86_400.0
SIGNING_KEYS_MAX: Final = 5
"""Secrets of one endpoint that are valid at the same time; each makes the signature header longer."""

T = TypeVar("T")
Notify = Callable[[dict[bytes, float]], None]


class Described(msgspec.Struct, frozen=True):
    """An endpoint as it may be shown: no secrets, credentials masked."""

    row: EndpointRow
    spec: EndpointSpec
    state: str
    """`active`, `paused`, `failing`, `disabled` or `unverified`."""


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new signing secret: the one given or a new one, and for how long the old ones go on signing."""

    secret: str | None = None
    overlap_s: Annotated[float, Meta(ge=0, le=OVERLAP_S_MAX)] = OVERLAP_S_DEFAULT


class SecretView(msgspec.Struct, frozen=True, omit_defaults=True):
    """The secret that signs first, for the receiver to verify with."""

    secret: str
    public_key: str | None = None
    """Of a `whsk_…`: what the receiver needs instead of the secret."""


_ROTATION = msgspec.json.Decoder(Rotation)
_SECRETS = msgspec.json.Decoder(Secrets)


class Endpoints:
    """The service behind `/v1/endpoints`. `senders` are by endpoint kind.

    Methods raise `Refusal` for what is asked for wrongly, `NotFound` (also for another tenant's), `Conflict` and
    `StoreUnavailable`.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        catalogue: Catalogue,
        keyring: Keyring,
        senders: Mapping[str, Sender],
        clock: Clock,
        id_maker: IdMaker,
        notify: Notify,
        verification: Verification,
    ) -> None:
        self._store = store
        self._registry = registry
        self._catalogue = catalogue
        self._keyring = keyring
        self._senders = senders
        self._clock = clock
        self._ids = id_maker
        self._notify = notify
        self._verification = verification
        self._making = asyncio.Lock()

    async def create(self, tenant: str, body: bytes) -> Described:
        """Make an endpoint of the JSON that a client sent; it gets every event accepted after this returns.

        One that is to be verified is asked before this returns, and waited for at most 10 s.
        """
        spec = parse_spec(body)
        check_spec(spec)
        await self._check_dead_letter(tenant, spec)
        warnings = await self._sender(spec).check(spec)
        secret = spec.secret if spec.secret is not None else make_signing_secret(self._clock.random_bytes(RANDOM_BYTES))
        row = EndpointRow(
            id=self._ids.make(self._store.now_ms()),
            tenant=tenant,
            uid=spec.uid,
            state=EndpointState.ACTIVE if spec.verify == "none" else EndpointState.UNVERIFIED,
            spec=encode_spec(spec),
            sealed=self._seal(Secrets([SigningKey(secret)], spec.auth)),
            warnings=warnings,
        )
        stored = await self._put_new(row)
        described = await self._changed(stored)
        return described if stored.state is EndpointState.ACTIVE else await self._asked(stored)

    async def _put_new(self, row: EndpointRow) -> EndpointRow:
        spec = self._registry.tenant(row.tenant)
        if spec is None or spec.endpoints_max is None:
            return await self._store.put_endpoint(row)
        async with self._making:  # counting and making are one step, so that the limit is exact
            if await self._catalogue.endpoint_count(row.tenant) >= spec.endpoints_max:
                raise Refusal("limit_reached", f"This tenant may have {spec.endpoints_max} endpoints, and has them.")
            return await self._store.put_endpoint(row)

    async def get(self, tenant: str, reference: str) -> Described:
        """One endpoint, by id or uid."""
        return self._described(await self._catalogue.endpoint(tenant, reference))

    async def page(self, tenant: str, limit: int, before: bytes | None) -> Page[Described]:
        """A page of endpoints, newest first."""
        page = await self._catalogue.endpoints(tenant, limit, before)
        return Page([self._described(row) for row in page.rows], page.next)

    async def patch(self, tenant: str, reference: str, body: bytes) -> Described:
        """Change an endpoint by a JSON Merge Patch (RFC 7396); what is waiting is sent as it is then.

        A change that makes it another endpoint to its receiver is verified anew, whatever state it was in.
        """
        asks = False

        async def change(row: EndpointRow) -> EndpointRow:
            nonlocal asks
            before = decode_spec(row.spec)
            spec = merge_patch(before, body)
            secrets = self._secrets(row)
            auth = keep_auth(spec, secrets.auth)
            await self._check_dead_letter(tenant, spec, row.id, before.dead_letter)
            warnings = await self._sender(spec).check(spec)
            sealed = row.sealed if auth == secrets.auth else self._seal(msgspec.structs.replace(secrets, auth=auth))
            asks = must_ask(before, spec)
            state = EndpointState.UNVERIFIED if asks else row.state
            if state is EndpointState.UNVERIFIED and spec.verify == "none":
                state = EndpointState.ACTIVE
            return msgspec.structs.replace(
                row, uid=spec.uid, state=state, spec=encode_spec(spec), sealed=sealed, warnings=tuple(warnings)
            )

        described = await self._replace(tenant, reference, change)
        return await self._asked(described.row) if asks else described

    async def verify(self, tenant: str, reference: str) -> Described:
        """Ask an endpoint once more whether it wants to be one. Only a success changes anything."""
        missing = await self._verification.ask_again(tenant, reference)
        described = await self.get(tenant, reference)
        if missing is None or described.row.state is EndpointState.UNVERIFIED:
            return described
        return _with_warning(described, missing)

    async def delete(self, tenant: str, reference: str) -> None:
        """Delete an endpoint; what is open for it is discarded, reason `endpoint_deleted`."""
        row = await self._catalogue.endpoint(tenant, reference)
        await self._store.delete_endpoint(row.id)
        await self._registry.take_over()

    async def pause(self, tenant: str, reference: str) -> Described:
        """Hold its deliveries until it is resumed. Pausing a paused one changes nothing."""

        def change(row: EndpointRow) -> EndpointState | None:
            if row.state in (EndpointState.ACTIVE, EndpointState.PAUSED):
                return EndpointState.PAUSED if row.state is EndpointState.ACTIVE else None
            detail = f"The endpoint is {row.state.value}; only an active one can be paused."
            raise Conflict(detail, code="wrong_state")

        return await self._set_state(tenant, reference, change)

    async def resume(self, tenant: str, reference: str) -> Described:
        """Let a paused or disabled endpoint run again, its health forgotten; it starts slowly."""

        def change(row: EndpointRow) -> EndpointState | None:
            if row.state is EndpointState.UNVERIFIED:
                raise Conflict("The endpoint has not been verified.", code="wrong_state")
            return EndpointState.ACTIVE

        described = await self._set_state(tenant, reference, change)
        self._notify({described.row.id: 0.0})
        return described

    async def secret(self, tenant: str, reference: str) -> SecretView:
        """The signing secret."""
        row = await self._catalogue.endpoint(tenant, reference)
        return _shown(self._secrets(row).signing[0].secret)

    async def rotate(self, tenant: str, reference: str, body: bytes) -> SecretView:
        """Sign with a new secret from now on, and with the old ones too until the overlap ends."""
        rotation = read_optional(_ROTATION, body, code="invalid_parameter", noun="rotation")
        if rotation.secret is not None:
            check_signing_secret(rotation.secret)
        secret = rotation.secret or make_signing_secret(self._clock.random_bytes(RANDOM_BYTES))

        async def change(row: EndpointRow) -> EndpointRow:
            secrets = self._secrets(row)
            signing = _rotated(secrets.signing, secret, self._clock.wall_ms(), rotation.overlap_s)
            return msgspec.structs.replace(row, sealed=self._seal(msgspec.structs.replace(secrets, signing=signing)))

        await self._replace(tenant, reference, change)
        return _shown(secret)

    async def stats(self, tenant: str, reference: str) -> Counts:
        """The books of one endpoint."""
        row = await self._catalogue.endpoint(tenant, reference)
        return await self._store.counts(tenant, row.id)

    # ----------------------------------------------------------------------------------------------- together

    async def _check_dead_letter(
        self, tenant: str, spec: EndpointSpec, own_id: bytes | None = None, before: str | None = None
    ) -> None:
        """Raise `Refusal` unless `dead_letter` names another endpoint of this tenant. One that did so `before` may
        stay, though the other is gone since: whoever changes something else need not care."""
        if spec.dead_letter is None:
            return
        if spec.dead_letter == spec.uid or (own_id and spec.dead_letter == ids.text(ids.ENDPOINT, own_id)):
            raise Refusal("invalid_endpoint", "An endpoint cannot get its own dead letters.", pointer="/dead_letter")
        if spec.dead_letter == before:
            return
        await self._catalogue.check_dead_letter(tenant, spec.dead_letter, "invalid_endpoint")

    async def _set_state(
        self, tenant: str, reference: str, change: Callable[[EndpointRow], EndpointState | None]
    ) -> Described:
        """Set the state that `change` makes of what is there; None: it stays. Only of what was looked at: a change
        that comes between may have made it unverified."""

        async def put(row: EndpointRow) -> EndpointRow:
            state = change(row)
            return row if state is None else await self._store.set_endpoint_state(row.id, state, row.version)

        return await self._put(tenant, reference, put)

    async def _replace(
        self, tenant: str, reference: str, change: Callable[[EndpointRow], Awaitable[EndpointRow]]
    ) -> Described:
        async def put(row: EndpointRow) -> EndpointRow:
            return await self._store.put_endpoint(await change(row), row.version)

        return await self._put(tenant, reference, put)

    async def _put(
        self, tenant: str, reference: str, put: Callable[[EndpointRow], Awaitable[EndpointRow]]
    ) -> Described:
        return await self._changed(await on_the_newest(lambda: self._catalogue.endpoint(tenant, reference), put))

    async def _asked(self, row: EndpointRow) -> Described:
        """The endpoint after it was asked whether it wants to be one."""
        await self._verification.ask(row)
        try:
            return await self.get(row.tenant, ids.text(ids.ENDPOINT, row.id))
        except StoreUnavailable:
            return self._described(row)  # what was asked for is committed

    async def _changed(self, row: EndpointRow) -> Described:
        await self._registry.take_over()
        return self._described(row)

    def _described(self, row: EndpointRow) -> Described:
        failing = row.state is EndpointState.ACTIVE and self._registry.failing(row.id)
        described = Described(row, decode_spec(row.spec), "failing" if failing else row.state.value)
        missing = self._verification.said(row)
        return described if missing is None else _with_warning(described, missing)

    def _sender(self, spec: EndpointSpec) -> Sender:
        sender = self._senders.get(spec.kind)
        if sender is None:
            known = ", ".join(sorted(self._senders))
            raise Refusal("invalid_endpoint", f"There is no such kind of endpoint; known: {known}.", pointer="/kind")
        return sender

    def _seal(self, secrets: Secrets) -> bytes:
        return self._keyring.seal(msgspec.json.encode(secrets), self._clock.random_bytes(NONCE_BYTES))

    def _secrets(self, row: EndpointRow) -> Secrets:
        try:
            return _SECRETS.decode(self._keyring.open(row.sealed))
        except ValueError as error:
            raise Conflict(str(error), code="wrong_state") from None


def _with_warning(described: Described, missing: str) -> Described:
    row = described.row
    warnings = (*row.warnings, f"Not verified: {missing}")
    return msgspec.structs.replace(described, row=msgspec.structs.replace(row, warnings=warnings))


def _shown(secret: str) -> SecretView:
    return SecretView(secret, public_key(secret))


def _rotated(signing: list[SigningKey], secret: str, now_ms: int, overlap_s: float) -> list[SigningKey]:
    """The new key first, then those that are still to sign, each until its end or the overlap's, the earlier."""
    end_ms = now_ms + int(overlap_s * 1000)
    kept = [SigningKey(secret)]
    for key in signing:
        ends_ms = end_ms if key.expires_at_ms is None else min(key.expires_at_ms, end_ms)
        if ends_ms > now_ms and key.secret != secret:
            kept.append(SigningKey(key.secret, ends_ms))
    if len(kept) > SIGNING_KEYS_MAX:
        raise Conflict(f"{SIGNING_KEYS_MAX} secrets are valid already; rotate with a shorter overlap_s.")
    return kept
