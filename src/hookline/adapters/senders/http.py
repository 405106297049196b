"""The sender of kind `http`: signed requests over HTTP/1.1, kept-alive connections, one total deadline per attempt.

What may go wrong is told by the phase in which it did: `address_refused`, `dns`, `connect`, `tls`, then `timeout`
(the whole exchange took longer than `timeout_s`), `protocol` (not a correct answer) or `connect` again (it broke before
the answer ended). Redirects are not followed, nothing is decompressed, proxies of the environment are not used.

A request is written once. It is not repeated inside an attempt, not even when a kept connection breaks before a byte
of the answer: the receiver may have got it, and only the flow may decide on a second one. What is avoided is to write
on a connection that this machine knows to be closed; another one is taken then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Raw

from hookline.adapters.senders import tls
from hookline.adapters.senders.answer import NOTHING
from hookline.adapters.senders.ask import Asker
from hookline.adapters.senders.connection import Connection
from hookline.adapters.senders.deadlines import Deadlines
from hookline.adapters.senders.dial import Dialer, DialError, NoRoom, Phases
from hookline.adapters.senders.fetch import Fetcher
from hookline.adapters.senders.pool import Pool
from hookline.adapters.senders.request import Content, Prepared, Unsendable
from hookline.adapters.senders.resolve import LOOKUP_S_MAX, Lookup, Resolver, system_lookup
from hookline.adapters.senders.turns import Turns
from hookline.core.address import Networks, Target, parse_url
from hookline.core.attempt import Kind, Outcome, Timing
from hookline.core.endpoint import Endpoint, EndpointSpec
from hookline.core.errors import Refusal
from hookline.core.ourselves import OURS, Ourselves
from hookline.core.success import answer
from hookline.ports.clock import Clock
from hookline.ports.sender import Consent, Done, Item, SendRequest, VerifyRequest

IDLE_S_MAX: Final = 20.0
CONNECTIONS_IDLE_MAX: Final = 1024
LOOKUPS_MAX: Final = 32
CLOSE_S_MAX: Final = 2.0

_PREPARED: Final = "hookline.http"
"""Where an endpoint's `__dict__` holds what is prepared of it."""
_CHECKS: Final = "\0checks"
"""The group in which `check` looks names up: no tenant's name."""


