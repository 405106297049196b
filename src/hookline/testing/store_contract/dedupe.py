"""Duplicates: a publisher's id and an Idempotency-Key are answered from the first, within their time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from hookline.ports.store import AcceptRequest, AcceptResult, IdempotencyKey, NewEvent
from hookline.testing.store_contract.case import Case, StoreContract

KEY = b"tenant+source+id"
BODY = b"hash of the body"
OTHER_BODY = b"another body's h."[:16]


@pytest.mark.rule(n=7)
class TestDedupe(StoreContract):
    """A `dedupe_key` that is known makes a duplicate."""

    async def test_a_repeat_is_answered_with_the_first(self, case: Case) -> None:
        """The second event with a known key is not made; its answer names the first and its deliveries."""
        endpoints = await case.endpoints(2)
        first = case.new(*endpoints, dedupe_key=KEY)
        assert not (await case.accept(first))[0].duplicate
        repeat = case.new(endpoints[0], dedupe_key=KEY)
        answer = (await case.accept(repeat))[0]
        assert (answer.event_id, answer.deliveries, answer.duplicate) == (first.event.id, 2, True)
        assert answer.states == b""
        assert await case.store.event(None, repeat.event.id) is None
        counts = await case.counts()
        assert (counts.events, counts.deliveries) == (1, 2)

    async def test_a_repeat_in_the_same_request(self, case: Case) -> None:
        """The second of two equal keys within one request is the duplicate of the first."""
        first, second, third = case.new(dedupe_key=KEY), case.new(dedupe_key=KEY), case.new(dedupe_key=b"x" * 16)
        answers = await case.accept(first, second, third)
        assert [answer.duplicate for answer in answers] == [False, True, False]
        assert answers[1].event_id == first.event.id
        assert (await case.counts()).events == 2

    async def test_a_repeat_in_a_later_request_of_the_same_call(self, case: Case) -> None:
        """Within one call a later request sees the keys of the earlier ones."""
        first, second = case.new(dedupe_key=KEY), case.new(dedupe_key=KEY)
        results = await case.store.accept(
            [AcceptRequest("default", [first]), AcceptRequest("default", [second])], await case.version()
        )
        assert results[1].items[0].duplicate
        assert results[1].items[0].event_id == first.event.id

    async def test_parallel_repeats_make_one_event(self, case: Case) -> None:
        """Of 50 parallel accepts with one key exactly one is new, and all name the same event."""
        endpoint = await case.endpoint()
        version = await case.version()
        results = await asyncio.gather(
            *(
                case.store.accept([AcceptRequest("default", [case.new(endpoint, dedupe_key=KEY)])], version)
                for _ in range(50)
            )
        )
        answers = [result[0].items[0] for result in results]
        assert sum(not answer.duplicate for answer in answers) == 1
        assert len({answer.event_id for answer in answers}) == 1
        counts = await case.counts()
        assert (counts.events, counts.deliveries) == (1, 1)

    async def test_a_repeat_after_a_kill(self, case: Case) -> None:
        """A key is known to the next process."""
        endpoint = await case.endpoint()
        first = case.new(endpoint, dedupe_key=KEY)
        await case.accept(first)
        await case.restart()
        answer = (await case.accept(case.new(endpoint, dedupe_key=KEY)))[0]
        assert (answer.event_id, answer.deliveries, answer.duplicate) == (first.event.id, 1, True)

    async def test_a_key_is_known_for_its_time(self, case: Case) -> None:
        """Until its dedupe_s are over a key is known; then the same key makes a new event, purged or not."""
        await case.accept(case.new(dedupe_key=KEY, dedupe_s=3600))
        case.clock.advance(3599)
        assert (await case.accept(case.new(dedupe_key=KEY)))[0].duplicate
        case.clock.advance(2)
        again = case.new(dedupe_key=KEY)
        answer = (await case.accept(again))[0]
        assert (answer.event_id, answer.duplicate) == (again.event.id, False)
        assert (await case.accept(case.new(dedupe_key=KEY)))[0].event_id == again.event.id

    async def test_a_repeat_does_not_lengthen_the_time(self, case: Case) -> None:
        """A duplicate leaves the first one's time as it is."""
        await case.accept(case.new(dedupe_key=KEY, dedupe_s=3600))
        case.clock.advance(3000)
        assert (await case.accept(case.new(dedupe_key=KEY, dedupe_s=3600)))[0].duplicate
        case.clock.advance(601)
        assert not (await case.accept(case.new(dedupe_key=KEY)))[0].duplicate

    async def test_other_keys_and_no_key_are_no_duplicates(self, case: Case) -> None:
        """Another key, as another tenant's is, and events without a key are always new."""
        answers = [
            (await case.accept(item))[0]
            for item in (
                case.new(dedupe_key=KEY),
                case.new(dedupe_key=KEY[:-1] + b"\x00", tenant="other"),
                case.new(),
                case.new(),
            )
        ]
        assert not any(answer.duplicate for answer in answers)
        assert (await case.counts()).events == 4

    async def test_the_number_of_a_big_fan_out_is_remembered(self, case: Case) -> None:
        """The duplicate of an event with a packed fan-out names the full number of its deliveries."""
        endpoints = await case.endpoints(5)
        await case.accept(case.new(endpoints[0], fanout=endpoints[1:], dedupe_key=KEY))
        assert (await case.accept(case.new(dedupe_key=KEY)))[0].deliveries == 5


