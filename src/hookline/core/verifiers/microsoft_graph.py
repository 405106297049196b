"""Microsoft Graph change notifications: every item carries the `clientState` that the subscription was made with; with
resource data there are tokens of the Microsoft identity platform besides.

One item with another `clientState` refuses the whole request: nothing is signed, so who sends one forged item beside a
good one has no proof at all. With `audience` configured (the app's id), a request with encrypted resource data must
have the tokens, and every one that is there must be good. Resource data stays encrypted: its receiver has the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from hookline.core.verifiers import jwt, jwt_keys
from hookline.core.verifiers.bearer import leeways
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import any_same_text
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.json_body import BodyError, parse_object
from hookline.core.verifiers.preset import Preset, Reading, Reply
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetch, Fetched, Handshake, Refused, Verdict, Verified

KEYS: Final = "microsoft-keys"
KEYS_URL: Final = "https://login.microsoftonline.com/common/discovery/v2.0/keys"
GRAPH: Final = "0bf30f3b-4a52-48df-9a82-234910c4a086"
"""The app that makes the tokens: Graph's change notifications."""
ITEMS_MAX: Final = 10_000
TOKENS_MAX: Final = 100
TTL_S_MAX: Final = 2 * 86_400.0
QUESTION_CHARS_MAX: Final = 4096
_GUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ISSUER: Final = re.compile(rf"https://(?:login\.microsoftonline\.com/({_GUID})/v2\.0|sts\.windows\.net/({_GUID})/)")


def verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether Graph sent it for the configured subscriptions; or the answer to its question about this address."""
    try:
        asked = request.query_all("validationToken")
        if asked and not request.body.strip():
            return _answered(asked)
        return _verify(request, config, now_s, fetched)
    except Unproven as error:
        return error.refused


def _answered(asked: list[str]) -> Verdict:
    if len(asked) != 1 or len(asked[0]) > QUESTION_CHARS_MAX:
        return Refused("malformed_signature", "validationToken is there more than once, or too long")
    # Anybody may ask, and choose the text: as plain text it does nothing in a browser.
    body = asked[0].encode("utf-8", "replace")
    return Handshake(200, body, (("content-type", "text/plain"), ("x-content-type-options", "nosniff")))


def _verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    try:
        body = parse_object(request.body)
    except BodyError as error:
        return Refused("malformed_body", str(error))
    items = body.get("value")
    if not isinstance(items, list) or not 0 < len(items) <= ITEMS_MAX:
        return Refused("malformed_body", f"value is not a list of 1 to {ITEMS_MAX} items")
    states = config.texts("client_state")
    for item in items:
        _check_state(item, states)
    if not config.has("audience"):
        return Verified()
    tokens = body.get("validationTokens")
    if tokens is None and not any(item.get("encryptedContent") for item in items):
        return Verified()
    if not isinstance(tokens, list) or not 0 < len(tokens) <= TOKENS_MAX:
        return Refused("missing_signature", f"validationTokens is not a list of 1 to {TOKENS_MAX} tokens")
    for token in tokens:
        wanted = _check_token(token, config, now_s, fetched)
        if wanted is not None:
            return wanted
    return Verified()


def _check_state(item: Any, states: tuple[str, ...]) -> None:
    state = item.get("clientState") if isinstance(item, dict) else None
    if not isinstance(state, str):
        raise Unproven("missing_signature", "an item has no clientState")
    if not any_same_text(state, states):
        raise Unproven("wrong_credential", "clientState of an item is not client_state")


def _check_token(text: Any, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Fetch | None:
    if not isinstance(text, str):
        raise Unproven("malformed_signature", "a validation token is not a text")
    token = jwt.read(text)
    leeway_s, early_s = leeways(config)
    expected = jwt.Expected((), config.texts("audience"), leeway_s, early_s, TTL_S_MAX)
    jwt.check_claims(token.claims, expected, now_s)
    issuer, tenant = token.claims.get("iss"), token.claims.get("tid")
    found = _ISSUER.fullmatch(issuer) if isinstance(issuer, str) else None
    if found is None or tenant not in (None, found[1] or found[2]):
        raise Unproven("wrong_recipient", "a validation token is not Microsoft's (iss)")
    # Tokens of version 1 call it appid, those of version 2 azp.
    if token.claims.get("appid", token.claims.get("azp")) != GRAPH:
        raise Unproven("wrong_recipient", "a validation token was not made by Graph (appid)")
    if config.has("certs"):
        keys = jwt_keys.configured("certs", config.table("certs"))
    else:
        wanted = jwt_keys.fetched_keys(fetched, KEYS, KEYS_URL, token.kid, jwt_keys.keys_of_set)
        if isinstance(wanted, Fetch):
            return wanted
        keys = wanted
    jwt.check_signature(token, keys, ("RS256",))
    return None


PRESET: Final = Preset(
    name="microsoft_graph",
    title="Microsoft Graph",
    verify=verify,
    keys=("client_state", "audience", "certs", "leeway"),
    secrets=("client_state",),
    # Without an id nothing is a repeat: two changes of one resource may look alike.
    reading=Reading(
        split="body:value",
        type="item:changeType|item:lifecycleEvent",
        id="item:id",
        subject="item:resource",
    ),
    reply=Reply(status=202),
    answer_within_s=3.0,
    retry_window_s=4 * 3600.0,
    check=jwt_keys.check_certs,
)
