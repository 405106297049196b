"""The inbox: what was answered 200 is kept, handled once per id, tried again, buried, confirmed and forgotten."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.sdk.databases import KINDS, Where, database

from hookline.core.endpoint import SigningKey
from hookline.core.signature import Signer
from hookline.sdk import Event, Receiver, Verifier
from hookline.sdk.inbox import GiveUp, Inbox, NoSuchLetter
from hookline.sdk.inbox_desk import Desk, LostClaim, Result
from hookline.sdk.inbox_table import STATES
from hookline.sdk.inbox_worker import RESULTS, Worker

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW_S = 1_800_000_000.0


class Told:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Case:
    """An inbox on a told clock, and a worker of it."""

    inbox: Inbox
    clock: Told
    where: Where
    results: list[Result]

    def work(self, **settings: Any) -> list[str]:
        """Handle what is due; what became of it."""
        self.results.clear()
        Worker(self.inbox, on_result=self.results.append, **settings).run_once()
        return [result.kind for result in self.results]

    def state(self, event_id: str) -> str:
        """Of the one event with this id."""
        found = [s for s in STATES for letter in self.inbox.letters(s) if letter.event.id == event_id]
        assert len(found) == 1, found
        return found[0]


def event(event_id: str = "evt_1", type_: str = "order.created", data: Any = None, **more: Any) -> Event:
    """An event as a verifier makes it."""
    body = json.dumps({"type": type_, "timestamp": "2026-01-01T00:00:00Z", "data": data}).encode()
    headers = {"webhook-id": event_id, "content-type": "application/json"}
    made = Event(event_id, type_, datetime(2026, 1, 1, tzinfo=UTC), data, body, headers, "application/json")
    return replace(made, verifier="standard_webhooks", **more)


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path) -> Iterator[Case]:
    """Each kind of database."""
    with database(request.param, tmp_path) as where:
        clock = Told()
        inbox = Inbox(where.where, clock=clock, retry_s=(10, 100), keep_s=1000, **where.options)
        with contextlib.closing(inbox):
            yield Case(inbox, clock, where, [])


@pytest.fixture
def one(tmp_path) -> Iterator[Case]:
    """One on a SQLite file."""
    with database("file", tmp_path) as where:
        clock = Told()
        inbox = Inbox(where.where, Receiver(SECRET), clock=clock, retry_s=(10, 100), keep_s=1000)
        with contextlib.closing(inbox):
            yield Case(inbox, clock, where, [])


EVENTS = [
    event(data={"total": 1.50, "deep": [None, True, "ä\0\ud800"]}),
    event(
        data=None, attempt=7, subject="order/1", source="/shop", confirm_url="https://x/1", confirm_origins=("a", "b")
    ),
    replace(event(), data=b"\0\xff", body=b"\0\xff", content_type="image/png", headers={"content-type": "image/png"}),
    replace(event(), data=b"other", body=b"", headers={}),
    replace(event(), data={"a": ["1", "2"]}, body=b"a=1&a=2", content_type="application/x-www-form-urlencoded"),
    replace(event(), data=[1], body=b"{not json", headers={"x": "y"}),
    replace(event(), data=b"{not json", body=b"{not json", malformed="The body is not JSON."),
    replace(event(), data={"a": {"b": "1"}}, body=b"<a><b>1</b></a>", content_type="text/xml"),
    replace(event(), id="", type=""),
    replace(event(), type="t\0\ud800", data=5, body=b"5"),
]


@pytest.mark.parametrize("given", EVENTS, ids=range(len(EVENTS)))
def test_an_event_comes_out_as_it_went_in(case, given):
    """Whatever an event holds, its handler gets the same."""
    seen: list[Event] = []
    case.inbox.on("*", name="all")(seen.append)
    assert case.inbox.put(given) == 1
    assert case.work() == ["handled"] + (["unconfirmed"] if given.confirm_url else [])
    assert seen == [given]
    assert type(seen[0].data) is type(given.data)


def test_every_field_of_an_event_is_kept(one):
    """What an event has is in its row: nothing of it is left out by name."""
    one.inbox.put(event())
    [[details]] = one.inbox.run(lambda t: t.rows("SELECT details FROM hookline_inbox"))
    elsewhere = {"data", "body", "confirm_url"}
    assert {field.name for field in fields(Event)} - elsewhere - set(json.loads(details)) == set()


def test_credentials_are_not_kept(case):
    """Headers that are a credential are dropped: they did their work before."""
    case.inbox.put(replace(event(), headers={"authorization": "Bearer secret", "cookie": "a=b", "x-shop": "1"}))
    assert case.inbox.letters("ready")[0].event.headers == {"x-shop": "1"}


def test_an_id_is_handled_once(case):
    """However often an event comes, before, while and after it is handled, its handler runs once."""
    seen: list[str] = []

    @case.inbox.on("order.*")
    def ordered(got: Event) -> None:
        seen.append(got.id)
        assert case.inbox.put(event()) == 0

    assert case.inbox.put(event(), event("evt_2"), event()) == 2
    assert case.inbox.put(event()) == 0
    assert case.work() == ["handled", "handled"]
    assert case.inbox.put(event(), event("evt_2")) == 0
    assert case.work() == []
    assert sorted(seen) == ["evt_1", "evt_2"]
    assert case.inbox.counts() == dict.fromkeys(STATES, 0) | {"done": 2}


def test_an_id_is_its_verifiers_own(case):
    """The same id from two providers is two events, and events without one are all new."""
    given = [event("1"), replace(event("1"), verifier="stripe"), event(""), event("")]
    assert case.inbox.put(*given) == 4
    assert case.inbox.put(*given) == 2
    long = [event("k" * 5000), event("k" * 5001), event("a\0"), event("a\ufffd")]
    assert case.inbox.put(*long) == 4
    assert case.inbox.put(*long) == 0


def test_a_failure_is_tried_again_by_the_schedule(case):
    """A handler that raises runs again after each wait, and after the last the event is dead with its error."""
    tries: list[int] = []

    @case.inbox.on()
    def failing(got: Event) -> None:
        tries.append(1)
        raise KeyError("no such customer")

    case.inbox.put(event())
    assert case.work() == ["retried"]
    assert case.work() == []
    letter = case.inbox.letters("ready")[0]
    assert (letter.tries, letter.error) == (1, "KeyError: 'no such customer'")
    assert 9 <= letter.due_at_s - NOW_S <= 11
    case.clock.now_s += 12
    assert case.work() == ["retried"]
    case.clock.now_s += 50
    assert case.work() == []
    case.clock.now_s += 70
    assert case.work() == ["dead"]
    assert isinstance(case.results[0].error, KeyError)
    assert case.results[0].tries == 3
    case.clock.now_s += 10**6
    case.inbox.purge()
    assert case.work() == []
    assert [letter.error for letter in case.inbox.letters()] == ["KeyError: 'no such customer'"]
    assert len(tries) == 3


def test_giving_up_is_final(case):
    """A handler that gives up is not tried again."""

    @case.inbox.on()
    def giving_up(got: Event) -> None:
        raise GiveUp("no such customer")

    case.inbox.put(event())
    assert case.work() == ["dead"]


def test_dead_letters_are_retried_and_discarded(case):
    """A person sees what is dead, tries it again from the beginning, or discards it for ever."""
    works = False

    @case.inbox.on()
    def handled(got: Event) -> None:
        if not works:
            raise GiveUp("not now")

    case.inbox.put(event("evt_1"), event("evt_2"), event("evt_3"))
    assert case.work() == ["dead"] * 3
    letters = {letter.event.id: letter for letter in case.inbox.letters()}
    assert [letter.event.id for letter in case.inbox.letters(limit=1, offset=1)] == ["evt_2"]
    works = True
    case.inbox.retry(letters["evt_1"].key)
    case.inbox.discard(letters["evt_2"].key)
    assert case.work() == ["handled"]
    assert [case.state(f"evt_{n}") for n in (1, 2, 3)] == ["done", "discarded", "dead"]
    assert case.inbox.put(event("evt_2")) == 0
    assert case.work() == []
    for wrong in (letters["evt_1"].key, "unknown"):
        with pytest.raises(NoSuchLetter):
            case.inbox.retry(wrong)
        with pytest.raises(NoSuchLetter):
            case.inbox.discard(wrong)
    case.inbox.retry(letters["evt_2"].key)
    assert case.work() == ["handled"]
    with pytest.raises(ValueError, match="a state is one of"):
        case.inbox.letters("failed")


def test_a_repeat_opens_what_is_dead(case):
    """When its sender sends a dead event again, it is tried again."""
    works = False

    @case.inbox.on()
    def handled(got: Event) -> None:
        if not works:
            raise GiveUp

    case.inbox.put(event())
    assert case.work() == ["dead"]
    works = True
    assert case.inbox.put(event()) == 0
    assert case.work() == ["handled"]


def test_what_nobody_handles_is_not_lost(case):
    """An event that no handler wants is ignored, listed, and handled once there is one and somebody says so."""
    case.inbox.put(event())
    assert case.work() == ["ignored"]
    seen: list[Event] = []
    case.inbox.on(name="all")(seen.append)
    case.inbox.retry(case.inbox.letters("ignored")[0].key)
    assert case.work() == ["handled"]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*", True),
        ("order.*", True),
        ("order.created", True),
        ("order", False),
        ("orde.*", False),
        ("order.created.*", False),
    ],
)
def test_patterns(one, pattern, wanted):
    """A pattern is a type, a type's beginning with `.*`, or `*`."""
    one.inbox.on(pattern, name="x")(lambda got: None)
    assert bool(one.inbox.wanted(event())) is wanted


