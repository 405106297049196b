"""Which verifier a source means, and what of its configuration is secret.

A verifier is a preset's name, `none` (only where somebody says so), or an object: one's own scheme in the same
parameters (`core.verifiers.custom`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.core.broker_source import broker_config, broker_preset
from hookline.core.errors import Refusal
from hookline.core.json_text import cut, pointer
from hookline.core.secret import MASK
from hookline.core.verifiers import presets
from hookline.core.verifiers.config import SECRETS_MAX, ConfigError
from hookline.core.verifiers.custom import custom, needs
from hookline.core.verifiers.preset import Preset

CODE: Final = "invalid_source"
NONE: Final = "none"
_SECRET_WORDS: Final = ("secret", "password", "token", "private_key", "hmac_key", "client_state", "service_key")

Verifier = str | dict[str, Any]


def preset_for(kind: str, verifier: Verifier | None) -> Preset:
    """The preset of a source of this kind: its verifier's, or the broker's. Raises `Refusal` with a pointer."""
    return preset_of(verifier or "") if kind == "http" else broker_preset(kind)


def check_source_config(kind: str, preset: Preset, config: Mapping[str, Any]) -> None:
    """Raise `Refusal` with a pointer for what the verifier or the broker of a source cannot use."""
    if kind == "http":
        check_config(preset, config)
    else:
        broker_config(kind, config)


def preset_of(verifier: Verifier) -> Preset:
    """The preset that a source's `verifier` means. Raises `Refusal` with a pointer."""
    if isinstance(verifier, dict):
        return _custom(verifier)
    if verifier == NONE:
        return _custom({"scheme": NONE})
    try:
        return presets.preset(verifier)
    except KeyError:
        detail = (
            f"There is no verifier {cut(verifier, 64)!r}: GET /v1/source-presets lists them; an object is one's own."
        )
        raise Refusal(CODE, detail, pointer="/verifier") from None


def _custom(verifier: dict[str, Any]) -> Preset:
    try:
        return custom(verifier)
    except ConfigError as error:
        raise Refusal(CODE, f"The scheme cannot be used: {error}.", pointer="/verifier" + pointer(error.key)) from None


def proves_nothing(verifier: Verifier | None) -> bool:
    """Whether anybody who knows the address is believed."""
    if verifier is None:
        return False
    return verifier == NONE if isinstance(verifier, str) else verifier.get("scheme") == NONE


def check_config(preset: Preset, config: Mapping[str, Any]) -> None:
    """Raise `Refusal` with a pointer for a key that the verifier does not know, or whose value it cannot use. Nothing
    is required: what a request needs and is not there refuses that request."""
    for key, why in needs(preset, config):
        raise Refusal(CODE, f"{key} {why}.", pointer="/config" + pointer(key))


# ------------------------------------------------------------------------------------------------------- secrets


def is_secret(preset: Preset, key: str) -> bool:
    """Whether a member of `config` is sealed in the store and never shown."""
    return key in preset.secrets or any(word in key for word in _SECRET_WORDS)


def secrets_of(preset: Preset, config: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The secret members of a created or patched `config`: its own, or those `stored` where it has them masked.

    Within a list the mask stands for all that are stored: `["new", "***"]` adds one, so that both are valid while it
    is changed at the provider. Raises `Refusal` where it stands for nothing.
    """
    for key, value in config.items():
        if value == MASK and not is_secret(preset, key):
            raise _stands_for_nothing(key)
    return {key: _unmasked(key, value, stored.get(key)) for key, value in config.items() if is_secret(preset, key)}


def _stands_for_nothing(key: str) -> Refusal:
    detail = f"{MASK} is what is shown in place of a secret: send the real one."
    return Refusal(CODE, detail, pointer="/config" + pointer(key))


def _unmasked(key: str, value: Any, stored: Any) -> Any:
    if value != MASK and not (isinstance(value, list) and MASK in value):
        return value
    if stored is None:
        raise _stands_for_nothing(key)
    if not isinstance(value, list):
        return stored
    found: list[Any] = []
    for one in value:
        found += (stored if isinstance(stored, list) else [stored]) if one == MASK else [one]
    unique = [one for place, one in enumerate(found) if one not in found[:place]]
    if len(unique) > SECRETS_MAX:
        raise Refusal(CODE, f"At most {SECRETS_MAX} are valid at once.", pointer="/config" + pointer(key))
    return unique


def masked(preset: Preset, config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as it may be stored in the clear and shown."""
    return {key: MASK if is_secret(preset, key) else value for key, value in config.items()}


def credential_headers(verifier: Verifier, config: Mapping[str, Any]) -> frozenset[str]:
    """Lower-case names of the headers in which this verifier finds a credential as it is."""
    named = (config.get("header"), verifier.get("header") if isinstance(verifier, dict) else None)
    return frozenset(name.lower() for name in named if isinstance(name, str))