def keyed(
    *items: NewEvent, body_hash: bytes = BODY, keep_s: float = 3600, note: bytes = b"", key: bytes = KEY
) -> AcceptRequest:
    """A request with an Idempotency-Key."""
    return AcceptRequest("default", items, IdempotencyKey(key, body_hash, keep_s), note)


@pytest.mark.rule(n=7)
class TestIdempotency(StoreContract):
    """An `Idempotency-Key` gives its first answer again."""

    async def ask(self, case: Case, *requests: AcceptRequest) -> Sequence[AcceptResult]:
        """Accept the requests in one call."""
        return await case.store.accept(requests, await case.version())

    async def test_a_repeat_gets_the_first_answer(self, case: Case) -> None:
        """The same key with the same body: items and note of the first, and nothing new is made."""
        endpoint = await case.endpoint()
        first = case.new(endpoint), case.new(endpoint, endpoint)
        await self.ask(case, keyed(*first, note=b"\x00the answer\xff"))
        result = (await self.ask(case, keyed(case.new(endpoint), case.new(endpoint), note=b"later")))[0]
        assert (result.repeated, result.reused) == (True, False)
        assert result.note == b"\x00the answer\xff"
        assert [(item.event_id, item.deliveries, item.duplicate, item.states) for item in result.items] == [
            (first[0].event.id, 1, False, b""),
            (first[1].event.id, 2, False, b""),
        ]
        counts = await case.counts()
        assert (counts.events, counts.deliveries) == (2, 3)

    async def test_the_first_is_no_repeat(self, case: Case) -> None:
        """The first request with a key is an ordinary one."""
        result = (await self.ask(case, keyed(case.new())))[0]
        assert (result.repeated, result.reused) == (False, False)

    async def test_a_repeat_tells_what_was_a_duplicate(self, case: Case) -> None:
        """Items that were duplicates in the first answer are so in its repeats."""
        original = case.new(dedupe_key=b"d" * 16)
        await case.accept(original)
        await self.ask(case, keyed(case.new(dedupe_key=b"d" * 16), case.new()))
        result = (await self.ask(case, keyed(case.new(), case.new())))[0]
        assert [item.duplicate for item in result.items] == [True, False]
        assert result.items[0].event_id == original.event.id

    async def test_another_body_is_a_reuse(self, case: Case) -> None:
        """The same key with another body makes nothing and is told so."""
        await self.ask(case, keyed(case.new()))
        result = (await self.ask(case, keyed(case.new(), body_hash=OTHER_BODY)))[0]
        assert (result.repeated, result.reused, list(result.items)) == (False, True, [])
        assert (await case.counts()).events == 1

    async def test_a_repeat_in_the_same_call(self, case: Case) -> None:
        """Within one call the second of two equal keys is the repeat, and one with another body the reuse."""
        first = case.new()
        results = await self.ask(
            case, keyed(first, note=b"1"), keyed(case.new(), note=b"2"), keyed(case.new(), body_hash=OTHER_BODY)
        )
        assert [(result.repeated, result.reused) for result in results] == [
            (False, False),
            (True, False),
            (False, True),
        ]
        assert results[1].items[0].event_id == first.event.id
        assert results[1].note == b"1"

    async def test_parallel_repeats_make_one_event(self, case: Case) -> None:
        """Of 50 parallel requests with one key and body exactly one makes its event."""
        version = await case.version()
        results = await asyncio.gather(*(case.store.accept([keyed(case.new())], version) for _ in range(50)))
        assert sum(not result[0].repeated for result in results) == 1
        assert len({result[0].items[0].event_id for result in results}) == 1
        assert (await case.counts()).events == 1

    async def test_a_repeat_after_a_kill(self, case: Case) -> None:
        """A key, its body and its answer are known to the next process."""
        first = case.new()
        await self.ask(case, keyed(first, note=b"answer"))
        await case.restart()
        result = (await self.ask(case, keyed(case.new())))[0]
        assert (result.repeated, result.note, result.items[0].event_id) == (True, b"answer", first.event.id)
        assert (await self.ask(case, keyed(case.new(), body_hash=OTHER_BODY)))[0].reused

    async def test_a_key_is_known_for_its_time(self, case: Case) -> None:
        """Until its keep_s are over a key is known; then it is free for any body."""
        await self.ask(case, keyed(case.new(), keep_s=3600))
        case.clock.advance(3599)
        assert (await self.ask(case, keyed(case.new())))[0].repeated
        case.clock.advance(2)
        result = (await self.ask(case, keyed(case.new(), body_hash=OTHER_BODY)))[0]
        assert (result.repeated, result.reused) == (False, False)
        assert (await self.ask(case, keyed(case.new(), body_hash=OTHER_BODY)))[0].repeated

    async def test_keys_do_not_meet(self, case: Case) -> None:
        """Another key is another request; and the 16 bytes of a dedupe key are none of an Idempotency-Key."""
        await self.ask(case, keyed(case.new()))
        assert not (await self.ask(case, keyed(case.new(), key=b"z" * 16)))[0].repeated
        assert not (await case.accept(case.new(dedupe_key=KEY)))[0].duplicate
