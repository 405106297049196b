"""The log: one line per fact on stderr, JSON or text. Never a secret, never a payload, never a wait.

A value is cut to 1 KiB and a line to 8 KiB; what is not printable is escaped, so that nothing from outside can
forge a line or move a terminal's cursor. Lines are written by a thread of their own from a bounded buffer: a
reader of stderr that has stopped reading costs lines (counted), not deliveries.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog

from hookline.core.endpoint import Endpoint

VALUE_BYTES_MAX: Final = 1024
LINE_BYTES_MAX: Final = 8 * 1024
LINES_BUFFERED_MAX: Final = 10_000
NAMES_MAX: Final = 1000
"""So many names of rate-limited lines are told apart."""
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SUCCESSES: Final = frozenset({"delivered", "unconfirmed"})
_SECRET_VALUE: Final = re.compile(r"\b(whsec_|whsk_|[Bb]earer |[Bb]asic )[A-Za-z0-9+/=_.~-]{4,}")
_SECRET_NAME: Final = re.compile(r"secret|password|token|authorization|credential|api_key", re.IGNORECASE)
_PLAIN_VALUE: Final = re.compile(r"[^\s\"=]+")


class LogObserver:
    """An `Observer` that writes lines. `close` it to write what is buffered.

    `form` is `auto` (text when `stream` is a terminal, else JSON), `json` or `text`.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        level: str = "info",
        form: str = "auto",
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.level = _LEVELS[level]
        self._debug = self.level <= logging.DEBUG
        self._now_s = now_s
        self._limits: dict[str, tuple[float, int]] = {}
        self._writer = _LineWriter(stream)
        text = form == "text" or (form == "auto" and stream.isatty())
        self._log = structlog.wrap_logger(
            self._writer,
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True, key="at"),
                _flat,
                _text_line if text else _json_line,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self.level),
            cache_logger_on_first_use=True,
        )

    def accepted(self, events: int, deliveries: int, duplicates: int) -> None:
        """Counted by the metrics, not logged."""

    def committed(self, kind: str, items: int, wait_s: float) -> None:
        """Counted by the metrics, not logged."""

    def refused(self, code: str) -> None:
        """One line a second per code."""
        self._limited("info", "publish_refused", f"publish_refused {code}", {"code": code})

    def attempted(self, endpoint: Endpoint, kind: str, reason: str | None, status: int | None, total_s: float) -> None:
        """Every attempt at level debug; above it failures only, one line a second."""
        if kind in _SUCCESSES and not self._debug:
            return
        fields = {
            "endpoint": endpoint.public_id,
            "outcome": kind,
            "reason": reason,
            "status": status,
            "duration_ms": round(total_s * 1000, 1),
        }
        if self._debug:
            self._log.debug("attempt", fields=fields)
        else:
            self._limited("info", "attempt_failed", "attempt_failed", fields)

    def closed(self, state: str, count: int) -> None:
        """Dead letters: one line a second."""
        if state == "failed":
            self._limited("warning", "deliveries_failed", "deliveries_failed", {"count": count})

    def received(self, source: str, outcome: str, count: int) -> None:
        """What waits for a person: one line a second per source. The rest is counted by the metrics."""
        if outcome == "quarantined":
            self._limited(
                "warning", "received_quarantined", f"quarantined {source}", {"source": source, "count": count}
            )

    def rejected(self, source: str, reason: str, **fields: object) -> None:
        """One line a second per source and reason."""
        told = {"source": source, "reason": reason, **fields}
        self._limited("info", "received_rejected", f"rejected {source} {reason}", told)

    def endpoint_changed(self, endpoint: Endpoint, what: str, detail: str) -> None:
        """A line each; `waiting`, which a receiver can ask for with every answer, one a second."""
        fields = {"endpoint": endpoint.public_id, "tenant": endpoint.tenant, "detail": detail}
        if what == "waiting":
            self._limited("info", "endpoint_waiting", "endpoint_waiting", fields)
        elif what in ("failing", "disabled"):
            self._log.warning(f"endpoint_{what}", fields=fields)
        else:
            self._log.info(f"endpoint_{what}", fields=fields)

    def fact(self, name: str, **fields: object) -> None:
        """A line."""
        self._log.info(name, fields=fields)

    def warn(self, name: str, **fields: object) -> None:
        """A line a second per name, with the number of those that were left out before it."""
        self._limited("warning", name, name, fields)

    def close(self, wait_s: float = 2.0) -> None:
        """Say what was left out, write what is buffered, waiting at most `wait_s`; later lines are lost."""
        for key, (_, suppressed) in self._limits.items():
            if suppressed:
                self._log.info("lines_left_out", fields={"name": key, "suppressed": suppressed})
        self._limits.clear()
        self._writer.close(wait_s)

    def _limited(self, level: str, name: str, key: str, fields: Mapping[str, object]) -> None:
        now_s = self._now_s()
        next_s, suppressed = self._limits.get(key, (0.0, 0))
        if now_s < next_s:
            self._limits[key] = (next_s, suppressed + 1)
            return
        if key not in self._limits and len(self._limits) >= NAMES_MAX:
            self._limits.clear()
        self._limits[key] = (now_s + 1.0, 0)
        if suppressed:
            fields = {**fields, "suppressed": suppressed}
        getattr(self._log, level)(name, fields=fields)


