"""The one decision behind every framework: what becomes of a request, and what the sender is answered.

wrong method 405 · too large 413 · not readable 400 · not proven 401 · a handshake: its answer · not as `schema=`
says 400 · handled before 200 · being handled 409 · refused by `check=` 422 · the handler raised 500 · handled 200
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer, failure, success
from hookline.sdk.delivery import Delivery, Prover
from hookline.sdk.errors import (
    MalformedBody,
    SignatureMalformed,
    SignatureMissing,
    TimestampOutsideTolerance,
    Unverifiable,
    VerificationError,
    refused,
)
from hookline.sdk.event import Event
from hookline.sdk.exchange import origin_of
from hookline.sdk.guard import AnyReplayGuard
from hookline.sdk.handling import Events, Handled, Handling
from hookline.sdk.host import PLAIN, Host, Native
from hookline.sdk.outcome import OnOutcome, Outcome, tell
from hookline.sdk.parts import Body, Headers, header_pairs, raw_body
from hookline.sdk.schema import Schema, compile_schema
from hookline.sdk.standard import TOLERANCE_S, Standard
from hookline.sdk.steps import Ask, Run, Steps, advance, advance_async, is_async

BODY_BYTES_MAX: Final = 1024 * 1024
RETRY_AFTER_S: Final = 5
"""So long a sender is asked to wait where the same event is being handled, or the guard cannot be asked."""
_LENGTH_DIGITS_MAX: Final = 18
_MESSAGES: Final = (
    (SignatureMissing, "What proves the sender is missing."),
    (SignatureMalformed, "What proves the sender cannot be read."),
    (TimestampOutsideTolerance, "The timestamp is outside the tolerance."),
    (MalformedBody, "The body cannot be read as what it says it is."),
    (Unverifiable, "This request cannot be verified here now."),
    (VerificationError, "The signature does not fit this request."),
)
"""What the sender is told; the details are for the log."""

EventHandler: TypeAlias = Callable[[Event], Any]


class Receiver:
    """How an application receives webhooks. Make one for each address, and give it to the module of a framework.

    `secret`: of Hookline's deliveries and others by Standard Webhooks, `whsec_…` or `whpk_…`, one or a list; or
    `verifier`: a `Verifier` of any preset. Then

    - `methods`: those taken; by default the sender's own (`POST`, and what its handshakes use).
    - `body_bytes_max`: of a body; default 1 MiB.
    - `schema`: JSON Schema or a function that a payload must satisfy, else 400.
    - `check`: a function of the event; False, a text, or raising `Unacceptable` refuses it with 422.
    - `replay_guard`: makes a redelivered id run the handler once.
    - `on_outcome`: called with the `Outcome` of each event, and of each request without one.
    - `public_url`: scheme and host (`https://hooks.example.com`) as the sender calls them, where a proxy hides them and
      the sender signs its URL.
    - `tolerance_s`, `confirm_origins`, `allowed_origins`: of `secret` (see `verify` and `Standard`).
    - `logger` (default `hookline.sdk`) and `clock` (seconds since 1970).

    Raises `ValueError` for settings that cannot be.
    """

    def __init__(
        self,
        secret: str | Sequence[str] | None = None,
        *,
        verifier: Prover | None = None,
        methods: Sequence[str] | None = None,
        body_bytes_max: int = BODY_BYTES_MAX,
        schema: Schema | None = None,
        check: Callable[[Event], Any] | None = None,
        replay_guard: AnyReplayGuard | None = None,
        on_outcome: OnOutcome | None = None,
        public_url: str | None = None,
        tolerance_s: float = TOLERANCE_S,
        confirm_origins: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if (secret is None) == (verifier is None):
            raise ValueError("A receiver needs either a secret or a verifier.")
        if secret is not None:
            verifier = Standard(
                secret, tolerance_s=tolerance_s, confirm_origins=confirm_origins, allowed_origins=allowed_origins
            )
        assert verifier is not None
        self._public_origin = "" if public_url is None else origin_of(public_url)
        if public_url is not None and not self._public_origin:
            raise ValueError("public_url must be as https://hooks.example.com.")
        self._verifier = verifier
        own = verifier.methods
        # A handshake has its own method, whichever the events have.
        asks = [method for method in own if method != "POST"]
        self.methods = own if methods is None else tuple(dict.fromkeys([*(m.upper() for m in methods), *asks]))
        self.body_bytes_max = body_bytes_max
        self._logger = logging.getLogger("hookline.sdk") if logger is None else logger
        compiled = None if schema is None else compile_schema(schema)
        self._handling = Handling(compiled, check, replay_guard, self._logger)
        self._on_outcome = on_outcome
        self._clock = clock

    @property
    def is_several(self) -> bool:
        """Whether a request may have several events."""
        return self._verifier.is_several

    def needs_no_loop(self) -> None:
        """Raise `TypeError` if its guard can only be asked in an event loop."""
        guard = self._handling.guard
        if guard is not None and is_async(guard.begin):
            raise TypeError("This replay guard is asynchronous; here is no event loop. Use one that is not.")

    # ------------------------------------------------------------------------------------ before the body is read

    def early(self, method: str, content_length: str | None = None) -> Answer | None:
        """The answer to a request whose body need not be read; None: read it, up to `body_bytes_max`."""
        if method.upper() not in self.methods:
            return self._early("method_not_allowed", 405, "This method is not used here.", method[:20])
        if content_length is None or content_length == "":
            return None
        if not (content_length.isascii() and content_length.isdigit()) or len(content_length) > _LENGTH_DIGITS_MAX:
            return self.malformed("Content-Length is not a number")
        return self.too_large() if int(content_length) > self.body_bytes_max else None

    def too_large(self) -> Answer:
        """The answer to a body of more than `body_bytes_max`."""
        return self._early("too_large", 413, f"A body has at most {self.body_bytes_max} bytes.")

    def malformed(self, detail: str) -> Answer:
        """The answer to a request that cannot be read."""
        return self._early("malformed", 400, "This request cannot be read.", detail)

    def consumed(self, detail: str) -> Answer:
        """The answer where something in the application has read the body before, so that its bytes are gone."""
        return self._refused(refused("unusable_body", detail), time.monotonic())

    def _early(self, kind: str, status: int, message: str, detail: str = "") -> Answer:
        self._tell(Outcome(kind, status, self._verifier.name, reason=kind, detail=detail))
        answer = failure(status, kind, message)
        if status != 405:
            return answer
        return replace(answer, headers=(*answer.headers, ("allow", ", ".join(self.methods))))

    # ------------------------------------------------------------------------------------------- with the body

    def respond(self, method: str, url: str, headers: Headers, body: Body, handler: EventHandler) -> Answer:
        """The answer to a whole request, whose events `handler` handles: for any framework that has no module here.

        `url` is the whole URL. Never raises for what a sender sends; raises `TypeError` for a guard that needs a loop.
        """
        self.needs_no_loop()
        request = self._arrived(method, url, headers, body)
        found = request if isinstance(request, Answer) else advance(self.steps(request, handler))
        assert isinstance(found, Answer)
        return found

    async def respond_async(self, method: str, url: str, headers: Headers, body: Body, handler: EventHandler) -> Answer:
        """The same in an event loop. A handler that is no coroutine function is run in a thread."""
        request = self._arrived(method, url, headers, body)
        found = request if isinstance(request, Answer) else await advance_async(self.steps(request, handler))
        assert isinstance(found, Answer)
        return found

    def _arrived(self, method: str, url: str, headers: Headers, body: Body) -> Inbound | Answer:
        try:
            data = raw_body(body)
            pairs = header_pairs(headers)
        except VerificationError as error:
            return self._refused(error, time.monotonic())
        answer = self.early(method, str(len(data)))
        return Inbound(method.upper(), url, pairs, data) if answer is None else answer

    def steps(self, request: Inbound, handler: EventHandler | None, host: Host = PLAIN) -> Steps[Answer | Native]:
        """The steps to the answer. `handler` is called with each event by itself; without one there is a `Run` for
        all of them together, and what is thrown in there is what the application raised."""
        began_s = time.monotonic()
        try:
            delivery: Delivery = yield from self._verifier.prove(self._as_called(request), self._clock())
        except VerificationError as error:
            return self._refused(error, began_s)
        if delivery.handshake is not None:
            self._tell(Outcome("handshake", delivery.handshake.status, self._verifier.name), began_s)
            return delivery.handshake
        together = [delivery.events] if handler is None else [(event,) for event in delivery.events]
        run = Run if handler is None else partial(_call, handler)
        handled = []
        for events in together:
            one = yield from self._handling.steps(events, run, host)
            outcome = Outcome(one.kind, one.status, self._verifier.name, detail=one.detail, events=one.events)
            self._tell(replace(outcome, error=one.error), began_s)
            handled.append(one)
        return _combined(delivery, handled)

    def _as_called(self, request: Inbound) -> Inbound:
        if not self._public_origin:
            return request
        try:
            parts = urlsplit(request.url)
        except ValueError:
            return request
        rest = parts.path + (f"?{parts.query}" if parts.query else "")
        return replace(request, url=self._public_origin + rest)

    def _refused(self, error: VerificationError, began_s: float) -> Answer:
        kind = "malformed" if isinstance(error, MalformedBody) else "unverified"
        kind = "unverifiable" if isinstance(error, Unverifiable) else kind
        outcome = Outcome(kind, error.status, self._verifier.name, reason=error.reason, detail=str(error))
        self._tell(outcome, began_s)
        message = next(text for group, text in _MESSAGES if isinstance(error, group))
        return failure(error.status, kind if isinstance(error, Unverifiable) else error.reason, message)

    def _tell(self, outcome: Outcome, began_s: float | None = None) -> None:
        duration_s = 0.0 if began_s is None else time.monotonic() - began_s
        tell(replace(outcome, duration_s=duration_s), self._logger, self._on_outcome)


def _call(handler: EventHandler, events: Events) -> Ask:
    return Ask(partial(handler, events[0]))


def _combined(delivery: Delivery, handled: Sequence[Handled]) -> Answer | Native:
    """One answer for all: the worst, so that whatever is not handled comes again."""
    if handled:
        worst = max(handled, key=lambda one: (one.status >= 500, one.status == 409, one.status >= 400))
        if worst.raised_on is not None:
            raise worst.raised_on
        if worst.status >= 400 or len(handled) == 1:
            answer = _answer_of(worst)
            if answer is not None:
                return answer
    if delivery.reply is not None:
        return delivery.reply
    is_repeat = bool(handled) and all(one.kind == "duplicate" for one in handled)
    return success([event.id for event in delivery.events], "handled before" if is_repeat else "received")


def _answer_of(one: Handled) -> Answer | Native | None:
    """The answer that one asks for; None: the usual success."""
    if one.answer is not None or one.status < 400:
        return one.answer
    if one.kind == "malformed":
        return failure(400, "malformed", one.detail)
    if one.kind == "invalid":
        pointer = {} if one.fault is None or one.fault.pointer is None else {"pointer": one.fault.pointer}
        return failure(400, "invalid", one.detail, **pointer)
    if one.kind == "unacceptable":
        return failure(one.status, "unacceptable", one.detail)
    if one.kind == "failed":
        return failure(500, "failed", "This event could not be handled. It may be sent again.")
    message = "This event is being handled." if one.kind == "running" else "This event cannot be taken now."
    answer = failure(one.status, one.kind, f"{message} Send it again later.")
    return replace(answer, headers=(*answer.headers, ("retry-after", str(RETRY_AFTER_S))))
