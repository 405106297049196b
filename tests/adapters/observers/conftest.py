"""Endpoints, as observers are told of them."""

from collections.abc import Callable

import pytest

from hookline.core.endpoint import Endpoint, EndpointState
from hookline.core.retry import parse_retry

MakeEndpoint = Callable[[int], Endpoint]


@pytest.fixture
def make_endpoint() -> MakeEndpoint:
    """Makes active endpoints with a number in their id."""

    def make(number: int) -> Endpoint:
        return Endpoint(
            id=number.to_bytes(12, "big"),
            tenant="default",
            version=1,
            state=EndpointState.ACTIVE,
            kind="http",
            url="https://example.com/",
            target=None,
            config={},
            patterns=("*",),
            filter=None,
            method="POST",
            format="standard",
            headers=(),
            signing=(),
            auth_headers=(),
            retry=parse_retry(None),
            success=None,
            rate=None,
            timeout_s=15,
            concurrency_max=32,
            lane=None,
            response_bytes_max=1024,
        )

    return make


@pytest.fixture
def endpoint(make_endpoint: MakeEndpoint) -> Endpoint:
    """One of them."""
    return make_endpoint(1)
