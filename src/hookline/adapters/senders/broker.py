"""What the senders of all brokers have in common: everything but the protocol.

A broker's confirmation is the success of an attempt. The address is resolved and judged where the socket is opened, by
the guard that HTTP has (`adapters.senders.dial`); no driver opens one by itself. Connections live long: one for each
set of credentials of a tenant at a broker, shared by his endpoints there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import ClassVar, Final

from hookline.adapters.senders import tls
from hookline.adapters.senders.dial import CONNECT_S_MAX, Dialer, DialError, NoRoom
from hookline.adapters.senders.links import CONNECTIONS_MAX, IDLE_S_MAX, Answer, Link, Links
from hookline.adapters.senders.publication import (
    Prepared,
    Publication,
    Unpublished,
    answered,
    prepare,
    publication,
    said,
)
from hookline.adapters.senders.resolve import LOOKUP_S_MAX
from hookline.core.address import Target
from hookline.core.attempt import Exchange, Kind, Outcome, Timing
from hookline.core.bindings import Binding
from hookline.core.broker import BrokerKind, BrokerUrl, Config, check_broker_spec, parse_broker_url
from hookline.core.endpoint import AuthSpec, Endpoint, EndpointSpec
from hookline.core.errors import Refusal
from hookline.ports.clock import Clock
from hookline.ports.sender import Consent, Done, Item, SendRequest, VerifyRequest

GREET_S_MAX: Final = 10.0
"""From the look-up of the name until the broker took the credentials."""

_PREPARED: Final = "hookline.broker"
_CHECKS: Final = "\0checks"
"""The group in which `check` looks names up: no tenant's name."""


class Where:
    """A broker to connect to, for a tenant and with his credentials."""

    __slots__ = ("auth", "config", "tenant", "url")

    def __init__(self, tenant: str, url: BrokerUrl, auth: AuthSpec | None, config: Config) -> None:
        self.tenant = tenant
        self.url = url
        self.auth = auth
        self.config = config


