"""One run under the mixed load: a program that can be armed, its publishers and receivers, and its kills."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.program import Program
from tests.crash.leftovers import Left, look, said
from tests.crash.mixed import Journal, MixedPublishers, publish_seeds
from tests.crash.receivers import Journaling, Receivers, journaling
from tests.crash.verdict import Verdict, endpoints_of, hold, judge, settled, told

SEEDS = 60
BEHIND_MAX = 300
"""Publishers wait while so many events more were acknowledged than arrived at the steady endpoint."""
FAILURES = 0.05


class Armed(Program):
    """A program that starts with a failpoint, if there is one."""

    failpoint = ""

    def environment(self) -> dict[str, str]:
        """With the failpoint."""
        armed = {"HOOKLINE_TESTING": "1", "HOOKLINE_FAILPOINT": self.failpoint}
        return super().environment() | (armed if self.failpoint else {})


@dataclass(frozen=True)
class Killed:
    """A kill at a failpoint: what was at it, what it left, and what the journals had then."""

    ids: list[str]
    """Events or deliveries, in hex."""
    left: Left
    acked: set[str]
    """Event ids."""
    requests: Counter[tuple[str, str]]
    """Pair → requests that had come."""
    successes: Counter[tuple[str, str]]
    """Pair → how many of them were answered with 200."""

    @property
    def events(self) -> set[str]:
        """The ids as events."""
        return {"evt_" + identifier for identifier in self.ids}

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """The ids as deliveries."""
        return {self.left.pairs[identifier] for identifier in self.ids}


class Run:
    """A program, its load, and the journals of both sides."""

    def __init__(self, folder: Path, receiver: Journaling, seed: int) -> None:
        self.journal = Journal()
        self.program = Armed(folder / "hookline")
        self.receivers = Receivers(self.program, receiver, seed)
        self.publishers = MixedPublishers(self.program, self.journal, seed, self._behind)
        self.at_kills: Counter[tuple[str, str]] = Counter()
        """Pair → at how many kills it was in flight."""
        self.kills = 0
        self._scratch = folder / "copy"
        self._last = b""

    def begin(self) -> None:
        """The program started, endpoints subscribed, a replay in progress, publishers at work."""
        self.program.start()
        self.receivers.subscribe(FAILURES)
        self._steady = self.receivers.endpoints[0]
        self._endpoints_of = endpoints_of(self.receivers)
        publish_seeds(self.program, self.journal, SEEDS)
        self.receivers.replay_seeds()
        self.publishers.start()

    def _behind(self) -> bool:
        return len(self.journal.acked) - len(self._steady.taken) > BEHIND_MAX

    def kill(self) -> Left:
        """SIGKILL now; what is left."""
        self.program.kill()
        return self._dead([])

    def kill_at(self, failpoint: str) -> Killed:
        """Start a dead program with this failpoint, wait until it has ended there, and start it again without."""
        self.program.failpoint = failpoint
        try:
            self.program.launch()
            assert self.program.end() == -signal.SIGKILL, self.program.log()
        finally:
            self.program.failpoint = ""
        point, _, ids = said(self.program)
        assert point == failpoint.partition(":")[0]
        left = self._dead(ids)
        killed = Killed(ids, left, set(self.journal.acked.values()), self.requests(), self.requests(200))
        self.program.start()
        return killed

    def requests(self, status: int | None = None) -> Counter[tuple[str, str]]:
        """Pair → requests that came so far, of all or of those with this answer."""
        return Counter(
            (taken.event_id, endpoint.id)
            for endpoint in self.receivers.endpoints
            for taken in list(endpoint.taken)
            if status in (None, taken.status)
        )

    def ordinary(self, pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those that no receiver's word can settle without another request."""
        confirming = {endpoint.id for endpoint in self.receivers.endpoints if endpoint.kind == "confirming"}
        return {pair for pair in pairs if pair[1] not in confirming}

    def _dead(self, ids: list[str]) -> Left:
        self.kills += 1
        left = look(self.program, self._scratch, self._endpoints_of, self._last, ids)
        self._last = left.last
        self.at_kills.update(left.leased)
        assert left.wrong == [], "an event has some of its deliveries"
        return left

    def finish(self) -> Verdict:
        """End the load, wait until all is quiet, and judge: everything that must hold after any run does."""
        self.publishers.stop()
        stats = settled(self.program, self.receivers)
        verdict = judge(self.journal, self.receivers)
        print(f"\n{self.kills} kills: {told(verdict, self.journal, self.at_kills)}")
        hold(self.journal, verdict, stats, self.at_kills)
        return verdict

    def close(self) -> None:
        """End whatever is left."""
        self.receivers.close()
        self.program.close()


@contextlib.contextmanager
def under_load(folder: Path, seed: int) -> Iterator[Run]:
    """A run, for as long as it is wanted."""
    with journaling() as receiver, contextlib.closing(Run(folder, receiver, seed)) as run:
        run.begin()
        yield run
