"""The demo's providers without the program: what they send, what the board shows, and sums that find each lie."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import re
import time
from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from hookline.cli.demo.board import Board
from hookline.cli.demo.ledger import Ledger, Receipt, Webhook
from hookline.cli.demo.proof import Books
from hookline.cli.demo.proof_inbound import inbound_checks
from hookline.cli.demo.providers import OPENING, How, Providers, story
from hookline.cli.demo.scene import SENDERS, SUBSCRIBERS
from hookline.cli.receiver import Answer, Received, Receiver, bound_socket
from hookline.core.event_type import pattern_matches
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Refused, Verified

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What moves a terminal's cursor, or paints."""


class Sources:
    """A server with the sources' addresses: it judges as ours does, and numbers what is verified."""

    def __init__(self, refuse_first: int = 0) -> None:
        self.configs: dict[str, dict] = {}
        self.verdicts: list[Verified | Refused] = []
        self.events: dict[bytes, str] = {}
        self._busy = refuse_first
        self._receiver = Receiver(self._take, bound_socket("127.0.0.1", 0))

    async def call(self, method: str, path: str, document: dict) -> None:
        """As `Api` does: what the demo creates."""
        assert (method, path) == ("POST", "/v1/sources")
        assert document["name"] == document["verifier"]
        self.configs[document["name"]] = document["config"]

    async def _take(self, request: Received) -> Answer:
        if self._busy:
            self._busy -= 1
            return Answer(503, {"retry-after": "0"})
        name = request.path.removeprefix("/in/")
        inbound = Inbound.of(request.method, self._receiver.url + request.path, request.headers, request.body)
        verdict = judge(preset(name), inbound, self.configs[name], time.time())
        self.verdicts.append(verdict)
        if isinstance(verdict, Refused):
            return Answer(verdict.status)
        event_id = self.events.setdefault(request.body, f"evt_{len(self.events)}")
        return Answer(200, body=json.dumps({"event_id": event_id}).encode())

    @contextlib.asynccontextmanager
    async def open(self, ledger: Ledger) -> AsyncIterator[Providers]:
        """While it listens, providers that have created their sources."""
        await self._receiver.start()
        try:
            async with Providers(self._receiver.url, ledger) as providers:
                await providers.create(self)
                yield providers
        finally:
            await self._receiver.stop()


def test_every_sender_has_a_subscriber_of_its_own():
    """What a provider sends is wanted by the subscriber that the scene names, and by nobody else."""
    for sender in SENDERS:
        wanting = [s.uid for s in SUBSCRIBERS if any(pattern_matches(p, sender.event_type) for p in s.event_types)]
        assert wanting == [sender.subscriber]


def test_the_opening_shows_everything():
    """Both providers, a repeat and one forged request come first; after them nothing is forged."""
    assert {sender for sender, how in OPENING if how is not How.FORGED} == set(SENDERS)
    assert sorted(how.value for _, how in OPENING) == ["forged", "once", "once", "twice"]
    after = list(itertools.islice(story(), len(OPENING), 50))
    assert {how for _, how in after} == {How.ONCE}
    assert {sender for sender, _ in after} == set(SENDERS)


async def test_what_they_send_is_verified_but_for_the_forger():
    """Ended at once, the opening is sent all the same: all is verified, a repeat is the same, forged is refused."""
    ledger, sources = Ledger(), Sources()
    async with sources.open(ledger) as providers:
        providers.end()
        await providers.send(60)
    assert len(ledger.webhooks) == len(OPENING)
    forged = [webhook for webhook in ledger.webhooks if webhook.forged]
    assert [(webhook.source, webhook.status, webhook.event_id) for webhook in forged] == [("stripe", 401, None)]
    assert [verdict.reason for verdict in sources.verdicts if isinstance(verdict, Refused)] == ["wrong_signature"]
    genuine = [webhook for webhook in ledger.webhooks if not webhook.forged]
    assert [webhook.event_ids for webhook in genuine] == [["evt_0"], ["evt_1"], ["evt_2", "evt_2"]]
    assert ledger.events_in == dict(zip(["evt_0", "evt_1", "evt_2"], genuine, strict=True))
    assert len({webhook.provider_id for webhook in ledger.webhooks}) == len(ledger.webhooks)
    assert all(webhook.signature for webhook in ledger.webhooks)


async def test_what_cannot_be_taken_now_is_sent_again():
    """A 503 loses nothing: the same request is sent until it is answered with success."""
    ledger, sources = Ledger(), Sources(refuse_first=2)
    async with sources.open(ledger) as providers:
        providers.end()
        await providers.send(60)
    assert ledger.webhooks[0].event_ids == ["evt_0"]
    assert ledger.webhooks[0].status == 200


async def test_a_server_that_is_gone_is_no_success(monkeypatch):
    """Without an answer nothing is called taken."""
    monkeypatch.setattr("hookline.cli.demo.providers.TRIES", 1)
    ledger = Ledger()
    with bound_socket("127.0.0.1", 0) as sock:
        async with Providers(f"http://127.0.0.1:{sock.getsockname()[1]}", ledger) as providers:
            providers.end()
            await providers.send(60)
    assert [webhook.status for webhook in ledger.webhooks] == [0] * len(OPENING)
    assert ledger.events_in == {}


UIDS = {"ep_r": "receipts", "ep_d": "deploy", "ep_p": "payment"}


def webhook(source: str, event_type: str, provider_id: str, *event_ids: str) -> Webhook:
    """A request that was sent in; without an event it was forged."""
    return Webhook(
        source,
        event_type,
        provider_id,
        f"signature of {provider_id}",
        f"body of {provider_id}".encode(),
        0.0,
        forged=not event_ids,
        status=200 if event_ids else 401,
        event_ids=list(event_ids),
    )


def event(event_id: str, event_type: str, source: str, source_id: str) -> dict:
    """An event as the API lists it."""
    return {"id": event_id, "type": event_type, "source_id": source_id, "inbound": {"source": source}}


def row(event_id: str, endpoint_id: str, state: str) -> dict:
    """A delivery as the API lists it."""
    return {"event_id": event_id, "endpoint_id": endpoint_id, "state": state, "replay_of": None}


def true_books() -> tuple[Books, Ledger]:
    """Two payments and a push that came twice, one of them still open; a forged one; and a stranger's."""
    ledger = Ledger()
    ledger.webhooks = [
        webhook("stripe", "payment_intent.succeeded", "s1", "evt_1"),
        webhook("stripe", "payment_intent.succeeded", "s2", "evt_2"),
        webhook("github", "push", "g1", "evt_3", "evt_3"),
        webhook("stripe", "payment_intent.succeeded", "s3"),
    ]
    for sent in ledger.webhooks:
        for event_id in sent.event_ids:
            ledger.events_in[event_id] = sent
    ledger.arrived["evt_1"].append(b"body of s1")
    ledger.arrived["evt_3"].append(b"body of g1")
    ledger.rejections["signature of s3"] = {"status": 401, "reason": "wrong_signature"}
    events = [
        event("evt_1", "payment_intent.succeeded", "stripe", "s1"),
        event("evt_2", "payment_intent.succeeded", "stripe", "s2"),
        event("evt_3", "push", "github", "g1"),
        event("evt_8", "charge.refunded", "stripe", "s8"),
        {"id": "evt_9", "type": "order.created", "source_id": "o1", "inbound": None},
    ]
    deliveries = [row("evt_1", "ep_r", "delivered"), row("evt_2", "ep_r", "pending"), row("evt_3", "ep_d", "delivered")]
    return Books({}, events, [*deliveries, row("evt_9", "ep_p", "failed")]), ledger


def test_sums_of_what_came_in_hold_for_true_books():
    """Nothing is found where nothing is wrong, and the numbers are said."""
    found = inbound_checks(*true_books(), UIDS)
    assert [check.holds for check in found] == [True] * 3
    verified, delivered, refused = [check.says for check in found]
    assert verified.startswith("3 webhooks were sent in (2 by stripe, 1 by github): 3 are verified, and each is one")
    assert verified.endswith("; 1 was sent twice")
    assert delivered == (
        "2 of these are delivered on with the provider's bytes (1 to receipts, 1 to deploy), each once; 1 are open"
    )
    assert refused == "1 was forged: 1 answered 401, 1 noted at the source with the reason, no event of it"


def test_a_delivery_that_came_twice_is_said_and_is_no_loss():
    """At-least-once: a request that a subscriber got twice is named, and the sums hold."""
    books, ledger = true_books()
    ledger.arrived["evt_1"].append(b"body of s1")
    found = inbound_checks(books, ledger, UIDS)
    assert all(check.holds for check in found)
    assert "1 came more than once" in found[1].says


LIES = {
    "a webhook without an answer": lambda books, ledger: ledger.webhooks[0].event_ids.clear(),
    "a repeat that became another event": lambda books, ledger: ledger.webhooks[2].event_ids.append("evt_4"),
    "an event that vanished": lambda books, ledger: books.events.pop(0),
    "an event that is stored twice": lambda books, ledger: books.events.append({**books.events[0], "id": "evt_7"}),
    "a type that is not the provider's": lambda books, ledger: books.events[2].update(type="webhook"),
    "an id that is not the provider's": lambda books, ledger: books.events[2].update(source_id="other"),
    "an event of another source": lambda books, ledger: books.events[2].update(inbound={"source": "stripe"}),
    "a provider that sent nothing": lambda books, ledger: ledger.webhooks.pop(2),
    "a router that forgot the subscriber": lambda books, ledger: books.deliveries.pop(1),
    "a delivery to somebody else": lambda books, ledger: books.deliveries[1].update(endpoint_id="ep_p"),
    "a second delivery": lambda books, ledger: books.deliveries.append(row("evt_1", "ep_r", "delivered")),
    "a delivered one that nobody got": lambda books, ledger: ledger.arrived.pop("evt_3"),
    "a delivery that was given up": lambda books, ledger: books.deliveries[1].update(state="failed"),
    "bytes that changed on the way": lambda books, ledger: ledger.arrived["evt_3"].append(b"body of g2"),
    "a forged one that was taken": lambda books, ledger: setattr(ledger.webhooks[3], "status", 200),
    "an event of a forged one": lambda books, ledger: books.events.append(event("evt_6", "t", "stripe", "s3")),
    "a forged one that a subscriber got": lambda books, ledger: ledger.arrived["evt_6"].append(b"body of s3"),
    "a forged one that was not noted": lambda books, ledger: ledger.rejections.clear(),
    "another reason": lambda books, ledger: ledger.rejections["signature of s3"].update(reason="stale"),
    "a show without a forger": lambda books, ledger: ledger.webhooks.pop(3),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_about_what_came_in_is_found(lie):
    """Whatever is wrong with what came in, at least one sum does not hold."""
    books, ledger = copy.deepcopy(true_books())
    LIES[lie](books, ledger)
    assert not all(check.holds for check in inbound_checks(books, ledger, UIDS))


class Still:
    """An API whose endpoints have many of everything."""

    async def call(self, method: str, path: str) -> dict:
        """The stats of an endpoint."""
        assert (method, path.rpartition("/")[2]) == ("GET", "stats")
        return {"delivered": 12_345, "failed": 10, "discarded": 0, "open": {"pending": 1234}}


@pytest.mark.parametrize("width", [80, 120])
async def test_the_board_fits_and_tells_of_the_refused_without_colours(width):
    """Both directions are shown within 80 and 120 columns, and the forged request as refused in words."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, no_color=True, width=width, height=50, highlight=False)
    _, ledger = true_books()
    for subscriber in SUBSCRIBERS:
        ledger.turned_away[subscriber.uid] = 1234
        ledger.receive(Receipt(subscriber.uid, "evt_1", "1", 204, None, b""), 12.3456)
    with Board(Still(), ledger, console, 10.0) as board:
        await board.update("retries settle")
    text = CONTROL.sub("", shown.getvalue())
    lines = text.replace("\r", "\n").split("\n")
    assert max(len(line) for line in lines) <= width
    assert "…" not in text
    assert "refused: a forged request to /in/stripe, answered 401, nothing stored" in text
    for uid in (subscriber.uid for subscriber in SUBSCRIBERS):
        assert any(line.split()[:1] == [uid] and "12345.6" in line for line in lines), text
    sends = ["push"] if width == 120 else []
    assert ["/in/github", *sends, "1", "1", "0", "1", "to", "deploy"] in [line.split() for line in lines]
