"""What endpoints, sources and tenants have in common as documents of a client's: strict JSON, a uid, metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from hookline.core import ids
from hookline.core.errors import Refusal
from hookline.core.json_text import check_depth, check_syntax, check_utf8, cut, pointer

DOCUMENT_BYTES_MAX: Final = 256 * 1024
METADATA_KEY_CHARS_MAX: Final = 64
METADATA_VALUE_CHARS_MAX: Final = 1024
_UID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")


def check_document(body: bytes, what: str) -> None:
    """Raise `Refusal` (`payload_too_large`, `malformed_json`, `too_deep`) unless `body` is strict JSON of at most
    256 KiB in which no object has a name twice. `what` says what it is, with its article: `An endpoint`."""
    if len(body) > DOCUMENT_BYTES_MAX:
        raise Refusal("payload_too_large", f"{what} is at most {DOCUMENT_BYTES_MAX // 1024} KiB of JSON.")
    check_utf8(body)
    check_syntax(body)
    check_depth(body)
    # Numbers do not matter here, and would be slow with many digits.
    json.loads(body.decode(), object_pairs_hook=_refuse_repeated, parse_int=len, parse_float=len)


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise Refusal("malformed_json", f"The name {cut(name, 64)!r} is there twice in one object.")
        seen.add(name)


def check_uid(uid: str, prefix: str, code: str) -> None:
    """Raise `Refusal` of this code unless `uid` can stand where an id with this prefix can."""
    if not _UID.fullmatch(uid):
        detail = "A uid is letters, digits and _ . : - and begins with a letter or digit."
        raise Refusal(code, detail, pointer="/uid")
    if ids.parse(prefix, uid) is not None:
        raise Refusal(code, f"A uid cannot look like an id ({prefix}…).", pointer="/uid")


def check_metadata(metadata: Mapping[str, str], code: str) -> None:
    """Raise `Refusal` of this code for names and values that are too long or not printable."""
    for name, value in metadata.items():
        if not 1 <= len(name) <= METADATA_KEY_CHARS_MAX or not name.isprintable():
            detail = f"A name in metadata has 1 to {METADATA_KEY_CHARS_MAX} printable characters."
            raise Refusal(code, detail, pointer="/metadata")
        if len(value) > METADATA_VALUE_CHARS_MAX:
            detail = f"A value in metadata has at most {METADATA_VALUE_CHARS_MAX} characters."
            raise Refusal(code, detail, pointer="/metadata" + pointer(name))
