"""HOOKLINE_ADMIN_URL: one endpoint that is told of every tenant's trouble."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.errors import Conflict
from hookline.flow.administrator import UID, subscribe_administrator
from tests.flow.rig import Rig
from tests.flow.verifying import service

URL = "http://admin.example/hooks"
REJECTED = Outcome(Kind.REJECTED, reason="rejected", status=400)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "a.db")
    await rig.start()
    yield rig
    await rig.stop()


async def subscribe(rig: Rig, url: str) -> None:
    await subscribe_administrator(service(rig), rig.engine.report, url)


def told(rig: Rig, url: str = URL) -> list[dict[str, object]]:
    return [json.loads(data) for sent, data, _ in rig.sender.sent if sent == url]


async def test_the_administrator_is_told_of_another_tenants_failure(rig: Rig) -> None:
    """A failed delivery of any tenant reaches the administrator's endpoint, once, with the tenant's name."""
    await subscribe(rig, URL)
    made = await service(rig).create("acme", msgspec.json.encode({"url": "http://receiver.example/x"}))
    rig.sender.default["http://receiver.example/x"] = REJECTED
    await rig.publish({"type": "a.b", "data": 1}, tenant="acme")
    await rig.until(lambda: bool(told(rig)))
    (report,) = told(rig)
    assert (report["tenant"], report["reason"]) == ("acme", "rejected")
    assert report["endpoint_id"] == "ep_" + made.row.id.hex()
    await rig.quiet()
    assert len(told(rig)) == 1


async def test_the_administrator_is_told_once_of_his_own_tenants_failure(rig: Rig) -> None:
    """In the tenant default the endpoint is an ordinary subscriber and gets one event, not two."""
    await subscribe(rig, URL)
    await rig.endpoint("x")
    rig.sender.default["http://receiver.example/x"] = REJECTED
    await rig.publish({"type": "a.b", "data": 1})
    await rig.until(lambda: bool(told(rig)))
    await rig.quiet()
    assert [report["tenant"] for report in told(rig)] == ["default"]


async def test_his_own_failures_make_no_loop(rig: Rig) -> None:
    """When the administrator's endpoint fails, no event tells of that delivery."""
    await subscribe(rig, URL)
    rig.sender.default[URL] = REJECTED
    await rig.endpoint("x")
    rig.sender.default["http://receiver.example/x"] = REJECTED
    await rig.publish({"type": "a.b", "data": 1})
    await rig.until(lambda: bool(told(rig)))
    await rig.advance(60)
    assert len(told(rig)) == 1


async def test_the_setting_is_the_truth(rig: Rig) -> None:
    """Started again nothing changes; another address changes the endpoint; without the setting it is deleted."""
    await subscribe(rig, URL)
    first = await service(rig).get("default", UID)
    await subscribe(rig, URL)
    assert (await service(rig).get("default", UID)).row == first.row
    await subscribe(rig, URL + "2")
    second = await service(rig).get("default", UID)
    assert (second.row.id, second.spec.url) == (first.row.id, URL + "2")
    await subscribe(rig, "")
    assert not (await service(rig).page("default", 10, None)).rows
    assert rig.engine.report.admin is None


async def test_somebody_elses_endpoint_of_that_name_is_left_alone(rig: Rig) -> None:
    """An endpoint with the uid that a person made is neither changed nor deleted."""
    await rig.endpoint("mine", uid=UID)
    with pytest.raises(Conflict):
        await subscribe(rig, URL)
    await subscribe(rig, "")
    assert (await service(rig).get("default", UID)).spec.url == "http://receiver.example/mine"


async def test_a_success_is_no_news_for_the_administrator(rig: Rig) -> None:
    """A delivered delivery makes no event for the administrator, unless his endpoint was changed to want it."""
    await subscribe(rig, URL)
    await rig.endpoint("x")
    await rig.publish({"type": "a.b", "data": 1})
    await rig.until(lambda: rig.sender.times("http://receiver.example/x") == 1)
    await rig.quiet()
    assert told(rig) == []
    await service(rig).patch("default", UID, b'{"event_types": ["hookline.*"]}')
    await rig.publish({"type": "a.b", "data": 2})
    await rig.until(lambda: len(told(rig)) == 1)
