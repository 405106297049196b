"""Where deliveries may go, from outside: hostile URLs are refused at creation, and never dialled."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.acceptance.program import Program, free_port, running
from tests.acceptance.receiver import Receiver

REFUSED_HOSTS = """
127.0.0.1 127.1 127.0.1 0 0.0.0.0 0.1.2.3 127.255.255.254 2130706433 0x7f000001 0x7f.1 017700000001 0177.0.0.1
0x7F.0x0.0x0.0x1 127.0.0.1. 127.0.0.01 [::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1]
[::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::169.254.169.254] [64:ff9b:1::1] [2002:7f00:1::1]
localhost LOCALHOST
10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254 169.254.0.1 100.64.0.1 100.127.255.255
192.0.0.192 192.0.0.1 168.63.129.16 2852039166 0xa9fea9fe [fe80::1] [fec0::1] [fc00::1] [fd00::1] [fd00:ec2::254]
[::ffff:169.254.169.254] [::ffff:10.0.0.1]
192.0.2.1 198.51.100.1 203.0.113.1 198.18.0.1 198.19.255.255 192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255 [2001:db8::1] [2001::1] [2001:2::1] [3fff::1] [5f00::1] [100::1] [100:0:0:1::1] [ff02::1]
[2002:a00:1::1] [2002:c0a8:1::1] [1::1] [4000::1]
\uff11\uff12\uff17.0.0.1 \u2460\u2461\u2466.0.0.1 127\u30020\u30020\u30021 \uff10x7f.1
"""
"""Loopback, private, link-local, metadata, documentation, relays, multicast: in every notation some parser reads."""

REFUSED_URLS = """
ftp://example.com/ file:///etc/passwd gopher://example.com/ javascript:alert(1) data:text/plain,x //example.com/
example.com http: http:// http:/// http:///example.com/ https:// HTTP://user@example.com/ http://user:pw@8.8.8.8/
http://8.8.8.8\\@127.0.0.1/ http://127.0.0.1\\.8.8.8.8/ http://8.8.8.8@127.0.0.1/ http://127.0.0.1#@8.8.8.8/
http://8.8.8.8:0/ http://8.8.8.8:65536/ http://8.8.8.8:-1/ http://8.8.8.8:+80/ http://8.8.8.8:80a/ http://8.8.8.8:/
http://%31%32%37.0.0.1/ http://127.0.0.1%2f.example.com/ http://[::1%25lo]/ http://[fe80::1%25eth0]/ http://[::1/
http://::1/ http://[127.0.0.1]/ http://[v1.x]/ http://.example.com/ http://example..com/ http://-a.example.com/
http://a-.example.com/ http://*.example.com/ http://exa$mple.com/ http://xn--/ http://xn--a/ http://1.2.3/
http://1.2.3.4.5/ http://256.1.1.1/ http://8.8.8.08/ http://8.8.8.8./ http://0x8.8.8.8/ http://example.com:8o/
unix:///var/run/x http+unix://x/
"""
"""What is no URL of http, or what two parsers could read differently."""

REFUSED_URLS_WITH_SPACES = [
    "http://example.com/a b",
    "http://example.com/\r\nx: y",
    "http://exa mple.com/",
    "http://example.com\t/",
    " http://example.com/",
    "http://127.0.0.1\x00.example.com/",
    "http://example.com/\x7f",
    "http://" + "a" * 64 + ".example.com/",
    "http://" + ".".join(["a" * 60] * 5) + "/",
    "http://example.com/" + "a" * 4100,
    "",
]

ONE_ATTEMPT = {"first_s": 1, "factor": 1, "attempts": 1}

ALLOWED_HOSTS = """
8.8.8.8 1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255
169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0
198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 168.63.129.15
[2606:4700::1] [2400:cb00::1] [2001:4860:4860::8888] [2a00:1450::1] [2003::1] [3ffe::1]
"""
"""Public addresses at the edges of the refused ranges."""


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that may not deliver to loopback."""
    with running(tmp_path_factory.mktemp("closed"), allow_networks="") as made:
        yield made


def create(program: Program, url: str) -> tuple[int, dict[str, object]]:
    """Try to create a paused-by-pattern endpoint: nothing is ever sent to it."""
    answer = program.raw(
        "/v1/endpoints", json.dumps({"url": url, "event_types": ["never"]}).encode(), "application/json"
    )
    return answer.status_code, answer.json()


@pytest.mark.parametrize("host", REFUSED_HOSTS.split(), ids=ascii)
def test_refused_host(closed: Program, host: str):
    """A host that is, or stands for, an address that is not public is 422 `address_refused`."""
    for url in (f"http://{host}/", f"https://{host}:8443/x"):
        status, body = create(closed, url)
        assert (status, body["code"]) == (422, "address_refused"), url


