"""Entity tags: an answer that the client has still is not sent again, and never for one that changed."""

from __future__ import annotations

import pytest

from hookline.core.delivery import State
from hookline.web.conditional import entity_tag, matches


async def again(api, path: str, tag: str, **headers: str):
    """The same question of a client that has an answer with this tag."""
    return await api.client.get(path, headers={"if-none-match": tag, **headers})


@pytest.mark.parametrize("what", ["", "/payload"])
async def test_event(api, what):
    """An event and its payload are confirmed until the payload is erased, then there is another answer, or none."""
    event = await api.event()
    path = f"/v1/events/{event.public_id}{what}"
    first = await api.client.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('"')
    assert tag.endswith('"')
    for _ in range(2):
        answer = await again(api, path, tag)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert "content-type" not in answer.headers
        assert "content-length" not in answer.headers
    assert (await api.client.get(path)).content == first.content
    await api.call("DELETE", f"/v1/events/{event.public_id}/payload", 200)
    after = await again(api, path, tag)
    assert (after.status_code, after.headers.get("etag") == tag) == (404 if what else 200, False)


async def test_payloads_of_another_type_have_another_tag(api):
    """The same bytes as another content type are another representation."""
    tags = set()
    for content_type in ("text/plain", "text/html"):
        event = await api.event(data=b"x", content_type=content_type)
        answer = await api.client.get(f"/v1/events/{event.public_id}/payload")
        tags.add(answer.headers["etag"])
        assert answer.headers["cache-control"] == "no-store"
    assert len(tags) == 2


async def test_delivery(api):
    """The tag of a delivery changes with its state; a delivered one is kept, and another tenant learns nothing."""
    endpoint = await api.endpoint()
    event = await api.event([endpoint])
    delivery_id = await api.attempt(event, endpoint, State.PENDING)
    path = f"/v1/deliveries/{delivery_id}"
    pending = await api.client.get(path)
    assert (await again(api, path, pending.headers["etag"])).status_code == 304
    api.clock.advance(10)
    await api.attempt(event, endpoint, State.DELIVERED)
    delivered = await again(api, path, pending.headers["etag"])
    assert (delivered.status_code, delivered.json()["state"]) == (200, "delivered")
    assert (await again(api, path, delivered.headers["etag"])).status_code == 304
    await api.refused("GET", path, "not_found", headers={"hookline-tenant": "other", "if-none-match": "*"})


@pytest.mark.parametrize("closed", [State.FAILED, State.DISCARDED])
async def test_a_delivery_that_can_be_opened_again_is_asked_for(api, closed):
    """A failed or discarded delivery that is retried is pending in the next answer."""
    endpoint = await api.endpoint()
    event = await api.event([endpoint])
    delivery_id = await api.attempt(event, endpoint, State.FAILED)
    path = f"/v1/deliveries/{delivery_id}"
    if closed is State.DISCARDED:
        await api.call("POST", path + "/discard", 200)
    for _ in range(2):
        assert (await api.call("GET", path, 200))["state"] == closed.word
    await api.call("POST", path + "/retry", 202)
    assert (await api.call("GET", path, 200))["state"] == "pending"


async def test_event_type(api):
    """An event type's tag changes with it, in the list and alone; when it is gone there is none."""
    await api.call("POST", "/v1/event-types", 201, {"name": "a.b", "mode": "warn"})
    for path in ("/v1/event-types/a.b", "/v1/event-types"):
        tag = (await api.client.get(path)).headers["etag"]
        assert (await again(api, path, tag)).status_code == 304
        await api.call("PATCH", "/v1/event-types/a.b", 200, {"description": path})
        changed = await again(api, path, tag)
        assert changed.status_code == 200
        assert path in changed.text
    await api.call("DELETE", "/v1/event-types/a.b", 204)
    await api.refused("GET", "/v1/event-types/a.b", "not_found")


async def test_a_kept_answer_is_nobody_elses(api):
    """What is kept is for who may see it: another tenant gets 404, no key 401; the answer says by what it varies."""
    event = await api.event()
    path = f"/v1/events/{event.public_id}"
    answer = await api.client.get(path)
    assert (answer.headers["cache-control"], answer.headers["vary"]) == (
        "private, no-cache",
        "authorization, hookline-tenant",
    )
    await api.refused("GET", path, "not_found", headers={"hookline-tenant": "other"})
    assert (await again(api, path, "*", authorization="Bearer wrong-key-wrong")).status_code == 401


async def test_head(api):
    """HEAD has the tag that GET has, and is confirmed as GET is."""
    event = await api.event()
    path = f"/v1/events/{event.public_id}"
    head = await api.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert (await api.client.head(path, headers={"if-none-match": head.headers["etag"]})).status_code == 304


@pytest.mark.parametrize(
    ("header", "found"),
    [('"a"', True), ('W/"a"', True), ('"x", "a"', True), ('"x",W/"a"', True), ("*", True), (" * ", True),
     ('"b"', False), ("a", False), ("", False), ('"A"', False), ('"a', False)],
)  # fmt: skip
def test_lists_of_tags(header, found):
    """If-None-Match is a list of tags, weak or strong, or a star."""
    assert matches(header, '"a"') is found


def test_tags_are_of_bytes():
    """Equal bytes have equal tags on every node; one bit makes another."""
    assert entity_tag(b"x") == entity_tag(b"x") != entity_tag(b"y")
