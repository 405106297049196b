"""Sources that consume from a broker: what their `config` may say, and how their messages are read by default.

What a webhook's source has in its verifier, such a source has in the broker: who may publish there is the broker's
business. `config` is checked here, member by member; its secrets are sealed like those of any source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import Meta

from hookline.core.address import Target, parse_url
from hookline.core.errors import Refusal
from hookline.core.json_text import pointer
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.verdict import Fetched, Refused, Verdict

CODE: Final = "invalid_source"
HOSTS_MAX: Final = 8
SCHEMES: Final[Mapping[str, Mapping[str, tuple[int, bool]]]] = {
    "redis": {"redis": (6379, False), "rediss": (6379, True)},
    "nats": {"nats": (4222, False), "tls": (4222, True)},
    "rabbitmq": {"amqp": (5672, False), "amqps": (5671, True)},
    "kafka": {"kafka": (9092, False), "kafkas": (9093, True)},
    "mqtt": {"mqtt": (1883, False), "mqtts": (8883, True)},
}
"""By kind, the schemes of its addresses, each with its port and whether it is TLS."""
_SEVERAL: Final = frozenset({"nats", "kafka"})
"""Whose addresses may name several hosts, with commas."""
_URL: Final = re.compile(r"([a-z]{3,6})://([^/?#]*)(?:/([^?#]*))?")

Text = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Password = Annotated[str, Meta(min_length=1, max_length=1024)]
Start = Literal["earliest", "latest"]


class _Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every broker's configuration has."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    """Where it is, without a user name: that is `username`."""
    username: Text | None = None
    password: Password | None = None


class RedisConfig(_Broker, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stream of Redis or Valkey, read by a consumer group."""

    stream: Text
    group: Text = "hookline"
    """Made where it is missing. Whoever else reads in it takes messages away."""
    start: Start = "earliest"
    """Where a new group begins."""
    field: Text = "data"
    """The field of an entry that is the payload; an entry without it is the JSON object of all its fields."""