class HttpSender:
    """Delivers to `http://` and `https://` endpoints. Belongs to one event loop, uvloop or another.

    `networks` says which addresses may be dialled; `https_only` refuses http:// also for endpoints that exist. Idle
    connections are kept for `idle_s_max`, at most `connections_idle_max` over all receivers. At most `lookups_max`
    names are looked up at a time, by `lookup`. `ca_file` (PEM) adds authorities to the system's. `origin` is our own
    host name, told to endpoints that were verified by the CloudEvents handshake. `ourselves` is where nothing is sent.
    """

    kind = "http"

    def __init__(
        self,
        networks: Networks,
        clock: Clock,
        *,
        https_only: bool,
        version: str,
        origin: str = "",
        ourselves: Ourselves | None = None,
        idle_s_max: float = IDLE_S_MAX,
        connections_idle_max: int = CONNECTIONS_IDLE_MAX,
        lookups_max: int = LOOKUPS_MAX,
        lookup: Lookup = system_lookup,
        ca_file: str | None = None,
    ) -> None:
        self._https_only = https_only
        self._version = version
        self._origin = origin
        self._ourselves = ourselves = Ourselves() if ourselves is None else ourselves
        self._monotonic_s = clock.monotonic_s
        self._closing = False
        self._content: Content | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = Turns()
        self._deadlines = Deadlines(clock)
        self._pool = Pool(idle_s_max=idle_s_max, connections_max=connections_idle_max)
        self._resolver = Resolver(clock, self._deadlines, lookup=lookup, lookups_max=lookups_max)
        self._dialer = Dialer(
            networks,
            self._resolver,
            clock,
            self._deadlines,
            context=tls.client_context(ca_file),
            pool=self._pool,
            on_lost=self._lost,
            ourselves=ourselves,
        )
        self.dialer = self._dialer
        """The guard, for the senders of other protocols."""
        self._asker = Asker(
            self._dialer, self._pool, clock.monotonic_s, version, https_only=https_only, ourselves=ourselves
        )
        self.fetch = Fetcher(
            self._dialer, self._pool, clock.monotonic_s, version, https_only=https_only, ourselves=ourselves
        )
        """Fetches for verifiers, through the same guard."""

    async def check(self, spec: EndpointSpec) -> Sequence[str]:
        """Judge an endpoint's url; sends nothing.

        A name that does not resolve within 2 s is accepted with a warning: it is judged when it does. Raises
        `Refusal` `address_refused` (pointer `/url`) or `invalid_endpoint` (pointer `/config`: this kind has none).
        """
        if spec.config:
            raise Refusal("invalid_endpoint", "The kind http takes no config.", pointer="/config")
        target = parse_url(spec.url, https_only=self._https_only)
        if self._ourselves.names(target):
            raise Refusal("address_refused", OURS, pointer="/url")
        try:
            await self._dialer.addresses(target, group=_CHECKS, deadline_s=self._monotonic_s() + LOOKUP_S_MAX)
        except DialError as error:
            if error.reason == "address_refused":
                raise Refusal("address_refused", str(error), pointer="/url") from None
            return [f"{error} It is checked when it does; deliveries are retried until then."]
        return []

    async def addresses(self, target: Target, group: str) -> Sequence[str]:
        """The addresses of a host in numbers, judged as those of an endpoint are, for who connects by himself. Raises
        `DialError`."""
        found = await self._dialer.addresses(target, group=group, deadline_s=self._monotonic_s() + LOOKUP_S_MAX)
        return [str(address) for address in found]

    def destination(self, endpoint: Endpoint) -> str:
        """`host:port`."""
        target = endpoint.target
        return endpoint.public_id if target is None else f"{target.host}:{target.port}"

    def start(self, request: SendRequest, done: Done) -> None:
        """One request per item, at the same time where there are several."""
        items = request.items
        if len(items) == 1:
            self._begin(request.endpoint, items[0], request.now_ms, done)
            return
        several = _Several(len(items), done)
        for position, item in enumerate(items):
            self._begin(request.endpoint, item, request.now_ms, several.part(position))

    async def verify(self, request: VerifyRequest) -> Consent:
        """Ask for consent: see `adapters.senders.ask`."""
        if self._closing:
            return Consent(given=False, outcome=_closing())
        return await self._asker.ask(request)

    async def close(self) -> None:
        """Start nothing any more and end idle connections; attempts in flight go on to their own end."""
        self._closing = True
        self._resolver.close()
        ended = [connection.lost for connection in self._pool.close()]
        if ended:
            await asyncio.wait(ended, timeout=CLOSE_S_MAX)
        self._deadlines.stop_if_empty()

    # ------------------------------------------------------------------------------------------- one attempt

    def _begin(self, endpoint: Endpoint, item: Item, now_ms: int, done: Done) -> None:
        prepared: Prepared | None = endpoint.__dict__.get(_PREPARED)
        if prepared is None or prepared.idle is None or not prepared.idle.connections:
            self._turns.add(endpoint.tenant, partial(self._start, endpoint, item, now_ms, done))
        else:
            self._start(endpoint, item, now_ms, done)

    def _start(self, endpoint: Endpoint, item: Item, now_ms: int, done: Done) -> None:
        started_s = self._monotonic_s()
        if self._closing:
            done((_closing(),))
            return
        try:
            prepared = endpoint.__dict__.get(_PREPARED) or self._prepared(endpoint)
            content = self._content = prepared.content(item.event, self._content)
            wire, kept = prepared.request(content, item.attempt, now_ms, item.confirm_url)
        except (Unsendable, Refusal) as error:
            reason = error.code if isinstance(error, Refusal) else "rejected"
            done((Outcome(Kind.REJECTED, reason, detail=str(error)),))
            return
        attempt = _Attempt(self._pool, endpoint, kept, done, now_ms, started_s, started_s, item.whole)
        if prepared.refused:
            # It may have a connection of what is not refused: another path of the same host.
            attempt.not_sent(DialError("address_refused", prepared.refused), started_s)
            return
        assert prepared.idle is not None
        connection = self._pool.take(prepared.idle, started_s)
        if connection is None:
            self._spawn(self._dial(attempt, prepared.target, wire))
        else:
            attempt.send(connection, wire)

    async def _dial(self, attempt: _Attempt, target: Target, wire: bytes) -> None:
        """Send it on a new connection."""
        endpoint = attempt.endpoint
        phases = attempt.phases = Phases()
        deadline_s = attempt.started_s + endpoint.timeout_s
        try:
            connection = await self._dialer.dial(target, phases, group=endpoint.tenant, deadline_s=deadline_s)
        except DialError as error:
            attempt.not_sent(error, self._monotonic_s())
        except NoRoom as error:
            self._pool.drop_oldest()
            detail = f"This process has no room for a connection: {error}."
            attempt.done((Outcome(Kind.RETRY, "connect", detail=detail, started=False),))
        except asyncio.CancelledError:
            attempt.done((_closing(),))  # the loop ends
            raise
        except Exception as error:
            attempt.not_sent(DialError("connect", f"A defect: {type(error).__name__}."), self._monotonic_s())
            raise  # the loop tells of it
        else:
            attempt.sent_s = self._monotonic_s()
            attempt.send(connection, wire)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _prepared(self, endpoint: Endpoint) -> Prepared:
        prepared: Prepared | None = endpoint.__dict__.get(_PREPARED)
        if prepared is None:
            prepared = Prepared(
                endpoint,
                self._version,
                https_only=self._https_only,
                origin=self._origin,
                ourselves=self._ourselves,
            )
            target = prepared.target
            prepared.idle = self._pool.idle((target.scheme, target.host, target.port))
            endpoint.__dict__[_PREPARED] = prepared
        return prepared

    def _lost(self, connection: Connection) -> None:
        self._deadlines.discard(connection)
        self._pool.forget(connection)


