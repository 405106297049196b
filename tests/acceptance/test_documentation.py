"""What the documentation tells people to type, typed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.program import KEY, LOOPBACK, Program, free_port
from tests.acceptance.receiver import Receiver
from tests.arch.tree import ROOT

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
JSON_BLOCK = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
DELIVERED = "until hookline deliveries ls --state delivered | grep dlv_; do sleep 0.2; done"
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "providers")
"""Not those of the providers, which call providers and leave secrets out: `tests.arch.test_provider_pages` has them."""


def pages(block: re.Pattern[str], word: str) -> list[Path]:
    """The pages that have such a block."""
    return [path for path in PAGES if any(word in found for found in block.findall(path.read_text()))]


def environment(**more: str) -> dict[str, str]:
    """A shell's environment with our program on the path and no settings of the machine."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
    path = f"{Path(sys.executable).parent}:{outside['PATH']}"
    return outside | {"PATH": path, "PYTHONUNBUFFERED": "1"} | more


def test_the_readme_leads_to_a_delivered_event(tmp_path: Path):
    """The README's lines for the first event, pasted into a shell, deliver it and show it delivered."""
    text = (ROOT / "README.md").read_text()
    (block,) = [block for block in BLOCK.findall(text) if "hookline sink" in block]
    lines = block.splitlines(keepends=True)
    assert lines[0].startswith("make dev")
    server, sink = free_port(), free_port()
    script = "".join(lines[1:]).replace("8400", str(server)).replace("8500", str(sink))
    # A machine that runs all tests at once is slower than a person's.
    script = script.replace("sleep 2;", "until curl -sf $HOOKLINE_URL/readyz >/dev/null; do sleep 0.1; done;")
    said = tmp_path / "said.txt"
    with said.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-c", f"set -e\n{script}\n{DELIVERED}"],
            cwd=tmp_path,
            env=environment(HOOKLINE_PORT=str(server), HOOKLINE_URL=f"http://127.0.0.1:{server}"),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        assert shell.wait(60) == 0, said.read_text()
        text = said.read_text()
        assert '"deliveries":1,"duplicate":false' in text
        assert re.search("dlv_[0-9a-f]{32}", text), text
    finally:
        os.killpg(shell.pid, signal.SIGTERM)  # the two servers in its background


@pytest.fixture
def shop(program: Program, receiver: Receiver) -> Iterator[None]:
    """What the pages take for granted, taken away again with what a page made: it must not meet the next one."""
    program.post("/v1/endpoints", {"url": receiver.url(), "uid": "shop"}, status=201)
    yield
    for endpoint in program.rows("/v1/endpoints"):
        if "example.com" in endpoint["url"] or endpoint["uid"] in ("mine", "shop"):
            program.client.delete(f"/v1/endpoints/{endpoint['id']}")
    program.client.delete("/v1/event-types/order.created")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("path", pages(BLOCK, "curl"), ids=lambda path: path.stem)
def test_curl_lines_work(program: Program, tmp_path: Path, path: Path):
    """Every curl line of a page is accepted by a server that has an endpoint `shop` and the type `order.created`."""
    blocks = [block for block in BLOCK.findall(path.read_text()) if "curl" in block and "hookline serve" not in block]
    if not any("/v1/event-types" in block for block in blocks):
        program.post("/v1/event-types", {"name": "order.created", "example": {"order": 1}}, status=201)
    for block in blocks:
        script = "set -e\n" + re.sub("^export .*$", "", block, flags=re.MULTILINE).replace("curl -s ", "curl -sSf ")
        # An answer without end is read for a moment; 28 is curl's word for that.
        script = re.sub(r"^curl -N .*$", r"\g<0> --max-time 1 || [ $? = 28 ]", script, flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment(
                HOOKLINE_URL=program.url, HOOKLINE_KEY=KEY, HOOKLINE_ALLOW_NETWORKS=LOOPBACK, ENDPOINT="shop"
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (block, done.stdout, done.stderr)


def test_the_tutorial_receives_a_webhook(program: Program, receiver: Receiver, tmp_path: Path):
    """The tutorial's lines for the first webhook deliver a payment, and show why a forged one was refused."""
    step = (ROOT / "docs" / "tutorial.md").read_text().partition("Receive your first webhook\n")[2]
    script = "set -e\n" + "".join(BLOCK.findall(step.partition("\n## ")[0]))
    assert script.count("hookline simulate stripe") == 2
    program.client.delete("/v1/sources/stripe")  # the provider's own page may have made one
    url = receiver.url()
    program.post("/v1/endpoints", {"url": url, "uid": "mine", "event_types": ["order.*"]}, status=201)
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment(HOOKLINE_URL=program.url, HOOKLINE_KEY=KEY),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        (event_id,) = re.findall(r'"message":"Stored\.","event_id":"(evt_\w+)"', done.stdout)
        assert re.search(r"^\S+  401 +wrong_signature ", done.stdout, re.MULTILINE), done.stdout
        newest = re.search(r"^(evt_\w+) +payment_intent\.succeeded ", done.stdout, re.MULTILINE)
        assert newest is not None
        assert newest[1] == event_id  # nothing came of the forged one
        (hit,) = receiver.came(url)
        assert hit.id == event_id
    finally:
        program.client.delete("/v1/sources/stripe")
        program.client.delete("/v1/endpoints/mine")


@pytest.mark.parametrize("path", pages(JSON_BLOCK, "{"), ids=lambda path: path.stem)
def test_specs_in_json_are_accepted(program: Program, path: Path):
    """Every piece of an endpoint that a page shows as JSON is one that can be created."""
    for block in JSON_BLOCK.findall(path.read_text()):
        if not block.startswith("{"):  # one member of something larger
            continue
        decoder, rest = json.JSONDecoder(), block.strip()
        while rest:
            spec, end = decoder.raw_decode(rest)
            rest = rest[end:].strip()
            if {"status", "type", "event", "inbound"} & spec.keys():  # an answer, or what a receiver gets
                continue
            made = program.post("/v1/endpoints", {"url": "http://127.0.0.1:9/", **spec}, status=201).json()
            program.client.delete(f"/v1/endpoints/{made['id']}")
