"""Bound first, listened on later: nobody is let in before there is somebody to serve him."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.web.api import KEY
from tests.web.conftest import NotedObserver, ToldPublisher, echo_app

from hookline.web.auth import Authority, operator_keys
from hookline.web.server import Front, addresses, bind


def front() -> Front:
    """One that is not started."""
    return Front(echo_app, Authority(operator_keys(KEY)), ToldPublisher(), NotedObserver())  # type: ignore[arg-type]


async def test_bound_is_not_listened_on():
    """A bound port is known and refuses connections until it is listened on."""
    listeners = bind("127.0.0.1", 0)
    (_, port), *others = addresses(listeners)
    assert port > 0
    assert others == []
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    serving = front()
    await serving.listen(listeners)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    await serving.stop(1.0)
    assert not any(listener.fileno() >= 0 and _accepts(port) for listener in listeners)
    for listener in listeners:
        listener.close()


async def test_somebody_else_was_first():
    """A port that somebody listens on cannot be bound; one that somebody begins to listen on meanwhile cannot be
    listened on, and everything is closed."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", other.getsockname()[1])
    mine = bind("127.0.0.1", 0)
    port = addresses(mine)[0][1]
    theirs = bind("127.0.0.1", port)
    theirs[0].listen()
    with pytest.raises(OSError, match="in use"):
        await front().listen(mine)
    assert [listener.fileno() for listener in mine] == [-1]
    theirs[0].close()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
