"""The way in: a provider, a type, the receiver's configuration, time and chance → a request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from hookline.core.simulate.catalogue import provider_of, sample_of
from hookline.core.simulate.changes import (
    STALE_S,
    UNCHANGED,
    Changes,
    as_xml,
    broken,
    changed_body,
    forged,
    padded,
    with_members,
)
from hookline.core.simulate.dice import Dice
from hookline.core.simulate.draft import Draft, Provider, Sample, SimulationError, Wanted
from hookline.core.simulate.json_style import FORMS, Style
from hookline.core.simulate.private_key import new_key
from hookline.core.simulate.template import Scene
from hookline.core.simulate.token_signing import as_header
from hookline.core.verifiers.inbound import Inbound

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SENDABLE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Setting:
    """A provider and the receiver that it knows: what stays the same from one request to the next."""

    provider: Provider
    sample: Sample
    config: Mapping[str, Any]
    """All that the sender knows: the receiver's configuration, and secrets that the receiver has not."""
    made: tuple[str, ...]
    """Keys of `receiver` that were not given but made."""
    key: bytes = b""
    """The private key that is signed with."""

    @property
    def receiver(self) -> dict[str, Any]:
        """What the receiver must be configured with to verify it."""
        config = dict(self.config)
        for name, value in _of_key(self.provider, self.sample, self.key, config).items():
            if not _covers(config.get(name), value) or value is None:
                config[name] = value
        return {name: value for name, value in config.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Simulated:
    """A request ready to be sent. Headers have their names as the provider writes them."""

    method: str
    url: str
    """Where to send it."""
    signed_url: str
    """The same as the provider knows it: what signatures over an address are over."""
    headers: tuple[tuple[str, str], ...]
    body: bytes
    wanted: Wanted

    @property
    def inbound(self) -> Inbound:
        """As a verifier sees it."""
        return Inbound.of(self.method, self.signed_url, self.headers, self.body)


def prepared(name: str, event_type: str, config: Mapping[str, Any], dice: Dice, url: str, key: bytes = b"") -> Setting:
    """What requests of a provider are made with. What `config` lacks is made; so is the private key, where the
    provider signs with one and `key` is empty. Raises `SimulationError`."""
    provider = provider_of(name)
    sample = sample_of(provider, event_type)
    for setting, value in sample.config.items():
        if config.get(setting, value) != value:
            raise SimulationError(
                f"{name} sends {sample.type} where {setting} is {value!r}, and it is configured as {config[setting]!r}"
            )
    kind = sample.key or provider.key
    if kind is not None and not key:
        key = new_key(kind, dice.fork("key"))
    known = {setting: value for setting, value in config.items() if value is not None}
    scene = Scene(0, dice.fork("config"), url, known)
    for setting, template in {**provider.config, **sample.needs, **sample.config}.items():
        if setting not in known and not any(known.get(other) for other in provider.instead.get(setting, ())):
            known[setting] = scene.value(template, {})
    for setting, value in _of_key(provider, sample, key, known).items():
        if setting in config and not _covers(config[setting], value):
            raise SimulationError(
                f"the configured {setting} is not that of the private key: give the one it belongs to"
            )
    found = Setting(provider, sample, known, (), key)
    return replace(found, made=tuple(name for name in found.receiver if name not in config))


def _of_key(provider: Provider, sample: Sample, key: bytes, config: Mapping[str, Any]) -> Mapping[str, Any]:
    config_of_key = sample.config_of_key or provider.config_of_key
    return {} if config_of_key is None else config_of_key(key, config)


def _covers(given: Any, needed: Any) -> bool:
    """Whether what is configured has what the key needs: the same, or an object or a list with it."""
    if isinstance(given, Mapping) and isinstance(needed, Mapping):
        return all(given.get(name) == value for name, value in needed.items())
    if isinstance(given, list) and isinstance(needed, list):
        return all(item in given for item in needed)
    return needed is None or bool(given == needed)


def request(
    setting: Setting, now_s: float, dice: Dice, url: str, changes: Changes = UNCHANGED, signed_url: str = ""
) -> Simulated:
    """One request. `signed_url` is the address as the provider knows it, where that is another (and the configuration
    has no `notification_url`, which says the same). Raises `SimulationError` for what cannot be made."""
    provider, sample = setting.provider, setting.sample
    config = setting.config
    keys = _forged_keys(setting)
    if changes.tampered:
        if not sample.proven:
            raise SimulationError(f"nothing in {sample.type} proves its sender: there is nothing to tamper with")
        config = forged(config, keys)
    if changes.stale:
        if not _signs_time(setting):
            raise SimulationError(f"{provider.name} signs no time: an old request cannot be told from a new one")
        now_s -= STALE_S
    scene = Scene(now_s, dice, "", config)
    for label, template in sample.known.items():
        scene.known[label] = scene.value(template, {})
    query = scene.text(sample.query)
    scene.url = _joined(signed_url or config.get("notification_url") or url, query)
    content_type = provider.content_type if sample.content_type is None else sample.content_type
    payload = _payload(setting, scene, changes)
    if changes.size_bytes and not sample.sealed:
        payload = padded(payload, changes.size_bytes, in_form=_style(setting) in FORMS)
    draft = Draft(sample.method, _joined(url, query), _headers(setting, scene, content_type, changes), payload)
    draft = (sample.sign or provider.sign)(draft, scene, setting.key)
    if sample.sealed:
        draft = draft.with_body(padded(broken(draft.body) if changes.malformed else draft.body, changes.size_bytes))
    if changes.tampered and not keys:
        draft = (sample.tamper or provider.tamper or changed_body)(draft)
    if changes.content_type is not None:
        draft = draft.with_header("Content-Type", as_header(changes.content_type))
    draft = _checked(draft)
    body = sample.wanted.body
    wanted = replace(sample.wanted, body=scene.text(body) if isinstance(body, str) else body(scene))
    return Simulated(draft.method, draft.url, scene.url, draft.headers, draft.body, wanted)


def simulate(
    name: str,
    event_type: str,
    config: Mapping[str, Any],
    now_s: float,
    dice: Dice,
    url: str,
    *,
    key: bytes = b"",
    changes: Changes = UNCHANGED,
) -> Inbound:
    """One request of a provider to `url`, as a verifier sees it, signed with what `config` and `key` say. Raises
    `SimulationError`."""
    return request(prepared(name, event_type, config, dice, url, key), now_s, dice, url, changes).inbound


def _signs_time(setting: Setting) -> bool:
    if setting.sample.signs_time is not None:
        return setting.sample.signs_time
    signs_time = setting.provider.signs_time
    return signs_time(setting.config) if callable(signs_time) else signs_time


def _forged_keys(setting: Setting) -> tuple[str, ...]:
    if setting.sample.forged is not None:
        return setting.sample.forged
    keys = setting.provider.forged
    return keys(setting.config) if callable(keys) else keys


def _payload(setting: Setting, scene: Scene, changes: Changes) -> bytes:
    """The payload's bytes, before the provider's envelope and signature."""
    sample, provider = setting.sample, setting.provider
    style = _style(setting)
    is_form = style in FORMS or not sample.data
    if changes.xml and (is_form or style is None or sample.sealed):
        raise SimulationError(f"{sample.type} of {provider.name} cannot be XML instead of what it is")
    if changes.malformed and is_form:
        raise SimulationError(f"{sample.type} of {provider.name} has no body that could be malformed")
    if changes.data is not None and not changes.sets and not changes.xml:
        payload = changes.data
    elif not sample.data and not changes.sets:
        payload = b""
    elif style is None:
        if changes.sets:
            raise SimulationError(f"the payload of {sample.type} is not JSON: give it whole")
        payload = scene.text(sample.data).encode()
    else:
        value = _value(setting, scene, changes)
        payload = as_xml(value) if changes.xml else style(value).encode()
    return broken(payload) if changes.malformed and not sample.sealed else payload


def _style(setting: Setting) -> Style | None:
    style = setting.sample.style
    return setting.provider.style if style == "usual" else style


def _value(setting: Setting, scene: Scene, changes: Changes) -> Any:
    if changes.data is None:
        value = scene.value(json.loads(setting.sample.data or "null"), setting.provider.fragments)
    else:
        try:
            value = json.loads(changes.data)
        except ValueError as error:
            raise SimulationError(f"the payload is not JSON: {error}") from None
    return with_members(value, changes.sets)


def _headers(setting: Setting, scene: Scene, content_type: str, changes: Changes) -> tuple[tuple[str, str], ...]:
    if changes.xml:
        content_type = "application/xml"
    templates = {**setting.provider.headers, **setting.sample.headers}
    headers = [("Content-Type", content_type)] if content_type else []
    headers += [(name, scene.text(template)) for name, template in templates.items() if template]
    draft = Draft("", "", tuple(headers), b"")
    for name, value in changes.headers:
        draft = draft.with_header(name, as_header(value))
    return draft.headers


def _checked(draft: Draft) -> Draft:
    """Raise `SimulationError` for headers that cannot be sent."""
    for name, value in draft.headers:
        if not _TOKEN.fullmatch(name) or not _SENDABLE.fullmatch(value):
            raise SimulationError(
                f"the header {name!a} cannot be sent: its name or value has characters that none may have"
            )
    return draft


def _joined(url: str, query: str) -> str:
    return url + (query.replace("?", "&", 1) if "?" in url else query)
