"""The sums of the other direction: what the providers sent, what became of it, and what a forger got."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final

from hookline.cli.demo.ledger import Ledger, Webhook
from hookline.cli.demo.proof import Books, Check
from hookline.cli.demo.scene import SENDERS

_SUBSCRIBER: Final = {sender.provider: sender.subscriber for sender in SENDERS}


def inbound_checks(books: Books, ledger: Ledger, uids: dict[str, str]) -> list[Check]:
    """Every sum of what came in, with its numbers. `uids` says which endpoint id is which subscriber."""
    genuine = [webhook for webhook in ledger.webhooks if not webhook.forged]
    return [
        _verified(books, genuine),
        _delivered(books, ledger, uids, genuine),
        _refused(books, ledger, [webhook for webhook in ledger.webhooks if webhook.forged]),
    ]


def _stored(books: Books) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Events by the source and the provider's id."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for event in books.events:
        if event.get("inbound") is not None:
            found[event["inbound"]["source"], event["source_id"]].append(event)
    return found


def _verified(books: Books, genuine: list[Webhook]) -> Check:
    stored = _stored(books)
    wrong = []
    for webhook in genuine:
        events = stored[webhook.source, webhook.provider_id]
        as_sent = [(webhook.event_id, webhook.event_type)] == [(event["id"], event["type"]) for event in events]
        if not as_sent or len(set(webhook.event_ids)) != 1:
            wrong.append(webhook)
    by_source = Counter(webhook.source for webhook in genuine)
    twice = sum(len(webhook.event_ids) > 1 for webhook in genuine)
    senders = ", ".join(f"{count} by {name}" for name, count in by_source.items())
    says = (
        f"{len(genuine)} webhooks were sent in ({senders}): {len(genuine) - len(wrong)} are verified, and each is one"
        f" event with its type and the provider's id" + (f"; {twice} was sent twice" if twice else "")
    )
    holds = not wrong and all(by_source[sender.provider] for sender in SENDERS)
    return Check(holds, says + (f"; NOT so: {_named(wrong[0])}" if wrong else ""))


def _delivered(books: Books, ledger: Ledger, uids: dict[str, str], genuine: list[Webhook]) -> Check:
    rows: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for row in books.deliveries:
        if row["event_id"] in ledger.events_in and row["replay_of"] is None:
            rows[row["event_id"]].append((uids.get(row["endpoint_id"]), row["state"]))
    delivered: Counter[str] = Counter()
    opened, repeats, wrong = 0, 0, []
    for webhook in genuine:
        event_id = webhook.event_id or ""
        subscriber = _SUBSCRIBER[webhook.source]
        bodies = ledger.arrived.get(event_id, [])
        state = rows[event_id][0][1] if rows[event_id] else ""
        if [uid for uid, _ in rows[event_id]] != [subscriber] or any(body != webhook.body for body in bodies):
            wrong.append(webhook)
        elif state == "delivered" and bodies:
            delivered[subscriber] += 1
            repeats += len(bodies) - 1
        elif state in ("failed", "discarded", "delivered"):
            wrong.append(webhook)
        else:
            opened += 1
    receivers = ", ".join(f"{count} to {name}" for name, count in delivered.items())
    says = (
        f"{delivered.total()} of these are delivered on with the provider's bytes"
        + (f" ({receivers})" if receivers else "")
        + (f"; {repeats} came more than once" if repeats else ", each once")
        + (f"; {opened} are open" if opened else "")
    )
    return Check(not wrong, says + (f"; NOT so: {_named(wrong[0])}" if wrong else ""))


def _refused(books: Books, ledger: Ledger, forged: list[Webhook]) -> Check:
    stored = _stored(books)
    turned_away = [webhook for webhook in forged if webhook.status == 401]
    noted = [webhook for webhook in forged if _was_noted(ledger, webhook)]
    bodies = {webhook.body for webhook in forged}
    came_of_it = [webhook for webhook in forged if stored[webhook.source, webhook.provider_id] or webhook.event_ids]
    arrived = any(body in bodies for taken in ledger.arrived.values() for body in taken)
    says = (
        f"{len(forged)} was forged: {len(turned_away)} answered 401, {len(noted)} noted at the source with the reason,"
        + (f" {len(came_of_it)} became an event" if came_of_it else " no event of it")
        + (", and a subscriber got it" if arrived else "")
    )
    return Check(bool(forged) and turned_away == noted == forged and not came_of_it and not arrived, says)


def _was_noted(ledger: Ledger, webhook: Webhook) -> bool:
    row = ledger.rejections.get(webhook.signature)
    return row is not None and row["status"] == webhook.status and row["reason"] == "wrong_signature"


def _named(webhook: Webhook) -> str:
    return f"{webhook.event_type} of {webhook.source} ({webhook.provider_id}, answered {webhook.status or 'nothing'})"
