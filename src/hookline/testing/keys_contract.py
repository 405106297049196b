"""What every adapter of the port `keys` promises. Its test module defines two fixtures and imports `TestKeys`.

keys    the adapter, closed after the test; its clock is the machine's
far     the other side: see `Far`

from hookline.testing.keys_contract import TestKeys
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from hookline.core.verifiers.verdict import Fetch, Fetched
from hookline.ports.keys import Keys

WAIT_S = 10.0


class Far(Protocol):
    """The other side: paths with answers, counted."""

    url: str
    """Without a slash at its end."""

    def answer(self, path: str, status: int, body: bytes) -> None:
        """What this path answers from now on; status 0: never anything."""
        ...

    def asked(self, path: str) -> int:
        """How often it was asked."""
        ...


async def fetched(keys: Keys, fetch: Fetch, within_s: float = WAIT_S) -> Fetched:
    """What comes of a fetch of one tenant's."""
    return await keys.fetch(fetch, within_s=within_s, group="default")


class TestKeys:
    """The promise of `ports.keys.Keys`."""

    async def test_what_came_is_kept_and_given_again(self, keys: Keys, far: Far) -> None:
        """One fetch serves all who ask for the same, until its time is over."""
        far.answer("/cert", 200, b"pem")
        fetch = Fetch("cert", far.url + "/cert", keep_s=60.0)
        assert await fetched(keys, fetch) == Fetched(200, b"pem")
        far.answer("/cert", 200, b"other")
        assert await fetched(keys, fetch) == Fetched(200, b"pem")
        assert far.asked("/cert") == 1

    async def test_another_name_body_or_header_is_another_fetch(self, keys: Keys, far: Far) -> None:
        """A token got with one secret is not given to who asks with another."""
        far.answer("/token", 200, b"t")
        first = Fetch("token", far.url + "/token", "POST", (("authorization", "Basic YTpi"),), b"grant=1")
        changes = ({"name": "again"}, {"body": b"grant=2"}, {"headers": (("authorization", "Basic YTpj"),)})
        for change in ({}, *changes, {}):
            assert await fetched(keys, _with(first, **change)) == Fetched(200, b"t")
        assert far.asked("/token") == 4

    async def test_nobody_shares_what_is_not_to_be_kept(self, keys: Keys, far: Far) -> None:
        """The judgement of a single request is asked for each time."""
        far.answer("/judge", 200, b"yes")
        fetch = Fetch("verdict", far.url + "/judge", "POST", (), b"{}", keep_s=0.0)
        await asyncio.gather(*(fetched(keys, fetch) for _ in range(3)))
        assert far.asked("/judge") == 3

    async def test_many_at_once_are_one_fetch(self, keys: Keys, far: Far) -> None:
        """A flood of requests that name one certificate is one question."""
        far.answer("/cert", 200, b"pem")
        fetch = Fetch("cert", far.url + "/cert", keep_s=60.0)
        found = await asyncio.gather(*(fetched(keys, fetch) for _ in range(50)))
        assert set(found) == {Fetched(200, b"pem")}
        assert far.asked("/cert") == 1

    async def test_an_error_is_told_and_not_asked_for_again_at_once(self, keys: Keys, far: Far) -> None:
        """Other statuses come as they are; a flood of what does not exist does not go on there."""
        far.answer("/none", 404, b"no")
        fetch = Fetch("cert", far.url + "/none", keep_s=60.0)
        assert await fetched(keys, fetch) == Fetched(404, b"no")
        assert await fetched(keys, fetch) == Fetched(404, b"no")
        assert far.asked("/none") == 1

    async def test_who_has_no_time_gets_nothing_and_the_fetch_goes_on(self, keys: Keys, far: Far) -> None:
        """The provider's limit is kept, whatever a certificate's server does."""
        far.answer("/slow", 0, b"")
        async with asyncio.timeout(WAIT_S):
            assert await fetched(keys, Fetch("cert", far.url + "/slow"), within_s=0.05) == Fetched(0, b"")

    async def test_what_is_no_url_gives_nothing(self, keys: Keys) -> None:
        """Never an exception, whatever is asked for."""
        for url in ("", "ftp://x/", "https://user@host/", "https://[::1", "http://127.1/"):
            assert await fetched(keys, Fetch("cert", url)) == Fetched(0, b"")

    async def test_closed_it_fetches_nothing(self, keys: Keys, far: Far) -> None:
        """The end is orderly: who waits gets nothing, nobody begins."""
        far.answer("/slow", 0, b"")
        waiting = asyncio.ensure_future(fetched(keys, Fetch("cert", far.url + "/slow")))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(WAIT_S):
            await keys.close()
            assert await waiting == Fetched(0, b"")
            assert await fetched(keys, Fetch("other", far.url + "/slow")) == Fetched(0, b"")


def _with(fetch: Fetch, **changes: object) -> Fetch:
    members = {name: getattr(fetch, name) for name in fetch.__dataclass_fields__}
    return Fetch(**{**members, **changes})
