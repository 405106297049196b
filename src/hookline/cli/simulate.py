"""`hookline simulate`: a request as a provider would send it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from hookline.cli import simulate_options as options
from hookline.cli.arguments import pairs, read_bytes
from hookline.cli.exits import ExitCode, usage
from hookline.cli.terminal import terminal

if TYPE_CHECKING:
    from hookline.core.simulate.changes import Changes
    from hookline.core.simulate.dice import Dice
    from hookline.core.simulate.simulation import Setting

HERE: Final = "http://127.0.0.1:8400/in/"
SHOWN_CHARS_MAX: Final = 100


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(simulate)


def simulate(
    provider: options.ProviderName = None,
    event_type: options.EventType = None,
    list_all: options.ListAll = False,
    to: options.To = None,
    signed_url: options.SignedUrl = None,
    secret: options.Secret = None,
    config: options.ConfigFile = None,
    configured: options.Configured = None,
    key: options.KeyFile = None,
    write_config: options.WriteConfig = None,
    data: options.Data = None,
    set_members: options.Set = None,
    header: options.Header = None,
    content_type: options.ContentType = None,
    tampered: options.Tampered = False,
    stale: options.Stale = False,
    malformed: options.Malformed = False,
    xml: options.Xml = False,
    oversize: options.Oversize = 0,
    duplicate: options.Duplicate = False,
    slow: options.Slow = 0.0,
    count: options.Count = 1,
    rate: options.Rate = None,
    seed: options.Seed = None,
    at: options.At = None,
    timeout_s: options.Timeout = 30.0,
    expect: options.Expect = None,
    curl: options.Curl = False,
) -> int:
    """Send a request as a provider sends it, signed, or wrong in a way that you choose. Exit code 0: answered so."""
    from hookline.cli.simulate_sending import Expected, Plan, carry_out, show
    from hookline.core.simulate.changes import Changes
    from hookline.core.simulate.dice import Dice
    from hookline.core.simulate.draft import SimulationError
    from hookline.core.simulate.simulation import prepared

    if list_all:
        return _list(provider)
    if provider is None or event_type is None:
        raise usage("say which PROVIDER and TYPE; --list shows them")
    url = _address(to or f"{HERE}{provider}")
    known_url = url if signed_url is None else _address(signed_url)
    changes = Changes(
        None if data is None else read_bytes(data),
        tuple(_member(item) for item in set_members or ()),
        tuple(pairs(header, ":", "the header").items()),
        content_type,
        tampered=tampered,
        stale=stale,
        malformed=malformed,
        xml=xml,
        size_bytes=oversize,
    )
    dice = Dice(secrets.token_bytes(32) if seed is None else seed)
    try:
        known = _configuration(provider, config, configured, secret)
        setting = prepared(provider, event_type, known, dice, known_url, _key(provider, event_type, key, dice))
        _tell(setting, write_config, changes)
        plan = Plan(setting, changes, dice, url, known_url, at, count, rate, duplicate, slow, timeout_s)
        if to is None or curl:
            return show(plan, as_curl=curl)
        return carry_out(plan, Expected.of(expect, refused=tampered or stale or malformed or oversize > 0))
    except SimulationError as error:
        raise usage(str(error)) from None


def _list(provider: str | None) -> int:
    from hookline.core.simulate.catalogue import provider_of, providers
    from hookline.core.simulate.draft import SimulationError

    try:
        chosen = list(providers()) if provider is None else [provider_of(provider)]
    except SimulationError as error:
        raise usage(str(error)) from None
    rows = [
        {"provider": one.name, "type": sample.type, "what": sample.says} for one in chosen for sample in one.samples
    ]
    if terminal.json:
        terminal.document(rows)
    else:
        terminal.table(("provider", "type", "what"), rows, "there is none")
    return ExitCode.OK


def _address(url: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not all("!" <= letter <= "~" for letter in url):
        raise usage(f"{url!a} is no http:// or https:// address in ASCII")
    return url.partition("#")[0]


def _member(item: str) -> tuple[str, Any]:
    path, found, value = item.partition("=")
    if not found or not path:
        raise usage(f"--set {item!r} is not written as path=value")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value


def _configuration(
    provider: str, path: Path | None, configured: list[str] | None, secret: str | None
) -> dict[str, Any]:
    """What the receiver is configured with, as far as it was said."""
    from hookline.core.simulate.catalogue import provider_of

    known = {} if path is None else _object(path)
    for name, value in pairs(configured, "=", "--configured").items():
        try:
            known[name] = json.loads(value)
        except ValueError:
            known[name] = value
    if secret is not None:
        name = provider_of(provider).credential
        if not name:
            raise usage(f"{provider} signs with a private key: --key FILE")
        known[name] = read_bytes(secret).decode("utf-8", "replace").strip()
    return known


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise usage(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise usage(f"{path} must have a JSON object")
    return value


def _key(provider: str, event_type: str, path: Path | None, dice: Dice) -> bytes:
    """The private key: that of the file, or a new one that is written there. Empty: none was asked for."""
    if path is None:
        return b""
    from hookline.core.simulate.catalogue import provider_of, sample_of
    from hookline.core.simulate.private_key import new_key

    found = provider_of(provider)
    kind = sample_of(found, event_type).key or found.key
    if kind is None:
        raise usage(f"{provider} signs with no private key: --secret")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        made = new_key(kind, dice.fork("key"))
        _write(path, made)
        terminal.note(f"a new private key is in {path}")
        return made
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror}") from None


def _write(path: Path, content: bytes) -> None:
    """Readable by its owner alone."""
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise usage(f"{path} cannot be written: {error.strerror}") from None


def _tell(setting: Setting, write_config: Path | None, changes: Changes) -> None:
    """What the receiver must know, where that was made here; and what may surprise."""
    if write_config is not None:
        _write(write_config, json.dumps(setting.receiver, indent=2, ensure_ascii=False).encode() + b"\n")
        terminal.note(f"the receiver's configuration is in {write_config}")
    elif setting.made:
        known = ", ".join(f"{name}={_shown(setting.receiver[name])}" for name in setting.made)
        terminal.note(f"made, for the receiver to know: {known} (--write-config FILE writes all of it)")
    if changes.stale and not setting.provider.limits_age and setting.config.get("tolerance_s") is None:
        terminal.note("only a receiver with a tolerance_s refuses old requests of this provider")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"({len(text)} characters)"
