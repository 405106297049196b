"""An entry of the live stream as a person reads it: one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from hookline.cli.terminal import STATE_STYLES, printable
from hookline.core.event import TENANT_DEFAULT

_CODES: Final = {
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "magenta": "35",
    "red": "31",
    "dim": "2",
    "bold": "1",
}
_TYPE_CHARS: Final = 24


class EntryLine:
    """Writes lines, with colours or without."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._words: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
            "event": self._event,
            "attempt": self._attempt,
            "delivery": self._delivery,
            "endpoint": self._endpoint,
        }

    def text(self, kind: str, data: Mapping[str, Any]) -> str:
        """One entry. What is unknown to this version is shown by its kind."""
        at = str(data.get("accepted_at") or data.get("at") or "")
        words = [self._style(at[11:23], "dim"), f"{printable(kind):<8}"]
        if data.get("tenant", TENANT_DEFAULT) != TENANT_DEFAULT:
            words.append(self._style(printable(f"{data['tenant']}:"), "dim"))
        if kind != "endpoint":
            words.append(self._style(f"{printable(str(data.get('type') or '')):<{_TYPE_CHARS}}", "bold"))
        words += self._words.get(kind, self._other)(data)
        return "  ".join(word for word in words if word)

    def _event(self, data: Mapping[str, Any]) -> list[str]:
        subject = data.get("subject")
        return [str(data["id"]), f"{data['data_bytes']} bytes", "" if subject is None else printable(subject)]

    def _attempt(self, data: Mapping[str, Any]) -> list[str]:
        good = data["outcome"] in ("delivered", "unconfirmed")
        status = "" if data["status"] is None else str(data["status"])
        verdict = " ".join(word for word in (status, "" if good else str(data["reason"] or data["outcome"])) if word)
        words = [
            f"{data['delivery_id']} -> {_endpoint(data)}",
            f"try {data['number']}",
            self._style(verdict, "green" if good else "red"),
            f"{data['duration_ms']:.1f} ms",
            self._state(data["state"]),
        ]
        if data["next_at"] is not None:
            words.append(f"again {str(data['next_at'])[11:19]}")
        if data["detail"] and not good:
            words.append(self._style(printable(data["detail"]), "dim"))
        return words

    def _delivery(self, data: Mapping[str, Any]) -> list[str]:
        return [f"{data['delivery_id']} -> {_endpoint(data)}", *self._change(data)]

    def _endpoint(self, data: Mapping[str, Any]) -> list[str]:
        uid = data["endpoint_uid"]
        return [str(data["endpoint_id"]), "" if uid is None else printable(uid), *self._change(data)]

    def _change(self, data: Mapping[str, Any]) -> list[str]:
        reason = data["reason"]
        return [f"{data['before']} -> {self._state(data['after'])}", "" if reason is None else printable(reason)]

    def _other(self, data: Mapping[str, Any]) -> list[str]:
        return [printable(str(data.get("detail") or data.get("id") or ""))]

    def _state(self, word: object) -> str:
        text = printable(str(word))
        return self._style(text, STATE_STYLES.get(text, ""))

    def _style(self, text: str, style: str) -> str:
        if not self._colours or not text or style not in _CODES:
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def _endpoint(data: Mapping[str, Any]) -> str:
    return printable(str(data["endpoint_uid"] or data["endpoint_id"]))
