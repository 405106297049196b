"""Settings → adapters: the only place that knows them all.

    serve        the whole program, until SIGTERM or SIGINT; returns the exit code

What is chosen by a setting is imported only when chosen; an unknown name refuses to start. What HOOKLINE_DB names is
`hookline.databases`' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import uvloop

from hookline.adapters.clock import SystemClock
from hookline.adapters.keys.kept import KeptKeys
from hookline.adapters.observers.logs import LogObserver
from hookline.adapters.observers.prometheus import Gauges, PrometheusObserver
from hookline.adapters.observers.tee import Tee
from hookline.adapters.observers.together import Together
from hookline.adapters.senders.http import HttpSender
from hookline.brokers import Brokers
from hookline.caches import Caching
from hookline.core.address import Networks
from hookline.core.consent import origin_of
from hookline.core.errors import Conflict, Refusal, SpoolUnavailable, StoreUnavailable
from hookline.core.ourselves import Ourselves
from hookline.core.secret import Keyring
from hookline.databases import database, spool_of
from hookline.destinations import broker_senders
from hookline.flow.administrator import subscribe_administrator
from hookline.flow.deliveries import Deliveries
from hookline.flow.endpoints import Endpoints
from hookline.flow.engine import Engine
from hookline.flow.event_types import EventTypes
from hookline.flow.keys import Keys
from hookline.flow.limits import Limits
from hookline.flow.replays import Replays
from hookline.flow.route import matches
from hookline.flow.sources import Sources
from hookline.flow.stream import Live
from hookline.flow.tenants import Tenants
from hookline.garbage import Garbage, tune
from hookline.gauges import gauges
from hookline.key_files import operator_key, secret_keys
from hookline.place import Place
from hookline.ports.clock import Clock
from hookline.ports.sender import Sender
from hookline.ports.store import Store
from hookline.settings import FAILPOINT, Settings, SettingsError
from hookline.settings import shown as setting_shown
from hookline.version import __version__
from hookline.web.app import build_app, build_worker_app
from hookline.web.auth import Authority, operator_keys
from hookline.web.client_address import Proxies
from hookline.web.health import Metrics
from hookline.web.own_address import is_wildcard, own_address
from hookline.web.server import Front, addresses, bind
from hookline.web.stream import shown
from hookline.web.tls import TlsError, TlsFiles

EXIT_OK: Final = 0
EXIT_REFUSED: Final = 1
SWITCH_S: Final = 0.001
"""After so long the loop's thread lets the writer's have its turn, which has one after each statement of a commit: with
the interpreter's 5 ms a commit under load waits longer for its turns than for the disk."""
ACCEPT_GATHER_S: Final = 0.003
RECORD_LINGER_S: Final = 0.005


