"""HTTPS from outside: the program's own certificate, its renewal while it works, and what it refuses to start with."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
import trustme
from tests.acceptance.program import KEY, Program, until

AUTHORITY = trustme.CA()


def renew(folder: Path) -> None:
    """A new certificate and key in the folder."""
    made = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    for name, content in (("tls.crt", made.cert_chain_pems[0].bytes()), ("tls.key", made.private_key_pem.bytes())):
        (folder / f"{name}.new").write_bytes(content)
        (folder / f"{name}.new").replace(folder / name)


def trusting() -> ssl.SSLContext:
    """A client's context that trusts the tests' authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def serial(port: int) -> str:
    """The serial number of the certificate that a new connection is shown."""
    with (
        closing(socket.create_connection(("127.0.0.1", port), 5)) as plain,
        trusting().wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        found: str = secured.getpeercert()["serialNumber"]  # type: ignore[index, assignment]
        return found


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program with a certificate of its own."""
    folder = tmp_path_factory.mktemp("secure")
    renew(folder)
    program = Program(folder, tls_cert_file=str(folder / "tls.crt"), tls_key_file=str(folder / "tls.key"))
    program.client.close()
    program.url = f"https://127.0.0.1:{program.port}"
    program.client = httpx2.Client(
        base_url=program.url, headers={"authorization": f"Bearer {KEY}"}, verify=trusting(), trust_env=False
    )
    try:
        yield program.start()
        assert program.terminate() == 0, program.log()
    finally:
        program.close()


def facts(program: Program, name: str) -> list[dict[str, object]]:
    """The log lines of a name."""
    lines = [json.loads(line) for line in program.log_path.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["fact"] == name]


def test_everything_works_over_https(secure: Program, receiver, name: str):
    """An event is published, delivered and seen over HTTPS, and the log says where it is listened on."""
    url = receiver.url()
    secure.endpoint(url, event_types=[name])
    event = secure.publish(name, {"n": 1})
    receiver.came(url)
    assert secure.delivered(event["id"])["state"] == "delivered"
    listening = facts(secure, "listening")[0]
    assert listening["url"] == listening["public_url"] == f"https://127.0.0.1:{secure.port}"


def test_a_renewal_is_used_without_a_restart(secure: Program, name: str):
    """New connections get the new certificate within seconds, a kept one goes on, and broken files change nothing."""
    secure.publish(name)
    first = serial(secure.port)
    renew(secure.folder)
    until(lambda: serial(secure.port) != first, every_s=0.2)
    second = serial(secure.port)
    (secure.folder / "tls.key").write_text("broken")
    until(lambda: facts(secure, "tls_not_reloaded"), every_s=0.1)
    assert serial(secure.port) == second
    secure.publish(name)
    renew(secure.folder)
    until(lambda: serial(secure.port) != second, every_s=0.2)
    assert len(facts(secure, "tls_reloaded")) == 2


def test_the_command_line_over_https(secure: Program, name: str):
    """Commands trust the authority that HOOKLINE_CA_FILE names, and nobody else's."""
    authority = secure.folder / "authority.pem"
    authority.write_bytes(AUTHORITY.cert_pem.bytes())
    outside = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}

    def send(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hookline", "send", name]
        environment = outside | {"HOOKLINE_URL": secure.url, "HOOKLINE_KEY": KEY} | more
        return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=30)

    strange = send()
    assert (strange.returncode, "certificate" in strange.stderr.lower()) == (3, True), strange.stderr
    known = send(HOOKLINE_CA_FILE=str(authority))
    assert known.returncode == 0, known.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_cert_file": "tls.crt"}, "both or neither"),
        ({"tls_key_file": "tls.key"}, "both or neither"),
        ({"tls_cert_file": "tls.crt", "tls_key_file": "missing"}, "no such file"),
        ({"tls_cert_file": "tls.crt", "tls_key_file": "tls.crt"}, "no private key"),
        ({"tls_cert_file": "tls.key", "tls_key_file": "tls.key"}, "no certificate"),
        ({"tls_cert_file": "tls.crt", "tls_key_file": "other.key"}, "does not belong to"),
    ],
)
def test_what_cannot_be_used_refuses_to_start(tmp_path: Path, given: dict[str, str], said: str):
    """A certificate or key that is missing, broken or another's is one line on stderr and exit code 2, and nothing is
    listened on."""
    renew(tmp_path)
    (tmp_path / "other.key").write_bytes(AUTHORITY.issue_cert("x").private_key_pem.bytes())
    program = Program(tmp_path, **given)
    try:
        program.launch()
        assert program.end(30) == 2
        lines = program.log().splitlines()
        assert len(lines) == 1
        assert said in lines[0]
    finally:
        program.close()
