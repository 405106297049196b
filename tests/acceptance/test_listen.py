"""`hookline listen` from outside: what came in at a source reaches a local program as it came, whatever is killed."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.program import Program, free_port, running, until
from tests.acceptance.receiver import Answer, Receiver

SECRET = "the secret of the source"


class Source:
    """A source of the program's, and who sends to it as GitHub does."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.name = f"s{uuid.uuid4().hex[:12]}"
        spec = {"name": self.name, "verifier": "github", "config": {"secret": SECRET}}
        self.id = program.post("/v1/sources", spec, status=201).json()["id"]
        self.sent = 0

    def send(self, body: bytes = b"{}", content_type: str = "application/json", **headers: str) -> str:
        """Send a request; the event's id."""
        self.sent += 1
        proof = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        fields = {"X-GitHub-Event": "push", "X-GitHub-Delivery": f"{self.name}-{self.sent}"}
        fields |= {"X-Hub-Signature-256": f"sha256={proof}", "content-type": content_type, "user-agent": "GitHub/1"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.program.client.post(f"/in/{self.name}", content=body, headers=fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["event_id"])


class Listen:
    """The command, as a process."""

    def __init__(self, source: Source, forward: str, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "hookline", "--server", source.program.url, "--json", "listen"]
        self._command = [*command, "--source", source.name, "--forward", forward, *arguments]
        self._environment = source.program.environment() | {"XDG_STATE_HOME": str(folder)}
        self.process: subprocess.Popen[str] | None = None
        self._out = folder / f"out-{uuid.uuid4().hex}"
        self._err = folder / f"err-{uuid.uuid4().hex}"

    def start(self) -> Listen:
        """Start it."""
        with self._out.open("a") as out, self._err.open("a") as err:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=out, stderr=err, text=True)
        return self

    def wait(self, wait_s: float = 30) -> int:
        """Until it ends by itself; its exit code."""
        assert self.process is not None
        return self.process.wait(wait_s)

    def end(self, number: int = signal.SIGINT) -> int:
        """End it by a signal; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has printed."""
        return [json.loads(line) for line in self._out.read_text().splitlines()]

    @property
    def notes(self) -> str:
        """What it said on stderr."""
        return self._err.read_text()

    def place(self) -> dict[str, Any]:
        """What it remembers."""
        return dict(json.loads(self.place_file().read_bytes()))

    def place_file(self) -> Path:
        """Where."""
        [found] = (Path(self._environment["XDG_STATE_HOME"]) / "hookline").glob("listen-*.json")
        return found

    def follows(self) -> None:
        """Wait until it has its place."""
        until(lambda: list((Path(self._environment["XDG_STATE_HOME"]) / "hookline").glob("listen-*.json")))


@pytest.fixture
def source(program: Program) -> Source:
    """A source of this test's own."""
    return Source(program)


@contextlib.contextmanager
def listening(source: Source, forward: str, folder: Path, *arguments: str) -> Iterator[Listen]:
    """The command, until the end of a `with`; from when it follows."""
    made = Listen(source, forward, folder, *arguments).start()
    try:
        made.follows()
        yield made
    finally:
        assert made.process is not None
        made.process.kill()
        made.process.wait()


BODIES = [
    (b' {"a": 1.50 ,"b":"\xc3\xa4"}\r\n', "application/json"),
    (b'{"a":1,"a":2,"deep":{"n":1e400}}', "application/json; charset=utf-8"),
    (bytes(range(256)), "application/octet-stream"),
    (b"a=1&b=%20", "application/x-www-form-urlencoded"),
    (b"<a>\n</a>", "text/xml"),
    (b"text \xff\xfe", "text/plain; charset=latin-1"),
    (b"", "text/plain"),
]


def test_requests_arrive_as_they_came(source, receiver: Receiver, tmp_path):
    """Method, headers and the very bytes of each request arrive, in order, signed as the provider signed them."""
    url = receiver.url([200, 201, 404, 500])
    with listening(source, url + "?token=1", tmp_path, "-H", "X-Mine: 1") as listen:
        sent = [source.send(body, content_type, x_shop=f"n{n}") for n, (body, content_type) in enumerate(BODIES)]
        hits = receiver.came(url, len(BODIES))
        until(lambda: len(listen.lines) == len(BODIES))
    for n, (hit, (body, content_type), event_id) in enumerate(zip(hits, BODIES, sent, strict=True)):
        assert (hit.method, hit.target.partition("?")[2], hit.body) == ("POST", "token=1", body)
        assert hit.headers["content-type"] == content_type
        assert (hit.headers["x-shop"], hit.headers["x-mine"], hit.headers["user-agent"]) == (f"n{n}", "1", "GitHub/1")
        proof = hmac.new(SECRET.encode(), hit.body, hashlib.sha256).hexdigest()
        assert hit.headers["x-hub-signature-256"] == f"sha256={proof}"
        assert (hit.headers["hookline-event-id"], hit.headers["hookline-source"]) == (event_id, source.name)
        assert hit.headers["host"] == url.split("/")[2]
        assert sorted(name.lower() for name, _ in hit.fields) == sorted(set(hit.headers))
    assert [line["event_id"] for line in listen.lines] == sent
    assert [line["status"] for line in listen.lines] == [200, 201, 404, 500, 500, 500, 500]
    assert {line["tries"] for line in listen.lines} == {1}
    assert listen.lines[0]["source_id"] == f"{source.name}-1"


