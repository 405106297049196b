"""Publishers: what they send, and whether a 202 keeps what it promises."""

from __future__ import annotations

import json
from typing import Any

from hookline.core import ids
from hookline.core.page import format_time
from hookline.flow.answers import Answer
from tests.simulate.disk import POISON
from tests.simulate.process import TENANT, Process
from tests.simulate.world import Known, Published, World

_FANOUT = "SELECT endpoint_ids FROM fanouts WHERE event_id = ?"


class Publishers:
    """They number their events, and remember every answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        self.keys: dict[str, tuple[bytes, dict[str, Any] | None]] = {}
        """Idempotency-Key → the first body sent with it, and what was answered."""
        self.answered: set[bytes] = set()
        """Events of which a 202 told."""

    # --------------------------------------------------------------------------------------------------- to send

    def publish(self, process: Process) -> None:
        """One request: an event or a batch, new or once more."""
        chance = self.chance
        headers: dict[str, str] = {}
        if self.keys and chance.random() < 0.15:
            key = chance.choice(list(self.keys))
            body, headers["idempotency-key"] = self.keys[key][0], key
            if chance.random() < 0.2:
                self._send(process, self._item(process), headers, other_body=True)
            else:
                self._send(process, json.loads(body), headers, raw=body)
            return
        count = 1 if chance.random() < 0.75 else chance.randint(2, 4)
        made: Any = self._item(process) if count == 1 else [self._item(process) for _ in range(count)]
        if chance.random() < 0.2:
            key = headers["idempotency-key"] = f"key-{len(self.keys)}"
            self.keys[key] = (json.dumps(made).encode(), None)
        self._send(process, made, headers)

    def _item(self, process: Process) -> dict[str, Any]:
        chance, world = self.chance, self.world
        n = len(world.published)
        data: dict[str, Any] = {"n": n}
        body: dict[str, Any] = {"type": "t" if chance.random() < 0.85 else "u", "data": data}
        if chance.random() < 0.6:
            body["ordering_key"] = chance.choice(("a", "b"))
        if chance.random() < 0.2:
            body["source"], body["id"] = "/shop", f"s-{chance.randint(0, 9)}"
        if chance.random() < 0.04:
            data["is"] = POISON.decode()
        due_ms = 0
        if chance.random() < 0.1:
            due_ms = process.disk_store.now_ms() + chance.randint(100, 20_000)
            body["deliver_at"] = format_time(due_ms)
        must, mustnt = set(), set()
        for known in world.by_id.values():
            if known.deleted:
                mustnt.add(known.id)
            elif known.created and not known.asked_to_delete and wants(known, body["type"]):
                must.add(known.id)
        world.published[n] = Published(n, body, due_ms, must, mustnt)
        return body

    def _send(
        self,
        process: Process,
        made: Any,
        headers: dict[str, str],
        *,
        raw: bytes | None = None,
        other_body: bool = False,
    ) -> None:
        items = made if isinstance(made, list) else [made]
        numbers = [item["data"]["n"] for item in items]
        self.world.note(f"  publishes {numbers} {headers or ''}")

        def done(answer: Answer) -> None:
            process.asked -= 1
            self._done(answer, items, headers.get("idempotency-key"), isinstance(made, list), other_body=other_body)

        process.asked += 1
        body = json.dumps(made).encode() if raw is None else raw
        process.loop.inside(lambda: process.engine.accept.publish(TENANT, headers, "application/json", body, done))

    # ----------------------------------------------------------------------------------------------- the answer

    def _done(
        self, answer: Answer, items: list[dict[str, Any]], key: str | None, batch: bool, *, other_body: bool
    ) -> None:
        world, numbers = self.world, [item["data"]["n"] for item in items]
        world.note(f"  publish of {numbers}: {answer.status}")
        world.counted[f"answer {answer.status}"] += 1
        if answer.status >= 500 and answer.status != 503:
            world.truth.fault(f"publishing {numbers} was answered {answer.status}: {answer.body!r}")
        if answer.status != 202:
            return
        said = json.loads(answer.body)
        if key is not None:
            self._same(key, said, other_body=other_body)
        rows = said["data"] if batch else [said]
        for item, row in zip(items, rows, strict=True):
            if row.get("status") == "invalid":
                if "is" not in item["data"]:
                    world.truth.fault(f"{item} is said to be invalid: {row}")
                continue
            if "is" in item["data"] and not row["duplicate"]:
                world.truth.fault(f"{item} cannot be stored and was accepted")
            self._durable(world.published[item["data"]["n"]], row)

    def _same(self, key: str, said: dict[str, Any], *, other_body: bool) -> None:
        body, first = self.keys[key]
        if first is None and not other_body:
            self.keys[key] = (body, said)
        elif other_body and first is not None:
            self.world.truth.fault(f"{key} was accepted with another body")
        elif first is not None and first != said:
            self.world.truth.fault(f"{key} was answered {first} and then {said}")
        elif other_body:
            del self.keys[key]  # its first request was not accepted: the key belongs to this one

    def _durable(self, published: Published, row: dict[str, Any]) -> None:
        """What was answered is in the store: the event, and a row for each that has to get it."""
        truth, by_id = self.world.truth, self.world.by_id
        event_id = ids.parse(ids.EVENT, row["id"])
        assert event_id is not None
        name = f"event {published.n} ({row['id']})"
        if event_id not in truth.events:
            truth.fault(f"{name} was answered 202 and is not in the store")
            return
        if row["duplicate"] or event_id in self.answered:
            return
        self.answered.add(event_id)
        got = [one.endpoint_id for one in truth.of_event[event_id] if one.id[:12] == event_id]
        packed = b"".join(found for (found,) in self.world.disk.rows(_FANOUT, event_id))
        to = set(got) | {packed[at : at + 12] for at in range(0, len(packed), 12)}
        if len(got) != len(set(got)) or len(to) != row["deliveries"]:
            truth.fault(f"{name} has {len(to)} deliveries, {row['deliveries']} were answered")
        missing = {one for one in published.must - to if not by_id[one].asked_to_delete}
        if missing:
            truth.fault(f"{name} was answered 202 without {[by_id[one].path for one in missing]}")
        if to & published.mustnt:
            truth.fault(f"{name} goes to deleted endpoints")


def wants(known: Known, event_type: str) -> bool:
    """Whether an endpoint is for events of this type."""
    types = known.spec.get("event_types", ["*"])
    return "*" in types or event_type in types
