"""A sender that is not HTTP: one file per delivery in a folder. It keeps the seam honest, and needs no network.

An endpoint of kind `mailbox` has the url `mailbox:///absolute/path` and delivers like Maildir: the event as a
CloudEvents 1.0 JSON document, written to `tmp/` and moved to `new/`, so that a reader never sees half a file. Its
config may say what the mailbox answers: `{"answer": "accept"}` (default), `retry`, `busy` (asks the endpoint to wait
2 s), `reject`, `gone`, `hang`, or `echo` (accepts, and echoes a challenge).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from hookline.core import ids
from hookline.core.attempt import Body, Exchange, Kind, Outcome, Timing
from hookline.core.body import build_body
from hookline.core.endpoint import Endpoint, EndpointSpec
from hookline.core.errors import Refusal
from hookline.ports.clock import Clock
from hookline.ports.sender import Consent, Item, SendRequest, VerifyRequest
from hookline.testing.coroutine_sender import CoroutineSender

BUSY_S: Final = 2.0

_ANSWERS: Final[dict[str, Callable[[], Outcome]]] = {
    "accept": lambda: Outcome(Kind.DELIVERED),
    "echo": lambda: Outcome(Kind.DELIVERED),
    "retry": lambda: Outcome(Kind.RETRY, "server_error", detail="the mailbox was told to fail"),
    "busy": lambda: Outcome(Kind.RETRY, "rate_limited", BUSY_S, "the mailbox was told to be busy"),
    "reject": lambda: Outcome(Kind.REJECTED, "rejected", detail="the mailbox was told to reject"),
    "gone": lambda: Outcome(Kind.GONE, "gone", detail="the mailbox was told to be gone"),
}


class MailboxSender(CoroutineSender):
    """Delivers to endpoints of kind `mailbox`."""

    kind = "mailbox"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._closed = False

    async def check(self, spec: EndpointSpec) -> Sequence[str]:
        """Judge url and config. A folder that is not there yet is a warning."""
        folder = mailbox_folder(spec.url)
        if spec.verify == "cloudevents":
            raise Refusal("not_supported", "A mailbox knows no handshake of HTTP.", pointer="/verify")
        for name, value in spec.config.items():
            if name != "answer":
                raise Refusal("invalid_endpoint", f"A mailbox has no setting {name!r}.", pointer=f"/config/{name}")
            if not isinstance(value, str) or (value not in _ANSWERS and value != "hang"):
                raise Refusal("invalid_endpoint", f"A mailbox cannot answer {value!r}.", pointer="/config/answer")
        return () if await asyncio.to_thread(folder.is_dir) else ("The mailbox's folder does not exist yet.",)

    def destination(self, endpoint: Endpoint) -> str:
        """The folder, however its url is spelled."""
        return f"mailbox:{mailbox_folder(endpoint.url)}"

    async def send(self, request: SendRequest) -> Sequence[Outcome]:
        """Write one file per item. A folder that is not there is `connect`; a mailbox that hangs is `timeout`."""
        start_s = self._clock.monotonic_s()
        if self._closed:
            return [Outcome(Kind.RETRY, "connect", detail="closing", started=False) for _ in request.items]
        outcomes = []
        for item in request.items:
            left_s = request.endpoint.timeout_s - (self._clock.monotonic_s() - start_s)
            outcome = await self._deliver(request.endpoint, item, max(0.0, left_s))
            outcome.timing = Timing(total_us=round((self._clock.monotonic_s() - start_s) * 1e6))
            outcomes.append(outcome)
        return outcomes

    async def verify(self, request: VerifyRequest) -> Consent:
        """Deliver the challenge like any event; a mailbox that is told to `echo` consents."""
        item = Item(ids.delivery_id(request.event.id, 1), 1, request.event, 1)
        (outcome,) = await self.send(SendRequest(request.endpoint, (item,), request.now_ms))
        given = outcome.kind is Kind.DELIVERED and request.endpoint.config.get("answer") == "echo"
        if not given and outcome.kind is Kind.DELIVERED:
            outcome.kind, outcome.reason = Kind.RETRY, "answer_rejected"
            outcome.detail = "the mailbox did not echo the challenge"
        return Consent(given=given, outcome=outcome)

    async def close(self) -> None:
        """Send no more; there is nothing to end."""
        self._closed = True

    async def _deliver(self, endpoint: Endpoint, item: Item, wait_s_max: float) -> Outcome:
        body, _ = build_body(item.event, "cloudevents")
        try:
            async with asyncio.timeout(wait_s_max):
                outcome = await self._put(endpoint, item, _document(item, body))
        except TimeoutError:
            outcome = Outcome(Kind.RETRY, "timeout", detail="the mailbox did not take it in time")
        except OSError as error:
            outcome = Outcome(Kind.RETRY, "connect", detail=f"the mailbox cannot be written: {error.strerror}")
        outcome.exchange = _exchange(endpoint.url, body)
        return outcome

    async def _put(self, endpoint: Endpoint, item: Item, document: bytes) -> Outcome:
        answer = endpoint.config.get("answer", "accept")
        if answer == "hang":
            await asyncio.get_running_loop().create_future()
        outcome = _ANSWERS[answer]()
        if outcome.kind is Kind.DELIVERED:
            name = ids.text(ids.ATTEMPT, ids.attempt_id(item.delivery_id, item.fence)) + ".json"
            await asyncio.to_thread(_write, mailbox_folder(endpoint.url), name, document)
        return outcome


def _document(item: Item, body: Body) -> bytes:
    """What is written. Where to confirm is an extension attribute, and no part of what is kept of the exchange."""
    document = body.render(item.event.data)
    if item.confirm_url is None:
        return document
    return document[:-1] + b',"hooklineconfirmurl":' + json.dumps(item.confirm_url).encode() + b"}"


def mailbox_folder(url: str) -> Path:
    """The folder of `mailbox:///absolute/path`. Raises `Refusal` for anything else."""
    try:
        parts = urlsplit(url)
        path = unquote(parts.path, errors="strict")
    except ValueError:
        raise Refusal("invalid_endpoint", "This is no URL.", pointer="/url") from None
    plain = not (parts.netloc or parts.query or parts.fragment or "\0" in path)
    if parts.scheme != "mailbox" or not plain or not path.startswith("/") or ".." in path.split("/"):
        raise Refusal("invalid_endpoint", "A mailbox's url is mailbox:///absolute/path.", pointer="/url")
    return Path(path)


def read_mailbox(folder: Path) -> list[Any]:
    """The CloudEvents in a mailbox, in the order of their deliveries' ids and fences."""
    return [json.loads(path.read_bytes()) for path in sorted((folder / "new").glob("*.json"))]


def _write(folder: Path, name: str, document: bytes) -> None:
    for part in ("tmp", "new"):
        (folder / part).mkdir(exist_ok=True)  # not the folder itself: a mailbox that is gone is a failure
    (folder / "tmp" / name).write_bytes(document)
    (folder / "tmp" / name).rename(folder / "new" / name)


def _exchange(url: str, body: Body) -> Exchange:
    headers = [(b"content-type", body.content_type.encode())]
    return Exchange("PUT", url, headers, body.prefix, body.suffix, body.encoding)
