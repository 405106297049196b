"""`GET /v1/stream`: what is shown, filters, positions, silence, and every way in which it ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import msgspec
import pytest
from tests.web.api import TENANT_ONLY_KEY, Api, is_shaped

from hookline.core.delivery import State
from hookline.core.event import Event
from hookline.core.server_sent import Message, Reader
from hookline.flow.stream import POLL_S, TENANT_READERS_MAX
from hookline.ports.store import AcceptRequest, NewEvent
from hookline.web.cycle import STREAM_SEND_BYTES
from hookline.web.stream import KEEP_ALIVE_S, PATH

COMPONENTS = {"event": "EventDocument", "attempt": "StreamedAttempt", "delivery": "DeliveryChange",
              "endpoint": "EndpointChange"}  # fmt: skip


class Following:
    """Reads an answer in a task; `text` is all that came."""

    def __init__(self, api: Api, answer: httpx2.Response) -> None:
        self.api, self.answer = api, answer
        self.text = b""
        self.messages: list[Message] = []
        self.reader = Reader()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for piece in self.answer.aiter_bytes():
            self.text += piece
            self.messages += self.reader.feed(piece)

    async def until(self, holds: Any, step_s: float = POLL_S) -> None:
        """Let the clock go on until something holds."""
        for _ in range(500):
            if holds():
                return
            self.api.clock.advance(step_s)
            await asyncio.sleep(0.005)
        raise AssertionError((self.text, self.messages))

    async def count(self, count: int) -> list[tuple[str, Any]]:
        """The messages, once there are so many."""
        await self.until(lambda: len(self.messages) >= count)
        return [(message.event, json.loads(message.data)) for message in self.messages]

    async def ended(self) -> bytes:
        """All that came, once it is over."""
        await self.until(self.task.done)
        await self.task
        return self.text


@asynccontextmanager
async def following(api: Api, headers: dict[str, str] | None = None, **query: str) -> AsyncIterator[Following]:
    """Follow the stream."""
    async with api.client.stream("GET", PATH, params=query, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        following = Following(api, answer)
        await following.until(lambda: following.text)
        try:
            yield following
        finally:
            following.task.cancel()
            await asyncio.gather(following.task, return_exceptions=True)


async def test_the_answer(api):
    """It is an event stream that nobody keeps or buffers, and begins with when to come back and where it is."""
    async with following(api) as stream:
        headers = stream.answer.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        assert "content-length" not in headers
        assert stream.text.startswith(b"retry: 1000\n\n")
        assert (stream.reader.retry_ms, bool(stream.reader.position)) == (1000, True)
    head = await api.client.head(PATH)
    assert (head.status_code, head.headers["content-type"]) == (200, headers["content-type"])
    assert api.live.readers == 0


async def test_every_kind_is_shown_as_documented(api):
    """Events, attempts and changes come with the members of the document, in the words of the lists."""
    document = (await api.client.get("/openapi.json")).json()
    async with following(api) as stream:
        endpoint = await api.endpoint(uid="shop")
        event = await api.event([endpoint], subject="s-1")
        delivery_id = await api.attempt(event, endpoint, State.FAILED, kind="rejected", status=400,
                                        reason="client_error", cause="data_format")  # fmt: skip
        await stream.count(2)
        await api.call("POST", f"/v1/deliveries/{delivery_id}/discard", 200)
        await stream.count(3)
        await api.call("POST", "/v1/endpoints/shop/pause", 200)
        told = await stream.count(4)
    assert [kind for kind, _ in told] == ["event", "attempt", "delivery", "endpoint"]
    for kind, data in told:
        assert data.pop("tenant") == "default"
        is_shaped(document, COMPONENTS[kind], data)
    (_, shown), (_, attempt), (_, delivery), (_, changed) = told
    listed = (await api.call("GET", "/v1/events", 200))["data"][0]
    assert shown == listed
    assert {name: attempt[name] for name in ("delivery_id", "event_id", "endpoint_id", "endpoint_uid", "type")} == {
        "delivery_id": delivery_id,
        "event_id": event.public_id,
        "endpoint_id": endpoint["id"],
        "endpoint_uid": "shop",
        "type": "order.created",
    }
    row = (await api.call("GET", f"/v1/deliveries/{delivery_id}/attempts", 200))["data"][0]
    for name in ("id", "number", "at", "outcome", "status", "reason", "cause", "duration_ms", "next_at"):
        assert attempt[name] == row[name]
    assert attempt["state"] == "failed"
    assert (delivery["before"], delivery["after"], delivery["event_id"]) == ("failed", "discarded", event.public_id)
    assert (changed["before"], changed["after"], changed["endpoint_uid"]) == ("active", "paused", "shop")


async def test_tenants_do_not_see_each_other(api):
    """A tenant's key, and an operator who names a tenant, see that tenant alone; without one he sees all, named."""
    own = {"Authorization": f"Bearer {TENANT_ONLY_KEY}"}
    async with following(api) as every, following(api, own) as acme, following(
        api, {"Hookline-Tenant": "acme"}
    ) as named:  # fmt: skip
        await api.event()
        await api.event(tenant="acme")
        assert [data["tenant"] for _, data in await every.count(2)] == ["default", "acme"]
        for stream in (acme, named):
            ((_, data),) = await stream.count(1)
            assert "tenant" not in data
            assert data["id"] == json.loads(every.messages[1].data)["id"]
            await asyncio.sleep(0.02)
            assert len(stream.messages) == 1


