"""Imports: the arrows point down. `make check` asks import-linter; this asks the syntax trees, and needs nothing."""

from __future__ import annotations

import sys

import pytest
from tests.arch.tree import SOURCE, imports, module_name, python_files

CORE_MAY = frozenset({"hookline.core", "msgspec", "cryptography", "defusedxml", "jsonschema_rs", "idna"})
CORE_NEVER = frozenset(
    {"asyncio", "time", "random", "socket", "os", "logging", "secrets", "threading", "multiprocessing", "subprocess"}
    | {"sqlite3", "ssl", "select", "pathlib", "io", "tempfile", "shutil", "signal", "uuid", "http", "urllib", "email"}
    | {"uvicorn", "fastapi", "starlette", "structlog", "prometheus_client", "httptools", "uvloop", "httpx2", "rich"}
    | {"typer", "pydantic"}
)
CORE_MAY_TOO = "urllib.parse"  # of a package that also does I/O, the part that reads text
LAYERS = (
    "core",
    "ports",
    "flow",
    "adapters|web|testing|sdk",
    "caches|queues",
    "databases|destinations|brokers|gauges",
    "compose",
    "processes",
    "cli",
    "__main__",
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split("|")}
SIBLINGS = ("stores", "caches", "queues", "senders", "keys", "observers", "consumers")
DRIVERS = {
    "sqlite3": "hookline.adapters.stores.sqlite",
    "prometheus_client": "hookline.adapters.observers",
    "redis": (
        "hookline.adapters.caches.redis",
        "hookline.adapters.queues.redis",
        "hookline.adapters.senders.redis",
        "hookline.adapters.consumers.redis",
    ),
    "emcache": "hookline.adapters.caches.memcached",
    "nats": ("hookline.adapters.queues.nats", "hookline.adapters.senders.nats", "hookline.adapters.consumers.nats"),
    "aio_pika": ("hookline.adapters.queues.rabbitmq", "hookline.adapters.senders.rabbitmq"),
    "aiormq": (
        "hookline.adapters.queues.rabbitmq",
        "hookline.adapters.senders.rabbitmq",
        "hookline.adapters.consumers.rabbitmq",
    ),
    "pamqp": ("hookline.adapters.queues.rabbitmq", "hookline.adapters.senders.rabbitmq"),
    "confluent_kafka": (
        "hookline.adapters.queues.kafka",
        "hookline.adapters.senders.kafka",
        "hookline.adapters.consumers.kafka",
    ),
    "aiomqtt": "hookline.adapters.senders.mqtt",
    "paho": ("hookline.adapters.senders.mqtt", "hookline.adapters.consumers.mqtt"),
    "asyncpg": ("hookline.adapters.stores.postgres", "hookline.adapters.queues.postgres", "hookline.databases"),
}


def part(module: str) -> str:
    """The folder or file of ours that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def ours() -> dict[str, set[str]]:
    """Every module of ours, with what it imports."""
    return {module_name(path): imports(path) for path in python_files("src/hookline")}


def test_the_core_imports_nothing_that_does_something():
    """A core module imports pure parts of the standard library, five pure packages and other core modules only."""
    wrong = {}
    for path in python_files("src/hookline/core"):
        for name in imports(path):
            root = name.split(".")[0]
            allowed = any(name == known or name.startswith(known + ".") for known in CORE_MAY)
            pure = root in sys.stdlib_module_names and (root not in CORE_NEVER or name.startswith(CORE_MAY_TOO))
            if not allowed and not pure and name != "hookline":
                wrong.setdefault(module_name(path), []).append(name)
    assert wrong == {}


def test_layers_point_down():
    """No module imports from a layer above its own, nor from a neighbour in its layer."""
    wrong = []
    for module, imported in ours().items():
        level = LEVEL.get(part(module))
        if level is None:
            continue
        for name in imported:
            other = part(name) if name.startswith("hookline.") else ""
            if other in LEVEL and (LEVEL[other] > level or (LEVEL[other] == level and other != part(module))):
                wrong.append((module, name))
    assert wrong == []


def test_settings_are_read_by_compose_and_the_command_line_only():
    """Everything below gets plain values."""
    readers = {module for module, imported in ours().items() if "hookline.settings" in imported}
    assert {
        reader
        for reader in readers
        if part(reader) not in ("compose", "caches", "databases", "queues", "processes", "cli", "settings", "key_files")
    } == set()


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_a_driver_is_imported_by_its_own_adapter_only(driver):
    """Nobody else knows which database or metrics library is there; the kit works on an application's own."""
    users = {module for module, imported in ours().items() if any(name.split(".")[0] == driver for name in imported)}
    assert users
    own = DRIVERS[driver]
    allowed = (own, "hookline.sdk.") if isinstance(own, str) else (*own, "hookline.sdk.")
    assert {user for user in users if not user.startswith(allowed)} == set()


def test_adapters_of_different_ports_do_not_know_each_other():
    """A store knows no sender, a queue knows no store."""
    wrong = []
    for module, imported in ours().items():
        own = module.split(".")[2] if module.startswith("hookline.adapters.") else ""
        for name in imported:
            other = name.split(".")[2] if name.startswith("hookline.adapters.") else ""
            if own in SIBLINGS and other in SIBLINGS and own != other:
                wrong.append((module, name))
    assert wrong == []


def test_imports_have_no_cycle():
    """No module imports itself by way of others."""
    modules = ours()
    graph = {module: {name for name in imported if name in modules} for module, imported in modules.items()}
    done: set[str] = set()
    on_the_way: list[str] = []

    def visit(module: str) -> list[str]:
        if module in on_the_way:
            return [*on_the_way[on_the_way.index(module) :], module]
        if module in done:
            return []
        on_the_way.append(module)
        for other in sorted(graph[module]):
            # A package is imported before its modules, whatever they import.
            cycle = [] if module.startswith(other + ".") else visit(other)
            if cycle:
                return cycle
        on_the_way.pop()
        done.add(module)
        return []

    assert [cycle for cycle in map(visit, sorted(graph)) if cycle] == []


def test_the_tests_of_the_core_use_no_doubles_and_no_sleep():
    """What is pure is tested by tables and properties, without mocks and without waiting."""
    wrong = {}
    for path in python_files("tests/core"):
        used = {name for name in imports(path) if name.split(".")[0] in ("time", "asyncio") or "mock" in name}
        if used:
            wrong[path.name] = used
    assert wrong == {}


def test_the_source_tree_is_what_is_tested():
    """The package that the tests import is the one in this checkout."""
    import hookline

    assert hookline.__file__ is not None
    assert SOURCE.samefile(hookline.__path__[0])
