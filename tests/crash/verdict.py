"""The verdict over a run: what publishers and receivers wrote down, compared with each other and with the file."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.acceptance.program import Program, balanced, until
from tests.crash.mixed import Journal
from tests.crash.receivers import Endpoint, Receivers

QUIET_S = 180.0


@dataclass
class Verdict:
    """What is wrong, all empty in a good run; and what came twice."""

    lost: list[tuple[str, str]] = field(default_factory=list)
    """(event id, endpoint id) that was acknowledged and never taken."""
    phantom: list[str] = field(default_factory=list)
    """Event ids that arrived and that no publisher was told."""
    corrupt: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    """Names that got more than one event."""
    duplicates: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(event id, endpoint id) → successes beyond the first."""
    deliveries: int = 0
    """Expected, and so delivered when nothing is lost."""

    @property
    def faults(self) -> dict[str, list[object]]:
        """What must not be."""
        named = {"lost": self.lost, "phantom": self.phantom, "corrupt": self.corrupt}
        named |= {"disordered": self.disordered, "doubled": self.doubled}
        return {name: list(found) for name, found in named.items() if found}


def endpoints_of(receivers: Receivers) -> Counter[str]:
    """Type → endpoints that an event of it goes to."""
    return Counter(f"crash.{shape}" for endpoint in receivers.endpoints for shape in endpoint.shapes)


def judge(journal: Journal, receivers: Receivers) -> Verdict:
    """Compare what was acknowledged with what arrived."""
    verdict = Verdict()
    names = {event_id: name for name, event_id in journal.acked.items()}
    verdict.doubled = [name for name, event_ids in journal.answers.items() if len(event_ids) > 1]
    for endpoint in receivers.endpoints:
        shapes = endpoint.shapes or {"seed"}
        wanted = {event_id for event_id, name in names.items() if journal.types[name].removeprefix("crash.") in shapes}
        successes = endpoint.successes()
        verdict.deliveries += len(wanted)
        verdict.lost += [(event_id, endpoint.id) for event_id in wanted - set(successes)]
        verdict.phantom += [taken.event_id for taken in endpoint.taken if taken.event_id not in wanted]
        verdict.corrupt += [taken.event_id for taken in endpoint.taken if taken.digest != journal.meant.get(taken.name)]
        verdict.corrupt += [taken.event_id for taken in endpoint.taken if taken.name != names.get(taken.event_id)]
        twice = {(event_id, endpoint.id): n - 1 for event_id, n in successes.items() if n > 1}
        verdict.duplicates.update(twice)
        if endpoint.kind == "ordered":
            verdict.disordered += _disordered(journal, endpoint)
    return verdict


def _disordered(journal: Journal, endpoint: Endpoint) -> list[str]:
    first: defaultdict[int, list[int]] = defaultdict(list)
    seen: set[str] = set()
    for taken in endpoint.taken:
        if journal.types.get(taken.name) == "crash.lane" and taken.status == 200 and taken.event_id not in seen:
            seen.add(taken.event_id)
            first[taken.key].append(taken.n)
    return [f"k{key}" for key, numbers in first.items() if numbers != sorted(numbers)]


def settled(program: Program, receivers: Receivers) -> dict[str, object]:
    """Wait until nothing is open and no replay runs; the books of that moment."""
    for replay, _ in receivers.replays:
        found = until(
            lambda replay=replay: (r := program.get(f"/v1/replays/{replay}"))["state"] != "running" and r, QUIET_S, 0.1
        )
        assert found["state"] == "done", found
    return until(lambda: (s := program.stats())["open"] == dict.fromkeys(s["open"], 0) and s, QUIET_S, 0.2)


def hold(journal: Journal, verdict: Verdict, stats: dict[str, object], at_kills: Counter[tuple[str, str]]) -> None:
    """All that must hold after any run. `at_kills`: pair → at how many kills it was in flight."""
    assert journal.waiting == set()
    assert verdict.faults == {}
    assert verdict.duplicates <= at_kills, verdict.duplicates - at_kills
    assert balanced(stats)
    assert stats["events"] == len(journal.acked)
    assert stats["deliveries"] == stats["delivered"] == verdict.deliveries
    assert 500 not in journal.tries
    assert set(journal.tries) <= {0, 202, 503}, journal.tries


def told(verdict: Verdict, journal: Journal, at_kills: Counter[tuple[str, str]]) -> str:
    """The run in a line."""
    twice, in_flight = verdict.duplicates.total(), at_kills.total()
    return (
        f"{len(journal.acked)} events acknowledged ({journal.tries[0]} requests without an answer), "
        f"{verdict.deliveries} deliveries; lost {len(verdict.lost)}, phantom {len(verdict.phantom)}, "
        f"corrupt {len(verdict.corrupt)}, out of order {len(verdict.disordered)}, made twice {len(verdict.doubled)}, "
        f"duplicates {twice} (in flight at the kills: {in_flight})"
    )
