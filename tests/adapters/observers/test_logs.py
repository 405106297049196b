"""What a log line may hold, how it looks, and that writing it costs the loop nothing."""

import io
import json
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.adapters.observers.logs import (
    LINE_BYTES_MAX,
    LINES_BUFFERED_MAX,
    VALUE_BYTES_MAX,
    LogObserver,
    StandardLogging,
    clean,
)
from hookline.core.endpoint import Endpoint
from hookline.ports.observer import Observer

A_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Hours:
    """A monotonic clock that is told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """What was written, as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def written(*, level: str = "info", form: str = "json", **fields: object) -> str:
    """One fact, as it is written."""
    stream = io.StringIO()
    observer = LogObserver(stream, level=level, form=form)
    observer.fact("it_happened", **fields)
    observer.close()
    return stream.getvalue()


def test_it_is_an_observer() -> None:
    """The log fits the port."""
    observer: Observer = LogObserver(io.StringIO())
    assert isinstance(observer, LogObserver)
    observer.close()


def test_a_fact_is_one_json_line() -> None:
    """A stream that is no terminal gets JSON: time, level, name, then the fields in order."""
    (line,) = lines(io.StringIO(written(form="auto", port=8400, title="a b", missing=None, ok=True)))
    assert list(line) == ["at", "level", "fact", "port", "title", "missing", "ok"]
    assert (line["level"], line["fact"], line["port"], line["title"]) == ("info", "it_happened", 8400, "a b")
    assert str(line["at"])[10] == "T"
    assert len(str(line["at"])) == len("2026-01-01T00:00:00.000Z")


