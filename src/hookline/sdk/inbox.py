"""The inbox: webhooks are verified, committed and answered first, and handled afterwards, once per id.

    inbox = Inbox("inbox.db", Receiver("whsec_…"))            # or the application's own database:
    inbox = Inbox(lambda: psycopg.connect(DSN), Receiver("whsec_…"))

    @inbox.on("order.*")
    def ordered(event): ...                                   # at least once; again until it ends well

    @inbox.on("invoice.paid", transaction=True)
    def paid(event, connection): ...                          # what it writes commits with "handled": exactly once

    answer = inbox.respond(method, url, headers, body)        # in the web server; or `inbox.put(event)` in a handler
    Worker(inbox).run()                                       # in the same process or in another one

What is answered 200 is committed, so a process may be killed at any moment: nothing is lost. A plain handler that was
killed before its end runs again. One that gets the connection writes its effects in the transaction that marks the
event as handled: both happen, or neither.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hookline.sdk.errors import VerificationError
from hookline.sdk.event import Event
from hookline.sdk.inbox_table import DEAD, STATES, Letter, Table, key_of
from hookline.sdk.parts import Body, Headers, header_pairs, raw_body
from hookline.sdk.sql import Connect, Database, Dialect, Transaction, sqlite_file

if TYPE_CHECKING:
    from hookline.sdk.answer import Answer
    from hookline.sdk.receiver import Receiver

__all__ = ["GiveUp", "Handler", "Inbox", "Letter", "NoSuchLetter"]

KEEP_S: Final = 7 * 86_400.0
RETRY_S: Final = (1.0, 5.0, 30.0, 300.0, 1800.0, 7200.0)
"""Seconds before each further try: seven tries within about three hours."""
PURGE_ROWS_MAX: Final = 1000

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class GiveUp(Exception):
    """A handler raises it where to try again would not help: the event is dead at once, and whoever sent it is told
    this text, if he asked for a confirmation."""


class NoSuchLetter(LookupError):
    """There is no event of this key, or not in a state that allows this."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and what it handles."""

    name: str
    pattern: str
    call: Callable[..., Any]
    transaction: bool
    """Whether it gets the connection, too, in the transaction that marks its event as handled."""
    is_async: bool

    def wants(self, event_type: str) -> bool:
        """Whether events of this type are for it: `order.created`, `order.*` (any depth), `*`."""
        if self.pattern in ("*", event_type):
            return True
        return self.pattern.endswith(".*") and event_type.startswith(self.pattern[:-1])


