"""Timestamps that are signed: the tolerance in both directions, to the second, and no other way to write one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.verifiers.signed_requests import (
    DATED,
    JSON_BODY,
    NOW_S,
    ROWS,
    digest,
    is_valid,
    linear_body,
    reason,
    zendesk,
)

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset

TOLERANT = [row for row in DATED if row.tolerance_s is not None]
FIXED = {"standard_webhooks", "svix", "gitlab", "discord", "sendgrid"}
"""Of these a time has ten digits."""
ODD_STAMPS = [
    "",
    "+1760000000",
    "-1760000000",
    " 1760000000",
    "1760000000 ",
    "1_760_000_000",
    "1760000000.0",
    "1.76e9",
    "0x68e77c80",
    "１７６０００００００",
    "١٧٦٠٠٠٠٠٠٠",
    "1760000000\x00",
    "1760000000;",
    "1760000000,",
    "inf",
    "nan",
    "2025-10-09T08:53:20Z",
    "9" * 17,
    "9" * 5000,
    "1760000000a",
    "1 760000000",
]


@pytest.mark.parametrize("row", TOLERANT, ids=str)
def test_the_default_tolerance_is_kept_to_the_second(row):
    """At the tolerance, before and after, it is fresh; a second beyond it is not."""
    tolerance_s = row.tolerance_s
    for now_s in (NOW_S - tolerance_s, NOW_S, NOW_S + tolerance_s, NOW_S + tolerance_s - 0.5):
        assert is_valid(row.judge(row.headers(), now_s=now_s))
    for now_s in (NOW_S - tolerance_s - 1, NOW_S + tolerance_s + 1, NOW_S + tolerance_s + 0.5, 0, 2**40, -(2**40)):
        assert reason(row.judge(row.headers(), now_s=now_s)) == "stale"


@pytest.mark.parametrize("row", DATED, ids=str)
@pytest.mark.parametrize("tolerance_s", [0, 1, 7.5, 86_400])
def test_a_configured_tolerance_replaces_the_default(row, tolerance_s):
    """Also where the provider's own has none, and also none at all."""
    config = row.config_of(tolerance_s=tolerance_s)
    for now_s in (NOW_S - tolerance_s, NOW_S, NOW_S + tolerance_s):
        assert is_valid(row.judge(row.headers(), now_s=now_s, config=config))
    for now_s in (NOW_S - tolerance_s - 1, NOW_S + tolerance_s + 1):
        assert reason(row.judge(row.headers(), now_s=now_s, config=config)) == "stale"


@pytest.mark.parametrize("row", [row for row in DATED if row.tolerance_s is None], ids=str)
def test_where_the_provider_names_no_tolerance_any_age_is_accepted(row):
    """A repeat may keep the time of the first try."""
    for now_s in (0, NOW_S - 10**6, NOW_S + 10**8):
        assert is_valid(row.judge(row.headers(), now_s=now_s))


@pytest.mark.parametrize("row", DATED, ids=str)
@pytest.mark.parametrize("now_s", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_clock_refuses(row, now_s):
    """What is not a time is not near."""
    config = row.config_of(tolerance_s=300)
    assert reason(row.judge(row.headers(), now_s=now_s, config=config)) == "stale"


@pytest.mark.parametrize("row", DATED, ids=str)
@pytest.mark.parametrize("stamp", ODD_STAMPS)
def test_a_time_that_is_no_plain_number_is_refused_though_signed(row, stamp):
    """However it is signed: a time is digits and nothing else."""
    headers = row.headers(stamp=stamp)
    verdict = row.judge(headers, config=row.config_of(tolerance_s=10**12))
    assert not is_valid(verdict)


@pytest.mark.parametrize("row", DATED, ids=str)
def test_another_time_than_the_signed_is_refused(row):
    """The time is covered."""
    old = {name: text.replace(str(NOW_S), str(NOW_S - 9000)) for name, text in row.headers().items()}
    assert reason(row.judge(old)) in ("wrong_signature", "stale")
    assert reason(row.judge(old, config=row.config_of(tolerance_s=10**6))) == "wrong_signature"


@pytest.mark.parametrize("row", [row for row in DATED if row.timestamp != "sig"], ids=str)
def test_a_time_missing_or_there_twice_is_refused(row):
    """Which of two would count is not for a guess."""
    headers = row.headers()
    without = {name: text for name, text in headers.items() if name.lower() != row.timestamp}
    assert reason(row.judge(without)) == "malformed_timestamp"
    assert reason(row.judge([*headers.items(), (row.timestamp, str(NOW_S))])) == "malformed_timestamp"


@pytest.mark.parametrize("row", [row for row in DATED if row.timestamp == "sig"], ids=str)
def test_a_field_for_the_time_missing_or_there_twice_is_refused(row):
    """The same within a header of fields."""
    (name,) = [name for name in row.headers() if name.lower() == row.signature]
    written = row.headers()[name]
    separator = ";" if ";" in written else ","
    first, rest = written.split(separator, 1)
    for forged in (rest, f"{first}{separator}{written}", f"{written}{separator}{first}"):
        assert reason(row.judge({name: forged})) == "malformed_timestamp"
    assert is_valid(row.judge({name: f"{rest}{separator}{first}"}))


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in FIXED], ids=str)
def test_the_border_between_time_and_body_cannot_be_moved(row):
    """Where nothing separates them, and where something does: a signature is for one time and one body."""
    body = b"7" + JSON_BODY
    headers = row.headers(body)
    longer = {name: text + "7" if name.lower() == row.timestamp else text for name, text in headers.items()}
    assert not is_valid(row.judge(longer, JSON_BODY, config=row.config_of(tolerance_s=10**12)))
    shorter = {name: text[:-1] if name.lower() == row.timestamp else text for name, text in row.headers().items()}
    assert not is_valid(row.judge(shorter, b"0" + JSON_BODY, config=row.config_of(tolerance_s=10**12)))


