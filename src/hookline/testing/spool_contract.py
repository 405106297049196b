"""What every spool promises. An adapter's test module defines the fixture `spools`, which opens a spool on the same
volume again and again, and imports `TestSpool`.

    @pytest.fixture
    async def spools(tmp_path):
        async def opened() -> Spool: ...
        yield opened
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from hookline.ports.spool import Spool, Spooled

Opened = Callable[[], Awaitable[Spool]]
PLENTY = 1_000_000


async def waiting(spool: Spool) -> list[bytes]:
    """The payloads of all that waits, in order."""
    return [record.payload for record in await spool.oldest(PLENTY, PLENTY)]


def numbered(first: int, count: int) -> list[bytes]:
    """Payloads that are told apart, one of them empty."""
    return [b"%d" % number if number else b"" for number in range(first, first + count)]


async def all_of(spool: Spool) -> Sequence[Spooled]:
    """Everything that waits."""
    return await spool.oldest(PLENTY, PLENTY)


@pytest.mark.rule(n=29)
class TestSpool:
    """The promise of `ports.spool.Spool`."""

    async def test_gives_back_what_was_appended_in_order(self, spools: Opened) -> None:
        """Records come out as they went in, the oldest first, with their time, until they are removed."""
        spool = await spools()
        assert await spool.append(1_000, numbered(0, 3)) == 3
        assert await spool.append(2_000, numbered(3, 2)) == 2
        assert [(record.at_ms, record.payload) for record in await all_of(spool)] == [
            (1_000, b""),
            (1_000, b"1"),
            (1_000, b"2"),
            (2_000, b"3"),
            (2_000, b"4"),
        ]
        assert await waiting(spool) == numbered(0, 5)
        await spool.close()

    async def test_is_bounded_in_what_it_gives(self, spools: Opened) -> None:
        """No more records and bytes are given than were asked for, but always one."""
        spool = await spools()
        await spool.append(1, [b"x" * 100] * 5)
        assert len(await spool.oldest(2, PLENTY)) == 2
        assert len(await spool.oldest(PLENTY, 250)) == 2
        assert len(await spool.oldest(PLENTY, 1)) == 1
        await spool.close()

    async def test_forgets_what_was_removed(self, spools: Opened) -> None:
        """What was removed does not come again, what was not does; removing twice does nothing."""
        spool = await spools()
        await spool.append(1, numbered(0, 5))
        first = (await all_of(spool))[:2]
        await spool.remove(first)
        await spool.remove(first)
        assert await waiting(spool) == numbered(2, 3)
        await spool.remove(await all_of(spool))
        assert await waiting(spool) == []
        await spool.append(2, [b"later"])
        assert await waiting(spool) == [b"later"]
        await spool.close()

    async def test_keeps_what_waits_over_a_restart(self, spools: Opened) -> None:
        """Whatever was not removed is there when it is opened again, in the same order; the new comes behind."""
        spool = await spools()
        await spool.append(1_000, numbered(0, 4))
        await spool.close()
        again = await spools()
        assert set(numbered(0, 4)) <= set(await waiting(again))
        await again.append(2_000, [b"new"])
        assert await waiting(again) == [*numbered(0, 4), b"new"]
        await again.close()

    async def test_says_what_waits(self, spools: Opened) -> None:
        """Its state counts records and bytes, and knows the oldest."""
        spool = await spools()
        assert (spool.state.records, spool.state.oldest_at_ms) == (0, None)
        await spool.append(1_000, numbered(0, 3))
        await spool.append(2_000, numbered(3, 1))
        assert (spool.state.records, spool.state.oldest_at_ms) == (4, 1_000)
        assert spool.state.size_bytes > 0
        await spool.remove((await all_of(spool))[:3])
        assert (spool.state.records, spool.state.oldest_at_ms) == (1, 2_000)
        await spool.close()

    async def test_sets_aside(self, spools: Opened) -> None:
        """What is set aside does not wait any more, not after a restart either; and it is counted, then too."""
        spool = await spools()
        await spool.append(1, numbered(0, 3))
        await spool.set_aside((await all_of(spool))[1], "nobody wants it")
        assert await waiting(spool) == [b"", b"2"]
        assert spool.state.set_aside == 1
        await spool.close()
        again = await spools()
        assert again.state.set_aside == 1
        assert await waiting(again) == [b"", b"2"]
        await again.close()

    async def test_takes_until_it_is_closed(self, spools: Opened) -> None:
        """An open spool with room takes records; a closed one does not say so; closing twice does nothing."""
        spool = await spools()
        assert spool.takes
        await spool.close()
        await spool.close()
        assert not spool.takes
