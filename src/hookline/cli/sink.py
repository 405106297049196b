"""`hookline sink`: a receiver that verifies what it gets, prints it, and fails on cue."""

from __future__ import annotations

import base64
import signal
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from hookline.cli.arguments import read_bytes
from hookline.cli.exits import CommandError, ExitCode
from hookline.cli.receiver import HANG, Answer, Received, Receiver, bound_socket, url_of
from hookline.cli.terminal import ReaderGone, json_text, out, printable, terminal

IDS_MAX: Final = 100_000
"""So many webhook ids are remembered for `--fail`."""
BODY_SHOWN_BYTES: Final = 2048


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(sink)


def sink(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any that is free.")] = 8500,
    secret: Annotated[
        list[str] | None, typer.Option(help="whsec_…, whpk_… or @FILE: what is not signed by one of them gets 401.")
    ] = None,
    status: Annotated[
        int | None, typer.Option(min=200, max=599, help="Answer this (default 204; 500 for those that --fail).")
    ] = None,
    fail: Annotated[int, typer.Option(min=0, metavar="N", help="Fail the first N requests of each webhook-id.")] = 0,
    retry_after: Annotated[int | None, typer.Option(min=0, help="Send Retry-After with failures, in seconds.")] = None,
    delay_ms: Annotated[int, typer.Option(min=0, help="Wait so long before each answer.")] = 0,
    hang: Annotated[bool, typer.Option("--hang", help="Never answer.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Hold the port and refuse every connection.")] = False,
    body: Annotated[bool, typer.Option("--body", help="Show bodies too.")] = False,
) -> int:
    """Receive webhooks on this machine until Ctrl-C. Each request is one line (with --json: one document)."""
    import asyncio

    secrets = [read_bytes(text).decode("utf-8", "replace").strip() for text in secret or ()]
    behaviour = Behaviour(status, fail, retry_after, delay_ms, hang)
    try:
        sock = bound_socket(host, port)
    except OSError as error:
        raise CommandError(f"cannot listen on {host} port {port}: {error.strerror}", ExitCode.REFUSED) from None
    if dead:
        asyncio.run(_serve(None, f"{url_of(sock)} refuses every connection; Ctrl-C ends it"))
    else:
        receiver = Receiver(Sink(secrets, behaviour, body).handle, sock)
        asyncio.run(_serve(receiver, f"listening on {receiver.url}; Ctrl-C ends it"))
    sock.close()
    return ExitCode.OK


async def _serve(receiver: Receiver | None, line: str) -> None:
    import asyncio

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    if receiver is not None:
        await receiver.start()
    terminal.note(line)
    await ended.wait()
    if receiver is not None:
        await receiver.stop()


@dataclass(slots=True)
class Behaviour:
    """What is answered to the nth request of a webhook id."""

    status: int | None = None
    fail: int = 0
    retry_after_s: int | None = None
    delay_ms: int = 0
    hang: bool = False
    _seen: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def answer(self, webhook_id: str) -> Answer:
        """The answer, of which `HANG` is none."""
        if self.hang:
            return HANG
        if self.fail:
            failing = self._number(webhook_id) <= self.fail
            status = (self.status or 500) if failing else 204
        else:
            failing = (self.status or 204) >= 300
            status = self.status or 204
        headers = {"retry-after": str(self.retry_after_s)} if failing and self.retry_after_s is not None else {}
        return Answer(status, headers)

    def _number(self, webhook_id: str) -> int:
        number = self._seen.pop(webhook_id, 0) + 1
        self._seen[webhook_id] = number
        if len(self._seen) > IDS_MAX:
            self._seen.popitem(last=False)
        return number


class Sink:
    """Judges each request, prints it, and says what to answer."""

    def __init__(self, secrets: list[str], behaviour: Behaviour, show_body: bool) -> None:
        self._secrets = secrets
        self._behaviour = behaviour
        self._show_body = show_body

    async def handle(self, request: Received) -> Answer:
        """The answer to one request."""
        fault = self._fault(request)
        answer = Answer(401) if fault else self._behaviour.answer(request.headers.get("webhook-id", ""))
        if self._behaviour.delay_ms:
            import asyncio

            await asyncio.sleep(self._behaviour.delay_ms / 1000)
        try:
            self._print(request, fault, answer)
        except ReaderGone:
            signal.raise_signal(signal.SIGTERM)  # as behind `| head -1`: nobody watches any more
        return answer

    def _fault(self, request: Received) -> str | None:
        """Why the signature is not good; None when it is, or when there is no secret to tell."""
        if not self._secrets:
            return None
        from hookline.core.verification import VerificationError, verify

        try:
            verify(request.body, request.headers, self._secrets, now_s=request.at_s)
        except VerificationError as error:
            return error.reason
        return None

    def _print(self, request: Received, fault: str | None, answer: Answer) -> None:
        at = datetime.fromtimestamp(request.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        signature = fault or ("valid" if self._secrets else "not checked")
        if terminal.json:
            out(json_text(self._document(request, at, signature, answer)))
            return
        headers = request.headers
        words = [
            at[11:23],
            request.method,
            request.path,
            headers.get("webhook-id", "no webhook-id"),
            f"attempt {headers['hookline-attempt']}" if "hookline-attempt" in headers else "",
            headers.get("content-type", ""),
            f"{len(request.body)} bytes",
            f"signature {signature}",
            f"-> {answer.status or 'no answer'}",
        ]
        out(printable("  ".join(word for word in words if word)))
        if self._show_body and request.body:
            shown = request.body[:BODY_SHOWN_BYTES].decode("utf-8", "backslashreplace")
            out("    " + printable(shown) + (" …" if len(request.body) > BODY_SHOWN_BYTES else ""))

    def _document(self, request: Received, at: str, signature: str, answer: Answer) -> dict[str, object]:
        try:
            body: dict[str, object] = {"body": request.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": base64.b64encode(request.body).decode()}
        return {
            "at": at,
            "method": request.method,
            "path": request.path,
            "webhook_id": request.headers.get("webhook-id"),
            "signature": signature,
            "answered": answer.status or None,
            "headers": request.headers,
            **body,
        }
