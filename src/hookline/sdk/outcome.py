"""What became of a request or of one of its events: for the log, and for whoever counts."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from hookline.sdk.event import Event

KINDS: Final = {
    "handled": "its handler ended well",
    "duplicate": "it was handled before, so the handler did not run",
    "handshake": "a question about this address was answered",
    "method_not_allowed": "another method than the sender uses (405)",
    "too_large": "the body is larger than allowed (413)",
    "malformed": "the request or its body cannot be read (400)",
    "invalid": "the payload is not as `schema=` says (400)",
    "unverified": "who sent it is not proven (401)",
    "unverifiable": "whether it is genuine could not be judged (500, 503): see the reason",
    "unacceptable": "the application's `check=` or handler refused it (422)",
    "running": "the same is being handled right now, so the sender is to come again (409)",
    "answered": "the handler itself answered with an error of its own (4xx, 5xx)",
    "failed": "the handler raised (500)",
    "guard_unavailable": "the replay guard could not be asked (503)",
}
"""Every kind of outcome, with what it means."""

_QUIET: Final = frozenset({"handled", "duplicate", "handshake"})
_LOUD: Final = frozenset({"failed", "unverifiable", "guard_unavailable"})
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_TEXT_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome."""

    kind: str
    """One of `KINDS`."""
    status: int
    """The HTTP status that it calls for. A request of several events is answered the worst of theirs."""
    verifier: str
    """`standard_webhooks`, or the name of a preset."""
    reason: str = ""
    """Of what is not verified: the error's `reason`."""
    detail: str = ""
    """One line for a person; the sender may be told less."""
    events: tuple[Event, ...] = ()
    """What it is about; none, where there is no proven event."""
    duration_s: float = 0.0
    """Since the request was read."""
    error: BaseException | None = None
    """What the handler, the check or the guard raised."""


OnOutcome: TypeAlias = Callable[[Outcome], object]


def tell(outcome: Outcome, logger: logging.Logger, on_outcome: OnOutcome | None) -> None:
    """Log it, and call the hook. What the hook raises is logged and changes nothing."""
    level = logging.ERROR if outcome.kind in _LOUD else logging.INFO if outcome.kind in _QUIET else logging.WARNING
    named = " ".join(f"{event.type or '-'} {event.id or '-'}" for event in outcome.events[:3])
    why = f" {outcome.reason}: {outcome.detail}" if outcome.detail else ""
    line = f"{outcome.verifier} {outcome.kind} {outcome.status} {named}{why}"
    # What a sender writes must not make lines of its own, nor colours.
    text = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], line[:_TEXT_CHARS_MAX])
    logger.log(level, "%s", text, exc_info=outcome.error, extra={"webhook_outcome": outcome.kind})
    if on_outcome is None:
        return
    try:
        on_outcome(outcome)
    except Exception:
        logger.exception("the on_outcome hook failed")
