"""A source from what a client writes to what the hot path uses, and back: parsed, checked, masked, compiled."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.sourcing import build, built, built_or_refused, spec

from hookline.core.errors import Refusal
from hookline.core.event import EVENT_BYTES_MAX
from hookline.core.source import DEDUPE_S_DEFAULT, DEDUPE_S_MAX, SourceSecrets, SourceSpec
from hookline.core.source_spec import (
    ANSWER_MARGIN_S,
    decode_spec,
    encode_spec,
    merge_patch,
    parse_spec,
)
from hookline.core.verified_by import (
    check_config,
    credential_headers,
    is_secret,
    masked,
    preset_of,
    proves_nothing,
    secrets_of,
)
from hookline.core.verifiers import presets

NAMES = st.sampled_from(SourceSpec.__struct_fields__)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


class TestDefaults:
    """What is not said is as the provider's preset has it."""

    @pytest.mark.parametrize("name", presets.NAMES)
    def test_a_source_is_its_preset(self, name: str):
        """By its name alone a source has the preset's methods, reading and answer, and a window over its repeats."""
        preset = presets.preset(name)
        source = built(verifier=name)
        assert source.preset == preset
        assert (source.methods, source.reading, source.reply) == (
            frozenset(preset.methods),
            preset.reading,
            preset.reply,
        )
        assert preset.retry_window_s <= source.dedupe_s <= DEDUPE_S_MAX
        assert source.dedupe_s >= DEDUPE_S_DEFAULT
        assert (source.content_types, source.ranges, source.rate, source.address_rate) == (None, None, None, None)
        assert (source.body_bytes_max, source.on_invalid, source.after) == (EVENT_BYTES_MAX, "refuse", "stored")
        assert (source.enabled, source.readable, source.addressed) == (True, True, True)

    def test_what_is_said_wins(self):
        """Methods, expressions and the answer of a source stand in its own preset; the provider's stays as it was."""
        before = presets.preset("github")
        source = built(
            methods=["PUT"], reading={"type": "body:kind", "id": ""}, answer={"status": 202, "body": "{}"},
            dedupe_window_s=300_000, body_bytes_max=9,
        )  # fmt: skip
        assert (source.preset.methods, source.reading.type, source.reading.id) == (("PUT",), "body:kind", "")
        assert source.reading.subject == before.reading.subject
        assert (source.reply.status, source.reply.body) == (202, "{}")
        assert (source.dedupe_s, source.body_bytes_max) == (300_000, 9)
        assert presets.preset("github") is before
        assert before.reading.type != "body:kind"

    def test_nobody_is_let_wait_longer_than_he_does(self):
        """An answer that is waited for comes before the provider gives up."""
        asked = {"after": "delivered", "endpoint": "x", "wait_s": 60}
        for name in presets.NAMES:
            within_s = presets.preset(name).answer_within_s
            assert ANSWER_MARGIN_S <= built(verifier=name, answer=asked).wait_s <= within_s - ANSWER_MARGIN_S
        assert built(answer={**asked, "wait_s": 0.5}).wait_s == 0.5


