"""Endpoints that are brokers: their addresses and configs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.broker import (
    KAFKA,
    KINDS,
    MQTT,
    NATS,
    RABBITMQ,
    REDIS,
    BrokerKind,
    check_broker_spec,
    login,
    parse_broker_url,
    parse_config,
    placed,
)
from hookline.core.endpoint import AuthSpec, EndpointSpec
from hookline.core.errors import Refusal


@pytest.mark.parametrize(
    ("kind", "url", "servers", "tls", "path"),
    [
        (REDIS, "redis://r.example", [("r.example", 6379)], False, None),
        (REDIS, "rediss://r.example:7000/3", [("r.example", 7000)], True, "3"),
        (RABBITMQ, "amqp://mq", [("mq", 5672)], False, None),
        (RABBITMQ, "amqps://mq/", [("mq", 5671)], True, ""),
        (RABBITMQ, "amqp://mq/%2Fshop", [("mq", 5672)], False, "/shop"),
        (NATS, "nats://[2001:db8::1]:4333", [("2001:db8::1", 4333)], False, None),
        (NATS, "tls://n.example/", [("n.example", 4222)], True, None),
        (KAFKA, "kafka://a:1,b,10.0.0.1:3", [("a", 1), ("b", 9092), ("10.0.0.1", 3)], False, None),
        (KAFKA, "KAFKAS://A.example", [("a.example", 9092)], True, None),
        (MQTT, "mqtts://m.example", [("m.example", 8883)], True, None),
    ],
)
def test_addresses(kind, url, servers, tls, path):
    """Each scheme has its port, one of them TLS, and a path where the kind has one."""
    parsed = parse_broker_url(kind, url)
    assert [(server.host, server.port) for server in parsed.servers] == servers
    assert (parsed.tls, {server.tls for server in parsed.servers}, parsed.path) == (tls, {tls}, path)


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        (REDIS, ""),
        (REDIS, "redis://"),
        (REDIS, "redis:///1"),
        (REDIS, "http://r.example"),
        (REDIS, "amqp://r.example"),
        (REDIS, "redis://u:p@r.example"),
        (REDIS, "redis://r.example?ssl_cert_reqs=none"),
        (REDIS, "redis://r.example/a"),
        (REDIS, "redis://r.example/1/2"),
        (REDIS, "redis://r.example#x"),
        (REDIS, "redis://a,b"),
        (REDIS, "redis://0x7f.1"),
        (REDIS, "redis://r.example:0"),
        (REDIS, "redis://r.example:6379 "),
        (REDIS, "redis://" + "a" * 5000),
        (RABBITMQ, "amqp://mq/%ff"),
        (NATS, "nats://n.example/subject"),
        (KAFKA, "kafka://a,"),
        (KAFKA, "kafka://" + ",".join(["a"] * 17)),
        (MQTT, "mqtt://m.example/topic"),
    ],
)
def test_what_is_no_address(kind, url):
    """What two readers could read differently, and options of a driver, are refused where they are."""
    with pytest.raises(Refusal) as refused:
        parse_broker_url(kind, url)
    assert (refused.value.code, refused.value.pointer) == ("address_refused", "/url")


@given(kind=st.sampled_from(list(KINDS.values())), url=st.text(max_size=60))
def test_no_url_breaks_the_parser(kind, url):
    """Any text is an address or is refused."""
    scheme = next(iter(kind.schemes))
    for text in (url, f"{scheme}://{url}"):
        try:
            assert parse_broker_url(kind, text).servers
        except Refusal as refusal:
            assert refusal.pointer == "/url"  # noqa: PT017 - or none


@pytest.mark.parametrize(
    ("kind", "config", "pointer"),
    [
        (REDIS, {}, "/config/stream"),
        (REDIS, {"stream": "s", "maxlen": 0}, "/config/maxlen"),
        (REDIS, {"stream": "a\nb"}, "/config/stream"),
        (REDIS, {"stream": "s", "nothing": 1}, "/config/nothing"),
        (RABBITMQ, {}, "/config/queue"),
        (RABBITMQ, {"queue": "q", "exchange": "e"}, "/config/queue"),
        (RABBITMQ, {"queue": "q", "routing_key": "k"}, "/config/routing_key"),
        (NATS, {"subject": "a.>"}, "/config/subject"),
        (NATS, {"subject": "a..b"}, "/config/subject"),
        (NATS, {"subject": "a b"}, "/config/subject"),
        (KAFKA, {"topic": "a/b"}, "/config/topic"),
        (KAFKA, {"topic": "t", "sasl": "gssapi"}, "/config/sasl"),
        (MQTT, {"topic": "a/+"}, "/config/topic"),
        (MQTT, {"topic": "$SYS/x"}, "/config/topic"),
        (MQTT, {"topic": "t", "retain": "yes"}, "/config/retain"),
    ],
)
def test_what_is_no_config(kind, config, pointer):
    """A fault is told with its place."""
    with pytest.raises(Refusal) as refused:
        parse_config(kind, config)
    assert (refused.value.code, refused.value.pointer) == ("invalid_endpoint", pointer)


GOOD: dict[str, tuple[str, dict]] = {
    "redis": ("redis://h", {"stream": "s"}),
    "rabbitmq": ("amqp://h", {"queue": "q"}),
    "nats": ("nats://h", {"subject": "s"}),
    "kafka": ("kafka://h", {"topic": "t"}),
    "mqtt": ("mqtt://h", {"topic": "t"}),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_only_http_has_is_refused(kind: BrokerKind):
    """A broker has no method, no answer to look at, nobody to ask; a test it can have."""
    url, config = GOOD[kind.name]
    spec = EndpointSpec(url=url, kind=kind.name, config=config)
    for changes in ({}, {"verify": "test"}, {"auth": AuthSpec("basic", username="u", password="p")}):
        check_broker_spec(kind, msgspec.structs.replace(spec, **changes))
    for name, value in (("method", "PUT"), ("success_when", {}), ("verify", "challenge"), ("verify", "cloudevents")):
        with pytest.raises(Refusal) as refused:
            check_broker_spec(kind, msgspec.structs.replace(spec, **{name: value}))
        assert (refused.value.code, refused.value.pointer) == ("not_supported", f"/{name}")
    with pytest.raises(Refusal) as refused:
        check_broker_spec(kind, msgspec.structs.replace(spec, auth=AuthSpec("api_key", header="x", value="y")))
    assert refused.value.pointer == "/auth"


def test_the_type_has_its_place():
    """`{type}` stands for the event's type, everything else for itself."""
    assert placed("a.{type}.{b}", "order.created") == "a.order.created.{b}"


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (None, (None, None)),
        (AuthSpec("basic", username="u", password="p"), ("u", "p")),
        (AuthSpec("basic", username="", password="p"), (None, "p")),
        (AuthSpec("bearer", token="t"), (None, None)),
    ],
)
def test_logins(auth, expected):
    """An empty name is none: Redis may have a password only."""
    assert login(auth) == expected