class Program:
    """One process: engine, front and observers, put together from settings."""

    def __init__(self, settings: Settings, listeners: Sequence[socket.socket], place: Place | None = None) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.listeners = listeners
        self.place = place
        self.addresses = addresses(listeners) if place is None else place.addresses
        self.tls = tls_files(settings, self.clock)
        self.public_url = own_address(
            settings.public_url, settings.host, self.addresses[0][1], secure=self.tls is not None
        )
        self.logs = LogObserver(sys.stderr, level=settings.log_level, form=settings.log_format)
        self.metrics = PrometheusObserver(version=__version__, refresh=self._gauges)
        self._metrics: Metrics = self.metrics.page
        if place is not None:
            self._metrics = Together(self.metrics.page, place.name, place.ports).page
        self.observer = Tee(self.metrics, self.logs)
        self.database = database(settings)
        self._key, self.key_created = ("", False) if settings.role == "worker" else operator_key(settings)
        keyring = Keyring(secret_keys(settings, create=not self.database.existed))
        self.caching = Caching(settings, self.clock, self.observer, keyring)
        store, queue = self.store, self.queue = self.database.open(self.clock, self.observer)
        http, senders = self._senders()
        node = f"{'' if place is None else place.name}-{self.addresses[0][1]}" if settings.on_postgres else None
        self.brokers = Brokers(http, settings.ca_file, self.clock, node)
        if settings.failpoint:
            self.store, senders = _armed(settings.failpoint, store, senders)
        self.engine = Engine(
            self.store,
            senders,
            queue,
            keyring,
            self.clock,
            self.observer,
            self._limits(),
            KeptKeys(http.fetch, self.clock, self.caching.cache if self.caching.shared else None),
            spool_of(settings, self.clock, self.observer),
            self.caching.buckets,
            None if settings.role == "worker" else self.brokers.kinds,
        )
        self.metrics.local = self.engine.intake.gauges
        self.reads = self.caching.reads(self.engine)
        self.live = Live(self.store, self.engine.registry, self.clock, self.observer, shown(self.engine.registry))
        if self.engine.follow is not None:
            self.database.on_registry_change(self.engine.follow.soon)
        self.backups = self.database.backups(self.observer)
        self.front: Front | None = None
        self._own_front: Front | None = None
        self._keyring = keyring
        self._ended = asyncio.Event()

    def _limits(self) -> Limits:
        settings = self.settings
        return Limits(
            strict_types=settings.event_types == "strict",
            dedupe_s=settings.dedupe_h * 3600,
            concurrency_max=settings.concurrency,
            host_concurrency_max=settings.host_concurrency,
            handoff_max=settings.handoff_max,
            open_max=settings.open_max,
            public_url=self.public_url,
            retention_s=settings.retention_d * 86_400,
            accept_gather_s=ACCEPT_GATHER_S,
            record_linger_s=RECORD_LINGER_S,
            commits_in_flight=self.database.commits_in_flight,
            shared=settings.on_postgres,
            delivers=settings.role != "api",
        )

    def _senders(self) -> tuple[HttpSender, Mapping[str, Sender]]:
        """The sender of HTTP, and one for each kind of endpoint, itself among them."""
        settings = self.settings
        ca_file = str(settings.ca_file) if settings.ca_file is not None else None
        http = HttpSender(
            Networks(settings.allow_networks),
            self.clock,
            https_only=settings.https_only,
            version=__version__,
            origin=origin_of(self.public_url),
            ourselves=Ourselves(self.public_url, self.addresses),
            ca_file=ca_file,
        )
        brokers = broker_senders(http.dialer, self.clock, version=__version__, ca_file=ca_file)
        return http, {http.kind: http, **brokers}

    async def run(self) -> int:
        """Start, serve until a signal, drain. Raises `SettingsError`."""
        settings = self.settings
        await self.database.check(self._keyring)
        try:
            await self.engine.start()
        except (StoreUnavailable, SpoolUnavailable) as error:
            print(f"hookline: {error}", file=sys.stderr)
            return EXIT_REFUSED
        self.backups.clean()
        tls = None if self.tls is None else self.tls.context
        self.front = self._worker_front(self._metrics, tls) if settings.role == "worker" else self._front()
        try:
            if settings.role != "worker":
                await subscribe_administrator(self._endpoints, self.engine.report, settings.admin_url)
        except (Refusal, Conflict, StoreUnavailable) as error:
            print(f"hookline: HOOKLINE_ADMIN_URL cannot be used: {error}", file=sys.stderr)
            await self.engine.stop(0)
            return EXIT_REFUSED
        try:
            await self.front.listen(self.listeners)
            if self.place is not None:
                self._own_front = self._worker_front(self.metrics.page, None)
                await self._own_front.listen([self.place.own])
        except OSError as error:
            cannot_listen(settings, error)
            await self.engine.stop(0)
            return EXIT_REFUSED
        self._signals()
        watching = None if self.tls is None else asyncio.create_task(self.tls.watch(self.observer, self.clock.sleep))
        tune()
        searching = asyncio.create_task(Garbage(self.engine.accept.active, self.clock.monotonic_s).run())
        if self.key_created:
            # Shown once; from now on it is read from its file.
            print(f"hookline: new API key {self._key} (kept in {settings.key_path})", file=sys.stderr)
        self._say_where()
        if self.place is not None:
            self.place.when_parent_ends(self._ended.set)
            self.place.serves()
        await self._ended.wait()
        searching.cancel()
        if watching is not None:
            watching.cancel()
        return await self._drain()

    def _say_where(self) -> None:
        settings, scheme = self.settings, "http" if self.tls is None else "https"
        own = () if self.place is None else addresses([self.place.own])
        for host, port in (*addresses(self.listeners), *own):
            url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
            self.observer.fact(
                "listening",
                url=url,
                public_url=self.public_url,
                db=setting_shown(settings, "db"),
                queue=setting_shown(settings, "queue") or "store",
                role=settings.role,
                version=__version__,
            )
        if not settings.public_url and is_wildcard(settings.host):
            self.observer.warn("public_url_unknown", used=self.public_url, remedy="set HOOKLINE_PUBLIC_URL")

    async def _drain(self) -> int:
        """In order: not ready; no claims; streams end; idle connections close; attempts in flight; outcomes written."""
        settings = self.settings
        assert self.front is not None
        self.observer.fact("draining", in_flight=self.engine.deliver.slots.in_flight)
        self.engine.start_drain()
        self.live.close()
        if settings.drain_s > 0:
            await self.clock.sleep(settings.drain_s)
        await self.front.stop(grace_s=min(settings.grace_s, 10.0))
        ended = await self.engine.stop(settings.grace_s)
        if self._own_front is not None:
            await self._own_front.stop(grace_s=1.0)
        await self.caching.close(self.reads)
        self.observer.fact("stopped", clean=ended)
        return EXIT_OK

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)

    def _front(self) -> Front:
        engine, catalogue = self.engine, self.engine.catalogue
        authority = Authority(operator_keys(self._key), engine.registry, engine.key_guard)
        proxies = Proxies(self.settings.trusted_proxies)
        endpoints = self._endpoints = Endpoints(
            self.store,
            engine.registry,
            catalogue,
            self._keyring,
            engine.senders,
            self.clock,
            engine.ids,
            engine.wake.notify,
            engine.verification,
        )
        deliveries = Deliveries(
            self.store,
            engine.registry,
            catalogue,
            lambda event: matches(event, engine.registry),
            engine.ids,
            engine.wake.notify,
            self.observer,
            self.reads,
        )
        app = build_app(
            authority=authority,
            publisher=engine.accept,
            endpoints=endpoints,
            event_types=EventTypes(self.store, engine.registry, catalogue),
            sources=self._sources(),
            quarantine=engine.quarantine,
            tenants=Tenants(self.store, engine.registry, catalogue),
            keys=Keys(self.store, engine.registry, catalogue, engine.key_guard, self.clock, engine.ids),
            deliveries=deliveries,
            replays=Replays(self.store, catalogue, engine.replay_steps, engine.replays, engine.ids, self.clock),
            confirm=engine.confirm,
            try_out=engine.try_out(),
            verification=engine.verification,
            ready=self.ready,
            metrics=self._metrics,
            observer=self.observer,
            live=self.live,
            backups=self.backups,
            receiver=engine.receive,
            proxies=proxies,
            public_url=self.settings.public_url.rstrip("/"),
            reads=self.reads,
        )
        return Front(
            app,
            authority,
            engine.accept,
            self.observer,
            tls=None if self.tls is None else self.tls.context,
            proxies=proxies,
            receiver=engine.receive,
            public_url=self.settings.public_url.rstrip("/"),
            address_rate=self.caching.address_rate(self.settings.address_rate),
        )

    def _sources(self) -> Sources:
        engine = self.engine
        parts = (self.store, engine.registry, engine.catalogue, self._keyring, self.clock, engine.ids)
        has_spool = self.settings.spool_path is not None
        return Sources(*parts, self.public_url, judge=self.brokers.judge, has_spool=has_spool)

    def _worker_front(self, metrics: Metrics, tls: ssl.SSLContext | None) -> Front:
        """Of a process that delivers only: it tells those who run it how it is, and nobody anything else."""
        app = build_worker_app(ready=self.ready, metrics=metrics, observer=self.observer)
        return Front(app, Authority({}), None, self.observer, tls=tls)

    async def ready(self, wanted: str | None = None) -> str | None:
        """Why this process should get no traffic, or None; `wanted` is `in` for inbound webhooks alone."""
        if self.engine.draining:
            return "draining"
        if wanted == "in" and self.engine.intake.takes:
            return None
        return await self.store.check()

    async def _gauges(self) -> Gauges:
        slots, wal_bytes = self.settings.concurrency, self.database.wal_bytes()
        return await gauges(self.store, self.engine, self.live, self.caching.gauges(self.reads), slots, wal_bytes)


