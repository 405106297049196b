"""Thousands of valid and forged requests, made by signers of their own, each judged by the program as its provider's
documentation says: offline, and sent to `/in/…` from outside."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance import (
    judge_bodies,
    judge_certificates,
    judge_headers,
    judge_peculiar,
    judge_rest,
    judge_tokens,
    judge_webhooks,
)
from tests.acceptance.judge_cases import BASE_URL, CASES, OPEN, REFUSED, VALID, Case, Moment, Request
from tests.acceptance.program import Program, running

from hookline.cli.main import main
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Handshake, Refused, Verified

TABLES = (judge_headers, judge_peculiar, judge_webhooks, judge_certificates, judge_tokens, judge_bodies, judge_rest)
PRESETS = sorted({case.preset for case in CASES})
NOW_S = 1_780_000_000
LIVE_EVERY = 25
"""Of the refused ones that look alike for many providers, so many are sent once. All are judged offline."""
VERIFICATION_STATUS = {"meta": 403, "whatsapp": 403, "cloudevents": 403}
"""Who answers a question that he refuses otherwise than with 401."""


def by_config(cases: list[Case]) -> list[list[Case]]:
    """The cases of each config."""
    keyed = sorted(cases, key=lambda case: json.dumps(case.config, sort_keys=True))
    return [
        list(found) for _, found in itertools.groupby(keyed, key=lambda case: json.dumps(case.config, sort_keys=True))
    ]


def of_preset(name: str) -> list[Case]:
    """Its cases."""
    return [case for case in CASES if case.preset == name]


def placed(config: Any, url: str) -> Any:
    """The config with the source's address."""
    return json.loads(json.dumps(config).replace("{url}", url))


def line(request: Request, url: str) -> str:
    """The request as `--request` takes it."""
    whole = request.url or url + (f"?{request.query}" if request.query else "")
    body = base64.b64encode(request.body).decode()
    return json.dumps({"method": request.method, "url": whole, "headers": dict(request.headers), "body_base64": body})


def test_every_case_has_a_name_of_its_own():
    """The set is large, of all presets, has both kinds, and no name twice."""
    assert len(TABLES) == 7
    assert [name for name, count in Counter((case.preset, case.name) for case in CASES).items() if count > 1] == []
    expected = Counter(case.expect for case in CASES)
    assert expected[VALID] > 1000
    assert expected[REFUSED] > 2500
    assert expected[OPEN] < 300
    for name in PRESETS:
        assert {VALID, REFUSED} <= {case.expect for case in of_preset(name)}, name


def is_wrong(case: Case, found: str) -> bool:
    """Whether this is not what had to come of it."""
    return case.expect not in (OPEN, found)


@pytest.mark.parametrize("name", PRESETS)
def test_every_case(name: str) -> None:
    """The verifier says of every request what its provider's documentation says."""
    wrong = []
    url = f"{BASE_URL}/in/{name}"
    for case in of_preset(name):
        request = case.build(Moment(NOW_S, url))
        headers = tuple((key.lower(), value) for key, value in request.headers.items())
        whole = request.url or url + (f"?{request.query}" if request.query else "")
        inbound = Inbound(request.method, whole, headers, request.body)
        verdict = judge(preset(name), inbound, placed(case.config, url), float(NOW_S))
        found = VALID if isinstance(verdict, Verified | Handshake) else REFUSED
        if is_wrong(case, found) or (isinstance(verdict, Refused) and verdict.reason == "defect"):
            wrong.append((case.name, case.expect, verdict))
    assert wrong == []


