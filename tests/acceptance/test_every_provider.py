"""Every provider that can be simulated, against the real program: what the verifier says offline is what happens."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.acceptance.program import Program
from tests.core.simulate.simulating import SAMPLES, private_key

from hookline.core.simulate.catalogue import provider_of, sample_of
from hookline.core.simulate.changes import UNCHANGED, Changes
from hookline.core.simulate.dice import Dice
from hookline.core.simulate.draft import SimulationError
from hookline.core.simulate.simulation import Setting, Simulated, prepared, request
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Handshake, Refused

NOT_ASKED = {("aws_sns", "SubscriptionConfirmation"), ("aws_sns", "UnsubscribeConfirmation")}
"""Answering these would fetch an address of Amazon's."""
FORGERIES = {"tampered": Changes(tampered=True), "stale": Changes(stale=True), "malformed": Changes(malformed=True)}


@pytest.fixture(scope="module")
def host(program: Program) -> Iterator[http.client.HTTPConnection]:
    """A connection of our own: headers go out as they are."""
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=30)
    yield connection
    connection.close()


def send(connection: http.client.HTTPConnection, sent: Simulated) -> tuple[int, bytes]:
    """Send a request as it is; the answer."""
    _, _, target = sent.inbound.url.partition("://")
    connection.putrequest(sent.inbound.method, target[target.index("/") :], skip_host=True, skip_accept_encoding=True)
    names = {name.lower() for name, _ in sent.headers}
    if "host" not in names:
        connection.putheader("Host", f"{connection.host}:{connection.port}")
    for name, value in sent.headers:
        connection.putheader(name, value)
    if "content-length" not in names:
        connection.putheader("Content-Length", str(len(sent.inbound.body)))
    connection.endheaders(sent.inbound.body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def made(program: Program, name: str, event_type: str, number: int) -> tuple[Setting, str]:
    """A source of this provider, and what its requests are signed with; the source's address."""
    url = f"http://127.0.0.1:{program.port}/in/{name.replace('_', '-')}-{number}"
    provider = provider_of(name)
    kind = sample_of(provider, event_type).key or provider.key
    setting = prepared(name, event_type, {}, Dice(f"{name} {event_type}"), url, private_key(kind))
    body: dict[str, Any] = {"name": url.rpartition("/")[2], "verifier": name, "config": setting.receiver}
    program.post("/v1/sources", body, status=201)
    return setting, url


@pytest.mark.parametrize(
    ("name", "event_type", "number"),
    [(name, event_type, number) for number, (name, event_type) in enumerate(SAMPLES)],
    ids=[f"{name}-{event_type}" for name, event_type in SAMPLES],
)
def test_outside_is_as_offline(
    program: Program, host: http.client.HTTPConnection, name: str, event_type: str, number: int
) -> None:
    """A valid request is answered with success, and is an event unless it is a question; one that the verifier refuses
    is refused with its status, and leaves no event."""
    if (name, event_type) in NOT_ASKED:
        pytest.skip("it would fetch an address of Amazon's")
    setting, url = made(program, name, event_type, number)
    source = url.rpartition("/")[2]
    accepted = 0
    for what, changes in {"valid": UNCHANGED, **FORGERIES}.items():
        now_s = time.time()
        try:
            sent = request(setting, now_s, Dice(f"{number} {what}"), url, changes)
        except SimulationError:  # it signs no time, or has no body to break
            assert what != "valid"
            continue
        verdict = judge(preset(name), sent.inbound, setting.receiver, now_s)
        status, body = send(host, sent)
        if isinstance(verdict, Refused):
            assert status == verdict.status, (what, verdict, status, body)
            assert what != "valid"
        elif isinstance(verdict, Handshake):
            assert (status, body) == (verdict.status, verdict.body), (what, verdict)
        elif what == "malformed" and status == 400:
            pass  # signed, and what it says cannot be read
        else:
            assert 200 <= status < 300, (what, verdict, status, body)
            accepted += 1
    events = program.rows("/v1/events", source=f"/in/{source}")
    if accepted:
        assert events
        assert {event["inbound"]["source"] for event in events} == {source}
    else:
        assert events == []
