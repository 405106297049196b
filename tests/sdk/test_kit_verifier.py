"""`Verifier` of the receiver kit: every preset by the same call, what is fetched, what is split, what is answered."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from tests.sdk.signed import SECRET, SLACK_SECRET, github, sent, slack

from hookline.core.verifiers import presets
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Fetch, Fetched
from hookline.sdk import (
    Fetcher,
    MalformedBody,
    SignatureMismatch,
    SignatureMissing,
    TimestampOutsideTolerance,
    Unverifiable,
    VerificationError,
    Verifier,
)

VECTORS = json.loads((Path(__file__).parents[1] / "core" / "verifiers" / "vectors.json").read_text(encoding="utf-8"))
NOW_S = 1_760_000_004


def nothing(_: Fetch) -> Fetched:
    """Nothing comes."""
    return Fetched(0, b"")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: f"{one['provider']}-{one['name']}")
def test_every_provider_is_verified_by_the_same_call(vector: dict[str, Any]):
    """Recorded requests of every provider are deliveries or handshakes; without the secret there is no event."""
    verifier = Verifier(vector["provider"], fetch=nothing, **vector["config"])
    request: dict[str, Any] = {"method": vector["method"], "url": vector["url"], "now": vector["now"]}
    delivery = verifier.verify(vector["body"].encode(), vector["headers"], **request)
    assert vector["valid"]
    assert (delivery.handshake is None) == bool(delivery.events)
    for event in delivery:
        assert event.verifier == verifier.name
        assert event.source == verifier.name
        assert event.timestamp.tzinfo is not None
    stranger = Verifier(vector["provider"], fetch=nothing)
    with contextlib.suppress(VerificationError):
        assert stranger.verify(vector["body"].encode(), vector["headers"], **request).events == ()


async def test_the_same_call_in_an_event_loop():
    """`verify_async` gives the same delivery."""
    request = github(b'{"ref": "main"}')
    verifier = Verifier("github", secret=["old", "s3cret"])
    found = await verifier.verify_async(request.body, request.headers, now=NOW_S)
    assert found == verifier.verify(request.body, request.headers, now=NOW_S)
    assert (found.event.type, found.event.id, found.event.data) == ("push", "d-1", {"ref": "main"})


def test_stripes_own_kit_agrees():
    """What Stripe's library signs for tests is verified, and is the event that it constructs."""
    payload = json.dumps({"id": "evt_1", "object": "event", "type": "charge.failed", "created": NOW_S, "data": {}})
    signature = stripe.WebhookSignature._compute_signature(f"{NOW_S}.{payload}", "whsec_x")
    headers = {"Stripe-Signature": f"t={NOW_S},v1={signature}"}
    event = Verifier("stripe", secret="whsec_x").verify(payload.encode(), headers, now=NOW_S).event
    assert (event.id, event.type, event.data) == ("evt_1", "charge.failed", json.loads(payload))


@pytest.mark.parametrize(
    ("headers", "body", "kind"),
    [
        ({"X-GitHub-Event": "push"}, b"{}", SignatureMissing),
        ({"X-Hub-Signature-256": "sha256=zz"}, b"{}", VerificationError),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, b"{}", SignatureMismatch),
    ],
)
def test_refusals_have_their_classes(headers: dict[str, str], body: bytes, kind: type[VerificationError]):
    """What is not proven raises the class that says how."""
    with pytest.raises(kind) as error:
        Verifier("github", secret="s3cret").verify(body, headers)
    assert error.value.status == 401


def test_what_is_stale_malformed_or_not_configured_says_so():
    """A late request, a body without its signature and a missing secret are told apart."""
    vector = next(one for one in VECTORS if one["provider"] == "stripe")
    verifier = Verifier("stripe", **vector["config"])
    with pytest.raises(TimestampOutsideTolerance):
        verifier.verify(vector["body"].encode(), vector["headers"], now=vector["now"] + 1000)
    with pytest.raises(Unverifiable) as error:
        Verifier("stripe").verify(vector["body"].encode(), vector["headers"], now=vector["now"])
    assert (error.value.reason, error.value.status) == ("not_configured", 500)
    with pytest.raises(MalformedBody) as malformed:
        Verifier("mailgun", secret="x").verify(b"{", {"content-type": "application/json"})
    assert malformed.value.status == 400


