"""The examples of functions in the cloud, called as the cloud calls them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import flask
import pytest
from tests.sdk.signed import OTHER, SECRET, sent
from tests.sdk.test_kit_google_cloud import called, message
from tests.sdk.test_kit_lambda import first, second

EXAMPLES = Path(__file__).parents[2] / "examples"


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An example, as a module of its own."""
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("event_of", [first, second])
def test_the_example_of_lambda(event_of: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A delivery is printed once, and a forged one is 401."""
    function = loaded("lambda_handler", monkeypatch).lambda_handler
    request, forged = sent(), sent(secret=OTHER)
    statuses = [
        function(event_of("POST", one.headers, one.body), None)["statusCode"] for one in (request, request, forged)
    ]
    assert statuses == [200, 200, 401]
    assert capsys.readouterr().out == 'msg_1 order.created {"order_id": "A-1", "amount": 12.5}\n'


def test_the_example_of_cloud_functions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The same over HTTP and over Pub/Sub; what came one way is known to the other."""
    module = loaded("cloud_function", monkeypatch)
    request, forged = sent(), sent(secret=OTHER)
    call = called(module.hook)
    assert [call("POST", one.headers, one.body).status for one in (request, request, forged)] == [200, 200, 401]
    module.relayed(message(request), None)
    module.relayed(message(sent(webhook_id="msg_2")), None)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["msg_1", "msg_2"]
    assert flask.has_request_context() is False
