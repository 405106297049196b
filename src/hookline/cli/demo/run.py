"""The demo from beginning to end: program, receivers, providers, stream, sums; all of it ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from hookline.cli.demo.api import Api, Unexpected
from hookline.cli.demo.board import Board, demo_console
from hookline.cli.demo.ledger import Ledger, Receipt
from hookline.cli.demo.program import Program, ProgramFailed
from hookline.cli.demo.proof import checks, read_books
from hookline.cli.demo.proof_inbound import inbound_checks
from hookline.cli.demo.providers import Providers
from hookline.cli.demo.receivers import Receivers
from hookline.cli.demo.scene import CONFIRMING, DEAD, DEAD_LETTERS, EVENT_TYPES, SENDERS, SUBSCRIBERS
from hookline.cli.demo.stream import Stream
from hookline.cli.exits import ExitCode
from hookline.cli.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rich.console import Console

SHOW_S: Final = 12.0
"""How long the show is when nobody said."""
AFTER_S_MAX: Final = 4.0
"""So much of it is kept for what comes after the stream: retries, dead letters, a replay, the sums."""
SETTLE_S_MAX: Final = 15.0
REPLAY_S_MAX: Final = 5.0
REPLAYED: Final = next(subscriber.uid for subscriber in SUBSCRIBERS if subscriber.receiver == DEAD)


def run(seconds: float | None) -> int:
    """Run the demo, for so many seconds or until Ctrl-C; its exit code."""
    with tempfile.TemporaryDirectory(prefix="hookline-demo-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(_run(Path(folder), seconds))


async def _run(folder: Path, seconds: float | None) -> int:
    console = demo_console()
    ended = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None

    def end() -> None:
        # The first time the demo does its sums and leaves; the second time it leaves.
        task.cancel() if ended.is_set() else ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        program = Program(folder)
    except ProgramFailed as error:
        return _failed(console, error)
    try:
        program.start()
        await program.wait_until_ready()
        holds = await _with_receivers(console, program, ended, seconds)
        await program.stop()
        return ExitCode.OK if holds else ExitCode.REFUSED
    except (ProgramFailed, Unexpected) as error:
        return _failed(console, error)
    except asyncio.CancelledError:
        return ExitCode.INTERRUPTED
    finally:
        program.kill()


async def _with_receivers(console: Console, program: Program, ended: asyncio.Event, seconds: float | None) -> bool:
    ledger = Ledger()
    receivers = Receivers(ledger)
    api = Api(program.url, program.key)
    try:
        return await Demo(console, program, api, ledger, receivers, ended, seconds).show()
    except Unexpected:
        program.check()  # when it has ended, its last words say more
        raise
    finally:
        await api.close()
        await receivers.stop()


def _failed(console: Console, error: Exception) -> int:
    console.print(Text(f"\nThe demo failed: {error}", "bold red"), soft_wrap=True)
    return ExitCode.REFUSED


async def _both(publish: Awaitable[None], send: Awaitable[None]) -> None:
    await asyncio.gather(publish, send)


class Demo:
    """One show. `show` returns whether everything adds up."""

    def __init__(
        self,
        console: Console,
        program: Program,
        api: Api,
        ledger: Ledger,
        receivers: Receivers,
        ended: asyncio.Event,
        seconds: float | None,
    ) -> None:
        self._console = console
        self._program = program
        self._api = api
        self._ledger = ledger
        self._receivers = receivers
        self._ended = ended
        self._seconds = seconds
        self._uids: dict[str, str] = {}

    async def show(self) -> bool:
        """All of it."""
        self._begin_s = time.perf_counter()
        async with Providers(self._program.url, self._ledger) as providers:
            await self._set_up(providers)
            await self._stream(providers)
            await self._webhooks_in(providers)
        await self._dead_letters()
        holds = await self._sums("What was promised, counted and seen")
        if self._seconds is None and not self._ended.is_set():
            self._explain(providers.secret(SENDERS[0]))
            self._ledger.listener = self._arrived
            await self._until_ended()
            holds = await self._sums("\nThe sums once more") and holds
        return holds

    @property
    def _show_s(self) -> float:
        return self._seconds if self._seconds is not None else SHOW_S

    def _left_s(self) -> float:
        """Seconds until a timed show should be over."""
        return self._begin_s + self._show_s - time.perf_counter()

    def _say(self, text: str, style: str = "", hanging: int = 2) -> None:
        """Lines, whose words are not broken where a terminal's line ends; `hanging`: so far what is left of a line is
        moved in."""
        lines: list[str] = []
        for line in text.split("\n"):
            indent = " " * (len(line) - len(line.lstrip()) + hanging)
            width = self._console.width
            lines += textwrap.wrap(
                line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            ) or [""]
        self._say_as_is("\n".join(lines), style)

    def _say_as_is(self, line: str, style: str) -> None:
        """A command must be one line, to be copied."""
        self._console.print(Text(line, style), soft_wrap=True)

    async def _set_up(self, providers: Providers) -> None:
        self._say(f"Hookline runs at {self._program.url} on SQLite in {self._program.log.parent}", "bold")
        await self._receivers.start()
        for name, schema in EVENT_TYPES.items():
            await self._api.call("POST", "/v1/event-types", {"name": name, "schema": schema})
        for subscriber in SUBSCRIBERS:
            spec = subscriber.spec(self._receivers.url(subscriber.receiver))
            endpoint = await self._api.call("POST", "/v1/endpoints", spec)
            self._uids[endpoint["id"]] = subscriber.uid
            secret = await self._api.call("GET", f"/v1/endpoints/{subscriber.uid}/secret")
            self._receivers.trust(subscriber.uid, secret["secret"])
        await providers.create(self._api)

    async def _stream(self, providers: Providers) -> None:
        """Publish, and have the providers send, then wait until nothing is open, or time is up."""
        after_s = min(AFTER_S_MAX, self._show_s * 0.4)
        stream = Stream(self._api, self._ledger)
        every_s = 0.4 if self._console.is_terminal else 1.0
        with Board(self._api, self._ledger, self._console, self._show_s) as board:
            duration_s = max(1.0, self._left_s() - after_s)
            publishing = asyncio.create_task(_both(stream.publish(duration_s), providers.send(duration_s)))
            try:
                while not publishing.done():
                    self._program.check()
                    await board.update("publishing")
                    await self._wait(publishing, every_s)
                    if self._ended.is_set():
                        stream.end()
                        providers.end()
                await publishing
            finally:
                publishing.cancel()
            settle_s = time.perf_counter() + (SETTLE_S_MAX if self._seconds is None else max(0.5, self._left_s() - 0.5))
            while not self._ended.is_set():
                await board.update("retries settle")
                stats = await self._api.call("GET", "/v1/stats")
                if not any(stats["open"].values()) or time.perf_counter() > settle_s:
                    break
                await asyncio.sleep(0.2)
            await board.update("done")

    async def _wait(self, publishing: asyncio.Task[None], timeout_s: float) -> None:
        ended = asyncio.create_task(self._ended.wait())
        await asyncio.wait({publishing, ended}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()

    async def _webhooks_in(self, providers: Providers) -> None:
        """The first of each provider, and what was refused, why."""
        await providers.note(self._api)
        self._say(f"\nWebhooks in: {len(self._ledger.events_in)}", "bold")
        for sender in SENDERS:
            sent = [webhook for webhook in self._ledger.webhooks if webhook.source == sender.provider]
            for webhook in [webhook for webhook in sent if webhook.event_id in self._ledger.arrived][:1]:
                way = f"{webhook.event_id} -> {sender.subscriber}"
                self._say(f"  /in/{webhook.source}  {webhook.event_type}  verified -> {way}")
            for webhook in [webhook for webhook in sent if webhook.forged]:
                self._say(
                    f"  /in/{webhook.source}  {webhook.event_type}  forged, with another secret -> {webhook.status}",
                    "red",
                )
                noted = self._ledger.rejections.get(webhook.signature)
                if noted is not None:
                    self._say(f"    noted as {noted['reason']}: {noted['detail']}", "red")

    async def _dead_letters(self) -> None:
        """List what was given up, repair its receiver, and replay one."""
        self._say(f"\nConfirmed by their receiver: {len(self._ledger.confirmed)} at {CONFIRMING}", "bold")
        failed = await self._api.rows("/v1/deliveries", state="failed")
        self._say(f"\nDead letters: {len(failed)}", "bold")
        for row in failed[:5]:
            target = self._uids.get(row["endpoint_id"], row["endpoint_id"])
            self._say(f"  {row['id']}  {row['type']} -> {target}  {row['attempts']} attempts  {row['reason']}", "red")
        for delivery_id, attempts in list(self._ledger.dead_letters.items())[:5]:
            self._say(f"  {DEAD_LETTERS} got the event of {delivery_id}, with the history of {attempts} attempts")
        rows = [row for row in failed if self._uids.get(row["endpoint_id"]) == REPLAYED]
        if not rows:
            self._say("  No time for one: its retries were not used up yet.")
            return
        if self._ended.is_set() or (self._seconds is not None and self._left_s() < 0.3):
            self._say("  No time left for a replay.")
            return
        await self._receivers.repair()
        event_id = rows[-1]["event_id"]
        answer = await self._api.call("POST", f"/v1/events/{event_id}/replay", {"endpoint_id": REPLAYED})
        self._ledger.replayed += answer["deliveries"]
        state = await self._state_of(answer["ids"][0])
        self._say(f"  The receiver was repaired and {event_id} replayed: {answer['ids'][0]} is {state}.")

    async def _state_of(self, delivery_id: str) -> str:
        """A delivery's state once it is closed, or after some seconds."""
        end_s = time.perf_counter() + REPLAY_S_MAX
        while True:
            row = await self._api.call("GET", f"/v1/deliveries/{delivery_id}")
            if row["finished_at"] is not None or time.perf_counter() > end_s:
                return str(row["state"])
            await asyncio.sleep(0.05)

    async def _sums(self, title: str) -> bool:
        """Say every sum; whether all of them hold."""
        self._say(f"\n{title}", "bold")
        books = await read_books(self._api)
        if books is None:
            self._say("  NO  the books never stood still, so they could not be checked", "bold red")
            return False
        found = [*checks(books, self._ledger, self._uids), *inbound_checks(books, self._ledger, self._uids)]
        for check in found:
            style = "green" if check.holds else "bold red"
            self._say(f"  {'ok' if check.holds else 'NO'}  {check.says}", style, hanging=4)
        refused = ", ".join(f"{count} {code}" for code, count in sorted(self._ledger.refused.items())) or "none"
        self._say(f"      refused at the door: {refused}; repeats recognised: {self._ledger.duplicates}")
        return all(check.holds for check in found)

    def _explain(self, secret: str) -> None:
        url, key = self._program.url, self._program.key
        head = f"curl -sS -H 'Authorization: Bearer {key}'"
        body = "-H 'Content-Type: application/json' -d"
        sender = SENDERS[0]
        here = Path(sys.executable).with_name("hookline")
        command = "hookline" if shutil.which("hookline") == str(here) or not here.exists() else str(here)
        webhook = f"{command} simulate {sender.provider} {sender.event_type} --to {url}/in/{sender.provider}"
        for title, line in (
            (
                "Publish an event of your own; it arrives below",
                f'{head} {body} \'{{"type":"hello.world","data":{{"from":"me"}}}}\' ' + f"{url}/v1/events",
            ),
            ("What was given up, and the books", f"{head} '{url}/v1/deliveries?state=failed'"),
            ("", f"{head} {url}/v1/stats"),
            ("The same by the command line", f"export HOOKLINE_URL={url} HOOKLINE_KEY={key}"),
            ("", f'{command} send hello.world \'{{"from": "me"}}\''),
            ("", f"{command} deliveries ls --state failed"),
            ("A payment as Stripe would tell of it, and one that is forged", f"{webhook} --secret {secret}"),
            ("", f"{webhook} --secret whsec_not_it --expect 401"),
            ("", f"{command} sources rejections {sender.provider}"),
        ):
            if title:
                self._say(f"\n{title}:", "bold")
            self._say_as_is(f"  {line}", "cyan")
        self._say(f"\nThe API's own page is {url}/docs. Ctrl-C ends the demo.\n")

    def _arrived(self, receipt: Receipt) -> None:
        how = "signature valid" if receipt.fault is None else f"signature NOT valid: {receipt.fault}"
        body = " ".join(receipt.body.decode("utf-8", "replace").split())[:300]
        self._say(
            printable(f"  {receipt.subscriber} got {receipt.webhook_id}, attempt {receipt.attempt}, {how}: {body}")
        )

    async def _until_ended(self) -> None:
        while not self._ended.is_set():
            self._program.check()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 1.0)
