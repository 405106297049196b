"""Connecting, guarded against server-side request forgery: the half that touches the network.

A name is resolved once; if any of its addresses may not be dialled, none is. The connection goes to the checked
address itself, never to the name, so that no second look-up can answer otherwise (DNS rebinding), and before a byte
is sent the kernel is asked who is at the other end. Proxies of the environment are not known here.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

from hookline.adapters.senders import tls
from hookline.adapters.senders.connection import Connection
from hookline.adapters.senders.deadlines import Deadlines
from hookline.adapters.senders.outbox import Outbox
from hookline.adapters.senders.pool import Pool
from hookline.adapters.senders.resolve import Address, NameNotResolved, Resolver
from hookline.core.address import LOOPBACK, Networks, Target, is_loopback_name
from hookline.core.ourselves import OURS, Ourselves
from hookline.ports.clock import Clock

CONNECT_S_MAX: Final = 5.0
"""For TCP, over all the addresses that are tried."""
ADDRESSES_TRIED_MAX: Final = 4
TLS_SHUTDOWN_S: Final = 1.0
_OWN_LIMITS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Phases:
    """How long each phase of a connection took, in microseconds; None: it was not reached or not needed."""

    __slots__ = ("connect_us", "dns_us", "tls_us")

    def __init__(self) -> None:
        self.dns_us: int | None = None
        self.connect_us: int | None = None
        self.tls_us: int | None = None


class DialError(Exception):
    """No connection. `reason` is a key of `attempt.REASONS`, the text is one line for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class NoRoom(Exception):
    """This process cannot open a connection now (file descriptors, memory): not the receiver's fault."""