async def test_filters(api):
    """Only what meets every filter given is shown."""
    endpoint, other = await api.endpoint(uid="shop"), await api.endpoint()
    queries: list[dict[str, str]] = [
        {"type": "order.*"},
        {"endpoint": "shop"},
        {"endpoint": endpoint["id"], "kind": "attempt"},
        {"kind": "endpoint,event", "type": "order.*"},
        {"state": "paused"},
        {"source": "/in/shop"},
    ]
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(following(api, **query)) for query in queries]
        last = await stack.enter_async_context(following(api))
        event = await api.event([endpoint, other])
        await api.event(type="invoice.paid", source="/in/shop")
        for one in (endpoint, other):
            await api.attempt(event, one, State.DELIVERED)
        await last.count(4)
        await api.call("POST", "/v1/endpoints/shop/pause", 200)
        await last.count(5)
        await asyncio.sleep(0.02)
        assert [[message.event for message in reader.messages] for reader in readers] == [
            ["event", "attempt", "attempt"],
            ["attempt", "endpoint"],
            ["attempt"],
            ["event"],
            ["endpoint"],
            ["event"],
        ]
    async with following(api, event=event.public_id) as stream:
        await api.event()
        await api.attempt(await api.event([other]), other, State.DELIVERED)
        await api.call("POST", f"/v1/events/{event.public_id}/replay", 202, {"endpoint_id": other["id"]})
        await api.attempt(event, other, State.DELIVERED)
        assert [kind for kind, _ in await stream.count(1)] == ["attempt"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"type": "order*"}, "type"),
        ({"type": ""}, "type"),
        ({"kind": "events"}, "kind"),
        ({"kind": ""}, "kind"),
        ({"kind": "event,,attempt"}, "kind"),
        ({"state": "done"}, "state"),
        ({"event": "evt_1"}, "event"),
    ],
)
async def test_filters_that_are_none(api, query, parameter):
    """A filter that cannot be met is refused before anything is answered, with its name."""
    problem = await api.refused("GET", PATH, "invalid_parameter", params=query)
    assert problem["parameter"] == parameter
    assert api.live.readers == 0


async def test_what_is_refused(api):
    """Unknown parameters, keys that may not read, and endpoints that are not there, or another's, are refused."""
    await api.refused("GET", f"{PATH}?x=1", "invalid_parameter")
    await api.refused("GET", PATH, "unauthorized", headers={"Authorization": "Bearer wrong-horse-battery"})
    endpoint = await api.endpoint()
    own = {"Authorization": f"Bearer {TENANT_ONLY_KEY}"}
    unknown = await api.client.get(PATH, params={"endpoint": "nobody"}, headers=own)
    others = await api.client.get(PATH, params={"endpoint": endpoint["id"]}, headers=own)
    assert (unknown.status_code, unknown.content) == (404, others.content)


async def test_resuming(api):
    """Whoever comes back with the last id, in the header or the parameter, gets all since; the header counts first."""
    async with following(api) as stream:
        await api.event(subject="1")
        await stream.count(1)
        position = stream.reader.position
    for n in "234":
        await api.event(subject=n)
    for headers, query in (
        ({"Last-Event-ID": position}, {}),
        (None, {"last_event_id": position}),
        ({"Last-Event-ID": position}, {"last_event_id": "AAAAAAAA"}),
    ):
        async with following(api, headers, **query) as stream:
            assert [data["subject"] for _, data in await stream.count(3)] == ["2", "3", "4"]
            assert len({message.position for message in stream.messages}) == 3