@pytest.mark.parametrize("host", ["localhost.", "a.localhost", "ip6-localhost", "no-such-name.invalid"])
def test_a_name_that_may_not_resolve_is_never_dialled(closed: Program, host: str):
    """A name of loopback is refused; where this machine does not resolve it, it is warned about and never reached."""
    spec = {"url": f"http://{host}:{closed.port}/", "event_types": ["named"], "retry": {"first_s": 1, "attempts": 1}}
    answer = closed.post("/v1/endpoints", spec)
    made = answer.json()
    if answer.status_code == 422:
        assert made["code"] == "address_refused"
        return
    assert answer.status_code == 201
    assert made["warnings"]
    event = closed.publish("named", 1)
    row = closed.delivered(event["id"], "failed")
    assert row["reason"] in ("dns", "address_refused")
    closed.client.delete(f"/v1/endpoints/{made['id']}")


@pytest.mark.parametrize("url", REFUSED_URLS.split() + REFUSED_URLS_WITH_SPACES, ids=lambda url: ascii(url)[:60])
def test_refused_url(closed: Program, url: str):
    """A URL that two parsers could read differently, or that is none, is 422."""
    status, body = create(closed, url)
    assert status == 422, body
    assert body["pointer"] == "/url"


@pytest.mark.parametrize("host", ALLOWED_HOSTS.split())
def test_allowed_host(closed: Program, host: str):
    """Public addresses beside the refused ranges are accepted."""
    status, body = create(closed, f"https://{host}/")
    assert status == 201, body


def test_refused_addresses_tell_a_port_scan_nothing(closed: Program):
    """The refusal is the same text for every private address and port."""
    urls = ("http://10.0.0.1:22/", "http://192.168.1.1:80/", "http://127.0.0.1:1/", "http://[fd00::1]:443/")
    assert len({json.dumps(create(closed, url)[1], sort_keys=True) for url in urls}) == 1


def test_an_opened_network_is_closed_again(tmp_path, receiver: Receiver):
    """An endpoint whose network is no longer allowed gets no connection: its attempts fail as `address_refused`."""
    url = receiver.url()
    with running(tmp_path) as program:
        program.endpoint(url, event_types=["x"], retry={"first_s": 1, "attempts": 1})
        program.publish("x", 1)
        receiver.came(url)
        program.quiet()
        assert program.terminate() == 0
    with running(tmp_path, allow_networks="") as program:
        before = receiver.connections
        made = program.publish("x", 2)
        row = program.delivered(made["id"], "failed")
        assert row["reason"] == "address_refused"
        assert receiver.connections == before
        assert len(receiver.hits(url)) == 1


def test_https_only(tmp_path):
    """With HOOKLINE_HTTPS_ONLY an http URL is refused."""
    with running(tmp_path, https_only="true") as program:
        status, body = create(program, "http://8.8.8.8/")
        assert (status, body["code"]) == (422, "address_refused")
        assert create(program, "https://8.8.8.8/")[0] == 201


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST.", "127.0.0.2", "[::ffff:127.0.0.1]"])
def test_no_loop_through_our_own_address(tmp_path, name: str):
    """An endpoint at our own API, which would replay its own events for ever, is refused when it is made and when one
    is changed to it, whatever name it has."""
    with running(tmp_path, allow_networks="127.0.0.0/8,::1/128,::ffff:127.0.0.0/104") as program:
        event = program.publish("loop.x", {})
        url = f"http://{name}:{program.port}/v1/events/{event['id']}/replay"
        status, body = create(program, url)
        assert (status, body["code"], body["pointer"]) == (422, "address_refused", "/url"), body
        made = program.endpoint("http://127.0.0.1:9/", event_types=["never"])
        changed = program.client.patch(f"/v1/endpoints/{made['id']}", json={"url": url})
        assert (changed.status_code, changed.json()["pointer"]) == (422, "/url")


def test_the_administrators_address_is_not_ours(tmp_path):
    """HOOKLINE_ADMIN_URL at our own address refuses to start, and says why."""
    port = free_port()
    program = Program(tmp_path, port=str(port), admin_url=f"http://localhost:{port}/v1/events")
    try:
        program.launch()
        assert program.end() == 1
        assert "HOOKLINE_ADMIN_URL cannot be used: The address is Hookline's own" in program.log()
    finally:
        program.close()


def test_no_loop_through_our_public_address(tmp_path):
    """Where the world sees us below a path, only what lies below it is refused; also what was made before is not sent
    to any more."""
    with running(tmp_path) as program:
        made = program.endpoint("https://hooks.example.com/own/v1/events", event_types=["x"], retry=ONE_ATTEMPT)
    with running(tmp_path, public_url="https://hooks.example.com/own") as program:
        event = program.publish("x", 1)
        assert program.delivered(event["id"], "failed")["reason"] == "address_refused"
        tried = program.post(f"/v1/endpoints/{made['id']}/test", status=200).json()
        assert tried["reason"] == "address_refused"
        for url in ("https://hooks.example.com/own", "http://HOOKS.example.com.:443//%6Fwn/x"):
            assert create(program, url)[1]["code"] == "address_refused"
        assert create(program, "https://hooks.example.com/owner")[0] == 201
