"""CloudEvents over HTTP webhooks: the handshake with OPTIONS, and deliveries with an access token, in the header or in
the URL."""

from __future__ import annotations

import re
from typing import Final

from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Parts, Unproven, verifier
from hookline.core.verifiers.static_credential import StaticCredential
from hookline.core.verifiers.verdict import Handshake, Verdict

TOKEN: Final = StaticCredential(
    "authorization",
    bearer="yes",
    query="access_token",
    secret="access_token",  # noqa: S106 - the name of a key of the configuration
)
ANY: Final = "*"
_RATE: Final = re.compile(r"[1-9][0-9]{0,9}")


def _handshake(parts: Parts, config: Config) -> Verdict | None:
    """Whether this origin may send here, and how many a minute. The permission is in the headers; who may not gets
    none."""
    request = parts.request
    if request.method != "OPTIONS":
        return None
    origin = request.header("webhook-request-origin")
    if not origin:
        raise Unproven("unsupported", "an OPTIONS without one WebHook-Request-Origin", status=400)
    allowed = config.texts("allowed_origins")
    if ANY not in allowed and origin.lower() not in [one.lower() for one in allowed]:
        raise Unproven("wrong_credential", "WebHook-Request-Origin is not one of allowed_origins", status=403)
    headers = [("webhook-allowed-origin", ANY if ANY in allowed else origin), ("allow", "POST")]
    rate = _allowed_rate(config)
    if rate or request.all("webhook-request-rate"):
        headers.insert(1, ("webhook-allowed-rate", rate or ANY))
    return Handshake(200, b"", tuple(headers))


def _allowed_rate(config: Config) -> str:
    """Requests a minute, or `*`; empty: not configured."""
    written = config.values.get("allowed_rate")
    if written is None:
        return ""
    rate = str(written) if isinstance(written, int) and not isinstance(written, bool) else written
    if not isinstance(rate, str) or (rate != ANY and _RATE.fullmatch(rate) is None):
        raise ConfigError("allowed_rate", "must be a number of requests a minute, 1 or more, or *")
    return rate


def _check(config: Config) -> None:
    _allowed_rate(config)


PRESET: Final = Preset(
    "cloudevents",
    "CloudEvents webhooks",
    verifier(TOKEN.prove, ask=_handshake),
    keys=("access_token", "allowed_origins", "allowed_rate"),
    reading=Reading(
        # Binary, batch, structured. What tells events apart is their source and their id together.
        type="header:ce-type|item:type|body:type",
        id="{header:ce-source}#{header:ce-id}|{item:source}#{item:id}|{body:source}#{body:id}",
        subject="header:ce-subject|item:subject|body:subject",
        time="header:ce-time|item:time|body:time",
        split="body:",
    ),
    secrets=("access_token",),
    methods=("POST", "OPTIONS"),
    answer_within_s=30,
    retry_window_s=DAY_S,
    check=_check,
)
