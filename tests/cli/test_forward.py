"""The parts of `hookline listen`: what is sent to the local program, and where the place is kept."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme
from tests.acceptance.program import free_port
from tests.acceptance.receiver import Answer, Receiver, receiving

from hookline.cli.exits import CommandError
from hookline.cli.forward import Forwarder
from hookline.cli.listen_place import RECENT_MAX, Place, PlaceFile, usual_file


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """The local program."""
    with receiving() as made:
        yield made


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "OPTIONS"])
@pytest.mark.parametrize("body", [b"", b"\0\xff"])
def test_the_message_and_not_the_connection(receiver, method, body):
    """Headers of the message are passed on as they are, also twice; those of its connection are made anew."""
    url = receiver.url()
    original = [("X-A", "1"), ("X-A", "2"), ("x-latin", "\xe4"), ("Content-Encoding", "gzip"), ("X-Mine", "theirs"),
                ("Host", "their.example"), ("Connection", "keep-alive, x-a"), ("Transfer-Encoding", "chunked"),
                ("Content-Length", "99"), ("Expect", "100-continue"), ("Upgrade", "h2c")]  # fmt: skip
    outcome = Forwarder(url, 5, None, {"X-Mine": "mine"}).send(method, original, body)
    assert (outcome.status, outcome.reached) == (200, True)
    [hit] = receiver.hits(url)
    assert (hit.method, hit.body) == (method, body)
    fields = [(name, value) for name, value in hit.fields if name.lower() not in ("content-length", "connection")]
    assert fields == [
        ("Host", url.split("/")[2]), ("X-A", "1"), ("X-A", "2"), ("x-latin", "\xe4"), ("Content-Encoding", "gzip"),
        ("X-Mine", "mine"),
    ]  # fmt: skip
    assert hit.headers["connection"] == "close"
    assert hit.headers.get("content-length") == (str(len(body)) if body or method not in ("GET", "OPTIONS") else None)


def test_what_is_answered(receiver):
    """A redirect is an answer like any other; an end without an answer, or none in time, is none."""
    forwarder = Forwarder(receiver.url(lambda _h, _b: Answer(302, headers={"location": "http://192.0.2.1/"})), 5, None)
    assert forwarder.send("POST", [], b"").status == 302
    cut = Forwarder(receiver.url(lambda _h, _b: Answer(raw=b"")), 5, None)
    outcome = cut.send("POST", [], b"")
    assert (outcome.status, outcome.reached) == (None, True)
    slow = Forwarder(receiver.url(lambda _h, _b: Answer(wait_s=0.6)), 0.2, None).send("POST", [], b"")
    assert (slow.status, slow.reached, slow.detail) == (None, True, "no answer in time")
    nobody = Forwarder(f"http://127.0.0.1:{free_port()}/", 5, None).send("POST", [], b"")
    assert (nobody.status, nobody.reached, nobody.detail) == (None, False, "Connection refused")


def test_over_tls():
    """An https address is verified by what is trusted; one that is not is not reached."""
    authority = trustme.CA()
    context, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(context)
    with receiving("localhost") as secure:
        secure.secure(context)
        url = f"https://localhost:{secure.port}/x"
        refused = Forwarder(url, 5, trusting).send("POST", [], b"1")
        assert (refused.status, refused.reached) == (None, False)
        authority.configure_trust(trusting)
        assert Forwarder(url, 5, trusting).send("POST", [], b"1").status == 200


@pytest.mark.parametrize(
    "url",
    [
        "localhost:3000",
        "ftp://x/",
        "http://",
        "http://u:p@x/",
        "http://x:99999/",
        "http://x/a b",
        "http://x/\xe4",
        "http://[::1",
    ],
)
def test_addresses_that_are_none(url):
    """What is no http address is refused before anything is asked."""
    with pytest.raises(CommandError) as caught:
        Forwarder(url, 5, None)
    assert caught.value.code == 2


@pytest.mark.parametrize("header", [{"a b": "1"}, {"X": "a\r\nY: 1"}, {"X": "\xe4"}, {"": "1"}])
def test_headers_that_are_none(header):
    """What cannot stand in a header is refused."""
    with pytest.raises(CommandError, match="cannot be sent"):
        Forwarder("http://x/", 5, None, header)


def test_the_place_is_kept(tmp_path):
    """What was written is read again, whole; a file is its server's and its source's own."""
    file = PlaceFile(tmp_path / "deep" / "place.json")
    with file.held():
        assert file.read("src_1") is None
        place = Place("src_1", "p1", "", "2026-01-01T00:00:00.000Z")
        for n in range(RECENT_MAX + 5):
            place.done(f"evt_{n}", f"2026-01-01T00:00:0{n % 10}.000Z")
        file.write(place)
        assert file.read("src_1") == place
        assert (len(place.recent), place.at) == (RECENT_MAX, "2026-01-01T00:00:09.000Z")
        assert json.loads(file.path.read_text())["recent"][0] == "evt_5"
        assert (file.path.stat().st_mode & 0o777) == 0o600
        assert sorted(path.name for path in file.path.parent.iterdir()) == ["place.json", "place.json.lock"]
        with pytest.raises(CommandError, match="another hookline listen"), file.held():
            pass
    with file.held():
        pass


def test_files_have_names_of_their_own(tmp_path, monkeypatch):
    """Another server or source has another file, below the user's state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    files = {usual_file(server, source).path for server in ("http://a", "http://b") for source in ("src_1", "src_2")}
    assert len(files) == 4
    assert {path.parent for path in files} == {tmp_path / "hookline"}
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/nobody")
    assert str(usual_file("http://a", "src_1").path).startswith("/nobody/.local/state/hookline/listen-")


def test_a_folder_that_cannot_be_used(tmp_path):
    """Where nothing can be written it is said, with what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="--state"), PlaceFile(tmp_path / "file" / "place.json").held():
        pass


def test_connections_are_closed(receiver):
    """Each try has a connection of its own, which is closed whatever became of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                taken.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        outcome = Forwarder(f"http://127.0.0.1:{listener.getsockname()[1]}/", 0.2, None).send("POST", [], b"x")
        thread.join()
        assert (outcome.status, outcome.reached) == (None, True)
        taken[0].settimeout(5)
        while taken[0].recv(65536):
            pass
        taken[0].close()