class Inbox:
    """Events on their way to handlers, in one table.

    `where` is the path of a SQLite file, or a function that makes a DB-API 2.0 connection (SQLite or PostgreSQL), which
    belongs to the inbox from then on. `receiver` proves and answers what `respond` gets. The table is made on first
    use; with `create` False it must be there (`schema` has the statements). What is over is forgotten after `keep_s`,
    which must be longer than the sender repeats; what is dead waits for a person. May be used by several threads, and
    by several processes, each with an `Inbox` of its own. Errors of the driver are raised.
    """

    def __init__(
        self,
        where: str | os.PathLike[str] | Connect,
        receiver: Receiver | None = None,
        *,
        table: str = "hookline_inbox",
        keep_s: float = KEEP_S,
        retry_s: Sequence[float] = RETRY_S,
        paramstyle: str | None = None,
        dialect: Dialect | None = None,
        create: bool = True,
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`retry_s`: seconds before each further try of an event that failed; the last failure makes it dead. Raises
        `ValueError` for settings that cannot be."""
        if not 0 < keep_s <= 3650 * 86_400:
            raise ValueError("keep_s is more than 0 and at most ten years")
        if not all(0 <= wait_s <= 30 * 86_400 for wait_s in retry_s) or len(retry_s) > 100:
            raise ValueError("retry_s has at most 100 waits, each from 0 s to 30 days")
        if callable(where):
            self.database = Database(where, paramstyle=paramstyle, dialect=dialect)
        else:
            self.database = sqlite_file(where)
        self.table = Table(table)
        self.receiver = receiver
        self.retry_s = tuple(retry_s)
        self.logger = logging.getLogger("hookline.sdk.inbox") if logger is None else logger
        self.clock = clock
        self.handlers: list[Handler] = []
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._there = not create
        self._wakers: list[Callable[[], object]] = []

    # ---------------------------------------------------------------------------------------------- handlers

    def on(self, pattern: str = "*", *, name: str | None = None, transaction: bool = False) -> Callable[[F], F]:
        """A decorator: the function handles events whose type is as `pattern` says.

        All handlers that want an event run for it, one after the other; after a failure only those that did not end
        well run again. `name` (the function's own unless given) is how the table knows which did: it must stay the same
        over versions of the program. With `transaction` the function gets the connection as second argument: what it
        writes there commits together with its end; it must not commit by itself. Raises `ValueError` for a name that is
        taken, `TypeError` for a coroutine function with `transaction`.
        """

        def add(function: F) -> F:
            own = name if name is not None else getattr(function, "__qualname__", repr(function))
            if any(handler.name == own for handler in self.handlers):
                raise ValueError(f"there is a handler {own!r} already: give one of them another name=")
            is_async = inspect.iscoroutinefunction(function)
            if is_async and transaction:
                raise TypeError("a DB-API connection blocks: a handler that gets it must not be a coroutine function")
            self.handlers.append(Handler(own, pattern, function, transaction, is_async))
            return function

        return add

    def wanted(self, event: Event) -> Sequence[Handler]:
        """The handlers of an event, in the order in which they were added."""
        return [handler for handler in self.handlers if handler.wants(event.type)]

    # ---------------------------------------------------------------------------------------------- what comes in

    def put(self, *events: Event) -> int:
        """Keep verified events; how many of them were new. They are committed, together, when it returns.

        An event without an id cannot be told from another one: it is always new. One that is dead is opened again by
        its sender's repeat.
        """
        now_s = self.clock()
        keyed = [(key_of(event) or f"none:{uuid.uuid4().hex}", event) for event in events]
        keyed.sort(key=lambda one: one[0])  # in one order, so that two that put the same do not wait for each other
        new = self.run(lambda t: sum(self.table.put(t, key, event, now_s) for key, event in keyed))
        self.wake()
        return new

    def respond(self, method: str, url: str, headers: Headers, body: Body) -> Answer:
        """Verify a request, keep its events, and say what to answer. `url` is the whole URL.

        200 says that they are committed. Nothing is raised for what a sender sends; where the database cannot be
        written it is answered 503, and he comes again.
        """
        from hookline.core.verifiers.inbound import Inbound
        from hookline.sdk.answer import Answer, failure
        from hookline.sdk.steps import Run, advance

        receiver = self.receiver
        if receiver is None:
            raise TypeError("respond needs a receiver: Inbox(where, Receiver(secret))")
        try:
            data, pairs = raw_body(body), header_pairs(headers)
        except VerificationError as error:
            return receiver.malformed(str(error))
        early = receiver.early(method, str(len(data)))
        if early is not None:
            return early
        steps = receiver.steps(Inbound(method.upper(), url, pairs, data), None)
        found = advance(steps)
        while isinstance(found, Run):
            try:
                self.put(*found.events)
            except Exception as error:
                self.logger.exception("the inbox cannot be written")
                advance(steps, error=error)
                unavailable = failure(503, "unavailable", "These events cannot be taken now. Send them again later.")
                return replace(unavailable, headers=(*unavailable.headers, ("retry-after", "5")))
            found = advance(steps)
        assert isinstance(found, Answer)
        return found

    async def respond_async(self, method: str, url: str, headers: Headers, body: Body) -> Answer:
        """As `respond`, in a thread beside the event loop."""
        import asyncio

        return await asyncio.to_thread(self.respond, method, url, headers, body)

    # ---------------------------------------------------------------------------------------------- people

    def letters(self, state: str = DEAD, *, limit: int = 100, offset: int = 0) -> Sequence[Letter]:
        """Events in a state (`dead` unless given; `ready running done ignored discarded`), the oldest first."""
        if state not in STATES:
            raise ValueError(f"a state is one of {', '.join(STATES)}")
        return self.run(lambda t: self.table.letters(t, state, limit, offset))

    def retry(self, key: str) -> None:
        """Handle one that is dead, ignored or discarded again, tries from 0; one that waits, now. Handlers that ended
        well before do not run again. Raises `NoSuchLetter`."""
        if not self.run(lambda t: self.table.open_again(t, key, self.clock())):
            raise NoSuchLetter(key)
        self.wake()

    def discard(self, key: str) -> None:
        """Never handle one (again) that is dead, ignored or waits. Raises `NoSuchLetter`."""
        if not self.run(lambda t: self.table.discard(t, key, self.clock())):
            raise NoSuchLetter(key)
        self.wake()

    def counts(self) -> dict[str, int]:
        """How many events there are in each state."""
        return self.run(self.table.counts)

    # ---------------------------------------------------------------------------------------------- the table

    def schema(self, dialect: Dialect) -> Sequence[str]:
        """The statements that make the table."""
        return self.table.schema(dialect)

    def run(self, work: Callable[[Transaction], T]) -> T:
        """One transaction on the inbox's database; the table is there."""
        if not self._there:
            self._make()
        return self.database.run(work)

    def purge(self) -> int:
        """Forget what was over `keep_s` ago; how many. Workers do it now and then."""
        before_s, forgotten = self.clock() - self._keep_s, 0
        while True:
            count = self.run(lambda t: self.table.purge(t, before_s))
            forgotten += count
            if count < PURGE_ROWS_MAX:
                return forgotten

    def wake(self) -> None:
        """Tell the workers of this process that there is something."""
        for waker in tuple(self._wakers):
            waker()

    def add_waker(self, waker: Callable[[], object]) -> Callable[[], None]:
        """Have it called at each `wake`, from any thread, until what is returned is called."""
        self._wakers.append(waker)
        return lambda: self._wakers.remove(waker)

    def close(self) -> None:
        """Close the connections that are idle."""
        self.database.close()

    def _make(self) -> None:
        def make(transaction: Transaction) -> None:
            for statement in self.table.schema(transaction.dialect):
                transaction.execute(statement)

        with self._lock:
            if self._there:
                return
            try:
                self.database.run(make)
            except Exception:  # noqa: BLE001 - two processes that make it at once: the other one has it by now
                self.database.run(make)
            self._there = True
