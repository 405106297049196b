"""The key that encrypts what is stored: a wrong one is said at once, by the server and by a restore."""

from __future__ import annotations

import base64
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.acceptance.program import Program, until

from hookline.core.secret import Keyring

ENDPOINT = "http://127.0.0.1:9/hooks"


def key() -> str:
    """A new key as a person writes it."""
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def stopped(tmp_path: Path):
    """A program with one endpoint, stopped, its backup beside it."""
    program = Program(tmp_path)
    try:
        program.start()
        program.endpoint(ENDPOINT)
        (tmp_path / "copy.db").write_bytes(program.client.get("/v1/backup").content)
        assert program.terminate() == 0
        yield program
    finally:
        program.close()


def refused(program: Program) -> str:
    """The one line with which it refuses to start."""
    before = len(program.log())
    program.launch()
    assert program.end(30) == 2
    (line,) = program.log()[before:].splitlines()
    return line


def test_a_wrong_key_refuses_to_start(stopped: Program):
    """With a key that opens nothing it ends with one line that names the key's file and shows no key; with the right
    one behind it, it starts, and its endpoint can be used."""
    file = stopped.folder / "hookline.secret"
    right, wrong = file.read_text().strip(), key()
    file.write_text(wrong)
    line = refused(stopped)
    assert "hookline.secret" in line
    assert "opens none" in line
    assert wrong not in line
    file.write_text(f"{wrong},{right}")
    stopped.start()
    (endpoint,) = stopped.rows("/v1/endpoints")
    assert stopped.get(f"/v1/endpoints/{endpoint['id']}/secret")["secret"].startswith("whsec_")


def test_one_that_opens_some_starts(stopped: Program):
    """Where one endpoint's secrets can be opened it starts; the other says what it misses, and is sent nothing."""
    sealed = Keyring([os.urandom(32)]).seal(b"of a key that is gone", os.urandom(12))
    with closing(sqlite3.connect(stopped.folder / "hookline.db")) as connection, connection:
        connection.execute("UPDATE endpoints SET sealed = ?", (sealed,))
    assert "opens none" in refused(stopped)
    with closing(sqlite3.connect(stopped.folder / "hookline.db")) as connection, connection:
        connection.execute("UPDATE endpoints SET deleted = 1")
    stopped.start()
    stopped.endpoint(ENDPOINT)
    assert stopped.terminate() == 0
    with closing(sqlite3.connect(stopped.folder / "hookline.db")) as connection, connection:
        connection.execute("UPDATE endpoints SET deleted = 0")
    stopped.start()
    answers = [stopped.client.get(f"/v1/endpoints/{row['id']}/secret") for row in stopped.rows("/v1/endpoints")]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert "HOOKLINE_SECRET_KEY" in answers[1].text
    sealed_id = stopped.rows("/v1/endpoints")[1]["id"]
    for tail in ("/test", "/secret/rotate"):
        answer = stopped.post(f"/v1/endpoints/{sealed_id}{tail}", status=409)
        assert (answer.json()["code"], "HOOKLINE_SECRET_KEY" in answer.text) == ("wrong_state", True)
    stopped.publish("to.all", 1)
    until(lambda: stopped.deliveries(endpoint=sealed_id))
    assert [row["attempts"] for row in stopped.deliveries(endpoint=sealed_id)] == [0]


def test_a_restore_warns_of_a_wrong_key(stopped: Program):
    """It is made all the same; what opens nothing is warned of on stderr, with --json too, and what fits is not."""
    file = stopped.folder / "hookline.secret"
    right, wrong = file.read_text().strip(), key()
    for text, warned in ((wrong, True), (right, False)):
        file.write_text(text)
        for more in ([], ["--json"]):
            environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
            environment["HOOKLINE_DB"] = f"sqlite:///{stopped.folder / 'hookline.db'}"
            command = [sys.executable, "-m", "hookline", "restore", str(stopped.folder / "copy.db"), "--force", *more]
            ended = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=60)
            assert ("WARNING" in ended.stderr, "opens none" in ended.stderr) == (warned, warned), ended.stderr
            assert wrong not in ended.stderr + ended.stdout
