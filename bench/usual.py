"""`make bench` itself: the floors, accepting, the highest rate that can be held, half of it, and almost nothing."""

from __future__ import annotations

from bench.measure import Bench, Figures, median, settle
from bench.server import Server
from bench.table import Line, Target, print_table, print_targets

BARE_S = 3.0
INSERT_S = 2.0
WARM_S = 1.5
CLOSED_S = 4.0
STEP_S = 4.0
STEPS_MAX = 7
CLOSE_ENOUGH = 1.06
FINAL_S = 10.0
FINALS_MAX = 5
HALF_S = 8.0
IDLE_S = 10.0
IDLE_RATE = 10.0
OTHERS_MAX = 0.1
"""What the kernel does for nobody's account comes to so much."""
BACKLOG_S = 1.0
"""The rate reported leaves at most so many seconds of deliveries waiting at its end."""

BARE = "bare client"
ALONE = "bare insert, 1 row/commit"
ACCEPT = "accept, no endpoint matches"
HIGHEST = "deliver, highest rate held"
HALF = "deliver, half of it"
IDLE = f"deliver, {IDLE_RATE:g}/s"
GROUPED = "bare insert, grouped"


def highest(bench: Bench, server: Server) -> Figures:
    """The run at the highest rate that can be held: a closed loop guesses it, paced steps close in on it, and a longer
    run has the last word."""
    rate = bench.run(server, seconds=CLOSED_S).whole_s
    low = high = 0.0
    allowed_s = BACKLOG_S * STEP_S / FINAL_S  # a surplus grows with time: a short step may leave less than the long run
    for _ in range(STEPS_MAX):
        settle()
        found = bench.run(server, seconds=STEP_S, rate=rate)
        held = found.held(allowed_s)
        _say_step(rate, found, held=held)
        if held:
            low = rate
        else:
            high = rate
        if low and high and high / low < CLOSE_ENOUGH:
            break
        rate = (low + high) / 2 if low and high else rate * (1.25 if held else 0.75)
    rate = low or rate
    for _ in range(FINALS_MAX):
        settle()
        found = bench.run(server, seconds=FINAL_S, rate=rate)
        held = found.held(BACKLOG_S)
        _say_step(rate, found, held=held)
        if held:
            return found
        rate *= 0.95
    print("  no rate could be held: the row is of the last one tried")
    return found


def _say_step(rate: float, found: Figures, *, held: bool) -> None:
    what = "held" if held else "not held"
    backlog = f"backlog {found.backlog:,.0f}, latest publish {found.late_ms:.0f} ms late"
    print(f"  {rate:8,.0f}/s {what:9} {backlog}; of its core {found.busy:.0%} (others {found.others:.0%})", flush=True)


def one_round(bench: Bench) -> dict[str, Figures]:
    """Every row once."""
    rows: dict[str, Figures] = {}
    bare = [bench.bare_client(BARE_S)]
    rows[ALONE] = bench.bare_insert(INSERT_S, 1)
    with bench.server() as server:
        server.endpoint(bench.sink.url, event_types=["others.*"])
        bench.run(server, seconds=WARM_S, delivers=False)
        rows[ACCEPT] = bench.run(server, seconds=CLOSED_S, delivers=False)
    bare.append(bench.bare_client(BARE_S))
    with bench.server() as server:
        server.endpoint(bench.sink.url)
        bench.run(server, seconds=WARM_S)
        rows[HIGHEST] = highest(bench, server)
        rate = rows[HIGHEST].accepted_s
        settle()
        rows[HALF] = bench.run(server, seconds=HALF_S, rate=rate / 2)
        settle()
        rows[IDLE] = bench.run(server, seconds=IDLE_S, rate=IDLE_RATE)
        print(f"  memory at the end {server.resident_mib():.0f} MiB")
    rows[GROUPED] = bench.bare_insert(INSERT_S, max(1, round(rows[HIGHEST].events_per_commit)))
    bare.append(bench.bare_client(BARE_S))
    rows[BARE] = median(bare)
    spread = max(b.cpu_us for b in bare) / min(b.cpu_us for b in bare)
    print(f"  bare client before, between and after: CPU µs {', '.join(f'{b.cpu_us:.1f}' for b in bare)}", end="")
    print(" (the machine's speed moved: trust no ratio of this round)" if spread > 1.25 else "")
    crowded = max(rows[name].others for name in (ACCEPT, HIGHEST))
    if crowded > OTHERS_MAX:
        print(
            f"  other processes had up to {crowded:.0%} of the program's core (some of it while it waited for the",
            end="",
        )
        print(" disk): rates and latencies say little")
    return rows


def usual(bench: Bench, rounds: int) -> None:
    """Run it, print the table and the targets."""
    taken = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        taken.append(one_round(bench))
    rows = {name: median([each[name] for each in taken]) for name in taken[0]}
    order = (BARE, ALONE, GROUPED, ACCEPT, HIGHEST, HALF, IDLE)
    print_table([Line(name, rows[name]) for name in order], rows[BARE])
    print_targets(targets(rows))
    held = rows[HIGHEST]
    print(f"load {held.load_us:.1f} and sink {held.sink_us:.1f} CPU µs per event; ", end="")
    print(f"the kernel's part of the program's CPU {held.system_share:.0%}")


def targets(rows: dict[str, Figures]) -> list[Target]:
    """What is asked, and what was reached."""
    bare, held, half = rows[BARE], rows[HIGHEST], rows[HALF]
    cpu = held.cpu_us / bare.cpu_us
    share = held.delivered_s / bare.delivered_s
    alone = rows[ACCEPT].accepted_s / held.delivered_s
    return [
        Target("CPU per delivered event, × bare client", "≤ 5 (aim 3.5)", f"{cpu:.2f}", cpu <= 5),
        Target("delivered/s, of the bare client's requests/s", "≥ 20 %", f"{share:.1%}", share >= 0.2),
        Target("accepted/s alone, × delivered/s", "≥ 2", f"{alone:.2f}", alone >= 2),
        Target(
            "publish p99 at half the highest rate",
            "≤ 25 ms",
            f"{half.publish_p99_ms:.1f} ms",
            half.publish_p99_ms <= 25,
        ),
        Target(
            "end to end p50 at half the highest rate", "≤ 10 ms", f"{half.e2e_p50_ms:.1f} ms", half.e2e_p50_ms <= 10
        ),
        Target("end to end p50 when idle", "≤ 5 ms", f"{rows[IDLE].e2e_p50_ms:.2f} ms", rows[IDLE].e2e_p50_ms <= 5),
    ]
