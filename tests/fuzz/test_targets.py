"""Every target with its seeds, and with changes of them: what `make fuzz` does for long, here for a moment."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fuzz.seeds import seeds, words
from tests.fuzz.targets import TARGETS

EXAMPLES = 150
CHANGED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name):
    """Every seed is taken or refused as it must be."""
    check = TARGETS[name].check()
    assert len(seeds(name)) >= 8
    for seed in seeds(name):
        check(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds(name):
    """Changes of the seeds are taken or refused as they must be."""
    target = TARGETS[name]
    check, inputs = target.check(), st.sampled_from(seeds(name))

    @CHANGED
    @given(st.randoms(use_true_random=False), inputs, inputs, st.integers(1, 3))
    def changed(dice, data, other, times):
        for _ in range(times):
            data = target.mutate(dice, data, words(name), other)
        check(data)

    changed()


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name):
    """Bytes without any form are taken or refused as they must be."""
    check = TARGETS[name].check()

    @settings(max_examples=EXAMPLES // 5, deadline=None)
    @example(b"")
    @given(st.binary(max_size=200))
    def anything(data):
        check(data)

    anything()
