"""The load of the cluster's tests, and what its journals say: reused from the crash tests, through nginx."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from tests.acceptance.receiver import Answer, Hit
from tests.cluster.fleet import Fleet, Pair
from tests.crash.chaos import Journal, Publishers, settled
from tests.crash.load import Count, Endpoint, count, unsteady
from tests.crash.receivers import QUICK, Journaling

SETTLED_S = 180.0
_FIRST = itertools.count(1000, 1000)
"""Numbers of publishers, which are in their events' ids: what another load published is known."""


class Slim(Journaling):
    """Keeps of a request what judging it needs: a long run has hundreds of thousands."""

    def take(self, hit: Hit) -> Answer:
        """See `Receiver`."""
        return super().take(replace(hit, headers={"webhook-id": hit.headers["webhook-id"]}, fields=[]))


class Load:
    """Publishers of two event types, and three endpoints: a steady one gets both types; one that fails 5 % of its
    requests and one that wants order get the second."""

    def __init__(self, fleet: Fleet, receiver: Slim, name: str, *, many: int, some: int, seed: int) -> None:
        """`many` publishers of the first type, `some` of the second: slower ones, for each is a lane."""
        self._fleet = fleet
        self._receiver = receiver
        self._began_s = 0.0
        kinds = {"many": (many, 0.02), "some": (some, 0.08)}
        self.publishers = {
            kind: Publishers(
                fleet.entrance, f"{name}.{kind}", count=count, pause_s=pause_s, first=next(_FIRST), fill_bytes=300
            )
            for kind, (count, pause_s) in kinds.items()
        }
        self.steady = self._subscribe(f"{name}.*", seed, failures=0.0)
        self.unsteady = self._subscribe(f"{name}.some", seed + 1, failures=0.05)
        self.ordered = self._subscribe(f"{name}.some", seed + 2, failures=0.05, order="key")

    def _subscribe(self, pattern: str, seed: int, failures: float, **more: object) -> Endpoint:
        script = unsteady(seed, failures, 0.05)
        url = self._receiver.url()
        made = self._fleet.entrance.endpoint(url, event_types=[pattern], retry=QUICK, timeout_s=2, **more)
        endpoint = Endpoint(made["id"], url, "order" in more)

        def recording(hit: Hit, before: int) -> Answer:
            answer: Answer = script(hit, before)  # type: ignore[operator]
            endpoint.hits.append((hit, answer.status))
            return answer

        self._receiver.say(url, recording)
        return endpoint

    def start(self) -> Load:
        """Publish."""
        self._began_s = time.monotonic()
        for publishers in self.publishers.values():
            publishers.start()
        return self

    @property
    def acknowledged(self) -> int:
        """Events so far."""
        return sum(len(publishers.journal.acked) for publishers in self.publishers.values())

    def finish(self) -> Outcome:
        """Publish no more, wait until all is quiet, and judge."""
        for publishers in self.publishers.values():
            publishers.stop(120.0)
        seconds = time.monotonic() - self._began_s
        stats = settled(self._fleet.entrance, SETTLED_S)
        return Outcome(self, seconds, time.monotonic() - self._began_s - seconds, stats)

    def give_up(self) -> None:
        """End whatever is left."""
        for publishers in self.publishers.values():
            publishers._given_up.set()
            publishers._stop.set()


class Outcome:
    """What the journals of both sides say when all is quiet."""

    def __init__(self, load: Load, seconds: float, settled_s: float, stats: dict[str, int]) -> None:
        many, some = (load.publishers[kind].journal for kind in ("many", "some"))
        both = Journal(meant=many.meant | some.meant, acked=many.acked | some.acked)
        self.parts = [count(both, [load.steady]), count(some, [load.unsteady, load.ordered])]
        self.statuses = many.statuses + some.statuses
        self.hasty = many.hasty + some.hasty
        self.events = len(both.acked)
        self.unacknowledged = set(both.meant) - set(both.acked)
        self.seconds, self.settled_s = seconds, settled_s
        self.stuck = sum(stats["open"].values())  # type: ignore[attr-defined]

    def _all(self, name: str) -> list[object]:
        return [found for part in self.parts for found in getattr(part, name)]

    @property
    def duplicates(self) -> Counter[Pair]:
        """Successes beyond the first."""
        return Counter(pair for part in self.parts for pair in part.duplicates)

    @property
    def counts(self) -> dict[str, int]:
        """What must be 0."""
        wrong = {name: len(self._all(name)) for name in ("lost", "phantom", "corrupt", "disordered")}
        return wrong | {"stuck": self.stuck, "unacknowledged": len(self.unacknowledged)}

    def hold(self) -> None:
        """Everything that must hold, whatever was done."""
        assert self.counts == dict.fromkeys(self.counts, 0), (self.counts, self.statuses)
        assert set(self.statuses) <= {0, 202, 502, 503, 504}, self.statuses
        assert self.hasty == [], "a 503 that does not say when to come back"

    def rows(self) -> Iterable[tuple[str, str]]:
        """For the table."""
        delivered = sum(part.delivered for part in self.parts)
        yield "events acknowledged", f"{self.events:,} in {self.seconds:.0f} s ({self.events / self.seconds:,.0f}/s)"
        yield "until nothing was open", f"{self.settled_s:.0f} s more"
        yield "deliveries", f"{delivered:,}"
        yield "answers to publishers", ", ".join(f"{s or 'none'}: {n:,}" for s, n in sorted(self.statuses.items()))
        for name, found in self.counts.items():
            yield name, str(found)
        yield "duplicates", str(self.duplicates.total())


def table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print it."""
    lines = list(rows)
    width = max(len(name) for name, _ in lines)
    print(f"\n{title}")
    for name, value in lines:
        print(f"  {name.ljust(width)}  {value}")


__all__ = ["Count", "Load", "Outcome", "Slim", "table"]
