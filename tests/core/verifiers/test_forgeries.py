"""What a forger may try against every row of the table that covers the whole body, and that all of it is refused."""

from __future__ import annotations

import base64
import re

import pytest
from tests.core.verifiers.signed_requests import JSON_BODY, NOW_S, ROWS, Row, is_valid, reason

HEX_DIGITS = re.compile(r"(?<![0-9a-f])[0-9a-f]{40,128}(?![0-9a-f])")
BASE64_TEXT = re.compile(r"[A-Za-z0-9+/]{27,}={0,2}")
by_row = pytest.mark.parametrize("row", ROWS, ids=str)


def changed(headers: dict[str, str], row: Row, value: str | None) -> dict[str, str]:
    """The headers with another signature, or without."""
    others = {name: text for name, text in headers.items() if name.lower() != row.signature}
    return others if value is None else {**others, row.signature: value}


def signature(headers: dict[str, str], row: Row) -> str:
    """The signature's header as it was sent."""
    return next(text for name, text in headers.items() if name.lower() == row.signature)


def encoded(written: str) -> str:
    """The digits of the (last) signature within a header."""
    return (HEX_DIGITS.findall(written) or BASE64_TEXT.findall(written))[-1]


@by_row
@pytest.mark.parametrize("body", [JSON_BODY, b"", b"Hello, World!", b"\x00\xff\xfe not UTF-8", b"[]\r\n", b'{"a":NaN}'])
def test_what_is_signed_is_accepted_whatever_it_is(row, body):
    """The raw bytes count: no body is parsed before its signature is known to be good."""
    assert is_valid(row.judge(row.headers(body), body))


@by_row
def test_one_changed_bit_of_the_body_is_refused(row):
    """Each byte of the body is covered."""
    headers = row.headers()
    for place in range(len(JSON_BODY)):
        body = bytearray(JSON_BODY)
        body[place] ^= 1 << place % 8
        assert reason(row.judge(headers, bytes(body))) == "wrong_signature"


@by_row
@pytest.mark.parametrize(
    "body", [b"", JSON_BODY[:-1], JSON_BODY + b"\n", JSON_BODY + b" ", b"\xef\xbb\xbf" + JSON_BODY]
)
def test_a_shorter_or_longer_body_is_refused(row, body):
    """Not even white space may come or go."""
    assert reason(row.judge(row.headers(), body)) == "wrong_signature"


@by_row
@pytest.mark.parametrize("body", [b'{"data": 1}', b'{"data":1.0}', b'{ "data":1}', b'{"\\u0064ata":1}'])
def test_the_same_json_written_otherwise_is_refused(row, body):
    """What was signed is bytes, not values."""
    assert reason(row.judge(row.headers(b'{"data":1}'), body)) == "wrong_signature"


@by_row
def test_another_secret_is_refused(row):
    """Whoever has another secret is somebody else."""
    assert reason(row.judge(row.headers(secret=row.other))) == "wrong_signature"
    assert reason(row.judge(row.headers(), config=row.config_of(row.other))) == "wrong_signature"


@by_row
def test_while_a_secret_is_changed_both_are_accepted(row):
    """Of several configured secrets any may have signed, in any place of the list."""
    for secrets in ((row.secret, row.other), (row.other, row.secret)):
        config = row.config_of(*secrets)
        assert is_valid(row.judge(row.headers(), config=config))
        assert is_valid(row.judge(row.headers(secret=row.other), config=config))


@by_row
def test_without_the_signature_nothing_is_believed(row):
    """The header missing, empty or there twice proves nothing."""
    headers = row.headers()
    assert reason(row.judge(changed(headers, row, None))) == "missing_signature"
    assert reason(row.judge(changed(headers, row, ""))) == "malformed_signature"
    good = signature(headers, row)
    twice = [*headers.items(), (row.signature.upper(), good)]
    assert reason(row.judge(twice)) == "missing_signature"
    assert reason(row.judge([*headers.items(), (row.signature, "x")])) == "missing_signature"
    assert reason(row.judge([(row.signature, "x"), *headers.items()])) == "missing_signature"


@by_row
@pytest.mark.parametrize(
    "garbage",
    ["x", "=", ",", ";", " ", "t=", "v1=", "v1,", "v0=", "sha256=", "\xff\xfe", "é" * 40, "%00", "nul", "a" * 65_536],
)
def test_garbage_for_a_signature_is_refused(row, garbage):
    """Whatever stands there is refused, and nothing is raised."""
    headers = row.headers()
    assert reason(row.judge(changed(headers, row, garbage))) in ("malformed_signature", "malformed_timestamp")


