"""Headers that a client may add to his deliveries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.errors import Refusal
from hookline.core.request_headers import check_credential_header, check_headers, is_text

FORBIDDEN = """
    Host HOST content-length Transfer-Encoding connection Keep-Alive te Trailer upgrade expect HTTP2-Settings
    Proxy-Authorization proxy-connection webhook-id Webhook-Signature webhook-anything svix-id hookline-attempt
    Content-Type content-encoding User-Agent accept-encoding traceparent tracestate Authorization cookie
"""
NAMES_NEVER = ["", " ", "a b", "a:", ":path", "a\r\n", "ä", "a\x00", "x" * 256, "(a)", "a/b", "a@b", '"a"']


def refusal(headers: dict[str, str], body_format: str = "standard") -> Refusal:
    """Why headers are refused."""
    with pytest.raises(Refusal) as refused:
        check_headers(headers, body_format=body_format)
    assert refused.value.code == "invalid_header"
    return refused.value


@pytest.mark.parametrize("name", FORBIDDEN.split())
def test_what_is_the_connections_or_ours_is_refused(name: str) -> None:
    """Headers of the connection, of the format, of ours and credentials are refused in any spelling."""
    assert refusal({"X-Fine": "1", name: "x"}).pointer == f"/headers/{name}"


@pytest.mark.parametrize("name", NAMES_NEVER)
def test_a_name_is_a_token(name: str) -> None:
    """A name is a token of RFC 9110."""
    refusal({name: "x"})


@pytest.mark.parametrize(
    "value", ["a\r\nX: b", "a\nb", "a\rb", "a\x00b", "\x7f", " a", "a ", "\ta", "é", "☃", "a\x85b"]
)
def test_a_value_is_printable_ascii(value: str) -> None:
    """No value can end its line, hide a character, or depend on an encoding."""
    assert refusal({"X-Custom": value}).pointer == "/headers/X-Custom"


def test_what_is_allowed() -> None:
    """Ordinary headers pass, also with an empty value and with spaces and tabs inside."""
    check_headers({"X-Custom": "a b\tc", "X-Empty": "", "Accept": "*/*", "x_under~score!": "1"}, body_format="raw")


def test_cloudevents_headers_belong_to_their_format() -> None:
    """ce- headers are refused only where the format sets them."""
    check_headers({"ce-custom": "1"}, body_format="standard")
    refusal({"Ce-Custom": "1"}, "cloudevents-binary")


def test_the_same_name_twice_is_refused() -> None:
    """Two spellings of one name are one header given twice."""
    refusal({"X-A": "1", "x-a": "2"})


def test_there_are_limits() -> None:
    """50 headers and 8 KiB pass; more of either is refused at the whole."""
    check_headers({f"x-{number}": "" for number in range(50)}, body_format="raw")
    assert refusal({f"x-{number}": "" for number in range(51)}).pointer == "/headers"
    check_headers({"x-big": "a" * (8192 - 9)}, body_format="raw")
    assert refusal({"x-big": "a" * (8192 - 8)}).pointer == "/headers"


def test_names_are_escaped_in_pointers() -> None:
    """A pointer to a name with a slash is a correct pointer."""
    assert refusal({"a/b~c": "x"}).pointer == "/headers/a~1b~0c"


def test_credentials_may_use_their_own_headers() -> None:
    """Authorization and Cookie are fine for a credential, Host and ours are not."""
    for name in ("Authorization", "Cookie", "X-Api-Key"):
        check_credential_header(name, pointer="/auth/header")
    for name in ("Host", "webhook-id", "Content-Type", "a b", "Proxy-Authorization"):
        with pytest.raises(Refusal) as refused:
            check_credential_header(name, pointer="/auth/header")
        assert refused.value.pointer == "/auth/header"


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=5))
def test_what_passes_cannot_break_a_line(headers: dict[str, str]) -> None:
    """Whatever is accepted is one line of ASCII per header."""
    try:
        check_headers(headers, body_format="raw")
    except Refusal:
        return
    for name, value in headers.items():
        line = f"{name}: {value}"
        assert line.isascii()
        assert line.replace("\t", " ").isprintable()


@pytest.mark.parametrize(
    ("value", "plain", "spaced"),
    [("abc", True, True), ("", True, True), ("a b", False, True), ("a\tb", False, True), (" a", False, False)],
)
def test_text_with_and_without_spaces(value: str, plain: bool, spaced: bool) -> None:
    """Spaces inside are text only where they are asked for."""
    assert (is_text(value), is_text(value, spaces=True)) == (plain, spaced)
