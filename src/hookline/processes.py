"""`hookline serve --processes N|auto`: several processes on one machine, over PostgreSQL.

    run    in the parent until all have ended: the exit code; in each child at once: its settings and its place

The parent only watches: it starts children, starts those that die again (waiting longer each time), passes SIGTERM and
SIGINT on, and waits for their drain. It has no loop and no thread, so it can fork.

Children share the listening sockets instead of binding each its own (SO_REUSEPORT): who is idle accepts first, who
stands still gets nothing, and what waits in line when one of them ends is taken by the others. With SO_REUSEPORT the
kernel deals connections by their addresses, also to one that is busy or stopped, and resets those that wait for one
that ends.

With `auto` there is at least one process, and further ones that only deliver come and go with demand (`core.scale`).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hookline.adapters.observers.logs import line
from hookline.children import LOOPBACK, SIGNALS, Child
from hookline.compose import EXIT_OK, EXIT_REFUSED, cannot_listen
from hookline.core.scale import Demand, Scale
from hookline.forms import processes_of
from hookline.place import Place
from hookline.settings import Settings, SettingsError
from hookline.web.server import bind

LOOK_EVERY_S: Final = 1.0
ANSWER_S_MAX: Final = 1.0
STOP_MORE_S: Final = 60.0
"""Beyond drain and grace: who has not ended then stands still, and is killed."""
KILLED: Final = 128
"""What a shell adds to the number of the signal that ended a process."""
_RUNNABLE: Final = "hookline_runnable_oldest_seconds"
_IN_FLIGHT: Final = "hookline_in_flight"
_SLOTS: Final = "hookline_slots"
_CPU: Final = "process_cpu_seconds_total"


def run(settings: Settings) -> tuple[Settings, Place] | int:
    """See above. Raises `SettingsError`."""
    if settings.processes.startswith("auto") and settings.role == "api":
        raise SettingsError("HOOKLINE_PROCESSES=auto follows deliveries: a role that makes none has a number")
    try:
        listeners = bind(settings.host, settings.port)
    except OSError as error:
        cannot_listen(settings, error)
        return EXIT_REFUSED
    with contextlib.ExitStack() as closing:
        for listener in listeners:
            closing.enter_context(listener)
        parent = Parent(settings, listeners)
        with _signals(parent.told) as wake:
            found = parent.run(wake)
        if isinstance(found, int):
            return found
        closing.pop_all()  # in a child: they are its own now
        return found


class Parent:
    """The children, and what they are told."""

    def __init__(self, settings: Settings, listeners: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._listeners = listeners
        least, most = processes_of(settings.processes, len(os.sched_getaffinity(0)))
        role = settings.role
        more = "worker" if most > least else role
        names = [(role if n < least else more) for n in range(most)]
        self._children = [
            Child(f"{name}-{names[:n].count(name) + 1}", name, shares=name == role) for n, name in enumerate(names)
        ]
        self._ports = {child.name: child.port for child in self._children}
        self._scale = Scale(least, most) if most > least else None
        self._wanted = least
        self._prefix = settings.instance or f"{socket.gethostname()[:64]}.{secrets.token_hex(4)}"
        self._text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
        self._served = False
        """Whether any of them ever took work: before that, what ends one ends all."""
        self._signal = 0
        self._kill_s: float | None = None
        """While stopping: who lives at this time is killed."""
        self._code = EXIT_OK
        self._cpu: dict[int, tuple[float, float]] = {}

    def told(self, number: int) -> None:
        """A signal came."""
        self._signal = number

    def run(self, wake: socket.socket) -> tuple[Settings, Place] | int:
        """Until all have ended, or, in a child, at once."""
        looked_s = time.monotonic()
        if (place := self._start(self._children[0])) is not None:
            return place
        while True:
            self._wait(wake)
            now_s = time.monotonic()
            for child in self._children:
                if (code := child.ended()) is not None:
                    self._ended(child, code, now_s)
            if self._signal:
                self._stop(now_s)
            if self._kill_s is not None:
                if not any(child.pid for child in self._children):
                    return self._code
                if now_s >= self._kill_s:
                    self._tell(signal.SIGKILL)
                continue
            for child in self._due(now_s):
                if (place := self._start(child)) is not None:
                    return place
            if self._scale is not None and self._served and now_s - looked_s >= LOOK_EVERY_S:
                looked_s = now_s
                self._look(self._scale, now_s)

    # ------------------------------------------------------------------------------------------ who is to live

    def _due(self, now_s: float) -> Iterator[Child]:
        """Those to start now. The others wait until the first serves: what stops it would stop all of them."""
        if not self._served:
            return
        for child in self._children[: self._wanted]:
            if not child.pid and (child.due_s is None or child.due_s <= now_s):
                yield child

    def _start(self, child: Child) -> tuple[Settings, Place] | None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            place = child.fork(self._listeners, self._children, self._ports, time.monotonic())
            if place is not None:
                _forget_signals()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if place is None:
            self._say("process_started", process=child.name, pid=child.pid)
            return None
        mine = replace(
            self._settings, role=child.role, processes="1", instance=f"{self._prefix}:{child.name}".replace("/", "_")
        )
        return mine, place

    def _ended(self, child: Child, code: int, now_s: float) -> None:
        """A child is gone."""
        if self._kill_s is not None:
            unborn = not child.serves and -code in SIGNALS  # our own signal came before it had anything to lose
            self._code = self._code or (EXIT_OK if unborn else _shell_code(code))
            self._say("process_ended", warns=bool(code) and not unborn, process=child.name, code=code)
        elif child.leaving:
            child.leaving = False
            self._say("process_ended", warns=bool(code), process=child.name, code=code)
        elif not self._served:
            self._code = _shell_code(code) or EXIT_REFUSED
            self._stop(now_s)
        else:
            wait_s = child.again(now_s, failed=code != EXIT_OK)
            self._say("process_ended", warns=True, process=child.name, code=code, again_in_s=round(wait_s, 1))

    def _stop(self, now_s: float) -> None:
        """Everybody ends. The sockets are the children's alone from now on: with the last of them they are gone."""
        number, self._signal = self._signal, 0
        for listener in self._listeners:
            listener.close()
        if self._kill_s is None:
            self._kill_s = now_s + self._settings.drain_s + self._settings.grace_s + STOP_MORE_S
        self._tell(number or signal.SIGTERM)

    def _tell(self, number: int) -> None:
        for child in self._children:
            child.tell(number)

    def _wait(self, wake: socket.socket) -> None:
        """Until something happens, or a moment."""
        channels = {child.channel: child for child in self._children if child.channel is not None}
        readable, _, _ = select.select([wake, *channels], [], [], LOOK_EVERY_S / 4)
        for found in readable:
            if found is wake:
                wake.recv(4096)
            else:
                channels[found].heard()
                self._served |= channels[found].serves

    # ------------------------------------------------------------------------------------------------- with demand

    def _look(self, scale: Scale, now_s: float) -> None:
        """Ask how things are, and have one more or one fewer. Whoever does not answer leaves all as it is."""
        here = [child for child in self._children[: self._wanted] if child.pid and child.serves]
        demand = self._demand(here) if len(here) == self._wanted else None
        if demand is None:
            return
        wanted = scale.wanted(self._wanted, demand, now_s)
        if wanted == self._wanted:
            return
        if wanted > self._wanted and self._children[wanted - 1].pid:
            return  # the one before at this place has not ended yet
        if wanted < self._wanted:
            leaving = self._children[self._wanted - 1]
            leaving.leaving = True
            leaving.tell(signal.SIGTERM)
        self._wanted = wanted
        self._say("processes", count=wanted, oldest_s=round(demand.oldest_s, 1), in_flight=demand.in_flight)

    def _demand(self, here: Sequence[Child]) -> Demand | None:
        oldest_s, in_flight, slots, cores = 0.0, 0, 0, 0.0
        for child in here:
            found = _metrics(child.port)
            if found is None or _RUNNABLE not in found:
                return None
            oldest_s = max(oldest_s, found[_RUNNABLE])
            in_flight += int(found.get(_IN_FLIGHT, 0))
            slots += int(found.get(_SLOTS, 0))
            cores += self._cores(child.pid, found.get(_CPU, 0.0))
        return Demand(oldest_s, in_flight, slots, cores)

    def _cores(self, pid: int, cpu_s: float) -> float:
        now_s = time.monotonic()
        before_s, at_s = self._cpu.get(pid, (cpu_s, now_s - LOOK_EVERY_S))
        living = {child.pid for child in self._children}
        self._cpu = {known: of for known, of in self._cpu.items() if known in living} | {pid: (cpu_s, now_s)}
        return (cpu_s - before_s) / max(now_s - at_s, 1e-3)

    def _say(self, name: str, *, warns: bool = False, **fields: object) -> None:
        if warns or self._settings.log_level in ("debug", "info"):
            level = "warning" if warns else "info"
            print(line(name, level, text=self._text, **fields), file=sys.stderr, flush=True)


