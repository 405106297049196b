"""Which URLs are read, and how; which addresses may be dialled."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.address import NOT_PUBLIC, Networks, parse_url
from hookline.core.errors import Refusal

GOOD = [
    ("http://example.com", ("http", "example.com", 80, "/", "example.com")),
    ("HTTPS://Example.COM/Path", ("https", "example.com", 443, "/Path", "example.com")),
    ("https://example.com:443/", ("https", "example.com", 443, "/", "example.com")),
    ("https://example.com:80/", ("https", "example.com", 80, "/", "example.com:80")),
    ("http://example.com:8080?a=1&b=%20", ("http", "example.com", 8080, "/?a=1&b=%20", "example.com:8080")),
    ("http://example.com./x", ("http", "example.com.", 80, "/x", "example.com.")),
    ("http://my_host-1.internal_net/x", ("http", "my_host-1.internal_net", 80, "/x", "my_host-1.internal_net")),
    ("http://localhost:1/", ("http", "localhost", 1, "/", "localhost:1")),
    ("http://a:65535/", ("http", "a", 65535, "/", "a:65535")),
    ("http://r3---sn-x.example/", ("http", "r3---sn-x.example", 80, "/", "r3---sn-x.example")),
    ("http://8.8.8.8/", ("http", "8.8.8.8", 80, "/", "8.8.8.8")),
    ("http://127.0.0.1/", ("http", "127.0.0.1", 80, "/", "127.0.0.1")),
    ("http://1.2.3.4.example/", ("http", "1.2.3.4.example", 80, "/", "1.2.3.4.example")),
    ("http://0x7f.example/", ("http", "0x7f.example", 80, "/", "0x7f.example")),
    ("http://[2606:4700::1111]:8443/a", ("http", "2606:4700::1111", 8443, "/a", "[2606:4700::1111]:8443")),
    ("http://[2606:4700:0:0::1111]/", ("http", "2606:4700::1111", 80, "/", "[2606:4700::1111]")),
    ("http://[::FFFF:127.0.0.1]/", ("http", "::ffff:7f00:1", 80, "/", "[::ffff:7f00:1]")),
    ("https://münchen.example/ü?q=ß", ("https", "xn--mnchen-3ya.example", 443, "/%C3%BC?q=%C3%9F", None)),
    ("https://MÜNCHEN。example/", ("https", "xn--mnchen-3ya.example", 443, "/", None)),
    ("https://faß.example/", ("https", "xn--fa-hia.example", 443, "/", None)),
    ("https://xn--mnchen-3ya.example/", ("https", "xn--mnchen-3ya.example", 443, "/", None)),
    ("https://xn--i-7iq.example/", ("https", "xn--i-7iq.example", 443, "/", None)),
    ("http://ｅｘａｍｐｌｅ.com/", ("http", "example.com", 80, "/", "example.com")),
    ('http://a.example/{"x":|1|}/../b', ("http", "a.example", 80, "/%7B%22x%22:%7C1%7C%7D/../b", None)),
    ("http://a.example/100%", ("http", "a.example", 80, "/100%", None)),
    ("http://a.example//b//", ("http", "a.example", 80, "//b//", None)),
    ("http://a.example/b@c:d/?e=f/g?h", ("http", "a.example", 80, "/b@c:d/?e=f/g?h", None)),
    (f"http://{'a' * 63}.example/", ("http", f"{'a' * 63}.example", 80, "/", None)),
]

HOSTILE = [
    # two parsers read it differently
    "http://8.8.8.8\\@127.0.0.1/",
    "http://8.8.8.8\\.example/",
    "http:\\\\127.0.0.1/",
    "http:///127.0.0.1/",
    "http:/127.0.0.1/",
    "http:127.0.0.1/",
    "http://",
    "http:///",
    "http://?x",
    "//example.com/",
    "http://user@example.com/",
    "http://user:pass@example.com/",
    "http://@example.com/",
    "http://example.com@127.0.0.1/",
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.1%2f@example.com/",
    "http://exa%6dple.com/",
    "http://[::1%25lo]/",
    "http://[::1%lo]/",
    "http://[fe80::1%25eth0]/",
    "http://example.com#@127.0.0.1/",
    "http://example.com/#fragment",
    "http://exam\tple.com/",
    "http://example.com/\r\nHost: evil",
    "http://example.com/a b",
    " http://example.com/",
    "http://example.com/ ",
    "http://127.0.0.1\x00.example.com/",
    "http://example.com\x00/",
    "http://example.com/\x7f",
    "http://example.com/\x85",
    "http://example.com/a\\b",
    "http://exam ple.com/",
    "http://exam\u3000ple.com/",
    "http://example.com/\ud800",
    # other schemes
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "javascript:alert(1)",
    "httpx://example.com/",
    "https:example.com",
    "example.com",
    "",
    "ｈｔｔｐ://example.com/",
    # numbers that a resolver takes for an address
    "http://127.1/",
    "http://127.0.1/",
    "http://0x7f.1/",
    "http://0x7f.0.0.1/",
    "http://0x7f000001/",
    "http://0X7F000001/",
    "http://0x/",
    "http://a.0x1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.0.0.01/",
    "http://2852039166/",
    "http://2130706433/",
    "http://0/",
    "http://1.2.3.4.5/",
    "http://256.1.1.1/",
    "http://1.2.3/",
    "http://127.0.0.1./",
    "http://8.8.8.8./",
    "http://2130706433./",
    "http://example.1/",
    "http://１２７.0.0.1/",
    "http://１２７．０．０．１/",
    "http://8.8.8.８/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://\u00ad127.0.0.1/",
    "http://127.0.0.\u200b1/",
    "http://٣.٣.٣.٣/",
    # not a name
    "http://.example.com/",
    "http://a..example/",
    "http://example.com../",
    "http://./",
    "http://-a.example/",
    "http://a-.example/",
    f"http://{'a' * 64}.example/",
    "http://" + ".".join(["a" * 60] * 5) + "/",
    "http://exa$mple.com/",
    "http://exa*mple.com/",
    "http://a,b/",
    "http://<a>/",
    "http://{a}/",
    "http://xn--a/",
    "http://xn--a.example/",
    "http://xn--.example/",
    "http://XN--abc-.example/",
    "http://xn--127-ab1b.\U000e0001/",
    "http://a\u0301\u200d.example/",
    # not a port
    "http://example.com:/",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:000080/",
    "http://example.com:-1/",
    "http://example.com:+80/",
    "http://example.com:8 0/",
    "http://example.com:８０/",
    "http://example.com:80:80/",
    "http://example.com:http/",
    "http://::1/",
    # not an address in brackets
    "http://[::1/",
    "http://::1]/",
    "http://[]/",
    "http://[127.0.0.1]/",
    "http://[example.com]/",
    "http://[::1]x/",
    "http://[::1].example/",
    "http://[::1]:/",
    "http://[[::1]]/",
    "http://[v1.fe]/",
    "http://[:::1]/",
    "http://a[::1]/",
    "http://[::ffff:127.1]/",
    "http://[：：１]/",
    # too long
    "http://example.com/" + "a" * 4096,
]


@pytest.mark.parametrize(("url", "parts"), GOOD)
def test_a_correct_url_is_taken_apart(url: str, parts: tuple[str, str, int, str, str | None]) -> None:
    """A correct URL gives scheme, host, port, request target and the value of the Host header."""
    scheme, host, port, path, authority = parts
    target = parse_url(url)
    assert (target.scheme, target.host, target.port, target.path) == (scheme, host, port, path)
    assert target.authority == (host if authority is None else authority)
    assert target.tls == (scheme == "https")


@pytest.mark.parametrize("url", HOSTILE)
def test_what_two_parsers_could_read_differently_is_refused(url: str) -> None:
    """A URL that is not plainly one thing is refused as an address, with a pointer."""
    with pytest.raises(Refusal) as refused:
        parse_url(url)
    assert (refused.value.code, refused.value.pointer, refused.value.status) == ("address_refused", "/url", 422)


def test_http_can_be_forbidden() -> None:
    """With https_only an http URL is refused and an https URL is not."""
    with pytest.raises(Refusal, match="https"):
        parse_url("http://example.com/", https_only=True)
    assert parse_url("https://example.com/", https_only=True).tls


def test_the_longest_url() -> None:
    """4,096 characters pass, one more does not."""
    url = "http://example.com/" + "a" * (4096 - 19)
    assert len(url) == 4096
    assert parse_url(url).path.endswith("aaa")
    with pytest.raises(Refusal, match="4096"):
        parse_url(url + "a")


def test_literals_and_names_are_told_apart() -> None:
    """A host that is an address comes with it, a name comes without, and certificates see no trailing dot."""
    assert parse_url("http://127.0.0.1/").literal == IPv4Address("127.0.0.1")
    assert parse_url("http://[::1]/").literal == IPv6Address("::1")
    assert parse_url("http://localhost/").literal is None
    assert parse_url("https://example.com./").server_name == "example.com"


@given(st.text(max_size=60))
def test_any_text_after_the_scheme_is_read_or_refused(text: str) -> None:
    """Whatever follows http://, it is a target in printable ASCII or a Refusal, never another error."""
    try:
        target = parse_url("http://" + text)
    except Refusal:
        return
    wire = target.host + target.authority + target.path
    assert wire.isascii()
    assert wire.isprintable()
    assert " " not in wire
    assert target.path.startswith("/")
    assert 1 <= target.port <= 65535


