"""Behind nginx, with the configuration that docs/how-to/behind-a-proxy.md gives."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import trustme
from tests.acceptance.program import KEY, Program, free_port, needs, until

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "behind-a-proxy.md"
NAME = "hooks.example.com"
MIB = 1024 * 1024
AROUND = """daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
worker_rlimit_nofile 1024;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{site}
}}
"""


@dataclass
class Proxied:
    """The program behind nginx."""

    program: Program
    port: int
    context: ssl.SSLContext

    def client(self, source: str = "127.0.0.1") -> httpx2.Client:
        """A client that comes from this address."""
        transport = httpx2.HTTPTransport(verify=self.context, local_address=source)
        return httpx2.Client(
            transport=transport,
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"authorization": f"Bearer {KEY}", "host": NAME},
            timeout=20,
        )


def configuration(folder: Path, port: int, program_port: int) -> str:
    """The page's configuration, with this test's names, ports and files."""
    found = re.search(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    site = found[1]
    for old, new in {
        "server 127.0.0.1:8400;": f"server 127.0.0.1:{program_port};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "/etc/nginx/hooks.example.com.pem": f"{folder}/site.pem",
        "/etc/nginx/hooks.example.com.key": f"{folder}/site.key",
    }.items():
        assert site.count(old) == 1, old
        site = site.replace(old, new)
    return AROUND.format(folder=folder, site=site)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """nginx with a certificate, and the program as the page has it: clients have a limit of requests."""
    nginx = needs("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    authority = trustme.CA()
    made = authority.issue_cert(NAME, "127.0.0.1")
    (folder / "site.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    (folder / "site.key").write_bytes(made.private_key_pem.bytes())
    program = Program(
        folder / "hookline", public_url=f"https://{NAME}", trusted_proxies="127.0.0.1/32", address_rate="60/3600"
    )
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, port, program.port))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    proxy = None
    try:
        program.start()
        with (folder / "said").open("wb") as said:
            proxy = subprocess.Popen([nginx, "-p", str(folder), "-c", str(file)], stderr=said)
        until(lambda: _listens(port) or proxy.poll() is not None, wait_s=10)
        assert proxy.poll() is None, (folder / "said").read_text()
        yield Proxied(program, port, context)
        assert program.terminate() == 0, program.log()
    finally:
        if proxy is not None:
            proxy.terminate()
            proxy.wait(10)
        program.close()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_publish_and_deliver(proxied: Proxied, receiver, name: str):
    """Events come in through nginx and are delivered, over kept connections and by many clients at once."""
    url = receiver.url()
    statuses: list[int] = []

    def publish(source: str) -> None:
        with proxied.client(source) as client:
            for number in range(10):
                answer = client.post("/v1/events", json={"type": name, "data": number})
                statuses.append(answer.status_code)

    with proxied.client("127.0.10.1") as client:
        made = client.post("/v1/endpoints", json={"url": url, "event_types": [name]})
        assert made.status_code == 201, made.text
    threads = [threading.Thread(target=publish, args=(f"127.0.10.{n}",)) for n in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 80
    assert {json.loads(hit.body)["data"] for hit in receiver.came(url, 80)} == set(range(10))


def test_each_client_has_a_limit_of_his_own(proxied: Proxied):
    """Behind nginx each client is counted by his own address, and no header of his makes him another."""
    with proxied.client("127.0.20.1") as client:
        statuses = [
            client.get("/v1/stats", headers={"x-forwarded-for": f"8.8.8.{n}", "x-real-ip": f"8.8.4.{n}"}).status_code
            for n in range(64)
        ]
        refused = client.get("/v1/stats")
    assert statuses == [200] * 60 + [429] * 4
    assert refused.json()["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    with proxied.client("127.0.20.2") as client:
        assert client.get("/v1/stats").status_code == 200
    forged = {"authorization": f"Bearer {KEY}", "x-forwarded-for": "127.0.20.1, 127.0.0.1"}
    answer = httpx2.get(f"{proxied.program.url}/v1/stats", headers=forged, trust_env=False)
    assert answer.status_code == 429  # nginx's own address is trusted: what it says counts


def test_a_body_of_16_mib(proxied: Proxied, name: str):
    """A request as large as Hookline takes passes, and a larger one is 413."""
    event = {"type": name, "data": "x" * (MIB - 20_000)}
    body = json.dumps([event] * 16).encode()
    assert 15.5 * MIB < len(body) <= 16 * MIB
    with proxied.client("127.0.30.1") as client:
        answer = client.post("/v1/events", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 202, answer.text
        too_large = client.post("/v1/events", content=b" " * (17 * MIB), headers={"content-type": "application/json"})
        assert too_large.status_code == 413


def test_the_stream_comes_at_once(proxied: Proxied, name: str):
    """Server-sent events pass through nginx when they happen."""
    with (
        proxied.client("127.0.40.1") as reading,
        proxied.client("127.0.40.2") as publishing,
        reading.stream("GET", "/v1/stream", params={"type": name, "kind": "event"}) as answer,
    ):
        assert answer.status_code == 200
        lines = answer.iter_lines()
        for number in range(3):
            begun_s = time.monotonic()
            made = publishing.post("/v1/events", json={"type": name, "data": number}).json()
            data = next(line for line in lines if line.startswith("data:"))
            assert json.loads(data.removeprefix("data:"))["id"] == made["id"]
            assert time.monotonic() - begun_s < 5


def test_a_backup_passes(proxied: Proxied):
    """A copy of the database comes through nginx whole."""
    with proxied.client("127.0.70.1") as client:
        answer = client.get("/v1/backup")
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"SQLite format 3\0")
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_what_is_not_for_everybody(proxied: Proxied, path: str):
    """Health and metrics are answered on Hookline's own port only."""
    with proxied.client("127.0.50.1") as client:
        assert client.get(path).status_code == 403
    assert proxied.program.client.get(path).status_code == 200


def test_links_have_the_public_address(proxied: Proxied, receiver, name: str):
    """A receiver is told to confirm at the address that was configured, whatever hosts and schemes a client names."""
    url = receiver.url()
    lies = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "http", "forwarded": "host=evil.example"}
    with proxied.client("127.0.60.1") as client:
        spec = {"url": url, "event_types": [name], "confirm": {"within_s": 60}}
        made = client.post("/v1/endpoints", json=spec, headers=lies | {"host": "evil.example"})
        assert made.status_code == 201, made.text
        assert made.headers["location"].startswith("/v1/endpoints/")
        client.post("/v1/events", json={"type": name, "data": 1}, headers=lies)
        confirm_url = receiver.came(url)[0].headers["hookline-confirm-url"]
        assert confirm_url.startswith(f"https://{NAME}/v1/confirm/")
        confirmed = client.post(confirm_url.removeprefix(f"https://{NAME}"), json={"status": "success"})
        assert confirmed.status_code == 200, confirmed.text
