"""Admission: who may send to a source at all, judged by the head of a request; and how a refusal is counted, logged
and noted for the source's owner."""

from __future__ import annotations

from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.buckets import MakeBuckets, network_of, own, too_many
from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal
from hookline.core.event import TENANT_DEFAULT
from hookline.core.ids import IdMaker
from hookline.core.rejection import rejection
from hookline.core.source import Source
from hookline.flow.answers import Answer
from hookline.flow.intake import Intake
from hookline.flow.received_answer import allow, refusal_answer
from hookline.flow.received_events import request_id
from hookline.flow.registry import Registry
from hookline.flow.rejections import Rejections
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import Deliveries

_UNNOTED: Final = frozenset({"rate_limited", "draining", "overloaded"})
"""Many at once, which would push out of a source's rejections what its owner looks for."""
LARGE_BYTES: Final = 64 * 1024
"""A body that announces more is not read when there is no room for it."""
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Call(msgspec.Struct, frozen=True, gc=False):
    """The head of a request."""

    address: str
    """What stands after `/in/`."""
    method: str
    url: str
    """The whole of it, as the provider called it."""
    target: str
    """Path and query, as they came."""
    headers: tuple[tuple[str, str], ...]
    """In order, names in lower case, values as latin-1."""
    client: str
    """The client's address, behind trusted proxies the real one's."""
    proxied: bool = False
    """A trusted proxy passed it on: headers that only he may set are believed."""


class Turned(Exception):
    """A request that is not let in, with what it is answered."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Admission:
    """Lets requests in, and turns them away."""

    def __init__(
        self,
        store: Deliveries,
        registry: Registry,
        intake: Intake,
        rejections: Rejections,
        id_maker: IdMaker,
        clock: Clock,
        observer: Observer,
        buckets: MakeBuckets = own,
    ) -> None:
        self._store = store
        self._registry = registry
        self._intake = intake
        self._rejections = rejections
        self._ids = id_maker
        self._clock = clock
        self._observer = observer
        self._of_sources = buckets("sources")
        self._of_addresses = buckets("addresses of sources")

    def admit(self, call: Call, size_bytes: int) -> Source:
        """The source that a request may come in by, as far as its head says; `size_bytes` as it announces itself.

        Raises `Turned`: 404 (also for one that is disabled), 403, 429, 405 with Allow, 415, 413, 503.
        """
        source = self._registry.source_at(call.address)
        if source is None or self._registry.tenant_deleted(source.tenant):
            self._observer.rejected("", "not_found", client=call.client)
            raise Turned(refusal_answer(Refusal("not_found", "There is no such thing here.")))
        try:
            self._check(source, call)
            if size_bytes > source.body_bytes_max:
                raise too_large(source)
            if size_bytes > LARGE_BYTES:  # a small one is asked when it is there
                self._intake.check_room(source, size_bytes)
        except Refusal as refusal:
            raise Turned(self.refuse(source, call, refusal, size_bytes)) from None
        return source

    def _check(self, source: Source, call: Call) -> None:
        if source.ranges is not None and call.client not in source.ranges:
            raise Refusal("forbidden", "This address may not send here.")
        if source.rate is not None or source.address_rate is not None:
            self._count(source, call.client)
        if call.method not in source.methods:
            raise Refusal("method_not_allowed", "This source does not take this method; Allow names those it takes.")
        if source.content_types is not None and call.method not in _BODILESS:
            essence = _header(call, "content-type").partition(";")[0].strip().lower()
            if essence not in source.content_types:
                raise Refusal("unsupported_media_type", "This source does not take this content type.")
        if _header(call, "content-encoding").lower() not in ("", "identity"):
            raise Refusal("unsupported_media_type", "Content-Encoding other than identity is not accepted.")
        if not source.readable:
            raise Refusal("unavailable", "This source cannot verify anything now; try again.", retry_after_s=60)

    def _count(self, source: Source, client: str) -> None:
        """Count a request against both rates; raises `Refusal` `rate_limited`, then it is counted in neither."""
        now_ms = self._clock.monotonic_s() * 1000.0
        if source.rate is not None:
            wait_s = self._of_sources.take(source.id, now_ms, source.rate)
            if wait_s:
                raise too_many(_over(source.rate, "to this source"), wait_s)
        if source.address_rate is not None:
            wait_s = self._of_addresses.take((source.id, network_of(client)), now_ms, source.address_rate)
            if wait_s:
                if source.rate is not None:
                    self._of_sources.give_back(source.id, source.rate)
                raise too_many(_over(source.address_rate, "to this source from your address"), wait_s)

    def refuse(self, source: Source, call: Call, refusal: Refusal, size_bytes: int) -> Answer:
        """The answer to a request that is refused before it is verified, or for what is in it; it is counted and
        noted."""
        self.reject(source, call, refusal.code, refusal.detail, refusal.status, size_bytes)
        more = (allow(source),) if refusal.status == 405 else ()
        return refusal_answer(refusal, *more)

    def reject(self, source: Source, call: Call, reason: str, detail: str, status: int, size_bytes: int) -> None:
        """Count, log and note that a request was refused."""
        self._observer.rejected(
            label(source), reason, status=status, client=call.client, method=call.method, bytes=size_bytes, why=detail
        )
        if reason in _UNNOTED:
            return
        noted = rejection(
            request_id=request_id(self._ids, self._store.now_ms()),
            status=status,
            reason=reason,
            detail=detail,
            method=call.method,
            target=call.target,
            client=call.client,
            size_bytes=size_bytes,
            headers=call.headers,
            secret_headers=source.headers.secret,
        )
        self._rejections.note(source.id, noted)


def too_large(source: Source) -> Refusal:
    """The 413."""
    return Refusal("payload_too_large", f"The body is larger than {source.body_bytes_max:,} bytes.")


def _header(call: Call, name: str) -> str:
    for field, value in call.headers:
        if field == name:
            return value
    return ""


def _over(rate: RateSpec, whereto: str) -> str:
    return f"More than {rate.n} requests in {rate.per_s:g} s {whereto}."


def label(source: Source) -> str:
    """How metrics and logs call it."""
    return source.name if source.tenant == TENANT_DEFAULT else ids.text(ids.SOURCE, source.id)
