"""`make servers`: every server that the tests know, running until Ctrl-C, for a person to play with.

What they are reached by is printed as settings. `SERVERS="postgresql valkey"` starts only those. One that is not here
is named with the reason; nothing is installed.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import os
import secrets
import signal
import sys
import threading

import pytest

SERVERS = {
    "postgresql": ("postgres", "HOOKLINE_DB"),
    "valkey": ("valkey", "HOOKLINE_QUEUE"),
    "nats": ("nats", "HOOKLINE_QUEUE"),
    "rabbitmq": ("rabbitmq", "HOOKLINE_QUEUE"),
    "kafka": ("kafka", "HOOKLINE_QUEUE"),
    "memcached": ("memcached", "HOOKLINE_CACHE"),
    "mosquitto": ("mosquitto", "mqtt"),
}
"""Name → module of `tests.servers`, and the setting (or the kind of endpoint and source) that it is for."""


def start(name: str, stack: contextlib.ExitStack) -> tuple[str, str]:
    """Start one; the setting and its value. Raises what a test would be skipped by."""
    module, setting = SERVERS[name]
    serving = importlib.import_module(f"tests.servers.{module}").serving
    server = stack.enter_context(contextlib.contextmanager(serving)())
    if setting == "HOOKLINE_DB":
        return setting, server.create("hookline")
    return setting, server.url() if callable(server.url) else server.url


def chosen() -> list[str]:
    """What is wanted."""
    names = os.environ.get("SERVERS", "").split() or list(SERVERS)
    unknown = [name for name in names if name not in SERVERS]
    if unknown:
        sys.exit(f"servers: {' '.join(unknown)}: there is none of that name; there are {' '.join(SERVERS)}")
    return names


def main() -> None:
    """Start, print, wait, end."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    taken: set[str] = set()
    with contextlib.ExitStack() as stack:
        for name in chosen():
            try:
                setting, address = start(name, stack)
            except (pytest.skip.Exception, pytest.fail.Exception) as missing:
                print(f"# {name}: {missing.msg}", flush=True)
                continue
            except Exception as error:  # whatever one of them has, the others are still worth something
                print(f"# {name}: it did not start: {error!s:.500}", flush=True)
                continue
            if ended.is_set():
                break
            one_more = "# or " if setting in taken else "" if setting.startswith("HOOKLINE_") else "# "
            taken.add(setting)
            print(f"{one_more}{setting}={address}", flush=True)
            if setting == "HOOKLINE_DB":
                print("HOOKLINE_MIGRATE=auto")
                print(f"HOOKLINE_SECRET_KEY={base64.b64encode(secrets.token_bytes(32)).decode()}")
                print(f"HOOKLINE_KEY=hl_{secrets.token_hex(12)}", flush=True)
        print("# running until Ctrl-C; they keep nothing", flush=True)
        ended.wait()
        print("# ending", flush=True)


if __name__ == "__main__":
    main()
