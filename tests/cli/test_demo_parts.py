"""The demo's parts without the program: its story, its own ledger, its receivers, and sums that find every lie."""

from __future__ import annotations

import base64
import copy
import itertools
import time

import httpx2
import jsonschema_rs
import pytest

from hookline.cli.demo.ledger import Acknowledged, Ledger, Receipt
from hookline.cli.demo.proof import Books, checks
from hookline.cli.demo.receivers import Receivers
from hookline.cli.demo.scene import DEAD, EVENT_TYPES, FLAKY, HEALTHY, SUBSCRIBERS, expected_deliveries
from hookline.cli.demo.stream import BROKEN, INVOICES, REPEATED, Stream
from hookline.core.endpoint import SigningKey
from hookline.core.signature import Signer

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def story(count: int) -> list[list[dict]]:
    """The first requests of the stream."""
    return list(itertools.islice(Stream(None, Ledger())._story(), count))


def test_the_story_keeps_its_schemas_but_once():
    """Every event of the shop fits its schema, except the one that is meant to be refused."""
    validators = {
        name: jsonschema_rs.Draft202012Validator(schema, validate_formats=True) for name, schema in EVENT_TYPES.items()
    }
    events = [event for request in story(2000) for event in request]
    wrong = [event["id"] for event in events if not validators[event["type"]].is_valid(event["data"])]
    assert [identifier.partition("-")[2] for identifier in wrong] == [f"-{BROKEN}"]
    assert {event["type"] for event in events} == set(EVENT_TYPES)


def test_the_story_repeats_one_id_and_spares_the_dead_receiver():
    """One event comes twice, no other id does, batches are bounded, and invoices are few and early."""
    requests = story(2000)
    ids = [event["id"].partition("-")[2] for request in requests for event in request]
    assert [identifier for identifier in set(ids) if ids.count(identifier) > 1] == [str(REPEATED)]
    assert sum(request[0]["type"] == "invoice.overdue" for request in requests) == len(INVOICES) < 10
    assert {len(request) for request in requests} == {1, 5}


def test_every_event_has_the_subscribers_that_the_scene_names():
    """What the demo expects of the router follows from patterns and filter: worked out here once more by hand."""
    for request in story(500):
        for event in request:
            family = event["type"].split(".")[0] + ".*"
            wanting = [s for s in SUBSCRIBERS if family in s.event_types]
            if any("filter" in s.more for s in wanting) and event["data"]["quantity"] >= event["data"]["reorder_level"]:
                wanting = []
            assert expected_deliveries(event["type"], event["data"]) == len(wanting)


def receipt(subscriber: str, event: str, status: int = 204, fault: str | None = None, attempt: str = "1") -> Receipt:
    """A request that a receiver answered."""
    return Receipt(subscriber, event, attempt, status, fault, b"{}")


def test_latency_is_known_whichever_comes_first():
    """A delivery may arrive before its publisher has read the 202; retries do not count."""
    ledger = Ledger()
    ledger.receive(receipt("a", "evt_1"), at_s=10.5)
    ledger.acknowledge("evt_1", Acknowledged("t", 1, began_s=10.0), 1)
    ledger.acknowledge("evt_2", Acknowledged("t", 1, began_s=20.0), 1)
    ledger.receive(receipt("a", "evt_2", 503), at_s=20.25)
    ledger.receive(receipt("a", "evt_2", attempt="2"), at_s=29.0)
    assert list(ledger.latencies_s["a"]) == [0.5, 0.25]
    assert ledger.percentiles_ms("a") == (500.0, 500.0)
    assert ledger.percentiles_ms("b") is None


UIDS = {"ep_a": "a", "ep_b": "b", "ep_c": "accounting", "ep_d": "onboarding"}


def row(number: int, event: str, endpoint: str, state: str, replay_of: str | None = None) -> dict:
    """A delivery as the API lists it."""
    return {"id": f"dlv_{number}", "event_id": event, "endpoint_id": endpoint, "state": state, "replay_of": replay_of}


def true_books() -> tuple[Books, Ledger]:
    """A small shop in order: two events to two endpoints, one failed, one open, one replayed, one of a stranger."""
    ledger = Ledger()
    for event in ("evt_1", "evt_2"):
        ledger.acknowledge(event, Acknowledged("t", 2, 0.0), 2)
    rows = [
        row(1, "evt_1", "ep_a", "delivered"),
        row(2, "evt_1", "ep_b", "failed"),
        row(3, "evt_2", "ep_a", "delivered"),
        row(4, "evt_2", "ep_b", "pending"),
        row(5, "evt_1", "ep_b", "delivered", replay_of="evt_1"),
        row(6, "evt_9", "ep_z", "delivered"),
        row(7, "evt_9", "ep_c", "failed"),
        row(8, "evt_9", "ep_d", "delivered"),
    ]
    ledger.dead_letters["dlv_7"] = 3
    ledger.confirmed.add("evt_9")
    for subscriber, event in (("a", "evt_1"), ("a", "evt_2"), ("b", "evt_1"), ("onboarding", "evt_9")):
        ledger.receive(receipt(subscriber, event), 0.0)
    ledger.receive(receipt("b", "evt_2", 503), 0.0)
    ledger.replayed = 1
    stats = {"events": 3, "deliveries": 8, "delivered": 5, "failed": 2, "discarded": 0}
    opened = {"pending": 1, "leased": 0, "held": 0, "unconfirmed": 0}
    return Books({**stats, "open": opened}, [{"id": e} for e in ("evt_1", "evt_2", "evt_9")], rows), ledger


