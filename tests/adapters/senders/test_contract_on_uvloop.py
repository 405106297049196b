"""The promise of every sender once more, on the program's own event loop and with its real clock."""

from __future__ import annotations

from tests.contract.test_http_sender import *  # noqa: F403  the suite is the tests of this module
