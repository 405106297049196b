"""`hookline verify --preset`: stored requests of a provider, judged as `/in/…` would judge them, offline.

Nothing heavy is imported here, not even for a wrong command line: see `cli.start`.
"""

from __future__ import annotations

import binascii
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.preset import Preset
from hookline.core.verifiers.verdict import Fetch, Handshake, Refused, Verdict

VALID: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
_WITH_VALUE: Final = ("--preset", "--config", "--request", "--at")


class UnusableError(Exception):
    """The command line is wrong or a file cannot be read; the text says which."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as it stands on the command line."""

    preset: str
    """A preset's name, or a scheme of one's own: as JSON, or `@FILE`."""
    config: str
    request: str
    at: str | None
    as_json: bool = False


def from_line(arguments: Sequence[str]) -> int | None:
    """The exit code of a line of `verify` with these options only; None for any other line."""
    found: dict[str, str] = {}
    flags: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE and name not in found:
            following = value if equals else next(words, None)
            if following is None:
                return None
            found[name] = following
        else:
            flags.append(word)
    if "--request" not in found or sorted(flags) not in (["verify"], ["--json", "verify"]):
        return None
    config = found.get("--config", "")
    return answer(Question(found["--preset"], config, found["--request"], found.get("--at"), "--json" in flags))


def answer(question: Question) -> int:
    """Print a verdict for each request, one a line; the exit code: 0 all valid, 1 one is refused, 2 nothing could be
    judged."""
    try:
        preset = _preset(question.preset)
        config = _json(question.config, "the configuration") if question.config else {}
        requests = _requests(question.request)
        now_s = _now_s(question.at)
    except UnusableError as error:
        print(f"hookline: {_printable(str(error))}", file=sys.stderr)
        return USAGE
    verdicts = [_judged(preset, request, config, now_s) for request in requests]
    lines = [_document(verdict) if question.as_json else _line(verdict) for verdict in verdicts]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return REFUSED if any(isinstance(verdict, Refused) for verdict in verdicts) else VALID


def _judged(preset: Preset, request: Inbound, config: Any, now_s: float) -> Verdict:
    if not isinstance(config, Mapping):
        return Refused("not_configured", "the configuration is not a JSON object")
    verdict = judge(preset, request, config, now_s)
    if isinstance(verdict, Fetch) and verdict.url.startswith("system:"):
        # The authorities that this machine trusts are here.
        from hookline.adapters.keys import system_roots

        verdict = judge(preset, request, config, now_s, {verdict.name: system_roots.answer()})
    if isinstance(verdict, Fetch):
        detail = f"{verdict.url} is needed, and nothing is fetched here: give it in the configuration (certs, keys)"
        return Refused("key_unavailable", detail)
    return verdict


def _line(verdict: Verdict) -> str:
    return _printable(f"{verdict.reason}: {verdict.detail}") if isinstance(verdict, Refused) else "valid"


def _document(verdict: Verdict) -> str:
    if isinstance(verdict, Refused):
        document: dict[str, Any] = {"valid": False, "reason": verdict.reason, "detail": verdict.detail}
    else:
        document = {"valid": True}
        if isinstance(verdict, Handshake):
            text = verdict.body.decode("utf-8", "replace")
            document["answer"] = {"status": verdict.status, "headers": verdict.headers, "body": text}
    return json.dumps(document)


# ------------------------------------------------------------------------------------------------- what is given


def _preset(written: str) -> Preset:
    if written.startswith(("{", "@")):
        from hookline.core.verifiers.custom import custom

        scheme = _json(written[1:], "the scheme") if written.startswith("@") else _parsed(written, "the scheme")
        if not isinstance(scheme, dict):
            raise UnusableError("the scheme is not a JSON object")
        try:
            return custom(scheme)
        except ConfigError as error:
            raise UnusableError(f"the scheme cannot be used: {error}") from None
    from hookline.core.verifiers import presets

    try:
        return presets.preset(written)
    except KeyError:
        raise UnusableError(f"there is no preset {written!r}; there are {', '.join(presets.NAMES)}") from None


def _now_s(written: str | None) -> float:
    if written is None:
        import time

        return time.time()
    try:
        now_s = float(written)
    except ValueError:
        now_s = math.nan
    if not math.isfinite(now_s):
        raise UnusableError(f"--at {written!r} is not a Unix time in seconds")
    return now_s


def _requests(path: str) -> list[Inbound]:
    """One request, or one of each line."""
    text = _text(path, "the request")
    try:
        return [_request(json.loads(text, object_pairs_hook=_Object), "the request")]
    except (ValueError, RecursionError):
        pass  # it may be a file of lines
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise UnusableError("the request is empty")
    return [_request(_parsed(line, f"line {number}"), f"line {number}") for number, line in lines]


class _Object(dict[str, Any]):
    """An object that also knows what was written: a name that stands twice in `headers` is a header sent twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _request(value: Any, what: str) -> Inbound:
    if not isinstance(value, _Object):
        raise UnusableError(f"{what} is not a JSON object")
    method, url, headers = value.get("method", "POST"), value.get("url", ""), value.get("headers", _Object([]))
    if not isinstance(method, str) or not isinstance(url, str) or not isinstance(headers, _Object):
        raise UnusableError(f"{what} must have method and url as texts and headers as an object")
    pairs = [
        (name, _header(one, f"{what}, header {name!r}"))
        for name, values in headers.pairs
        for one in (values if isinstance(values, list) else [values])
    ]
    return Inbound.of(method, url, pairs, _body(value, what))


def _header(value: Any, what: str) -> str:
    """As the bytes that travel, in latin-1: what has other characters travels as UTF-8."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UnusableError(f"{what} is not a text")
    if all(ord(character) < 256 for character in value):
        return value
    return value.encode("utf-8", "surrogatepass").decode("latin-1")


def _body(value: Mapping[str, Any], what: str) -> bytes:
    encoded = value.get("body_base64")
    if encoded is None:
        body = value.get("body")
        if body is not None and not isinstance(body, str):
            raise UnusableError(f"body of {what} is not a text")
        return (body or "").encode("utf-8", "surrogatepass")
    if not isinstance(encoded, str):
        raise UnusableError(f"body_base64 of {what} is not a text")
    octets = "".join(encoded.split()).encode("ascii", "replace")
    try:
        return binascii.a2b_base64(octets, strict_mode=True) if octets else b""
    except binascii.Error:
        raise UnusableError(f"body_base64 of {what} is not base64") from None


def _json(path: str, what: str) -> Any:
    return _parsed(_text(path, what), what)


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"{what} is not JSON: {str(error)[:200]}") from None


def _text(path: str, what: str) -> str:
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes a tenth of the time that is there
                data = file.read()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UnusableError(f"{what}: {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UnusableError(f"{what}: {path} is not UTF-8") from None


def _printable(text: str) -> str:
    """Nothing that a terminal would obey."""
    return "".join(one if one.isprintable() and one.isascii() else ascii(one)[1:-1] for one in text)
