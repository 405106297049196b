"""Canaries: every secret there is goes in, everything that can be read is read, and none of them comes out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.acceptance.program import Program, running, until
from tests.acceptance.receiver import Answer, Receiver

RAW = {name: f"canary-{name}-0123456789abcdef".encode()[:32].ljust(32, b"x") for name in ("first", "second", "third")}
SIGNING = {name: "whsec_" + base64.b64encode(raw).decode() for name, raw in RAW.items()}
TOKEN = "canary.bearer.token.f00dfeed"
PASSWORD = "canary-password-5eb63bbb"
API_KEY_VALUE = "canary-api-key-value-8d969eef"
OPERATOR = "hl_canary_operator_0a1b2c3d"
SEALING = b"canary sealing key, 32 bytes, aa"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that logs all it can, with keys of its own."""
    folder = tmp_path_factory.mktemp("canary")
    sealing = base64.b64encode(SEALING).decode()
    with running(folder, key=OPERATOR, secret_key=sealing, log_level="debug") as made:
        made.client.headers["authorization"] = f"Bearer {OPERATOR}"
        yield made


def forms(secret: bytes) -> Iterator[bytes]:
    """How a secret may be written."""
    yield secret
    for shift in range(3):  # base64 looks different at each offset; its ends depend on the neighbours
        yield base64.b64encode(b"\0" * shift + secret)[4 : -4 - 4 * (shift > 0)]
    yield secret.hex().encode()
    yield json.dumps(secret.decode("latin-1"))[1:-1].encode()


def lived(program: Program, receiver: Receiver) -> dict[str, bytes]:
    """Put every kind of secret in and use it; those that the program made itself are returned."""
    confirm_urls: list[str] = []

    def note(hit: object, _before: int) -> Answer:
        confirm_urls.append(hit.headers["hookline-confirm-url"])  # type: ignore[attr-defined]
        return Answer(200, b"thanks")

    program.endpoint(receiver.url(), secret=SIGNING["first"], auth={"kind": "bearer", "token": TOKEN}, uid="bearer")
    program.endpoint(receiver.url([500, 200]), auth={"kind": "basic", "username": "u", "password": PASSWORD})
    program.endpoint(
        receiver.url([400]), auth={"kind": "api_key", "header": "x-key", "value": API_KEY_VALUE}, uid="api-key"
    )
    program.endpoint(receiver.url(note), confirm={"within_s": 60}, uid="confirming")
    program.post("/v1/endpoints/bearer/secret/rotate", {"secret": SIGNING["second"]}, status=200)
    program.post("/v1/endpoints/bearer/test", status=200)
    made = program.post("/v1/keys", {"tenant": "default", "scopes": ["read"]}, status=201).json()
    with httpx2.Client(base_url=program.url, trust_env=False) as client:
        assert client.get("/v1/stats", headers={"authorization": f"Bearer {made['key']}"}).status_code == 200
        for wrong in (made["key"][:-1], OPERATOR + "x", "Basic " + TOKEN):
            assert client.get("/v1/stats", headers={"authorization": f"Bearer {wrong}"}).status_code == 401
        for body in ({"secret": SIGNING["third"] + "!"}, {"secret": SIGNING["third"], "nope": 1}):
            assert program.post("/v1/endpoints", {"url": receiver.url(), **body}).status_code == 422
    event = program.publish("canary.sung", {"n": 1})
    until(lambda: len([row for row in program.deliveries(event=event["id"]) if row["attempts"] > 0]) == 4)
    until(lambda: bool(confirm_urls))
    token = confirm_urls[0].rsplit("/", 1)[1]
    assert httpx2.post(confirm_urls[0], json={"status": "success"}, trust_env=False).status_code == 200
    return {"issued key": made["key"].encode(), "confirm token": token.encode()}


def answers(program: Program) -> Iterator[tuple[str, bytes]]:
    """Everything that the API shows: every GET of its own description, with everything that there is."""
    document = program.get("/openapi.json")
    ids = {
        kind: [row["id"] for row in program.rows(f"/v1/{kind}")]
        for kind in ("events", "endpoints", "deliveries", "keys", "tenants", "replays")
    }
    for path, item in document["paths"].items():
        if "get" not in item or path in ("/v1/stream", "/v1/endpoints/{endpoint}/secret"):
            continue
        kind = path.split("/")[2] if path.startswith("/v1/") else ""
        for identifier in ids.get(kind, []) if "{" in path else [""]:
            full = re.sub(r"\{[^}]+\}", identifier, path)
            answer = program.client.get(full)
            assert answer.status_code < 500, (full, answer.text)
            yield full, answer.content
    with program.client.stream("GET", "/v1/stream", params={"last_event_id": "0"}) as stream:
        yield "/v1/stream", next(stream.iter_bytes(), b"")


def test_no_secret_comes_out_anywhere(program: Program, receiver: Receiver) -> None:
    """No secret, in any spelling, is in an answer, in a log, in the database, in its log of writes or in a backup."""
    made = lived(program, receiver)
    secrets = {
        **{f"signing {name}": raw for name, raw in RAW.items()},
        **{f"written signing {name}": text.removeprefix("whsec_").encode() for name, text in SIGNING.items()},
        "bearer": TOKEN.encode(),
        "password": PASSWORD.encode(),
        "api key": API_KEY_VALUE.encode(),
        "operator": OPERATOR.encode(),
        "sealing": SEALING,
        **made,
    }
    places = dict(answers(program))
    assert any(path.endswith("/attempts") and b"***" in body for path, body in places.items())
    assert program.terminate() == 0
    places["the log"] = program.log_path.read_bytes()
    for path in Path(program.folder).iterdir():
        if path.name.startswith("hookline.db"):
            places[path.name] = path.read_bytes()
    assert "hookline.db" in places
    assert "/v1/backup" in places
    found = [
        (name, place, form)
        for name, secret in secrets.items()
        for form in forms(secret)
        for place, content in places.items()
        if len(form) >= 8 and form in content
    ]
    assert found == []


@pytest.mark.parametrize("before", [b"", b"u", b"u:", b"u:v"])
def test_a_canary_is_found_in_any_spelling(before: bytes) -> None:
    """A secret inside base64, at whatever place, in hexadecimal or in JSON is recognised."""
    secret = PASSWORD.encode()
    for written in (base64.b64encode(before + secret + b"tail"), (before + secret).hex().encode(), before + secret):
        assert any(form in written for form in forms(secret))
