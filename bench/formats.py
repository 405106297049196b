"""`make bench FORMATS=1`: every way to publish, a provider's webhook, and every form of what is sent, beside the plain
path at the same rate.

CloudEvents have an id by their specification, so publishing them includes telling duplicates: they stand beside plain
JSON, and beside plain JSON with an id. So does what is received.
"""

from __future__ import annotations

from bench.measure import PLAIN, Bench, Figures, median, settle
from bench.table import Target, pair, print_rows, print_targets, rate
from bench.template import BATCHES, FORMATS, RECEIVED, Template, source_spec, template

ROUNDS = 3
WARM_S = 1.5
CLOSED_S = 4.0
PACED_S = 4.0
PACED_SHARE = 0.6
PLAIN_EVERY = 3
RATIO_MAX = 1.3
BATCH_ITEMS = (10, 100)
SENT = ("standard", "raw", "cloudevents", "cloudevents-binary")
WITH_ID = "publish json + id"


def _ways() -> dict[str, Template]:
    """What is published, by the name of the row. The type says which endpoint gets it."""
    ways = {"publish json": PLAIN}
    ways |= {f"publish {form}": template(form) for form in FORMATS[1:]}
    ways |= {f"publish {form} {n}": template(form, items=n) for form in BATCHES for n in BATCH_ITEMS}
    ways[RECEIVED] = template(RECEIVED)
    return ways | {f"send {form}": template(event_type=_type(form)) for form in SENT[1:]}


def _type(form: str) -> str:
    """The type of the events that the endpoint with this format gets."""
    return "bench.order.created" if form == SENT[0] else f"bench.{form.replace('-', '_')}.created"


def formats(bench: Bench, rounds: int) -> None:
    """Measure each, in turns, and print it beside the plain path."""
    ways = _ways()
    taken: dict[str, list[Figures]] = {name: [] for name in ways}
    with bench.server() as server:
        for form in SENT:
            server.endpoint(bench.sink.url, format=form, event_types=[_type(form)])
        server.ask("POST", "/v1/sources", source_spec())
        bench.run(server, seconds=WARM_S)
        pace = PACED_SHARE * bench.run(server, seconds=CLOSED_S).whole_s
        for _ in range(rounds or ROUNDS):
            for place, (name, publish) in enumerate(ways.items()):
                settle()
                if place % PLAIN_EVERY == PLAIN_EVERY - 1:  # the yardstick, as often as the machine's speed moves
                    taken["publish json"].append(bench.run(server, seconds=PACED_S, rate=pace))
                taken[name].append(bench.run(server, publish, seconds=PACED_S, rate=pace))
    found = {name: median(runs) for name, runs in taken.items()}
    plain, with_id = found["publish json"], found[WITH_ID]
    head = ("", "events/s", "CPU µs/event", "× json", "× json + id", "publish p50 / p99 ms", "end to end p50 / p99 ms")
    rows = []
    for name, f in found.items():
        ratios = f"{f.cpu_us / plain.cpu_us:.2f}", f"{f.cpu_us / with_id.cpu_us:.2f}"
        latencies = pair(f.publish_p50_ms, f.publish_p99_ms), pair(f.e2e_p50_ms, f.e2e_p99_ms)
        rows.append((name, rate(f.accepted_s), f"{f.cpu_us:.1f}", *ratios, *latencies))
    print_rows(head, rows)
    targets = []
    for name, f in found.items():
        has_id = name == RECEIVED or ("cloudevents" in name and name.startswith("publish"))
        beside = with_id if has_id else plain
        if f is not beside and name != WITH_ID:
            ratio = f.cpu_us / beside.cpu_us
            what = f"{name}, CPU × {'json + id' if beside is with_id else 'json'}"
            targets.append(Target(what, f"≤ {RATIO_MAX:g}", f"{ratio:.2f}", ratio <= RATIO_MAX))
    print_targets(targets)