# ---------------------------------------------------------------------------------------- Linear's, Zendesk's


def linear(stamp: Any, now_s: float = NOW_S, **config: Any) -> str:
    """Why a request of Linear's with this `webhookTimestamp` is refused."""
    body = linear_body(stamp)
    headers = {"Linear-Signature": digest(b"lin", body).hex(), "Linear-Timestamp": str(NOW_S * 1000)}
    request = Inbound.of("POST", "https://h.example/in/linear", headers, body)
    return reason(judge(preset("linear"), request, {"secret": "lin", **config}, now_s))


def test_the_time_of_linear_is_a_number_of_ms_in_the_body():
    """Within a minute, to the ms; a header with a time is not looked at."""
    assert linear(NOW_S * 1000) == ""
    assert linear(NOW_S * 1000 - 60_000) == linear(NOW_S * 1000 + 60_000) == ""
    assert linear(NOW_S * 1000 - 60_001) == linear(NOW_S * 1000 + 60_001) == "stale"
    assert linear(NOW_S * 1000 - 1500, tolerance_s=1) == "stale"
    assert linear(NOW_S) == "stale"


@pytest.mark.parametrize(
    "stamp", [None, str(NOW_S * 1000), NOW_S * 1000.5, True, [], {}, -NOW_S * 1000, 10**300, 1e400]
)
def test_a_time_of_linear_that_is_no_whole_number_is_refused(stamp):
    """A text, a fraction, or nothing at all is no time."""
    assert linear(stamp) in ("malformed_timestamp", "malformed_body")


def zendesk_reason(stamp: str, *, body: bytes = JSON_BODY, now_s: float = NOW_S, **config: Any) -> str:
    """Why a request of Zendesk's with this time is refused."""
    request = Inbound.of("POST", "https://h.example/in/zendesk", zendesk(body, stamp, "zen"), body)
    return reason(judge(preset("zendesk"), request, {"secret": "zen", **config}, now_s))


def test_zendesk_has_no_tolerance_unless_one_is_configured():
    """Its time is RFC 3339, with any zone."""
    at = "2025-10-09T08:53:20Z"
    assert zendesk_reason(at, now_s=0) == ""
    assert zendesk_reason(at, tolerance_s=300, now_s=NOW_S + 300) == ""
    assert zendesk_reason(at, tolerance_s=300, now_s=NOW_S + 301) == "stale"
    assert zendesk_reason(at, tolerance_s=300, now_s=NOW_S - 301) == "stale"
    for same in ("2025-10-09T08:53:20.000Z", "2025-10-09T10:53:20+02:00", "2025-10-09T08:53:20.123456789Z"):
        assert zendesk_reason(same, tolerance_s=1) == ""


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "1760000000",
        "2025-10-09T08:53:20",
        "2025-10-09 08:53:20Z",
        "2025-10-09t08:53:20z",
        "2025-13-09T08:53:20Z",
        "2025-10-09T08:53:60Z",
        "2025-10-09T08:53:20Z{",
        "2025-10-09T08:53:2",
        "0000-00-00T00:00:00Z",
        "2025-10-09T08:53:20+99:99",
    ],
)
def test_a_time_of_zendesk_that_is_not_rfc_3339_is_refused_though_signed(stamp):
    """A time that took some of the body with it is not one."""
    assert zendesk_reason(stamp) == "malformed_timestamp"
