"""What an endpoint says when it is asked whether it wants to be one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.consent import (
    ANSWER_BYTES_MAX,
    ASKED_PER_MIN_DEFAULT,
    CHALLENGE_RANDOM_BYTES,
    PER_MIN_MAX,
    Permission,
    asked_per_min,
    echo_fault,
    endpoint_of_token,
    exceeds,
    make_challenge,
    must_ask,
    origin_of,
    planned_try_s,
    read_callback,
    read_permission,
    smaller_rate,
    token_subject,
)
from hookline.core.endpoint import EndpointSpec, RateSpec

CHALLENGE = make_challenge(bytes(range(CHALLENGE_RANDOM_BYTES)))
ORIGIN = "hooks.example"
H = 3600.0

rates = st.builds(
    RateSpec,
    n=st.integers(1, 1_000_000),
    per_s=st.floats(0.001, 86_400, allow_nan=False),
    burst=st.none() | st.integers(1, 1_000_000),
)


def per_min(rate: RateSpec) -> float:
    return rate.n * 60 / rate.per_s


def burst(rate: RateSpec) -> int:
    return rate.n if rate.burst is None else rate.burst


def fields(**values: str) -> list[tuple[bytes, bytes]]:
    return [(f"WebHook-Allowed-{name}".encode(), value.encode("latin-1")) for name, value in values.items()]


# ------------------------------------------------------------------------------------------------ the challenge


@pytest.mark.parametrize(
    "body",
    [
        CHALLENGE.encode(),
        f"  {CHALLENGE}\r\n".encode(),
        json.dumps({"challenge": CHALLENGE}).encode(),
        json.dumps({"ok": True, "challenge": CHALLENGE, "more": [1, 2.5, None]}, indent=2).encode(),
        json.dumps({"challenge": CHALLENGE, "big": int("9" * 400)}).encode(),
    ],
)
def test_an_echo(body: bytes) -> None:
    """The challenge as the body, white space around it aside, or as a member of a JSON object, is an echo."""
    assert echo_fault(200, body, CHALLENGE) is None
    assert echo_fault(299, body, CHALLENGE) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        CHALLENGE[:-1].encode(),
        CHALLENGE.lower().encode(),
        f"{CHALLENGE}{CHALLENGE}".encode(),
        json.dumps(CHALLENGE).encode(),
        json.dumps([CHALLENGE]).encode(),
        json.dumps({"data": {"challenge": CHALLENGE}}).encode(),
        json.dumps({"challenge": [CHALLENGE]}).encode(),
        json.dumps({"challenge": f" {CHALLENGE}"}).encode(),
        json.dumps({"challenge": None}).encode(),
        json.dumps({"Challenge": CHALLENGE}).encode(),
        b'{"challenge": "\\ud800"}',
        b'{"challenge": "' + CHALLENGE.encode() + b'"',
        b"[" * ANSWER_BYTES_MAX,
        b'{"a":' * 3000,
        b"\xff\xfe" + CHALLENGE.encode("utf-16-le"),
    ],
)
def test_no_echo(body: bytes) -> None:
    """Anything else is none, and says what was expected without repeating the challenge."""
    fault = echo_fault(200, body, CHALLENGE)
    assert fault is not None
    assert "echo" in fault
    assert CHALLENGE not in fault


@pytest.mark.parametrize("status", [None, 100, 199, 300, 302, 404, 500])
def test_an_echo_is_2xx(status: int | None) -> None:
    """The right body with another status is no echo."""
    assert echo_fault(status, CHALLENGE.encode(), CHALLENGE) is not None


@given(st.binary(max_size=200))
def test_no_body_echoes_by_chance(body: bytes) -> None:
    """Whatever bytes an answer holds, they are judged without an exception, and only the challenge passes."""
    assert (echo_fault(200, body, CHALLENGE) is None) == (body.strip() == CHALLENGE.encode())


@given(st.binary(min_size=CHALLENGE_RANDOM_BYTES, max_size=CHALLENGE_RANDOM_BYTES))
def test_a_challenge_is_plain_text(random: bytes) -> None:
    """A challenge survives JSON, forms and URLs unchanged, and holds all its random bits."""
    challenge = make_challenge(random)
    assert len(challenge) == 43
    assert challenge.replace("-", "a").replace("_", "a").isalnum()


# ------------------------------------------------------------------------------------------------ the handshake


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        (fields(Origin=ORIGIN, Rate="120"), 120),
        (fields(Origin="*", Rate="*"), None),
        (fields(Origin=" HOOKS.example ", Rate="\t7 "), 7),
        ([(b"webhook-allowed-origin", b"*"), (b"WEBHOOK-ALLOWED-RATE", b"1"), (b"allow", b"POST")], 1),
        (fields(Origin="*", Rate="9999999999"), 9_999_999_999),
    ],
)
def test_consent(headers: list[tuple[bytes, bytes]], rate: int | None) -> None:
    """Our origin or any, with a rate or any, is consent, whatever the case and the white space."""
    assert read_permission(headers, ORIGIN) == Permission(None, rate)


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([], "lacks WebHook-Allowed-Origin"),
        (fields(Rate="120"), "lacks WebHook-Allowed-Origin"),
        (fields(Origin=ORIGIN), "lacks WebHook-Allowed-Rate"),
        (fields(Origin="other.example", Rate="*"), "neither hooks.example nor"),
        (fields(Origin="*.example", Rate="*"), "neither"),
        (fields(Origin="", Rate="*"), "neither"),
        (fields(Origin=f"{ORIGIN}, other.example", Rate="*"), "neither"),
        (fields(Origin=f"https://{ORIGIN}", Rate="*"), "neither"),
        ([*fields(Origin=ORIGIN), *fields(Origin="*", Rate="1")], "more than once"),
        ([*fields(Origin="*", Rate="1"), *fields(Rate="2")], "more than once"),
        *((fields(Origin="*", Rate=rate), "neither a positive") for rate in
          ("0", "-1", "+1", "1.5", "1e3", "ten", "", "99999999999", "\xb2", "12, 12", "0x10")),
    ],
)  # fmt: skip
def test_no_consent(headers: list[tuple[bytes, bytes]], says: str) -> None:
    """Without both headers, each once and well formed, there is no consent, and it is said what was missing."""
    permission = read_permission(headers, ORIGIN)
    assert permission.missing is not None
    assert says in permission.missing
    assert permission.rate_per_min is None


def test_a_callback_is_consent() -> None:
    """To call the callback allows what was asked, unless the call names another rate."""
    assert read_callback([], ORIGIN, 600) == Permission(None, 600)
    assert read_callback(fields(Rate="30"), ORIGIN, 600) == Permission(None, 30)
    assert read_callback(fields(Rate="*", Origin="*"), ORIGIN, 600) == Permission(None)
    assert read_callback(fields(Origin="other.example"), ORIGIN, 600).missing is not None
    assert read_callback(fields(Rate="none"), ORIGIN, 600).missing is not None


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), max_size=5))
def test_headers_of_any_kind(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever headers come, they are judged without an exception."""
    assert read_permission([*headers, *fields(Origin=ORIGIN)], ORIGIN).missing is not None


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hooks.example", "hooks.example"),
        ("https://Hooks.Example:8443/behind/a/path", "hooks.example"),
        ("http://127.0.0.1:8400", "127.0.0.1"),
        ("http://[::1]:8400", "::1"),
        ("https://Bücher.example/x", "xn--bcher-kva.example"),
        ("", "localhost"),
    ],
)
def test_our_origin(url: str, origin: str) -> None:
    """Our origin is the host name of our public address."""
    assert origin_of(url) == origin


