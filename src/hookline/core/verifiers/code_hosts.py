"""GitHub, GitLab, Bitbucket, Jira and Linear: rows of the table."""

from __future__ import annotations

from typing import Final

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.content import content
from hookline.core.verifiers.hmac_scheme import HmacScheme
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Parts, verifier
from hookline.core.verifiers.rows import HOUR_S, hmac_of_body
from hookline.core.verifiers.signed_message import SignedMessage
from hookline.core.verifiers.standard_webhooks import WEBHOOK
from hookline.core.verifiers.static_credential import check_header
from hookline.core.verifiers.timestamp import Timestamp

# The older X-Hub-Signature (sha1) comes too and is never looked at.
GITHUB: Final = hmac_of_body("x-hub-signature-256", prefix="sha256=")
WEBSUB: Final = hmac_of_body("x-hub-signature", prefix="sha256=")
LINEAR: Final = HmacScheme(
    SignedMessage(
        place("header:linear-signature"),
        content("{body}"),
        timestamp=Timestamp(place("body:webhookTimestamp"), unit="ms", number=True),
        tolerance_s=60,
    )
)
SIGNING_PREFIX: Final = "whsec_"


def _gitlab(parts: Parts, config: Config, now_s: float) -> str:
    """By `mode`; without one, signing tokens are known by how they are written, and then a secret token is not enough:
    what proves a sender is for the configuration to say, not for the request."""
    secrets = config.texts("secret")
    signing = tuple(secret for secret in secrets if secret.startswith(SIGNING_PREFIX))
    mode = config.choice("mode", "signing_token" if signing else "token", GITLAB_MODES)
    if mode == "token":
        return check_header(parts, "x-gitlab-token", secrets)
    return WEBHOOK.prove_shared(signing or secrets, parts, config, now_s)


def _check_gitlab(config: Config) -> None:
    if config.choice("mode", "", ("", *GITLAB_MODES)) == "signing_token":
        WEBHOOK.check(config)


GITLAB_MODES: Final = ("token", "signing_token")

PRESETS: Final = (
    Preset(
        "github",
        "GitHub",
        verifier(GITHUB.prove),
        keys=("secret",),
        reading=Reading(
            type="{header:x-github-event}.{body:action|form:payload>json.action?}",
            id="header:x-github-delivery",
            subject="body:repository.full_name|form:payload>json.repository.full_name",
        ),
        # Nothing is repeated by itself, but a person can have a delivery of the last three days sent again.
        retry_window_s=3 * DAY_S,
        never_retries=True,
        check=GITHUB.check,
    ),
    Preset(
        "gitlab",
        "GitLab",
        verifier(_gitlab),
        keys=("secret", "mode", "tolerance_s"),
        reading=Reading(
            type="header:x-gitlab-event|body:object_kind",
            id="header:idempotency-key|header:webhook-id|header:x-gitlab-event-uuid",
            subject="body:project.path_with_namespace",
        ),
        modes=GITLAB_MODES,
        check=_check_gitlab,
    ),
    Preset(
        "bitbucket",
        "Bitbucket Cloud",
        verifier(WEBSUB.prove),
        keys=("secret",),
        reading=Reading(type="header:x-event-key", id="header:x-request-uuid", subject="body:repository.full_name"),
        retry_window_s=HOUR_S,
        check=WEBSUB.check,
    ),
    Preset(
        "jira",
        "Jira Cloud",
        verifier(WEBSUB.prove),
        keys=("secret",),
        reading=Reading(
            type="body:webhookEvent",
            id="header:x-atlassian-webhook-identifier",
            subject="body:issue.key",
            time="body:timestamp",
        ),
        answer_within_s=30,
        retry_window_s=2 * HOUR_S,
        check=WEBSUB.check,
    ),
    Preset(
        "linear",
        "Linear",
        verifier(LINEAR.prove),
        keys=("secret", "tolerance_s"),
        reading=Reading(
            type="header:linear-event|body:type",
            id="header:linear-delivery",
            subject="body:data.identifier|body:data.id",
            time="body:createdAt",
        ),
        answer_within_s=5,
        check=LINEAR.check,
    ),
)