@pytest.mark.parametrize("position", ["nonsense", "x" * 3000, "AAAAAAAA", "\N{SNOWMAN}"])
async def test_positions_that_cannot_be_resumed(api, position):
    """The stream begins with a reset that says so, before any other event or position, and goes on from now."""
    await api.event()
    async with following(api, {"Last-Event-ID": position.encode()}) as stream:
        ((kind, data),) = await stream.count(1)
        assert kind == "reset"
        assert "goes on from now" in data["detail"]
        assert stream.text.partition(b"event: reset")[0] == b"retry: 1000\n\n"
        await api.event(subject="new")
        assert (await stream.count(2))[1][1]["subject"] == "new"


async def test_silence(api):
    """In silence a comment comes every 15 s; where filters drop everything it moves the position on."""
    async with following(api, type="invoice.*") as stream:
        before, position = stream.text, stream.reader.position
        await stream.until(lambda: stream.text != before, 1)
        assert stream.text.removeprefix(before) == b": keep-alive\n\n"
        await api.event()
        await stream.until(lambda: stream.reader.position != position, 1)
        assert stream.text.endswith(b": keep-alive\nid: " + stream.reader.position.encode() + b"\n\n")
        position = stream.reader.position
    await api.event(type="invoice.paid")
    async with following(api, {"Last-Event-ID": position}) as stream:
        assert [data["type"] for _, data in await stream.count(1)] == ["invoice.paid"]


async def test_a_key_that_is_over(api):
    """A key that is revoked, or whose end comes, ends its streams within 30 s."""
    issued = await api.call("POST", "/v1/keys", 201, {"scopes": ["read"], "tenant": "acme"})
    async with following(api, {"Authorization": f"Bearer {issued['key']}"}) as stream:
        await api.call("DELETE", f"/v1/keys/{issued['id']}", 204)
        begun_s = api.clock.monotonic_s()
        assert (await stream.ended()).endswith(b": the key is not good any more\n\n")
        assert api.clock.monotonic_s() - begun_s <= 30
    assert api.live.readers == 0


async def test_a_client_that_goes_away_frees_everything(api):
    """When the client closes its connection the reader is gone, and with the last one the tailer."""
    async with following(api), following(api):
        assert api.live.readers == 2
    await _until(lambda: api.live.readers == 0)
    await _until(lambda: not [task for task in asyncio.all_tasks() if "stream" in task.get_name()])
    assert api.front.connections <= 1


async def test_one_that_half_closes_is_gone(api):
    """The client's end of sending is the end of its stream: nobody writes into the void until a write fails."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.client.base_url.port))
    writer.write(_request(api))
    await reader.readuntil(b"id: ")
    writer.write_eof()
    await _until(lambda: api.live.readers == 0)
    writer.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_its_end_is_the_end_of_the_connection(api, version):
    """The answer says that it closes, and after its last block it does; to HTTP/1.0 it is not in chunks."""
    issued = await api.call("POST", "/v1/keys", 201, {"scopes": ["read"], "tenant": "acme"})
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.client.base_url.port))
    request = f"GET {PATH} HTTP/{version}\r\nHost: h\r\nAuthorization: Bearer {issued['key']}\r\n\r\n"
    writer.write(request.encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert b"connection: close\r\n" in head
    assert (b"transfer-encoding: chunked\r\n" in head) is (version == "1.1")
    assert b"content-length" not in head
    await api.call("DELETE", f"/v1/keys/{issued['id']}", 204)
    rest = asyncio.create_task(reader.read())
    while not rest.done():
        api.clock.advance(1)
        await asyncio.sleep(0.005)
    body = await rest
    end = b": the key is not good any more\n\n"
    if version == "1.0":
        assert body.startswith(b"retry: 1000\n\n")
        assert body.endswith(end)
    else:
        assert body.endswith(end + b"\r\n0\r\n\r\n")
    writer.close()
    await writer.wait_closed()


async def test_the_share_of_a_tenant(api):
    """One tenant's readers leave room for others, and the answer says of whom there are too many."""
    async with AsyncExitStack() as readers:
        for _ in range(TENANT_READERS_MAX):
            await readers.enter_async_context(following(api, {"Hookline-Tenant": "acme"}))
        answer = await api.client.get(PATH, headers={"Hookline-Tenant": "acme"})
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "5")
        assert f"{TENANT_READERS_MAX} readers of this tenant" in answer.json()["detail"]
        async with following(api, {"Hookline-Tenant": "other"}), following(api):
            assert api.live.readers == TENANT_READERS_MAX + 2
    await _until(lambda: api.live.readers == 0)


