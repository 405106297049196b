"""Sources for the tests of the core: a spec as the API gives it, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

from hookline.core.errors import STATUS_BY_CODE, Refusal
from hookline.core.source import Source, SourceSecrets, SourceSpec
from hookline.core.source_spec import build_source, check_spec, parse_spec
from hookline.core.verified_by import check_source_config, preset_for


def spec(**members: Any) -> SourceSpec:
    """A spec as the API gives it."""
    return parse_spec(json.dumps({"name": "in", "verifier": "github", **members}).encode())


def build(parsed: SourceSpec, secrets: SourceSecrets | None = None) -> Source:
    """What the hot path uses, of a spec that was checked."""
    preset = preset_for(parsed.kind, parsed.verifier)
    check_spec(parsed, preset)
    check_source_config(parsed.kind, preset, parsed.config)
    return build_source(id=b"1" * 12, tenant="default", version=1, spec=parsed, preset=preset, secrets=secrets)


def built(**members: Any) -> Source:
    """A compiled source."""
    return build(spec(**members), SourceSecrets())


def built_or_refused(parse: Any) -> SourceSpec | None:
    """What `parse` makes, if it can be built; None where it is refused, with a code that is known."""
    try:
        parsed: SourceSpec = parse()
        build(parsed, SourceSecrets())
    except Refusal as refusal:
        if refusal.code not in STATUS_BY_CODE:
            raise
        return None
    return parsed
