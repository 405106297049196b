"""JSON as bytes: is it strictly right, how deep is it, are its keys unique. For what we keep and do not read.

The syntax itself is checked by msgspec while it decodes (`Raw` is strict: no NaN, no leading zeros, no half surrogate
pairs, no trailing commas). What is here is what it leaves open: UTF-8 within `Raw`, a depth that every receiver's
parser can bear, and keys that say two things.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from hookline.core.errors import Refusal
from hookline.core.event import JSON_DEPTH_MAX

T = TypeVar("T")

_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b'{}[]"'))
_RUN: Final = re.compile(rb"\[+|\]+")
_OPEN: Final = ord("[")
_PEELED: Final = 4
_STRING: Final = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_KEY: Final = re.compile(rb"[ \t\r\n]*" + _STRING + rb"[ \t\r\n]*:[ \t\r\n]*")
_NEXT: Final = re.compile(rb"[ \t\r\n]*([,}])")
_POSITION: Final = re.compile(r"(.*) \(byte ([0-9]+)\)")
_AT: Final = re.compile(r"(.*) - at `\$(.*)`", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[]+)|\[([0-9]+)\]")
_QUOTED: Final = re.compile("`([^`]*)`")
_WORDS: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "object": "an object",
    "array": "an array",
}
_DIGITS_MAX: Final = 300

_decode_any = msgspec.json.Decoder(msgspec.Raw).decode
_decode_text = msgspec.json.Decoder(str).decode

# --------------------------------------------------------------------------------------------- what is refused


def check_utf8(text: bytes) -> None:
    """Raise `Refusal` (`malformed_json`) unless `text` is UTF-8, strictly: no overlong forms, no surrogates."""
    if text.isascii():
        return
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise _malformed("it is not UTF-8", error.start) from None


def check_depth(text: bytes, depth_max: int = JSON_DEPTH_MAX) -> None:
    """Raise `Refusal` (`too_deep`) when valid JSON `text` nests more than `depth_max` arrays and objects."""
    # Depth d takes 2 d brackets, so most texts are shallow by their size or by the number of what opens.
    if len(text) <= 2 * depth_max or text.count(b"{") + text.count(b"[") <= depth_max:
        return
    levels = depth_max
    bare = text
    if b"\\" in bare:
        bare = bare.replace(b"\\\\", b"").replace(b'\\"', b"")
    # What is left are quotes and brackets; a string without a bracket in it is two quotes.
    bare = bare.translate(_BRACKETS, _NO_BRACKETS).replace(b'""', b"")
    bare = b"".join(bare.split(b'"')[::2])
    for _ in range(min(_PEELED, depth_max)):
        bare = bare.replace(b"[]", b"")  # one level of every branch, the innermost: fast where there are many
        depth_max -= 1
    depth = 0
    for run in _RUN.findall(bare):
        depth += len(run) if run[0] == _OPEN else -len(run)
        if depth > depth_max:
            raise _too_deep(levels)


def check_keys(text: bytes, members: Mapping[str, msgspec.Raw]) -> None:
    """Raise `Refusal` (`malformed_json`) when the object `text` has a key twice.

    `members` is `text` decoded as `dict[str, Raw]`, where the last of two wins. Only the top level is looked at:
    what a payload says twice within itself is the payload's business.
    """
    seen: set[str] = set()
    at = text.index(b"{") + 1
    key = _KEY.match(text, at)
    while key is not None:
        name = _decode_text(b'"%b"' % key[1])
        value = bytes(members[name])
        after = _NEXT.match(text, key.end() + len(value)) if text.startswith(value, key.end()) else None
        # Not the value that was decoded: then it is the first of two.
        if name in seen or after is None:
            raise _malformed(f"the member {cut(name, 64)!r} is there twice", key.start(1))
        seen.add(name)
        key = _KEY.match(text, after.end())


def decoded(decode: Callable[[bytes], T], text: bytes, *, code: str = "invalid_event", noun: str = "event") -> T:
    """`text` by a msgspec decoder, with every way it can fail as a `Refusal` that points to the fault.

    `malformed_json` (not strict JSON), `too_deep` (deeper than any parser bears), `unknown_field`, and `code` for
    what is JSON but not what is asked for. UTF-8 is to be checked before.
    """
    try:
        return decode(text)
    except msgspec.ValidationError as error:
        check_syntax(text)
        raise _invalid(str(error), code, noun) from None
    except msgspec.DecodeError as error:
        raise _malformed_as(str(error), len(text)) from None
    except RecursionError:
        raise _too_deep(JSON_DEPTH_MAX) from None


def check_syntax(text: bytes) -> None:
    """Raise `Refusal` (`malformed_json`, `too_deep`) unless `text`, which is UTF-8, is one strict JSON value."""
    try:
        _decode_any(text)
    except msgspec.DecodeError as error:
        raise _malformed_as(str(error), len(text)) from None
    except RecursionError:
        raise _too_deep(JSON_DEPTH_MAX) from None


def _malformed(what: str, position: int) -> Refusal:
    return Refusal("malformed_json", f"The JSON is malformed: {what} (byte {position}).", extra={"position": position})


def _malformed_as(message: str, length: int) -> Refusal:
    found = _POSITION.fullmatch(message)
    if found is None:
        return _malformed("it ends too early" if length else "it is empty", length)
    return _malformed(found[1].removeprefix("JSON is malformed: "), int(found[2]))


def _too_deep(depth_max: int) -> Refusal:
    return Refusal("too_deep", f"The JSON is nested more than {depth_max} deep.")


def _invalid(message: str, code: str, noun: str) -> Refusal:
    located = _AT.fullmatch(message)
    message, path = (located[1], located[2]) if located else (message, "")
    at = "".join(pointer(name or index) for name, index in _STEP.findall(path.partition("[...]")[0]))
    quoted = message[message.find("`") + 1 : message.rfind("`")]
    if message.startswith("Object contains unknown field"):
        name = cut(quoted, 64)
        article = "An" if noun[0] in "aeiou" else "A"
        return Refusal("unknown_field", f"{article} {noun} has no member {name!r}.", pointer=at + pointer(name))
    if message.startswith("Object missing required field"):
        return Refusal(code, f"The member {quoted!r} is missing.", pointer=f"{at}/{quoted}")
    detail = _QUOTED.sub(lambda found: " or ".join(_WORDS.get(one, one) for one in found[1].split(" | ")), message)
    return Refusal(code, f"{cut(detail, 200)}.", pointer=at)


# ------------------------------------------------------------------------------------------------- small words


def pointer(name: str) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def cut(text: str, chars_max: int) -> str:
    """`text`, or its beginning and `…` where it is longer."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


