"""`POST /v1/events` before its body: who publishes, and which headers the flow needs. Pure, shared by the front
(`web.protocol`) and by the route below the framework (`web.events`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from hookline.core.api_key import Key
from hookline.core.errors import Refusal
from hookline.flow.answers import Done
from hookline.web.auth import PUBLISH, Authority

PATH: Final = "/v1/events"
_CONTENT_LENGTH_DIGITS_MAX: Final = 12
_PASSED: Final = frozenset({b"idempotency-key", b"traceparent", b"tracestate"})
_NEVER_PASSED: Final = frozenset(
    b"accept accept-encoding accept-language authorization connection content-encoding content-length content-type"
    b" expect hookline-tenant host transfer-encoding user-agent".split()
)
"""What most clients send: with nothing else there, no name need be looked at."""
_SINGLE: Final = frozenset({b"content-type", b"content-encoding", b"idempotency-key"})


class Publisher(Protocol):
    """Takes a publish: `flow.accept.Accept`."""

    def publish(
        self,
        tenant: str,
        headers: Mapping[str, str],
        content_type: str,
        body: bytes,
        done: Done,
        allowed: Callable[[str], bool] | None = None,
    ) -> None:
        """Call `done` exactly once, on the loop, maybe before this returns. Never raises. `allowed` says which event
        types may be published; None: all."""
        ...


class Admission(msgspec.Struct, frozen=True, gc=False):
    """A publish whose body may come."""

    tenant: str
    headers: dict[str, str]
    """idempotency-key, traceparent, tracestate and ce-*, where given; names in lower case."""
    content_type: str
    expects: bool
    """The client waits for `100 Continue` (RFC 9110, 10.1.1)."""
    allowed: Callable[[str], bool] | None
    """Which event types his key may publish; None: all."""
    key: Key | None = None
    """The key that he called with."""


def admit(
    headers: Sequence[tuple[bytes, bytes]],
    fields: Mapping[bytes, bytes],
    authority: Authority,
    bytes_max: int,
    client: str = "",
) -> Admission:
    """Judge a publish by its headers (`fields` is the same as a mapping, names in lower case) and its client's address.

    Raises `Refusal`: `unauthorized` before anything else, then `unsupported_media_type`, `payload_too_large`.
    """
    if len(fields) == len(headers):
        authorization = fields.get(b"authorization")
        tenant = fields.get(b"hookline-tenant")
        principal = authority.judge(
            (authorization,) if authorization is not None else (),
            (tenant,) if tenant is not None else (),
            PUBLISH,
            client,
        )
    else:
        principal = authority.authorize(headers, PUBLISH, client)
        once(headers, _SINGLE)
    encoding = fields.get(b"content-encoding")
    if encoding is not None and encoding.lower() not in (b"identity", b""):
        raise Refusal("unsupported_media_type", "Content-Encoding other than identity is not accepted.")
    length = fields.get(b"content-length")
    if length is not None and longer(length, bytes_max):
        raise too_large(bytes_max)
    passed: dict[str, str] = {}
    if not fields.keys() <= _NEVER_PASSED:
        for name in fields:
            if name[:3] == b"ce-" or name in _PASSED:
                passed[name.decode("latin-1")] = _joined(name, headers, fields)
    return Admission(
        principal.tenant,
        passed,
        fields.get(b"content-type", b"").decode("latin-1"),
        b"expect" in fields and fields[b"expect"].lower() == b"100-continue",
        principal.allowed,
        principal.key,
    )


def longer(content_length: bytes, bytes_max: int) -> bool:
    """Whether a Content-Length, which the parser found to be digits, is above the limit."""
    if len(content_length) <= _CONTENT_LENGTH_DIGITS_MAX:
        return int(content_length) > bytes_max
    digits = content_length.strip().lstrip(b"0")
    return len(digits) > _CONTENT_LENGTH_DIGITS_MAX or int(digits or b"0") > bytes_max


def too_large(bytes_max: int) -> Refusal:
    """The 413."""
    return Refusal("payload_too_large", f"The body is larger than {bytes_max:,} bytes.")


def once(headers: Sequence[tuple[bytes, bytes]], names: frozenset[bytes]) -> None:
    """Refuse fields that may be there only once (`names`, and CloudEvents attributes): two of them are read
    differently by different programs."""
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in names or name[:3] == b"ce-":
            if name in seen:
                raise Refusal("malformed_request", f"The header {name.decode('latin-1')} is there twice.")
            seen.add(name)


def _joined(name: bytes, headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]) -> str:
    # RFC 9110, 5.3: fields of one name are one list. Only where there are any doubles at all.
    if len(fields) == len(headers):
        return fields[name].decode("latin-1")
    return b", ".join(value for field, value in headers if field == name).decode("latin-1")
