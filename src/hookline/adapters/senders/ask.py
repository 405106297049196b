"""Asking an endpoint whether it wants to be one: our signed challenge, or the handshake of CloudEvents' web hooks.

Both go the way of every delivery: through the same dialer and its guard, with the endpoint's own headers and
credentials, within `timeout_s`, redirects not followed. Each is asked on a new connection, so that an old one that
breaks cannot look like a no.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from hookline.adapters.senders.answer import NOTHING
from hookline.adapters.senders.connection import Connection
from hookline.adapters.senders.dial import Dialer, DialError, NoRoom, Phases
from hookline.adapters.senders.pool import Pool
from hookline.adapters.senders.request import Prepared, Unsendable
from hookline.core.attempt import Kind, Outcome, Timing
from hookline.core.consent import ANSWER_BYTES_MAX, Permission, asked_per_min, echo_fault, read_permission
from hookline.core.endpoint import Endpoint
from hookline.core.errors import Refusal
from hookline.core.ourselves import Ourselves
from hookline.core.success import natural
from hookline.ports.sender import Consent, VerifyRequest


class _Question(msgspec.Struct, frozen=True):
    """What is sent, and what is kept of it."""

    endpoint: Endpoint
    prepared: Prepared
    wire: bytes
    kept: bytes


class Asker:
    """Asks, one question at a time. `prepare` makes an endpoint's head."""

    def __init__(
        self,
        dialer: Dialer,
        pool: Pool,
        monotonic_s: Callable[[], float],
        version: str,
        *,
        https_only: bool,
        ourselves: Ourselves,
    ) -> None:
        self._dialer = dialer
        self._pool = pool
        self._monotonic_s = monotonic_s
        self._version = version
        self._https_only = https_only
        self._ourselves = ourselves

    async def ask(self, request: VerifyRequest) -> Consent:
        """One question, one answer. Never raises for what the other side does."""
        started_s = self._monotonic_s()
        try:
            question = self._question(request)
        except (Unsendable, Refusal) as error:
            reason = error.code if isinstance(error, Refusal) else "rejected"
            return Consent(given=False, outcome=Outcome(Kind.REJECTED, reason, detail=str(error)))
        endpoint = question.endpoint
        deadline_s = started_s + endpoint.timeout_s
        phases = Phases()
        try:
            connection = await self._dial(question, phases, deadline_s)
        except DialError as error:
            outcome = Outcome(Kind.RETRY, error.reason, detail=str(error))
            outcome.exchange = Raw(question.kept + NOTHING)
            outcome.timing = self._timing(phases, None, started_s)
            return Consent(given=False, outcome=outcome)
        except NoRoom as error:
            detail = f"This process has no room for a connection: {error}."
            return Consent(given=False, outcome=Outcome(Kind.RETRY, "connect", detail=detail, started=False))
        sent_s = self._monotonic_s()
        try:
            await connection.send(question.wire, deadline_s, ANSWER_BYTES_MAX, whole=True)
        except BaseException:
            connection.abort()
            raise
        first_byte_us = None
        if connection.first_byte_s is not None:
            first_byte_us = int((connection.first_byte_s - sent_s) * 1_000_000)
        consent = _read(request, question, connection)
        consent.outcome.timing = self._timing(phases, first_byte_us, started_s)
        self._pool.give(connection, connection.ended_s)
        return consent

    async def _dial(self, question: _Question, phases: Phases, deadline_s: float) -> Connection:
        prepared = question.prepared
        if prepared.refused:
            raise DialError("address_refused", prepared.refused)
        return await self._dialer.dial(prepared.target, phases, group=question.endpoint.tenant, deadline_s=deadline_s)

    def _question(self, request: VerifyRequest) -> _Question:
        endpoint = request.endpoint
        if request.how == "challenge":
            prepared = self._prepare(endpoint)
            content = prepared.content(request.event, None)
            return _Question(endpoint, prepared, *prepared.request(content, 1, request.now_ms))
        # WebHook-Request-Origin is part of the head of every request to an endpoint that is verified so.
        endpoint = msgspec.structs.replace(endpoint, method="OPTIONS", verify="cloudevents")
        prepared = self._prepare(endpoint, request.origin)
        rate = str(asked_per_min(endpoint.rate))
        return _Question(endpoint, prepared, *prepared.handshake(rate, request.callback_url))

    def _prepare(self, endpoint: Endpoint, origin: str = "") -> Prepared:
        return Prepared(endpoint, self._version, https_only=self._https_only, origin=origin, ourselves=self._ourselves)

    def _timing(self, phases: Phases, first_byte_us: int | None, started_s: float) -> Timing:
        total_us = int((self._monotonic_s() - started_s) * 1_000_000)
        return Timing(phases.dns_us, phases.connect_us, phases.tls_us, first_byte_us, total_us)


def _read(request: VerifyRequest, question: _Question, connection: Connection) -> Consent:
    reader = connection.reader
    status = reader.status
    if status is None or reader.fault is not None or not (reader.complete or reader.cut):
        reason, detail = connection.failure(question.endpoint.timeout_s)
        exchange = Raw(question.kept + reader.pack())
        return Consent(given=False, outcome=Outcome(Kind.RETRY, reason, detail=detail, exchange=exchange))
    if request.how == "challenge":
        permission = Permission(echo_fault(status, reader.body, request.challenge))
    else:
        permission = read_permission(reader.headers, request.origin)
    exchange = Raw(question.kept + reader.pack())
    if permission.missing is None:
        outcome = Outcome(Kind.DELIVERED, status=status, exchange=exchange)
        return Consent(given=True, outcome=outcome, rate_per_min=permission.rate_per_min)
    asked = next((value.decode("latin-1") for name, value in reader.headers if name == b"retry-after"), None)
    kind, reason_or_none, wait_s = natural(status, asked, request.now_ms / 1000)
    if kind is Kind.DELIVERED:
        kind, reason_or_none = Kind.RETRY, "answer_rejected"
    detail = permission.missing if str(status) in permission.missing else f"{permission.missing} Its status: {status}."
    return Consent(given=False, outcome=Outcome(kind, reason_or_none, wait_s, detail, status, exchange=exchange))
