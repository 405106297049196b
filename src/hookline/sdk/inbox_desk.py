"""What a worker of an inbox does with one event, whether it has threads or an event loop."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from hookline.sdk.errors import ConfirmationError
from hookline.sdk.event import Event
from hookline.sdk.inbox_table import DEAD, DONE, IGNORED, Claimed, Confirmation
from hookline.sdk.sql import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookline.sdk.inbox import Handler, Inbox

RESULTS: Final = {
    "handled": "all its handlers ended well",
    "ignored": "no handler wants its type",
    "retried": "a handler raised; it is tried again",
    "dead": "it was tried often enough, or a handler gave up",
    "lost": "it took longer than its lease and is another worker's now; a handler with the connection had no effect",
    "confirmed": "its sender was told what became of it",
    "unconfirmed": "its sender could not be told, and is not tried again",
}
"""What `on_result` is told, with what it means."""

SPREAD: Final = 0.1
CONFIRM_FIRST_S: Final = 2.0
CONFIRM_WAIT_S_MAX: Final = 3600.0
CONFIRM_TRIES_MAX: Final = 24
"""Over about twelve hours."""
CONFIRM_LEASE_S: Final = 60.0
_SETTLE_TRIES: Final = 5
_SETTLE_WAIT_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Result:
    """Something that became of an event."""

    kind: str
    """One of `RESULTS`."""
    event: Event
    tries: int
    error: BaseException | None = None


OnResult: TypeAlias = Callable[[Result], object]


class LostClaim(Exception):
    """The lease ended before the handler did: what it wrote in the transaction is undone."""


class Desk:
    """Claims, runs and settles. Its methods block."""

    def __init__(self, inbox: Inbox, lease_s: float, on_result: OnResult | None) -> None:
        if not 1 <= lease_s <= 86_400:
            raise ValueError("lease_s is from 1 s to a day")
        self.inbox = inbox
        self.lease_s = lease_s
        self._on_result = on_result
        self._lock = threading.Lock()
        self._in_transaction: set[str] = set()

    def claim(self, limit: int) -> Sequence[Claimed]:
        """What is due, for `lease_s`."""
        now_s, inbox = self.inbox.clock(), self.inbox
        tries_max = len(inbox.retry_s) + 1
        return inbox.run(lambda t: inbox.table.claim(t, limit, tries_max, now_s, now_s + self.lease_s))

    def todo(self, claim: Claimed) -> Sequence[Handler]:
        """The handlers that are still to run."""
        return [handler for handler in self.inbox.wanted(claim.event) if handler.name not in claim.finished]

    def over(self, claim: Claimed) -> None:
        """There is nothing to run: no handler wants it, or all ended well before. Raises `LostClaim`."""
        self._settle(claim, claim.finished)

    def run(self, claim: Claimed, handler: Handler, finished: frozenset[str]) -> frozenset[str]:
        """Run a handler that is no coroutine function, and settle it; who has ended well now. Raises what the handler
        does, and `LostClaim`."""
        after = finished | {handler.name}
        if not handler.transaction:
            handler.call(claim.event)
            self.ran(claim, after)
            return after
        with self._holding(claim.key):
            kind = self.inbox.run(lambda t: self._run_inside(t, claim, handler, after))
        if kind is not None:
            self.tell(kind, claim)
        return after

    def ran(self, claim: Claimed, finished: frozenset[str]) -> None:
        """These handlers ended well. Raises `LostClaim`."""
        # The work is done: a database that is busy for a moment must not have it done again.
        for _ in range(_SETTLE_TRIES - 1):
            try:
                return self._settle(claim, finished)
            except LostClaim:
                raise
            except Exception as error:  # noqa: BLE001 - each driver has its own
                self.inbox.logger.warning("an event that is handled cannot be marked yet: %r", error)
                time.sleep(_SETTLE_WAIT_S)
        return self._settle(claim, finished)

    def failed(self, claim: Claimed, error: BaseException) -> None:
        """A handler raised: try again later, or bury it."""
        from hookline.sdk.inbox import GiveUp

        inbox, table, now_s = self.inbox, self.inbox.table, self.inbox.clock()
        if isinstance(error, LostClaim):
            inbox.logger.warning("%s took longer than its lease of %g s", claim.key, self.lease_s)
            return self.tell("lost", claim, error)
        text = f"{type(error).__name__}: {error}"
        again = claim.tries <= len(inbox.retry_s) and not isinstance(error, GiveUp)
        if again:
            # What a handler's error says is for us; to its sender only what it says to him.
            wait_s = inbox.retry_s[claim.tries - 1] * (1 + SPREAD * (2 * random.random() - 1))  # noqa: S311
            kept = inbox.run(lambda t: table.retry_at(t, claim, now_s + wait_s, text))
        else:
            message = str(error) if isinstance(error, GiveUp) else "the event could not be handled"
            kept = inbox.run(lambda t: table.bury(t, claim, text, message, now_s))
        kind = "lost" if not kept else "retried" if again else DEAD
        inbox.logger.log(30 if again else 40, "%s: %s, try %d", claim.key, kind, claim.tries, exc_info=error)
        return self.tell(kind, claim, error)

    def give_back(self, claim: Claimed) -> None:
        """It is not handled here: another worker may, at once."""
        self.inbox.run(lambda t: self.inbox.table.give_back(t, claim, self.inbox.clock()))

    def extend(self, claims: Sequence[Claimed]) -> None:
        """Keep what is being handled. A transaction that runs holds its row by itself, and would be waited for."""
        until_s = self.inbox.clock() + self.lease_s
        with self._lock:
            held = set(self._in_transaction)
        for claim in claims:
            if claim.key not in held:
                self.inbox.run(lambda t, one=claim: self.inbox.table.extend(t, one, until_s))  # type: ignore[misc]

    # ---------------------------------------------------------------------------------------------- confirmations

    def to_confirm(self, limit: int) -> Sequence[Confirmation]:
        """What senders wait for."""
        now_s, inbox = self.inbox.clock(), self.inbox
        return inbox.run(lambda t: inbox.table.to_confirm(t, limit, now_s, now_s + CONFIRM_LEASE_S))

    def confirm(self, due: Confirmation) -> None:
        """Say it; what cannot be said is tried again later."""
        error: ConfirmationError | None = None
        try:
            if due.word == "success":
                due.event.confirm()
            else:
                due.event.reject(due.message)
        except ConfirmationError as caught:
            error = caught
        again_at_s = None
        if error is not None and error.reason in ("unreachable", "refused") and due.tries < CONFIRM_TRIES_MAX:
            again_at_s = self.inbox.clock() + min(CONFIRM_WAIT_S_MAX, CONFIRM_FIRST_S * 2 ** (due.tries - 1))
        self.inbox.run(lambda t: self.inbox.table.confirmed(t, due, again_at_s))
        if error is not None and again_at_s is None:
            self.inbox.logger.error("%s cannot be confirmed: %s", due.key, error)
        if again_at_s is None:
            self._tell(Result("confirmed" if error is None else "unconfirmed", due.event, due.tries, error))

    # ---------------------------------------------------------------------------------------------- what it is made of

    def tell(self, kind: str, claim: Claimed, error: BaseException | None = None) -> None:
        """Call the hook."""
        self._tell(Result(kind, claim.event, claim.tries, error))

    def _tell(self, result: Result) -> None:
        if self._on_result is None:
            return
        try:
            self._on_result(result)
        except Exception:
            self.inbox.logger.exception("the on_result hook failed")

    def _settle(self, claim: Claimed, finished: frozenset[str]) -> None:
        kind = self.inbox.run(lambda t: self._settle_inside(t, claim, finished))
        if kind is not None:
            self.tell(kind, claim)

    def _run_inside(
        self, transaction: Transaction, claim: Claimed, handler: Handler, finished: frozenset[str]
    ) -> str | None:
        # Settled first: whoever has lost the claim does not run at all, and whoever has it holds its row till the end.
        kind = self._settle_inside(transaction, claim, finished)
        handler.call(claim.event, transaction.connection)
        return kind

    def _settle_inside(self, transaction: Transaction, claim: Claimed, finished: frozenset[str]) -> str | None:
        """Mark who has ended well; the result, if that were all. Raises `LostClaim`."""
        table = self.inbox.table
        wanted = {handler.name for handler in self.inbox.wanted(claim.event)}
        if wanted - finished:
            if not table.mark(transaction, claim, finished):
                raise LostClaim
            return None
        state = DONE if wanted else IGNORED
        if not table.complete(transaction, claim, state, self.inbox.clock()):
            raise LostClaim
        return "handled" if wanted else "ignored"

    @contextmanager
    def _holding(self, key: str) -> Iterator[None]:
        with self._lock:
            self._in_transaction.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._in_transaction.discard(key)
