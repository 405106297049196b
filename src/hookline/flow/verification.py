"""Verification: does an endpoint want to be one? Until it has said so it is `unverified` and gets no event.

It is asked when it is created, when a change makes it another endpoint, when a person wants it, and from time to time
for three days (`core.consent.planned_try_s`, counted from its last change). Its state is in the store; when it was
asked last, and what was missing, only this process knows: after a start it is asked once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.attempt import Outcome
from hookline.core.confirm import Tokens
from hookline.core.consent import (
    CHALLENGE_RANDOM_BYTES,
    CHALLENGE_TYPE,
    asked_per_min,
    endpoint_of_token,
    make_challenge,
    origin_of,
    planned_try_s,
    read_callback,
    smaller_rate,
    token_subject,
)
from hookline.core.endpoint import Endpoint, EndpointState
from hookline.core.errors import Conflict, HooklineError, NotFound, Refusal, StoreUnavailable
from hookline.core.event import Event
from hookline.core.ids import IdMaker
from hookline.core.subscribe import decode_spec, encode_spec
from hookline.flow.aside import AT_ONCE_MAX, Aside, succeeded, trial_event, usable
from hookline.flow.catalogue import Catalogue
from hookline.flow.registry import Registry
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.sender import VerifyRequest
from hookline.ports.store import EndpointRow, Store

WAIT_S: Final = 10.0
"""An answer waits so long for a verification; then that goes on by itself."""
EVERY_S: Final = 5.0
BESIDE_MAX: Final = AT_ONCE_MAX // 2
"""Of those that run by themselves; the other half of the room is for people."""
LOOKED_AT_MAX: Final = 100
CALLBACK_PATH: Final = "/v1/endpoint-consent/"
NOT_YET: Final = "The answer has not come yet."
CHANGED: Final = "It was changed meanwhile."

Headers = Sequence[tuple[bytes, bytes]]
Running = dict[tuple[bytes, int], asyncio.Task[str | None]]


class _Try(msgspec.Struct):
    """What this process knows of an unverified endpoint."""

    version: int
    since_ms: int | None = None
    """When it was changed last, by the store's clock; None: not read yet."""
    tried_age_s: float | None = None
    """How old that was when it was asked last; None: not by this process."""
    said: str | None = None
    """What was missing then."""


