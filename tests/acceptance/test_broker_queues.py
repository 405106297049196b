"""The real program on PostgreSQL with a broker that tells the workers what is due, and what happens when that fails."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.program import Program, balanced, until
from tests.acceptance.publishing import Publishing
from tests.acceptance.receiver import Receiver
from tests.acceptance.test_postgres import command, line_of
from tests.servers import kafka, nats, rabbitmq, valkey
from tests.servers.process import ServerProcess

HEALS_S: Final = 30.0


class Serving(Protocol):
    """A module of `tests.servers`."""

    def __call__(self) -> Iterator[ServerProcess]:
        """The server, for as long as a fixture lives."""
        ...


def flush_redis(server: ServerProcess) -> None:
    """All that it holds, the stream and the group too."""
    import redis

    with redis.Redis.from_url(server.url) as client:
        client.flushall()


def purge_nats(server: ServerProcess) -> None:
    """The stream, and the consumer with it."""
    import asyncio

    import nats as driver

    async def delete() -> None:
        client = await driver.connect(server.url)
        await client.jetstream().delete_stream("hookline-due")
        await client.close()

    asyncio.run(delete())


def delete_queue_of_rabbitmq(server: ServerProcess) -> None:
    """The queue, and its consumers with it."""
    import asyncio

    import aio_pika

    async def delete() -> None:
        connection = await aio_pika.connect(server.url)
        channel = await connection.channel()
        await channel.queue_delete("hookline.due")
        await connection.close()

    asyncio.run(delete())


def delete_topic_of_kafka(server: ServerProcess) -> None:
    """The topic, and the group's offsets with it."""
    from confluent_kafka.admin import AdminClient

    administrator = AdminClient({"bootstrap.servers": server.url.removeprefix("kafka://"), "log_level": 0})
    administrator.delete_topics(["hookline-due"])["hookline-due"].result(10)


BROKERS: dict[str, tuple[Serving, Callable[[ServerProcess], None]]] = {
    "redis": (valkey.serving, flush_redis),
    "nats": (nats.serving, purge_nats),
    "rabbitmq": (rabbitmq.serving, delete_queue_of_rabbitmq),
    "kafka": (kafka.serving, delete_topic_of_kafka),
}
"""How each is started, and how it loses all that it holds."""


@pytest.fixture(params=sorted(BROKERS))
def broker(request: pytest.FixtureRequest) -> Iterator[tuple[ServerProcess, Callable[[], None]]]:
    """A broker of this test's own, and what makes it lose all."""
    start, lose = BROKERS[request.param]
    for server in start():
        yield server, partial(lose, server)


def warnings(program: Program) -> Counter[tuple[str, str]]:
    """How often each warning stands in a second of the log."""
    import json

    lines = [json.loads(line) for line in program.log_path.read_text().splitlines() if line.startswith("{")]
    return Counter((line["fact"], line["at"][:19]) for line in lines if line["level"] == "warning")


def catches_up(publishing: Publishing, receiver: Receiver, url: str) -> float:
    """Wait until all that has been accepted until now came; how long it took."""
    began_s = time.monotonic()
    accepted = set(publishing.accepted)
    until(lambda: accepted <= {hit.id for hit in receiver.hits(url)}, wait_s=HEALS_S, every_s=0.2)
    return time.monotonic() - began_s


def tells_at_once(api: Program, receiver: Receiver, url: str, endpoint_id: str) -> None:
    """What the API process accepts a worker sends long before it would look by itself, which is after ten seconds; a
    pause is known to it within a second."""
    api.delivered(api.publish("a.b", 0)["id"])
    for n in range(5):
        time.sleep(0.1)
        began_s = time.monotonic()
        api.publish("a.b", n)
        receiver.came(url, n + 2, wait_s=5.0)
        assert time.monotonic() - began_s < 2.0
    api.post(f"/v1/endpoints/{endpoint_id}/pause", status=200)
    time.sleep(1.0)
    before = len(receiver.hits(url))
    held = api.publish("a.b", 1)
    time.sleep(0.5)
    assert len(receiver.hits(url)) == before
    api.post(f"/v1/endpoints/{endpoint_id}/resume", status=200)
    api.delivered(held["id"], wait_s=3.0)


@pytest.mark.rule(n=27)
@pytest.mark.rule(n=28)
def test_a_broker_tells_at_once_and_loses_nothing(
    cluster: Cluster, broker: tuple[ServerProcess, Callable[[], None]], receiver: Receiver
) -> None:
    """An API process and two workers, and a broker that is flushed, killed and stalled under load: publishers are
    answered 202 and nothing else, all of it comes within 30 s, once, and the log says each thing once a second."""
    server, lose = broker
    programs = [cluster.start(role, queue=server.url) for role in ("api", "worker", "worker")]
    api = programs[0]
    url = receiver.url()
    tells_at_once(api, receiver, url, api.endpoint(url)["id"])
    with Publishing(api) as publishing:
        until(lambda: len(publishing.accepted) > 200, wait_s=30.0)
        for fail, heal, away_s in (
            (lose, None, 0.0),
            (server.kill, server.start, 1.0),
            (server.stall, server.resume, 7),
        ):
            fail()
            came = len(publishing.accepted)
            if heal is not None:
                time.sleep(away_s)
                assert len(publishing.accepted) > came + 50  # accepting went on
                heal()
            until(lambda came=came: len(publishing.accepted) > came + 100, wait_s=20.0)
            catches_up(publishing, receiver, url)
    assert not publishing.refused
    assert not publishing.other
    catches_up(publishing, receiver, url)
    assert balanced(api.quiet(wait_s=60.0))
    assert not [one for one, count in Counter(hit.id for hit in receiver.hits(url)).items() if count > 1]
    for program in programs:
        found = warnings(program)
        assert not [item for item in found.items() if item[1] > 2], found.most_common(5)
    assert [program.terminate() for program in programs] == [0, 0, 0]


@pytest.mark.rule(n=28)
def test_a_broker_that_is_away(cluster: Cluster, receiver: Receiver) -> None:
    """A process starts without its broker, accepts, and delivers what the store says is due; its log names neither user
    nor password, and neither do the settings."""
    address = "redis://somebody:hunter2-hunter2@127.0.0.1:9/0"
    api, worker = (cluster.start(role, queue=address) for role in ("api", "worker"))
    url = receiver.url()
    api.endpoint(url)
    made = [api.publish("a.b", n)["id"] for n in range(5)]
    for one in made:
        api.delivered(one, wait_s=HEALS_S)
    shown = command(api, "config", "show")
    assert "redis://***@127.0.0.1:9/0" in shown.stdout
    for text in (api.log(), worker.log(), shown.stdout):
        assert "hunter2" not in text
    assert "queue_sending_lost" in api.log()
    assert "queue_receiving_lost" in worker.log()
    assert (api.terminate(), worker.terminate()) == (0, 0)


def test_a_queue_that_cannot_be_used_is_one_line(cluster: Cluster) -> None:
    """A broker that is not known, SQLite, and a file that is not there are refused at the start, in one line."""
    for settings, part in (
        ({"queue": "mqtt://me:hunter2@h"}, "no broker is known for mqtt://"),
        ({"queue": "redis://me:hunter2@h", "db": "sqlite:///x.db"}, "HOOKLINE_QUEUE needs PostgreSQL"),
        ({"queue": "rediss://me:hunter2@h?ca_file=/nonexistent.pem"}, "ca_file cannot be used"),
    ):
        line = line_of(command(cluster.program(**settings), "serve"))
        assert part in line
        assert "hunter2" not in line
