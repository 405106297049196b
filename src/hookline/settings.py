"""Every knob, in one table: the fields of `Settings`, each with its form, bound, unit, default and help.

The field `port` is the variable `HOOKLINE_PORT` and the key `port` of the TOML file that `HOOKLINE_CONFIG` names
(without it `hookline.toml` in the working directory, if there is one). The environment wins over the file; an
empty value counts as not set; what is unknown refuses to start. Read by `compose` and `cli` only.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Final, get_args, get_type_hints

from hookline.forms import (
    CACHE,
    PROCESSES,
    QUEUE,
    SECRET_KEY_BYTES,
    Form,
    Knob,
    boolean,
    is_postgres,
    number,
    one_of,
    parse_api_key,
    parse_database,
    parse_db,
    parse_direct,
    parse_existing_file,
    parse_host,
    parse_http_url,
    parse_instance,
    parse_networks,
    parse_public_url,
    parse_rate,
    parse_secret_keys,
    whole,
)
from hookline.variables import PREFIX, meant, needs_postgres, of_kubernetes, toml_text, without_password

__all__ = ["API_KEY", "KNOBS", "PREFIX", "Knob", "Settings", "SettingsError", "load_settings", "parse_db"]

TESTING: Final = "HOOKLINE_TESTING"
FAILPOINT: Final = "HOOKLINE_FAILPOINT"
NOT_SETTINGS: Final = frozenset({"HOOKLINE_URL", TESTING, FAILPOINT})
"""Variables with our prefix that are no settings: where a client finds the server, and what tests say."""
FILE_DEFAULT: Final = "hookline.toml"
_ON_POSTGRES: Final[Mapping[str, object]] = {"migrate": "manual", "drain_s": 5.0}
"""Defaults that are others where several processes share the store."""


class SettingsError(ValueError):
    """A setting cannot be used. The message is one line: its name, its value (masked if secret), what is allowed."""


# ------------------------------------------------------------------------------------------------------ the table


API_KEY = Form("8 to 256 printable ASCII characters", parse_api_key)
_PATH = Form("a path", Path)
_PEM = Form("the path of a PEM file", parse_existing_file)
_CIDRS = Form("CIDRs with commas, as 10.0.0.0/8,::1/128", parse_networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The table. Each field's `Knob` says what it is for; `load_settings` fills it in."""

    host: Annotated[str, Knob(Form("an address or a host name", parse_host), "where the server listens")] = "127.0.0.1"
    port: Annotated[int, Knob(whole(0, 65535), "the port it listens on; 0: any that is free")] = 8400
    db: Annotated[
        str,
        Knob(
            Form(
                "sqlite:///relative.db, sqlite:////absolute.db or postgresql://user:password@host/database",
                parse_database,
            ),
            "the store: one SQLite file, for one process, not on a network file system; or PostgreSQL, for any number",
        ),
    ] = "sqlite:///hookline.db"
    db_direct: Annotated[
        str,
        Knob(
            Form("postgresql://user:password@host/database", parse_direct),
            "where HOOKLINE_DB leads to PgBouncer: PostgreSQL itself, to listen, to migrate, to drop old partitions",
        ),
    ] = ""
    db_unsafe: Annotated[
        bool, Knob(boolean(), "accept a PostgreSQL that does not flush what it commits: events can be lost")
    ] = False
    role: Annotated[
        str,
        Knob(one_of("all", "api", "worker"), "on PostgreSQL: api accepts and serves, worker delivers; all does both"),
    ] = "all"
    processes: Annotated[
        str, Knob(PROCESSES, "on PostgreSQL: processes on this machine; auto: as demand is, up to all cores or to N")
    ] = "1"
    instance: Annotated[
        str,
        Knob(
            Form("1 to 128 letters, digits and ._:-", parse_instance),
            "on PostgreSQL: a name that only this process has at a time; its next start takes its leases back at once",
        ),
    ] = ""
    queue: Annotated[
        str, Knob(QUEUE, "on PostgreSQL: a broker that tells the other processes what is due; empty: PostgreSQL does")
    ] = ""
    cache: Annotated[str, Knob(CACHE, "where what is known is kept; a server is for all processes; empty: memory")] = ""
    public_url: Annotated[
        str,
        Knob(
            Form("https://host or http://host:port, with a path if need be", parse_public_url),
            "our address as the world sees it: links for receivers, URLs that providers sign; empty: where we listen",
        ),
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        Knob(_CIDRS, "proxies whose X-Forwarded-* and client-certificate headers are believed; empty: none"),
    ] = ()
    tls_cert_file: Annotated[
        Path | None, Knob(_PEM, "serve HTTPS with this certificate and its chain; read again when it changes")
    ] = None
    tls_key_file: Annotated[Path | None, Knob(_PEM, "the private key of HOOKLINE_TLS_CERT_FILE")] = None
    address_rate: Annotated[
        tuple[int, float] | None,
        Knob(
            Form("a number of requests, a slash and seconds, as 100/1", parse_rate),
            "requests that one client address may make; beyond it 429; empty: no limit",
            "requests/seconds",
        ),
    ] = None
    admin_url: Annotated[
        str,
        Knob(
            Form("an http or https URL", parse_http_url),
            "an administrator's endpoint, subscribed to the operational events of all tenants; empty: none",
        ),
    ] = ""
    key: Annotated[
        str | None,
        Knob(API_KEY, "the operator's API key; without it the one in HOOKLINE_KEY_FILE", secret=True),
    ] = None
    key_file: Annotated[
        Path | None,
        Knob(
            _PATH,
            "the file with the operator's key, on SQLite created if missing; empty: hookline.key beside the database",
        ),
    ] = None
    secret_key: Annotated[
        tuple[bytes, ...],
        Knob(
            Form(
                f"base64 of {SECRET_KEY_BYTES} bytes; several with commas or on lines, the first seals",
                parse_secret_keys,
            ),
            "encrypts stored secrets, required on PostgreSQL; several while it is rotated",
            secret=True,
        ),
    ] = ()
    secret_key_file: Annotated[
        Path | None,
        Knob(
            _PATH, "the file with HOOKLINE_SECRET_KEY, on SQLite created if missing; empty: hookline.secret beside it"
        ),
    ] = None
    allow_networks: Annotated[
        tuple[str, ...], Knob(_CIDRS, "networks that deliveries may reach although they are not public")
    ] = ()
    https_only: Annotated[bool, Knob(boolean(), "refuse endpoints with http://")] = False
    ca_file: Annotated[Path | None, Knob(_PEM, "certificates that deliveries trust beside the system's")] = None
    event_types: Annotated[
        str, Knob(one_of("open", "strict"), "strict: refuse events whose type is not in the catalogue")
    ] = "open"
    dedupe_h: Annotated[
        float, Knob(number(0.001, 8760), "how long an event's id or an Idempotency-Key is known", "hours")
    ] = 24.0
    retention_d: Annotated[
        float,
        Knob(
            number(0.00001, 36_500), "how long events and closed deliveries are kept, unless a tenant says so", "days"
        ),
    ] = 30.0
    concurrency: Annotated[int, Knob(whole(1, 65536), "attempts in flight, over all endpoints", "attempts")] = 2048
    host_concurrency: Annotated[
        int, Knob(whole(1, 65536), "attempts in flight to one destination host, over all tenants", "attempts")
    ] = 64
    handoff_max: Annotated[
        int, Knob(whole(0, 65536), "deliveries handed from acceptance straight to the sender", "deliveries")
    ] = 4096
    open_max: Annotated[
        int, Knob(whole(1, 1_000_000_000), "open deliveries of one endpoint; beyond it the oldest fail", "deliveries")
    ] = 1_000_000
    disk_free_min_mib: Annotated[
        int, Knob(whole(0, 1_048_576), "with less free space on the SQLite file's disk publishing answers 503", "MiB")
    ] = 512
    spool_path: Annotated[
        Path | None,
        Knob(_PATH, "a folder on a persistent volume, for sources with spool while the store is away; empty: no spool"),
    ] = None
    spool_max_mib: Annotated[int, Knob(whole(1, 1_048_576), "of the spool's files; beyond it 503", "MiB")] = 256
    migrate: Annotated[
        str,
        Knob(
            one_of("auto", "manual"),
            "auto: serve brings an older database up to date by itself; on PostgreSQL manual unless it is set",
        ),
    ] = "auto"
    drain_s: Annotated[
        float,
        Knob(number(0, 600), "at a stop: not ready but accepting, so long; on PostgreSQL 5 unless set", "seconds"),
    ] = 0.0
    grace_s: Annotated[
        float, Knob(number(65, 3600), "at a stop: attempts in flight may end, for so long", "seconds")
    ] = 65.0
    log_level: Annotated[str, Knob(one_of("debug", "info", "warning", "error"), "what is logged, to stderr")] = "info"
    log_format: Annotated[
        str, Knob(one_of("auto", "json", "text"), "how it is logged; auto: text on a terminal, else JSON")
    ] = "auto"
    config: Annotated[
        Path | None,
        Knob(Form("the path of a TOML file", parse_existing_file), "the file with settings (environment only)"),
    ] = None
    origin: dict[str, str] = field(default_factory=dict, compare=False)
    """Where each value that is not a default comes from: a variable, a file, or `command line`."""
    failpoint: str = field(default="", compare=False)
    """Where the process kills itself (`hookline.testing.failpoints`). No knob: only tests set it."""

    def __repr__(self) -> str:
        """Names what was set, never a secret."""
        return f"Settings({', '.join(f'{name}={shown(self, name)!r}' for name in self.origin)})"

    @property
    def on_postgres(self) -> bool:
        """Whether the store is PostgreSQL: there are other processes, and there is no folder of the database's."""
        return is_postgres(self.db)

    @property
    def db_path(self) -> Path:
        """The SQLite file. Raises ValueError on PostgreSQL."""
        return Path(parse_db(self.db))

    @property
    def key_path(self) -> Path:
        """Where the operator's key is, or will be created."""
        return self.key_file or self.db_path.with_name("hookline.key")

    @property
    def secret_key_path(self) -> Path:
        """Where the key that encrypts stored secrets is, or will be created."""
        return self.secret_key_file or self.db_path.with_name("hookline.secret")