async def test_no_more_than_a_process_bears(api):
    """Beyond the limit a reader is 503 with Retry-After."""
    api.live._readers_max = 1
    async with following(api):
        answer = await api.client.get(PATH)
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "5")


async def test_a_client_that_does_not_read(api):
    """Its buffer fills, it is cut off, others go on; the process keeps no more than the bounds, and stops at once."""
    # Little room in the sockets, so that little is enough.
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(0)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", int(api.client.base_url.port)))
    await loop.sock_sendall(sock, _request(api))
    async with following(api) as stream:
        await _until(lambda: api.live.readers == 2)
        count = 0
        while not api.live.cut_offs and count < 60_000:
            await _many(api, 300)
            count += 300
            await stream.count(count)
        assert api.live.cut_offs == 1
        connection = max(api.front._state.connections, key=lambda c: c.transport.get_write_buffer_size())
        assert connection.transport.get_write_buffer_size() < 200_000
        api.live.close()
        assert await stream.ended()
        begun_s = loop.time()
        await api.front.stop(5.0)
        assert loop.time() - begun_s < 1
    sock.close()


async def test_a_client_that_never_reads_loses_its_place(api):
    """The kernel holds little for it, so that it is soon cut off; when the time for writing is over it is gone."""
    shared = api.front._shared
    shared.limits = msgspec.structs.replace(shared.limits, write_s=0.3)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(0)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", int(api.client.base_url.port)))
    await loop.sock_sendall(sock, _request(api))
    await _until(lambda: api.live.readers == 1)
    (connection,) = (c for c in api.front._state.connections if c._current is not None)
    kernel = connection.transport.get_extra_info("socket")
    # Bounded when the answer begins, which is a turn or two after the reader is counted.
    await _until(lambda: kernel.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * STREAM_SEND_BYTES)
    for _ in range(10):
        await _many(api, 300)
        api.clock.advance(POLL_S)
        await asyncio.sleep(0.05)
    assert api.live.cut_offs == 1
    await _until(lambda: api.live.readers == 0)
    await _until(lambda: connection not in api.front._state.connections)
    sock.close()


@pytest.mark.parametrize("reads", [True, False])
async def test_the_sweep_knows_silence_from_a_client_that_does_not_read(make_rig, reads):
    """A stream may be silent for longer than any limit of the connection; one that is not read is ended by it."""
    more = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": first", "more_body": True})
        while not reads and rig.front.connections:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
        await more.wait()
        await send({"type": "http.response.body", "body": b": second", "more_body": False})

    rig = await make_rig(app, idle_s=0.1, first_s=0.1, write_s=0.1, header_s=0.1, body_s=0.1, sweep_s=0.02)
    wire = await rig.wire()
    wire.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await wire.reader.readuntil(b": first")
    await asyncio.sleep(0.4)
    if reads:
        more.set()
        await wire.reader.readuntil(b": second")
    else:
        await rig.until(lambda: rig.front.connections == 0)
        more.set()


def _request(api: Api) -> bytes:
    key = api.client.headers["authorization"]
    return f"GET {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: {key}\r\n\r\n".encode()


async def _many(api: Api, count: int) -> None:
    """Events of a kilobyte each as they are shown, in one commit."""
    fields = {"tenant": "default", "type": "order.created", "data": b"1", "subject": "s" * 250, "dataschema": "d" * 750}
    events = [Event(id=api.ids.make(api.store.now_ms()), **fields) for _ in range(count)]
    await api.store.accept([AcceptRequest("default", [NewEvent(event) for event in events])], api.registry.version)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


def test_the_key_is_asked_for_often_enough():
    """A key that is over ends its stream within 30 s."""
    assert KEEP_ALIVE_S * 2 <= 30
