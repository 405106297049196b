"""The address of a message broker, as a setting writes it, and what of it may be shown.

    scheme://user:password@host:port,host:port/path?name=hookline&ca_file=/path.pem

`name` begins the names of what is used there (streams, queues, topics, groups): installations that share a broker
have one each. `ca_file` names certificates that are trusted beside the system's, where the scheme is one with TLS.
Kafka has `mechanism` as well: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

NAME: Final = "hookline"
HOSTS_MAX: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Scheme:
    """What the first word of an address says."""

    kind: str
    port: int
    tls: bool = False
    path: str = ""
    """What may stand behind the host, as a regular expression."""
    path_is: str = ""
    """The same for people."""
    mechanisms: tuple[str, ...] = ()
    """What `mechanism` may say: how a user proves who he is."""


_DATABASE: Final = "the number of the database"
_VIRTUAL_HOST: Final = "one virtual host, in which / is written as %2F"
_SASL: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SCHEMES: Final[Mapping[str, Scheme]] = {
    "redis": Scheme("redis", 6379, path=r"[0-9]{0,4}", path_is=_DATABASE),
    "rediss": Scheme("redis", 6379, tls=True, path=r"[0-9]{0,4}", path_is=_DATABASE),
    "nats": Scheme("nats", 4222),
    "tls": Scheme("nats", 4222, tls=True),  # NATS' own word for it
    "amqp": Scheme("rabbitmq", 5672, path=r"[^/]*", path_is=_VIRTUAL_HOST),
    "amqps": Scheme("rabbitmq", 5671, tls=True, path=r"[^/]*", path_is=_VIRTUAL_HOST),
    "kafka": Scheme("kafka", 9092, mechanisms=_SASL),
    "kafkas": Scheme("kafka", 9093, tls=True, mechanisms=_SASL),
}
"""Every broker that there is an adapter for."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is, and as whom it is talked to."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    path: str = ""
    name: str = NAME
    ca_file: str = ""
    mechanism: str = ""

    @property
    def kind(self) -> str:
        """Which broker it is: `redis`, `nats`, `rabbitmq`, `kafka`."""
        return SCHEMES[self.scheme].kind

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and the broker proves who it is."""
        return SCHEMES[self.scheme].tls

    def __str__(self) -> str:
        """As it may be shown: without user and password."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts}"

    def hide(self, text: str) -> str:
        """A text of the broker's or its driver's without the password, or the token, which is a user without one."""
        secret = self.password or self.user
        for form in (urllib.parse.quote(secret, safe=""), secret):
            if form:
                text = text.replace(form, "***")
        return text


def parse_broker_address(url: str) -> BrokerAddress:
    """The parts of an address. Raises ValueError with a sentence that repeats nothing of it but its scheme."""
    scheme, found, rest = url.partition("://")
    known = SCHEMES.get(scheme)
    if not found or known is None:
        if not found or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,20}", scheme):
            raise ValueError("it is no address of a broker")
        raise ValueError(f"no broker is known for {scheme}://")
    if not url.isprintable() or " " in url or "#" in url:
        raise ValueError("it has a space, a # or what cannot be printed: in a password these are written as %20, %23")
    before, _, query = rest.partition("?")
    credentials, at, place = before.rpartition("@")
    if "/" in credentials:
        raise ValueError("a / in a password is written as %2F")
    hosts, _, path = place.partition("/")
    if not re.fullmatch(known.path, path):
        raise ValueError(f"behind the host stands {known.path_is}" if known.path else "it has a path")
    user, _, password = credentials.partition(":") if at else ("", "", "")
    options = _options(query, known)
    if "ca_file" in options and not known.tls:
        raise ValueError(f"ca_file is for TLS, and {scheme}:// has none")
    return BrokerAddress(
        scheme=scheme,
        hosts=_hosts(hosts, known.port),
        user=urllib.parse.unquote(user),
        password=urllib.parse.unquote(password),
        path=urllib.parse.unquote(path),
        name=options.get("name", NAME),
        ca_file=options.get("ca_file", ""),
        mechanism=options.get("mechanism", ""),
    )


def _hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for one in text.split(","):
        match = _HOST.fullmatch(one)
        if match is None:
            raise ValueError("a host and a port are expected, as broker.example.com:1234; several with commas")
        number = int(match["port"] or port)
        if not 1 <= number <= 65_535:
            raise ValueError("a port is a number from 1 to 65535")
        found.append((match["host"].strip("[]"), number))
    if len(found) > HOSTS_MAX:
        raise ValueError(f"it has more than {HOSTS_MAX} hosts")
    return tuple(found)


def _options(query: str, known: Scheme) -> dict[str, str]:
    options = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    allowed = ["name", "ca_file"] + (["mechanism"] if known.mechanisms else [])
    if set(options) - set(allowed):
        # Not repeated: it may be the end of a password. A ? in one is written as %3F.
        raise ValueError(f"behind the ? stand {', '.join(allowed[:-1])} and {allowed[-1]} only")
    if options.get("mechanism", "") not in {"", *known.mechanisms}:
        raise ValueError(f"mechanism is {', '.join(known.mechanisms[:-1])} or {known.mechanisms[-1]}")
    if "name" in options and not _NAME.fullmatch(options["name"]):
        raise ValueError("a name has 1 to 64 letters, digits, _ and -")
    return options
