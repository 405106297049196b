"""After a rotation of HOOKLINE_SECRET_KEY what is stored is encrypted with the first key."""

from __future__ import annotations

from pathlib import Path

from hookline.core.endpoint import EndpointState
from hookline.core.secret import Keyring
from tests.flow.rig import Rig

OLD, NEW = b"k" * 32, b"n" * 32


async def sealed(rig: Rig) -> dict[bytes, bytes]:
    return {row.id: row.sealed for row in (await rig.store.changes(0)).endpoints}


async def restarted(rig: Rig, *keys: bytes) -> Rig:
    again = Rig(rig.path, rig.clock)
    again.keyring = Keyring(keys)
    again.engine = again._engine()
    await again.start()
    return again


async def resealed(rig: Rig) -> None:
    while await rig.engine.upkeep.once("reseal"):
        pass


async def test_the_old_key_can_be_taken_away_after_the_background_step(tmp_path: Path) -> None:
    """With the new key first all secrets are sealed anew, and afterwards the new key alone opens and delivers."""
    rig = Rig(tmp_path / "a.db")
    await rig.start()
    endpoints = [await rig.endpoint(f"e{n}") for n in range(45)]
    before = await sealed(rig)
    await rig.stop()

    rig = await restarted(rig, NEW, OLD)
    await resealed(rig)
    after = await sealed(rig)
    new_alone = Keyring([NEW])
    assert {i: new_alone.open(s) for i, s in after.items()} == {i: Keyring([OLD]).open(s) for i, s in before.items()}
    await rig.stop()

    rig = await restarted(rig, NEW)
    await rig.publish({"type": "a.b", "data": 1})
    await rig.until(lambda: len(rig.sender.sent) == len(endpoints))
    assert not [w for w in rig.observer.warnings if w[0] == "endpoint_sealed"]
    await rig.stop()


async def test_nothing_is_written_where_nothing_was_rotated(tmp_path: Path) -> None:
    """With one and the same key the step changes no endpoint's version."""
    rig = Rig(tmp_path / "a.db")
    await rig.start()
    endpoint = await rig.endpoint()
    assert not await rig.engine.upkeep.once("reseal")
    assert [row.version for row in (await rig.store.changes(0)).endpoints] == [endpoint.version]
    await rig.stop()


async def test_a_secret_without_its_key_stays_as_it_is(tmp_path: Path) -> None:
    """What no key opens is not touched, is said, and works again when its key is back."""
    rig = Rig(tmp_path / "a.db")
    await rig.start()
    await rig.endpoint()
    before = await sealed(rig)
    await rig.stop()

    rig = await restarted(rig, NEW)
    await resealed(rig)
    assert await sealed(rig) == before
    assert "secret_not_resealed" in {name for name, _ in rig.observer.warnings}
    await rig.stop()

    rig = await restarted(rig, OLD)
    (endpoint,) = (await rig.store.changes(0)).endpoints
    assert rig.engine.registry.endpoint(endpoint.id).state is EndpointState.ACTIVE
    await rig.stop()
