"""The language of filters: by a table, and against a slow interpreter of its rules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.core.errors import Refusal
from hookline.core.filter import CONDITIONS_MAX, compile_filter

EVENT = {
    "id": "evt_1",
    "type": "order.created",
    "source": "/shop",
    "data": {
        "total": 12.5,
        "count": 2,
        "paid": True,
        "note": None,
        "name": "some-text",
        "tags": ["gift", "blue"],
        "lines": [{"sku": "A", "n": 1, "old": 3}, {"sku": "B", "n": 9, "old": 9}],
        "deep": [[["core"]]],
        "stock": 4,
        "reorder_level": 5,
        "a.b": "dotted",
        "empty": {},
        "none": [],
    },
}

CASES = [
    # filter, matches
    ({}, True),
    ({"type": "order.created"}, True),
    ({"type": "order.deleted"}, False),
    ({"type": "order.created", "source": "/else"}, False),
    ({"subject": None}, False),
    # equality without an operator
    ({"data": {"count": 2}}, True),
    ({"data": {"count": 2.0}}, True),
    ({"data": {"count": "2"}}, False),
    ({"data": {"count": True}}, False),
    ({"data": {"paid": True}}, True),
    ({"data": {"paid": 1}}, False),
    ({"data": {"note": None}}, True),
    ({"data": {"missing": None}}, False),
    ({"data": {"note": False}}, False),
    ({"data": "order"}, False),
    ({"data": {"empty": {}}}, True),
    ({"data": {"count": {}}}, False),
    ({"data": {"name": {"x": "some-text"}}}, False),
    # paths
    ({"data.count": 2}, True),
    ({"data.count.x": 2}, False),
    ({"data": {"a.b": "dotted"}}, True),
    ({"data.lines.sku": "B"}, True),
    ({"data.lines.sku": "C"}, False),
    # arrays contain
    ({"data.tags": "gift"}, True),
    ({"data.tags": "gif"}, False),
    ({"data.tags": ["gift", "blue"]}, True),
    ({"data.tags": ["gift", "red"]}, False),
    ({"data.name": ["some-text"]}, False),
    ({"data.tags": []}, True),
    ({"data.count": []}, False),
    ({"data.lines": {"sku": "A", "n": 1}}, True),
    ({"data.lines": {"sku": "A", "n": 9}}, False),
    ({"data.lines": [{"sku": "A"}, {"sku": "B"}]}, True),
    ({"data.lines": [{"sku": "A"}, {"sku": "C"}]}, False),
    ({"data.deep": "core"}, True),
    ({"data.none": "x"}, False),
    # $eq and $neq are deep and not of elements
    ({"data.tags": {"$eq": ["gift", "blue"]}}, True),
    ({"data.tags": {"$eq": ["blue", "gift"]}}, False),
    ({"data.tags": {"$eq": "gift"}}, False),
    ({"data.tags": [{"$eq": "gift"}]}, True),
    ({"data.lines": {"$eq": [{"n": 1.0, "sku": "A", "old": 3}, {"sku": "B", "n": 9, "old": 9}]}}, True),
    ({"data.count": {"$neq": 3}}, True),
    ({"data.count": {"$ne": 2}}, False),
    ({"data.paid": {"$ne": 1}}, True),
    ({"data.missing": {"$neq": 3}}, False),
    ({"data.note": {"$eq": None}}, True),
    ({"data.note": {"$neq": None}}, False),
    ({"data.missing": {"$neq": None}}, False),
    # order
    ({"data.total": {"$gt": 12}}, True),
    ({"data.total": {"$gt": 12.5}}, False),
    ({"data.total": {"$gte": 12.5, "$lt": 13}}, True),
    ({"data.total": {"$gte": 12.5, "$lt": 12.5}}, False),
    ({"data.count": {"$lte": 2}}, True),
    ({"data.name": {"$gt": "a"}}, True),
    ({"data.name": {"$gt": 1}}, False),
    ({"data.count": {"$gt": "1"}}, False),
    ({"data.paid": {"$gt": 0}}, False),
    ({"data.note": {"$lte": 0}}, False),
    ({"data.tags": {"$gt": "a"}}, False),
    # $in, $nin
    ({"data.count": {"$in": [1, 2]}}, True),
    ({"data.count": {"$in": [1, True]}}, False),
    ({"data.paid": {"$in": [1, True]}}, True),
    ({"data.paid": {"$in": [1]}}, False),
    ({"data.note": {"$in": [None]}}, True),
    ({"data.name": {"$in": ["some", "text"]}}, False),
    ({"data.name": {"$in": "text"}}, True),
    ({"data.tags": {"$in": "gift"}}, True),
    ({"data.tags": {"$in": ["red", "blue"]}}, True),
    ({"data.tags": {"$in": ["red"]}}, False),
    ({"data.count": {"$nin": [1]}}, True),
    ({"data.count": {"$nin": [2]}}, False),
    ({"data.tags": {"$nin": "gift"}}, False),
    ({"data.missing": {"$nin": [1]}}, False),
    # strings
    ({"data.name": {"$startsWith": "some"}}, True),
    ({"data.name": {"$startsWith": ["x", "some"]}}, True),
    ({"data.name": {"$startsWith": ["x"]}}, False),
    ({"data.name": {"$endsWith": "text"}}, True),
    ({"data.name": {"$endsWith": "some"}}, False),
    ({"data.count": {"$startsWith": "2"}}, False),
    ({"data.tags": {"$startsWith": "g"}}, False),
    ({"data.name": {"$contains": "e-t"}}, True),
    ({"data.name": {"$contains": 1}}, False),
    ({"data.tags": {"$contains": "blue"}}, True),
    ({"data.tags": {"$contains": "blu"}}, False),
    # there or not
    ({"data.note": {"$exist": True}}, True),
    ({"data.note": {"$exists": False}}, False),
    ({"data.missing": {"$exist": False}}, True),
    ({"data.missing": {"$exist": True}}, False),
    ({"data.missing.x": {"$exist": False}}, True),
    ({"data.count.x": {"$exist": False}}, True),
    ({"data.missing": {"x": {"$exist": False}}}, True),
    ({"subject": {"$exist": False}}, True),
    ({"data.count": {"$exist": True, "$gt": 5}}, False),
    # logic
    ({"$or": [{"type": "x"}, {"source": "/shop"}]}, True),
    ({"$or": [{"type": "x"}]}, False),
    ({"$and": [{"type": "order.created"}, {"source": "/else"}]}, False),
    ({"$not": {"type": "x"}}, True),
    ({"$not": {"type": "order.created"}, "source": "/shop"}, False),
    ({"data.count": {"$or": [1, 2]}}, True),
    ({"data.count": {"$not": {"$gt": 1}}}, False),
    ({"data.missing": {"$not": {"$eq": 1}}}, True),
    ({"data.count": {"$exist": True, "$or": [5, {"$gt": 1}]}}, True),
    ({"data.lines": {"n": {"$and": [{"$gt": 1}, {"$lt": 9}]}}}, False),
    ({"data.name": {"$or": [{"$startsWith": "x"}, {"$endsWith": "text"}]}}, True),
    # $ref
    ({"data.stock": {"$lt": {"$ref": "data.reorder_level"}}}, True),
    ({"data.stock": {"$gt": {"$ref": "data.reorder_level"}}}, False),
    ({"data.lines": {"n": {"$ref": "data.lines[1].old"}}}, True),
    ({"data.tags": {"$ref": "data.tags[1]"}}, True),
    ({"data.name": {"$ref": "data.missing"}}, False),
    ({"data.name": {"$neq": {"$ref": "data.missing"}}}, False),
    ({"data.name": {"$neq": {"$ref": "type"}}}, True),
    ({"data.name": {"$ref": "data.lines[9].sku"}}, False),
    ({"data.count": {"$in": {"$ref": "data.lines"}}}, False),
    ({"data.tags": {"$eq": {"$ref": "data.tags"}}}, True),
]


@pytest.mark.parametrize(("spec", "matches"), CASES)
def test_filters_match(spec, matches):
    """A filter matches as the language says, and its negation does the opposite."""
    assert compile_filter(spec).matches(EVENT) is matches
    assert compile_filter({"$not": spec}).matches(EVENT) is not matches


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ([], "/filter"),
        ("type", "/filter"),
        ({"$eq": "x"}, "/filter/$eq"),
        ({"$or": ["x"]}, "/filter/$or/0"),
        ({"$or": {}}, "/filter/$or"),
        ({"$and": []}, "/filter/$and"),
        ({"$not": 1}, "/filter/$not"),
        ({"a": {"$regex": "x"}}, "/filter/a/$regex"),
        ({"a": {"$gt": [1]}}, "/filter/a/$gt"),
        ({"a": {"$gt": True}}, "/filter/a/$gt"),
        ({"a": {"$gt": None}}, "/filter/a/$gt"),
        ({"a": {"$exist": 1}}, "/filter/a/$exist"),
        ({"a": {"$startsWith": 1}}, "/filter/a/$startsWith"),
        ({"a": {"$endsWith": []}}, "/filter/a/$endsWith"),
        ({"a": {"$in": {"x": 1}}}, "/filter/a/$in"),
        ({"a": {"$in": [[1]]}}, "/filter/a/$in/0"),
        ({"a": {"$contains": ["x"]}}, "/filter/a/$contains"),
        ({"a": {"$ref": {"bad": "ref"}}}, "/filter/a/$ref"),
        ({"a": {"$ref": "b..c"}}, "/filter/a/$ref"),
        ({"a": {"$ref": "b[$index].c"}}, "/filter/a/$ref"),
        ({"a": {"$gt": {"$ref": "b", "x": 1}}}, "/filter/a/$gt"),
        ({"a": {"$gt": {"$ref": 5}}}, "/filter/a/$gt/$ref"),
        ({"a..b": 1}, "/filter/a..b"),
        ({"": 1}, "/filter/"),
        ({"a": {"b": "x" * 1025}}, "/filter/a/b"),
        ({"a": {"$in": ["x", "é" * 513]}}, "/filter/a/$in/1"),
        ({"a": float("nan")}, "/filter/a"),
        ({"a": {"$eq": {"x": [b"bytes"]}}}, "/filter/a/$eq/x/0"),
        ({"a": {"$eq": {"x/~y": {1: 2}}}}, "/filter/a/$eq/x~1~0y"),
        ({1: 2}, "/filter"),
        ({"a": {"$or": [1, {"$foo": 1}]}}, "/filter/a/$or/1/$foo"),
        ({"a": {"$in": [0] * 1001}}, "/filter/a/$in"),
        ({"a": {"$in": ["x" * 1000] * 100}}, "/filter"),
        ({".".join("a" * 21): 1}, "/filter/" + ".".join("a" * 21)),
    ],
)
def test_wrong_filters_are_refused(spec, pointer):
    """What is wrong in a filter is refused when it is made, with a pointer to the fault."""
    with pytest.raises(Refusal) as refusal:
        compile_filter(spec)
    assert (refusal.value.code, refusal.value.pointer) == ("invalid_filter", pointer)


def test_conditions_are_bounded():
    """A filter has at most 200 conditions, and the first one too many is named."""
    compile_filter({f"f{n}": n for n in range(CONDITIONS_MAX)})
    with pytest.raises(Refusal) as refusal:
        compile_filter({f"f{n}": n for n in range(CONDITIONS_MAX + 1)})
    assert refusal.value.pointer == "/filter/f200"


@pytest.mark.parametrize("levels", [20, 5000])
def test_depth_is_bounded(levels):
    """A filter deeper than 20 is refused, however deep it is."""
    spec: object = 1
    for _ in range(levels):
        spec = {"$not": spec} if levels < 100 else {"a": spec}
    with pytest.raises(Refusal):
        compile_filter({"a": spec})


def test_needs_data_says_whether_the_payload_is_asked_for():
    """Only a field or reference under `data` needs the payload to be read."""
    needs = [
        ({"type": "x"}, False),
        ({"data": {"a": 1}}, True),
        ({"data.a": 1}, True),
        ({"source": {"data": 1}}, False),
        ({"$or": [{"type": "x"}, {"$not": {"data.a": 1}}]}, True),
        ({"type": {"$ref": "data.kind"}}, True),
        ({"type": {"$neq": {"$ref": "data[0]"}}}, True),
        ({"database": 1}, False),
    ]
    assert [compile_filter(spec).needs_data for spec, _ in needs] == [expected for _, expected in needs]


@pytest.mark.parametrize(
    "spec",
    [
        {"data": {"x": {"y": 1}}},
        {"data": {"$or": [{"x": n} for n in range(100)]}},
        {"data": [{"x": n} for n in range(150)]},
        {"data": {"$in": {"$ref": "data"}}},
        {"data": {"$eq": {"$ref": "data"}}},
    ],
)
def test_a_document_too_big_to_ask_counts_as_wanted(spec):
    """Past its steps a filter stops and says yes: an event too many is seen, one too few is not."""
    document = {"data": [{"x": -1} for _ in range(60_000)]}
    assert compile_filter(spec).matches(document) is True


def test_a_document_of_any_depth_is_borne():
    """A document deeper than Python's stack does not break a filter."""
    value: object = 1
    for _ in range(100_000):
        value = [value]
    assert compile_filter({"data": 2}).matches({"data": value}) is True


