"""Standard Webhooks and Svix: `v1` (HMAC-SHA256) and `v1a` (Ed25519) in one header; the key says which is tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.content import content
from hookline.core.verifiers.hmac_scheme import HmacScheme
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.public_key import PublicKeyScheme
from hookline.core.verifiers.request_parts import Parts, Unproven, verifier
from hookline.core.verifiers.signed_message import Fields, SignedMessage
from hookline.core.verifiers.timestamp import UNIX_DIGITS, Timestamp

PUBLIC: Final = ("whpk_", "whsk_")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class StandardWebhooks:
    """One set of the three headers: `{prefix}-id`, `{prefix}-timestamp`, `{prefix}-signature`."""

    prefix: str
    shared: HmacScheme
    public: PublicKeyScheme

    def prove(self, parts: Parts, config: Config, now_s: float) -> str:
        """The key that signed it: of `secret`, `whsec_…` (or its base64 alone) by HMAC and `whpk_…` by Ed25519, and
        `public_key`. Raises `Unproven` or `ConfigError`."""
        shared, public = _keys(config)
        if shared or not public:
            try:
                return self.prove_shared(shared, parts, config, now_s)
            except Unproven as error:
                # It may be signed with the other kind of key; whatever else is wrong with it stays wrong.
                if not public or error.refused.reason not in ("wrong_signature", "malformed_signature"):
                    raise
        self._check_id(parts)
        return self.public.prove_by(public, parts, config, now_s)

    def prove_shared(self, secrets: Sequence[str], parts: Parts, config: Config, now_s: float) -> str:
        """The one of these secrets that signed it by HMAC. Raises `Unproven` or `ConfigError`."""
        self._check_id(parts)
        return self.shared.prove_by(secrets or config.texts("secret"), parts, config, now_s)

    def check(self, config: Config) -> None:
        """Raise `ConfigError` for keys that cannot be used."""
        config.seconds("tolerance_s", 0)
        for key in ("secret", "public_key"):
            for written in config.texts(key) if config.has(key) else ():
                if key == "public_key" or written.startswith(PUBLIC):
                    replace(self.public, key=key).check(Config({key: written}))
                else:
                    self.shared.check(Config({key: written}))

    def came(self, parts: Parts) -> bool:
        """Whether all three headers are there."""
        return all(parts.request.all(f"{self.prefix}-{name}") for name in ("id", "timestamp", "signature"))

    def _check_id(self, parts: Parts) -> None:
        """Without a dot in the id nothing can be moved between the three signed parts."""
        found = parts.request.all(f"{self.prefix}-id")
        if len(found) != 1:
            raise Unproven("missing_signature", f"header:{self.prefix}-id is missing, or there more than once")
        if _ID.fullmatch(found[0]) is None:
            raise Unproven("malformed_signature", f"header:{self.prefix}-id is not 1 to 64 letters, digits, _ or -")


def _keys(config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The shared secrets, and the public keys."""
    public = config.texts("public_key") if config.has("public_key") else ()
    secrets = () if public and not config.has("secret") else config.texts("secret")
    shared = tuple(secret for secret in secrets if not secret.startswith(PUBLIC))
    return shared, public + tuple(secret for secret in secrets if secret.startswith(PUBLIC))


def _headers(prefix: str) -> StandardWebhooks:
    def message(version: str) -> SignedMessage:
        return SignedMessage(
            place(f"header:{prefix}-signature"),
            content(f"{{header:{prefix}-id}}.{{timestamp}}.{{body}}"),
            "base64",
            fields=Fields(" ", ",", version),
            timestamp=Timestamp(place(f"header:{prefix}-timestamp"), digits=UNIX_DIGITS),
            tolerance_s=300,
        )

    shared = HmacScheme(message("v1"), key="base64", key_prefix="whsec_")
    return StandardWebhooks(prefix, shared, PublicKeyScheme(message("v1a"), "ed25519"))


WEBHOOK: Final = _headers("webhook")
SVIX: Final = _headers("svix")


def _svix(parts: Parts, config: Config, now_s: float) -> str:
    """Svix sends both sets; its own counts where it is whole."""
    chosen = WEBHOOK if WEBHOOK.came(parts) and not SVIX.came(parts) else SVIX
    return chosen.prove(parts, config, now_s)


PRESETS: Final = (
    Preset(
        "standard_webhooks",
        "Standard Webhooks",
        verifier(WEBHOOK.prove),
        keys=("secret", "public_key", "tolerance_s"),
        reading=Reading(type="body:type", id="header:webhook-id", time="body:timestamp"),
        answer_within_s=15,
        # The schedule that the specification gives as an example takes 75 h and 35 min.
        retry_window_s=4 * DAY_S,
        check=WEBHOOK.check,
    ),
    Preset(
        "svix",
        "Svix",
        verifier(_svix),
        keys=("secret", "public_key", "tolerance_s"),
        reading=Reading(
            type="body:type|body:event_type|body:eventType",
            id="header:svix-id|header:webhook-id",
            time="body:timestamp",
        ),
        answer_within_s=15,
        retry_window_s=2 * DAY_S,
        check=SVIX.check,
    ),
)
