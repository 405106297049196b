"""The API against its own description: Schemathesis sends what the OpenAPI document allows, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.acceptance.program import KEY, Program, running, until
from tests.acceptance.receiver import Receiver

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SECONDS = "45"
SKIPPED = ("/v1/stream",)
"""An answer without end. It has acceptance tests of its own."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program of its own: whatever is sent to it changes only this one."""
    with running(tmp_path_factory.mktemp("schemathesis")) as made:
        yield made


def known(program: Program, receiver: Receiver) -> str:
    """Things that exist, as Schemathesis wants them told, so that not every answer is 404."""
    call = program.client
    endpoint = call.post("/v1/endpoints", json={"url": receiver.url(), "uid": "known"}).json()["id"]
    call.post("/v1/event-types", json={"name": "known.type", "schema": {"type": "object"}})
    event = call.post("/v1/events", json={"type": "known.type", "data": {}}).json()["id"]
    delivery = until(lambda: call.get("/v1/deliveries", params={"event": event}).json()["data"])[0]["id"]
    key = call.post("/v1/keys", json={"tenant": "default", "scopes": ["read"]}).json()["id"]
    call.post("/v1/tenants", json={"id": "known"})
    replay = call.post("/v1/replays", json={"filter": {"endpoint": "known"}}).json()["id"]
    spec = {"name": "known", "verifier": "none", "schemas": {"*": {"type": "object"}}, "on_invalid": "quarantine"}
    call.post("/v1/sources", json=spec)
    call.post("/in/known", json=[])
    quarantined = call.get("/v1/sources/known/quarantine").json()["data"][0]["id"]
    ids = {"events": event, "deliveries": delivery, "keys": key, "replays": replay, "sources": quarantined}
    operations = "".join(
        f'[[operations]]\ninclude-path-regex = "^/v1/{kind}/"\nparameters = {{ id = "{identifier}" }}\n\n'
        for kind, identifier in ids.items()
    )
    return (
        f'[parameters]\n"path.endpoint" = "{endpoint}"\n"path.name" = "known.type"\n"path.tenant" = "known"\n'
        '"path.source" = "known"\n\n' + operations
    )


def test_no_answer_is_a_5xx_or_undocumented(described: Program, receiver: Receiver, tmp_path: Path) -> None:
    """Over every operation no answer is a server's fault, none has a status, type or form that is not described."""
    (tmp_path / "schemathesis.toml").write_text(known(described, receiver), encoding="utf-8")
    skipped = [part for path in SKIPPED for part in ("--exclude-path", path)]
    run = subprocess.run(
        [
            *(
                str(Path(sys.executable).with_name("schemathesis")),
                "--config-file",
                str(tmp_path / "schemathesis.toml"),
                "run",
            ),
            *(f"{described.url}/openapi.json", "--header", f"Authorization: Bearer {KEY}", *skipped),
            *("--phases", "coverage,fuzzing", "--checks", CHECKS, "--seed", "1", "--max-examples", "20"),
            *("--max-time", SECONDS, "--continue-on-failure", "--no-color", "--no-shrink", "--warnings", "off"),
        ],
        cwd=tmp_path,
        env=described.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert "generated" in run.stdout
    assert httpx2.get(f"{described.url}/readyz", trust_env=False).status_code == 200
    assert not [line for line in described.log().splitlines() if "request_crashed" in line or "_defect" in line]
