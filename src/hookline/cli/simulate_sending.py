"""How simulated requests are shown, sent, and their answers judged."""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from hookline.cli.exits import CommandError, ExitCode, usage
from hookline.cli.http_exchange import Answered, Exchange, NoAnswerError
from hookline.cli.terminal import json_text, out, printable, terminal
from hookline.core.simulate.changes import Changes
from hookline.core.simulate.dice import Dice
from hookline.core.simulate.simulation import Setting, Simulated, request

if TYPE_CHECKING:
    import ssl

SHOWN_MAX: Final = 20
"""Of more requests than this a line each is no use; they are counted."""
ANSWER_SHOWN_CHARS: Final = 2000
SENDERS_MAX: Final = 32
"""Threads that send at a rate; so many requests can be on their way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent."""

    setting: Setting
    changes: Changes
    dice: Dice
    url: str
    signed_url: str
    at_s: float | None
    """None: each at its own time."""
    count: int
    rate: float | None
    """Begun in a second; None: one after the other."""
    duplicate: bool
    slow_s: float
    timeout_s: float

    def request(self, number: int) -> Simulated:
        """The request of this number, as of now. Raises `SimulationError`."""
        now_s = time.time() if self.at_s is None else self.at_s
        dice = self.dice.fork(f"request {number}")
        return request(self.setting, now_s, dice, self.url, self.changes, self.signed_url)


@dataclass(frozen=True, slots=True)
class Expected:
    """Which statuses are right."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, written: str | None, *, refused: bool) -> Self:
        """What was written, as `401`, `4xx` or `200,202`; or 2xx, or 4xx for what is to be refused."""
        words = tuple((written or ("4xx" if refused else "2xx")).lower().replace(" ", "").split(","))
        for word in words:
            if len(word) != 3 or word[0] not in "12345" or not (word[1:].isdecimal() or word[1:] == "xx"):
                raise usage(f"--expect {written!r} is not written as 401, 4xx or 200,202")
        return cls(words)

    def has(self, status: int) -> bool:
        """Whether this one is."""
        return any(word in (str(status), f"{status // 100}xx") for word in self.words)

    def fault(self, sent: Simulated, answered: Answered) -> str:
        """What is wrong with an answer; empty: nothing."""
        if not self.has(answered.status):
            return f"expected {' or '.join(self.words)}"
        wanted = sent.wanted
        if answered.status >= 300:
            return ""
        if wanted.status and answered.status != wanted.status:
            return f"the provider wants status {wanted.status}"
        if wanted.header and wanted.header.lower() not in answered.headers:
            return f"the provider wants the header {wanted.header}"
        if str(wanted.body).encode() not in answered.body:
            return f"the provider wants {wanted.body!r} in the answer"
        return ""


@dataclass(slots=True)
class Tally:
    """What came of all requests. Of several threads."""

    provider: str
    event_type: str
    expected: Expected
    lines: bool
    """Whether each is shown."""
    statuses: Counter[str] = field(default_factory=Counter)
    elapsed_ms: list[float] = field(default_factory=list)
    wrong: int = 0
    unanswered: str = ""
    """Why one of them got no answer."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, sent: Simulated, answered: Answered) -> None:
        """Count and show one."""
        fault = self.expected.fault(sent, answered)
        with self._lock:
            self.statuses[str(answered.status)] += 1
            self.elapsed_ms.append(answered.elapsed_ms)
            self.wrong += bool(fault)
            if terminal.json:
                out(json_text(document(self.provider, self.event_type, sent) | _answer(answered, fault)))
            elif self.lines:
                self._show(sent, answered, fault)

    def lost(self, why: str) -> None:
        """Count one that got no answer."""
        with self._lock:
            self.statuses["no answer"] += 1
            self.unanswered = why

    def _show(self, sent: Simulated, answered: Answered, fault: str) -> None:
        size = f"{len(sent.body)} bytes"
        line = f"{self.provider} {self.event_type}, {size} -> {answered.status} in {answered.elapsed_ms:.1f} ms"
        out(printable(f"{line}: {fault}" if fault else line))
        text = answered.body.decode("utf-8", "backslashreplace").strip()
        if text:
            shown = text[:ANSWER_SHOWN_CHARS]
            out("    " + printable(shown) + (" …" if len(text) > len(shown) else ""))

    def code(self) -> ExitCode:
        """Say what has to be said at the end; the exit code."""
        total = sum(self.statuses.values())
        if not self.lines and not terminal.json:
            counts = ", ".join(f"{count} x {status}" for status, count in self.statuses.most_common())
            times = sorted(self.elapsed_ms) or [0.0]
            middle, late = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
            out(f"{self.provider} {self.event_type}: {counts}; half within {middle:.1f} ms, 99 % within {late:.1f} ms")
        if self.unanswered:
            line = f"{self.statuses['no answer']} of {total} got no answer: {self.unanswered}"
            raise CommandError(line, ExitCode.UNREACHABLE)
        if self.wrong:
            words = " or ".join(self.expected.words)
            raise CommandError(f"{self.wrong} of {total} were not answered as expected ({words})", ExitCode.REFUSED)
        return ExitCode.OK