def test_a_terminal_gets_text() -> None:
    """On a terminal a line is words, and values with spaces or quotes are quoted."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    observer = LogObserver(stream)
    observer.fact("it_happened", port=8400, title='a "b" c', url="http://x/?a=1", missing=None)
    observer.close()
    assert stream.getvalue()[24:] == (
        ' info    it_happened port=8400 title="a \\"b\\" c" url="http://x/?a=1" missing=null\n'
    )


@pytest.mark.parametrize("form", ["json", "text"])
@given(value=st.text() | st.binary() | st.text(alphabet="\n\r\t\x00\x1b\x7f\x85\u2028\u202e\ud800"))
def test_no_value_can_forge_a_line(form: str, value: str | bytes) -> None:
    """Whatever a value holds, the line is one line of printable characters."""
    text = written(form=form, value=value)
    assert text.endswith("\n")
    assert text[:-1].isprintable()


@given(st.text(min_size=VALUE_BYTES_MAX) | st.integers(1, 9).map(lambda n: "ä" * n * VALUE_BYTES_MAX))
def test_a_value_is_cut(value: str) -> None:
    """A value is at most 1 KiB of UTF-8."""
    result = clean("detail", value)
    assert isinstance(result, str)
    assert len(result.encode()) <= VALUE_BYTES_MAX


def test_a_line_is_cut_and_says_so() -> None:
    """A line is at most 8 KiB, still JSON, and tells how many fields it left out."""
    text = written(**{f"field{number}": "x" * 2000 for number in range(20)})
    assert len(text.encode()) <= LINE_BYTES_MAX + 1
    line = json.loads(text)
    assert line["cut"] == 20 - (len(line) - 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("detail", f"sent with {A_SECRET}"),
        ("detail", "Authorization: Bearer abcdef123456"),
        ("detail", "basic dXNlcjpwYXNz"),
        ("signing_secret", "anything"),
        ("password", "hunter2hunter2"),
        ("error", ValueError(A_SECRET)),
        ("raw", A_SECRET.encode()),
    ],
)
def test_no_secret_is_written(name: str, value: object) -> None:
    """What looks like a secret, by name or by form, is masked."""
    text = written(**{name: value})
    assert "***" in text
    for secret in (A_SECRET[6:], "abcdef123456", "dXNlcjpwYXNz", "anything", "hunter2"):
        assert secret not in text


def test_fields_cannot_replace_what_is_ours() -> None:
    """A field called like a member of ours is written beside it."""
    (line,) = lines(io.StringIO(written(level_="x", fact="y", at="z", event="evt_1")))
    assert (line["fact"], line["fact_"], line["at_"], line["event"]) == ("it_happened", "y", "z", "evt_1")


def test_one_warning_a_second_per_name() -> None:
    """The second line of a name within a second is counted, and the next one says how many were left out."""
    stream, clock = io.StringIO(), Hours()
    observer = LogObserver(stream, form="json", now_s=clock)
    for number in range(5):
        observer.warn("disk_full", number=number)
    observer.warn("other")
    clock.now_s += 1.0
    observer.warn("disk_full", number=5)
    observer.warn("disk_full", number=6)
    observer.close()
    assert [(line["fact"], line.get("number"), line.get("suppressed")) for line in lines(stream)] == [
        ("disk_full", 0, None),
        ("other", None, None),
        ("disk_full", 5, 4),
        ("lines_left_out", None, 1),
    ]


def test_a_flood_of_names_is_bounded() -> None:
    """Ten thousand different names do not grow the memory of the limiter without end."""
    observer = LogObserver(io.StringIO(), level="error")
    for number in range(10_000):
        observer.warn(f"name{number}")
    assert len(observer._limits) <= 1000
    observer.close()


def test_the_level_holds(endpoint: Endpoint) -> None:
    """Below the level nothing is written."""
    stream = io.StringIO()
    observer = LogObserver(stream, level="error", form="json")
    observer.fact("a")
    observer.warn("b")
    observer.endpoint_changed(endpoint, "failing", "")
    observer.close()
    assert stream.getvalue() == ""


def test_what_concerns_endpoints(endpoint: Endpoint) -> None:
    """Failing and disabled are warnings, recovered is not, and failures of attempts are one line a second."""
    stream = io.StringIO()
    observer = LogObserver(stream, form="json", now_s=Hours())
    observer.endpoint_changed(endpoint, "failing", "10 failures")
    observer.endpoint_changed(endpoint, "recovered", "")
    observer.endpoint_changed(endpoint, "waiting", "Retry-After")
    observer.endpoint_changed(endpoint, "waiting", "Retry-After")
    observer.attempted(endpoint, "delivered", None, 200, 0.1)
    observer.attempted(endpoint, "unconfirmed", None, 200, 0.1)
    observer.attempted(endpoint, "retry", "timeout", None, 15.0)
    observer.attempted(endpoint, "retry", "timeout", None, 15.0)
    observer.closed("delivered", 5)
    observer.closed("failed", 2)
    observer.refused("invalid_event")
    observer.accepted(1, 1, 0)
    observer.committed("accept", 1, 0.0)
    observer.close()
    assert [(line["level"], line["fact"]) for line in lines(stream)][:6] == [
        ("warning", "endpoint_failing"),
        ("info", "endpoint_recovered"),
        ("info", "endpoint_waiting"),
        ("info", "attempt_failed"),
        ("warning", "deliveries_failed"),
        ("info", "publish_refused"),
    ]
    assert lines(stream)[3]["reason"] == "timeout"
    assert lines(stream)[3]["duration_ms"] == 15000.0


def test_debug_writes_every_attempt(endpoint: Endpoint) -> None:
    """At level debug each attempt is a line, also the good ones."""
    stream = io.StringIO()
    observer = LogObserver(stream, level="debug", form="json")
    for _ in range(3):
        observer.attempted(endpoint, "delivered", None, 200, 0.1)
    observer.close()
    assert len(lines(stream)) == 3


def test_a_reader_who_stops_costs_lines_and_no_waiting() -> None:
    """While nobody reads, lines beyond the buffer are dropped and counted, and the caller never waits."""
    gate = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            gate.wait()
            return super().write(text)

    stream = Stuck()
    observer = LogObserver(stream, form="json")
    for number in range(2 * LINES_BUFFERED_MAX + 500):  # as many are in the buffer as the writer took before it stuck
        observer.fact("line", number=number)
    gate.set()
    observer.fact("last")
    observer.close()
    written_lines = lines(stream)
    dropped = sum(int(str(line["count"])) for line in written_lines if line["fact"] == "log_lines_dropped")
    assert dropped > 0
    assert sum(line["fact"] in ("line", "last") for line in written_lines) + dropped == 2 * LINES_BUFFERED_MAX + 501


def test_a_closed_stream_is_survived() -> None:
    """When stderr is gone, logging does nothing and raises nothing."""
    stream = io.StringIO()
    observer = LogObserver(stream)
    stream.close()
    observer.fact("nobody_reads_this")
    observer.close()
    observer.fact("too_late")


def test_libraries_log_into_the_same_lines() -> None:
    """A library's record keeps its level, its error and where it was, and has no traceback over several lines."""
    stream = io.StringIO()
    observer = LogObserver(stream, form="json", now_s=Hours())
    logger = logging.getLogger("uvicorn.error.of_this_test")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(StandardLogging(observer))
    logger.info("Started %s", "it")
    try:
        _boom()
    except RuntimeError:
        logger.exception("It broke")
    logger.error("%d", "no number")
    observer.close()
    info, error, _ = lines(stream)
    assert (info["fact"], info["message"], info["logger"]) == ("library", "Started it", "uvicorn.error.of_this_test")
    assert (error["fact"], error["level"], error["error"]) == ("uvicorn_error", "warning", "RuntimeError: boom\\nboom")
    assert "test_logs.py" in str(error["where"])


def _boom() -> None:
    raise RuntimeError("boom\nboom")