# ------------------------------------------------------------------------------- against a slow interpreter

NAMES = st.sampled_from(["a", "b", "data", "x.y", "b.a"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, 1.0, 1.5, 1e300]),
    st.sampled_from(["", "a", "ab", "b", "1"]),
)
DOCUMENT_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(NAMES, DOCUMENT_VALUES, max_size=4)
REFERENCES = st.sampled_from(["a", "b", "data", "data.a", "a[0]", "a.b[1].a"]).map(lambda path: {"$ref": path})
ORDERED = st.one_of(st.integers(-2, 2), st.sampled_from([0.5, "a", "b"]), REFERENCES)
OPERATORS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$neq", "$ne"]), st.one_of(DOCUMENT_VALUES, REFERENCES)),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ORDERED),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.one_of(SCALARS, st.lists(SCALARS, max_size=3), REFERENCES)),
    st.tuples(st.just("$contains"), st.one_of(SCALARS, REFERENCES)),
    st.tuples(st.sampled_from(["$startsWith", "$endsWith"]), st.sampled_from(["a", ["a", "b"], ""])),
    st.tuples(st.sampled_from(["$exist", "$exists"]), st.booleans()),
    st.tuples(st.just("$ref"), REFERENCES.map(lambda r: r["$ref"])),
).map(lambda pair: {pair[0]: pair[1]})
CONDITIONS = st.recursive(
    st.one_of(SCALARS, OPERATORS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["a", "b", "a.b", "a.b.a", "x.y"]), inner, max_size=2),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"$or": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"$and": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.sampled_from(["a", "b", "data", "data.b.a", "a.b", "x.y"]), CONDITIONS, max_size=3)
