"""What every store promises: SQLite now, PostgreSQL later, yours if you write one.

An adapter's test module defines three fixtures and imports the suites:

    from hookline.testing.store_contract import *

    @pytest.fixture
    def clock() -> ToldClock: ...        # the time that the store runs on

    @pytest.fixture
    async def store(clock) -> Store: ... # started, empty, and stopped afterwards

    @pytest.fixture
    def reopen(store, clock) -> Reopen:  # an async function: kill the process, start the next one
        ...

`reopen` drops the store as SIGKILL would (no `stop`, nothing flushed; one that was stopped already is fine), returns
a new, started one on the same data, works several times in a test, and stops the last one after it. The suites are
derived from `hookline.ports.store` and docs/reliability.md, not from any adapter: where an adapter and a suite differ,
the port decides. Stores whose clock is the server's leave out `TestClock`.

`pytest.register_assert_rewrite("hookline.testing")` in the conftest makes failures tell what they compared.
"""

from hookline.testing.store_contract.accept import TestAccept, TestOneBadItem, TestStaleRegistry
from hookline.testing.store_contract.access import TestKeys, TestTenants
from hookline.testing.store_contract.archive import TestDeliveries, TestEvents, TestRunnable
from hookline.testing.store_contract.books import TestBooks, TestCounts
from hookline.testing.store_contract.case import Reopen
from hookline.testing.store_contract.claim import TestCap, TestClaim, TestClaimIds, TestDue
from hookline.testing.store_contract.confirm import TestConfirm, TestUnconfirmed, TestUnconfirmedInLane
from hookline.testing.store_contract.confirmed import TestSuccessIsKept
from hookline.testing.store_contract.dedupe import TestDedupe, TestIdempotency
from hookline.testing.store_contract.erase import TestErase
from hookline.testing.store_contract.fanout import TestFanout
from hookline.testing.store_contract.fences import TestFence, TestRelease
from hookline.testing.store_contract.held import TestHeld
from hookline.testing.store_contract.instances import TestClock, TestLost
from hookline.testing.store_contract.lane_walk import TestConcurrentLanes, TestLaneModel
from hookline.testing.store_contract.lanes import TestFailedHead, TestHandOffInLanes, TestLane, TestReopenedInLane
from hookline.testing.store_contract.pace import TestHealth, TestProbe, TestRate, TestRetryAfter
from hookline.testing.store_contract.record import TestRecord, TestRecordMakesEvents
from hookline.testing.store_contract.registry import TestChanges, TestEndpoints, TestEventTypes
from hookline.testing.store_contract.replays import TestOldestFirst, TestReplayJobs, TestReplaySteps
from hookline.testing.store_contract.retention import TestExpired, TestPurge
from hookline.testing.store_contract.retention_walk import TestRetentionWalk
from hookline.testing.store_contract.sources import TestQuarantine, TestRejections, TestReleaseQuarantined, TestSources
from hookline.testing.store_contract.stream import TestStream, TestStreamChanges
from hookline.testing.store_contract.upkeep import TestCleaning, TestDiscard, TestReopen, TestReplay

__all__ = [
    "Reopen",
    "TestAccept",
    "TestBooks",
    "TestCap",
    "TestChanges",
    "TestClaim",
    "TestClaimIds",
    "TestCleaning",
    "TestClock",
    "TestConcurrentLanes",
    "TestConfirm",
    "TestCounts",
    "TestDedupe",
    "TestDeliveries",
    "TestDiscard",
    "TestDue",
    "TestEndpoints",
    "TestErase",
    "TestEventTypes",
    "TestEvents",
    "TestExpired",
    "TestFailedHead",
    "TestFanout",
    "TestFence",
    "TestHandOffInLanes",
    "TestHealth",
    "TestHeld",
    "TestIdempotency",
    "TestKeys",
    "TestLane",
    "TestLaneModel",
    "TestLost",
    "TestOldestFirst",
    "TestOneBadItem",
    "TestProbe",
    "TestPurge",
    "TestQuarantine",
    "TestRate",
    "TestRecord",
    "TestRecordMakesEvents",
    "TestRejections",
    "TestRelease",
    "TestReleaseQuarantined",
    "TestReopen",
    "TestReopenedInLane",
    "TestReplay",
    "TestReplayJobs",
    "TestReplaySteps",
    "TestRetentionWalk",
    "TestRetryAfter",
    "TestRunnable",
    "TestSources",
    "TestStaleRegistry",
    "TestStream",
    "TestStreamChanges",
    "TestSuccessIsKept",
    "TestTenants",
    "TestUnconfirmed",
    "TestUnconfirmedInLane",
]
