"""A Kafka of our own: Apache Kafka 4 from Maven's packages, one node in KRaft mode; or librdkafka's mock."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerProcess, free_port, missing, temporary_folder

POM = Path(__file__).with_name("kafka.pom.xml")
JARS = Path(sys.prefix) / "share" / "kafka"
"""Fetched once for an environment. Removed with it."""
JAVA = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
START_S_MAX = 90.0
FETCH = [
    "mvn",
    "-q",
    "-B",
    "--strict-checksums",
    "dependency:copy-dependencies",
    "-DincludeScope=runtime",
    "-f",
    str(POM),
]
FETCH_S_MAX = 280
CLUSTER = "aG9va2xpbmUtdGVzdHMtMQ"

SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
# A killed one may come back as soon as its registration has run out.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
num.network.threads=1
num.io.threads=2
log.cleaner.enable=true
"""


def _client() -> None:
    if importlib.util.find_spec("confluent_kafka") is None:
        missing("confluent-kafka is not here: `make dev` installs it")


def jars() -> Path:
    """The folder of Kafka's jars, fetched where they are not there yet. Another worker of the run may do the same."""
    _client()
    if JARS.exists():
        return JARS
    if not shutil.which("java") or not shutil.which("mvn"):
        missing("Kafka is not here: it needs `java` (17) and `mvn`")
    JARS.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="kafka-", dir=JARS.parent))
    try:
        fetched = subprocess.run(
            [*FETCH, f"-DoutputDirectory={made}"],
            env={**os.environ, "MAVEN_OPTS": "-XX:TieredStopAtLevel=1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_S_MAX,
            check=False,
        )
        if fetched.returncode:
            missing(f"Kafka could not be fetched: {fetched.stdout[-1000:]}")
        if not JARS.exists():
            made.rename(JARS)
    except OSError:
        if not JARS.exists():  # else another worker was first
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return JARS


class KafkaBroker(ServerProcess):
    """What both have in common: how a client finds them."""

    @property
    def address(self) -> str:
        """Host and port: the `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """How it is reached."""
        return f"kafka://{self.address}"

    @property
    def environment(self) -> dict[str, str]:
        """Java may be anywhere."""
        return super().environment | {"PATH": os.environ["PATH"]}

    def is_up(self) -> bool:
        """Whether it knows itself: its port listens some time before that."""
        return super().is_up() and _knows_itself(self.address)

    def start(self, wait_s: float = START_S_MAX) -> None:
        """Start it, and wait until it answers."""
        super().start(wait_s)


class Kafka(KafkaBroker):
    """Apache Kafka, one node, started. What it stored is there again after a restart."""

    def __init__(self, folder: Path, packages: Path) -> None:
        super().__init__(folder)
        self._settings = folder / "server.properties"
        self._settings.write_text(SETTINGS.format(port=self.port, controller=free_port(), folder=folder))
        self._java = [*JAVA, "-cp", f"{packages}/*", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        subprocess.run(
            [*self._java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(self._settings)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        try:
            self.start()
        except BaseException:
            self.kill()
            raise

    @property
    def words(self) -> list[str]:
        """The command line."""
        return [*self._java, "kafka.Kafka", str(self._settings)]


class MockKafka(KafkaBroker):
    """librdkafka's broker in a process of its own, in memory: killed or stopped, it has forgotten everything."""

    def __init__(self, folder: Path, *topics: str) -> None:
        _client()
        super().__init__(folder)
        self._topics = topics
        try:
            self.start()
        except BaseException:
            self.kill()
            raise

    @property
    def words(self) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "tests.servers.kafka_mock", str(self.port), *self._topics]

    @property
    def environment(self) -> dict[str, str]:
        """With the tests to be imported."""
        return super().environment | {"PYTHONPATH": str(Path(__file__).parents[2])}


def _knows_itself(address: str) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return bool(AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=1.0).brokers)
    except KafkaException:
        return False


def serving() -> Iterator[Kafka]:
    """Apache Kafka for as long as a fixture lives."""
    packages = jars()
    with temporary_folder("kafka") as folder:
        server = Kafka(folder, packages)
        try:
            yield server
        finally:
            server.kill()


def serving_mock(*topics: str) -> Iterator[MockKafka]:
    """librdkafka's broker for as long as a fixture lives."""
    with temporary_folder("kafka-mock") as folder:
        server = MockKafka(folder, *topics)
        try:
            yield server
        finally:
            server.kill()
