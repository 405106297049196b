"""The door and JSON: strict, bounded, exact, whatever bytes come."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.errors import Refusal
from hookline.core.publish import parse_publication

JSON = "application/json"


def parse(body, content_type=JSON):
    return parse_publication(content_type, {}, body, 1_790_000_000_000)


def one(body):
    publication = parse(body)
    assert publication.batch is False
    (draft,) = publication.drafts
    return draft


def refusal_of(body):
    with pytest.raises(Refusal) as refusal:
        parse(body)
    return refusal.value


BROKEN = [
    b"",
    b" ",
    b"{",
    b'{"type":"a","data":1',
    b'{"type":"a","data":1} x',
    b'{"type":"a","data":1}{}',
    b'{"type":"a","data":1}\x00',
    b'{"type":"a","data":1,}',
    b'{"type":"a","data":[1,]}',
    b'{"type":"a","data":{"a":1,}}',
    b'{"type":"a","data":NaN}',
    b'{"type":"a","data":[Infinity]}',
    b'{"type":"a","data":-Infinity}',
    b'{"type":"a","data":01}',
    b'{"type":"a","data":+1}',
    b'{"type":"a","data":.5}',
    b'{"type":"a","data":1.}',
    b'{"type":"a","data":1e}',
    b'{"type":"a","data":0x1}',
    b'{"type":"a","data":tru}',
    b'{"type":"a","data":undefined}',
    b'{"type":"a","data":\'x\'}',
    b"{'type':'a','data':1}",
    b'{type:"a","data":1}',
    b'{"type":"a","data":"\\x"}',
    b'{"type":"a","data":"\\u12"}',
    b'{"type":"a","data":"\\ud800"}',
    b'{"type":"a","data":"\\udc00\\ud800"}',
    b'{"type":"a","data":{"\\ud800":1}}',
    b'{"type":"a","data":1,"id":"\\ud800"}',
    b'{"type":"a","data":"\xff"}',
    b'{"type":"a","data":"\xed\xa0\x80"}',
    b'{"type":"a","data":"\xc0\xaf"}',
    b'{"type":"a","data":"\xf4\x90\x80\x80"}',
    b'{"type":"a\xff","data":1}',
    b'{"type":"a","data":"\t"}',
    b'{"type":"a","data":"\x00"}',
    b'{"type":"a","data":\x0b1}',
    b'{"type":"a","data":\xc2\xa01}',
    b'{"type":"a" "data":1}',
    b'{"type":"a","data":1 /* c */}',
    b'{"type":"a","data":1}// c',
    b'\xef\xbb\xbf{"type":"a","data":1}',
    '{"type":"a","data":1}'.encode("utf-16"),
    '{"type":"a","data":1}'.encode("utf-16-le"),
    '{"type":"a","data":1}'.encode("utf-32"),
    b'{"type":"a","data":1,"data":2}',
    b'{"type":"a","data":{"x":"\\""},"data":{"x":"\\""}}',
    b'{"type":"a","type":"a","data":1}',
    b'{"type":"a","data":12,"data":1}',
    b'{"data":1,"type":"a","data":12}',
    b'{"type":"a","data":1,"\\u0064ata":1}',
    b'{"type":"a","data":1,"id":"x","id":"x"}',
    b'{"type":"a","data":1,"id":null,"id":"x"}',
    b'{"type":"a","data":1,"id":"\\"","id":"x"}',
    b'{"type":"a","data":1,"id":null,"id":null}',
    b"[",
    b'[{"type":"a","data":1}',
    b'[{"type":"a","data":1},]',
    b'[{"type":"a","data":1}]]',
    b'[{"type":"a","data":"\xff"}]',
    b'{"type":5,"data":01}',
    b'{"unknown":5,"data":01}',
]


@pytest.mark.parametrize("body", BROKEN)
def test_what_is_not_strict_json_is_refused(body):
    """What is not one strict JSON value in UTF-8 without repeated members is malformed; the answer says where."""
    refusal = refusal_of(body)
    assert refusal.code == "malformed_json"
    assert isinstance(refusal.extra["position"], int)
    assert 0 <= refusal.extra["position"] <= len(body) + 1


@pytest.mark.parametrize(("opener", "closer"), [("[", "]"), ('{"a":', "}"), ('[{"[{":', "}]")])
def test_depth_is_counted_exactly(opener, closer):
    """128 levels with the envelope are taken, 129 are not; brackets within strings are no levels."""
    levels = len(closer)

    def body(times, filler="[]"):
        inner = '"' + '[{\\"' * 200 + '\\\\"'
        nest = opener * times + f"[{inner},{filler}]" + closer * times
        return b'{"type":"a","data":%b}' % nest.encode()

    most = (128 - 1 - 2) // levels
    wide = ",".join(["[]"] * 300)
    assert one(body(most)).type == "a"
    assert one(body(most, wide)).type == "a"
    assert refusal_of(body(128)).code == "too_deep"
    if levels == 1:
        assert refusal_of(body(most + 1)).code == "too_deep"
        assert refusal_of(body(most + 1, wide)).code == "too_deep"


@pytest.mark.parametrize("levels", [200, 900, 5_000, 200_000])
def test_depth_of_any_size_is_refused(levels):
    """No depth, closed or not, exhausts the stack."""
    assert refusal_of(b'{"type":"a","data":' + b"[" * levels + b"]" * levels + b"}").code == "too_deep"
    unclosed = refusal_of(b'{"type":"a","data":' + b'{"a":' * levels)
    assert unclosed.code in ("too_deep", "malformed_json")


def test_deep_arrays_are_no_batch():
    """An array of arrays is refused, item by item or, where a parser would break, as a whole."""
    (item,) = parse(b"[" * 500 + b"]" * 500).drafts
    assert (item.code, item.pointer) == ("invalid_event", "/0")
    assert refusal_of(b"[" * 5000 + b"]" * 5000).code == "too_deep"


# ------------------------------------------------------------------------------------------------- properties

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60)


@given(
    data=VALUES,
    texts=st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "source", "subject", "ordering_key"), TEXTS)),
    order=st.randoms(use_true_random=False),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
)
def test_what_a_json_library_writes_is_read(data, texts, order, indent, ascii_only):
    """Whatever the standard library writes, in any order of members, is accepted with its payload byte for byte."""
    members = [("type", "a.b"), ("data", data), *texts.items()]
    order.shuffle(members)
    body = json.dumps(dict(members), indent=indent, ensure_ascii=ascii_only)
    draft = one(body.encode("utf-8"))
    assert json.loads(draft.data) == data
    assert draft.data in body.encode("utf-8")
    assert draft.source_id == texts.get("id")
    assert draft.ordering_key == texts.get("ordering_key")


@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(['"type"', '"data"', '"id"', '"subject"', '"d\\u0061ta"', '"i\\u0064"']),
            st.sampled_from(['"a"', '"a\\"b"', "null", "1", "12", '{"id":"x"}', '"\\u0041"', '["\\\\"]']),
        ),
        max_size=5,
    ),
    space=st.sampled_from(["", " ", "\n\t"]),
)
def test_repeated_members_are_always_found(pairs, space):
    """An envelope is accepted only if a parser that keeps every member sees each of them once."""
    body = ("{" + ",".join(f"{space}{name}{space}:{space}{value}{space}" for name, value in pairs) + "}").encode()
    names = [name for name, _ in json.loads(body, object_pairs_hook=list)] if pairs else []
    try:
        draft = one(body)
    except Refusal as refusal:
        outcome = refusal.code
    else:
        outcome = "accepted"
        assert json.loads(draft.data) == json.loads(body)["data"]
    if len(names) != len(set(names)):
        assert outcome != "accepted"
    else:
        assert outcome != "malformed_json"


@given(body=st.binary(max_size=200), content_type=st.sampled_from([JSON, "application/cloudevents+json", "x/y"]))
def test_no_bytes_break_the_door(body, content_type):
    """Any bytes are accepted or refused; nothing else is raised."""
    status = 202
    try:
        parse(body, content_type)
    except Refusal as refusal:
        status = refusal.status
    assert status in (202, 400, 413, 415, 422)


JSONISH = st.lists(
    st.sampled_from(
        ['{"type":"a","data":', '"', "{", "}", "[", "]", ",", ":", "1", "-", ".5", "e9", "\\", "u00", "\\ud83d\\ude00",
         "null", "true", '"data"', '"type"', "é", "\n", "NaN", '"a":']
    ),
    max_size=14,
).map("".join)  # fmt: skip


@given(text=JSONISH)
def test_what_is_accepted_is_json_to_a_strict_parser(text):
    """Nothing is accepted that the standard library, told to refuse NaN, does not read."""
    body = text.encode()
    try:
        publication = parse(body)
    except Refusal:
        return
    value = json.loads(body, parse_constant=pytest.fail)
    assert isinstance(value, list if publication.batch else dict)


def test_the_stack_that_is_left_does_not_decide():
    """A body of the greatest depth is read also when the caller is deep in its own stack."""
    body = b'{"type":"a","data":' + b"[" * 127 + b"]" * 127 + b"}"

    def down(levels):
        return one(body) if levels == 0 else down(levels - 1)

    assert down(sys.getrecursionlimit() // 2).type == "a"