class NatsConfig(_Broker, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stream of NATS JetStream, read by a durable consumer."""

    stream: Text
    subject: Text | None = None
    """Only messages of this subject, which may have wildcards; None: all of the stream."""
    consumer: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\s.*>/\\]+$")] = "hookline"
    """The durable consumer, made where it is missing."""
    start: Start = "earliest"
    """Where a new consumer begins."""
    token: Password | None = None


class RabbitmqConfig(_Broker, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A queue of RabbitMQ; the path of the address is its virtual host."""

    queue: Text
    """It has to be there: with which arguments one is declared is its owner's business."""


class KafkaConfig(_Broker, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A topic of Kafka, read by a consumer group."""

    topic: Annotated[str, Meta(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")]
    group: Text = "hookline"
    start: Start = "earliest"
    """Where a group without an offset begins."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How `username` and `password` are proven."""


class MqttConfig(_Broker, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A topic of an MQTT 5 broker, subscribed with QoS 1 in a session that outlives the connection."""

    topic: Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f$][^\x00-\x1f]*$")]
    """A filter: `+` and `#` are wildcards."""
    group: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^/+#\x00-\x1f]+$")] | None = None
    """Of a shared subscription. None: `hookline` on PostgreSQL, where several processes share the messages; on SQLite
    the subscription is not shared."""
    client_id: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Begins the name of the session, of which each process has its own; None: made of the source's id."""


BrokerConfig = RedisConfig | NatsConfig | RabbitmqConfig | KafkaConfig | MqttConfig
CONFIGS: Final[Mapping[str, type[BrokerConfig]]] = {
    "redis": RedisConfig,
    "nats": NatsConfig,
    "rabbitmq": RabbitmqConfig,
    "kafka": KafkaConfig,
    "mqtt": MqttConfig,
}
KINDS: Final = tuple(CONFIGS)
_TITLES: Final = {"redis": "Redis", "nats": "NATS", "rabbitmq": "RabbitMQ", "kafka": "Kafka", "mqtt": "MQTT"}
KEYLESS: Final = frozenset({"rabbitmq", "mqtt"})
"""Whose messages have no coordinates that stay the same when a message comes again."""


class Hosts(msgspec.Struct, frozen=True):
    """Where a broker is. A `Target` has host and port as the guard against private addresses takes them."""

    targets: tuple[Target, ...]
    tls: bool
    path: str
    """What follows the host, without its slash: a number of a database, a virtual host."""


def parse_address(kind: str, url: str) -> Hosts:
    """Take the address of a broker apart. Raises `Refusal` with a pointer; no part of the address is in it."""
    schemes = SCHEMES[kind]
    parts = _URL.fullmatch(url)
    if parts is None or parts[1] not in schemes:
        _refuse("url", f"is written as {' or '.join(f'{scheme}://host:port' for scheme in schemes)}")
    port, tls = schemes[parts[1]]
    if "@" in parts[2]:
        _refuse("url", "has a user name or password: they are members of their own, username and password")
    hosts = parts[2].split(",") if kind in _SEVERAL else [parts[2]]
    if len(hosts) > HOSTS_MAX:
        _refuse("url", f"names more than {HOSTS_MAX} hosts")
    if kind not in ("redis", "rabbitmq") and parts[3]:
        _refuse("url", "has a path, which this broker knows nothing of")
    if kind == "redis" and parts[3] and not (parts[3].isascii() and parts[3].isdigit() and len(parts[3]) < 6):
        _refuse("url", "has a path that is no number of a database")
    return Hosts(tuple(_target(host, port) for host in hosts), tls, parts[3] or "")


def _target(host: str, port: int) -> Target:
    named = re.search(r":[0-9]+$", host) is not None
    try:
        return parse_url(f"http://{host}" if named else f"http://{host}:{port}")
    except Refusal as refusal:
        raise Refusal(refusal.code, refusal.detail, pointer="/config/url") from None


def _refuse(key: str, why: str) -> NoReturn:
    raise Refusal(CODE, f"{key} {why}.", pointer="/config" + pointer(key))


def broker_config(kind: str, config: Mapping[str, Any]) -> BrokerConfig:
    """The configuration of a source of this kind, checked. Raises `Refusal` with a pointer."""
    made = CONFIGS[kind]
    for key in config:
        if key not in made.__struct_fields__:
            _refuse(key, f"is not a key of this kind; it has {', '.join(made.__struct_fields__)}")
    try:
        found = msgspec.convert(dict(config), made)
    except msgspec.ValidationError as error:
        # What is wrong without the value, which may be a secret.
        why, _, at = str(error).partition(" - at `$.")
        if why.startswith("Object missing required field"):
            _refuse(why.split("`")[1], "is needed")
        raise Refusal(CODE, f"{why}.", pointer="/config" + pointer(at.rstrip("`")) if at else "/config") from None
    if (found.username is None) != (found.password is None) and kind != "redis":
        _refuse("password", "and username are given both, or none")
    parse_address(kind, found.url)
    return found


def broker_preset(kind: str) -> Preset:
    """How the messages of this kind are read where the source says nothing else: the type `message`, repeats known by
    the broker's own coordinates."""
    return _PRESETS[kind]


def _nobody(_request: Inbound, _config: Config, _now_s: float, _fetched: Mapping[str, Fetched]) -> Verdict:
    return Refused("unsupported", "this source consumes from a broker and takes no requests")


_PRESETS: Final = {
    kind: Preset(
        name=kind,
        title=_TITLES[kind],
        verify=_nobody,
        keys=made.__struct_fields__,
        reading=Reading(type="", default_type="message"),
        secrets=("password", "token"),
        methods=(),
        retry_window_s=0.0,
    )
    for kind, made in CONFIGS.items()
}
