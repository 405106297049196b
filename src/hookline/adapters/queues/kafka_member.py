"""A process's membership in a consumer group of Kafka: a thread that polls for as long as the process takes part.

The driver connects again by itself, and a member it kept through an outage has its partitions at once. So the thread
lives on while its broker is silent, and says so to who receives; it ends when nobody asks for it any more.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from hookline.adapters.queues.broker import COMING_MAX, BrokerError, Received
from hookline.adapters.queues.kafka_driver import code_of

ANSWER_S_MAX: Final = 2.0
"""For the answer to anything that is asked of the broker."""
ALIVE_EVERY_S: Final = 2.0
SESSION_S: Final = 6.0
"""A member of which nothing is heard for so long is none any more; its partitions go to others."""
HEARTBEAT_MS: Final = 1_000
"""How soon a member learns that others came or went."""
EXPECTED_S: Final = 10.0
"""So long a member waits for the next connection."""
POLL_S: Final = 0.5
PAUSED_POLL_S: Final = 0.02


class Member:
    """One member. What is not marked as its thread's is called in the loop's."""

    def __init__(self, options: dict[str, Any], topic: str, group: str) -> None:
        self._options = options | {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": 1_000,
            "session.timeout.ms": int(SESSION_S * 1000),
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "partition.assignment.strategy": "cooperative-sticky",
            "topic.metadata.refresh.interval.ms": int(ALIVE_EVERY_S * 1000),
            # Little is fetched ahead: what waits here waits for this process.
            "queued.min.messages": COMING_MAX,
            "queued.max.messages.kbytes": 1_024,
            "fetch.queue.backoff.ms": 50,
        }
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._came: deque[Received] = deque()
        self._changed = asyncio.Event()
        self._failed: Exception | None = None
        self.claimed: deque[tuple[int, int]] = deque()
        """Partitions and offsets of what need not come again."""
        self.silent = False
        """Whether the broker did not answer of late."""
        self.lost = False
        """Whether it did not answer either when it had been found again: then the driver does not find it any more
        (seen after a broker had stood still), and another member is needed."""
        self._silences = 0
        self._attended = True
        # Each is written by one thread.
        self._given = 0
        self._taken = 0
        self._closing = False
        self._expected_until_s = float("inf")
        self._paused = False
        self._heard_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="hookline-kafka", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether it is none any more, or soon."""
        return self._closing or not self._thread.is_alive()

    def attend(self) -> None:
        """There is a connection again: what failed before does not count."""
        self._attended = True
        self.silent = False
        self._failed = None
        self._expected_until_s = float("inf")

    def expect(self) -> None:
        """A connection is to come; without one it ends after some seconds."""
        self._attended = False
        self._expected_until_s = time.monotonic() + EXPECTED_S

    def end(self) -> None:
        """Leave the group. Blocks until that is done, which needs its broker."""
        self._closing = True
        self._thread.join()

    async def take(self, count_max: int, wait_s: float) -> Sequence[Received]:
        """What has come, as `Inlet.receive` wants it. Raises what went wrong."""
        if not self._came and self._failed is None:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                return ()
        if not self._came and self._failed is not None:
            raise self._failed
        found = [self._came.popleft() for _ in range(min(count_max, len(self._came)))]
        self._taken += len(found)
        return found

    def _come(self, received: Sequence[Received]) -> None:
        self._came.extend(received)
        self._silences = 0
        self._changed.set()

    def _fail(self, error: Exception) -> None:
        self._failed = error
        self._changed.set()

    def _fall_silent(self, error: Exception) -> None:
        self._silences += self._attended
        self.lost = self._silences > 1
        self.silent = True
        self._fail(error)

    def _answer(self) -> None:
        self._silences = 0

    # ------------------------------------------------------------------------------------------------ its thread

    def _run(self) -> None:
        consumer = Consumer(self._options)
        try:
            consumer.subscribe([self._topic], on_assign=self._assigned)
            while not self._closing and time.monotonic() < self._expected_until_s:
                self._turn(consumer)
            self._closing = True
            self._store(consumer)
        except Exception as error:  # noqa: BLE001 - told to who receives, who raises it
            # Before it is closed: that takes its time where the broker is silent.
            self._closing = True
            self._tell(self._fail, error)
        finally:
            consumer.close()

    def _turn(self, consumer: Consumer) -> None:
        """One round: what was claimed is noted, and what comes is taken, if there is room."""
        self._store(consumer)
        room = COMING_MAX - (self._given - self._taken)
        if room <= 0 and not self._paused:
            consumer.pause(consumer.assignment())
            self._paused = True
        elif room >= COMING_MAX // 2 and self._paused:
            consumer.resume(consumer.assignment())
            self._paused = False
        received: list[Received] = []
        message = consumer.poll(PAUSED_POLL_S if self._paused else POLL_S)
        while message is not None:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            received.append(Received(message.value() or b"", (message.partition(), message.offset())))
            message = consumer.poll(0) if len(received) < room else None
        if received:
            self._given += len(received)
            self._heard_s = time.monotonic()
            self._tell(self._come, received)
        elif time.monotonic() - self._heard_s >= ALIVE_EVERY_S:
            self._ask(consumer)
            self._heard_s = time.monotonic()

    def _ask(self, consumer: Consumer) -> None:
        """The driver connects again by itself, and says nothing of it; nor of a topic that is gone."""
        try:
            found = consumer.list_topics(self._topic, timeout=ANSWER_S_MAX).topics.get(self._topic)
        except KafkaException as error:
            self._tell(self._fall_silent, error)
            return
        if found is None or found.error is not None:
            raise BrokerError(f"the topic {self._topic} is gone")
        self._tell(self._answer)

    def _store(self, consumer: Consumer) -> None:
        """Note what was claimed; it is committed with the next of the commits that the driver makes each second."""
        highest: dict[int, int] = {}
        while self.claimed:
            partition, offset = self.claimed.popleft()
            highest[partition] = max(offset, highest.get(partition, -1))
        if highest:
            offsets = [TopicPartition(self._topic, partition, offset + 1) for partition, offset in highest.items()]
            try:
                consumer.store_offsets(offsets=offsets)
            except KafkaException as error:
                if code_of(error) != KafkaError._STATE:  # noqa: SLF001 - none of them is ours any more
                    raise

    def _assigned(self, _consumer: Consumer, _partitions: Sequence[TopicPartition]) -> None:
        self._paused = False  # new ones are not: the next turn sees to it

    def _tell(self, what: Any, *about: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *about)
        except RuntimeError:
            self._closing = True  # the loop has ended, and nobody receives any more