FILTERS = st.one_of(
    FIELDS,
    st.lists(FIELDS, min_size=1, max_size=2).map(lambda parts: {"$or": parts}),
    st.tuples(FIELDS, FIELDS).map(lambda pair: {**pair[0], "$not": pair[1]}),
)


class Absent:
    pass


ABSENT = Absent()


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def slow_equal(one, two):
    """Equality of JSON by its words: normalised, then compared."""

    def normal(value):
        if isinstance(value, list):
            return ("list", tuple(normal(item) for item in value))
        if isinstance(value, dict):
            return ("dict", tuple(sorted((name, normal(item)) for name, item in value.items())))
        if is_number(value):
            return ("number", value)
        return (type(value).__name__, value)

    return normal(one) == normal(two)


def slow_at(document, path):
    value = document
    for part in path.replace("[", ".[").split("."):
        if part.startswith("["):
            index = int(part[1:-1])
            value = value[index] if isinstance(value, list) and index < len(value) else ABSENT
        else:
            value = value[part] if isinstance(value, dict) and part in value else ABSENT
    return value


def slow_contains(value, other):
    if isinstance(value, str):
        return isinstance(other, str) and other in value
    return isinstance(value, list) and any(slow_equal(item, other) for item in value)


def slow_in(value, other):
    if not isinstance(other, list):
        return slow_contains(value, other)
    return any(slow_equal(one, two) for one in (value if isinstance(value, list) else [value]) for two in other)