class Verification:
    """Asks endpoints and writes down that they consented. `public_url` is our own address; `tokens` are those of
    callbacks; `notify` is told of endpoints that may run now."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        catalogue: Catalogue,
        aside: Aside,
        tokens: Tokens,
        id_maker: IdMaker,
        clock: Clock,
        observer: Observer,
        notify: Callable[[dict[bytes, float]], None],
        public_url: str,
    ) -> None:
        self._store = store
        self._registry = registry
        self._catalogue = catalogue
        self._aside = aside
        self._tokens = tokens
        self._ids = id_maker
        self._clock = clock
        self._observer = observer
        self._notify = notify
        self._callback_url = public_url + CALLBACK_PATH
        self._origin = origin_of(public_url)
        self._tries: dict[bytes, _Try] = {}
        self._running: Running = {}
        self._stopping = False
        registry.watch(self._changed)

    def _changed(self, _before: Endpoint | None, after: Endpoint) -> None:
        if after.deleted or after.state is not EndpointState.UNVERIFIED:
            self._tries.pop(after.id, None)
        else:
            self._try_of(after.id, after.version)

    def _try_of(self, endpoint_id: bytes, version: int) -> _Try:
        known = self._tries.get(endpoint_id)
        if known is None or known.version < version:
            known = self._tries[endpoint_id] = _Try(version)
        return known

    # ---------------------------------------------------------------------------------------------------- asking

    async def ask(self, row: EndpointRow) -> str | None:
        """Ask now, and wait for the answer at most 10 s; it is waited for beyond that by itself.

        None: verified, and the endpoint is active. Else one sentence that says what was missing.
        """
        task = self._task(row)
        slept = asyncio.ensure_future(self._clock.sleep(WAIT_S))
        try:
            await asyncio.wait({task, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            slept.cancel()
        if not task.done() or task.cancelled():
            return NOT_YET
        return task.result()

    async def ask_again(self, tenant: str, reference: str) -> str | None:
        """The same because a person wants it. Raises `NotFound`; `Conflict` where there is nothing to verify or the
        endpoint cannot be sent to; `Refusal` `overloaded`."""
        row = await self._catalogue.endpoint(tenant, reference)
        if decode_spec(row.spec).verify == "none":
            raise Conflict("The endpoint has verify none: there is nothing to verify.", code="wrong_state")
        await usable(self._registry, row)
        self._aside.check_room()
        return await self.ask(row)

    def said(self, row: EndpointRow) -> str | None:
        """Why an endpoint is unverified, as far as this process knows; None for any other."""
        if row.state is not EndpointState.UNVERIFIED:
            return None
        known = self._tries.get(row.id)
        return known.said if known is not None and known.version == row.version and known.said else NOT_YET

    def _task(self, row: EndpointRow) -> asyncio.Task[str | None]:
        key = (row.id, row.version)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(self._ask(row))
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return task

    async def _ask(self, row: EndpointRow) -> str | None:
        known = self._try_of(row.id, row.version) if row.state is EndpointState.UNVERIFIED else None
        before_s = None if known is None else known.tried_age_s
        if known is not None:
            known.since_ms = row.updated_at_ms
            known.tried_age_s = self._age_s(row.updated_at_ms)
        try:
            missing = await self._asked(row)
        except HooklineError as error:
            missing = str(error)
            if known is not None and isinstance(error, Refusal | StoreUnavailable):
                known.tried_age_s = before_s  # it is we who could not: soon again
        except Exception as error:  # noqa: BLE001 - a defect: it is tried again like everything else
            self._observer.warn("verification_failed", endpoint=ids.text(ids.ENDPOINT, row.id), error=repr(error))
            missing = "Something went wrong here; it was logged."
        if known is not None:
            known.said = missing
        return missing

    async def _asked(self, row: EndpointRow) -> str | None:
        endpoint = await usable(self._registry, row)
        if endpoint.version != row.version:
            return CHANGED
        if endpoint.verify == "none":
            await self.accept(row)
            return None
        identifier = self._ids.make(self._store.now_ms())
        if endpoint.verify == "test":
            outcome = await self._aside.send(endpoint, trial_event(identifier, row.tenant))
            if not succeeded(outcome):
                return _in_words(outcome)
            await self.accept(row)
            return None
        challenge = make_challenge(self._clock.random_bytes(CHALLENGE_RANDOM_BYTES))
        data = msgspec.json.encode({"challenge": challenge})
        event = Event(id=identifier, tenant=row.tenant, type=CHALLENGE_TYPE, data=data, source="/hookline")
        token = self._tokens.make(token_subject(row.id, row.version))
        request = VerifyRequest(
            endpoint,
            endpoint.verify,
            challenge,
            event,
            self._clock.wall_ms(),
            self._origin,
            self._callback_url + token,
        )
        consent = await self._aside.ask(request)
        if not consent.given:
            return _in_words(consent.outcome)
        await self.accept(row, consent.rate_per_min)
        return None

    # ------------------------------------------------------------------------------------------------- consenting

    async def accept(self, row: EndpointRow, rate_per_min: int | None = None) -> None:
        """The endpoint consented as it was in `row`: if it is unverified it is active now, and its rate at most what
        was allowed. Raises `Conflict` when it was changed meanwhile, `NotFound`, `StoreUnavailable`."""
        spec = decode_spec(row.spec)
        rate = smaller_rate(spec.rate, rate_per_min)
        state = EndpointState.ACTIVE if row.state is EndpointState.UNVERIFIED else row.state
        if state is row.state and rate == spec.rate:
            return
        encoded = row.spec if rate == spec.rate else encode_spec(msgspec.structs.replace(spec, rate=rate))
        try:
            await self._store.put_endpoint(msgspec.structs.replace(row, state=state, spec=encoded), row.version)
        except Conflict:
            raise Conflict(CHANGED) from None
        await self._registry.take_over()
        if state is not row.state:
            self._observer.fact("endpoint_verified", endpoint=ids.text(ids.ENDPOINT, row.id), verify=spec.verify)
        self._notify({row.id: 0.0})

    async def consent(self, token: str, headers: Headers) -> None:
        """The callback of the handshake was called: consent, with a rate if one is named. Raises `NotFound` for a
        token that is none, or not of this version any more; `Refusal`."""
        subject = self._tokens.read(token)
        if subject is None:
            raise NotFound("no such token")
        await self._registry.refresh()
        endpoint = self._registry.endpoint(endpoint_of_token(subject))
        if endpoint is None or endpoint.state is not EndpointState.UNVERIFIED or endpoint.verify != "cloudevents":
            raise NotFound("nobody is asked")
        row = await self._catalogue.endpoint(endpoint.tenant, endpoint.public_id)
        if token_subject(row.id, row.version) != subject:
            raise NotFound("it was changed since")
        permission = read_callback(headers, self._origin, asked_per_min(decode_spec(row.spec).rate))
        if permission.missing is not None:
            raise Refusal("invalid_parameter", permission.missing)
        await self.accept(row, permission.rate_per_min)

    # ------------------------------------------------------------------------------------------------- by itself

    async def step(self) -> bool:
        """Ask those whose time it is; for `flow.upkeep`. Never more to do at once."""
        looked_at = 0
        for endpoint_id, known in list(self._tries.items()):
            if self._stopping or len(self._running) >= BESIDE_MAX or looked_at >= LOOKED_AT_MAX:
                break
            if self._tries.get(endpoint_id) is not known or (known.since_ms is not None and not self._due(known)):
                continue
            looked_at += 1
            self._tries[endpoint_id] = self._tries.pop(endpoint_id)  # the others first, next time
            row = await self._row(endpoint_id)
            if row is None:
                continue
            if row.version != known.version:
                await self._registry.refresh()
                continue
            known.since_ms = row.updated_at_ms
            if self._due(known):
                self._task(row)
        return False

    def _due(self, known: _Try) -> bool:
        assert known.since_ms is not None
        planned_s = planned_try_s(self._age_s(known.since_ms))
        return planned_s is not None and (known.tried_age_s is None or known.tried_age_s < planned_s)

    def _age_s(self, since_ms: int) -> float:
        return max(0.0, (self._store.now_ms() - since_ms) / 1000)

    async def _row(self, endpoint_id: bytes) -> EndpointRow | None:
        endpoint = self._registry.endpoint(endpoint_id)
        if endpoint is None:
            return None
        try:
            return await self._catalogue.endpoint(endpoint.tenant, endpoint.public_id)
        except NotFound:
            return None

    async def stop(self) -> None:
        """Ask nobody any more, and end what is asked."""
        self._stopping = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _in_words(outcome: Outcome) -> str:
    if outcome.detail:
        return outcome.detail
    return f"The answer's status was {outcome.status}." if outcome.status is not None else f"{outcome.reason}."
