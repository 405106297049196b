"""A stop that load balancers can follow."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.acceptance.program import running, until
from tests.acceptance.receiver import Receiver


@pytest.mark.rule(n=18)
def test_rule_18_not_ready_but_still_accepting(tmp_path: Path, receiver: Receiver):
    """After SIGTERM it is not ready and still accepts for HOOKLINE_DRAIN_S; it ends with 0, and what it took then is
    delivered, by it or by the next."""
    with running(tmp_path, drain_s="3") as program:
        url = receiver.url()
        program.endpoint(url)
        os.kill(program.pid, signal.SIGTERM)
        answer = until(lambda: (found := program.client.get("/readyz")).status_code == 503 and found)
        assert "draining" in answer.text
        made = program.publish("late", 1)
        assert program.end() == 0, program.log()
        program.start()
        program.delivered(made["id"])
        assert [hit.id for hit in receiver.hits(url)] == [made["id"]]