def slow_operator(name, value, other):
    if value is ABSENT or other is ABSENT:
        return False
    if name in ("$gt", "$gte", "$lt", "$lte"):
        if not ((is_number(value) and is_number(other)) or (isinstance(value, str) and isinstance(other, str))):
            return False
        return {"$gt": value > other, "$gte": value >= other, "$lt": value < other, "$lte": value <= other}[name]
    if name in ("$startsWith", "$endsWith"):
        options = other if isinstance(other, list) else [other]
        way = str.startswith if name == "$startsWith" else str.endswith
        return isinstance(value, str) and any(way(value, option) for option in options)
    return {
        "$eq": lambda: slow_equal(value, other),
        "$neq": lambda: not slow_equal(value, other),
        "$ne": lambda: not slow_equal(value, other),
        "$in": lambda: slow_in(value, other),
        "$nin": lambda: not slow_in(value, other),
        "$contains": lambda: slow_contains(value, other),
    }[name]()


def slow_key(name, spec, value, document):
    if name == "$and":
        return all(slow(part, value, document) for part in spec)
    if name == "$or":
        return any(slow(part, value, document) for part in spec)
    if name == "$not":
        return not slow(spec, value, document)
    if name in ("$exist", "$exists"):
        return (value is not ABSENT) is spec
    if name == "$ref":
        other = slow_at(document, spec)
        return (
            value is not ABSENT
            and other is not ABSENT
            and (slow_equal(value, other) or (isinstance(value, list) and any(slow_equal(i, other) for i in value)))
        )
    if isinstance(spec, dict) and "$ref" in spec:
        return slow_operator(name, value, slow_at(document, spec["$ref"]))
    return slow_operator(name, value, spec)


