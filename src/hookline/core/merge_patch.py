"""JSON Merge Patch (RFC 7396): what is not named stays, null takes a member away, objects are merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(target: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """`target` with the patch applied; neither is changed. Both must be bounded in depth before."""
    result: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(result.get(name), value)
        else:
            result[name] = value
    return result
