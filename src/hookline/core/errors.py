"""What can go wrong, by name. Every error a client can cause has a stable `code` and an HTTP status here.

The web layer turns a `Refusal` into an RFC 9457 problem document; the CLI prints its one line. Nothing else
invents codes: a code that is not in `STATUS_BY_CODE` is a bug that the tests find.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STATUS_BY_CODE: Final[Mapping[str, int]] = {
    # the request as HTTP
    "malformed_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "request_timeout": 408,
    "conflict": 409,
    "length_required": 411,
    "payload_too_large": 413,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
    "headers_too_large": 431,
    # the request as JSON and as an event
    "malformed_json": 400,
    "invalid_parameter": 422,
    "unknown_field": 422,
    "invalid_event": 422,
    "invalid_cloudevent": 422,
    "invalid_event_type": 422,
    "reserved_event_type": 422,
    "unknown_event_type": 422,
    "schema_violation": 422,
    "event_too_large": 413,
    "batch_too_large": 413,
    "empty_batch": 422,
    "nothing_acceptable": 422,
    "idempotency_key_reused": 422,
    "too_deep": 422,
    # what a person configures
    "invalid_endpoint": 422,
    "invalid_source": 422,
    "invalid_filter": 422,
    "invalid_retry": 422,
    "invalid_header": 422,
    "invalid_secret": 422,
    "invalid_schema": 422,
    "address_refused": 422,
    "not_supported": 422,
    "uid_taken": 409,
    "name_taken": 409,
    "wrong_state": 409,
    "limit_reached": 409,
    "invalid_tenant": 422,
    "invalid_key": 422,
    "invalid_replay": 422,
    "invalid_confirmation": 422,
    # what comes in from a provider
    "unverified": 401,
    "invalid_payload": 400,
    # ourselves
    "rate_limited": 429,
    "unavailable": 503,
    "overloaded": 503,
    "store_unavailable": 503,
    "disk_full": 503,
    "draining": 503,
    "internal": 500,
}
"""Every code that an answer can carry, with its HTTP status. Codes are never renamed, only added."""


class HooklineError(Exception):
    """The root of every error of ours."""


class Refusal(HooklineError):
    """Something a client asked for is refused, with a reason that he can act on.

    `code` is stable and in `STATUS_BY_CODE`; `detail` is one sentence for a person; `pointer` is a JSON pointer
    (RFC 6901) to the fault in what he sent; `extra` are further members of the problem document;
    `retry_after_s` is sent as Retry-After.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        pointer: str | None = None,
        extra: Mapping[str, object] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.extra = extra
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return STATUS_BY_CODE[self.code]

    def problem(self) -> dict[str, object]:
        """The members of the RFC 9457 problem document; its `type` is a name, not an address."""
        members: dict[str, object] = {
            "type": f"urn:hookline:problem:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.pointer is not None:
            members["pointer"] = self.pointer
        if self.extra:
            members.update(self.extra)
        return members


class StoreUnavailable(HooklineError):
    """The store cannot be written or read now (disk full, locked, connection lost); nothing was committed.

    `code` is one of `store_unavailable`, `disk_full`, `overloaded`, `draining`.
    """

    def __init__(self, detail: str, *, code: str = "store_unavailable", retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.code = code
        self.retry_after_s = retry_after_s


class CommitUnknown(StoreUnavailable):
    """The connection was lost on the way: it may be committed, or not."""


class SpoolUnavailable(HooklineError):
    """The spool cannot be used: its folder or disk fails, or another process has it."""


class DataError(HooklineError):
    """An item of a batch cannot be stored, whatever is tried; nothing of the batch was committed.

    The caller halves the batch until the guilty item stands alone. `item` is the guilty one's place within its
    request, where the store knows it: then the rest of a client's batch can commit without it.
    """

    def __init__(self, detail: str, *, item: int | None = None) -> None:
        super().__init__(detail)
        self.item = item


class StaleRegistry(HooklineError):
    """The registry has a newer version than the snapshot that routed this batch; nothing was committed."""


class NotFound(HooklineError):
    """No such row, or not this tenant's."""


class Conflict(HooklineError):
    """The row exists already, or is not in a state that allows this. `code` as in `STATUS_BY_CODE`."""

    def __init__(self, detail: str, *, code: str = "conflict") -> None:
        super().__init__(detail)
        self.code = code