class Dialer:
    """Makes connections to checked addresses. Belongs to one event loop."""

    def __init__(
        self,
        networks: Networks,
        resolver: Resolver,
        clock: Clock,
        deadlines: Deadlines,
        *,
        context: ssl.SSLContext,
        pool: Pool,
        on_lost: Callable[[Connection], None],
        ourselves: Ourselves,
    ) -> None:
        self._networks = networks
        self._ourselves = ourselves
        self._resolver = resolver
        self._monotonic_s = clock.monotonic_s
        self._deadlines = deadlines
        self._context = context
        self._pool = pool
        self._on_lost = on_lost
        self._outbox = Outbox()

    async def addresses(self, target: Target, *, group: str, deadline_s: float) -> tuple[Address, ...]:
        """The addresses of a target, all of them allowed and none of them our own.

        Raises `DialError` `dns` when there is none in time, `address_refused` when any of them is refused.
        """
        if target.literal is not None:
            addresses: tuple[Address, ...] = (target.literal,)
        else:
            if is_loopback_name(target.host):
                self._judge((LOOPBACK,), target.port)  # whatever resolves it here, or does not
            try:
                addresses = await self._resolver.resolve(target.host, group=group, deadline_s=deadline_s)
            except NameNotResolved as error:
                raise DialError("dns", str(error)) from None
        self._judge(addresses, target.port)
        return addresses

    def _judge(self, addresses: tuple[Address, ...], port: int) -> None:
        for address in addresses:
            refusal = self._networks.refusal(address)
            if refusal is None and self._ourselves.listens(address, port, is_local):
                refusal = OURS
            if refusal is not None:
                raise DialError("address_refused", refusal)

    async def dial(self, target: Target, phases: Phases, *, group: str, deadline_s: float) -> Connection:
        """A new connection, TLS included, watched by the deadlines.

        Everything ends by `deadline_s`, TCP within 5 s. The addresses are tried in the resolver's order. Raises
        `DialError` with the reason of the phase that failed (`dns`, `address_refused`, `connect`, `tls`), `NoRoom`.
        """
        started_s = self._monotonic_s()
        addresses = await self.addresses(target, group=group, deadline_s=deadline_s)
        resolved_s = self._monotonic_s()
        if target.literal is None:
            phases.dns_us = _us(resolved_s - started_s)
        sock = await self._connect(addresses, target.port, min(deadline_s, resolved_s + CONNECT_S_MAX))
        connected_s = self._monotonic_s()
        phases.connect_us = _us(connected_s - resolved_s)
        connection = await self._open(sock, target, deadline_s)
        if target.tls:
            phases.tls_us = _us(self._monotonic_s() - connected_s)
        return connection

    async def connect(self, target: Target, *, group: str, deadline_s: float) -> socket.socket:
        """A connected socket, for a protocol of somebody else: TCP only, closed by whoever gets it.

        Guarded as every connection here. Raises `DialError` (`dns`, `address_refused`, `connect`), `NoRoom`.
        """
        addresses = await self.addresses(target, group=group, deadline_s=deadline_s)
        return await self._connect(addresses, target.port, min(deadline_s, self._monotonic_s() + CONNECT_S_MAX))

    async def _connect(self, addresses: tuple[Address, ...], port: int, deadline_s: float) -> socket.socket:
        """A connected socket to the first address that takes one; the time is shared by those not tried yet."""
        tried = addresses[:ADDRESSES_TRIED_MAX]
        detail = ""
        for position, address in enumerate(tried):
            now_s = self._monotonic_s()
            share_s = (deadline_s - now_s) / (len(tried) - position)
            try:
                async with self._deadlines.limit(now_s + share_s):
                    return await self._connect_to(address, port)
            except TimeoutError:
                detail = "The connection was not established in time."
            except OSError as error:
                if error.errno in _OWN_LIMITS:
                    raise NoRoom(errno.errorcode[error.errno or 0]) from None
                detail = _coarse(error)
        raise DialError("connect", detail)

    async def _connect_to(self, address: Address, port: int) -> socket.socket:
        family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await _connected(sock, str(address), port)
            self._check_peer(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _check_peer(self, sock: socket.socket, address: Address) -> None:
        """Who is really at the other end, before anything is sent."""
        peer = sock.getpeername()
        reached = ip_address(peer[0])
        refusal = self._networks.refusal(reached)
        if reached != address or refusal is not None:
            raise DialError("address_refused", refusal or "The connection reached another address.")
        if peer == sock.getsockname():
            # TCP lets a socket meet itself on a local port where nobody listens.
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")

    async def _open(self, sock: socket.socket, target: Target, deadline_s: float) -> Connection:
        """Give the socket to the loop (which closes it from now on), with a handshake where the target is https."""
        loop = asyncio.get_running_loop()
        idle = self._pool.idle((target.scheme, target.host, target.port))

        def make() -> Connection:
            return Connection(idle, sock, loop, self._monotonic_s, self._on_lost, self._outbox)

        if not target.tls:
            _, connection = await loop.create_connection(make, sock=sock)
        else:
            try:
                async with self._deadlines.limit(deadline_s):
                    _, connection = await loop.create_connection(
                        make,
                        sock=sock,
                        ssl=self._context,
                        server_hostname=target.server_name,
                        ssl_shutdown_timeout=TLS_SHUTDOWN_S,
                    )
            except TimeoutError:
                raise DialError("tls", "The TLS handshake did not end in time.") from None
            except ssl.SSLError as error:
                raise DialError("tls", tls.failure(error)) from None
            except OSError:
                raise DialError("tls", "The connection broke during the TLS handshake.") from None
        if not connection.usable(self._monotonic_s()):
            connection.abort()
            raise DialError("connect", "The connection was closed as soon as it was made.")
        self._deadlines.add(connection)
        return connection


_NOBODYS: Final = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Of the networks for documentation: no machine has them."""


def is_local(address: Address) -> bool:
    """Whether an address is one of this machine's: whether a socket can be bound to it.

    Where sockets may be bound to any address (net.ipv4.ip_nonlocal_bind), it is by whether the way to it ends in
    itself.
    """
    host = str(address)
    if not _can_bind(address.version, host):
        return False
    return not _can_bind(address.version, _NOBODYS[address.version]) or _leads_to_itself(address.version, host)


def _datagram(version: int) -> socket.socket:
    return socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)


def _can_bind(version: int, host: str) -> bool:
    try:
        with _datagram(version) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def _leads_to_itself(version: int, host: str) -> bool:
    try:
        with _datagram(version) as probe:
            probe.connect((host, 9))  # sends nothing
            source: str = probe.getsockname()[0]
    except OSError:
        return False
    return source == host


async def _connected(sock: socket.socket, host: str, port: int) -> None:
    """Connect to an address in numbers. (The loop's `sock_connect` would ask its thread pool to resolve it.)"""
    error = sock.connect_ex((host, port))
    if error == errno.EINPROGRESS:
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        loop.add_writer(sock, _wake, waiter)
        try:
            await waiter
        finally:
            loop.remove_writer(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, errno.errorcode.get(error, "unknown"))


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _coarse(error: OSError) -> str:
    """What a person needs, and no more than a port scan may know."""
    if error.errno == errno.ECONNREFUSED:
        return "The connection was refused."
    if error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}:
        return "There is no route to the address."
    return "The connection could not be established."


def _us(span_s: float) -> int:
    return int(span_s * 1_000_000)