def slow_fields(fields, value, document):
    if isinstance(value, list):
        return any(slow_fields(fields, item, document) for item in value)
    if not isinstance(value, dict):
        if not fields:
            return False
        value = {}
    for name, spec in fields.items():
        if name in value:
            met = slow(spec, value[name], document)
        elif "." in name:
            first, rest = name.split(".", 1)
            met = slow_fields({rest: spec}, value.get(first, ABSENT), document)
        else:
            met = slow(spec, ABSENT, document)
        if not met:
            return False
    return True


def slow(spec, value, document):
    if isinstance(spec, dict):
        fields = {name: sub for name, sub in spec.items() if not name.startswith("$")}
        others = {name: sub for name, sub in spec.items() if name.startswith("$")}
        if not all(slow_key(name, sub, value, document) for name, sub in others.items()):
            return False
        return slow_fields(fields, value, document) if fields or not spec else True
    if isinstance(spec, list):
        return isinstance(value, list) and all(any(slow(s, item, document) for item in value) for s in spec)
    if isinstance(value, list):
        return any(slow(spec, item, document) for item in value)
    return slow_equal(spec, value)


ROOTS = frozenset({"a", "b", "data", "x", "x.y"})


def compiled(spec):
    """A filter over documents with the names above outermost."""
    return compile_filter(spec, roots=ROOTS)


@settings(max_examples=300)
@given(spec=FILTERS, document=DOCUMENTS)
def test_filters_agree_with_a_slow_interpreter(spec, document):
    """A compiled filter says of any document what an interpreter of the rules says, and never raises."""
    assert compiled(spec).matches(document) is slow(spec, document, document)


@given(spec=FILTERS, document=DOCUMENTS)
def test_a_double_negation_changes_nothing(spec, document):
    """Not not a filter is the filter."""
    assert compiled({"$not": {"$not": spec}}).matches(document) is compiled(spec).matches(document)


@given(one=FILTERS, two=FILTERS, document=DOCUMENTS)
def test_de_morgan_holds(one, two, document):
    """Neither is the same as not one and not the other."""
    neither = compiled({"$not": {"$or": [one, two]}})
    both_not = compiled({"$and": [{"$not": one}, {"$not": two}]})
    assert neither.matches(document) is both_not.matches(document)


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@given(spec=FILTERS, document=st.dictionaries(st.text(max_size=5), ANYTHING, max_size=4))
def test_no_document_makes_a_filter_raise(spec, document):
    """Whatever a document holds, also what JSON does not know, a filter answers yes or no."""
    assert compiled(spec).matches(document) in (True, False)


KEYS = st.one_of(st.text(max_size=5), st.sampled_from(["$eq", "$in", "$or", "$not", "$ref", "$gt", "$exist", "a.b"]))


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"data.a": {"$gt": 1, "lt": 5}}, "/filter/data.a"),
        ({"dtaa.a": 1}, "/filter/dtaa.a"),
        ({"$or": [{"type": "x"}, {"subject.a": 1}]}, "/filter/$or/1/subject.a"),
        ({"data.a": {"$ref": "nope.a"}}, "/filter/data.a/$ref"),
        ({"data.a": {"$eq": {"$ref": "type.a"}}}, "/filter/data.a/$eq/$ref"),
    ],
)
def test_what_could_never_be_met_is_refused(spec, pointer):
    """A forgotten $, and a path into what has nothing in it, are faults with a position."""
    with pytest.raises(Refusal) as refused:
        compile_filter(spec)
    assert (refused.value.code, refused.value.pointer) == ("invalid_filter", pointer)


def test_an_unknown_name_without_a_path_may_be_an_extension():
    """CloudEvents extensions are asked for by their name."""
    assert compile_filter({"myextension": "x"}).matches({"myextension": "x"})


@given(spec=st.dictionaries(KEYS, ANYTHING, max_size=4))
def test_any_object_is_compiled_or_refused(spec):
    """What is not a filter is refused, with a pointer below where it stands, and nothing else happens."""
    fault = None
    try:
        compile_filter(spec, pointer="/here")
    except Refusal as refusal:
        fault = (refusal.code, (refusal.pointer or "")[:5])
    assert fault in (None, ("invalid_filter", "/here"))


def test_numbers_of_any_size_compare():
    """Integers beyond a double and doubles at their end compare without raising."""
    document = {"data": [10**400, math.inf, 1.5]}
    assert compile_filter({"data": [{"$gt": 10**300}]}).matches(document)
    assert not compile_filter({"data": [{"$lt": -(10**399)}]}).matches(document)
