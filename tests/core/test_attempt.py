"""Reasons, causes and bodies of attempts."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.attempt import REASONS, Body, BodyEncoding, Cause, Exchange, Kind, Outcome, Timing, cause_of
from hookline.core.history import AttemptRecord, pack_attempt

PUBLISHED = """
    redirect client_error server_error rate_limited gone timeout dns connect tls address_refused protocol rejected
    answer_rejected unroutable unauthorized too_large endpoint_deleted expired overflow poison
"""


def test_the_reasons_of_the_api_exist() -> None:
    """Every reason that the API publishes is in the table, and no other."""
    assert set(REASONS) == set(PUBLISHED.split())
    assert all(code == reason.code for code, reason in REASONS.items())


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_reason_can_be_explained(code: str) -> None:
    """Each reason has a cause, says what it means and what to do, in whole sentences."""
    reason = REASONS[code]
    assert reason.cause in Cause
    for sentence in (reason.means, reason.remedy):
        assert sentence[0].isupper()
        assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("reason", "status", "cause"),
    [
        (None, 200, None),
        ("client_error", 401, "authentication"),
        ("client_error", 403, "authentication"),
        ("client_error", 407, "authentication"),
        ("rejected", 401, "authentication"),
        ("client_error", 400, "data_format"),
        ("client_error", 422, "data_format"),
        ("client_error", 404, "configuration"),
        ("client_error", 405, "configuration"),
        ("client_error", 409, "application"),
        ("rejected", None, "application"),
        ("server_error", 500, "application"),
        ("rate_limited", 429, "rate_limit"),
        ("timeout", None, "overload"),
        ("dns", None, "network"),
        ("tls", None, "configuration"),
    ],
)
def test_whose_business_a_failure_is(reason: str | None, status: int | None, cause: str | None) -> None:
    """The cause is the reason's own, sharpened by statuses that say more."""
    assert cause_of(reason, status) == cause


@given(st.sampled_from(sorted(REASONS)), st.none() | st.integers(100, 599))
def test_every_failure_has_a_cause(reason: str, status: int | None) -> None:
    """No reason and no status is without a cause of the published list."""
    assert cause_of(reason, status) in set(Cause)


def test_the_causes_of_the_api() -> None:
    """The causes are those that the API publishes."""
    published = "configuration network application authentication rate_limit data_format overload"
    assert [cause.value for cause in Cause] == published.split()


@given(st.binary(max_size=50), st.binary(max_size=50), st.binary(max_size=200))
def test_a_body_holds_the_payload_byte_for_byte(prefix: bytes, suffix: bytes, data: bytes) -> None:
    """Rendering splices the payload in as it is, as base64, or not at all."""
    assert Body(prefix, suffix, BodyEncoding.AS_IS, "text/plain").render(data) == prefix + data + suffix
    in_base64 = Body(prefix, suffix, BodyEncoding.BASE64, "text/plain").render(data)
    assert in_base64 == prefix + base64.b64encode(data) + suffix
    assert Body(prefix, suffix, BodyEncoding.NONE, "text/plain").render(data) == prefix + suffix


def test_a_bare_payload_is_not_copied() -> None:
    """Without anything around it the payload itself is sent."""
    data = b"x" * 1000
    assert Body(b"", b"", BodyEncoding.AS_IS, "text/plain").render(data) is data


EXCHANGE = Exchange("POST", "https://a/", [(b"webhook-id", b"evt_1")], b"{", b"}", 0, [(b"x", b"\xff")], b"no\x00")


@pytest.mark.parametrize("exchange", [None, EXCHANGE, msgspec.Raw(msgspec.msgpack.encode(EXCHANGE))])
@pytest.mark.parametrize(("kind", "reason", "next_wait_s"), [(Kind.DELIVERED, None, None), ("retry", "timeout", 2.5)])
def test_an_attempt_is_packed_as_its_record(
    exchange: Exchange | msgspec.Raw | None, kind: Kind | str, reason: str | None, next_wait_s: float | None
) -> None:
    """What is packed in one step is byte for byte what the record packs, and is read as that record."""
    timing = Timing(None, 3, None, 1200, 1500)
    outcome = Outcome(Kind.RETRY, reason, None, "late", 503, timing, exchange)
    packed = pack_attempt(
        outcome,
        number=3,
        at_ms=1_767_225_600_000,
        kind=kind,
        reason=reason,
        cause=cause_of(reason, 503),
        next_wait_s=next_wait_s,
        endpoint_version=7,
    )
    record = AttemptRecord(
        3, 1_767_225_600_000, str(kind), 503, reason, cause_of(reason, 503), "late", 1500, timing, next_wait_s, 7
    )
    record = msgspec.structs.replace(record, exchange=outcome.seen)
    assert packed == record.pack()
    assert AttemptRecord.unpack(packed) == record
    assert outcome.seen == (None if exchange is None else EXCHANGE)