@lru_cache(maxsize=1024)
def media_type(content_type: str) -> tuple[str, str | None]:
    """The type and subtype of a Content-Type, in lower case, and its charset (RFC 9110, 8.3)."""
    essence, _, parameters = content_type.partition(";")
    charset = None
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return essence.strip().lower(), charset


@lru_cache(maxsize=1024)
def is_json(content_type: str) -> bool:
    """Whether a payload of this type is JSON in UTF-8: subtype `json` or `+json` (RFC 6839), no other charset."""
    essence, charset = media_type(content_type)
    subtype = essence.partition("/")[2]
    return (subtype == "json" or subtype.endswith("+json")) and charset in (None, "utf-8", "utf8")


def holds_json(content_type: str, data: bytes) -> bool:
    """Whether a payload can stand as it is in a JSON document of ours. What says that it is JSON was checked at the
    door; a document that cannot be read because of one that was not would be worse than looking again."""
    if not is_json(content_type):
        return False
    try:
        check_utf8(data)
        check_syntax(data)
    except Refusal:
        return False
    return True


# -------------------------------------------------------------------------------------------------- for reading


def parse(text: bytes) -> object:
    """The value of `text` for filters and schemas, which must bear every number that JSON can write.

    Numbers beyond a double come out as the largest double of their sign: no infinity, which JSON does not know.
    Raises `ValueError` when it is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.ValidationError:
        pass  # a number out of range
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    try:
        _decode_any(text)  # what msgspec had not come to yet may be what the standard library lets pass
        return json.loads(text.decode(), parse_float=_float, parse_int=_int)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _float(digits: str) -> float:
    return max(-sys.float_info.max, min(sys.float_info.max, float(digits)))


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS_MAX else _float(digits)
