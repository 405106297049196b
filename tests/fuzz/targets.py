"""The targets: what is fuzzed, by which check, and how inputs are changed. The tests and `make fuzz` share them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_lines

Check = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """One thing to fuzz. `form`: `bytes`, `lines` (of JSON), or `message` (a head, an empty line, a body)."""

    name: str
    what: str
    form: str

    def check(self) -> Check:
        """The check, imported only now: a coverage-guided run instruments what it imports."""
        found: Check = importlib.import_module(f"tests.fuzz.checks.{self.name}").check
        return found

    def mutate(self, dice: Random, data: bytes, words: tuple[str, ...] = (), other: bytes = b"") -> bytes:
        """Another input."""
        tokens = tuple(word.encode() for word in words)
        if self.form == "lines" and dice.random() < 0.9:
            return mutate_lines(dice, data, words, other)
        if self.form == "message" and dice.random() < 0.5:
            head, empty, body = data.partition(b"\n\n")
            return head + empty + mutate_json(dice, body, words, other.partition(b"\n\n")[2])
        return mutate_bytes(dice, data, tokens, other)


TARGETS = {
    target.name: target
    for target in (
        Target("front", "request parser: bytes on a connection, in any pieces", "bytes"),
        Target("publication", "publications, CloudEvents, and what is sent of them", "message"),
        Target("answer", "answer parser: bytes of a receiver, in any pieces", "bytes"),
        Target("filters", "filters over events", "lines"),
        Target("proofs", "signatures and secrets", "bytes"),
        Target("schemas", "JSON Schemas over payloads", "lines"),
        Target("configuration", "endpoints, retries, keys, tenants, replays, merge patches", "lines"),
        Target("verifiers", "inbound webhooks of every provider, and schemes of one's own", "message"),
        Target("texts", "URLs, addresses, times, cursors, headers, event streams", "bytes"),
    )
}
