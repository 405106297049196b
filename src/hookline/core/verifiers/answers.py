"""Answers to the questions that providers ask about an address."""

from __future__ import annotations

import json
from typing import Any

from hookline.core.verifiers.verdict import Handshake


def json_answer(value: Any, *, status: int = 200) -> Handshake:
    """JSON, without blanks."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Handshake(status, body, (("content-type", "application/json"),))


def text_answer(text: str, *, status: int = 200) -> Handshake:
    """Text that came with the question. No browser may take it for anything else: who asked is not proven."""
    headers = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
    return Handshake(status, text.encode("utf-8", "replace"), headers)


def empty_answer(status: int = 200) -> Handshake:
    """A status alone."""
    return Handshake(status)