class TestVerifier:
    """Which one is meant."""

    def test_names_and_objects(self):
        """A preset's name, `none`, and one's own scheme; anything else is refused with where."""
        assert preset_of("stripe") is presets.preset("stripe")
        assert preset_of("none").keys == ()
        assert preset_of({"scheme": "static", "header": "x-key"}).secrets == ("secret",)
        for verifier, pointer in (("Stripe", "/verifier"), ("hmac", "/verifier"), ("", "/verifier"),
                                  ({}, "/verifier/scheme"), ({"scheme": 1}, "/verifier/scheme"),
                                  ({"scheme": "static"}, "/verifier/header"),
                                  ({"scheme": "none", "x": 1}, "/verifier/x")):  # fmt: skip
            with pytest.raises(Refusal) as refusal:
                preset_of(verifier)
            assert (refusal.value.code, refusal.value.pointer) == ("invalid_source", pointer)

    def test_nothing_is_open_by_mistake(self):
        """Only somebody who says none gets none."""
        assert [verifier for verifier in (*presets.NAMES, "none") if proves_nothing(verifier)] == ["none"]
        assert proves_nothing({"scheme": "none"})
        assert not proves_nothing({"scheme": "static", "header": "x"})
        with pytest.raises(Refusal) as refusal:
            parse_spec(b'{"name": "in"}')
        assert refusal.value.pointer == "/verifier"

    def test_headers_that_carry_a_credential(self):
        """A header that the configuration or the scheme names is a credential's."""
        assert credential_headers("zapier", {"header": "X-Zap"}) == {"x-zap"}
        assert credential_headers({"scheme": "static", "header": "X-Key"}, {}) == {"x-key"}
        assert credential_headers("stripe", {"secret": "x"}) == frozenset()
        source = built(verifier={"scheme": "static", "header": "X-Key"}, headers=["x-*"])
        assert [name for name in ("x-key", "x-other", "y") if name in source.headers] == ["x-other"]


class TestSecrets:
    """What is sealed, masked, and kept."""

    def test_what_is_secret(self):
        """All that a preset calls secret is, and what sounds like it; certificates, ids and numbers are not."""
        for name in presets.NAMES:
            preset = presets.preset(name)
            for key in preset.keys:
                if key in preset.secrets:
                    assert is_secret(preset, key), (name, key)
        stripe = presets.preset("stripe")
        for key in (
            "client_secret",
            "auth_token",
            "verify_token",
            "password",
            "hmac_key",
            "private_key",
            "service_key",
        ):
            assert is_secret(stripe, key)
        for key in ("webhook_id", "certs", "tolerance_s", "public_key", "username", "audience", "client_key"):
            assert not is_secret(stripe, key)

    def test_masked(self):
        """Secrets are masked, however many; the rest is as it was."""
        config = {"secret": ["a", "b"], "tolerance_s": 5}
        assert masked(presets.preset("stripe"), config) == {"secret": "***", "tolerance_s": 5}

    @pytest.mark.parametrize(
        ("config", "stored", "secret"),
        [
            ("new", "old", "new"),
            ("***", "old", "old"),
            ("***", ["a", "b"], ["a", "b"]),
            (["new", "***"], "old", ["new", "old"]),
            (["new", "***"], ["a", "b"], ["new", "a", "b"]),
            (["***", "a"], ["a", "b"], ["a", "b"]),
            (["a", "a"], None, ["a", "a"]),
        ],
    )
    def test_the_mask_stands_for_what_is_stored(self, config: Any, stored: Any, secret: Any):
        """A mask brings back what is stored, all of it within a list, and no secret twice."""
        preset = presets.preset("stripe")
        before = {} if stored is None else {"secret": stored}
        assert secrets_of(preset, {"secret": config}, before) == {"secret": secret}

    @pytest.mark.parametrize("config", [{"secret": "***"}, {"secret": ["a", "***"]}, {"tolerance_s": "***"}])
    def test_a_mask_for_nothing_is_refused(self, config: dict[str, Any]):
        """Where nothing is stored, and where nothing is secret, a mask is refused."""
        with pytest.raises(Refusal) as refusal:
            secrets_of(presets.preset("stripe"), config, {})
        assert (refusal.value.code, refusal.value.pointer) == ("invalid_source", f"/config/{next(iter(config))}")

    def test_too_many_at_once(self):
        """No more are valid at once than a verifier tries."""
        with pytest.raises(Refusal):
            secrets_of(presets.preset("stripe"), {"secret": ["new", "***"]}, {"secret": [str(n) for n in range(16)]})

    def test_a_configuration_is_judged_without_its_values(self):
        """What cannot be used is refused by its key; its value is in no message."""
        preset = presets.preset("stripe")
        check_config(preset, {"secret": ["a", "b"], "tolerance_s": 0})
        for config in ({"secret": 5}, {"secret": [{"s3cret": 1}]}, {"tolerance_s": "s3cret"}, {"unknown": "s3cret"}):
            with pytest.raises(Refusal) as refusal:
                check_config(preset, config)
            assert refusal.value.pointer == f"/config/{next(iter(config))}"
            assert "s3cret" not in str(refusal.value)

    def test_a_mask_is_no_secret(self):
        """A source whose secrets cannot be opened has none: not the mask that everybody knows."""
        source = build(spec(config={"secret": "***"}), None)
        assert (source.config, source.readable) == ({}, False)
        assert build(spec(config={"secret": "***"}), SourceSecrets({"secret": "x"})).config == {"secret": "x"}