def _metrics(port: int) -> Mapping[str, float] | None:
    """The samples without labels of a child's own page; None: it did not answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_S_MAX)
    try:
        connection.request("GET", "/metrics", headers={"accept": "text/plain", "connection": "close"})
        answer = connection.getresponse()
        rows = answer.read().decode().splitlines() if answer.status == 200 else []
        cells = [row.split(" ") for row in rows if not row.startswith("#")]
        return {cell[0]: float(cell[1]) for cell in cells if len(cell) == 2 and "{" not in cell[0]} or None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _shell_code(code: int) -> int:
    return KILLED - code if code < 0 else code


@contextlib.contextmanager
def _signals(told: Callable[[int], None]) -> Iterator[socket.socket]:
    """A socket that becomes readable when a signal comes; `told` is called with those that are to be passed on."""
    reading, writing = socket.socketpair()
    reading.settimeout(0.0)
    writing.settimeout(0.0)
    owner = os.getpid()
    with reading, writing:
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda number, _frame: told(number)) for number in SIGNALS}
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        try:
            yield reading
        finally:
            if os.getpid() == owner:  # a child has forgotten them already
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(before)


def _forget_signals() -> None:
    """In a child: as in a process that was just started."""
    signal.set_wakeup_fd(-1)
    for number in (*SIGNALS, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
