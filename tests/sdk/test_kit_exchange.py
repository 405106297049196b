"""Requests out of the receiver kit: confirmations, and what presets fetch; where they go, and where never."""

from __future__ import annotations

import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.sdk.signed import SECRET, sent
from tests.sdk.web_server import Asked, Reply, web_server

from hookline.core.verifiers.certificates import SYSTEM_ROOTS, SYSTEM_ROOTS_URL
from hookline.core.verifiers.verdict import Fetch
from hookline.sdk import ConfirmationError, Event, Fetcher, verify
from hookline.sdk.exchange import ExchangeError, check_address, exchange, origin_of

APPLIED: Reply = (200, {"content-type": "application/json"}, b'{"applied": true}')


def event(url: str | None, *origins: str) -> Event:
    """A delivery that asks for a confirmation at this address."""
    request = sent(headers={} if url is None else {"Hookline-Confirm-Url": url})
    return verify(request.body, request.headers, SECRET, confirm_origins=origins)


def why(asked: Event) -> str:
    """Why it cannot be confirmed."""
    with pytest.raises(ConfirmationError) as error:
        asked.confirm()
    return error.value.reason


# ---------------------------------------------------------------------------------------------------- confirmations


def test_a_delivery_is_confirmed_and_rejected():
    """What is said arrives as JSON at the delivery's own address, and whether it counted comes back."""
    with web_server(lambda _: APPLIED) as server:
        one = event(f"{server.origin}/v1/confirm/t", server.origin)
        assert one.confirm() is True
        assert one.confirm("done") is True
        assert one.reject("no such customer\ud800" + "x" * 2000) is True
    assert [asked.path for asked in server.asked] == ["/v1/confirm/t"] * 3
    assert [asked.method for asked in server.asked] == ["POST"] * 3
    said = [json.loads(asked.body) for asked in server.asked]
    assert said[:2] == [{"status": "success"}, {"status": "success", "message": "done"}]
    assert said[2]["status"] == "error"
    assert len(said[2]["message"]) == 1024


async def test_a_delivery_is_confirmed_in_an_event_loop():
    """The asynchronous forms say the same."""
    with web_server(lambda _: (200, {}, b'{"applied": false}')) as server:
        one = event(f"{server.origin}/c", server.origin)
        assert await one.confirm_async() is False
        assert await one.reject_async("no") is False
    assert [json.loads(asked.body)["status"] for asked in server.asked] == ["success", "error"]


def test_a_delivery_that_asks_for_none_is_not_confirmed():
    """Without an address there is nobody to tell."""
    assert why(event(None)) == "not_asked"


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("http://127.0.0.1:1/c", ()),
        ("ftp://h.example/c", ()),
        ("file:///etc/passwd", ()),
        ("https:///c", ()),
        ("https://user@h.example/c", ()),
        ("https://h.example\\@other.example/c", ("https://h.example",)),
        ("https://h.example:99999/c", ()),
        ("https://[::1/c", ()),
        ("https://h.example/ c", ()),
        ("https://h\u00e9.example/c", ()),
        ("https://h.example/c", ("https://other.example",)),
        ("https://h.example:8443/c", ("https://h.example",)),
        ("http://h.example/c", ("https://h.example",)),
        ("https://h.example.evil.example/c", ("https://h.example",)),
    ],
)
def test_an_address_that_is_not_allowed_is_never_called(url: str, origins: tuple[str, ...]):
    """Without a list only https, with one only what is on it; nothing is sent elsewhere."""
    assert why(event(url, *origins)) == "address_refused"


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("https://h.example/c?x=1", ()),
        ("HTTPS://H.example:443/c", ("https://h.example/",)),
        ("http://127.0.0.1:8400/c", ("https://h.example", "http://127.0.0.1:8400")),
        ("https://[::1]:8443/c", ("https://[::1]:8443",)),
    ],
)
def test_an_allowed_address_may_be_called(url: str, origins: tuple[str, ...]):
    """Origins are compared as what they mean."""
    check_address(url, origins)


@pytest.mark.parametrize(
    "reply",
    [
        (302, {"location": "https://h.example/"}, b""),
        (404, {}, b""),
        (200, {}, b"ok"),
        (200, {}, b"[]"),
        (200, {}, b"[" * 100_000),
        (204, {}, b""),
    ],
)
def test_another_answer_is_an_error(reply: Reply):
    """A redirect is not followed, and what is not Hookline's answer is not taken for one."""
    with web_server(lambda _: reply) as server:
        assert why(event(f"{server.origin}/c", server.origin)) == "refused"
        assert len(server.asked) == 1


def test_nobody_there_is_an_error():
    """A refused connection and a broken answer are `unreachable`."""
    assert why(event("http://127.0.0.1:1/c", "http://127.0.0.1:1")) == "unreachable"
    with web_server(lambda _: (200, {"content-length": "100"}, b"{")) as server:
        assert why(event(f"{server.origin}/c", server.origin)) == "unreachable"


# ------------------------------------------------------------------------------------------------------ exchanges