def show(plan: Plan, *, as_curl: bool) -> int:
    """Print the requests: as curl commands, as they travel, or as the JSON that `hookline verify --request` reads."""
    from hookline.core.simulate.curl import curl

    for number in range(plan.count):
        sent = plan.request(number)
        name, event_type = plan.setting.provider.name, plan.setting.sample.type
        for _ in range(2 if plan.duplicate else 1):
            if terminal.json:
                more = {"curl": curl(sent)} if as_curl else {}
                out(json_text(document(name, event_type, sent) | more))
            else:
                out(curl(sent) if as_curl else _as_text(sent))
    return ExitCode.OK


def carry_out(plan: Plan, expected: Expected) -> int:
    """Send everything; the exit code. Raises `CommandError`, and `SimulationError` for what cannot be made."""
    from hookline.cli.client import trusted

    plan.request(0)  # what cannot be made is said before anything is sent
    context = trusted() if plan.url.startswith("https:") else None
    setting = plan.setting
    requests = plan.count * (2 if plan.duplicate else 1)
    tally = Tally(setting.provider.name, setting.sample.type, expected, requests <= SHOWN_MAX)
    numbers = Paced(plan.count, plan.rate)
    senders = min(plan.count, SENDERS_MAX) if plan.rate else 1
    if senders == 1:
        _send_all(plan, numbers, tally, context)
        return tally.code()
    threads = [threading.Thread(target=_send_all, args=(plan, numbers, tally, context)) for _ in range(senders)]
    for thread in threads:
        thread.daemon = True  # Ctrl-C ends them all
        thread.start()
    for thread in threads:
        thread.join()
    return tally.code()


class Paced:
    """Numbers of requests, each when it is due. Of several threads."""

    def __init__(self, count: int, rate: float | None) -> None:
        self._numbers = iter(range(count))
        self._rate = rate
        self._start_s = time.monotonic()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            if self._rate:
                time.sleep(max(0.0, self._start_s + number / self._rate - time.monotonic()))
            yield number


def _send_all(plan: Plan, numbers: Paced, tally: Tally, context: ssl.SSLContext | None) -> None:
    exchange = Exchange(plan.url, plan.timeout_s, context)
    try:
        for number in numbers:
            sent = plan.request(number)
            for _ in range(2 if plan.duplicate else 1):
                try:
                    answered = exchange.send(sent.method, sent.url, sent.headers, sent.body, plan.slow_s)
                except NoAnswerError as error:
                    tally.lost(str(error))
                else:
                    tally.answered(sent, answered)
    finally:
        exchange.close()


def document(provider: str, event_type: str, sent: Simulated) -> dict[str, Any]:
    """A request as JSON; `url` is the address as the provider knows it."""
    return {
        "provider": provider,
        "type": event_type,
        "method": sent.method,
        "url": sent.signed_url,
        "headers": dict(sent.headers),
        "body_base64": base64.b64encode(sent.body).decode("ascii"),
    }


def _answer(answered: Answered, fault: str) -> dict[str, Any]:
    return {
        "status": answered.status,
        "elapsed_ms": round(answered.elapsed_ms, 3),
        "answer_headers": dict(answered.headers),
        "answer": answered.body.decode("utf-8", "backslashreplace"),
        "as_expected": not fault,
        "fault": fault or None,
    }


def _as_text(sent: Simulated) -> str:
    head = [f"{sent.method} {sent.url}", *(f"{name}: {value}" for name, value in sent.headers)]
    body = sent.body.decode("utf-8", "backslashreplace")
    lines = [printable(line) for line in (*head, "", *body.split("\n"))]
    return "\n".join(lines)
