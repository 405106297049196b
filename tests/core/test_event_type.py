"""Which names and patterns are good, and that the index finds what the patterns say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.errors import Refusal
from hookline.core.event_type import (
    REMEMBERED_MAX,
    PatternIndex,
    check_pattern,
    check_type,
    is_operational,
    pattern_matches,
)

NAMES = ["a", "order.created", "A-1:x/y_z", "0", "order..x", "order.", "hookline.endpoint.failing", "x" * 255]
NO_NAMES = ["", ".a", "-a", "a b", "a*", "*", "é", "a\n", "a\x00", "x" * 256, "٣", "a,b", "_a"]

PATTERNS = [
    # pattern, name, matches
    ("order.created", "order.created", True),
    ("order.created", "order.created.x", False),
    ("order.created", "Order.created", False),
    ("order.*", "order.created", True),
    ("order.*", "order.line.added", True),
    ("order.*", "order.", True),
    ("order.*", "order", False),
    ("order.*", "orders.created", False),
    ("order.line.*", "order.line.added", True),
    ("order.line.*", "order.created", False),
    ("*", "order", True),
    ("*", "hookline", True),
    ("*", "hookline.endpoint.failing", False),
    ("hookline.*", "hookline.endpoint.failing", True),
    ("hookline.endpoint.*", "hookline.endpoint.failing", True),
    ("hookline.endpoint.failing", "hookline.endpoint.failing", True),
    ("hookline.*", "order.created", False),
]


@pytest.mark.parametrize("name", NAMES)
def test_good_names_pass(name):
    """Every name of the allowed characters, up to 255 of them, is an event type."""
    check_type(name)
    check_pattern(name)


@pytest.mark.parametrize("name", NO_NAMES)
def test_bad_names_are_refused(name):
    """A name that is empty, too long, or holds any other character is refused with a pointer to it."""
    with pytest.raises(Refusal) as refusal:
        check_type(name)
    assert (refusal.value.code, refusal.value.pointer) == ("invalid_event_type", "/type")


@pytest.mark.parametrize("pattern", ["*", "order.*", "hookline.*", "order.line.*", "x" * 253 + ".*"])
def test_good_patterns_pass(pattern):
    """A star, and a prefix that ends in `.*`, are patterns."""
    check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["", "**", "*.created", "order*", "order.*.x", ".*", "order.**", "order.* ", "x" * 254 + ".*", "order.?"]
)
def test_bad_patterns_are_refused(pattern):
    """A star anywhere but at the end after a dot is refused."""
    with pytest.raises(Refusal) as refusal:
        check_pattern(pattern)
    assert refusal.value.code == "invalid_event_type"


@pytest.mark.parametrize(("pattern", "name", "matches"), PATTERNS)
def test_patterns_match(pattern, name, matches):
    """The index finds a name by exactly the patterns that match it."""
    index = PatternIndex[int]()
    index.add([pattern], 1)
    assert pattern_matches(pattern, name) is matches
    assert index.match(name) == ((1,) if matches else ())


def test_operational_names_begin_with_our_prefix():
    """Only names that begin with `hookline.` are ours."""
    assert [is_operational(n) for n in ("hookline.x", "hookline", "hooklines.x", "Hookline.x")] == [
        True,
        False,
        False,
        False,
    ]


PARTS = st.lists(st.sampled_from(["a", "b", "hookline", ""]), min_size=1, max_size=4).map(".".join)
SOME_PATTERNS = st.one_of(PARTS, PARTS.map(lambda p: p + ".*"), st.just("*"))
STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 4), st.lists(SOME_PATTERNS, max_size=3)),
    max_size=20,
)


@given(steps=STEPS, names=st.lists(PARTS, min_size=1, max_size=6))
def test_index_says_what_the_patterns_say(steps, names):
    """After any additions and removals a name finds each value once, in the order of first addition."""
    index = PatternIndex[int]()
    held: dict[int, set[str]] = {}
    for add, value, patterns in steps:
        if add:
            index.add(patterns, value)
            if patterns:
                held.setdefault(value, set()).update(patterns)
        else:
            index.remove(patterns, value)
            if value in held:
                held[value] -= set(patterns)
                if not held[value]:
                    del held[value]
    assert len(index) == len(held)
    for name in names:
        expected = [value for value, patterns in held.items() if any(pattern_matches(p, name) for p in patterns)]
        assert index.match(name) == tuple(expected)


def test_what_was_found_follows_the_patterns():
    """A name that was looked up before is found by patterns that came since, and not by those that went."""
    index = PatternIndex[str]()
    index.add(["a.*"], "one")
    assert index.match("a.b") == ("one",)
    index.add(["*"], "two")
    assert index.match("a.b") == ("one", "two")
    index.remove(["a.*"], "one")
    assert index.match("a.b") == ("two",)


def test_what_is_remembered_is_bounded():
    """However many names are looked up, only so many are remembered, and each is still found."""
    index = PatternIndex[int]()
    for value in range(100):
        index.add(["*"], value)
    for number in range(2_000):
        assert index.match(f"n{number}") == tuple(range(100))
    assert len(index._found) * 101 <= REMEMBERED_MAX
