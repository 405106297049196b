"""librdkafka's own broker behind a port that stays: `python -m tests.servers.kafka_mock PORT [TOPIC[:PARTITIONS] ...]`.

It speaks the protocol from memory, for quick tests: produce, fetch, consumer groups, topics made when first named.
It knows neither deleting a topic nor a disk: ended, it has forgotten everything. It chooses its own port, which its
answers name; so each answer's port is rewritten to the one that was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from confluent_kafka import Producer

FRAME_BYTES_MAX = 64 << 20
HOST = b"127.0.0.1"


def mock(topics: list[str]) -> tuple[Producer, int]:
    """A broker in this process, with these topics; whoever holds the producer holds the broker. And its port."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    port = int(next(iter(producer.list_topics(timeout=10).brokers.values())).port)
    for topic in topics:
        producer.list_topics(topic, timeout=10)  # made when first named
    return producer, port


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def _answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, real: int, shown: int) -> None:
    """Whole frames, so that no port is missed where two reads meet."""
    found, instead = (HOST + port.to_bytes(4, "big") for port in (real, shown))
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            size = await reader.readexactly(4)
            assert int.from_bytes(size, "big") <= FRAME_BYTES_MAX
            frame = await reader.readexactly(int.from_bytes(size, "big"))
            writer.write(size + frame.replace(found, instead))
            await writer.drain()
    writer.close()


async def serve(port: int, topics: list[str]) -> None:
    """Until the process ends."""
    broker, real = mock(topics)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", real)
        await asyncio.gather(_asked(reader, inner_writer), _answered(inner_reader, writer, real, port))

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    async with server:
        await server.serve_forever()
    del broker


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
