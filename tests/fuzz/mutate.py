"""Changes of valid inputs: bytes as a broken wire or an attacker changes them, JSON as an attacker writes it.

The same changes serve the tests (a seed of Hypothesis), the generated requests (a seed that is printed) and the
coverage-guided targets (a seed of libFuzzer's).
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 5e-324, 1e308, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400,
    "", " ", "\0", "\x7f", "\x85", "\ud800", "\udc00\ud800", "\U0001f600", "\u202e", "a\r\nb: c", "x" * 300, "x" * 3000,
    "__proto__", "$ref", "../..", "%00", "*", "order.*", "hookline.x", "order.created", "localhost", "127.0.0.1",
    "http://0x7f.1/", "https://[::1]/", "https://receiver.example/x", "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:60-23:59", "2030-01-01T00:00:00Z", "ep_", "evt_" + "0" * 24, "5xx", "410", "500-400",
    [], {}, [[]], {"": None}, {"$ref": "data"}, {"$not": {}}, {"retry": {"schedule_s": [0]}},
)  # fmt: skip
DEEP = 140


def mutate_bytes(dice: Random, data: bytes, tokens: tuple[bytes, ...] = (), other: bytes = b"") -> bytes:
    """`data` after one to four changes. `tokens` are put in, and pieces of `other`."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randint(0, len(changed))
        kind = dice.randrange(8)
        end = min(len(changed), at + dice.choice((1, 1, 2, 8, 40)))
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = dice.choice((0, 9, 10, 13, 32, 34, 37, 44, 45, 47, 48, 58, 92, 123, 127, 128, 255))
        elif kind == 2:
            changed[at:at] = bytes(dice.randrange(256) for _ in range(dice.choice((1, 1, 3))))
        elif kind == 3:
            del changed[at:end]
        elif kind == 4:
            changed[at:at] = changed[at:end] * dice.choice((1, 1, 3, 30))
        elif kind == 5 and tokens:
            changed[at : dice.choice((at, end))] = dice.choice(tokens)
        elif kind == 6 and other:
            start = dice.randrange(len(other))
            changed[at:end] = other[start : start + dice.choice((1, 4, 16, 64))]
        else:
            del changed[at:]
    return bytes(changed)


def mutate_json(dice: Random, text: bytes, tokens: tuple[str, ...] = (), other: bytes = b"") -> bytes:
    """JSON `text` after one to three changes of its values; bytes are changed where it is no JSON."""
    try:
        value = json.loads(text)
        graft = json.loads(other) if other else None
    except (ValueError, RecursionError):
        return mutate_bytes(dice, text)
    for _ in range(dice.choice((1, 1, 2, 3))):
        value = _changed(dice, value, tokens, graft)
    return json.dumps(value, ensure_ascii=dice.random() < 0.7).encode("utf-8", "surrogatepass")


def _changed(dice: Random, value: Any, tokens: tuple[str, ...], graft: Any) -> Any:
    if isinstance(value, dict | list) and value and dice.random() < 0.8:
        keys: Any = list(value) if isinstance(value, dict) else range(len(value))
        key = dice.choice(keys)
        changed: Any = dict(value) if isinstance(value, dict) else list(value)
        kind = dice.randrange(10)
        if kind == 0:
            del changed[key]
        elif kind == 1 and isinstance(changed, dict):
            changed[_name(dice, tokens)] = changed.pop(key)
        elif kind == 2 and isinstance(changed, dict):
            changed[_name(dice, tokens)] = _some(dice, tokens, graft)
        elif kind == 3 and isinstance(changed, list):
            changed[key:key] = [changed[key]] * dice.choice((1, 2, 30))
        else:
            changed[key] = _changed(dice, changed[key], tokens, graft)
        return changed
    kind = dice.randrange(6)
    if kind == 0:
        return [value]
    if kind == 1:
        return {_name(dice, tokens): value}
    if kind == 2 and dice.random() < 0.1:
        for _ in range(DEEP):
            value = [value]
        return value
    return _some(dice, tokens, graft)


def _name(dice: Random, tokens: tuple[str, ...]) -> str:
    odd = ("", "\0", "a.b", "data", "\ud800", "x" * 70)
    return dice.choice(tokens) if tokens and dice.random() < 0.8 else dice.choice(odd)


def _some(dice: Random, tokens: tuple[str, ...], graft: Any) -> Any:
    kind = dice.random()
    if kind < 0.25 and tokens:
        return dice.choice(tokens)
    if kind < 0.45 and graft is not None:
        return _piece(dice, graft)
    return dice.choice(HOSTILE)


def _piece(dice: Random, value: Any) -> Any:
    while isinstance(value, dict | list) and value and dice.random() < 0.6:
        value = dice.choice(list(value.values()) if isinstance(value, dict) else value)
    return value


def mutate_lines(dice: Random, data: bytes, tokens: tuple[str, ...] = (), other: bytes = b"") -> bytes:
    """Lines of JSON, one of them changed."""
    lines = data.split(b"\n")
    others = other.split(b"\n")
    at = dice.randrange(len(lines))
    lines[at] = mutate_json(dice, lines[at], tokens, dice.choice(others))
    return b"\n".join(lines)