def test_every_handler_runs_until_it_has_ended_well(case):
    """Of several handlers of an event only those that failed run again."""
    ran: list[str] = []
    broken = {"second"}

    def handler(name: str) -> None:
        @case.inbox.on(name=name, transaction=name == "third")
        def run(got: Event, connection: Any = None) -> None:
            ran.append(name)
            if name in broken:
                raise ValueError(name)

    for name in ("first", "second", "third"):
        handler(name)
    case.inbox.put(event())
    assert case.work() == ["retried"]
    assert ran == ["first", "second"]
    broken.clear()
    case.clock.now_s += 12
    assert case.work() == ["handled"]
    assert ran == ["first", "second", "second", "third"]


def test_handlers_have_names_of_their_own(one):
    """A name is a handler's for ever, so none is given twice; a coroutine function gets no connection."""

    @one.inbox.on()
    def handled(got: Event) -> None: ...

    with pytest.raises(ValueError, match="give one of them another name"):
        one.inbox.on("order.*")(handled)

    async def later(got: Event, connection: Any) -> None: ...

    with pytest.raises(TypeError, match="must not be a coroutine function"):
        one.inbox.on(transaction=True)(later)
    one.inbox.on(name="later")(later)
    with pytest.raises(TypeError, match="AsyncWorker"):
        Worker(one.inbox).run()