def test_only_its_source(program, source, receiver: Receiver, tmp_path):
    """Other sources' events, and those of another tenant's source of the same name, are not forwarded."""
    url, other = receiver.url(), Source(program)
    spec = {"name": source.name, "verifier": "github", "config": {"secret": SECRET}}
    made = program.post("/v1/sources", spec, status=201, Hookline_Tenant="other").json()
    with listening(source, url, tmp_path) as listen:
        program.publish("push", {"n": 1})
        other.send()
        event_id = program.client.post(
            f"/in/{made['id']}", content=b"{}", headers={
                "x-github-event": "push", "x-github-delivery": "1",
                "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), b"{}", "sha256").hexdigest(),
            },
        ).json()["event_id"]  # fmt: skip
        mine = source.send()
        until(lambda: listen.lines)
        time.sleep(0.3)
    assert [line["event_id"] for line in listen.lines] == [mine]
    assert event_id != mine


def test_it_goes_on_where_it_stopped(source, receiver: Receiver, tmp_path):
    """What came while it was away is forwarded when it is back, once; and what came before it began is not."""
    url = receiver.url()
    source.send(b'"before"')
    with listening(source, url, tmp_path) as listen:
        source.send(b"1")
        receiver.came(url, 1)
        assert listen.end() == 0
    for n in range(2, 5):
        source.send(str(n).encode())
    with listening(source, url, tmp_path) as listen:
        source.send(b"5")
        receiver.came(url, 5)
        assert listen.end() == 0
    with listening(source, url, tmp_path) as listen:
        source.send(b"6")
        receiver.came(url, 6)
        assert listen.end(signal.SIGTERM) == 0
    assert [hit.body for hit in receiver.hits(url)] == [str(n).encode() for n in range(1, 7)]


def test_since_once_and_count(source, receiver: Receiver, tmp_path):
    """`--since` begins in the past or now, `--once` ends with what is there, `--count` after so many, and the exit code
    says whether all went well."""
    url = receiver.url([200, 200, 500])
    for n in range(3):
        source.send(str(n).encode())
    assert Listen(source, url, tmp_path, "--once").start().wait() == 0
    assert receiver.hits(url) == []
    assert Listen(source, url, tmp_path, "--once", "--since", "2020-01-01T00:00:00Z").start().wait() == 1
    assert [hit.body for hit in receiver.hits(url)] == [b"0", b"1", b"2"]
    assert Listen(source, url, tmp_path, "--once").start().wait() == 0
    assert len(receiver.hits(url)) == 3
    receiver.say(url, lambda _hit, _before: Answer(204))
    source.send(b"3")
    source.send(b"4")
    assert Listen(source, url, tmp_path, "--count", "1").start().wait() == 0
    assert [hit.body for hit in receiver.hits(url)[3:]] == [b"3"]
    assert Listen(source, url, tmp_path, "--once", "--since", "now").start().wait() == 0
    assert Listen(source, url, tmp_path, "--once").start().wait() == 0
    assert len(receiver.hits(url)) == 4
    ended = Listen(source, url, tmp_path, "--since", "yesterday").start()
    assert ended.wait() == 2
    assert "--since yesterday" in ended.notes


def test_a_local_program_that_is_down_is_waited_for(source, tmp_path):
    """While nobody listens nothing is lost; it is said once, and all comes in order when somebody does."""
    port = free_port()
    with listening(source, f"http://127.0.0.1:{port}/hook", tmp_path) as listen:
        for n in range(3):
            source.send(str(n).encode())
        until(lambda: "it is tried again until it answers" in listen.notes)
        time.sleep(1)
        assert listen.lines == []
        late = Receiver("127.0.0.1", port)
        try:
            until(lambda: len(late.hits("http://x/hook")) == 3)
            assert [hit.body for hit in late.hits("http://x/hook")] == [b"0", b"1", b"2"]
            until(lambda: len(listen.lines) == 3)
        finally:
            late.close()
    assert listen.lines[0]["tries"] > 1
    assert listen.notes.count("it is tried again until it answers") == 1


def test_what_its_program_falls_over_is_passed_over(source, receiver: Receiver, tmp_path):
    """An event that is taken and never answered is tried five times, and then the next one comes."""
    url = receiver.url(lambda hit, _before: Answer(raw=b"") if hit.body == b"poison" else Answer(200))
    with listening(source, url, tmp_path) as listen:
        source.send(b"poison", "text/plain")
        source.send(b"good", "text/plain")
        until(lambda: len(listen.lines) == 2, 30)
    assert [(line["status"], line["tries"]) for line in listen.lines] == [(None, 5), (200, 1)]
    assert listen.lines[0]["detail"]


