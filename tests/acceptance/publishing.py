"""Publishers outside the program, several at a time, that write down what they were answered."""

from __future__ import annotations

import threading
import time
from typing import Any, Self

import httpx2
from tests.acceptance.program import KEY, Program


class Publishing:
    """Publishes from outside, several at a time, and writes down what was answered."""

    def __init__(self, program: Program, threads: int = 4) -> None:
        self.accepted: list[str] = []
        self.refused: list[Any] = []
        self.other: list[Any] = []
        self._program = program
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=self._program.url, headers=headers, timeout=40, trust_env=False) as client:
            while not self._stop.is_set():
                answer = client.post("/v1/events", json={"type": "load", "data": 1})
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["id"])
                elif answer.status_code == 503:
                    self.refused.append(answer.headers.get("retry-after"))
                    time.sleep(0.05)
                else:
                    self.other.append((answer.status_code, answer.text))
                time.sleep(0.005)
