"""What both ends of the queue over Kafka need of its driver: threads for what blocks, and what an error says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """The result of what blocks. In a thread that the end of the program does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            failed = error
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:
            pass  # the loop has ended

    threading.Thread(target=run, name="hookline-kafka-work", daemon=True).start()
    return await future


def code_of(error: Exception) -> int | None:
    """The driver's number for it; None: it is none of the driver's."""
    first = error.args[0] if error.args else None
    return first.code() if isinstance(first, KafkaError) else None


def said_by(error: Exception) -> str:
    """The error's sentence."""
    first = error.args[0] if error.args else None
    return first.str() if isinstance(first, KafkaError) else str(error) or type(error).__name__
