"""The vectors of all providers: published by them, recorded, or checked with their own libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hookline.core.reading import check, events_of
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.known_keys import needs
from hookline.core.verifiers.presets import NAMES, preset
from hookline.core.verifiers.verdict import Handshake, Refused, Verified

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text(encoding="utf-8"))
OTHER_IDS = {"woocommerce", "adyen"}
"""Their ids are not unique: something is added to them."""


def request_of(vector: dict[str, Any]) -> Inbound:
    """The request of a vector."""
    return Inbound.of(vector["method"], vector["url"], vector["headers"], vector["body"].encode())


def named(vector: dict[str, Any]) -> str:
    """What pytest calls it."""
    return f"{vector['provider']}-{vector['name']}"


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_every_vector_is_judged_as_it_says(vector):
    """A request that was really signed, or checked with the provider's own library, is accepted."""
    verdict = judge(preset(vector["provider"]), request_of(vector), vector["config"], vector["now"])
    assert not isinstance(verdict, Refused)
    assert isinstance(verdict, Handshake) == (vector["kind"] == "handshake")
    if vector["kind"] == "handshake":
        assert_answer(verdict, vector["expected_response"])


def assert_answer(verdict: Any, expected: dict[str, Any]) -> None:
    """Fail unless an answer is the one the provider wants."""
    assert verdict.status == expected["status"]
    if "body" in expected:
        assert verdict.body == expected["body"].encode()
    if "json" in expected:
        assert json.loads(verdict.body) == expected["json"]
    headers = dict(verdict.headers)
    for name, value in expected.get("headers", {}).items():
        assert headers[name.lower()].partition(";")[0] == value


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_every_vector_is_read_as_it_says(vector):
    """The event's type and id are the provider's own."""
    (*_, event) = events_of(request_of(vector), preset(vector["provider"]).reading) or [None]
    if vector.get("event_type"):
        assert event.type == vector["event_type"].replace(" ", "_")
    if vector.get("dedup_id"):
        assert vector["dedup_id"] in event.id if vector["provider"] in OTHER_IDS else event.id == vector["dedup_id"]


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_the_configurations_of_the_vectors_can_be_used(vector):
    """What a source is configured with in an example is no fault when the source is made."""
    assert needs(preset(vector["provider"]), vector["config"]) == []


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_another_configuration_refuses_every_vector(vector):
    """Nothing is believed without what is configured, save questions that prove nothing and are answered to anybody."""
    verdict = judge(preset(vector["provider"]), request_of(vector), {}, vector["now"])
    if vector["provider"] != "microsoft_graph":  # its question is answered to anybody
        assert isinstance(verdict, Refused)
        assert verdict.reason == "not_configured"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_a_preset_whose_readings_can_be_read(name):
    """Each required preset is there, says its own name, and its expressions compile."""
    found = preset(name)
    assert found.name == name
    assert found.title
    assert found.methods
    assert set(found.secrets) <= set(found.keys)
    assert found.retry_window_s >= 3600 or found.never_retries
    check(found.reading)


def test_an_unknown_name_is_a_key_error():
    """There is no preset that nobody wrote."""
    with pytest.raises(KeyError):
        preset("nobody")


def test_the_vectors_are_of_every_provider_that_signs():
    """All required presets but those that are a comparison of texts have a vector."""
    without = set(NAMES) - {vector["provider"] for vector in VECTORS}
    assert without == {"zapier", "ifttt", "auth0", "chargebee", "meta"}


def test_a_verified_request_says_nothing_else():
    """A vector of a webhook gives `Verified`."""
    stripe = next(vector for vector in VECTORS if vector["provider"] == "stripe")
    assert judge(preset("stripe"), request_of(stripe), stripe["config"], stripe["now"]) == Verified()