@by_row
def test_a_signature_cut_short_or_run_on_is_refused(row):
    """All of it counts."""
    headers = row.headers()
    written = signature(headers, row)
    digits = encoded(written)
    for other in (digits[:-1], digits[:-2], digits[1:], digits + "0", digits + "00", digits + "=", digits * 2, ""):
        forged = changed(headers, row, written.replace(digits, other))
        assert reason(row.judge(forged)) in ("wrong_signature", "malformed_signature"), other


@by_row
def test_one_changed_digit_of_the_signature_is_refused(row):
    """Each digit of the signature counts."""
    headers = row.headers()
    written = signature(headers, row)
    digits = encoded(written)
    for place, digit in enumerate(digits):
        if digit == "=":
            continue
        other = digits[:place] + ("0" if digit != "0" else "1") + digits[place + 1 :]
        assert not is_valid(row.judge(changed(headers, row, written.replace(digits, other))))


@by_row
def test_another_encoding_of_the_same_bytes_is_refused(row):
    """Hex where base64 is meant, base64 where hex is, the URL's alphabet, blanks, and bits behind the end."""
    headers = row.headers()
    written = signature(headers, row)
    digits = encoded(written)
    is_hex = HEX_DIGITS.fullmatch(digits) is not None
    octets = bytes.fromhex(digits) if is_hex else base64.b64decode(digits)
    others = [base64.b64encode(octets).decode()] if is_hex else [octets.hex(), digits.rstrip("="), digits + "\t="]
    others += [f"{digits[:10]} {digits[10:]}", f"0x{digits}", f'"{digits}"', digits.replace(digits[3], "%41", 1)]
    for other in others:
        if other != digits:
            assert not is_valid(row.judge(changed(headers, row, written.replace(digits, other)))), other


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.name != "sendgrid" and "=" in encoded(signature(row.headers(), row))], ids=str
)
def test_bits_behind_the_end_of_base64_are_refused(row):
    """Two texts for one signature would be one too many."""
    headers = row.headers()
    written = signature(headers, row)
    digits = encoded(written)
    last = digits.rstrip("=")[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = digits.rstrip("=")
    padding = digits[len(body) :]
    neighbour = alphabet[alphabet.index(last) ^ 1]
    assert base64.b64decode(body[:-1] + neighbour + padding) == base64.b64decode(digits)
    forged = changed(headers, row, written.replace(digits, body[:-1] + neighbour + padding))
    assert reason(row.judge(forged)) == "malformed_signature"


@by_row
def test_ten_thousand_signatures_are_refused(row):
    """The work that a header can ask for is bounded, were the right one among them."""
    headers = row.headers()
    written = signature(headers, row)
    for separator in (",", ";", " "):
        forged = changed(headers, row, separator.join([written] * 10_000))
        assert reason(row.judge(forged)) == "malformed_signature"


@by_row
def test_the_names_of_headers_have_no_case(row):
    """Proxies write them as they like."""
    for write in (str.upper, str.lower, str.title):
        assert is_valid(row.judge({write(name): value for name, value in row.headers().items()}))


@by_row
def test_a_secret_of_one_character_can_be_used(row):
    """Secrets of any length but zero can be used, where they are text."""
    if row.configured is str and row.key == "secret" and not row.secret.startswith("whsec_A"):
        for secret in ("x", "ß", "\U0001f511", "a" * 1000, " blank ", "%41"):
            headers = row.headers(secret=secret)
            assert is_valid(row.judge(headers, config=row.config_of(secret)))


@by_row
@pytest.mark.parametrize("value", ["", 1, True, None, [], [""], ["a", 1], {}, "\ud800", "a" * 20_000, ["a"] * 17])
def test_an_unusable_secret_refuses(row, value):
    """A configuration that cannot be used is no way in."""
    config = {**row.config_of(), row.key: value}
    assert reason(row.judge(row.headers(), config=config)) == "not_configured"


@by_row
@pytest.mark.parametrize("value", [-1, "300", True, float("nan"), float("inf"), [], {}])
def test_an_unusable_tolerance_refuses(row, value):
    """Neither infinity nor a text is a tolerance."""
    if row.timestamp:
        config = row.config_of(tolerance_s=value)
        assert reason(row.judge(row.headers(), config=config)) == "not_configured"


@by_row
def test_another_method_is_refused_with_405(row):
    """A signature does not open other methods."""
    from hookline.core.verifiers.inbound import Inbound
    from hookline.core.verifiers.judge import judge
    from hookline.core.verifiers.presets import preset

    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        request = Inbound.of(method, "https://hooks.example.com/in/x", row.headers(), JSON_BODY)
        verdict = judge(preset(row.name), request, row.config_of(), NOW_S)
        assert reason(verdict) == "unsupported"
        assert verdict.status == 405  # type: ignore[union-attr]
