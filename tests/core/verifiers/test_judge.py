"""The one way in: a verdict for every outcome of a verifier, its failures too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.verdict import Fetch, Fetched, Handshake, Refused, Verdict, Verified

REQUEST = Inbound.of("post", "https://h.example/in/x?a=1&a=2&b=%20", {"A": " x\t", "b": ""}, b"{}")


def preset(outcome: Any) -> Preset:
    """One whose verifier says, or raises, this."""

    def verify(_request: Any, _config: Any, _now_s: float, _fetched: Any) -> Verdict:
        if isinstance(outcome, Exception):
            raise outcome
        said: Verdict = outcome
        return said

    return Preset("x", "X", verify, (), Reading(type=""))


@pytest.mark.parametrize(
    "verdict", [Verified("u"), Refused("stale", "x"), Handshake(204), Fetch("k", "https://k.example")]
)
def test_a_verdict_is_passed_on(verdict):
    """Whatever the verifier says is what is said."""
    assert judge(preset(verdict), REQUEST, {}, 0.0) == verdict


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyError("x"), RecursionError(), MemoryError(), AssertionError(), UnicodeError(), TypeError()],
)
def test_a_failure_of_a_verifier_is_a_refusal(error):
    """A forger who finds a defect finds nothing behind it, and its text, which may have a secret, is not told."""
    verdict = judge(preset(error), REQUEST, {}, 0.0)
    assert verdict == Refused("defect", f"{type(error).__name__} in the verifier of x")


def test_what_is_not_configured_is_a_refusal():
    """With the key, without its value."""
    verdict = judge(preset(ConfigError("secret", "is needed")), REQUEST, {}, 0.0)
    assert verdict == Refused("not_configured", "secret is needed")


def test_only_the_methods_of_the_preset_are_judged():
    """Others are 405, whatever the verifier would say; a source may allow more."""
    put = replace(REQUEST, method="PUT")
    verdict = judge(preset(Verified()), put, {}, 0.0)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.status) == ("unsupported", 405)
    assert judge(replace(preset(Verified()), methods=("PUT",)), put, {}, 0.0) == Verified()


def test_what_was_fetched_reaches_the_verifier():
    """Under its name."""
    seen: dict[str, Any] = {}

    def verify(_request: Any, _config: Any, _now_s: float, fetched: Any) -> Verdict:
        seen.update(fetched)
        return Verified()

    judge(replace(preset(None), verify=verify), REQUEST, {}, 0.0, {"k": Fetched(200, b"x")})
    assert seen == {"k": Fetched(200, b"x")}


def test_a_request_is_seen_as_it_came():
    """Names of headers in lower case, blanks gone, parameters decoded; what is there twice is no value."""
    assert (REQUEST.method, REQUEST.headers) == ("POST", (("a", "x"), ("b", "")))
    assert (REQUEST.header("a"), REQUEST.header("b"), REQUEST.header("c")) == ("x", "", None)
    assert (REQUEST.query("a"), REQUEST.query_all("a"), REQUEST.query("b"), REQUEST.query("c")) == (
        None,
        ["1", "2"],
        " ",
        None,
    )
    twice = Inbound.of("POST", "", [("a", "1"), ("A", "2")], b"")
    assert (twice.header("a"), twice.all("a")) == (None, ("1", "2"))
    assert Inbound.of("POST", "http://[", {}, b"").query_all("a") == []