def test_answers_are_bounded():
    """More than 256 KiB, and a body that drips beyond the deadline, are errors and not waited for."""

    def dripping(_: Asked) -> Reply:
        time.sleep(0.6)
        return 200, {}, b"x"

    with web_server(lambda _: (200, {}, b"x" * 300_000)) as server, pytest.raises(ExchangeError):
        exchange(server.origin, origins=[server.origin])
    with web_server(dripping) as server, pytest.raises(ExchangeError):
        exchange(server.origin, origins=[server.origin], timeout_s=0.2)


def test_every_status_is_an_answer():
    """What is answered with an error is handed back, body and all."""
    with web_server(lambda _: (503, {}, b"later")) as server:
        found = exchange(server.origin, origins=[server.origin])
        assert (found.status, found.body) == (503, b"later")


@pytest.mark.parametrize("url", ["", "x", "https://", "http://[", "https://a:b", "javascript:1", "//h/"])
def test_what_has_no_origin(url: str):
    """No text makes it raise."""
    assert origin_of(url) in ("", "https://a")


# -------------------------------------------------------------------------------------------------------- fetching


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context that this process trusts."""
    authority = trustme.CA()
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    from hookline.sdk import exchange as module

    module._opener.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_a_fetch_is_kept_as_long_as_it_may_be(trusted: ssl.SSLContext):
    """The same is asked for once while it may be kept, anew afterwards, and always where it may not."""
    now_s = 0.0
    with web_server(lambda asked: (200, {}, asked.path.encode()), trusted) as server:
        fetcher = Fetcher(clock=lambda: now_s)
        kept, once = Fetch("a", server.origin + "/a", keep_s=60), Fetch("b", server.origin + "/b", keep_s=0)
        for _ in range(2):
            assert (fetcher(kept).status, fetcher(kept).body) == (200, b"/a")
            assert fetcher(once).body == b"/b"
        now_s = 61.0
        fetcher(kept)
    paths = [asked.path for asked in server.asked]
    assert (paths.count("/a"), paths.count("/b")) == (2, 2)


def test_keys_that_may_have_changed_are_fetched_anew(trusted: ssl.SSLContext):
    """The same address by another name is another fetch: so keys are looked for again that the kept ones lack."""
    with web_server(lambda _: (200, {}, b""), trusted) as server:
        fetcher = Fetcher()
        for name in ("keys", "keys", "keys-again", "keys-again"):
            fetcher(Fetch(name, server.origin))
    assert len(server.asked) == 2


def test_certificates_of_authorities_may_come_over_http():
    """What proves itself by a signature may come over http; nothing else may."""
    with web_server(lambda _: (200, {}, b"der")) as server:
        assert Fetcher()(Fetch("issuer", server.origin + "/c.crt", proves_itself=True)).body == b"der"
        assert Fetcher()(Fetch("keys", server.origin + "/c.crt")).status == 0
    assert len(server.asked) == 1


def test_the_machines_own_authorities_are_at_hand():
    """What the machine trusts is no address, and comes without a fetch."""
    found = Fetcher()(Fetch(SYSTEM_ROOTS, SYSTEM_ROOTS_URL))
    assert found.status == 0 or b"-----BEGIN CERTIFICATE-----" in found.body


def test_a_failure_is_kept_for_seconds(trusted: ssl.SSLContext):
    """A forger who names what is not there makes it be asked for once in 5 s."""
    now_s = 0.0
    with web_server(lambda _: (404, {}, b""), trusted) as server:
        fetcher = Fetcher(clock=lambda: now_s)
        wanted = Fetch("a", server.origin + "/a")
        assert [fetcher(wanted).status for _ in range(5)] == [404] * 5
        now_s = 5.1
        fetcher(wanted)
    assert len(server.asked) == 2


def test_what_is_kept_is_bounded(trusted: ssl.SSLContext):
    """At most 64 answers are kept, the ones used last."""
    with web_server(lambda _: (200, {}, b""), trusted) as server:
        fetcher = Fetcher()
        for number in range(80):
            fetcher(Fetch("a", f"{server.origin}/{number}"))
        assert len(fetcher._kept) == 64
        fetcher(Fetch("a", f"{server.origin}/79"))
    assert len(server.asked) == 80


def test_a_fetch_posts_and_follows_no_redirect(trusted: ssl.SSLContext):
    """A body and headers are sent as they are, and a redirect is the answer."""
    with web_server(lambda _: (302, {"location": "/x"}, b""), trusted) as server:
        wanted = Fetch("a", server.origin + "/p", "POST", (("authorization", "Bearer x"),), b"{}", 0)
        assert Fetcher()(wanted).status == 302
    [asked] = server.asked
    assert (asked.method, asked.headers["authorization"], asked.body) == ("POST", "Bearer x", b"{}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://127.0.0.1:1/", "file:///etc/passwd", "", "\ud800"])
def test_a_fetch_never_raises(url: str):
    """Where nothing comes the status is 0, and http is never asked."""
    fetched: Any = Fetcher()(Fetch("a", url))
    assert (fetched.status, fetched.body) == (0, b"")


def test_a_server_that_is_not_trusted_is_not_believed(trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch):
    """Certificates are checked."""
    monkeypatch.delenv("SSL_CERT_FILE")
    from hookline.sdk import exchange as module

    module._opener.cache_clear()
    with web_server(lambda _: (200, {}, b""), trusted) as server:
        assert Fetcher()(Fetch("a", server.origin)).status == 0