def test_the_items_of_a_request_are_events_of_their_own():
    """A request of several events gives each with its bytes, id and type; `event` is only where there is one."""
    verifier = Verifier({"scheme": "none"})
    assert verifier.is_several is False
    vector = next(one for one in VECTORS if one["provider"] == "adyen")
    delivery = Verifier("adyen", **vector["config"]).verify(vector["body"].encode(), vector["headers"])
    [event] = delivery.events
    assert event is delivery.event
    assert event.body in vector["body"].encode()
    assert event.data == json.loads(event.body)
    assert delivery.reply is not None
    assert delivery.reply.body == b"[accepted]"


def test_a_handshake_is_answered_and_no_event():
    """Slack's question about the address has its answer, and `event` says that there is none."""
    request = slack(b'{"type": "url_verification", "challenge": "c1"}')
    delivery = Verifier("slack", secret=SLACK_SECRET).verify(request.body, request.headers)
    assert delivery.handshake is not None
    assert b"c1" in delivery.handshake.body
    assert list(delivery) == []
    with pytest.raises(LookupError):
        _ = delivery.event


def test_what_is_needed_is_fetched_and_handed_back():
    """A key that is not configured is asked for by way of `fetch`, which may be a coroutine or may fail."""
    vector = next(one for one in VECTORS if one["provider"] == "gcp_pubsub")
    config = {key: value for key, value in vector["config"].items() if key != "certs"}
    certificates = json.dumps(vector["config"]["certs"]).encode()
    asked: list[str] = []

    async def fetch(wanted: Fetch) -> Fetched:
        asked.append(wanted.url)
        return Fetched(200, certificates)

    request: dict[str, Any] = {"url": vector["url"], "now": vector["now"]}
    body, headers = vector["body"].encode(), vector["headers"]
    assert Verifier("gcp_pubsub", fetch=fetch, **config).verify(body, headers, **request).events
    assert all(url.startswith("https://www.googleapis.com/") for url in asked)

    def failing(_: Fetch) -> Fetched:
        raise RuntimeError

    for broken in (nothing, failing, lambda _: None):
        with pytest.raises(Unverifiable) as error:
            Verifier("gcp_pubsub", fetch=broken, **config).verify(body, headers, **request)
        assert (error.value.reason, error.value.status) == ("key_unavailable", 503)


def test_a_subscription_is_confirmed_before_it_is_answered(monkeypatch: pytest.MonkeyPatch):
    """Where the provider asks for it its address is called once, and if that fails it is to ask again."""
    from hookline.core.verifiers.verdict import Verified
    from hookline.sdk import verifier as module

    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
    monkeypatch.setattr(module, "judge", lambda *_: Verified(confirm_url=url))
    asked: list[Fetch] = []

    def fetch(wanted: Fetch) -> Fetched:
        asked.append(wanted)
        return Fetched(200 if len(asked) == 1 else 403, b"")

    verifier = Verifier("aws_sns", fetch=fetch)
    delivery = verifier.verify(b"{}", {})
    assert delivery.handshake is not None
    assert delivery.events == ()
    assert [(one.url, one.method, one.keep_s) for one in asked] == [(url, "GET", 0)]
    with pytest.raises(Unverifiable) as error:
        verifier.verify(b"{}", {})
    assert (error.value.reason, error.value.status) == ("unconfirmed_subscription", 503)


def test_a_verifier_that_never_has_enough_is_stopped(monkeypatch: pytest.MonkeyPatch):
    """After a few fetches it is a refusal."""
    from hookline.sdk import verifier as module

    monkeypatch.setattr(module, "judge", lambda *_: Fetch("again", "https://h.example/"))
    asked: list[Fetch] = []

    def fetch(wanted: Fetch) -> Fetched:
        asked.append(wanted)
        return Fetched(200, b"")

    with pytest.raises(Unverifiable):
        Verifier("github", fetch=fetch, secret="x").verify(b"", {})
    assert len(asked) < 10


def test_a_scheme_of_ones_own():
    """A verifier may be described by the parameters of a source."""
    spec = {"scheme": "static", "header": "x-key"}
    verifier = Verifier(spec, name="billing", secret="k1")
    assert verifier.name == "billing"
    event = verifier.verify(b'{"type": "a.b"}', {"X-Key": "k1", "content-type": "application/json"}).event
    assert (event.type, event.verifier) == ("a.b", "billing")
    with pytest.raises(SignatureMismatch):
        verifier.verify(b"{}", {"X-Key": "k2"})