class StandardLogging(logging.Handler):
    """Takes the records of libraries (uvicorn, asyncio) into the same log: `logging.root.addHandler` it."""

    def __init__(self, observer: LogObserver) -> None:
        super().__init__(observer.level)
        self._observer = observer

    def emit(self, record: logging.LogRecord) -> None:
        """A warning or error is a `warn`, anything else a `fact`; never raises."""
        fields: dict[str, object] = {"logger": record.name}
        try:
            fields["message"] = record.getMessage()
        except (TypeError, ValueError):
            fields["message"] = str(record.msg)
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields["error"] = f"{type(error).__name__}: {error}"
            fields["where"] = _where(error)
        if record.levelno >= logging.WARNING:
            self._observer.warn(f"{record.name.partition('.')[0]}_{record.levelname.lower()}", **fields)
        else:
            self._observer.fact("library", **fields)


def _where(error: BaseException) -> str:
    """The last three places of a traceback: enough to find it, and no values."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " < ".join(places[:-4:-1])


# ------------------------------------------------------------------------------------------------------ lines


def clean(name: str, value: object) -> object:
    """A value fit for a line: masked where it may be a secret, printable, at most 1 KiB."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.search(name):
        return "***"
    if isinstance(value, BaseException):
        value = f"{type(value).__name__}: {value}"
    if isinstance(value, bytes | bytearray):
        value = bytes(value[: VALUE_BYTES_MAX + 1]).decode("utf-8", "backslashreplace")
    text = str(value)[: VALUE_BYTES_MAX + 1]
    text = _SECRET_VALUE.sub(r"\1***", text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    encoded = text.encode()
    if len(encoded) > VALUE_BYTES_MAX:
        text = encoded[: VALUE_BYTES_MAX - 3].decode("utf-8", "ignore") + "…"
    return text


def line(name: str, level: str, *, text: bool, **fields: object) -> str:
    """One line, for a process that has no thread to write it."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    members = _flat(None, "", {"at": at, "level": level, "event": name, "fields": fields})
    return _text_line(None, "", members) if text else _json_line(None, "", members)


def _flat(_: object, __: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Our own three members first, then the fact's fields, which cannot replace them."""
    line = {
        "at": event_dict["at"][:-4] + "Z",  # milliseconds
        "level": event_dict["level"],
        "fact": clean("", event_dict["event"]),
    }
    for name, value in event_dict["fields"].items():
        line[f"{name}_" if name in line else name] = clean(name, value)
    return line


def _json_line(_: object, __: str, line: MutableMapping[str, Any]) -> str:
    return _cut(line, lambda members: msgspec.json.encode(members).decode())


def _text_line(_: object, __: str, line: MutableMapping[str, Any]) -> str:
    return _cut(line, _text)


def _text(members: MutableMapping[str, Any]) -> str:
    at, level, fact, *fields = members.items()
    return " ".join((f"{at[1]} {level[1]:<7} {fact[1]}", *(f"{name}={_quoted(value)}" for name, value in fields)))


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if _PLAIN_VALUE.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


def _cut(line: MutableMapping[str, Any], render: Callable[[MutableMapping[str, Any]], str]) -> str:
    """The line, without as many of its last fields as make it fit into 8 KiB."""
    rendered = render(line)
    cut = 0
    while len(rendered.encode()) > LINE_BYTES_MAX:
        line.pop("cut", None)
        line.popitem()
        cut += 1
        line["cut"] = cut
        rendered = render(line)
    return rendered


class _LineWriter:
    """Writes lines in a thread. Called by structlog as a logger: every level's method is `_add`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._wake = threading.Event()
        self._ending = False
        self.debug = self.info = self.warning = self.error = self._add
        self._thread = threading.Thread(target=self._run, name="hookline-log", daemon=True)
        self._thread.start()

    def _add(self, line: str) -> None:
        if self._ending or len(self._lines) >= LINES_BUFFERED_MAX:
            self._dropped += 1
            return
        self._lines.append(line)
        self._wake.set()

    def close(self, wait_s: float) -> None:
        self._ending = True
        self._wake.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            ending = self._ending
            self._write()
            if ending:
                return

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        dropped, self._dropped = self._dropped, 0
        try:
            self._stream.write("\n".join(lines) + "\n")
            if dropped:
                self._stream.write(f'{{"level": "warning", "fact": "log_lines_dropped", "count": {dropped}}}\n')
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads stderr any more: there is nobody to tell.
            self._dropped = 0
