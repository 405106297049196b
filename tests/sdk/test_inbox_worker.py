"""Workers: threads and event loops, stopping, leases that are kept, and confirmations that arrive."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.acceptance.program import until
from tests.acceptance.receiver import Answer, Hit, Receiver, receiving
from tests.sdk.databases import database
from tests.sdk.test_inbox import event

from hookline.sdk import Event, inbox_worker
from hookline.sdk import inbox_desk as desk_module
from hookline.sdk.inbox import GiveUp, Inbox
from hookline.sdk.inbox_desk import Result
from hookline.sdk.inbox_worker import AsyncWorker, Worker


@pytest.fixture(params=["file", "postgresql"])
def inbox(request: pytest.FixtureRequest, tmp_path) -> Iterator[Inbox]:
    """One that tries again at once."""
    with database(request.param, tmp_path) as where:
        made = Inbox(where.where, retry_s=(0.01,) * 5)
        with contextlib.closing(made):
            yield made


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Who takes confirmations."""
    with receiving() as made:
        yield made


def test_threads_handle_all_of_it_once(inbox):
    """Two workers of four threads each handle 200 events, each once, also those that failed at first."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    @inbox.on()
    def handled(got: Event) -> None:
        with lock:
            seen[got.id] += 1
        if got.data % 10 == 0 and seen[got.id] == 1:
            raise ValueError(got.data)

    inbox.put(*(event(f"evt_{n}", data=n) for n in range(100)))
    with Worker(inbox, poll_s=0.05), Worker(inbox, poll_s=0.05):
        inbox.put(*(event(f"evt_{n}", data=n) for n in range(100, 200)))
        until(lambda: inbox.counts()["done"] == 200)
    assert {event_id: count for event_id, count in seen.items() if count > 1} == {
        f"evt_{n}": 2 for n in range(0, 200, 10)
    }
    assert len(seen) == 200


async def test_a_loop_handles_all_of_it_once(inbox):
    """An async worker runs coroutine functions beside each other, plain ones in threads, and both for one event."""
    seen: Counter[str] = Counter()
    at_once = most = 0

    @inbox.on(name="loop")
    async def later(got: Event) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        seen[f"loop {got.id}"] += 1
        if got.data == 7 and seen[f"loop {got.id}"] == 1:
            raise ValueError(got.data)

    @inbox.on(name="thread", transaction=True)
    def plain(got: Event, connection: Any) -> None:
        assert threading.current_thread() is not threading.main_thread()
        seen[f"thread {got.id}"] += 1

    results: list[Result] = []
    async with AsyncWorker(inbox, poll_s=0.05, on_result=results.append):
        await asyncio.to_thread(inbox.put, *(event(f"evt_{n}", data=n) for n in range(50)))
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(inbox.counts))["done"] < 50:
                await asyncio.sleep(0.02)
    assert most > 1
    assert {name for name, count in seen.items() if count != 1} == {"loop evt_7"}
    assert Counter(result.kind for result in results) == {"handled": 50, "retried": 1}


def test_what_takes_long_stays_its_workers(inbox, monkeypatch):
    """A handler that takes longer than the lease keeps it while its process lives, with a transaction or without."""
    ran: list[str] = []

    @inbox.on("plain", name="plain")
    def plain(got: Event) -> None:
        ran.append(got.id)
        time.sleep(2.5)

    @inbox.on("inside", name="inside", transaction=True)
    def inside(got: Event, connection: Any) -> None:
        ran.append(got.id)
        if inbox.database._dialect == "postgresql":  # on SQLite one that writes for so long stops all others
            time.sleep(2.5)

    inbox.put(event("evt_1", "plain"), event("evt_2", "inside"))
    with Worker(inbox, lease_s=1, poll_s=0.05), Worker(inbox, lease_s=1, poll_s=0.05):
        until(lambda: inbox.counts()["done"] == 2)
    assert sorted(ran) == ["evt_1", "evt_2"]


def test_stopping_lets_handlers_end(inbox):
    """After `stop` nothing more is begun, and what was begun ends."""
    began, go_on = threading.Event(), threading.Event()

    @inbox.on()
    def handled(got: Event) -> None:
        began.set()
        assert go_on.wait(10)

    inbox.put(event("evt_1"), event("evt_2"))
    worker = Worker(inbox, threads=1, poll_s=0.05)
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(worker.run()))
    thread.start()
    assert began.wait(10)
    worker.stop()
    time.sleep(0.2)
    assert thread.is_alive()
    go_on.set()
    thread.join(10)
    assert ended == [True]
    assert (inbox.counts()["done"], inbox.counts()["ready"]) == (1, 1)


def test_stopping_does_not_wait_for_ever(inbox, caplog):
    """A handler that does not end is left to its lease after `stop_s`."""
    began, go_on = threading.Event(), threading.Event()

    @inbox.on()
    def handled(got: Event) -> None:
        began.set()
        go_on.wait(10)

    inbox.put(event())
    worker = Worker(inbox, stop_s=0.1, poll_s=0.05)
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(worker.run()))
    thread.start()
    assert began.wait(10)
    worker.stop()
    thread.join(5)
    assert ended == [False]
    assert "1 events have not ended" in caplog.text
    assert inbox.counts()["running"] == 1
    go_on.set()
    until(lambda: inbox.counts()["done"] == 1)
    until(lambda: not [one for one in threading.enumerate() if one.name == "inbox-handler"])


async def test_a_loop_that_stops_frees_what_it_cancels(inbox):
    """What has not ended `stop_s` after `stop` is cancelled, and another worker may have it at once."""
    began = asyncio.Event()

    @inbox.on()
    async def handled(got: Event) -> None:
        began.set()
        await asyncio.sleep(60)

    inbox.put(event())
    worker = AsyncWorker(inbox, stop_s=0.05, poll_s=0.05)
    task = asyncio.create_task(worker.run())
    await asyncio.wait_for(began.wait(), 10)
    worker.stop()
    assert await task is False
    assert inbox.counts()["ready"] == 1
    assert inbox.letters("ready")[0].tries == 0


async def test_a_loop_that_is_cancelled_frees_what_it_has(inbox):
    """The same where the worker's own task is cancelled."""
    began = asyncio.Event()

    @inbox.on()
    async def handled(got: Event) -> None:
        began.set()
        await asyncio.sleep(60)

    inbox.put(event())
    task = asyncio.create_task(AsyncWorker(inbox, poll_s=0.05).run())
    await asyncio.wait_for(began.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inbox.counts()["ready"] == 1


PROCESS = """
import sys, time
from hookline.sdk.inbox import Inbox
from hookline.sdk.inbox_worker import AsyncWorker, Worker
inbox = Inbox(sys.argv[1])
@inbox.on()
def handled(event):
    print(event.id, flush=True)
    time.sleep(0.5)
    print("ended", flush=True)
if sys.argv[2] == "threads":
    sys.exit(0 if Worker(inbox, poll_s=0.05).run() else 3)
import asyncio
sys.exit(0 if asyncio.run(AsyncWorker(inbox, poll_s=0.05).run(signals=True)) else 3)
"""


@pytest.mark.parametrize("kind", ["threads", "loop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_gracefully(tmp_path, kind, number):
    """SIGTERM and SIGINT let what runs end, and the process ends well."""
    path = str(tmp_path / "inbox.db")
    with contextlib.closing(Inbox(path)) as inbox:
        inbox.put(event("evt_1"))
        command = [sys.executable, "-c", PROCESS, path, kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "evt_1\n"
            os.kill(process.pid, number)
            inbox.put(event("evt_2"))
            assert process.stdout.read() == "ended\n"
            assert process.wait(10) == 0
        assert (inbox.counts()["done"], inbox.counts()["ready"]) == (1, 1)


def test_a_database_that_is_away_for_a_while(tmp_path, monkeypatch, caplog):
    """A worker whose database cannot be reached goes on when it can."""
    import sqlite3

    from hookline.sdk import inbox_worker

    monkeypatch.setattr(inbox_worker, "_ERROR_WAIT_S", 0.01)
    broken = threading.Event()

    def connect() -> sqlite3.Connection:
        if broken.is_set():
            raise sqlite3.OperationalError("gone")
        return sqlite3.connect(tmp_path / "x.db", timeout=10)

    inbox = Inbox(connect, dialect="sqlite", paramstyle="qmark")
    inbox.on(name="x")(lambda got: None)
    inbox.put(event())
    broken.set()
    with Worker(inbox, poll_s=0.05):
        until(lambda: "gone" in caplog.text)
        broken.clear()
        until(lambda: inbox.counts()["done"] == 1)


# ------------------------------------------------------------------------------------------------- confirmations


def asking(url: str, event_id: str = "evt_1") -> Event:
    """An event whose sender waits to be told."""
    return event(event_id, confirm_url=url, confirm_origins=(url.rpartition("/")[0],))


def said(hits: list[Hit]) -> list[dict[str, str]]:
    """What was said there."""
    return [json.loads(hit.body) for hit in hits]


def applied(status: int = 200) -> Any:
    """Who answers as Hookline does."""
    return lambda _hit, _before: Answer(status, b'{"applied": true}')


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_sender_is_told_when_it_is_done(inbox, receiver, is_async):
    """Success is confirmed after the handler's end was committed, and a failure for good is rejected with its text."""
    url, other = receiver.url(applied()), receiver.url(applied())

    @inbox.on()
    def handled(got: Event) -> None:
        assert receiver.hits(url) == []
        if got.id == "evt_2":
            raise GiveUp("no such customer")
        if got.id == "evt_3":
            raise RuntimeError("the password is secret")

    third = receiver.url(applied())
    inbox.put(asking(url), asking(other, "evt_2"), asking(third, "evt_3"))
    if is_async:
        async with AsyncWorker(inbox, poll_s=0.05):
            async with asyncio.timeout(20):
                while not (receiver.hits(url) and receiver.hits(other) and receiver.hits(third)):
                    await asyncio.sleep(0.02)
    else:
        with Worker(inbox, poll_s=0.05):
            for one in (url, other, third):
                await asyncio.to_thread(receiver.came, one)
    assert said(receiver.hits(url)) == [{"status": "success"}]
    assert said(receiver.hits(other)) == [{"status": "error", "message": "no such customer"}]
    assert said(receiver.hits(third)) == [{"status": "error", "message": "the event could not be handled"}]


def test_a_confirmation_that_does_not_arrive_is_said_again(inbox, receiver, monkeypatch):
    """Where the sender cannot be reached he is told later; the handler does not run again for it."""
    monkeypatch.setattr(desk_module, "CONFIRM_FIRST_S", 0.01)
    ran: list[str] = []
    inbox.on(name="x")(lambda got: ran.append(got.id))
    url = receiver.url(lambda _hit, before: Answer(503) if before < 3 else Answer(200, b'{"applied": true}'))
    results: list[Result] = []
    inbox.put(asking(url))
    with Worker(inbox, poll_s=0.02, on_result=results.append):
        receiver.came(url, 4)
        until(lambda: "confirmed" in [result.kind for result in results])
    assert said(receiver.hits(url)) == [{"status": "success"}] * 4
    assert ran == ["evt_1"]
    assert [result.kind for result in results] == ["handled", "confirmed"]


def test_a_confirmation_is_given_up_in_the_end(inbox, receiver, monkeypatch, caplog):
    """After its tries a confirmation is given up, with an error in the log."""
    monkeypatch.setattr(desk_module, "CONFIRM_FIRST_S", 0.01)
    monkeypatch.setattr(desk_module, "CONFIRM_TRIES_MAX", 3)
    inbox.on(name="x")(lambda got: None)
    url = receiver.url([404])
    results: list[Result] = []
    inbox.put(asking(url))
    with Worker(inbox, poll_s=0.02, on_result=results.append):
        until(lambda: "unconfirmed" in [result.kind for result in results])
    assert len(receiver.hits(url)) == 3
    assert "cannot be confirmed" in caplog.text


def test_a_repeat_of_what_is_done_is_confirmed_at_its_own_address(inbox, receiver):
    """A delivery that comes again (a replay has an address of its own) is confirmed there, and not handled again."""
    ran: list[str] = []
    inbox.on(name="x")(lambda got: ran.append(got.id))
    first, second = receiver.url(applied()), receiver.url(applied())
    with Worker(inbox, poll_s=0.05):
        inbox.put(asking(first))
        receiver.came(first)
        inbox.put(asking(second))
        receiver.came(second)
    assert said(receiver.hits(second)) == [{"status": "success"}]
    assert ran == ["evt_1"]


def test_a_hook_that_raises_changes_nothing(inbox, caplog):
    """What `on_result` raises is logged."""

    def broken(result: Result) -> None:
        raise ValueError("hook")

    inbox.on(name="x")(lambda got: None)
    inbox.put(event())
    Worker(inbox, on_result=broken).run_once()
    assert inbox.counts()["done"] == 1
    assert "the on_result hook failed" in caplog.text


@pytest.mark.parametrize("settings", [{"threads": 0}, {"poll_s": 0}, {"stop_s": -1}, {"lease_s": 0.5}])
def test_workers_that_cannot_be(tmp_path, settings):
    """Settings that cannot be are refused."""
    with pytest.raises(ValueError, match=r"worker has|lease_s"):
        Worker(Inbox(tmp_path / "x.db"), **settings)


def test_a_signal_s_handler_may_stop_it_at_any_moment():
    """Whatever line of its wait a signal comes upon, a handler that stops the worker never waits for itself."""
    inbox_wake, told, main = inbox_worker._Wake(), 0, threading.main_thread().ident

    def handler(_number: int, _frame: object) -> None:
        nonlocal told
        told += 1
        inbox_wake.set()

    def send() -> None:
        while told < 3000:
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    sender = threading.Thread(target=send)
    try:
        sender.start()
        while told < 3000:
            inbox_wake.wait(0.01)
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