@pytest.mark.parametrize(
    ("preset", "config"),
    [
        ("strype", {}),
        ("stripe", {"secrets": "x"}),
        ("stripe", {"secret": 7}),
        ("stripe", {"tolerance_s": "300"}),
        ({"scheme": "magic"}, {}),
        ({"scheme": "hmac", "algorithm": "md4"}, {}),
        ({}, {}),
        ("github", {"reading": {"type": "nowhere:x"}}),
        ("github", {"reading": {"kind": "body:x"}}),
        ("github", {"reading": {"type": 7}}),
    ],
)
def test_what_cannot_be_configured_is_refused_at_once(preset: Any, config: dict[str, Any]):
    """A preset, a key or a value that is none is a ValueError when the verifier is made."""
    with pytest.raises(ValueError):
        Verifier(preset, **config)


def test_events_may_be_read_another_way():
    """`reading` says where type, id and the items of an array are, for a preset or a scheme of one's own."""
    reading = {"type": "item:kind", "id": "item:n", "split": "body:items"}
    verifier = Verifier({"scheme": "none"}, reading=reading)
    assert verifier.is_several
    body = b'{"items": [{"kind": "a", "n": 1}, {"kind": "b", "n": 2}]}'
    delivery = verifier.verify(body, {"content-type": "application/json"})
    assert [(event.type, event.id, event.body) for event in delivery] == [
        ("a", "1", b'{"kind": "a", "n": 1}'),
        ("b", "2", b'{"kind": "b", "n": 2}'),
    ]
    request = github(b'{"ref": "main"}')
    event = (
        Verifier("github", secret="s3cret", reading={"subject": "body:ref"}).verify(request.body, request.headers).event
    )
    assert (event.type, event.subject) == ("push", "main")


def test_hookline_itself_is_a_preset_too():
    """`standard_webhooks` takes what `verify` takes."""
    request = sent()
    event = Verifier("standard_webhooks", secret=SECRET).verify(request.body, request.headers).event
    assert (event.id, event.type) == ("msg_1", "order.created")


JUNK = st.one_of(st.none(), st.integers(), st.text(max_size=60), st.binary(max_size=60))


@given(
    st.sampled_from(presets.NAMES),
    st.one_of(st.binary(max_size=200), st.just(b'{"type": 1, "data": [null]}'), JUNK),
    st.one_of(JUNK, st.dictionaries(st.text(max_size=30), st.one_of(st.text(max_size=60), st.binary(max_size=60)))),
    st.one_of(st.sampled_from(["POST", "GET", "OPTIONS"]), JUNK),
    st.one_of(st.just("https://h.example/?a=%zz"), JUNK),
    st.one_of(st.just(NOW_S), JUNK, st.floats()),
)
def test_whatever_arrives_one_tree_is_raised(name: str, body: Any, headers: Any, method: Any, url: Any, now: Any):
    """Of no preset does anything that is passed raise another exception."""
    verifier = Verifier(name, fetch=nothing)
    found = None
    with contextlib.suppress(VerificationError):
        found = verifier.verify(body, headers, method=method, url=url, now=now)
    assert found is None or found.events == () or name == "ifttt"


JSONISH = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(["type", "event", "data", "id", "Message", "entry"]), st.text(max_size=5)), inner
        ),
    ),
    max_leaves=8,
)
TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "text/xml",
    "multipart/form-data; boundary=x",
    "text/plain",
]


@given(
    st.sampled_from(presets.NAMES),
    st.one_of(st.binary(max_size=100), JSONISH.map(lambda value: json.dumps(value).encode())),
    st.one_of(st.sampled_from(TYPES), st.text(max_size=20)),
)
def test_whatever_a_proven_body_is_it_is_read(name: str, body: bytes, content_type: str):
    """No body of a proven request is a defect in reading it, of whatever provider, and its bytes are kept."""
    verifier = Verifier(name, fetch=nothing)
    delivery = verifier._read(Inbound("POST", "https://h.example/?x=1", (("content-type", content_type),), body), NOW_S)
    for event in delivery:
        assert event.body in body
        assert event.data is None or not event.malformed or event.data == event.body


def test_a_fetcher_is_the_default():
    """Nothing need be passed for presets that fetch."""
    assert isinstance(Verifier("gcp_pubsub", audience="a")._fetch, Fetcher)
