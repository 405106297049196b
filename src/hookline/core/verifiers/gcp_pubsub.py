"""Google Cloud Pub/Sub push: an OpenID token of Google's for this audience and from this service account.

Any Google account can have a subscription of its own push to any address, with a good token: only the audience and the
account's address say whose it is, so both must be configured. The body is not covered by anything.

Cloud Storage notifications come this way: their `eventType` (`OBJECT_FINALIZE`) is an attribute of the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.core.verifiers import jwt, jwt_keys
from hookline.core.verifiers.bearer import bearer_token, leeways
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import any_same_text
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetch, Fetched, Verdict, Verified

CERTS: Final = "google-certs"
CERTS_URL: Final = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS: Final = ("https://accounts.google.com", "accounts.google.com")


def verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether Pub/Sub pushed it for the configured audience, as the configured service account."""
    try:
        return _verify(request, config, now_s, fetched)
    except Unproven as error:
        return error.refused


def _verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    token = jwt.read(bearer_token(request))
    leeway_s, early_s = leeways(config)
    audiences, accounts = config.texts("audience"), config.texts("service_account_email")
    expected = jwt.Expected(ISSUERS, audiences, leeway_s=leeway_s, early_s=early_s, issued=True)
    # Before anything is fetched: what is said is cheaper to judge than who says it.
    jwt.check_claims(token.claims, expected, now_s)
    email = token.claims.get("email")
    if token.claims.get("email_verified") is not True or not isinstance(email, str):
        raise Unproven("wrong_recipient", "the token has no verified email")
    if not any_same_text(email, accounts):
        raise Unproven("wrong_recipient", "the token's email is not service_account_email")
    if token.kid is None:
        raise Unproven("untrusted_key", "the token names no key, as Google's always do")
    if config.has("certs"):
        keys = jwt_keys.configured("certs", config.table("certs"))
    else:
        found = jwt_keys.fetched_keys(fetched, CERTS, CERTS_URL, token.kid, jwt_keys.keys_of_pem_map)
        if isinstance(found, Fetch):
            return found
        keys = found
    jwt.check_signature(token, keys, ("RS256",))
    return Verified(facts={"email": email})


PRESET: Final = Preset(
    name="gcp_pubsub",
    title="Google Cloud Pub/Sub",
    verify=verify,
    keys=("audience", "service_account_email", "certs", "leeway"),
    secrets=(),
    # An unwrapped message is the body itself, its attributes and metadata are headers (where that is switched on).
    reading=Reading(
        type="body:message.attributes.eventType|body:message.attributes.ce-type|body:message.attributes.event_type"
        "|body:message.attributes.type|header:eventtype|header:ce-type|header:event_type",
        id="body:message.messageId|body:message.message_id|header:x-goog-pubsub-message-id",
        subject="body:message.attributes.objectId|body:message.orderingKey|header:objectid"
        "|header:x-goog-pubsub-ordering-key",
        time="body:message.attributes.eventTime|body:message.publishTime|header:eventtime"
        "|header:x-goog-pubsub-publish-time",
        default_type="message",
    ),
    retry_window_s=7 * DAY_S,
    check=jwt_keys.check_certs,
)