def test_what_a_handler_writes_commits_with_its_end(case):
    """A handler with the connection writes once: what it wrote before it raised is undone with its try."""
    fails = True
    with contextlib.closing(case.where.connect()) as connection:
        connection.cursor().execute("CREATE TABLE orders (id TEXT)")
        connection.commit()

    @case.inbox.on(transaction=True)
    def ordered(got: Event, connection: Any) -> None:
        connection.cursor().execute(f"INSERT INTO orders VALUES ('{got.id}')")
        if fails:
            raise ValueError

    def orders() -> list[str]:
        with contextlib.closing(case.where.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT id FROM orders")
            return [row[0] for row in cursor.fetchall()]

    case.inbox.put(event())
    assert case.work() == ["retried"]
    assert (orders(), case.state("evt_1")) == ([], "ready")
    fails = False
    case.clock.now_s += 12
    assert case.work() == ["handled"]
    assert case.inbox.put(event()) == 0
    assert case.work() == []
    assert (orders(), case.state("evt_1")) == (["evt_1"], "done")


def test_a_claim_is_one_workers_until_its_lease_ends(case):
    """What a worker has claimed is no other's; after its lease it is, and the first one's word changes nothing."""
    ran: list[str] = []

    @case.inbox.on(transaction=True)
    def handled(got: Event, connection: Any) -> None:
        ran.append(got.id)

    case.inbox.put(event())
    first, second = Desk(case.inbox, 60, None), Desk(case.inbox, 60, case.results.append)
    [claim] = first.claim(5)
    assert second.claim(5) == []
    case.clock.now_s += 50
    first.extend([claim])
    case.clock.now_s += 50
    assert second.claim(5) == []
    case.clock.now_s += 11
    [again] = second.claim(5)
    assert (again.tries, again.fence) == (claim.tries + 1, claim.fence + 1)
    [handler] = first.todo(claim)
    with pytest.raises(LostClaim):
        first.run(claim, handler, frozenset())
    assert ran == []
    first.extend([claim])
    first.failed(claim, ValueError())
    first.give_back(claim)
    assert case.state("evt_1") == "running"
    second.run(again, handler, frozenset())
    assert ran == ["evt_1"]
    with pytest.raises(LostClaim):
        first.over(claim)
    assert case.state("evt_1") == "done"
    assert [result.kind for result in case.results] == ["handled"]


def test_what_kills_its_process_each_time_is_buried(case):
    """An event that was begun as often as it may be, and never ended, is dead instead of tried for ever."""
    case.inbox.put(event())
    for _ in range(3):
        assert len(Desk(case.inbox, 60, None).claim(1)) == 1
        case.clock.now_s += 61
    assert Desk(case.inbox, 60, None).claim(1) == []
    [letter] = case.inbox.letters()
    assert (letter.error, letter.tries) == ("the process ended while it was handled", 3)


def test_what_is_over_is_forgotten_in_time(case):
    """After `keep_s` what is done, ignored or discarded is forgotten, and what waits or is dead never."""
    case.inbox.on("order.*", name="x")(lambda got: None)
    case.inbox.put(event("evt_1"), event("evt_2", "invoice.paid"), event("evt_3"))
    case.work()
    case.inbox.put(event("evt_4"))
    case.inbox.discard(case.inbox.letters("ready")[0].key)
    case.inbox.put(event("evt_5"))
    case.clock.now_s += 999
    assert case.inbox.purge() == 0
    case.clock.now_s += 2
    assert case.inbox.purge() == 4
    assert case.inbox.counts() == dict.fromkeys(STATES, 0) | {"ready": 1}


def test_two_that_make_the_table_at_once(tmp_path):
    """However many begin at once on an empty database, each finds its table."""
    inboxes = [Inbox(tmp_path / "inbox.db") for _ in range(8)]
    threads = [threading.Thread(target=inbox.put, args=(event(f"evt_{n}"),)) for n, inbox in enumerate(inboxes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inboxes[0].counts()["ready"] == 8
    for inbox in inboxes:
        inbox.close()


def test_a_table_that_is_there(tmp_path):
    """Who may not make tables runs the statements of `schema`; without them the driver's error is raised."""
    inbox = Inbox(tmp_path / "inbox.db", table="hooks", create=False)
    with pytest.raises(sqlite3.OperationalError):
        inbox.put(event())
    with contextlib.closing(sqlite3.connect(tmp_path / "inbox.db")) as connection:
        for statement in inbox.schema("sqlite"):
            connection.execute(statement)
    assert inbox.put(event()) == 1
    inbox.close()


@pytest.mark.parametrize("settings", [{"keep_s": 0}, {"retry_s": (-1,)}, {"retry_s": (1,) * 101}, {"table": "a b"}])
def test_settings_that_cannot_be(settings):
    """What would lose or hold everything is refused."""
    with pytest.raises(ValueError, match=r"."):
        Inbox("x.db", **settings)


# ------------------------------------------------------------------------------------------------- respond


def signed(body: bytes, event_id: str = "evt_1", at_s: float | None = None) -> dict[str, str]:
    """The headers of a delivery."""
    at = int(time.time() if at_s is None else at_s)
    signature = Signer([SigningKey(SECRET)]).header(event_id, at, body, at * 1000)
    return {"webhook-id": event_id, "webhook-timestamp": str(at), "webhook-signature": signature,
            "content-type": "application/json"}  # fmt: skip


def test_respond_verifies_commits_and_answers(one):
    """A signed request is answered 200 once it is committed, a repeat too, and a forged one 401."""
    body = b'{"type":"order.created","timestamp":"2026-01-01T00:00:00Z","data":{"total":1.50}}'
    for _ in range(2):
        answer = one.inbox.respond("POST", "https://shop.example.com/hook", signed(body), body)
        assert answer.status == 200
        assert json.loads(answer.body)["event_id"] == "evt_1"
    assert one.inbox.respond("POST", "/hook", signed(body) | {"webhook-id": "evt_2"}, body).status == 401
    assert one.inbox.respond("POST", "/hook", signed(body), body[:-1] + b" ").status == 401
    assert one.inbox.respond("GET", "/hook", {}, b"").status == 405
    assert one.inbox.respond("POST", "/hook", {}, "text").status in (400, 500)
    assert one.inbox.respond("POST", "/hook", {}, b"x" * (1024 * 1024 + 1)).status == 413
    [letter] = one.inbox.letters("ready")
    assert letter.event.data == {"total": 1.50}
    assert letter.key == "standard_webhooks:evt_1"


def test_respond_takes_any_provider(tmp_path):
    """With a verifier of a preset the request's events are kept together, and a handshake is answered."""
    import hashlib
    import hmac

    body = b'{"id":"evt_9","object":"event","type":"payment_intent.succeeded","created":1,"data":{"object":{}}}'
    at = str(int(time.time()))
    proof = hmac.digest(b"whsec_test", f"{at}.".encode() + body, "sha256").hex()
    inbox = Inbox(tmp_path / "inbox.db", Receiver(verifier=Verifier("stripe", secret="whsec_test")))
    answer = inbox.respond("POST", "https://x/", {"Stripe-Signature": f"t={at},v1={proof}"}, body)
    assert answer.status == 200, answer
    [letter] = inbox.letters("ready")
    assert (letter.key, letter.event.type) == ("stripe:evt_9", "payment_intent.succeeded")
    assert hashlib.sha256(letter.event.body).digest() == hashlib.sha256(body).digest()
    inbox.close()


async def test_respond_in_an_event_loop(one):
    """The same beside an event loop."""
    body = b'{"type":"a","data":1}'
    assert (await one.inbox.respond_async("POST", "/", signed(body), body)).status == 200
    assert one.inbox.counts()["ready"] == 1


def test_a_database_that_cannot_be_written(tmp_path, caplog):
    """What cannot be committed is answered 503 and comes again; nothing is raised."""
    broken = True

    def connect() -> sqlite3.Connection:
        if broken:
            raise sqlite3.OperationalError("disk I/O error")
        return sqlite3.connect(tmp_path / "x.db")

    inbox = Inbox(connect, Receiver(SECRET), dialect="sqlite", paramstyle="qmark")
    body = b'{"type":"a","data":1}'
    answer = inbox.respond("POST", "/", signed(body), body)
    assert (answer.status, dict(answer.headers)["retry-after"]) == (503, "5")
    assert "disk I/O error" in caplog.text
    broken = False
    assert inbox.respond("POST", "/", signed(body), body).status == 200
    assert inbox.counts()["ready"] == 1


def test_respond_needs_a_receiver(tmp_path):
    """Without one it is a mistake of the program."""
    with pytest.raises(TypeError, match="needs a receiver"):
        Inbox(tmp_path / "x.db").respond("POST", "/", {}, b"")


def test_every_result_is_documented():
    """Each result has a meaning."""
    assert set(RESULTS) == {"handled", "ignored", "retried", "dead", "lost", "confirmed", "unconfirmed"}
