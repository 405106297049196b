"""The keys that the configurations of presets have, and what each takes: judged when a source is made.

Nothing is missed then: every key is optional until a request needs it. A key that some other preset has is let be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.preset import Preset

Read = Callable[[Config, str], object]


def _text(config: Config, key: str) -> object:
    return config.text(key)


def _texts(config: Config, key: str) -> object:
    return config.texts(key)


def _texts_or_none(config: Config, key: str) -> object:
    return config.texts(key) if config.values[key] else ()


def _table(config: Config, key: str) -> object:
    return config.table(key)


def _seconds(config: Config, key: str) -> object:
    return config.seconds(key, 0)


def _rate(config: Config, key: str) -> object:
    """Its preset looks closer."""
    value = config.values[key]
    return value if isinstance(value, int) and not isinstance(value, bool) else config.text(key)


def _choice(*choices: str) -> Read:
    return lambda config, key: config.choice(key, "", choices)


KNOWN: Final[Mapping[str, Read]] = {
    "access_token": _texts,
    "allowed_origins": _texts,
    "allowed_rate": _rate,
    "audience": _texts,
    "auth_token": _texts,
    "base_url": _text,
    "certs": _table,
    "client_id": _text,
    "client_key": _text,
    "client_secret": _text,
    "client_state": _texts,
    "environment": _choice("live", "sandbox"),
    "header": _text,
    "hmac_key": _texts,
    "intermediates": _texts_or_none,
    "leeway": _seconds,
    "merchant_id": _text,
    "mode": _text,
    "notification_url": _text,
    "organization_id": _texts,
    "password": _texts,
    "private_key": _texts,
    "public_key": _texts,
    "secret": _texts,
    "service_account_email": _texts,
    "service_key": _texts,
    "shared_secret": _texts,
    "signature_version": _choice("v1", "v2", "v3"),
    "tolerance_s": _seconds,
    "topic_arn": _texts,
    "trusted_roots": _texts,
    "username": _text,
    "verify_token": _texts,
    "webhook_id": _text,
}


def needs(preset: Preset, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a configuration: each a key and why, without its value; empty where nothing is."""
    found: list[tuple[str, str]] = []
    read = Config(config)
    for key, value in config.items():
        if key not in preset.keys and key not in KNOWN:
            found.append((key, f"is not a key of this verifier; it has {', '.join(preset.keys) or 'none'}"))
        elif key in preset.keys and value is not None:
            found += _wrong(preset, read, key)
    if not found and preset.check is not None:
        try:
            preset.check(read)
        except ConfigError as error:
            found.append((error.key, str(error).removeprefix(f"{error.key} ")))
    return found


def _wrong(preset: Preset, config: Config, key: str) -> list[tuple[str, str]]:
    read = _choice(*preset.modes) if key == "mode" and preset.modes else KNOWN.get(key)
    try:
        if read is not None:
            read(config, key)
    except ConfigError as error:
        return [(key, str(error).removeprefix(f"{key} "))]
    return []
