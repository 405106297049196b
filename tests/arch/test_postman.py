"""The Postman collection is made from the OpenAPI document, and the one in the documentation is that one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.arch.reference import openapi_document
from tests.arch.tree import ROOT

from hookline.web.postman import SIGNING_SCRIPT, postman

FILE = ROOT / "docs" / "reference" / "hookline.postman_collection.json"
METHODS = {"get", "post", "put", "patch", "delete"}


def requests(collection: dict[str, Any]) -> list[dict[str, Any]]:
    """Every request of every folder."""
    return [item["request"] for folder in collection["item"] for item in folder["item"]]


def test_every_operation_is_a_request():
    """Each path and method of the OpenAPI document is there once, with its parameters, and one request is signed."""
    document = openapi_document()
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item if method in METHODS
    }
    collected = [
        (
            request["method"],
            "/" + "/".join(f"{{{p[1:]}}}" if p.startswith(":") else p for p in request["url"].get("path", [])),
        )
        for request in requests(postman(document))
    ]
    spelled = {(method, path.replace(":path}", "}")) for method, path in described}
    assert sorted(collected) == sorted([*spelled, ("POST", "/")])
    for request in requests(postman(document)):
        wanted = {segment[1:] for segment in request["url"].get("path", []) if segment.startswith(":")}
        assert {variable["key"] for variable in request["url"].get("variable", [])} == wanted


def test_bodies_have_what_is_required():
    """The body of POST /v1/endpoints is one that the API takes."""
    (body,) = [
        json.loads(request["body"]["raw"])
        for request in requests(postman(openapi_document()))
        if request["method"] == "POST" and request["url"]["raw"] == "{{url}}/v1/endpoints"
    ]
    assert body == {"url": "https://example.com/webhooks"}


def test_the_signing_script_goes_with_the_signed_request():
    """The one request to a receiver carries the script that signs it, and needs no key of ours."""
    (signed,) = [
        item
        for folder in postman(openapi_document())["item"]
        for item in folder["item"]
        if item["request"]["url"]["raw"] == "{{receiver_url}}"
    ]
    assert signed["event"][0]["script"]["exec"] == SIGNING_SCRIPT.splitlines()
    assert signed["request"]["auth"] == {"type": "noauth"}


def test_the_collection_in_the_documentation_is_current():
    """The file is what `hookline openapi --postman` prints for this version."""
    stored = json.loads(Path(FILE).read_text(encoding="utf-8"))
    made = postman(openapi_document())
    stored["info"].pop("name")
    made["info"].pop("name")
    assert stored == made
