"""Simulated providers against the real program: sources with the configuration that was written, events, refusals."""

from __future__ import annotations

import json
import time

import httpx2
import pytest
from tests.core.simulate.simulating import SAMPLES, known, private_key

from hookline.cli.http_exchange import Exchange
from hookline.cli.simulate_sending import Expected
from hookline.core.simulate.catalogue import NAMES
from hookline.core.simulate.changes import UNCHANGED, Changes
from hookline.core.simulate.dice import Dice
from hookline.core.simulate.simulation import Setting, prepared, request

ELSEWHERE = ("SubscriptionConfirmation",)
"""What the receiver asks of Amazon itself, who knows nothing of it."""
TAKEN = Expected.of(None, refused=False)


def source_of(server, name: str, event_type: str) -> tuple[Setting, str]:
    """A source made over the API for a simulated provider, and its address."""
    provider, sample = known(name, event_type)
    place = f"simulated-{name}-{sample.config.get('mode') or sample.key or 'x'}".replace("_", "-")
    url = f"{server.url}/in/{place}"
    setting = prepared(name, event_type, {}, Dice(place), url, private_key(sample.key or provider.key))
    answer = httpx2.post(
        f"{server.url}/v1/sources",
        json={"name": place, "verifier": name, "config": setting.receiver},
        headers={"authorization": f"Bearer {server.key}"},
        trust_env=False,
    )
    assert answer.status_code in (201, 409), answer.text
    return setting, url


@pytest.mark.parametrize("name", NAMES)
def test_the_server_takes_every_simulated_request_and_no_forged_one(shared_server, name):
    """Each sample is answered as its provider wants it; tampered with, it is refused."""
    for event_type in [event_type for provider, event_type in SAMPLES if provider == name]:
        setting, url = source_of(shared_server, name, event_type)
        exchange = Exchange(url, 20, None)
        for changes in (UNCHANGED, Changes(tampered=True)):
            if event_type in ELSEWHERE or (changes.tampered and not setting.sample.proven):
                continue
            sent = request(setting, time.time(), Dice(f"{name} {event_type}"), url, changes)
            answered = exchange.send(sent.method, sent.url, sent.headers, sent.body)
            if changes.tampered:
                assert answered.status in (400, 401, 403), (event_type, answered)
            else:
                assert TAKEN.fault(sent, answered) == "", (event_type, answered)
        exchange.close()


def test_from_the_written_configuration_to_the_event(cli, server, tmp_path):
    """In words alone: a source of what was written, a payment sent twice, one event of it, and what was refused."""
    config, key = tmp_path / "paypal.json", tmp_path / "paypal.pem"
    line = ["simulate", "paypal", "PAYMENT.CAPTURE.COMPLETED", "--key", str(key)]
    assert cli(*line, "--write-config", str(config)).code == 0
    made = cli("sources", "create", "pay", "--verifier", "paypal", "--config", str(config), "--json")
    assert made.code == 0, made.err
    to = ["--config", str(config), "--to", f"{server.url}/in/pay"]
    assert cli(*line, *to, "--duplicate").code == 0
    assert cli(*line, *to, "--tampered", "--expect", "401").code == 0
    rows = cli("events", "ls", "--source", "/in/pay", "--json").json["data"]
    assert [row["type"] for row in rows] == ["PAYMENT.CAPTURE.COMPLETED"]
    end_s = time.monotonic() + 10
    while not (refused := cli("sources", "rejections", "pay", "--json").json["data"]):  # written within a second
        assert time.monotonic() < end_s
    assert [row["reason"] for row in refused] == ["wrong_signature"]
    sent = cli("simulate", "stripe", "charge.refunded", "--config", str(config), *to[2:], "--json")
    assert json.loads(sent.out)["status"] == 401
