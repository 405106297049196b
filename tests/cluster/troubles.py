"""What can happen to a cluster: each trouble is done, healed, and says how many attempts were in flight at it."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2
from tests.acceptance.program import Program, until
from tests.cluster.fleet import Fleet, freeze, thaw
from tests.servers.postgres import Postgres

AWAY_S = 1.0
STALL_S = 20.0
FROZEN_S = 45.0
"""Beyond the longest lease (timeout 5 s + 15 s) and the silence after which a process is dead (20 s)."""


@dataclass
class Trouble:
    """One kind."""

    name: str
    do: Callable[[Fleet, random.Random], int]
    often: int = 2
    """How often, relative to the others."""


def _kill_api(fleet: Fleet, dice: random.Random) -> int:
    api = dice.choice(fleet.apis)
    api.kill()
    time.sleep(dice.uniform(0.0, AWAY_S))
    api.start()
    return 0  # it delivers nothing


def _kill_worker(fleet: Fleet, dice: random.Random) -> int:
    worker = dice.choice(fleet.workers)
    worker.kill()
    in_flight = len(fleet.leased(worker))
    time.sleep(dice.uniform(0.0, AWAY_S))
    worker.start()
    return in_flight


def _freeze_worker(fleet: Fleet, dice: random.Random) -> int:
    worker = dice.choice(fleet.workers)
    freeze(worker)
    in_flight = len(fleet.leased(worker))
    time.sleep(FROZEN_S)
    thaw(worker)
    return in_flight


def _freeze_api(fleet: Fleet, dice: random.Random) -> int:
    api = dice.choice(fleet.apis)
    freeze(api)
    time.sleep(8.0)
    thaw(api)
    return 0


def _postgres(stop: Callable[[Postgres], None]) -> Callable[[Fleet, random.Random], int]:
    def do(fleet: Fleet, dice: random.Random) -> int:
        in_flight = len(fleet.leased())
        stop(fleet.postgres)
        time.sleep(dice.uniform(0.0, AWAY_S))
        fleet.postgres.start()
        back(fleet.apis)
        return in_flight

    return do


def _kill_broker(fleet: Fleet, dice: random.Random) -> int:
    fleet.queue.kill()
    time.sleep(dice.uniform(0.0, 2 * AWAY_S))
    fleet.queue.start()
    return 0


def _stall_broker(fleet: Fleet, dice: random.Random) -> int:
    fleet.queue.stall()
    time.sleep(STALL_S)
    fleet.queue.resume()
    return 0


def back(nodes: list[Program], wait_s: float = 30.0) -> None:
    """Wait until they are ready."""
    for node in nodes:
        until(lambda node=node: _ready(node), wait_s)


def _ready(node: Program) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return bool(node.client.get("/readyz").status_code == 200)
    return False


KILLS = [
    Trouble("SIGKILL of an API node", _kill_api, 4),
    Trouble("SIGKILL of a worker", _kill_worker, 4),
    Trouble("PostgreSQL restarted, fast", _postgres(lambda server: server.stop("fast")), 1),
    Trouble("PostgreSQL restarted, immediate", _postgres(lambda server: server.stop("immediate")), 1),
    Trouble("PostgreSQL killed with SIGKILL", _postgres(Postgres.kill), 1),
]
OF_BROKERS = [Trouble("SIGKILL of the broker", _kill_broker, 3), Trouble("the broker stalled 20 s", _stall_broker, 1)]
STANDING_STILL = [
    Trouble("a worker stopped 45 s, beyond its leases", _freeze_worker, 1),
    Trouble("an API node stopped 8 s", _freeze_api, 1),
]
