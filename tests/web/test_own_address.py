"""Our own address: configured, or made of what is bound."""

from __future__ import annotations

import pytest

from hookline.web.own_address import is_wildcard, own_address


@pytest.mark.parametrize(
    ("host", "port", "secure", "url"),
    [
        ("127.0.0.1", 8400, False, "http://127.0.0.1:8400"),
        ("127.0.0.1", 8400, True, "https://127.0.0.1:8400"),
        ("192.0.2.5", 80, False, "http://192.0.2.5"),
        ("192.0.2.5", 443, True, "https://192.0.2.5"),
        ("192.0.2.5", 443, False, "http://192.0.2.5:443"),
        ("hooks.internal", 8443, True, "https://hooks.internal:8443"),
        ("localhost", 8400, False, "http://localhost:8400"),
        ("::1", 8400, False, "http://[::1]:8400"),
        ("2001:DB8::1", 8400, False, "http://[2001:db8::1]:8400"),
        ("fe80::1%eth0", 8400, False, "http://[fe80::1]:8400"),
        ("0.0.0.0", 8400, False, "http://127.0.0.1:8400"),
        ("::", 8400, True, "https://[::1]:8400"),
    ],
)
def test_what_is_bound(host: str, port: int, secure: bool, url: str):
    """Without HOOKLINE_PUBLIC_URL it is the host as configured and the port as bound; of all addresses, the
    loopback."""
    assert own_address("", host, port, secure=secure) == url


@pytest.mark.parametrize("public", ["https://hooks.example.com", "https://example.com/hooks", "http://[2001:db8::1]:1"])
def test_what_is_configured(public: str):
    """HOOKLINE_PUBLIC_URL wins over everything."""
    assert own_address(public, "0.0.0.0", 8400, secure=True) == public


def test_what_is_a_wildcard():
    """All addresses of the machine are recognised in both families."""
    assert [host for host in ("0.0.0.0", "::", "127.0.0.1", "::1", "localhost") if is_wildcard(host)] == [
        "0.0.0.0",
        "::",
    ]
