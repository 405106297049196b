"""What HOOKLINE_CACHE chooses: whose memory, whose driver, and whether rates are shared."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hookline.adapters.queues.embedded import EmbeddedQueue
from hookline.adapters.stores.sqlite.store import SqliteStore
from hookline.caches import Caching
from hookline.core.buckets import Buckets
from hookline.core.endpoint import RateSpec
from hookline.core.secret import Keyring
from hookline.flow.engine import Engine
from hookline.flow.reads import Reads
from hookline.settings import SettingsError, load_settings
from hookline.testing.clock import ToldClock
from tests.flow.rig import SilentObserver

KEYRING = Keyring([b"k" * 32])
NOBODY = {"redis": "redis://127.0.0.1:1/0", "memcached": "memcached://127.0.0.1:1"}


def caching(tmp_path: Path, cache: str) -> Caching:
    """As compose makes it."""
    settings = load_settings({"HOOKLINE_CACHE": cache}, directory=tmp_path)
    return Caching(settings, ToldClock(), SilentObserver(), KEYRING)


@pytest.mark.parametrize("cache", ["", "memory"])
async def test_without_a_server_everything_is_this_processs_own(tmp_path: Path, cache: str) -> None:
    """What is kept is kept in memory, and rates are its own."""
    made = caching(tmp_path, cache)
    await made.cache.set(b"event:x", b"1", 60)
    assert await made.cache.get(b"event:x") == b"1"
    assert not made.shared
    assert type(made.buckets("keys")) is Buckets
    assert made.address_rate(None) is None
    addresses = made.address_rate((1, 60.0))
    assert addresses is not None
    assert type(addresses._buckets) is Buckets
    reads = Reads(made.cache, ToldClock())
    assert made.gauges(reads).hits == {"event": 1}
    await made.close(reads)


@pytest.mark.parametrize("cache", NOBODY.values(), ids=NOBODY)
async def test_a_server_is_for_all_and_need_not_be_there(tmp_path: Path, cache: str) -> None:
    """With a server rates are shared; that nobody listens there is no reason not to start, nor to fail later."""
    made = caching(tmp_path, cache)
    assert made.shared
    addresses = made.address_rate((1, 60.0))
    assert addresses is not None
    for buckets in (made.buckets("keys"), addresses._buckets):
        assert type(buckets) is not Buckets
        assert buckets.take("x", 1_000_000.0, RateSpec(1, 60.0)) == 0
        assert buckets.take("x", 1_000_000.0, RateSpec(1, 60.0)) > 0
    assert await made.cache.get(b"event:x") is None
    reads = Reads(made.cache, ToldClock())
    assert made.gauges(reads).errors >= 1
    await made.close(reads)


@pytest.mark.parametrize("kind", NOBODY)
def test_a_missing_driver_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A server whose driver is not installed is refused at the start, with what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError) as caught:
        caching(tmp_path, NOBODY[kind])
    assert f"pip install 'hookline[{kind}]'" in str(caught.value)


def test_every_rate_takes_of_the_buckets_that_it_is_given(tmp_path: Path) -> None:
    """Rates of tenants, of keys and sources, and of addresses for each of these can all be shared."""
    kinds = []

    def buckets(kind: str) -> Buckets:
        kinds.append(kind)
        return Buckets()

    clock, observer = ToldClock(), SilentObserver()
    store = SqliteStore(str(tmp_path / "hookline.db"), clock, disk_free_min_bytes=0)
    Engine(store, {}, EmbeddedQueue(), KEYRING, clock, observer, buckets=buckets)
    assert sorted(kinds) == ["addresses of keys", "addresses of sources", "keys", "sources", "tenants"]
