"""Every refusal as an RFC 9457 problem document; every exception of ours as a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from hookline.core.errors import Conflict, HooklineError, NotFound, Refusal, StoreUnavailable
from hookline.flow.answers import Answer, refused

UNAUTHORIZED: Final = ((b"www-authenticate", b'Bearer realm="hookline"'),)
"""RFC 9110, 11.6.1: a 401 names how to authenticate."""
NOT_FOUND: Final = "There is no such thing here."
"""One text for every cause, so that nobody learns from it what other tenants have."""


def encode_problem(refusal: Refusal) -> bytes:
    """The problem document's bytes."""
    return msgspec.json.encode(refusal.problem())


def problem_answer(refusal: Refusal) -> Answer:
    """The refusal as an answer, with Retry-After and WWW-Authenticate where they belong."""
    answer = refused(refusal)
    if refusal.status == 401:
        return Answer(answer.status, answer.body, answer.headers + UNAUTHORIZED, answer.content_type)
    return answer


def problem_response(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """The same as a Starlette response; `headers` are added."""
    return response_of(problem_answer(refusal), headers)


def response_of(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of the flow as a Starlette response."""
    response = Response(answer.body, answer.status, headers, media_type=answer.content_type.decode("ascii"))
    for name, value in answer.headers:
        response.headers[name.decode("ascii")] = value.decode("latin-1")
    return response


def refusal_of(error: HooklineError) -> Refusal:
    """What a client is told of an error of ours; what he did not cause is `internal`."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NotFound):
        return not_found()
    if isinstance(error, Conflict):
        return Refusal(error.code, str(error))
    if isinstance(error, StoreUnavailable):
        return Refusal(error.code, str(error), retry_after_s=error.retry_after_s)
    return internal()


def not_found() -> Refusal:
    """The 404, the same bytes for every cause."""
    return Refusal("not_found", NOT_FOUND)


def internal() -> Refusal:
    """The 500: our fault, said without details."""
    return Refusal("internal", "Something went wrong here; it was logged.")
