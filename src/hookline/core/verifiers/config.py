"""The configuration of a verifier: a JSON object, read key by key, each with what is wrong with it said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

TEXT_CHARS_MAX: Final = 16_384
SECRETS_MAX: Final = 16


class ConfigError(Exception):
    """A key of the configuration is missing or cannot be used. `key` is which; the text says why, without its value."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key} {why}")
        self.key = key


class Config:
    """Reads one. Nothing is asked of it until a request needs it: every key is optional."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def text(self, key: str) -> str:
        """A text of any length but zero. Raises `ConfigError` where it is missing or not one."""
        value = self.values.get(key)
        if value is None:
            raise ConfigError(key, "is needed for this request and not configured")
        return _text(key, value)

    def text_or(self, key: str, default: str) -> str:
        """The same, or `default` where it is missing."""
        return default if self.values.get(key) is None else self.text(key)

    def has(self, key: str) -> bool:
        """Whether it is configured."""
        return self.values.get(key) is not None

    def texts(self, key: str) -> tuple[str, ...]:
        """One text or a list of them (a secret while it is changed, allowed origins). Raises `ConfigError`."""
        value = self.values.get(key)
        if not isinstance(value, list | tuple):
            return (self.text(key),)
        if not 0 < len(value) <= SECRETS_MAX:
            raise ConfigError(key, f"must be one text or a list of 1 to {SECRETS_MAX}")
        return tuple(_text(key, item) for item in value)

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """One of several words. Raises `ConfigError`."""
        value = self.values.get(key)
        if value is None:
            return default
        if value not in choices:
            raise ConfigError(key, f"must be one of {', '.join(choices)}")
        return str(value)

    def seconds(self, key: str, default: float) -> float:
        """A number of seconds, 0 or more. Raises `ConfigError`."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(key, "must be a number of seconds, 0 or more")
        return float(value)

    def table(self, key: str) -> Mapping[str, str]:
        """An object of texts (URL → PEM, kid → PEM); empty where it is missing. Raises `ConfigError`."""
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ConfigError(key, "must be an object of texts")
        return {str(name): _text(key, item) for name, item in value.items()}


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX:
        raise ConfigError(key, f"must be a text of 1 to {TEXT_CHARS_MAX} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(key, "has a lone surrogate") from None
    return value
