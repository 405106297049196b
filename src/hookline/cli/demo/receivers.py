"""The three receivers: one healthy, one that fails twice per message, and one that is dead until it is repaired."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter

import httpx2
from standardwebhooks import Webhook, WebhookVerificationError

from hookline.cli.demo.ledger import Ledger, Receipt
from hookline.cli.demo.scene import CONFIRM_AFTER_S, DEAD, DEAD_LETTERS, FLAKY, FLAKY_FAILURES, HEALTHY, PASSED_ON
from hookline.cli.receiver import Answer, Received, Receiver, bound_socket


class Receivers:
    """Each on a port of its own. All verify signatures with the official Standard Webhooks library."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._webhooks: dict[str, Webhook] = {}
        self._failed: Counter[str] = Counter()
        self._http = httpx2.AsyncClient(timeout=5.0, trust_env=False)
        self._confirming: set[asyncio.Task[None]] = set()
        self._by_name = {
            HEALTHY: Receiver(self._take, bound_socket("127.0.0.1", 0)),
            FLAKY: Receiver(self._fail_twice, bound_socket("127.0.0.1", 0)),
            DEAD: Receiver(self._take, bound_socket("127.0.0.1", 0)),
        }

    def url(self, name: str) -> str:
        """Where a receiver is (or would be)."""
        return self._by_name[name].url

    def trust(self, subscriber: str, secret: str) -> None:
        """From now on requests for `subscriber` must be signed with this."""
        self._webhooks[subscriber] = Webhook(secret)

    async def start(self) -> None:
        """The healthy and the flaky one listen; the dead one holds its port and refuses."""
        await self._by_name[HEALTHY].start()
        await self._by_name[FLAKY].start()

    async def repair(self) -> None:
        """The dead one listens."""
        await self._by_name[DEAD].start()

    async def stop(self) -> None:
        """All end."""
        for task in self._confirming:
            task.cancel()
        await asyncio.gather(*self._confirming, return_exceptions=True)
        await self._http.aclose()
        for receiver in self._by_name.values():
            await receiver.stop()

    async def _take(self, request: Received) -> Answer:
        return self._answer(request, 204)

    async def _fail_twice(self, request: Received) -> Answer:
        webhook_id = request.headers.get("webhook-id", "")
        self._failed[webhook_id] += 1
        return self._answer(request, 503 if self._failed[webhook_id] <= FLAKY_FAILURES else 204)

    def _answer(self, request: Received, status: int) -> Answer:
        at_s = time.perf_counter()
        subscriber = request.path.strip("/")
        fault = self._fault(subscriber, request)
        receipt = Receipt(
            subscriber,
            request.headers.get("webhook-id", ""),
            request.headers.get("hookline-attempt", ""),
            401 if fault else status,
            fault,
            request.body,
        )
        self._ledger.receive(receipt, at_s)
        confirm_url = request.headers.get("hookline-confirm-url")
        if fault is None and subscriber == DEAD_LETTERS:
            letter = json.loads(request.body)["data"]
            self._ledger.dead_letters[letter["delivery"]["id"]] = len(letter["attempts"])
        elif fault is None and subscriber in PASSED_ON:
            self._ledger.arrived[receipt.webhook_id].append(request.body)
        elif fault is None and status < 300 and confirm_url is not None:
            task = asyncio.get_running_loop().create_task(self._confirm(receipt.webhook_id, confirm_url))
            self._confirming.add(task)
            task.add_done_callback(self._confirming.discard)
        return Answer(receipt.status)

    async def _confirm(self, webhook_id: str, confirm_url: str) -> None:
        """The work is done: say so. Without this the delivery would be tried again at its deadline."""
        await asyncio.sleep(CONFIRM_AFTER_S)
        try:
            response = await self._http.post(confirm_url, json={"status": "success"})
        except httpx2.TransportError:
            return
        if response.status_code == 200 and response.json()["applied"]:
            self._ledger.confirmed.add(webhook_id)

    def _fault(self, subscriber: str, request: Received) -> str | None:
        webhook = self._webhooks.get(subscriber)
        if webhook is None:
            return "nobody here is called so"
        try:
            webhook.verify(request.body, request.headers, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:  # the library lets some ValueErrors through
            return str(error)
        return None