def test_a_payload_that_is_gone_is_passed_over(program, source, receiver: Receiver, tmp_path):
    """An event whose payload was erased meanwhile is said, and does not stop the others."""
    url = receiver.url()
    with listening(source, url, tmp_path) as listen:
        source.send(b"1")
        receiver.came(url, 1)
        assert listen.end() == 0
    gone = source.send(b"2")
    assert program.client.delete(f"/v1/events/{gone}/payload").status_code == 200
    source.send(b"3")
    with listening(source, url, tmp_path) as listen:
        receiver.came(url, 2)
        until(lambda: f"{gone} is not kept any more" in listen.notes)
    assert [hit.body for hit in receiver.hits(url)] == [b"1", b"3"]


def test_one_place_is_one_commands(program, source, receiver: Receiver, tmp_path):
    """A second command for the same source is refused, with a place of its own it is not; so is a file that is none."""
    url = receiver.url()
    with listening(source, url, tmp_path):
        second = Listen(source, url, tmp_path).start()
        assert second.wait() == 1
        assert "another hookline listen has" in second.notes
        mine = str(tmp_path / "mine.json")
        assert Listen(source, url, tmp_path, "--once", "--state", mine).start().wait() == 0
        wrong = Listen(Source(program), url, tmp_path, "--once", "--state", mine).start()
        assert wrong.wait() == 2
        assert "is of another source" in wrong.notes
        Path(mine).write_text("{")
        broken = Listen(source, url, tmp_path, "--once", "--state", mine).start()
        assert broken.wait() == 2
        assert "--since begins anew" in broken.notes
        assert Listen(source, url, tmp_path, "--once", "--state", mine, "--since", "now").start().wait() == 0


def test_a_place_that_the_server_does_not_know(source, receiver: Receiver, tmp_path):
    """Where the stream cannot go on (an old position, a restored backup), the list has what came, and nothing comes
    twice."""
    url = receiver.url()
    with listening(source, url, tmp_path) as listen:
        for n in range(3):
            source.send(str(n).encode())
        receiver.came(url, 3)
        until(lambda: len(listen.lines) == 3)
        assert listen.end() == 0
        place = listen.place() | {"position": "AAAAAAAA"}
        listen.place_file().write_text(json.dumps(place))
    for n in range(3, 6):
        source.send(str(n).encode())
    with listening(source, url, tmp_path) as listen:
        source.send(b"6")
        receiver.came(url, 7)
        until(lambda: "is not known any more" in listen.notes)
        time.sleep(0.2)
    assert [hit.body for hit in receiver.hits(url)] == [str(n).encode() for n in range(7)]


def test_interrupted_while_an_answer_is_awaited(source, receiver: Receiver, tmp_path):
    """Ctrl-C waits for the answer of the event that is on its way, so that it does not come twice."""
    url = receiver.url(lambda _hit, _before: Answer(wait_s=1.0))
    with listening(source, url, tmp_path) as listen:
        event_id = source.send()
        receiver.came(url, 1)
        assert listen.end() == 0
        assert "answer is waited for" in listen.notes
        assert listen.place()["recent"][-1] == event_id
        assert [line["status"] for line in listen.lines] == [200]


def test_no_such_source(source, receiver: Receiver, tmp_path):
    """A source that is not there is said at once."""
    source.name = "nobody"
    ended = Listen(source, receiver.url(), tmp_path).start()
    assert ended.wait() == 1
    assert "not_found" in ended.notes


@pytest.mark.crash
@pytest.mark.timeout(400)
def test_killed_again_and_again(tmp_path, receiver: Receiver):
    """Of 100 requests, while the command and the server are killed in turn, each arrives, in order, and twice at most
    what was on its way at a kill."""
    url = receiver.url()
    with running(tmp_path / "server") as program:
        source = Source(program)
        listen = Listen(source, url, tmp_path).start()
        listen.follows()
        kills = 0
        for n in range(100):
            source.send(str(n).encode())
            if n % 30 == 17:
                assert listen.process is not None
                os.kill(listen.process.pid, signal.SIGKILL)
                listen.process.wait()
                listen.start()
                kills += 1
            elif n in (41, 83):
                program.kill()
                program.start()

        def all_there() -> bool:
            assert listen.process is not None
            if listen.process.poll() == 3:  # it was started while the server was down
                listen.start()
            return {hit.body for hit in receiver.hits(url)} >= {str(n).encode() for n in range(100)}

        until(all_there, 100)
        assert listen.process is not None
        assert listen.process.poll() is None, listen.notes
        assert listen.end() == 0
    bodies = [int(hit.body) for hit in receiver.hits(url)]
    assert list(dict.fromkeys(bodies)) == list(range(100))
    assert len(bodies) - 100 <= kills
