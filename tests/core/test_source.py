"""What a source asks of a request: networks, content types, headers, schemas."""

from __future__ import annotations

import pytest
from tests.core.sourcing import built, built_or_refused, spec

from hookline.core.source import Kept, MediaTypes, Ranges, is_credential


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.0", True),
        ("192.0.2.255", True),
        ("192.0.3.0", False),
        ("198.51.100.7", True),
        ("198.51.100.8", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:192.0.2.1", True),
        ("fe80::1%eth0", False),
        ("", False),
        ("unknown", False),
        ("192.0.2.1:80", False),
    ],
)
def test_ranges(address: str, inside: bool):
    """An address is in a network by its number; IPv4 in IPv6 counts as IPv4; what is no address is nowhere."""
    assert (address in Ranges(["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"])) is inside


@pytest.mark.parametrize("text", ["192.0.2.1/24", "host", "", "192.0.2.0/33", "1", "192.0.2.0/24 "])
def test_what_is_no_network(text: str):
    """A network with host bits, and anything else, is refused."""
    with pytest.raises(ValueError, match=r"does not appear|has host bits|IPv4|IPv6"):
        Ranges([text])


@pytest.mark.parametrize(
    ("essence", "taken"),
    [
        ("application/json", True),
        ("text/xml", True),
        ("text/", False),
        ("application/cloudevents+json", True),
        ("application/+json", False),
        ("application/xml", False),
        ("", False),
        ("image/png", False),
    ],
)
def test_media_types(essence: str, taken: bool):
    """Whole types, all of a kind, and all of a suffix."""
    assert (essence in MediaTypes(["Application/JSON", "text/*", "application/*+json"])) is taken


def test_any_media_type():
    """`*/*` takes whatever names itself, and not what does not."""
    assert ["a/b" in MediaTypes(["*/*"]), "" in MediaTypes(["*/*"])] == [True, False]


@pytest.mark.parametrize(
    "name",
    ["authorization", "proxy-authorization", "cookie", "x-gitlab-token", "x-api-key", "x-secret", "ifttt-service-key"],
)
def test_credentials_are_never_kept(name: str):
    """A header that says a secret as it is, is kept by no choice."""
    assert is_credential(name)
    for chosen in (None, [name], ["*"], [name[:3] + "*"]):
        assert name not in Kept(chosen)


def test_headers_that_are_kept():
    """Without a choice all but the connection's; with one those that it names, or whose beginning it does."""
    asked = ("stripe-signature", "x-github-event", "x-github-delivery", "user-agent", "host", "content-type", "via")
    assert [name for name in asked if name in Kept(None)] == list(asked[:4])
    assert [name for name in asked if name in Kept(["X-GitHub-*", "User-Agent"])] == list(asked[1:4])
    assert [name for name in asked if name in Kept([])] == []
    assert [name for name in asked if name in Kept(None, frozenset({"stripe-signature"}))] == list(asked[1:4])


def test_schemas_by_type():
    """A type's own schema, else that of the longest prefix, else that of all others."""
    source = built(schemas={"order.created": {}, "order.*": {}, "order.line.*": {}, "*": {}})
    schemas = source.schemas
    wanted = {
        "order.created": "order.created", "order.paid": "order.*", "order": "*", "order.line.added": "order.line.*",
        "order.line": "order.*", "x.y": "*",
    }  # fmt: skip
    for event_type, name in wanted.items():
        assert source.schema_of(event_type) is schemas[name], event_type
    assert built(schemas={"a": {}}).schema_of("b") is None
    assert built().schema_of("a") is None


def test_what_it_is_called():
    """Its outside id, and the source of its events."""
    source = built(name="stripe-live")
    assert (source.public_id, source.event_source) == ("src_" + "31" * 12, "/in/stripe-live")


@pytest.mark.parametrize(
    ("verifier", "config", "status", "body"),
    [
        ("adyen", {}, 200, "[accepted]"),
        ("adyen", {"mode": "header"}, 202, ""),
        ("discord", {}, 200, '{"type":5}'),
        ("discord", {"mode": "webhook_events"}, 204, ""),
        ("github", {}, 200, None),
    ],
)
def test_the_answer_is_that_of_the_mode(verifier: str, config: dict[str, str], status: int, body: str | None):
    """Some providers want another answer in another mode."""
    reply = built(verifier=verifier, config=config).reply
    assert (reply.status, reply.body) == (status, body)


def test_an_answer_without_a_body_gets_none_by_its_preset():
    """Who wants one says a status that has one."""
    assert built_or_refused(lambda: spec(verifier="okta", answer={"body": "x"})) is None
    assert built(verifier="okta", answer={"status": 200, "body": "x"}).reply.body == "x"
