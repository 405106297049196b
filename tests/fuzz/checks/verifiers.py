"""Verifiers of inbound webhooks, and what is read of their requests. The first line of the head is a JSON document
(`preset` or `scheme`, `config`, `now`, `method`, `url`), the other lines are headers, the rest is the body.

What must hold: every preset, and every scheme that is taken, gives a verdict, the same again, and never a defect of
ours; a request that is proven by a signature over its body is not with one changed bit; its events can be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hookline.core.reading import TooManyItems, events_of
from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.custom import custom, needs
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.preset import Preset
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import REASONS, Fetch, Handshake, Refused, Verified

COVERED = frozenset(
    {
        "stripe",
        "paddle",
        "calendly",
        "square",
        "razorpay",
        "github",
        "jira",
        "bitbucket",
        "meta",
        "whatsapp",
        "intercom",
    }
    | {"shopify", "woocommerce", "docusign", "dropbox", "typeform", "xero", "quickbooks", "slack", "zoom", "linear"}
    | {"standard_webhooks", "svix", "discord", "sendgrid", "zendesk"}
)
"""Presets whose signature is always over the whole body."""


def check(data: bytes) -> None:
    """Raise unless the request is judged as it must be."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    asked = document(first)
    found = preset_of(asked)
    if found is None:
        return
    config, now = asked.get("config"), asked.get("now")
    now_s = float(now) if isinstance(now, int | float) and abs(now) < 1e300 else 0.0
    method, url = (str(asked.get(name, "")) for name in ("method", "url"))
    pairs = [(name, value) for name, _, value in (line.partition(":") for line in lines)]
    request = Inbound.of(method, url, pairs, body)
    judged(found, request, config if isinstance(config, dict) else {}, now_s)


def document(line: str) -> dict[str, Any]:
    """The first line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def preset_of(asked: Mapping[str, Any]) -> Preset | None:
    """The preset or scheme that is asked for; None where there is none."""
    scheme = asked.get("scheme")
    try:
        return custom(scheme) if isinstance(scheme, dict) else preset(str(asked.get("preset")))
    except KeyError:
        return None
    except ConfigError as error:
        assert isinstance(scheme, dict)
        assert len(str(error)) > len(error.key) + 1
        return None


def judged(found: Preset, request: Inbound, config: dict[str, Any], now_s: float) -> None:
    """Raise unless there is a sound verdict."""
    verdict = judge(found, request, config, now_s)
    assert verdict == judge(found, request, config, now_s)
    assert isinstance(verdict, Verified | Refused | Handshake | Fetch)
    if isinstance(verdict, Refused):
        assert verdict.reason in REASONS
        assert verdict.reason != "defect", verdict.detail
        assert 400 <= verdict.status < 500
    if isinstance(verdict, Verified) and found.name in COVERED and request.body and request.method == "POST":
        changed = bytearray(request.body)
        changed[len(changed) // 2] ^= 1
        other = Inbound(request.method, request.url, request.headers, bytes(changed))
        assert not isinstance(judge(found, other, config, now_s), Verified | Handshake)
    for key, why in needs(found, config):
        assert isinstance(key, str)
        assert why
    try:
        assert all(item.type for item in events_of(request, found.reading))
    except TooManyItems:
        pass  # they are too many
