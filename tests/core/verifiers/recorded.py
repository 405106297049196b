"""The recorded deliveries of `vectors.json`, and what a preset says of a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hookline.core.reading import Item, events_of
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Fetch, Fetched, Refused, Verdict, Verified

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text(encoding="utf-8"))


class Recorded:
    """One of them, to be judged as it is or changed."""

    def __init__(self, provider: str) -> None:
        found = next(one for one in VECTORS if one["provider"] == provider)
        self.provider = provider
        self.config: dict[str, Any] = found["config"]
        self.now_s = float(found["now"])
        self.headers: dict[str, str] = found["headers"]
        self.body: bytes = found["body"].encode()
        self.url: str = found["url"]
        self.method: str = found["method"]
        self.expected = found

    def request(self, **changes: Any) -> Inbound:
        """It, with `method`, `url`, `body` changed, and of `headers` those that are given (None: left out)."""
        headers = dict(self.headers)
        for name, value in changes.pop("headers", {}).items():
            headers = {key: one for key, one in headers.items() if key.lower() != name.lower()}
            if value is not None:
                headers[name] = value
        return replace(Inbound.of(self.method, self.url, headers, self.body), **changes)

    def judged(self, request: Inbound | None = None, now_s: float | None = None, **config: Any) -> Verdict:
        """What the preset says; of `config` None takes a key away."""
        merged = {key: value for key, value in {**self.config, **config}.items() if value is not None}
        return said(self.provider, request or self.request(), merged, self.now_s if now_s is None else now_s)


def said(
    provider: str,
    request: Inbound,
    config: Mapping[str, Any],
    now_s: float,
    fetched: Mapping[str, Fetched] | None = None,
) -> Verdict:
    """What a preset says of a request."""
    return judge(preset(provider), request, config, now_s, fetched or {})


def settled(
    provider: str, request: Inbound, config: Mapping[str, Any], now_s: float, web: Mapping[str, Fetched]
) -> tuple[Verdict, list[Fetch]]:
    """The same, with everything that it asks for answered by `web`, URL → what is there; and what it asked for."""
    fetched: dict[str, Fetched] = {}
    asked: list[Fetch] = []
    for _ in range(10):
        verdict = said(provider, request, config, now_s, fetched)
        if not isinstance(verdict, Fetch):
            return verdict, asked
        assert verdict.name not in fetched, "asked twice for the same"
        asked.append(verdict)
        fetched[verdict.name] = web.get(verdict.url, Fetched(404, b""))
    raise AssertionError("it asks for ever")


def reason(verdict: Verdict) -> str:
    """Why it is refused; empty where it is not."""
    if isinstance(verdict, Refused):
        return verdict.reason
    return "" if isinstance(verdict, Verified) else type(verdict).__name__


def read(provider: str, request: Inbound) -> list[Item]:
    """The events that come of it."""
    return events_of(request, preset(provider).reading)
