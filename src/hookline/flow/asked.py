"""A refused request that bears an Idempotency-Key: was it accepted before, when the rules were others?

A schema that was added, or a catalogue that became strict, must not change the answer to a repeat. So before such a
request is refused the store is asked for its key, by an accept of no items whose key is forgotten at once; only
refusals with the header pay for it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from hookline.core.errors import HooklineError, Refusal, StaleRegistry, StoreUnavailable
from hookline.flow.answers import Answer, Done, accepted, refused, unpack_note
from hookline.flow.commits import SharedCommits
from hookline.flow.registry import Registry
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import AcceptRequest, AcceptResult, Deliveries, IdempotencyKey

_TRIES: Final = 10
_SIZE_BYTES: Final = 256


class Question(msgspec.Struct, frozen=True, gc=False):
    """A request that is to be refused with `refusal`, unless its key says that it was accepted."""

    tenant: str
    key: IdempotencyKey
    refusal: Refusal
    done: Done


class Asked:
    """Asks the store, many questions in one commit."""

    def __init__(self, store: Deliveries, registry: Registry, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._registry = registry
        self._observer = observer
        self._clock = clock
        self._commits: SharedCommits[Question] = SharedCommits(self._commit, clock)

    @property
    def busy(self) -> bool:
        """Whether a question is not answered yet."""
        return self._commits.busy

    def put(self, question: Question) -> None:
        """Ask; its `done` is called once."""
        self._commits.put(question.tenant, question, 1, _SIZE_BYTES, self._clock.monotonic_s())

    async def drained(self) -> None:
        """Return when every question is answered."""
        await self._commits.drained()

    async def _commit(self, questions: list[Question]) -> None:
        try:
            results = await self._results(questions)
        except StoreUnavailable as error:
            unavailable = Refusal(error.code, str(error), retry_after_s=error.retry_after_s)
            answers = [self._refused(unavailable)] * len(questions)
        except HooklineError as error:
            self._observer.warn("question_failed", error=str(error))
            answers = [self._refused(question.refusal) for question in questions]
        else:
            answers = [self._answer(q, result) for q, result in zip(questions, results, strict=True)]
        for question, answer in zip(questions, answers, strict=True):
            question.done(answer)

    async def _results(self, questions: list[Question]) -> list[AcceptResult]:
        requests = [AcceptRequest(q.tenant, (), msgspec.structs.replace(q.key, keep_s=0.0)) for q in questions]
        for _ in range(_TRIES):
            try:
                return list(await self._store.accept(requests, self._registry.version))
            except StaleRegistry:
                await self._registry.refresh()
        raise StoreUnavailable("The configuration changes too fast.")

    def _answer(self, question: Question, result: AcceptResult) -> Answer:
        if not result.repeated or not result.items:
            return self._refused(question.refusal)
        self._observer.accepted(0, 0, len(result.items))
        return accepted(result.items, unpack_note(result.note))

    def _refused(self, refusal: Refusal) -> Answer:
        self._observer.refused(refusal.code)
        return refused(refusal)
