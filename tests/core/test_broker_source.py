"""A source that consumes from a broker: what its configuration may say, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.sourcing import build, built, spec

from hookline.core.broker_source import CONFIGS, KINDS, broker_config, parse_address
from hookline.core.errors import Refusal
from hookline.core.source import SourceSecrets
from hookline.core.source_spec import decode_spec, encode_spec, merge_patch
from hookline.core.verified_by import masked, preset_for, secrets_of

GOOD: dict[str, dict[str, Any]] = {
    "redis": {"url": "redis://redis.example.com", "stream": "orders"},
    "nats": {"url": "nats://a.example.com,b.example.com:4223", "stream": "orders"},
    "rabbitmq": {"url": "amqps://rabbit.example.com/shop", "queue": "orders"},
    "kafka": {"url": "kafkas://a.example.com,[2001:db8::1]:9094", "topic": "orders"},
    "mqtt": {"url": "mqtt://192.0.2.1", "topic": "orders/+/new"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_consumes(kind: str):
    """By its kind and its address alone it has a reading, a window for repeats, and no address of its own."""
    source = built(kind=kind, verifier=None, config=GOOD[kind])
    assert (source.kind, source.reading.default_type, source.reading.id) == (kind, "message", "")
    assert (source.on_invalid, source.addressed, source.dedupe_s) == ("quarantine", False, 86_400)
    assert not source.methods


@pytest.mark.parametrize(
    ("kind", "url", "found"),
    [
        ("redis", "rediss://h.example/7", ([("h.example", 6379)], True, "7")),
        ("nats", "tls://h.example", ([("h.example", 4222)], True, "")),
        ("rabbitmq", "amqp://127.0.0.1:1/a%2Fb", ([("127.0.0.1", 1)], False, "a%2Fb")),
        ("kafka", "kafka://a:1,b", ([("a", 1), ("b", 9092)], False, "")),
        ("mqtt", "mqtts://[::1]:99/", ([("::1", 99)], True, "")),
    ],
)
def test_an_address_is_taken_apart(kind: str, url: str, found: Any):
    """Hosts, ports, whether it is TLS, and the path."""
    hosts = parse_address(kind, url)
    assert ([(target.host, target.port) for target in hosts.targets], hosts.tls, hosts.path) == found


@pytest.mark.parametrize(
    ("kind", "config", "pointer"),
    [
        ("redis", {"stream": "s"}, "/config/url"),
        ("redis", {"url": "redis://h"}, "/config/stream"),
        ("redis", {"url": "http://h", "stream": "s"}, "/config/url"),
        ("redis", {"url": "redis://u:p@h", "stream": "s"}, "/config/url"),
        ("redis", {"url": "redis://h/zero", "stream": "s"}, "/config/url"),
        ("redis", {"url": "redis://h,i", "stream": "s"}, "/config/url"),
        ("redis", {"url": "redis://0x7f.1", "stream": "s"}, "/config/url"),
        ("redis", {"url": "redis://h", "stream": "a\x00b"}, "/config/stream"),
        ("redis", {"url": "redis://h", "stream": "s", "queue": "q"}, "/config/queue"),
        ("redis", {"url": "redis://h", "stream": "s", "start": "now"}, "/config/start"),
        ("nats", {"url": "nats://h/path", "stream": "s"}, "/config/url"),
        ("nats", {"url": "nats://h", "stream": "s", "consumer": "a.b"}, "/config/consumer"),
        ("rabbitmq", {"url": "amqp://h", "queue": "q", "username": "u"}, "/config/password"),
        ("kafka", {"url": "kafka://" + ",".join("abcdefghi"), "topic": "t"}, "/config/url"),
        ("kafka", {"url": "kafka://h", "topic": "a/b"}, "/config/topic"),
        ("mqtt", {"url": "mqtt://h", "topic": "$SYS/#"}, "/config/topic"),
    ],
)
def test_what_is_wrong_is_pointed_at(kind: str, config: dict[str, Any], pointer: str):
    """Each fault has a pointer to its member, and its value is not repeated."""
    with pytest.raises(Refusal) as refused:
        broker_config(kind, config)
    assert refused.value.pointer == pointer
    assert "u:p" not in refused.value.detail


@pytest.mark.parametrize(
    "member",
    [
        {"verifier": "github"},
        {"token": True},
        {"methods": ["POST"]},
        {"content_types": ["text/*"]},
        {"ip_ranges": ["192.0.2.0/24"]},
        {"rate": {"n": 1}},
        {"address_rate": {"n": 1}},
        {"answer": {"status": 202}},
    ],
)
def test_what_is_for_requests_is_refused(member: dict[str, Any]):
    """A member that would do nothing is not taken in silence."""
    with pytest.raises(Refusal) as refused:
        built(**{"kind": "redis", "verifier": None, "config": GOOD["redis"], **member})
    assert refused.value.pointer == "/" + next(iter(member))


def test_the_kind_stays():
    """A source cannot become another kind of source."""
    before = spec(kind="redis", verifier=None, config=GOOD["redis"])
    with pytest.raises(Refusal) as refused:
        merge_patch(before, b'{"kind": "nats"}')
    assert refused.value.pointer == "/kind"


@pytest.mark.parametrize("kind", KINDS)
def test_secrets_are_apart(kind: str):
    """Password and token are masked in what is stored and shown, and whole in what is used."""
    preset = preset_for(kind, None)
    secret = {"username": "me", "password": "of-the-broker"} | ({"token": "tok"} if kind == "nats" else {})
    config = {**GOOD[kind], **secret}
    own = secrets_of(preset, config, {})
    shown = spec(kind=kind, verifier=None, config=masked(preset, config))
    assert b"of-the-broker" not in encode_spec(shown)
    source = build(decode_spec(encode_spec(shown)), SourceSecrets(own))
    assert source.config["password"] == "of-the-broker"
    assert set(own) == set(secret) - {"username"}


@given(kind=st.sampled_from(KINDS), data=st.data())
def test_any_configuration_is_taken_or_refused(kind: str, data: st.DataObject):
    """Whatever is in it, it is a good one or a refusal with a pointer."""
    names = st.sampled_from(CONFIGS[kind].__struct_fields__)
    values = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just("redis://h")
    config = {**GOOD[kind], **data.draw(st.dictionaries(names, values, max_size=3))}
    refused: Refusal | None = None
    try:
        broker_config(kind, config)
    except Refusal as refusal:
        refused = refusal
    assert refused is None or refused.pointer is not None
