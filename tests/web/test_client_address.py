"""Who the client is: forged and honest X-Forwarded-For, from peers that are trusted and from others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.web.client_address import HOPS_MAX, Proxies

PEER, STRANGER, CLIENT = "10.0.0.1", "203.0.113.9", "198.51.100.7"
PROXIES = Proxies(("10.0.0.0/8", "fd00::/8", "192.0.2.1/32"))
FORGED = [
    ("x-forwarded-for", CLIENT),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-for", f"{CLIENT}, 10.0.0.1"),
    ("x-forwarded-for", f"10.0.0.1, {CLIENT}, 10.0.0.1"),
    ("x-forwarded-for", ""),
    ("x-forwarded-for", "," * 5000),
    ("x-forwarded-for", "\xff\xfe"),
    ("x-forwarded-for", "10.0.0.1\t"),
    ("forwarded", f"for={CLIENT};proto=https;host=evil.example"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-port", "1"),
    ("x-forwarded-prefix", "//evil.example"),
    ("x-forwarded-server", "evil.example"),
    ("x-real-ip", CLIENT),
    ("client-ip", CLIENT),
    ("true-client-ip", CLIENT),
    ("cf-connecting-ip", CLIENT),
    ("x-client-ip", CLIENT),
    ("x-original-forwarded-for", CLIENT),
    ("via", f"1.1 {CLIENT}"),
]


def lines(*values: str) -> list[tuple[bytes, bytes]]:
    """X-Forwarded-For, a line for each value, among other headers."""
    return [(b"host", b"x"), *((b"x-forwarded-for", value.encode("latin-1")) for value in values), (b"via", b"1.1 x")]


@pytest.mark.parametrize(("name", "value"), FORGED)
@pytest.mark.parametrize("proxies", [Proxies(), PROXIES], ids=["none trusted", "others trusted"])
def test_a_stranger_says_nothing_about_himself(proxies: Proxies, name: str, value: str):
    """From a peer that is not trusted no header changes who the client is."""
    assert not proxies.trusts(STRANGER)
    assert proxies.client(STRANGER, [(name.encode(), value.encode("latin-1"))]) == STRANGER


@pytest.mark.parametrize(("name", "value"), [pair for pair in FORGED if pair[0] != "x-forwarded-for"])
def test_a_trusted_proxy_speaks_in_one_header(name: str, value: str):
    """From a trusted peer, too, no header but X-Forwarded-For says who the client is."""
    assert PROXIES.client(PEER, [(name.encode(), value.encode())]) == PEER


@pytest.mark.parametrize(
    ("peer", "given", "client"),
    [
        (PEER, (), PEER),
        (PEER, ("",), PEER),
        (PEER, (CLIENT,), CLIENT),
        (PEER, (f" {CLIENT} ",), CLIENT),
        # What the client wrote stands to the left of what the proxy added.
        (PEER, (f"127.0.0.1, {CLIENT}",), CLIENT),
        (PEER, (f"10.9.9.9, {CLIENT}",), CLIENT),
        (PEER, (f"<script>, {CLIENT}",), CLIENT),
        (PEER, ("1.1.1.1, " * 500 + CLIENT,), CLIENT),
        # Proxies in a row.
        (PEER, (f"{CLIENT}, 10.2.2.2",), CLIENT),
        (PEER, (f"8.8.8.8, {CLIENT}, 10.2.2.2, fd00::7",), CLIENT),
        (PEER, (f"{CLIENT}, 192.0.2.2",), "192.0.2.2"),
        (PEER, ("10.3.3.3, 10.2.2.2",), "10.3.3.3"),
        # Several lines are one list, in their order.
        (PEER, (CLIENT, "10.2.2.2"), CLIENT),
        (PEER, ("8.8.8.8", CLIENT), CLIENT),
        (PEER, ("10.2.2.2", CLIENT, "10.4.4.4"), CLIENT),
        # Ports, brackets, IPv6, IPv4 in IPv6.
        (PEER, (f"{CLIENT}:51234",), CLIENT),
        (PEER, ("2001:db8::9",), "2001:db8::9"),
        (PEER, ("2001:0DB8:0:0::9",), "2001:db8::9"),
        (PEER, ("[2001:db8::9]",), "2001:db8::9"),
        (PEER, ("[2001:db8::9]:443",), "2001:db8::9"),
        (PEER, (f"::ffff:{CLIENT}",), CLIENT),
        (PEER, (f"[::ffff:{CLIENT}]:80, [::ffff:10.1.1.1]:80",), CLIENT),
        ("::ffff:10.0.0.1", (CLIENT,), CLIENT),
        ("::ffff:10.0.0.1", (), PEER),
        ("fd00::1", (CLIENT,), CLIENT),
        ("fd00::1%eth0", (CLIENT,), CLIENT),
        # What is no address ends the list at the hop before it.
        (PEER, ("garbage",), PEER),
        (PEER, (f"{CLIENT}, unknown, 10.2.2.2",), "10.2.2.2"),
        (PEER, (f"{CLIENT}, _hidden",), PEER),
        (PEER, (f"{CLIENT},",), PEER),
        (PEER, (f"{CLIENT}, , 10.2.2.2",), "10.2.2.2"),
        (PEER, ("256.1.1.1",), PEER),
        (PEER, ("1.2.3",), PEER),
        (PEER, ("01.2.3.4",), PEER),
        (PEER, ("1.2.3.4:",), PEER),
        (PEER, ("1.2.3.4:123456",), PEER),
        (PEER, ("[1.2.3.4",), PEER),
        (PEER, ("1.2.3.4/24",), PEER),
        (PEER, ('"1.2.3.4"',), PEER),
        (PEER, ("for=1.2.3.4",), PEER),
        (PEER, ("1.2.3.4 5.6.7.8",), PEER),
        (PEER, ("\xb2.1.1.1",), PEER),
        (PEER, ("1" * 70000,), PEER),
        (PEER, (" " * 70000 + CLIENT,), PEER),
        # A list of proxies without an end.
        (PEER, (", ".join(["8.8.8.8", "10.5.5.5"] + ["10.6.6.6"] * (HOPS_MAX - 1)),), "10.5.5.5"),
        (PEER, (", ".join(["8.8.8.8", "10.5.5.5"] + ["10.6.6.6"] * HOPS_MAX),), "10.6.6.6"),
        # A peer without an address, as on a Unix socket, is nobody whom anybody trusts.
        ("", (CLIENT,), ""),
        ("/run/x.sock", (CLIENT,), "/run/x.sock"),
    ],
)
def test_the_list_is_read_from_the_right(peer: str, given: tuple[str, ...], client: str):
    """Trusted addresses are passed over, and the first other one is the client."""
    assert PROXIES.client(peer, lines(*given)) == client


@given(
    st.lists(
        st.sampled_from([CLIENT, "10.2.2.2", "fd00::1", "8.8.8.8", "", "x", "[::1]:1", "\x00", "::ffff:10.0.0.9"])
        | st.text(st.characters(max_codepoint=255), max_size=80),
        max_size=40,
    ),
    st.integers(0, 3),
)
def test_anything_gives_an_address(items: list[str], cut: int):
    """Whatever the list is, however it is split into lines, the answer is the peer or an address that is in the
    list, and the same for one line as for several."""
    from ipaddress import ip_address

    one = PROXIES.client(PEER, lines(",".join(items))) if items else PEER
    several = PROXIES.client(PEER, lines(*(",".join(part) for part in (items[:cut], items[cut:]) if part)))
    assert one == several
    assert one == PEER or str(ip_address(one)) == one


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_what_the_client_writes_does_not_matter(forged: str):
    """Whatever a client sends, the address that the trusted proxy adds behind it is his."""
    assert PROXIES.client(PEER, lines(forged, CLIENT)) == CLIENT
    assert PROXIES.client(PEER, lines(f"{forged}, {CLIENT}")) == CLIENT
