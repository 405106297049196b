"""`hookline backup` against a server that answers by script: the file is whole and private, or there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

DATABASE = b"SQLite format 3\0" + bytes(range(256)) * 10_000
AS_OF = "2026-01-02T03:04:05.678Z"
GOOD = {"content-type": "application/vnd.sqlite3", "hookline-as-of": AS_OF, "content-length": str(len(DATABASE))}

Say = Callable[..., None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Iterator[Say]:
    """A server at HOOKLINE_URL; tells it what to answer to the next request."""
    answer: dict[str, object] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(int(str(answer["status"])))
            for name, value in answer["headers"].items():  # type: ignore[attr-defined]
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer["body"])  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    asked: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HOOKLINE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HOOKLINE_KEY", "the key of the tests")

    def to_say(status: int = 200, body: bytes = DATABASE, **headers: str) -> None:
        given = GOOD | {name.replace("_", "-"): value for name, value in headers.items()}
        answer.update(status=status, body=body, headers={n: v for n, v in given.items() if v}, asked=asked)

    to_say.asked = asked  # type: ignore[attr-defined]
    to_say()
    yield to_say
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_copy(say: Say, cli: Cli, tmp_path: Path):
    """The file has the server's bytes and mode 0600, nothing is left beside it, and what else is needed is said."""
    ended = cli("backup", str(tmp_path / "copy.db"))
    assert ended.code == 0, ended.err
    assert AS_OF in ended.out
    assert "hookline.secret" in ended.err
    assert say.asked == ["/v1/backup"]  # type: ignore[attr-defined]
    assert (tmp_path / "copy.db").read_bytes() == DATABASE
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]


def test_as_json(say: Say, cli: Cli, tmp_path: Path):
    """With --json the answer is one document."""
    file = tmp_path / "copy.db"
    ended = cli("backup", str(file), "--json")
    assert ended.json == {"file": str(file), "size_bytes": len(DATABASE), "as_of": AS_OF}
    assert ended.err == ""


def test_without_a_length(say: Say, cli: Cli, tmp_path: Path):
    """An answer whose length a proxy took away is whole when the connection ends well."""
    say(content_length="")
    assert cli("backup", str(tmp_path / "copy.db")).code == 0


def test_nothing_is_replaced_unasked(say: Say, cli: Cli, tmp_path: Path):
    """A file that is there stays, and the server is not even asked; --force replaces it."""
    file = tmp_path / "copy.db"
    file.write_text("precious")
    ended = cli("backup", str(file))
    assert (ended.code, "--force" in ended.err) == (2, True)
    assert file.read_text() == "precious"
    assert say.asked == []  # type: ignore[attr-defined]
    assert cli("backup", "--force", str(file)).code == 0
    assert file.read_bytes() == DATABASE


def test_what_was_left_is_no_hindrance(say: Say, cli: Cli, tmp_path: Path):
    """The half file of a command that was killed is written anew, never through a link."""
    (tmp_path / "other").write_text("precious")
    (tmp_path / "copy.db.partial").symlink_to("other")
    assert cli("backup", str(tmp_path / "copy.db")).code == 0
    assert (tmp_path / "other").read_text() == "precious"
    assert not (tmp_path / "copy.db").is_symlink()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ({"body": DATABASE[:1000]}, 3, "cannot reach"),
        ({"body": b"<html>Sign in</html>", "content_length": "", "content_type": "text/html"}, 1, "no backup"),
        ({"hookline_as_of": ""}, 1, "no backup"),
        ({"body": b"x" * 100, "content_length": "100"}, 1, "no SQLite database"),
        ({"body": b"", "content_length": "0"}, 3, "broke off"),
        (
            {"status": 409, "body": b'{"code":"wrong_state","detail":"Another."}', "content_length": ""},
            1,
            "wrong_state",
        ),
        ({"status": 503, "body": b'{"code":"disk_full","detail":"Full."}', "content_length": ""}, 5, "disk_full"),
        ({"status": 403, "body": b'{"code":"forbidden","detail":"No."}', "content_length": ""}, 4, "forbidden"),
        ({"status": 404, "body": b"nothing", "content_length": ""}, 1, "404"),
    ],
)
def test_what_is_no_copy_leaves_none(
    say: Say, cli: Cli, tmp_path: Path, answer: dict[str, object], code: int, said: str
):
    """Whatever is not a whole database is one line, the exit code that fits, and no file."""
    say(**answer)
    ended = cli("backup", str(tmp_path / "copy.db"))
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert list(tmp_path.iterdir()) == []


def test_no_place_for_a_file(say: Say, cli: Cli, tmp_path: Path):
    """A folder, or a folder that is not there, is refused before the server makes a copy for nothing."""
    for place in (tmp_path, tmp_path / "missing" / "copy.db"):
        assert cli("backup", str(place)).code == 2
    assert say.asked == []  # type: ignore[attr-defined]