def test_sums_hold_for_true_books():
    """Nothing is found where nothing is wrong, and the numbers are said."""
    found = checks(*true_books(), UIDS)
    assert [check.says for check in found if not check.holds] == []
    assert found[0].says == "8 deliveries = 5 delivered + 2 failed + 0 discarded + 1 open"
    assert "beside 1 that the shop did not publish" in found[2].says


def _lose_a_delivery(books: Books, _: Ledger) -> None:
    del books.deliveries[3]
    books.stats["open"]["pending"] = 0
    books.stats["deliveries"] -= 1


def _forget_an_event(books: Books, _: Ledger) -> None:
    del books.events[0]
    books.stats["events"] -= 1


LIES = {
    "a delivery that is in no state": lambda books, ledger: books.stats.update(deliveries=9),
    "a counter that is not what is listed": lambda books, ledger: books.stats.update(events=4),
    "a state counted as another": lambda books, ledger: books.deliveries[1].update(state="discarded"),
    "a delivery that vanished": _lose_a_delivery,
    "an event that vanished": _forget_an_event,
    "a router that forgot a subscriber": lambda books, ledger: ledger.expected.update(evt_1=3),
    "an answer that promised more": lambda books, ledger: ledger.acknowledge("evt_1", Acknowledged("t", 3, 0.0), 2),
    "a delivered one that nobody got": lambda books, ledger: ledger.taken.update({("a", "evt_1"): -1}),
    "a replay that was never made": lambda books, ledger: setattr(ledger, "replayed", 2),
    "a dead letter that never came": lambda books, ledger: ledger.dead_letters.clear(),
    "a dead letter without its history": lambda books, ledger: ledger.dead_letters.update(dlv_7=0),
    "a delivered one that was not confirmed": lambda books, ledger: ledger.confirmed.clear(),
    "a forged request": lambda books, ledger: ledger.receive(receipt("a", "evt_1", 401, "bad"), 0.0),
    "a request for somebody else": lambda books, ledger: ledger.receive(receipt("b", "evt_7"), 0.0),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_found(lie):
    """Whatever is wrong with the books, at least one sum does not hold."""
    books, ledger = copy.deepcopy(true_books())
    LIES[lie](books, ledger)
    assert not all(check.holds for check in checks(books, ledger, UIDS))


def test_a_repeat_is_said_and_is_no_loss():
    """At-least-once: a request that came twice is named, and the sums hold."""
    books, ledger = true_books()
    ledger.receive(receipt("a", "evt_1", attempt="2"), 0.0)
    found = checks(books, ledger, UIDS)
    assert all(check.holds for check in found)
    assert any("1 came more than once" in check.says for check in found)


async def test_receivers_behave_as_the_scene_says():
    """Healthy takes what is signed, flaky the third try, dead nothing until it is repaired."""
    ledger = Ledger()
    receivers = Receivers(ledger)
    for subscriber in ("payment", "crm", "accounting"):
        receivers.trust(subscriber, SECRET)
    await receivers.start()
    now_s = int(time.time())
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": Signer([SigningKey(SECRET)]).header("evt_1", now_s, b"{}", now_s * 1000),
        "hookline-attempt": "1",
    }
    async with httpx2.AsyncClient(trust_env=False) as client:

        async def post(receiver: str, subscriber: str, body: bytes = b"{}", signature: str | None = None) -> int:
            changed = headers if signature is None else {**headers, "webhook-signature": signature}
            url = f"{receivers.url(receiver)}/{subscriber}"
            return (await client.post(url, content=body, headers=changed)).status_code

        assert await post(HEALTHY, "payment") == 204
        assert await post(HEALTHY, "payment", b"{ }") == 401
        assert await post(HEALTHY, "payment", signature="garbage") == 401
        assert await post(HEALTHY, "nobody") == 401
        assert [await post(FLAKY, "crm") for _ in range(3)] == [503, 503, 204]
        with pytest.raises(httpx2.ConnectError):
            await post(DEAD, "accounting")
        await receivers.repair()
        assert await post(DEAD, "accounting") == 204
    await receivers.stop()
    assert len(ledger.forged) == 3
    assert dict(ledger.taken) == {("payment", "evt_1"): 1, ("crm", "evt_1"): 1, ("accounting", "evt_1"): 1}


@pytest.mark.parametrize("seconds", ["2", "0", "-1", "nan", "soon", "1e9"])
def test_seconds_that_make_no_sense_are_refused(cli, monkeypatch, seconds):
    """DEMO_SECONDS below three, or no number, ends with 2 and one line."""
    monkeypatch.setenv("DEMO_SECONDS", seconds)
    ended = cli("demo")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