@given(st.ip_addresses(v=4))
def test_every_address_is_read_in_its_one_notation(address: IPv4Address) -> None:
    """A dotted decimal address is itself; as one number, in hex or in octal it is refused."""
    assert parse_url(f"http://{address}/").literal == address
    for text in (str(int(address)), hex(int(address)), f"0{int(address):o}", f"{address}."):
        with pytest.raises(Refusal):
            parse_url(f"http://{text}/")


# ------------------------------------------------------------------------------------------------- addresses

REFUSED_IPV4 = [
    IPv4Network(cidr)
    for cidr in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
_PUBLIC = """
    1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0
    192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255
    198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
    2000:: 2001:200:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9:: 2001:ffff:: 2003:: 2606:4700:4700::1111
    2a00:1450:4001:: 3ffe:ffff:: 3fff:1000:: 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""
_NOT_PUBLIC_IPV6 = """
    :: ::1 ::2 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8
    64:ff9b::a9fe:a9fe 64:ff9b::808:808 64:ff9b:1::1 64:ff9b:1:ffff:: 100:: 100:0:0:1::1 1fff:ffff::
    2001:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2:: 2001:10:: 2001:20::1 2001:1ff:ffff::
    2001:db8:: 2001:db8:ffff:: 2002:: 2002:7f00:1::1 2002:808:808:: 2002:ffff:ffff:: 3fff:: 3fff:fff::
    4000:: 5f00:: 5f00::1 8000:: fc00:: fd00:ec2::254 fe80::1 fe80::a9fe:a9fe febf:: fec0:: fec0::1 feff::
    ff00:: ff02::1 ff0e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""


@pytest.mark.parametrize("text", _PUBLIC.split())
def test_public_addresses_may_be_dialled(text: str) -> None:
    """An address just outside a special range is not refused."""
    assert Networks().refusal(ip_address(text)) is None


@pytest.mark.parametrize("text", _NOT_PUBLIC_IPV6.split())
def test_special_ipv6_addresses_are_refused(text: str) -> None:
    """Mapped, translated, tunnelled, local, multicast and documentation addresses are refused alike."""
    assert Networks().refusal(ip_address(text)) == NOT_PUBLIC


@pytest.mark.parametrize("network", REFUSED_IPV4, ids=str)
def test_both_ends_of_each_special_range_are_refused(network: IPv4Network) -> None:
    """The first and the last address of a special range are refused."""
    assert Networks().refusal(network[0]) == Networks().refusal(network[-1]) == NOT_PUBLIC


_in_refused_ipv4 = st.sampled_from(REFUSED_IPV4).flatmap(
    lambda network: st.integers(0, network.num_addresses - 1).map(lambda offset: network[offset])
)
_EMBEDDINGS = ["::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "2001::", "fe80::"]


@given(_in_refused_ipv4)
def test_every_special_ipv4_address_is_refused_in_any_dress(address: IPv4Address) -> None:
    """An IPv4 address of a special range is refused, and so is every IPv6 address that embeds it."""
    networks = Networks()
    assert networks.refusal(address) == NOT_PUBLIC
    for prefix in _EMBEDDINGS:
        assert networks.refusal(IPv6Address(int(IPv6Address(prefix)) | int(address))) == NOT_PUBLIC
    assert networks.refusal(IPv6Address((0x2002 << 112) | (int(address) << 80))) == NOT_PUBLIC


@given(st.ip_addresses(v=4))
def test_ipv4_is_judged_by_the_list_alone(address: IPv4Address) -> None:
    """An IPv4 address is refused exactly when it lies in a range of the list."""
    refused = any(address in network for network in REFUSED_IPV4)
    assert (Networks().refusal(address) is not None) == refused


@given(st.ip_addresses(v=6))
def test_ipv6_is_allowed_only_as_global_unicast(address: IPv6Address) -> None:
    """An IPv6 address outside 2000::/3 is never allowed."""
    if Networks().refusal(address) is None:
        assert address in IPv6Network("2000::/3")


def test_the_operator_opens_networks() -> None:
    """A network that is opened may be dialled; its neighbours and the IPv6 forms of it may not."""
    networks = Networks(["127.0.0.0/8", " ::1/128 ", "fd00::/8"])
    for text in ("127.0.0.1", "127.255.255.255", "::1", "fd12::1", "8.8.8.8"):
        assert networks.refusal(ip_address(text)) is None
    for text in ("126.0.0.1", "10.0.0.1", "::2", "::ffff:127.0.0.1", "fc00::1"):
        assert (networks.refusal(ip_address(text)) is None) == (text == "126.0.0.1")


@pytest.mark.parametrize("cidr", ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0-10.0.0.9"])
def test_a_wrong_network_is_an_error(cidr: str) -> None:
    """What is not a network in CIDR notation raises ValueError."""
    with pytest.raises(ValueError):
        Networks([cidr])
