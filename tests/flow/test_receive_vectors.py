"""The providers' published and generated examples, sent to sources of their presets: accepted as valid, answered as
expected, read into events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hookline.core.verifiers import presets
from hookline.flow.admission import Call, Turned
from tests.flow.receiving import Provider, header, provider, said
from tests.flow.rig import Rig

__all__ = ["provider"]

VECTORS = json.loads((Path(__file__).parents[1] / "core/verifiers/vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{v['provider']}-{v['name']}" for v in VECTORS])
async def test_a_providers_example_is_received(rig: Rig, provider: Provider, vector) -> None:
    """At its time, at its address: success, and an event with its bytes, type and id; or the answer it asks for."""
    rig.clock.set_wall(vector["now"] * 1000)
    config = dict(vector["config"])
    if "tolerance" in config:
        config["tolerance_s"] = config.pop("tolerance")
    await provider.source("src", vector["provider"], config=config)
    headers = tuple((name.lower(), value) for name, value in vector["headers"].items())
    body = vector["body"].encode()
    target = vector["url"].partition("://")[2].partition("/")[2]
    call = Call("src", vector["method"], vector["url"], "/" + target, headers, "192.0.2.1")
    receive = rig.engine.receive
    answers = []
    try:
        receive.receive(receive.admission.admit(call, len(body)), call, body, answers.append)
    except Turned as turned:
        answers.append(turned.answer)
    await rig.until(lambda: bool(answers), "an answer")
    (answer,) = answers
    assert 200 <= answer.status < 300, (answer, await provider.rejections())
    expected = vector.get("expected_response")
    if expected is not None:
        assert answer.status == expected["status"]
        if "body" in expected:
            assert answer.body.decode() == expected["body"]
        if "json" in expected:
            assert said(answer) == expected["json"]
        if "xml_contains" in expected:
            assert expected["xml_contains"] in answer.body.decode()
        for name, value in expected.get("headers", {}).items():
            found = answer.content_type.decode() if name == "Content-Type" else header(answer, name.lower())
            assert (found or "").startswith(value), (name, found)
    events = await provider.events()
    if vector["kind"] == "handshake":
        assert events == []
        return
    if not presets.preset(vector["provider"]).reading.split:
        assert [event.data for event in events] == [body]
    if "event_type" in vector:
        assert events[0].type.startswith(vector["event_type"].replace(" ", "_")), events[0].type
    if "dedup_id" in vector:
        assert vector["dedup_id"] in (events[0].source_id or "")
