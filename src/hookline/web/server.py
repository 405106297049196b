"""The front's listening sockets, its one sweep, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING

from uvicorn.config import Config
from uvicorn.server import ServerState

from hookline.ports.observer import Observer
from hookline.web.address_rate import AddressRate
from hookline.web.auth import Authority
from hookline.web.client_address import Proxies
from hookline.web.inbound import Receiver
from hookline.web.limits import Limits
from hookline.web.protocol import FrontProtocol
from hookline.web.publish import Publisher
from hookline.web.shared import Shared

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_BACKLOG = 2048
_STEP_S = 0.02


class Front:
    """Serves `app` and the hot route on our own event loop; installs no signal handlers, logs nothing.

    `tls` is used for new connections as it is at that moment. `proxies` say who the client of a request is; the
    application finds him in the scope's `client`. `address_rate` limits what one of them may ask. `receiver` takes what
    comes to `/in/…`, `publisher` what is published (None: the application does); `public_url` is where the world sees
    us, as configured.
    """

    def __init__(
        self,
        app: ASGIApp,
        authority: Authority,
        publisher: Publisher | None,
        observer: Observer,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        proxies: Proxies | None = None,
        address_rate: AddressRate | None = None,
        receiver: Receiver | None = None,
        public_url: str = "",
        date_header: bool = True,
    ) -> None:
        self._limits = limits if limits is not None else Limits()
        self._shared = Shared(
            authority,
            publisher,
            observer,
            self._limits,
            proxies if proxies is not None else Proxies(),
            address_rate,
            receiver,
            public_url,
        )
        self._tls = tls
        self._date_header = date_header
        self._config = Config(
            app,
            loop="none",
            http=FrontProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,  # set by our own sweep
        )
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    async def start(self, host: str, port: int) -> list[tuple[str, int]]:
        """`bind` and `listen`; returns the addresses (port 0: one is chosen). Raises `OSError`."""
        listeners = bind(host, port)
        await self.listen(listeners)
        return addresses(listeners)

    async def listen(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections on bound sockets, which are the front's from now on. Raises `OSError` when one of them
        cannot be listened on (somebody else was first); then all are closed."""
        loop = asyncio.get_running_loop()
        if not self._config.loaded:
            self._config.load()
        self._tick()
        try:
            for listener in listeners:
                listener.listen(_BACKLOG)  # here, because uvloop does not tell when it fails
            for listener in listeners:
                server = await loop.create_server(
                    lambda: FrontProtocol(self._shared, self._config, self._state, loop),
                    sock=listener,
                    ssl=self._tls,
                    backlog=_BACKLOG,
                    ssl_handshake_timeout=None if self._tls is None else self._limits.header_s,
                )
                self._servers.append(server)
        except OSError:
            for server in self._servers:
                server.close()
            for listener in listeners:
                listener.close()
            raise
        self._sweeper = loop.create_task(self._sweep(loop), name="front-sweep")

    async def serve(self, host: str, port: int) -> None:
        """`start`, and return when `stop` has ended. Raises `OSError`."""
        await self.start(host, port)
        await self._stopped.wait()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    async def stop(self, grace_s: float) -> None:
        """Accept no connection, close idle ones, answer what is on its way for at most `grace_s`, then cut off."""
        for server in self._servers:
            server.close()
        self._shared.draining = True
        for connection in list(self._state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        while (self._state.connections or self._state.tasks) and loop.time() < deadline:  # noqa: ASYNC110 (sets, not events)
            await asyncio.sleep(_STEP_S)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=1.0)
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        self._stopped.set()

    async def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await asyncio.sleep(self._limits.sweep_s)
            self._tick()
            now = loop.time()
            for connection in list(self._state.connections):
                if isinstance(connection, FrontProtocol):
                    connection.sweep(now)

    def _tick(self) -> None:
        if not self._date_header:
            return
        date = formatdate(usegmt=True).encode("ascii")
        self._state.default_headers = [(b"date", date)]
        self._shared.heads.set_date(date)


def addresses(listeners: Sequence[socket.socket]) -> list[tuple[str, int]]:
    """Address and port of each socket."""
    return [listener.getsockname()[:2] for listener in listeners]


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets for every address of `host` (empty: all addresses of this machine), not listening yet: whoever connects
    is refused. Raises `OSError`."""
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in sorted(
            set(socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)),
            key=lambda info: info[0],
        ):
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(listeners) > 1:
                address = (address[0], listeners[0].getsockname()[1], *address[2:])  # noqa: PLW2901
            listener.bind(address)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners
