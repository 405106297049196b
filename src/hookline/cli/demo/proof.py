"""The sums: what was acknowledged, what the program counts, and what the receivers saw must be the same."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from hookline.cli.demo.api import Api
from hookline.cli.demo.ledger import Ledger
from hookline.cli.demo.scene import CONFIRMING, SUBSCRIBERS

STEADY_S_MAX: Final = 20.0
_WITH_DEAD_LETTER: Final = frozenset(s.uid for s in SUBSCRIBERS if "dead_letter" in s.more)
OPEN_STATES: Final = ("pending", "leased", "held", "unconfirmed")


@dataclass(frozen=True, slots=True)
class Books:
    """What the program says of itself, all of one moment: nothing changed while it was read."""

    stats: dict[str, Any]
    events: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Check:
    """One sum."""

    holds: bool
    says: str


async def read_books(api: Api) -> Books | None:
    """The books, read until they stood still meanwhile; None: they never did."""
    end_s = time.perf_counter() + STEADY_S_MAX
    while time.perf_counter() < end_s:
        before = await api.call("GET", "/v1/stats")
        books = Books(before, await api.rows("/v1/events"), await api.rows("/v1/deliveries"))
        if await api.call("GET", "/v1/stats") == before:
            return books
        await asyncio.sleep(0.2)
    return None


def checks(books: Books, ledger: Ledger, uids: dict[str, str]) -> list[Check]:
    """Every sum, with its numbers. `uids` says which endpoint id is which subscriber."""
    return [
        *_counts(books),
        *_accepted(books, ledger),
        *_received(books, ledger, uids),
        *_afterwards(books, ledger, uids),
    ]


def _counts(books: Books) -> list[Check]:
    stats = books.stats
    opened = sum(stats["open"].values())
    total = stats["delivered"] + stats["failed"] + stats["discarded"] + opened
    listed = Counter(row["state"] for row in books.deliveries)
    told = {**{state: stats[state] for state in ("delivered", "failed", "discarded")}, **stats["open"]}
    return [
        Check(
            stats["deliveries"] == total,
            f"{stats['deliveries']} deliveries = {stats['delivered']} delivered + {stats['failed']} failed"
            f" + {stats['discarded']} discarded + {opened} open",
        ),
        Check(
            all(listed[state] == count for state, count in told.items()) and stats["events"] == len(books.events),
            f"the lists have as many rows as the counters say: {len(books.events)} events,"
            f" {len(books.deliveries)} deliveries",
        ),
    ]


def _accepted(books: Books, ledger: Ledger) -> list[Check]:
    stored = {event["id"] for event in books.events}
    ours = ledger.acknowledged
    others = len(stored - ours.keys())
    missing = ours.keys() - stored
    made = Counter(row["event_id"] for row in books.deliveries if row["replay_of"] is None)
    wrong = [
        event_id for event_id, a in ours.items() if not made[event_id] == a.deliveries == ledger.expected[event_id]
    ]
    replays = sum(row["replay_of"] is not None for row in books.deliveries if row["event_id"] in ours)
    return [
        Check(
            not missing,
            f"{len(ours)} events were answered with 202, and {len(ours) - len(missing)} of them are stored"
            + (f" (beside {others} that the shop did not publish)" if others else ""),
        ),
        Check(
            not wrong,
            f"each has the deliveries that its answer promised and its subscribers want: {sum(made[e] for e in ours)}"
            + (f"; NOT so: {', '.join(wrong[:3])}" if wrong else ""),
        ),
        Check(replays >= ledger.replayed, f"replays made {replays} more"),
    ]


def _received(books: Books, ledger: Ledger, uids: dict[str, str]) -> list[Check]:
    ours = [row for row in books.deliveries if row["endpoint_id"] in uids]
    delivered = Counter((uids[row["endpoint_id"]], row["event_id"]) for row in ours if row["state"] == "delivered")
    known = {(uids[row["endpoint_id"]], row["event_id"]) for row in ours}
    unseen = [key for key, count in delivered.items() if ledger.taken[key] < count]
    strangers = ledger.taken.keys() - known
    # Taken more often than recorded: an answer that came too late, or one that is on its way.
    repeats = sum(max(0, count - delivered[key]) for key, count in ledger.taken.items() if key in known)
    return [
        Check(
            not unseen,
            f"{delivered.total()} are delivered, and the receivers took {delivered.total() - len(unseen)} of these,"
            f" told by webhook-id" + (f"; {repeats} came more than once" if repeats else ", each once"),
        ),
        Check(not strangers, "nothing reached a receiver that was not for it" if not strangers else f"{strangers}"),
        Check(
            not ledger.forged,
            f"{ledger.taken.total() + ledger.turned_away.total()} signatures are valid by the official library"
            + (f", {len(ledger.forged)} are NOT: {ledger.forged[0].fault}" if ledger.forged else ""),
        ),
    ]


def _afterwards(books: Books, ledger: Ledger, uids: dict[str, str]) -> list[Check]:
    failed = {
        row["id"]
        for row in books.deliveries
        if row["state"] == "failed" and uids.get(row["endpoint_id"]) in _WITH_DEAD_LETTER
    }
    told = {delivery_id for delivery_id, attempts in ledger.dead_letters.items() if attempts}
    delivered = {
        row["event_id"]
        for row in books.deliveries
        if row["state"] == "delivered" and uids.get(row["endpoint_id"]) == CONFIRMING
    }
    return [
        Check(
            failed <= told,
            f"{len(failed)} failed where there is a dead-letter endpoint, and it got"
            f" {len(failed & told)} of these with their history",
        ),
        Check(
            delivered <= ledger.confirmed,
            f"{len(delivered)} are delivered where the receiver has to confirm, and it confirmed"
            f" {len(delivered & ledger.confirmed)} of these",
        ),
    ]
