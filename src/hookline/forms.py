"""How the values of settings are written: each `Form` says what is allowed and parses it."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hookline.core.broker_address import parse_broker_address

SECRET_KEY_BYTES: Final = 32
PROCESSES_MAX: Final = 64
_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is written. `parse` raises ValueError, with a text where it knows more than `allowed` says."""

    allowed: str
    parse: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Knob:
    """What is known of one setting, beside its default."""

    form: Form
    help: str
    unit: str = ""
    secret: bool = False


def whole(low: int, high: int) -> Form:
    """A whole number within bounds, both included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return Form(f"a whole number from {low} to {high}", parse)


def number(low: float, high: float) -> Form:
    """A decimal number within bounds, both included."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text) or not low <= float(text) <= high:
            raise ValueError
        return float(text)

    return Form(f"a number from {low:g} to {high:g}", parse)


def one_of(*words: str) -> Form:
    """One of some words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Form(" or ".join(words), parse)


def boolean() -> Form:
    """true or false, and what else people write for them."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

    def parse(text: str) -> bool:
        if text.lower() not in words:
            raise ValueError
        return words[text.lower()]

    return Form("true or false", parse)


def parse_host(text: str) -> str:
    """An address to listen on, or a name for one."""
    if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,255}", text):
        raise ValueError
    return text


def parse_networks(text: str) -> tuple[str, ...]:
    """CIDRs, separated by commas or spaces. A network with host bits is a mistake, and is refused."""
    return tuple(str(ipaddress.ip_network(part)) for part in re.split(r"[,\s]+", text) if part)


def parse_public_url(text: str) -> str:
    """An http or https URL in ASCII (it is sent in headers) without a query, a fragment or credentials; a slash at its
    end does not count."""
    parts = urllib.parse.urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not (text.isascii() and text.isprintable())
        or " " in text
    ):
        raise ValueError
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("it has a query, a fragment or credentials")
    _ = parts.port  # ValueError when it is none
    return text.rstrip("/")


def parse_http_url(text: str) -> str:
    """Any http or https URL; the flow checks the rest."""
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable() or " " in text:
        raise ValueError
    return text


def parse_rate(text: str) -> tuple[int, float]:
    """A rate: so many in so many seconds."""
    count, slash, seconds = text.partition("/")
    if not slash:
        raise ValueError
    return whole(1, 1_000_000).parse(count), number(0.001, 86_400).parse(seconds)  # type: ignore[return-value]


def parse_database(text: str) -> str:
    """The store's URL, checked."""
    if is_postgres(text):
        _check_postgres(text)
    else:
        parse_db(text)
    return text


def parse_direct(text: str) -> str:
    """The URL of PostgreSQL itself, checked."""
    if not is_postgres(text):
        raise ValueError
    _check_postgres(text)
    return text


def is_postgres(url: str) -> bool:
    """Whether a store's URL names PostgreSQL."""
    return url.startswith(_POSTGRES)


def _check_postgres(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    _ = parts.port  # ValueError when it is none
    if not url.isprintable() or " " in url or parts.fragment:
        raise ValueError("postgresql://user:password@host:port/database is expected")
    if not parts.path.strip("/"):
        raise ValueError("it names no database")


def parse_cache(text: str) -> str:
    """Where what is known already is kept."""
    if text.lower() == "memory":
        return "memory"
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("redis", "rediss", "memcached") or not text.isprintable() or " " in text:
        raise ValueError
    if parts.query or parts.fragment:
        raise ValueError("it has a query or a fragment")
    for server in parts.netloc.rpartition("@")[2].split(","):
        one = urllib.parse.urlsplit("//" + server)
        if not one.hostname:
            raise ValueError("it names no server")
        _ = one.port  # ValueError when it is none
    if parts.scheme != "memcached" and "," in parts.netloc:
        raise ValueError("it names several servers; only memcached can")
    if parts.scheme == "memcached" and (parts.path.strip("/") or (parts.username and not parts.password)):
        raise ValueError("memcached://host:port is expected, with user:password@ before it if need be")
    return text


CACHE: Final = Form("memory, redis://host:port/0, rediss://… or memcached://host:port,host:port", parse_cache)


def parse_queue(text: str) -> str:
    """A broker's URL, checked."""
    parse_broker_address(text)
    return text


QUEUE: Final = Form(
    "redis[s]://, nats:// or tls:// (NATS), amqp[s]://, kafka[s]://, with user:password@host:port", parse_queue
)


def parse_instance(text: str) -> str:
    """A process's name."""
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", text):
        raise ValueError
    return text


def _parse_processes(text: str) -> str:
    word, colon, most = text.lower().partition(":")
    if word != "auto":
        return str(whole(1, PROCESSES_MAX).parse(text))
    return f"auto:{whole(2, PROCESSES_MAX).parse(most)}" if colon else word


PROCESSES: Final = Form(f"a whole number from 1 to {PROCESSES_MAX}, auto, or auto:N", _parse_processes)


def processes_of(text: str, cores: int) -> tuple[int, int]:
    """The least and the most processes that a value of that form allows on a machine of so many cores. One core has
    room for two: what waits for the network uses none."""
    if not text.startswith("auto"):
        return int(text), int(text)
    most = text.partition(":")[2]
    return 1, int(most) if most else max(2, min(cores, PROCESSES_MAX))


def parse_existing_file(text: str) -> Path:
    """A file that is there now."""
    if not Path(text).is_file():
        raise ValueError("no such file")
    return Path(text)


def parse_api_key(text: str) -> str:
    """An API key: 8 to 256 printable ASCII characters."""
    if not 8 <= len(text) <= 256 or not text.isascii() or not text.isprintable():
        raise ValueError
    return text


def parse_secret_keys(text: str) -> tuple[bytes, ...]:
    """Keys that encrypt, base64, separated by commas or white space. The errors never repeat what was given."""
    keys = []
    for number, part in enumerate((part for part in re.split(r"[,\s]+", text) if part), 1):
        try:
            key = base64.b64decode(part.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"key number {number} is not base64") from None
        if len(key) != SECRET_KEY_BYTES:
            raise ValueError(f"key number {number} has {len(key)} bytes")
        keys.append(key)
    if not keys:
        raise ValueError("there is no key in it")
    return tuple(keys)


def parse_db(url: str) -> str:
    """The path of the SQLite file that `url` names: `sqlite:///relative.db`, `sqlite:////absolute.db`.

    Raises ValueError with the reason when it names none.
    """
    path = url.removeprefix(_SQLITE)
    if not url.startswith(_SQLITE) or not path:
        raise ValueError("sqlite:/// and a path is expected, or postgresql://")
    if path == ":memory:" or path.startswith("file:"):
        raise ValueError("a database in memory is not durable")
    if "?" in path or "#" in path or not path.isprintable() or path.endswith("/"):
        raise ValueError("it is not a plain path to a file")
    return path
