"""`GET /v1/backup`: a whole copy or an answer that says why not, and nothing left beside the database."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from tests.web.api import KEY, TENANT_ONLY_KEY, Api

from hookline.core.page import format_time
from hookline.web.backup import AS_OF, MEDIA_TYPE


def beside(api: Api) -> set[str]:
    """The files that are there beside the database's own."""
    folder = Path(api.store.path).parent
    return {path.name for path in folder.iterdir()} - {f"hookline.db{end}" for end in ("", "-wal", "-shm", "-lock")}


async def fill(api: Api, count: int = 30) -> None:
    """Some MiB of events."""
    for number in range(count):
        await api.event(data=b'{"n":%d,"fill":"%b"}' % (number, b"x" * 200_000))


async def test_a_whole_copy(api: Api, tmp_path: Path):
    """The answer is a SQLite database with everything that was accepted, of a moment that the answer names."""
    event = await api.event(data=b'{"canary":1}')
    before_ms = api.store.now_ms()
    answer = await api.client.get("/v1/backup")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "no-store"
    assert 'filename="hookline-' in answer.headers["content-disposition"]
    assert format_time(before_ms) <= answer.headers[AS_OF] <= format_time(api.store.now_ms())
    (tmp_path / "copy.db").write_bytes(answer.content)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM events WHERE id = ?", (event.id,)).fetchone() == (1,)
    assert beside(api) == {"copy.db"}
    assert api.observer.facts == ["backup_made"]


async def test_for_the_operator_only(api: Api):
    """A key without the scope gets 403, none gets 401, and no copy is made."""
    for key, code in ((TENANT_ONLY_KEY, "forbidden"), ("wrong-wrong", "unauthorized")):
        await api.refused("GET", "/v1/backup", code, headers={"authorization": f"Bearer {key}"})
    await api.refused("GET", "/v1/backup?path=/x", "invalid_parameter")
    assert api.observer.facts == []


async def test_head_makes_no_copy(api: Api):
    """HEAD says what it would be, and costs nothing."""
    answer = await api.client.head("/v1/backup")
    assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPE)
    assert api.observer.facts == []


async def test_one_at_a_time(api: Api):
    """While one is sent a second is 409, and when the first has ended the next is made."""
    await fill(api)
    async with api.client.stream("GET", "/v1/backup") as first:
        pieces = first.aiter_raw()
        size = len(await anext(pieces))
        problem = await api.refused("GET", "/v1/backup", "wrong_state")
        assert problem["status"] == 409
        assert beside(api) == set()  # what is sent has no name any more
        async for piece in pieces:
            size += len(piece)
        assert size == int(first.headers["content-length"])
    assert (await api.client.get("/v1/backup")).status_code == 200


async def test_a_client_that_goes_away(api: Api):
    """Whoever leaves in the middle leaves nothing behind, neither while it is made nor while it is sent."""
    await fill(api)
    for pieces in (0, 1, 3):
        async with httpx2.AsyncClient(base_url=api.client.base_url, headers=api.client.headers) as client:
            if pieces:
                async with client.stream("GET", "/v1/backup") as answer:
                    come = answer.aiter_raw()
                    for _ in range(pieces):
                        await anext(come)
            else:
                asking = asyncio.create_task(client.get("/v1/backup"))
                await asyncio.sleep(0.01)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(10):
            while (answer := await api.client.head("/v1/backup")).status_code != 200 or beside(api):
                await asyncio.sleep(0.01)
            while (await api.client.get("/v1/backup")).status_code == 409:
                await asyncio.sleep(0.01)
    assert beside(api) == set()
    assert api.observer.warnings == []


async def test_no_room(api: Api, monkeypatch: pytest.MonkeyPatch):
    """Where the disk has no room for a copy the answer is 503, nothing is left, and a later one is made."""
    from hookline.adapters.stores.sqlite import backup

    with monkeypatch.context() as full:
        full.setattr(backup, "free_bytes", lambda _folder: 1000)
        problem = await api.refused("GET", "/v1/backup", "disk_full")
    assert problem["status"] == 503
    assert beside(api) == set()
    assert (await api.client.get("/v1/backup")).status_code == 200


async def test_what_a_kill_left_is_no_hindrance(api: Api):
    """The half copy of a process that was killed is removed."""
    for ending in ("", ".partial", ".partial-journal"):
        Path(api.store.path + "-backup" + ending).write_bytes(b"half")
    assert (await api.client.get("/v1/backup", headers={"authorization": f"Bearer {KEY}"})).status_code == 200
    assert beside(api) == set()
