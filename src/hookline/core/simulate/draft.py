"""What a provider is to the simulation: its samples, how it signs, and what the receiver must be configured with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hookline.core.simulate.json_style import Style, compact
from hookline.core.simulate.template import Scene

KeyKind = Literal["rsa", "p256", "ed25519"]


class SimulationError(Exception):
    """What was asked for cannot be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A request on its way to being one. Headers have their names as the provider writes them."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header; empty where there is none."""
        return next((value for field, value in self.headers if field.lower() == name.lower()), "")

    def with_header(self, name: str, value: str) -> Draft:
        """The same with this header instead of those of the same name."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, value)))

    def with_body(self, body: bytes) -> Draft:
        """The same with this body."""
        return replace(self, body=body)


Sign = Callable[[Draft, Scene, bytes], Draft]
"""(request, scene, private key as PEM, empty where none is used) → the request with what proves its sender."""
ConfigOfKey = Callable[[bytes, Mapping[str, Any]], Mapping[str, Any]]
"""(private key, configuration) → what of the configuration is made of the key, where None is what the receiver must not
have."""
Tamper = Callable[[Draft], Draft]
"""A signed request → one that is no longer what was signed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the provider wants to hear."""

    body: str | Callable[[Scene], str] = ""
    """The answer's body must contain this: a template, or what makes it of the scene of the request."""
    header: str = ""
    """The answer must have a header of this name."""
    status: int = 0
    """Nothing but this status will do; 0: any of 200 to 299."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One kind of request."""

    type: str
    """In the provider's own words."""
    says: str
    """What has happened, in a few words."""
    data: str
    """The template of the payload: JSON, or text where the style is None."""
    known: Mapping[str, Any] = field(default_factory=dict)
    """Label → template of what is remembered before anything else is filled."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Templates of headers, besides those that all requests of the provider have; empty: this one does not have it."""
    query: str = ""
    """A template of what is added to the address, with its `?`."""
    method: str = "POST"
    content_type: str | None = None
    """None: the provider's usual one; empty: none."""
    style: Style | Literal["usual"] | None = "usual"
    """How its payload is written; None: the template is text."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What the receiver must be configured with for this one, and with nothing else."""
    needs: Mapping[str, Any] = field(default_factory=dict)
    """As the provider's `config`, for this one besides."""
    wanted: Wanted = Wanted()
    sign: Sign | None = None
    """None: as the provider usually does."""
    forged: tuple[str, ...] | None = None
    """None: as for the provider's others."""
    sealed: bool = False
    """Its signature is put inside the JSON, which can only be broken when it is there."""
    tamper: Tamper | None = None
    """None: as for the provider's others."""
    key: KeyKind | None = None
    """What kind of private key it is signed with, where the provider's others are not."""
    config_of_key: ConfigOfKey | None = None
    """None: as for the provider's others."""
    signs_time: bool | None = None
    """None: as for the provider's others."""
    proven: bool = True
    """Whether anything in it proves its sender; some questions are asked by anybody."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider."""

    name: str
    """As its preset is called."""
    samples: tuple[Sample, ...]
    sign: Sign
    config: Mapping[str, Any]
    """The receiver's configuration: key → template of a value that is made where none is given."""
    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Key of `config` → other keys: where one of these is given, it is not made."""
    credential: str = "secret"
    """The key that `--secret` is for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Templates of the headers of every request."""
    style: Style = compact
    content_type: str = "application/json"
    fragments: Mapping[str, str] = field(default_factory=dict)
    """Parts of payloads, by the name that templates call them by."""
    key: KeyKind | None = None
    """What kind of private key it signs with."""
    config_of_key: ConfigOfKey | None = None
    """What the receiver must know to verify it."""
    forged: tuple[str, ...] | Callable[[Mapping[str, Any]], tuple[str, ...]] = ()
    """Where the body is not signed: the keys of the configuration that a forger does not know; or what says so of a
    configuration."""
    signs_time: bool | Callable[[Mapping[str, Any]], bool] = True
    """Whether a request can be seen to be old; or what says so of a configuration."""
    limits_age: bool = True
    """Whether an old one is refused without more; else only where the receiver has a `tolerance_s`."""
    tamper: Tamper | None = None
