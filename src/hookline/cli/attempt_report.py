"""An attempt as a person reads it: what was sent, what came back, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.cli.terminal import terminal
from hookline.core.attempt import REASONS

BODY_CHARS_MAX: Final = 4096
_PHASES: Final = (("dns_ms", "dns"), ("connect_ms", "connect"), ("tls_ms", "tls"), ("first_byte_ms", "first byte"))


def show_attempt(attempt: Mapping[str, Any]) -> None:
    """Print the attempt, as the API gives it, in sections."""
    if attempt.get("url") is not None:
        terminal.say(f"> {attempt.get('method') or ''} {attempt['url']}".rstrip())
        _part("> ", attempt.get("request_headers") or {}, _body(attempt, "request"))
        terminal.say("")
    status = attempt.get("status")
    terminal.say(f"< {status if status is not None else 'no answer'} after {_times(attempt)}")
    _part("< ", attempt.get("response_headers") or {}, _body(attempt, "response"))
    terminal.say("")
    terminal.say(verdict(attempt))


def verdict(attempt: Mapping[str, Any]) -> str:
    """What came of it, in one line: the reason, what it means, and what to do about it."""
    code = attempt.get("reason")
    if code is None:
        return "success"
    line = f"failed: {code}"
    if attempt.get("cause"):
        line += f" ({attempt['cause']})"
    known = REASONS.get(code)
    said = attempt.get("detail") or (known.means if known is not None else "")
    remedy = known.remedy if known is not None else ""
    return " ".join(part for part in (f"{line}:", said, remedy) if part)


def _times(attempt: Mapping[str, Any]) -> str:
    timing = attempt.get("timing") or {}
    phases = [f"{word} {timing[name]:.1f}" for name, word in _PHASES if timing.get(name) is not None]
    total = f"{float(attempt.get('duration_ms') or 0):.1f} ms"
    return f"{total} ({', '.join(phases)})" if phases else total


def _body(attempt: Mapping[str, Any], side: str) -> str:
    text = attempt.get(f"{side}_body")
    if text is None:
        encoded = attempt.get(f"{side}_body_base64")
        text = "" if encoded is None else f"(base64) {encoded}"
    return str(text)


def _part(mark: str, headers: Mapping[str, str], body: str) -> None:
    for name, value in headers.items():
        terminal.say(f"{mark}{name}: {value}")
    if not body:
        return
    terminal.say("")
    for line in body[:BODY_CHARS_MAX].splitlines():
        terminal.say(f"  {line}")
    if len(body) > BODY_CHARS_MAX:
        terminal.say(f"  … {len(body) - BODY_CHARS_MAX} more characters; --json shows them")