_DELIVERED: Final = Kind.DELIVERED
"""At hand: looking up a member of an enumeration costs 0.2 µs."""
_NO_PHASES: Final = Phases()
"""Of a kept connection: nothing was looked up, connected or shaken hands on."""


class _Attempt(msgspec.Struct):
    """One attempt on its way."""

    pool: Pool
    endpoint: Endpoint
    kept: bytes
    done: Done
    now_ms: int
    started_s: float
    sent_s: float
    wanted: bool = False
    """Whether somebody waits for the answer."""
    phases: Phases = _NO_PHASES

    def send(self, connection: Connection, wire: bytes) -> None:
        """Write it."""
        endpoint = self.endpoint
        success = endpoint.success
        whole = self.wanted or (success is not None and success.filter is not None)
        deadline_s = self.started_s + endpoint.timeout_s
        connection.start(wire, deadline_s, endpoint.response_bytes_max, self.ended, whole=whole)

    def ended(self, connection: Connection) -> None:
        """There is an answer, or none will come."""
        outcome = self._outcome(connection)
        if self.wanted:
            outcome.answer = connection.reader.body
        # Before it is told of: the next attempt may begin in `done`.
        self.pool.give(connection, connection.ended_s)
        self.done((outcome,))

    def _outcome(self, connection: Connection) -> Outcome:
        endpoint = self.endpoint
        reader = connection.reader
        status = reader.status
        timing = self._timing(connection.first_byte_s, connection.ended_s)
        exchange = Raw(self.kept + reader.pack())
        if status is not None and reader.fault is None and (reader.complete or reader.cut):
            if 200 <= status < 300 and endpoint.success is None:
                return Outcome(_DELIVERED, None, None, "", status, timing, exchange)
            kind, reason, wait_s = answer(endpoint.success, status, reader.headers, reader.body, self.now_ms / 1000)
            return Outcome(kind, reason, wait_s, "", status, timing, exchange)
        reason, detail = connection.failure(endpoint.timeout_s)
        return Outcome(Kind.RETRY, reason, None, detail, None, timing, exchange)

    def not_sent(self, error: DialError, now_s: float) -> None:
        """There was no connection."""
        timing = self._timing(None, now_s)
        exchange = Raw(self.kept + NOTHING)
        self.done((Outcome(Kind.RETRY, error.reason, detail=str(error), timing=timing, exchange=exchange),))

    def _timing(self, first_byte_s: float | None, ended_s: float) -> Timing:
        phases = self.phases
        total_us = int((ended_s - self.started_s) * 1_000_000)
        if phases is _NO_PHASES and first_byte_s == ended_s:
            return Timing(None, None, None, total_us, total_us)
        first_byte_us = None if first_byte_s is None else int((first_byte_s - self.sent_s) * 1_000_000)
        return Timing(phases.dns_us, phases.connect_us, phases.tls_us, first_byte_us, total_us)


class _Several:
    """Several items of one request, told of when the last has ended."""

    def __init__(self, count: int, done: Done) -> None:
        self._outcomes: list[Outcome | None] = [None] * count
        self._left = count
        self._done = done
        if not count:
            done(())

    def part(self, position: int) -> Done:
        """What takes the outcome of the item at `position`."""

        def done(outcomes: Sequence[Outcome]) -> None:
            (self._outcomes[position],) = outcomes
            self._left -= 1
            if not self._left:
                self._done([outcome for outcome in self._outcomes if outcome is not None])

        return done


def _closing() -> Outcome:
    return Outcome(Kind.RETRY, "connect", detail="The sender is closing.", started=False)