class BrokerSender(ABC):
    """Delivers to endpoints of one kind of broker. Belongs to one event loop."""

    broker: ClassVar[BrokerKind]
    binding: ClassVar[Binding]
    method: ClassVar[str]
    """What the protocol calls publishing."""
    connections: ClassVar[int] = CONNECTIONS_MAX
    """So many are open at most, where nothing else is said."""

    def __init__(
        self,
        dialer: Dialer,
        clock: Clock,
        *,
        version: str,
        ca_file: str | None = None,
        connections_max: int | None = None,
        idle_s_max: float = IDLE_S_MAX,
    ) -> None:
        """`ca_file` (PEM) adds authorities to the system's. At most `connections_max` connections (as many as the kind
        says, where that is None) are open, and each at most `idle_s_max` after its last use."""
        self.kind = self.broker.name
        self.version = version
        self._dialer = dialer
        self._monotonic_s = clock.monotonic_s
        self._ca_file = ca_file
        self._links = Links(clock, connections_max=connections_max or self.connections, idle_s_max=idle_s_max)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    @abstractmethod
    async def open(self, where: Where, deadline_s: float) -> Link:
        """Connect and prove who we are. Raises `DialError`, `NoRoom`, `Unpublished`; must end by itself if cancelled.

        Sockets come from `dial`.
        """

    def sharing(self, where: Where) -> Hashable:  # noqa: ARG002 - for those who have something
        """What besides tenant, address and credentials tells connections apart."""
        return None

    # ----------------------------------------------------------------------------------------------- the port

    async def check(self, spec: EndpointSpec) -> Sequence[str]:
        """Judge url and config; sends nothing. A name that does not resolve within 2 s is a warning."""
        url, _ = check_broker_spec(self.broker, spec)
        warnings: list[str] = []
        if spec.auth is not None and not url.tls:
            warnings.append("The credentials travel without TLS.")
        for server in url.servers:
            try:
                await self._dialer.addresses(server, group=_CHECKS, deadline_s=self._monotonic_s() + LOOKUP_S_MAX)
            except DialError as error:
                if error.reason == "address_refused":
                    raise Refusal("address_refused", str(error), pointer="/url") from None
                warnings.append(f"{error} It is checked when it does; deliveries are retried until then.")
        return warnings

    def destination(self, endpoint: Endpoint) -> str:
        """`host:port`; of the first where there are several."""
        server = parse_broker_url(self.broker, endpoint.url).server
        return f"{server.host}:{server.port}"

    def start(self, request: SendRequest, done: Done) -> None:
        """One message per item, all at the same time."""
        task = asyncio.get_running_loop().create_task(self._run(request, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def verify(self, request: VerifyRequest) -> Consent:
        """No consent: a broker cannot be asked, and `check` says so."""
        detail = "A broker answers nothing that could be a consent."
        exchange = Exchange(self.method, request.endpoint.url, [], b"", b"", 2)
        return Consent(given=False, outcome=Outcome(Kind.REJECTED, "rejected", detail=detail, exchange=exchange))

    async def close(self) -> None:
        """Start nothing any more; connections end when nobody waits for a confirmation on them."""
        self._closing = True
        await self._links.close()

    # ------------------------------------------------------------------------------------------- one attempt

    async def _run(self, request: SendRequest, done: Done) -> None:
        endpoint, items = request.endpoint, request.items
        attempts = [self._attempt(endpoint, item, request.now_ms) for item in items]
        try:
            outcomes = [await attempts[0]] if len(attempts) == 1 else await asyncio.gather(*attempts)
        except asyncio.CancelledError:
            done([_closing() for _ in items])  # the loop ends
            raise
        done(outcomes)

    async def _attempt(self, endpoint: Endpoint, item: Item, now_ms: int) -> Outcome:
        started_s = self._monotonic_s()
        if self._closing:
            return _closing()
        try:
            prepared = self._prepared(endpoint)
            message = publication(endpoint, prepared, item, now_ms, self.binding, self.method)
        except (Refusal, ValueError) as error:
            reason = "address_refused" if isinstance(error, Refusal) and error.code == "address_refused" else "rejected"
            return Outcome(Kind.REJECTED, reason, detail=said(error))
        outcome = await self._published(endpoint, prepared, message)
        outcome.timing = Timing(total_us=max(1, int((self._monotonic_s() - started_s) * 1_000_000)))
        if outcome.exchange is None and outcome.started:
            outcome.exchange = message.exchange
        return outcome

    async def _published(self, endpoint: Endpoint, prepared: Prepared, message: Publication) -> Outcome:
        where = Where(endpoint.tenant, prepared.url, endpoint.credentials, prepared.config)
        key = (endpoint.tenant, prepared.url, endpoint.credentials, self.sharing(where))
        try:
            async with asyncio.timeout(endpoint.timeout_s):
                async with self._links.use(key, lambda: self._opened(where)) as link:
                    answer: Answer = await link.publish(message)
        except TimeoutError:
            detail = f"The broker did not confirm the message within {endpoint.timeout_s:g} s."
            return Outcome(Kind.RETRY, "timeout", detail=detail)
        except DialError as error:
            return Outcome(Kind.RETRY, error.reason, detail=str(error))
        except NoRoom as error:
            detail = f"This process has no room for a connection: {error}."
            return Outcome(Kind.RETRY, "connect", detail=detail, started=False)
        except Unpublished as error:
            return Outcome(error.kind, error.reason, detail=str(error))
        except asyncio.CancelledError:
            if self._cancelled():
                raise
            return Outcome(Kind.RETRY, "connect", detail="The connection was given up while it was made.")
        except Exception as error:  # noqa: BLE001 - a driver's surprise is an outcome, and named in it
            return Outcome(Kind.RETRY, "protocol", detail=f"The driver failed: {type(error).__name__}.")
        return Outcome(Kind.DELIVERED, exchange=answered(message.exchange, answer))

    @staticmethod
    def _cancelled() -> bool:
        """Whether it is this task that somebody cancelled, and not the connection it waited for."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def _opened(self, where: Where) -> Link:
        deadline_s = self._monotonic_s() + GREET_S_MAX
        try:
            async with asyncio.timeout(GREET_S_MAX):
                return await self.open(where, deadline_s)
        except TimeoutError:
            raise DialError("timeout", "The broker did not greet in time.") from None

    def _prepared(self, endpoint: Endpoint) -> Prepared:
        prepared: Prepared | None = endpoint.__dict__.get(_PREPARED)
        if prepared is None:
            prepared = endpoint.__dict__[_PREPARED] = prepare(self.broker, endpoint)
        return prepared

    # ---------------------------------------------------------------------------------------- for the adapters

    async def dial(self, where: Where, server: Target, deadline_s: float) -> socket.socket:
        """A connected socket to one of the broker's servers, guarded; TCP only."""
        limit_s = min(deadline_s, self._monotonic_s() + CONNECT_S_MAX)
        return await self._dialer.connect(server, group=where.tenant, deadline_s=limit_s)

    def context(self, url: BrokerUrl) -> ssl.SSLContext | None:
        """What TLS is spoken with; None: it is not."""
        return tls.plain_context(self._ca_file) if url.tls else None


def dialing(error: Exception) -> DialError:
    """What went wrong while a connection was made, in words that tell a port scan nothing."""
    if isinstance(error, DialError):
        return error
    if isinstance(error, ssl.SSLError):
        return DialError("tls", tls.failure(error))
    if isinstance(error, OSError | EOFError):
        return DialError("connect", "The connection broke while it was made.")
    return DialError("protocol", "What answers there does not speak the broker's protocol.")


def _closing() -> Outcome:
    return Outcome(Kind.RETRY, "connect", detail="The sender is closing.", started=False)
