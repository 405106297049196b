"""The spool of files: its promise, and what becomes of its folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hookline.adapters.spools import file, segment
from hookline.adapters.spools.file import FileSpool
from hookline.core.errors import SpoolUnavailable
from hookline.testing.clock import ToldClock
from hookline.testing.spool_contract import TestSpool, all_of, numbered, waiting

__all__ = ["TestSpool"]

pytestmark = pytest.mark.rule(n=29)
MIB = 1024 * 1024


class Warnings(list[tuple[str, str]]):
    """What a person was told."""

    def __call__(self, name: str, detail: str) -> None:
        self.append((name, detail))


def spool_in(path: Path, *, bytes_max: int = MIB, warn: Warnings | None = None) -> FileSpool:
    """One, not started."""
    return FileSpool(path, ToldClock(), bytes_max=bytes_max, warn=Warnings() if warn is None else warn)


@pytest.fixture
async def spools(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[FileSpool]]]:
    """Opens one on the same folder."""
    made: list[FileSpool] = []

    async def opened() -> FileSpool:
        made.append(spool_in(tmp_path / "spool"))
        await made[-1].start()
        return made[-1]

    yield opened
    for one in made:
        await one.close()


def files(path: Path) -> list[Path]:
    """Of records, without those set aside."""
    return sorted(path.glob("[0-9]*/*.spool"))


async def test_a_file_goes_when_it_is_drained(tmp_path):
    """A file is there while anything of it waits, and not longer; a full one makes room for the next."""
    spool = spool_in(tmp_path, bytes_max=64 * MIB)
    await spool.start()
    for number in range(5):
        await spool.append(number, [bytes(2 * MIB)])
    assert len(files(tmp_path)) == 2
    records = await spool.oldest(100, 64 * MIB)
    await spool.remove(records[:3])
    assert len(files(tmp_path)) == 2
    await spool.remove(records[3:4])
    assert len(files(tmp_path)) == 1
    await spool.remove(records[4:])
    assert files(tmp_path) == []
    assert spool.state.size_bytes == 0
    await spool.close()


async def test_a_torn_tail_at_every_byte(tmp_path):
    """A file that a crash tore anywhere gives what was whole, says so, and what comes afterwards is kept as well."""
    spool = spool_in(tmp_path / "first")
    await spool.start()
    await spool.append(1_000, [b"one", b"two"])
    await spool.close()
    [path] = files(tmp_path / "first")
    data = path.read_bytes()
    whole = [found.end for found in segment.places(data) if isinstance(found, segment.Place)]
    for cut in range(len(data)):
        folder = tmp_path / f"cut{cut}"
        (folder / "0").mkdir(parents=True)
        (folder / "0" / path.name).write_bytes(data[:cut])
        warnings = Warnings()
        again = spool_in(folder, warn=warnings)
        await again.start()
        kept = [b"one", b"two"][: sum(1 for end in whole if end <= cut)]
        assert await waiting(again) == kept
        assert [name for name, _ in warnings] == ["spool_torn"] * (cut not in (0, segment.HEADER_BYTES, *whole))
        await again.append(2_000, [b"three"])
        assert await waiting(again) == [*kept, b"three"]
        await again.remove(await all_of(again))
        assert files(folder) == []
        await again.close()


async def test_is_bounded(tmp_path):
    """What finds no room is not taken, of a batch only the rest; drained, there is room again."""
    spool = spool_in(tmp_path, bytes_max=200_000)
    await spool.start()
    assert await spool.append(1, [bytes(60_000)] * 5) == 3
    assert await spool.append(2, [bytes(60_000)]) == 0
    assert not spool.takes
    assert sum(path.stat().st_size for path in files(tmp_path)) == spool.state.size_bytes <= 200_000
    await spool.remove(await all_of(spool))
    assert spool.takes
    assert await spool.append(3, [bytes(60_000)]) == 1
    await spool.close()


async def test_what_was_set_aside_takes_room_and_can_be_put_back(tmp_path):
    """It counts against the bound; its file says why, and moved back into the folder it waits again."""
    spool = spool_in(tmp_path)
    await spool.start()
    await spool.append(7, [b"bad", b"good"])
    await spool.set_aside((await all_of(spool))[0], "it has no name")
    [aside] = (tmp_path / "0" / "set-aside").glob("*.spool")
    assert aside.with_suffix(".txt").read_text() == "it has no name\n"
    assert spool.state.size_bytes == aside.stat().st_size + files(tmp_path)[0].stat().st_size
    await spool.close()
    aside.rename(tmp_path / "0" / aside.name.replace(".spool", "-again.spool"))
    again = spool_in(tmp_path)
    await again.start()
    assert sorted(await waiting(again)) == [b"bad", b"good"]
    assert again.state.set_aside == 0
    await again.close()


async def test_two_processes_have_folders_of_their_own(tmp_path):
    """A second process does not touch what the first holds; when both are gone, the next takes over what they left."""
    first, second = spool_in(tmp_path), spool_in(tmp_path)
    await first.start()
    await first.append(1, [b"first"])
    await second.start()
    await second.append(2, [b"second"])
    assert await waiting(first) == [b"first"]
    assert await waiting(second) == [b"second"]
    await first.close()
    await second.close()
    heir = spool_in(tmp_path)
    await heir.start()
    assert await waiting(heir) == [b"first", b"second"]
    await heir.remove(await all_of(heir))
    assert files(tmp_path) == []
    await heir.close()


async def test_only_the_owner_reads_it(tmp_path):
    """Folders are 0700 and files 0600, whatever the process's umask."""
    before = os.umask(0)
    try:
        spool = spool_in(tmp_path / "spool")
        await spool.start()
        await spool.append(1, numbered(0, 2))
        await spool.set_aside((await all_of(spool))[0], "x")
    finally:
        os.umask(before)
    for path in [tmp_path / "spool", *(tmp_path / "spool").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    await spool.close()


async def test_a_failed_flush_is_not_believed(tmp_path, monkeypatch):
    """After a write or flush that failed nothing is taken for durable; another file is begun as soon as one works."""
    spool = spool_in(tmp_path)
    await spool.start()
    await spool.append(1, [b"before"])
    real = os.fsync

    def fails(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(file.os, "fsync", fails)
    with pytest.raises(SpoolUnavailable, match="Input/output error"):
        await spool.append(2, [b"lost"])
    assert not spool.takes
    with pytest.raises(SpoolUnavailable):
        await spool.append(2, [])
    monkeypatch.setattr(file.os, "fsync", real)
    assert await spool.append(3, []) == 0
    assert spool.takes
    await spool.append(4, [b"after"])
    assert await waiting(spool) == [b"before", b"after"]
    await spool.close()
    again = spool_in(tmp_path)
    await again.start()
    assert await waiting(again) == [b"before", b"after"]
    await again.close()


async def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    """A path that is no folder is refused at the start, with the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnavailable, match="fails"):
        await spool_in(tmp_path / "file").start()


async def test_a_record_that_rots_is_said_and_passed_over(tmp_path):
    """A record that the disk has lost since is reported, and those behind it come."""
    warnings = Warnings()
    spool = spool_in(tmp_path, warn=warnings)
    await spool.start()
    await spool.append(1, [b"one", b"two"])
    [path] = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[segment.HEADER_BYTES + segment.RECORD_HEAD_BYTES] ^= 1
    path.write_bytes(data)
    assert await waiting(spool) == [b"two"]
    assert [name for name, _ in warnings] == ["spool_damaged"]
    await spool.close()