class TestPatch:
    """JSON Merge Patch over a stored spec."""

    def test_objects_are_merged_and_null_takes_away(self):
        """Members of config, reading, answer, rates and metadata are merged; null goes back to the default."""
        before = spec(config={"a": 1}, reading={"id": "body:id"}, metadata={"x": "y"}, rate={"n": 5, "burst": 9})
        patch = {"config": {"b": 2}, "reading": {"type": "body:t"}, "metadata": {"x": None}, "rate": {"n": 6}}
        after = merge_patch(before, json.dumps(patch).encode())
        assert after.config == {"a": 1, "b": 2}
        assert (after.reading.id, after.reading.type) == ("body:id", "body:t")
        assert (after.metadata, after.rate.n, after.rate.burst) == ({}, 6, 9)
        assert merge_patch(after, b'{"rate": null, "reading": null}').rate is None

    def test_numbers_of_a_schema_stay_as_they_were_written(self):
        """A schema is kept byte for byte, over patches of other members too."""
        before = spec(schemas={})
        before = merge_patch(before, b'{"schemas": {"a": {"maximum":  1e400, "const": 1.50}}}')
        after = merge_patch(before, b'{"description": "x"}')
        assert bytes(after.schemas["a"]) == b'{"maximum":  1e400, "const": 1.50}'

    @pytest.mark.parametrize("patch", [{"name": "other"}, {"name": None}, {"verifier": None}])
    def test_what_must_be_there_stays(self, patch: dict[str, Any]):
        """The name and a verifier cannot be taken away, nor the name changed."""
        with pytest.raises(Refusal) as refusal:
            merge_patch(spec(), json.dumps(patch).encode())
        assert refusal.value.pointer == f"/{next(iter(patch))}"

    @given(patch=st.dictionaries(NAMES, JSON_VALUES, max_size=3))
    def test_any_patch_is_applied_or_refused(self, patch: dict[str, Any]):
        """Whatever is patched, the result is a good source or a refusal with a known code."""
        before = spec(config={"secret": "***"})
        built_or_refused(lambda: merge_patch(before, json.dumps(patch).encode()))


@given(members=st.dictionaries(NAMES, JSON_VALUES, max_size=4))
def test_any_document_is_accepted_or_refused(members: dict[str, Any]):
    """Whatever is sent, it is a source that can be built, stored and read again, or a refusal with a known code."""
    body = json.dumps({"name": "in", "verifier": "none", **members}).encode()
    parsed = built_or_refused(lambda: parse_spec(body))
    if parsed is not None:
        stored = decode_spec(encode_spec(parsed))
        assert msgspec.to_builtins(stored) == msgspec.to_builtins(parsed)
        build(stored)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(body: bytes):
    """Bytes that are no source are a refusal, never anything else."""
    with pytest.raises(Refusal):
        parse_spec(body)


def test_a_document_is_bounded():
    """A source is at most 256 KiB of JSON."""
    with pytest.raises(Refusal) as refusal:
        spec(description="x" * 300_000)
    assert refusal.value.code == "payload_too_large"