@pytest.mark.parametrize("name", PRESETS[::4])
def test_offline(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hookline verify --preset` says the same of the config with most cases: one verdict a line, and exit code 1
    because not all are valid."""
    url = f"{BASE_URL}/in/{name}"
    config, requests = tmp_path / "config.json", tmp_path / "requests.jsonl"
    cases = max(by_config(of_preset(name)), key=len)
    config.write_text(json.dumps(placed(cases[0].config, url)))
    command = ["verify", "--preset", name, "--config", str(config), "--request", str(requests), "--at", str(NOW_S)]
    requests.write_text("".join(line(case.build(Moment(NOW_S, url)), url) + "\n" for case in cases))
    code = main(command)
    told = capsys.readouterr()
    verdicts = [VALID if verdict == VALID else REFUSED for verdict in told.out.splitlines()]
    assert told.err == ""
    assert len(verdicts) == len(cases)
    assert [case.name for case, found in zip(cases, verdicts, strict=True) if is_wrong(case, found)] == []
    assert code == 1


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that the world calls by another name."""
    with running(tmp_path_factory.mktemp("judged"), public_url=BASE_URL) as made:
        yield made
        assert made.terminate() == 0, made.log()


def sent(program: Program, link: list[socket.socket], request: Request, target: str) -> tuple[int, bytes, str]:
    """Send it as it is over a plain socket that is kept; status, body and content type of the answer."""
    if not link:
        link.append(socket.create_connection(("127.0.0.1", program.port), timeout=30))
    named = {"Host": BASE_URL.removeprefix("https://"), "Content-Length": str(len(request.body)), **request.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    link[0].sendall(f"{request.method} {target} HTTP/1.1\r\n{head}\r\n".encode() + request.body)
    answer = http.client.HTTPResponse(link[0], method=request.method)
    answer.begin()
    body = answer.read()
    if answer.will_close:
        link.pop().close()
    return answer.status, body, answer.getheader("content-type") or ""


def chosen(case: Case, number: int) -> bool:
    """Whether it is sent: all whose answer is known, most valid ones, a selection of the rest."""
    if case.exact or case.offline or case.expect == OPEN:
        return False
    return case.status is not None or number % (6 if case.expect == VALID else LIVE_EVERY) == 0


def wrong_answer(case: Case, status: int, body: bytes, kind: str) -> str:
    """What is wrong with the answer; empty: nothing."""
    if case.expect == REFUSED:
        statuses = {case.status or 401, VERIFICATION_STATUS.get(case.preset, 401)} | (
            set() if case.status else {400, 405}
        )
        right = status in statuses
    else:
        right = status == case.status if case.status else 200 <= status < 300
    if not right:
        return f"status {status}: {body[:100]!r}"
    if case.answer is None or body == case.answer:
        return "text/html" if b"<" in (case.answer or b"") and "text/plain" not in kind else ""
    return "" if "json" in kind and json.loads(body) == json.loads(case.answer) else f"answer {body[:100]!r}"


@pytest.mark.parametrize("name", PRESETS)
def test_from_outside(public: Program, name: str) -> None:
    """A source made over the API with the preset's name and this config takes the valid ones with success, or answers
    the question as the provider expects; the forged ones are refused, and nothing of them is stored."""
    link: list[socket.socket] = []
    wrong = []
    stored = sqlite3.connect(f"file:{public.folder / 'hookline.db'}?mode=ro", uri=True, isolation_level=None)
    count = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM quarantine)"
    for number, cases in enumerate(by_config(of_preset(name))):
        some = [case for at, case in enumerate(cases, number) if chosen(case, at)]
        if not some:
            continue
        path = f"/in/{name.replace('_', '-')}-{number}"
        config = placed(some[0].config, BASE_URL + path)
        public.post("/v1/sources", {"name": path[4:], "verifier": name, "config": config}, status=201)
        for expect in (VALID, REFUSED):
            before = stored.execute(count).fetchone()
            for case in some:
                if case.expect != expect:
                    continue
                request = case.build(Moment(int(time.time()), BASE_URL + path))
                target = path + (f"?{request.query}" if request.query else "")
                fault = wrong_answer(case, *sent(public, link, request, target))
                if fault:
                    wrong.append((case.name, case.expect, fault))
            assert expect == VALID or stored.execute(count).fetchone() == before, [case.name for case in some]
    stored.close()
    for one in link:
        one.close()
    assert wrong == []


@pytest.mark.parametrize(
    ("config", "request_file", "more", "code"),
    [
        ('{"secret":"k"}', "valid", [], 0),
        ('{"secret":"x"}', "valid", [], 1),
        ('{"secret":""}', "valid", [], 1),
        ("{", "valid", [], 2),
        ('{"secret":"k"}', "garbage", [], 2),
    ],
)
def test_exit_codes(tmp_path: Path, config: str | None, request_file: str | None, more: list[str], code: int) -> None:
    """The real command: 0 valid, 1 refused or not usable, 2 for usage and for what cannot be read."""
    request = line(Request(judge_headers.scheme("github").sign(Moment(NOW_S, ""), b"{}", "k"), b"{}"), BASE_URL)
    for name, text in (("config", config), ("request", request if request_file == "valid" else request_file)):
        if text is not None:
            (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "hookline", "verify", "--preset", "github", "--config", str(tmp_path / "config")]
    found = subprocess.run(
        [*command, "--request", str(tmp_path / "request"), *more], capture_output=True, check=False, timeout=60
    )
    assert found.returncode == code, found.stderr
    assert (found.stdout == b"valid\n") == (code == 0)
