"""Providers that send webhooks in, simulated: correctly signed, one of them twice, and once somebody who is not who he
says."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import time
from collections.abc import Iterator
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self

import httpx2

from hookline.cli.demo.api import Api
from hookline.cli.demo.ledger import Ledger, Webhook
from hookline.cli.demo.scene import SENDERS, Sender
from hookline.core.simulate.dice import Dice
from hookline.core.simulate.simulation import Setting, Simulated, prepared, request

EVERY_S: Final = 0.4
TRIES: Final = 5
NOTED_S_MAX: Final = 5.0
"""A rejection can be looked at within about a second."""
_PAYMENT, _PUSH = SENDERS


class How(Enum):
    """How a request is sent."""

    ONCE = "once"
    TWICE = "twice"
    """As a provider does that lost the answer."""
    FORGED = "forged"
    """As by a forger, who knows everything but the secret."""


OPENING: Final = ((_PAYMENT, How.ONCE), (_PUSH, How.ONCE), (_PAYMENT, How.FORGED), (_PUSH, How.TWICE))
"""These are sent however short the show is. After them come payments and pushes in turn."""


class Providers:
    """Creates the sources, sends to them at a slow pace, and writes what was answered into the ledger."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self._url = url
        self._ledger = ledger
        self._dice = Dice(secrets.token_bytes(32))
        self._known = {sender: self._setting(sender, "provider") for sender in SENDERS}
        self._forger = {sender: self._setting(sender, "forger") for sender in SENDERS}
        self._ending = asyncio.Event()
        # Not the demo's own client: providers have no key of the API.
        self._http = httpx2.AsyncClient(timeout=15.0, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def _setting(self, sender: Sender, whose: str) -> Setting:
        dice = self._dice.fork(f"{sender.provider} {whose}")
        return prepared(sender.provider, sender.event_type, {}, dice, self.address(sender))

    def address(self, sender: Sender) -> str:
        """Where it sends."""
        return f"{self._url}/in/{sender.provider}"

    def secret(self, sender: Sender) -> str:
        """What it signs with."""
        return str(self._known[sender].receiver["secret"])

    async def create(self, api: Api) -> None:
        """Create the sources. Raises `Unexpected`."""
        for sender, setting in self._known.items():
            spec = {"name": sender.provider, "verifier": sender.provider, "config": setting.receiver}
            await api.call("POST", "/v1/sources", spec)

    def end(self) -> None:
        """Send nothing more, but what every show has."""
        self._ending.set()

    async def send(self, duration_s: float) -> None:
        """Send for so long."""
        end_s = time.perf_counter() + duration_s
        for number, (sender, how) in enumerate(story()):
            if number >= len(OPENING) and (self._ending.is_set() or time.perf_counter() > end_s):
                return
            await self._send(sender, how, self._dice.fork(f"request {number}"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), EVERY_S)

    async def _send(self, sender: Sender, how: How, dice: Dice) -> None:
        setting = (self._forger if how is How.FORGED else self._known)[sender]
        sent = request(setting, time.time(), dice, self.address(sender))
        webhook = Webhook(
            sender.provider,
            sender.event_type,
            _provider_id(sender, sent),
            sent.inbound.header(sender.signature) or "",
            sent.body,
            time.perf_counter(),
            forged=how is How.FORGED,
        )
        self._ledger.webhooks.append(webhook)
        for _ in range(2 if how is How.TWICE else 1):
            await self._deliver(sent, webhook)

    async def _deliver(self, sent: Simulated, webhook: Webhook) -> None:
        """One request. What may not have arrived, or cannot be taken now, is sent again as it was."""
        for again in range(TRIES):
            try:
                answer = await self._http.request(sent.method, sent.url, headers=list(sent.headers), content=sent.body)
            except httpx2.TransportError:
                await asyncio.sleep(0.2 * (again + 1))
                continue
            webhook.status = answer.status_code
            if answer.is_success:
                self._ledger.came_in(webhook, str(answer.json()["event_id"]))
            if answer.status_code not in (429, 503):
                return
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))

    async def note(self, api: Api) -> None:
        """Look up what the sources noted of the forged requests, as soon as it can be looked at. Raises
        `Unexpected`."""
        end_s = time.perf_counter() + NOTED_S_MAX
        while True:
            for webhook in self._ledger.webhooks:
                if webhook.forged and webhook.signature not in self._ledger.rejections:
                    found = await self._noted(api, webhook)
                    if found is None:
                        break
                    self._ledger.rejections[webhook.signature] = found
            else:
                return
            if time.perf_counter() > end_s:
                return
            await asyncio.sleep(0.1)

    async def _noted(self, api: Api, webhook: Webhook) -> dict[str, Any] | None:
        for row in await api.rows(f"/v1/sources/{webhook.source}/rejections"):
            if any(value == webhook.signature for _, value in row["headers"]):
                return row
        return None


def story() -> Iterator[tuple[Sender, How]]:
    """Requests without end."""
    yield from OPENING
    for sender in itertools.cycle(SENDERS):
        yield sender, How.ONCE


def _provider_id(sender: Sender, sent: Simulated) -> str:
    """Read without the code that is shown here."""
    if sender.id_header:
        return next(value for name, value in sent.headers if name.lower() == sender.id_header)
    return str(json.loads(sent.body)["id"])