# ----------------------------------------------------------------------------------------------------- the rate


@pytest.mark.parametrize(
    ("own", "allowed", "becomes"),
    [
        (None, None, None),
        (None, 120, RateSpec(120, 60.0, 1)),
        (None, 60_000, RateSpec(60_000, 60.0, 100)),
        (RateSpec(10), None, RateSpec(10)),
        (RateSpec(1, 1.0, 1), 120, RateSpec(1, 1.0, 1)),
        (RateSpec(1, 1.0, 50), 120, RateSpec(1, 1.0, 50)),
        (RateSpec(1, 1.0, 500), 120, RateSpec(1, 1.0, 60)),
        (RateSpec(10), 600, RateSpec(10, 1.0, 1)),
        (RateSpec(10), 60, RateSpec(60, 60.0, 1)),
        (RateSpec(1, 3600.0), 1, RateSpec(1, 3600.0)),
    ],
)
def test_the_smaller_rate(own: RateSpec | None, allowed: int | None, becomes: RateSpec | None) -> None:
    """The stored rate is the smaller of the endpoint's own and the allowed one."""
    assert smaller_rate(own, allowed) == becomes


@given(st.none() | rates, st.integers(1, 10_000_000))
def test_what_is_allowed_is_kept(own: RateSpec | None, allowed: int) -> None:
    """The steady rate is never above the allowed nor above one's own, and no minute has more than the allowed by
    more than one, or a tenth of a second's worth."""
    rate = smaller_rate(own, allowed)
    assert rate is not None
    steady = per_min(rate)
    assert steady <= min(allowed, PER_MIN_MAX) * (1 + 1e-9)
    assert burst(rate) + steady <= allowed + max(1, allowed // 600) + 1e-3
    if own is not None:
        assert steady <= per_min(own) * (1 + 1e-9)
        assert burst(rate) <= burst(own)
    assert smaller_rate(rate, allowed) == rate
    assert not exceeds(rate, rate)


@given(st.none() | rates)
def test_what_is_asked_for(own: RateSpec | None) -> None:
    """A rate is asked for as a whole number a minute, at least 1, never more than one's own where that is at least
    1; and what is allowed as asked changes no steady rate by more than the rounding."""
    asked = asked_per_min(own)
    assert 1 <= asked <= PER_MIN_MAX
    assert asked == ASKED_PER_MIN_DEFAULT if own is None else asked <= max(1, per_min(own))


@pytest.mark.parametrize(
    ("new", "old", "asks"),
    [
        (None, None, False),
        (RateSpec(10), None, False),
        (None, RateSpec(10), True),
        (RateSpec(10), RateSpec(10), False),
        (RateSpec(9, 1.0, 9), RateSpec(10), False),
        (RateSpec(600, 60.0, 10), RateSpec(10), False),
        (RateSpec(600, 60.0), RateSpec(10), True),
        (RateSpec(11), RateSpec(10), True),
    ],
)
def test_whether_to_ask_about_a_rate(new: RateSpec | None, old: RateSpec | None, asks: bool) -> None:
    """A rate above the one that was allowed, in the long run or at once, is asked about."""
    assert exceeds(new, old) is asks


@pytest.mark.parametrize(
    ("changes", "asks"),
    [
        ({}, False),
        ({"description": "x", "event_types": ["a"], "headers": {"x": "y"}, "timeout_s": 1}, False),
        ({"url": "https://other.example"}, True),
        ({"kind": "mailbox"}, True),
        ({"config": {"a": 1}}, True),
        ({"verify": "challenge"}, True),
        ({"verify": "none"}, False),
        ({"verify": "none", "url": "https://other.example"}, False),
        ({"rate": RateSpec(5)}, False),
        ({"rate": RateSpec(20)}, True),
        ({"rate": None}, True),
    ],
)
def test_what_makes_it_another_endpoint(changes: dict[str, object], asks: bool) -> None:
    """A change of where it leads, of how it is verified, or to a rate that was not allowed is asked about."""
    old = {"url": "https://a.example", "verify": "cloudevents", "rate": RateSpec(10)}
    assert must_ask(EndpointSpec(**old), EndpointSpec(**{**old, **changes})) is asks


def test_only_the_handshake_is_about_a_rate() -> None:
    """A challenge was not asked about a rate, so a higher one is nobody's business."""
    old, new = (EndpointSpec("https://a.example", verify="challenge", rate=RateSpec(n)) for n in (1, 2))
    assert not must_ask(old, new)


# ---------------------------------------------------------------------------------------------- tokens, and when


@pytest.mark.parametrize(
    ("age_s", "planned_s"),
    [
        (0.0, None),
        (9.9, None),
        (10.0, 10.0),
        (59.0, 10.0),
        (60.0, 60.0),
        (300.0, 300.0),
        (1800.0, 1800.0),
        (6 * H - 1, 1800.0),
        (6 * H, 6 * H),
        (47 * H, 42 * H),
        (72 * H, 72 * H),
        (78 * H - 1, 72 * H),
        (78 * H, None),
        (1000 * H, None),
        (-5.0, None),
    ],
)
def test_when_it_is_asked_again(age_s: float, planned_s: float | None) -> None:
    """Again after 10 s, 1 min, 5 min, 30 min, then every 6 hours for 3 days, and then no more."""
    assert planned_try_s(age_s) == planned_s


@given(st.binary(min_size=12, max_size=12), st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_token_is_of_one_version(endpoint_id: bytes, version: int, other: int) -> None:
    """A token's subject has 16 bytes, names its endpoint, and another version's is another."""
    subject = token_subject(endpoint_id, version)
    assert len(subject) == 16
    assert endpoint_of_token(subject) == endpoint_id
    assert (token_subject(endpoint_id, other) == subject) == ((version - other) % 2**32 == 0)
