"""What a sender is answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. A handler may return one of its own."""

    status: int
    """From 200 on; with 400 and more the event counts as not handled."""
    body: bytes = b""
    """As it is sent."""
    headers: tuple[tuple[str, str], ...] = ()
    """Content-Type among them where there is a body; Content-Length is not."""

    @classmethod
    def of(cls, value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
        """One with a JSON body. Raises `TypeError` or `ValueError` for what JSON cannot say."""
        return cls(status, json.dumps(value, allow_nan=False).encode(), (("content-type", JSON), *headers))


def success(ids: Sequence[str], message: str = "received") -> Answer:
    """`{"status": "success", "message", "event_id"}`; of several events also `event_ids`. An event that has no id is
    null."""
    told: dict[str, Any] = {"status": "success", "message": message, "event_id": (ids[0] or None) if ids else None}
    if len(ids) != 1:
        told["event_ids"] = [one or None for one in ids]
    return Answer.of(told)


def failure(status: int, code: str, message: str, **more: Any) -> Answer:
    """`{"status": "error", "code", "message"}`, and what else is to be said."""
    return Answer.of({"status": "error", "code": code, "message": message, **more}, status)