def _armed(text: str, store: Store, senders: Mapping[str, Sender]) -> tuple[Store, Mapping[str, Sender]]:
    """Both with the failpoint of a crash test in them."""
    from hookline.adapters.senders.connection import Connection
    from hookline.testing.failpoints import Failpoint, arm

    try:
        failpoint = Failpoint.parse(text)
    except ValueError as error:
        raise SettingsError(f"{FAILPOINT}={text!r} cannot be used; {error}") from None
    return arm(failpoint, store, senders, Connection)


async def _run(settings: Settings, place: Place | None) -> int:
    try:
        # Bound first, so that our own address is known before anything is sent; listened on last.
        listeners = bind(settings.host, settings.port) if place is None else place.listeners
    except OSError as error:
        cannot_listen(settings, error)
        return EXIT_REFUSED
    with contextlib.ExitStack() as closing:
        for listener in listeners:
            closing.enter_context(listener)
        program = Program(settings, listeners, place)
        try:
            return await program.run()
        finally:
            await program.database.close()
            program.logs.close()


def cannot_listen(settings: Settings, error: OSError) -> None:
    """Say why not."""
    print(f"hookline: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)


def tls_files(settings: Settings, clock: Clock) -> TlsFiles | None:
    """The certificate and key to serve HTTPS with, if there are any. Raises `SettingsError`."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    try:
        return TlsFiles(settings.tls_cert_file, settings.tls_key_file, lambda: clock.wall_ms() / 1000)
    except TlsError as error:
        raise SettingsError(f"HOOKLINE_TLS_CERT_FILE, HOOKLINE_TLS_KEY_FILE: {error}") from None


def serve(settings: Settings, place: Place | None = None) -> int:
    """Run the program until SIGTERM or SIGINT; its exit code. `place`: it is one of several that a parent started.
    Raises `SettingsError` for keys that cannot be used."""
    _raise_open_files()
    sys.setswitchinterval(SWITCH_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings, place))


def _raise_open_files() -> None:
    """Every attempt in flight and every publisher is an open file: take all that the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
