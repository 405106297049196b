"""What is Hookline itself, by URL and by address."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from hookline.core.address import parse_url
from hookline.core.ourselves import Ourselves

NAMED = [
    ("https://hooks.example.com", "https://hooks.example.com/v1/events", True),
    ("https://hooks.example.com", "https://HOOKS.example.com./", True),
    ("https://hooks.example.com", "http://hooks.example.com:443/x", True),
    ("https://hooks.example.com:443", "https://hooks.example.com", True),
    ("https://hooks.example.com/", "https://hooks.example.com?x=1", True),
    ("https://höoks.example.com", "https://xn--hoks-5qa.example.com/", True),
    ("http://hooks.example.com", "http://hooks.example.com:80/", True),
    ("https://hooks.example.com", "http://hooks.example.com/", False),
    ("https://hooks.example.com", "https://hooks.example.com:8443/", False),
    ("https://hooks.example.com", "https://example.com/", False),
    ("https://hooks.example.com", "https://a.hooks.example.com/", False),
    ("http://127.0.0.1:8400", "https://127.0.0.1:8400/v1/events", True),
    ("http://127.0.0.1:8400", "http://127.0.0.1:8401/", False),
    ("http://[2001:DB8::1]:8400", "http://[2001:db8:0::1]:8400/", True),
    ("https://example.com/hooks", "https://example.com/hooks", True),
    ("https://example.com/hooks/", "https://example.com/hooks/v1/events?x=/..", True),
    ("https://example.com/hooks", "https://example.com//%68OOKS/v1", True),
    ("https://example.com/hooks", "https://example.com/a/./..%2F/hooks/v1", True),
    ("https://example.com/hooks", "https://example.com/../hooks?", True),
    ("https://example.com/hooks", "https://example.com/hooks/%zz", True),
    ("https://example.com/hooks", "https://example.com/hookshop", False),
    ("https://example.com/hooks", "https://example.com/", False),
    ("https://example.com/hooks", "https://example.com/shop?to=/hooks", False),
    ("https://example.com/hooks", "https://example.com/hooks/../shop", False),
    ("https://not_a..name", "https://not-a.name/", False),
    ("", "https://example.com/", False),
]


@pytest.mark.parametrize(("public", "url", "ours"), NAMED)
def test_what_is_named(public: str, url: str, ours: bool):
    """A URL is ours by host and port, whatever the scheme, and only below the path of our address where it has one."""
    assert Ourselves(public).names(parse_url(url)) is ours


@pytest.mark.parametrize(
    ("host", "address", "ours"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.8.9.10", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "::1", False),
        ("127.0.0.1", "192.0.2.5", False),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("192.0.2.5", "192.0.2.5", True),
        ("192.0.2.5", "::ffff:192.0.2.5", True),
        ("192.0.2.5", "127.0.0.1", False),
        ("192.0.2.5", "192.0.2.6", False),
        ("fe80::1%lo", "fe80::1", True),
        ("0.0.0.0", "127.8.9.10", True),
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "192.0.2.5", True),
        ("0.0.0.0", "::ffff:192.0.2.5", True),
        ("0.0.0.0", "192.0.2.6", False),
        ("0.0.0.0", "2001:db8::5", False),
        ("::", "::1", True),
        ("::", "2001:db8::5", True),
        ("::", "2001:db8::6", False),
        ("::", "192.0.2.5", False),
    ],
)
def test_where_it_listens(host: str, address: str, ours: bool):
    """An address is ours at a port that we listen on: there itself, by the loopback, or as any of this machine's."""
    ourselves = Ourselves("", [(host, 8400)])
    local = {ip_address("192.0.2.5"), ip_address("2001:db8::5")}
    assert ourselves.listens(ip_address(address), 8400, local.__contains__) is ours
    assert not ourselves.listens(ip_address(address), 8401, local.__contains__)


def test_what_is_asked_of_the_machine():
    """Whether an address is the machine's is not asked at another port, nor where one address is listened on."""

    def asked(_address: object) -> bool:
        raise AssertionError("nobody needs to know")

    assert not Ourselves("", [("0.0.0.0", 8400)]).listens(ip_address("192.0.2.5"), 443, asked)
    assert not Ourselves("", [("192.0.2.4", 8400)]).listens(ip_address("192.0.2.5"), 8400, asked)