_HINTS = get_type_hints(Settings, include_extras=True)
KNOBS: Final[Mapping[str, Knob]] = {
    f.name: get_args(_HINTS[f.name])[1] for f in fields(Settings) if f.name not in ("origin", "failpoint")
}
"""Field name → what is known of it, in the order of the table."""


def default(name: str) -> object:
    """A setting's default."""
    return next(f.default for f in fields(Settings) if f.name == name)


def shown(settings: Settings, name: str) -> str:
    """A setting's value as a person wrote it; `***` for a secret that is set."""
    value = getattr(settings, name)
    if value in (None, (), ""):
        return ""
    if KNOBS[name].secret:
        return "***"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if name == "address_rate":
        return f"{value[0]}/{value[1]:g}"
    return ",".join(value) if isinstance(value, tuple) else without_password(str(value))


# --------------------------------------------------------------------------------------------------- reading it


def load_settings(
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """The settings of the environment (default: the process's), over those of the file, over the defaults.

    `overrides` come from a command line and win. Raises `SettingsError`, and reads no more than the TOML file:
    keys in files are read (and created) by `operator_key` and `secret_keys`.
    """
    environ = os.environ if environ is None else environ
    found: dict[str, tuple[str, str]] = {}
    of_environment = _from_environment(environ)
    for name, text in (overrides or {}).items():
        of_environment[name] = (text, "command line")
    file = _config_file(of_environment, directory or Path())
    if file is not None:
        found.update(_from_file(file))
        for name in ("key", "secret_key"):
            if f"{name}_file" in of_environment:  # the environment wins, also over the other way to say the same
                found.pop(name, None)
    found.update(of_environment)
    values = {name: _parsed(name, text, origin) for name, (text, origin) in found.items()}
    if ("tls_cert_file" in found) != ("tls_key_file" in found):
        raise SettingsError("HOOKLINE_TLS_CERT_FILE and HOOKLINE_TLS_KEY_FILE are set both or neither")
    if is_postgres(str(values.get("db", ""))):
        values = dict(_ON_POSTGRES) | values
    elif (reason := needs_postgres(values)) is not None:
        raise SettingsError(reason)
    where = {name: origin for name, (_, origin) in found.items()}
    return Settings(**values, origin=where, failpoint=_failpoint(environ))  # type: ignore[arg-type]


def _failpoint(environ: Mapping[str, str]) -> str:
    """What tests arm. A variable that was left behind must never kill a process that serves."""
    text = environ.get(FAILPOINT, "").strip()
    if text and environ.get(TESTING, "").strip() != "1":
        raise SettingsError(f"{FAILPOINT} makes the process kill itself: only tests set it, with {TESTING}=1")
    return text


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in KNOBS or variable != variable.upper():
            raise SettingsError(f"{variable} is not a setting of Hookline{meant(name, variable, KNOBS)}")
        if text.strip():
            found[name] = (text.strip(), variable)
    return found


def _config_file(of_environment: Mapping[str, tuple[str, str]], directory: Path) -> Path | None:
    if "config" in of_environment:
        path = _parsed("config", *of_environment["config"])
        assert isinstance(path, Path)
        return path
    path = directory / FILE_DEFAULT
    return path if path.is_file() else None


def _from_file(path: Path) -> dict[str, tuple[str, str]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    found = {}
    for name, value in table.items():
        if name not in KNOBS or name == "config":
            raise SettingsError(f"{path}: {name!r} is not a setting of Hookline{meant(name, '', KNOBS)}")
        text = toml_text(value)
        if text is None:
            raise SettingsError(f"{path}: {name} is a {type(value).__name__}; allowed: {KNOBS[name].form.allowed}")
        if text.strip():
            found[name] = (text.strip(), f"{path}: {name}")
    return found


def _parsed(name: str, text: str, origin: str) -> object:
    knob = KNOBS[name]
    variable = PREFIX + name.upper() if origin == "command line" else origin
    try:
        return knob.form.parse(text)
    except ValueError as error:
        # A secret's parser says only what is wrong with it, never what it is.
        said = "" if not str(error) else f" ({error})"
        value = "***" if knob.secret else without_password(text if len(text) <= 200 else text[:200] + "…")
        said += of_kubernetes(variable) if text.startswith("tcp://") else ""
        raise SettingsError(f"{variable}={value!r} cannot be used{said}; allowed: {knob.form.allowed}") from None
