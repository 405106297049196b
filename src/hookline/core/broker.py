"""Endpoints that are brokers: the form of their addresses and configs. Pure.

    kind       url                                      config
    redis      redis(s)://host[:6379][/database]        stream
    rabbitmq   amqp(s)://host[:5672|5671][/vhost]       queue, or exchange and routing_key
    nats       nats://host[:4222] or tls://…            subject
    kafka      kafka(s)://host[:9092][,host…]           topic
    mqtt       mqtt(s)://host[:1883|8883]               topic

The second scheme speaks TLS. A URL has no user name, password or query: credentials are the endpoint's `auth`,
kept as endpoint secrets are, and everything else is `config`. `{type}` in a routing key, a subject or a topic of MQTT
stands for the event's type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from hookline.core import percent
from hookline.core.address import URL_CHARS_MAX, Target, is_forbidden_in_url, parse_server
from hookline.core.endpoint import AuthSpec, EndpointSpec
from hookline.core.errors import Refusal
from hookline.core.json_text import decoded

SERVERS_MAX: Final = 16
TYPE_PLACE: Final = "{type}"
_URL: Final = re.compile(r"([a-z]+)://([^/?#]*)(?:/([^?#]*))?", re.IGNORECASE)

Name = Annotated[str, Meta(min_length=1, max_length=255)]


class RedisConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events are added to a stream (XADD)."""

    stream: Name
    maxlen: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    """About so many entries are kept, the newest (MAXLEN ~). None: all, for as long as the server has room."""
    replicas: Annotated[int, Meta(ge=0, le=64)] = 0
    """Delivered only when so many replicas have it too (WAIT)."""


class RabbitmqConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events are published to a queue, or to an exchange with a routing key. Neither is made by Hookline."""

    queue: Name | None = None
    exchange: Annotated[str, Meta(max_length=255)] | None = None
    routing_key: Annotated[str, Meta(max_length=255)] | None = None
    """With an exchange. May hold `{type}`. Default: the event's type."""
    persistent: bool = True
    """Queues that are durable write the message to disk before it is confirmed."""


class NatsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events are published to a subject that a JetStream stream holds."""

    subject: Name
    """May hold `{type}`."""
    stream: Name | None = None
    """Delivered only if it is this stream that took it."""


class KafkaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events are written to a topic, with acks=all by an idempotent producer."""

    topic: Annotated[str, Meta(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")]
    sasl: Literal["plain", "scram-sha-256", "scram-sha-512"] = "plain"
    """How `auth` is proven, where there is one."""


class MqttConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events are published to a topic with QoS 1, by MQTT 5."""

    topic: Name
    """May hold `{type}`; no wildcards."""
    retain: bool = False
    """The broker keeps the last one for those who subscribe later."""


Config = RedisConfig | RabbitmqConfig | NatsConfig | KafkaConfig | MqttConfig


class BrokerKind(msgspec.Struct, frozen=True):
    """What is the same for all endpoints of a kind."""

    name: str
    schemes: Mapping[str, int]
    """With the port of each: the plain one, then the one that speaks TLS."""
    config: type[Config]
    path: str = ""
    """What a URL's path names; empty: there is none."""
    servers_max: int = 1
    auth: tuple[str, ...] = ("basic",)

    @property
    def tls_scheme(self) -> str:
        """The scheme that speaks TLS."""
        return tuple(self.schemes)[1]


REDIS: Final = BrokerKind("redis", {"redis": 6379, "rediss": 6379}, RedisConfig, path="database")
RABBITMQ: Final = BrokerKind("rabbitmq", {"amqp": 5672, "amqps": 5671}, RabbitmqConfig, path="virtual host")
NATS: Final = BrokerKind("nats", {"nats": 4222, "tls": 4222}, NatsConfig, auth=("basic", "bearer"))
KAFKA: Final = BrokerKind("kafka", {"kafka": 9092, "kafkas": 9092}, KafkaConfig, servers_max=SERVERS_MAX)
MQTT: Final = BrokerKind("mqtt", {"mqtt": 1883, "mqtts": 8883}, MqttConfig)
KINDS: Final = {kind.name: kind for kind in (REDIS, RABBITMQ, NATS, KAFKA, MQTT)}


class BrokerUrl(msgspec.Struct, frozen=True):
    """A broker's URL, taken apart."""

    servers: tuple[Target, ...]
    path: str | None
    """Percent-decoded, without its first slash; None where the URL ends before it."""

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.servers[0].tls

    @property
    def server(self) -> Target:
        """The first; for most kinds the only one."""
        return self.servers[0]


def parse_broker_url(kind: BrokerKind, url: str) -> BrokerUrl:
    """Take `url` apart. Raises `Refusal` (`address_refused`, pointer `/url`)."""
    if len(url) > URL_CHARS_MAX:
        raise _refused(f"The URL is longer than {URL_CHARS_MAX} characters.")
    if is_forbidden_in_url(url):
        raise _refused("The URL contains a control character, a space or a backslash.")
    parts = _URL.fullmatch(url)
    scheme = "" if parts is None else parts[1].lower()
    if parts is None or scheme not in kind.schemes:
        known = " or ".join(f"{name}://" for name in kind.schemes)
        raise _refused(f"The URL of an endpoint of kind {kind.name} is {known}, a host and a port; nothing after a ?.")
    names = parts[2].split(",")
    if len(names) > kind.servers_max:
        raise _refused(f"The URL names more than {kind.servers_max} servers.")
    servers = tuple(parse_server(name, kind.schemes[scheme], tls=scheme == kind.tls_scheme) for name in names)
    path = _path(kind, parts[3])
    return BrokerUrl(servers, path)


def _path(kind: BrokerKind, text: str | None) -> str | None:
    if not text and not kind.path:
        return None
    if text and not kind.path:
        raise _refused("The URL ends with the host and port: what is published to is in the config.")
    try:
        path = None if text is None else percent.decode(text)
    except ValueError:
        raise _refused("The URL's path is not correctly percent-encoded.") from None
    if kind is REDIS and path and not (path.isascii() and path.isdigit() and len(path) <= 6):
        raise _refused("The path of a redis URL is the number of a database.")
    return path


def parse_config(kind: BrokerKind, config: Mapping[str, Any]) -> Config:
    """The config of an endpoint. Raises `Refusal` (`invalid_endpoint`, or `unknown_field`) with a pointer."""
    try:
        # By way of JSON, so that a fault is told with its place.
        parsed = decoded(
            msgspec.json.Decoder(kind.config).decode,
            msgspec.json.encode(config),
            code="invalid_endpoint",
            noun="config",
        )
    except Refusal as refusal:
        raise Refusal("invalid_endpoint", refusal.detail, pointer="/config" + (refusal.pointer or "")) from None
    match parsed:
        case RabbitmqConfig():
            _check_rabbitmq(parsed)
        case NatsConfig():
            _check_subject(parsed.subject)
        case MqttConfig():
            _check_topic(parsed.topic)
        case _:
            pass
    for name in msgspec.structs.fields(parsed):
        value = getattr(parsed, name.name)
        if isinstance(value, str) and any(char < " " or "\x7f" <= char <= "\x9f" for char in value):
            raise _invalid("It contains a control character.", name.name)
    return parsed


def _check_rabbitmq(config: RabbitmqConfig) -> None:
    if (config.queue is None) == (config.exchange is None):
        raise _invalid("Either a queue, or an exchange with a routing_key.", "queue")
    if config.queue is not None and config.routing_key is not None:
        raise _invalid("A queue takes no routing_key: its name is one.", "routing_key")


def _check_subject(subject: str) -> None:
    steps = subject.split(".")
    if any(not step or step in ("*", ">") or any(char in " \t\r\n" for char in step) for step in steps):
        raise _invalid("A subject is names with dots between them, without spaces and wildcards.", "subject")


def _check_topic(topic: str) -> None:
    if "+" in topic or "#" in topic or topic.startswith("$"):
        raise _invalid("A topic to publish to has no wildcards (+ and #) and does not begin with $.", "topic")


def check_broker_spec(kind: BrokerKind, spec: EndpointSpec) -> tuple[BrokerUrl, Config]:
    """All checks of such an endpoint that need no network. Raises `Refusal` with a pointer to the fault."""
    url = parse_broker_url(kind, spec.url)
    config = parse_config(kind, spec.config)
    if spec.verify not in ("none", "test"):
        detail = "A broker answers nothing that could be a consent: verify is none, or test."
        raise Refusal("not_supported", detail, pointer="/verify")
    if spec.success_when is not None:
        detail = "A broker's answer is its confirmation: there is nothing that success_when could look at."
        raise Refusal("not_supported", detail, pointer="/success_when")
    if spec.method != "POST":
        raise Refusal("not_supported", "A message has no method.", pointer="/method")
    if spec.auth is not None and spec.auth.kind not in kind.auth:
        raise Refusal("invalid_endpoint", f"The auth of kind {kind.name} is {' or '.join(kind.auth)}.", pointer="/auth")
    return url, config


def placed(text: str, event_type: str) -> str:
    """A name with the event's type where it asks for it."""
    return text.replace(TYPE_PLACE, event_type)


def login(auth: AuthSpec | None) -> tuple[str | None, str | None]:
    """User name and password; None: there is none, or none is needed."""
    if auth is None or auth.kind != "basic":
        return None, None
    return auth.username or None, auth.password or None


def _refused(detail: str) -> Refusal:
    return Refusal("address_refused", detail, pointer="/url")


def _invalid(detail: str, member: str) -> Refusal:
    return Refusal("invalid_endpoint", detail, pointer=f"/config/{member}")
