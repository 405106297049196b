"""The one HMAC verifier: a row of parameters describes a provider."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.encoded import any_same, from_hex, key_from_base64
from hookline.core.verifiers.request_parts import Parts, Unproven
from hookline.core.verifiers.signed_message import DECODERS, Claim, SignedMessage

ALGORITHMS: Final = ("sha256", "sha1", "sha384", "sha512")
KEY_FORMS: Final = ("text", "hex", "base64")
SIGNATURE_CHARS_MAX: Final = 256
"""Of one that is looked at in short."""


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """How the message is signed with a shared secret. `prove` is a `Prove` of `request_parts`."""

    message: SignedMessage
    algorithm: str = "sha256"
    key: str = "text"
    """How the secret is written: its characters are the key, or hex or base64 of it."""
    key_prefix: str = ""
    """Before a secret of hex or base64; a secret without it is read all the same."""
    secret: str = "secret"  # noqa: S105 - the name of a key of the configuration
    variants: Callable[[str], tuple[str, ...]] | None = None
    """What else a configured secret may be as the provider has it."""

    def prove(self, parts: Parts, config: Config, now_s: float) -> str:
        """The configured secret that signed every message. Raises `Unproven` or `ConfigError`."""
        secrets = config.texts(self.secret)
        proven = self._plainly(secrets, parts)
        return self.prove_by(secrets, parts, config, now_s) if proven is None else proven

    def _plainly(self, secrets: Sequence[str], parts: Parts) -> str | None:
        """The same in short, where one header has one signature over the body, as most providers have it. None: it is
        not so, or not proven; then `prove_by` says what is wrong."""
        message, request = self.message, parts.request
        if not message.plain or self.key != "text" or self.variants is not None:
            return None
        written = request.header(message.signature.names[0])
        if written is None or len(written) > SIGNATURE_CHARS_MAX or not written.startswith(message.prefix):
            return None
        signature = DECODERS[message.encoding](written[len(message.prefix) :])
        if not signature:
            return None
        found = None
        for secret in secrets:  # all of them, so that the time does not tell which one it was
            if hmac.compare_digest(hmac.digest(secret.encode(), request.body, self.algorithm), signature):
                found = secret
        return found

    def prove_by(self, secrets: Sequence[str], parts: Parts, config: Config, now_s: float) -> str:
        """The same, by one of these secrets."""
        keys = [(secret, key) for secret in secrets for key in self._keys(secret)]
        proven = secrets[0]
        for claim in self.message.claims(parts, config):
            proven = self._secret_of(claim, keys)
            self.message.check_age(claim, config, now_s)
        return proven

    def check(self, config: Config) -> None:
        """Raise `ConfigError` where what is configured cannot be used; what is not configured is not missed."""
        config.seconds("tolerance_s", 0)
        for secret in config.texts(self.secret) if config.has(self.secret) else ():
            self._keys(secret)

    def _secret_of(self, claim: Claim, keys: Sequence[tuple[str, bytes]]) -> str:
        found = None
        for secret, key in keys:  # all of them, so that the time does not tell which one it was
            made = hmac.digest(key, claim.message, self.algorithm)
            if any_same(claim.signatures, (made,)):
                found = secret
        if found is None:
            raise Unproven("wrong_signature", "no signature is made with a configured secret over these bytes")
        return found

    def _keys(self, secret: str) -> tuple[bytes, ...]:
        if self.key == "text":
            others = () if self.variants is None else self.variants(secret)
            return tuple(one.encode() for one in (secret, *others))
        written = secret.removeprefix(self.key_prefix)
        key = from_hex(written) if self.key == "hex" else key_from_base64(written)
        if not key:
            raise ConfigError(self.secret, f"is not {self.key}")
        return (key,)
