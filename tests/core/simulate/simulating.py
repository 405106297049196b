"""What the tests of simulated requests share: every sample there is, and one private key of each kind."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from hookline.core.simulate.catalogue import NAMES, provider_of, sample_of
from hookline.core.simulate.changes import UNCHANGED, Changes
from hookline.core.simulate.dice import Dice
from hookline.core.simulate.draft import KeyKind, Provider, Sample
from hookline.core.simulate.private_key import new_key
from hookline.core.simulate.simulation import Setting, Simulated, prepared, request
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Verdict

NOW_S = 1_760_000_000.25
SAMPLES = [(name, sample.type) for name in NAMES for sample in provider_of(name).samples]


@functools.cache
def private_key(kind: KeyKind | None) -> bytes:
    """One key of each kind; making an RSA key takes a second."""
    return b"" if kind is None else new_key(kind, Dice("the keys of the tests"))


def url_of(name: str) -> str:
    """Where a provider sends to."""
    return f"https://hooks.example.com/in/{name}?tenant=a%20b"


def known(name: str, event_type: str) -> tuple[Provider, Sample]:
    """A provider and one of its samples."""
    provider = provider_of(name)
    return provider, next(sample for sample in provider.samples if sample.type == event_type)


def setting_of(name: str, event_type: str, config: Mapping[str, Any] | None = None, seed: str = "setting") -> Setting:
    """A provider and a receiver that know each other."""
    provider = provider_of(name)
    key = private_key(sample_of(provider, event_type).key or provider.key)
    return prepared(name, event_type, config or {}, Dice(seed), url_of(name), key)


def simulated(
    setting: Setting, changes: Changes = UNCHANGED, *, now_s: float = NOW_S, seed: str = "request"
) -> Simulated:
    """One request."""
    return request(setting, now_s, Dice(seed), url_of(setting.provider.name), changes)


def judged(setting: Setting, sent: Simulated, *, now_s: float = NOW_S, **more: Any) -> Verdict:
    """What a receiver with the setting's configuration says of it."""
    return judge(preset(setting.provider.name), sent.inbound, setting.receiver | more, now_s)
