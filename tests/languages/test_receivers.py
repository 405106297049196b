"""Receivers in other languages, by their official Standard Webhooks libraries, take what the real program delivers.

The libraries come from npm and Maven in the versions that the examples lock, into a folder of the tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.acceptance.program import Program, free_port, needs, until
from tests.arch.tree import ROOT

EXAMPLES = ROOT / "examples"
PAGES = ROOT / "docs" / "how-to"
INSTALL_S_MAX = 280


@dataclass(frozen=True)
class Language:
    """How a receiver is started."""

    command: list[str]
    folder: Path


def made(folder: Path, *command: str, **more: str) -> None:
    """Run a package manager; what it says is shown when it fails."""
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=INSTALL_S_MAX,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def node(folder: Path) -> Language:
    """The receiver in Node.js, with what its package-lock says."""
    needs("node")
    needs("npm")
    for name in ("package.json", "package-lock.json", "receive.mjs"):
        shutil.copy(EXAMPLES / "node" / name, folder)
    made(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")
    return Language(["node", "receive.mjs"], folder)


def java(folder: Path) -> Language:
    """The receiver in Java, as its pom says."""
    needs("java")
    needs("javac")
    needs("mvn")
    shutil.copy(EXAMPLES / "java" / "pom.xml", folder)
    shutil.copytree(EXAMPLES / "java" / "src", folder / "src")
    goals = ("compiler:compile", "dependency:copy-dependencies")
    made(folder, "mvn", "-q", "-B", "--strict-checksums", *goals, MAVEN_OPTS="-XX:TieredStopAtLevel=1")
    return Language(["java", "-cp", "target/classes:target/dependency/*", "Receive"], folder)


@pytest.fixture(scope="module", params=[node, java], ids=lambda make: make.__name__)
def language(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Language:
    """Each language that is tested, its receiver built once."""
    found: Language = request.param(tmp_path_factory.mktemp(request.param.__name__))
    return found


class Running:
    """A receiver that listens, and what it has printed."""

    def __init__(self, language: Language, secret: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}/hook"
        port = self.url.split(":")[2].partition("/")[0]
        environment = {**os.environ, "WEBHOOK_SECRET": secret}
        self.process = subprocess.Popen(
            [*language.command, port], cwd=language.folder, env=environment, stdout=subprocess.PIPE, text=True,
            encoding="utf-8",
        )  # fmt: skip
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def took(self, event_id: str) -> list[str]:
        """What it took with this id."""
        return [line.partition(" ")[2] for line in self.lines if line.startswith(f"{event_id} ")]

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def receiving(language: Language, secret: str) -> Iterator[Running]:
    """A receiver until the end of a `with`."""
    running = Running(language, secret)
    try:
        until(lambda: running.lines, 30)
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:[0-9]+", running.lines[0])
        yield running
    finally:
        running.close()


def secret_of(program: Program, endpoint: Mapping[str, Any]) -> str:
    """What its receiver verifies with."""
    return str(program.get(f"/v1/endpoints/{endpoint['id']}/secret")["secret"])


def deliver(program: Program, endpoint: Mapping[str, Any], data: Any) -> tuple[str, dict[str, str], bytes]:
    """Publish and wait until it is delivered: its id, and the request as it was sent."""
    event_id = program.publish(f"lang.{endpoint['id']}", data)["id"]
    row = program.delivered(event_id)
    attempt = program.attempts(row["id"])[-1]
    assert attempt["status"] == 204
    return event_id, attempt["request_headers"], attempt["request_body"].encode()


@pytest.mark.timeout(400)
def test_it_takes_what_is_delivered_and_nothing_else(program: Program, language: Language):
    """A signed delivery is taken with its bytes, while a secret is changed by both secrets, once per id; what is
    tampered with, stale, unsigned or garbled is refused with 401, another method with 405."""
    url = f"http://127.0.0.1:{free_port()}/hook"
    endpoint = program.endpoint(url)
    endpoint = program.client.patch(
        f"/v1/endpoints/{endpoint['id']}", json={"event_types": [f"lang.{endpoint['id']}"]}
    ).json()
    path, old = f"/v1/endpoints/{endpoint['id']}", secret_of(program, endpoint)
    with receiving(language, old) as first:
        assert program.client.patch(path, json={"url": first.url}).status_code == 200
        data = {"order_id": "A-1", "text": 'ä 日本 \U0001f680 \\ " </script>', "total": 1.50, "deep": [None, True, []]}
        event_id, headers, body = deliver(program, endpoint, data)
        until(lambda: first.took(event_id))
        assert first.took(event_id) == [body.decode()]
        refuse_what_is_not_proven(first, headers, body)

        program.post(f"{path}/secret/rotate", {"overlap_s": 3600}, status=200)
        event_id, headers, body = deliver(program, endpoint, {"n": 2})
        assert len(headers["webhook-signature"].split(" ")) == 2
        until(lambda: first.took(event_id))
        new = secret_of(program, endpoint)
        assert new != old
        with receiving(language, new) as second:
            assert program.client.patch(path, json={"url": second.url}).status_code == 200
            event_id, headers, body = deliver(program, endpoint, {"n": 3})
            until(lambda: second.took(event_id))
            # The same webhook again, as after an answer that was lost.
            repeated = program.post(f"/v1/events/{event_id}/replay", {"endpoint_id": endpoint["id"]}, status=202).json()
            until(lambda: program.get(f"/v1/deliveries/{repeated['ids'][0]}")["state"] == "delivered")
            time.sleep(0.1)
            assert second.took(event_id) == [body.decode()]


def refuse_what_is_not_proven(receiver: Running, headers: Mapping[str, str], body: bytes) -> None:
    """Whatever is changed in a delivery, it is refused, and the receiver goes on."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type")
    good = {name: headers[name] for name in names}
    signature = good["webhook-signature"]
    changed: list[tuple[dict[str, str], bytes]] = [
        (good, body.replace(b"A-1", b"A-2")),
        (good, body + b" "),
        (good, b""),
        (good | {"webhook-id": "evt_other"}, body),
        (good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)}, body),
        (good | {"webhook-timestamp": "1600000000"}, body),
        (good | {"webhook-timestamp": "4000000000"}, body),
        (good | {"webhook-timestamp": "yesterday"}, body),
        (good | {"webhook-signature": signature[:-2] + ("B=" if signature[-2] != "B" else "C=")}, body),
        (good | {"webhook-signature": signature.replace("v1,", "v2,")}, body),
        *((good | {"webhook-signature": text}, body) for text in ("v1", "v1,", ",", "garbage", "v1,a,b")),
        *(({name: value for name, value in good.items() if name != gone}, body) for gone in names[:3]),
    ]
    with httpx2.Client(trust_env=False, timeout=20) as client:
        answers = [client.post(receiver.url, headers=fields, content=data).status_code for fields, data in changed]
        assert answers == [401] * len(changed)
        assert client.get(receiver.url).status_code == 405
        assert client.post(receiver.url, headers=good, content=b"x" * (1024 * 1024 + 1)).status_code == 413
        # The delivery itself, untouched: taken before, so it is answered and not handled again.
        assert client.post(receiver.url, headers=good, content=body).status_code == 204
    time.sleep(0.1)
    assert receiver.took("evt_other") == []
    assert receiver.took(good["webhook-id"]) == [body.decode()]


@pytest.mark.parametrize(
    ("page", "example"),
    [("receive-in-nodejs", "node/receive.mjs"), ("receive-in-java", "java/src/main/java/Receive.java")],
)
def test_the_page_shows_what_is_tested(page, example):
    """The program on the page of a language is the one that these tests run."""
    assert (EXAMPLES / example).read_text(encoding="utf-8") in (PAGES / f"{page}.md").read_text(encoding="utf-8")
