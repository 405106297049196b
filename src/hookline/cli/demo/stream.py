"""A shop's events, published through the real API: orders, users, stock, some invoices; and what goes wrong."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx2

from hookline.cli.demo.api import Api
from hookline.cli.demo.ledger import Acknowledged, Ledger
from hookline.cli.demo.scene import expected_deliveries

EVENTS_PER_S: Final = 100
PUBLISHERS: Final = 8
TRIES: Final = 5
INVOICES: Final = (3, 9, 21)
"""The dead receiver gets few: after ten failures in a row an endpoint is only probed."""
REPEATED: Final = 12
"""This event is published twice, as a publisher does that lost the answer."""
BROKEN: Final = 15
"""Before this one an order goes out that breaks its schema."""
STOCKTAKING: Final = 40
"""After every so many events comes a batch of stock changes, as one JSON array."""
_CITIES: Final = ("Lisbon", "Turin", "Gdańsk", "Ghent", "Tartu", "Malmö")
_SKUS: Final = tuple(f"SKU-{number:04d}" for number in range(1001, 1041))


class Stream:
    """Publishes at a steady pace and writes what was answered into the ledger."""

    def __init__(self, api: Api, ledger: Ledger, seed: int = 7) -> None:
        self._api = api
        self._ledger = ledger
        self._dice = random.Random(seed)  # noqa: S311 (a shop, not a key)
        self._run = f"{int(time.time()):x}"
        self._ending = False

    def end(self) -> None:
        """Publish nothing new; what is on its way is still answered."""
        self._ending = True

    async def publish(self, duration_s: float) -> None:
        """Publish for so long. Each event has an id of its own, so that trying again is safe."""
        queue: asyncio.Queue[list[dict[str, Any]]] = asyncio.Queue(maxsize=EVENTS_PER_S)
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._work(queue)) for _ in range(PUBLISHERS)]
            begin_s = time.perf_counter()
            for number, events in enumerate(self._story()):
                due_s = begin_s + number / EVENTS_PER_S
                if self._ending or max(due_s, time.perf_counter()) > begin_s + duration_s:
                    break
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                await queue.put(events)
            await queue.join()
            for worker in workers:
                worker.cancel()

    async def _work(self, queue: asyncio.Queue[list[dict[str, Any]]]) -> None:
        while True:
            events = await queue.get()
            await self._publish(events)
            queue.task_done()

    async def _publish(self, events: list[dict[str, Any]]) -> None:
        """One request. What may not have arrived, or cannot be taken now, is sent again with the same ids."""
        began_s = time.perf_counter()
        for again in range(TRIES):
            try:
                response = await self._api.publish(events if len(events) > 1 else events[0])
            except httpx2.TransportError:
                await asyncio.sleep(0.2 * (again + 1))
                continue
            if response.status_code == 202:
                answer = response.json()
                self._acknowledged(events, answer["data"] if len(events) > 1 else [answer], began_s)
                return
            problem = response.json()
            if response.status_code not in (429, 503):
                self._ledger.refused[str(problem.get("code", response.status_code))] += len(events)
                return
            await asyncio.sleep(float(response.headers.get("retry-after", "1")))
        self._ledger.refused["no answer"] += len(events)

    def _acknowledged(self, events: list[dict[str, Any]], answers: list[dict[str, Any]], began_s: float) -> None:
        for event, answer in zip(events, answers, strict=True):
            if "id" not in answer:
                self._ledger.refused[str(answer.get("problem", {}).get("code"))] += 1
                continue
            if answer["duplicate"]:
                self._ledger.duplicates += 1
            if answer["id"] not in self._ledger.acknowledged:
                self._ledger.acknowledge(
                    answer["id"],
                    Acknowledged(event["type"], answer["deliveries"], began_s),
                    expected_deliveries(event["type"], event["data"]),
                )

    def _story(self) -> Iterator[list[dict[str, Any]]]:
        """Requests without end; each is a list of events, of which more than one is a batch."""
        number = 0
        while True:
            number += 1
            if number in INVOICES:
                yield [self._event(number, "invoice.overdue", self._invoice(number))]
                continue
            if number == BROKEN:
                yield [self._event(-number, "order.created", {"order_id": "", "items": "none"})]
            event = self._any(number)
            yield [event]
            if number == REPEATED:
                yield [event]
            if number % STOCKTAKING == 0:
                yield [self._event(f"{number}-{part}", "stock.changed", self._stock()) for part in range(5)]

    def _any(self, number: int) -> dict[str, Any]:
        roll = self._dice.random()
        if roll < 0.6:
            return self._event(number, "order.created", self._order(number))
        if roll < 0.75:
            return self._event(number, "user.registered", self._user(number))
        return self._event(number, "stock.changed", self._stock())

    def _event(self, number: int | str, event_type: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"id": f"{self._run}-{number}", "source": "/shop", "type": event_type, "data": data}

    def _order(self, number: int) -> dict[str, Any]:
        items = [
            {
                "sku": self._dice.choice(_SKUS),
                "quantity": self._dice.randint(1, 4),
                "cents": self._dice.randint(99, 9900),
            }
            for _ in range(self._dice.randint(1, 4))
        ]
        return {
            "order_id": f"ord_{self._run}{number}",
            "customer": {"id": f"cus_{self._dice.randrange(5000)}", "email": f"c{number}@example.com"},
            "items": items,
            "total_cents": sum(item["quantity"] * item["cents"] for item in items),  # type: ignore[operator]
            "currency": self._dice.choice(("EUR", "USD", "GBP")),
            "ship_to": {"city": self._dice.choice(_CITIES), "express": self._dice.random() < 0.2},
        }

    def _user(self, number: int) -> dict[str, Any]:
        plan = self._dice.choice(("free", "free", "team", "scale"))
        return {"user_id": f"usr_{self._run}{number}", "email": f"u{number}@example.com", "plan": plan}

    def _stock(self) -> dict[str, Any]:
        return {"sku": self._dice.choice(_SKUS), "quantity": self._dice.randrange(100), "reorder_level": 25}

    def _invoice(self, number: int) -> dict[str, Any]:
        return {"invoice_id": f"inv_{self._run}{number}", "days": self._dice.randint(15, 90)}
