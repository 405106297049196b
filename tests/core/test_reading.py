"""How events are read from a request: expressions, splits with exact bytes, types, ids, times."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.core.event_type import is_operational, is_type
from hookline.core.expression import STEPS_MAX, TEXT_CHARS_MAX, Scope, compile_expression, text_of
from hookline.core.json_items import ITEMS_MAX
from hookline.core.reading import ExpressionError, TooManyItems, check, events_of, type_of
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import Reading

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def request(body=b"", content_type=JSON, url="https://h.example/in/x", **headers):
    given = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Inbound.of("POST", url, given, body if isinstance(body, bytes) else json.dumps(body).encode())


def read(expression, one):
    return text_of(compile_expression(expression), Scope(one))


PAYLOAD = {
    "type": "a.b",
    "n": 7,
    "f": 1.5,
    "t": True,
    "no": None,
    "o": {"deep": [{"x": "1"}, {"y": "2"}]},
    "a.b": "dotted",
    "text": json.dumps({"Records": [{"e": "put"}]}),
    "b64": base64.b64encode(b'{"k":"v"}').decode(),
    "xml": "<n><kind>sub</kind></n>",
}


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("body:type", "a.b"),
        ("body:n", "7"),
        ("body:f", "1.5"),
        ("body:t", "true"),
        ("body:no", None),
        ("body:o", None),
        ("body:o.deep.1.y", "2"),
        ("body:o.deep.*.y", "2"),
        ("body:o.deep.*.z", None),
        ("body:o.deep.9.y", None),
        ('body:"a.b"', "dotted"),
        ("body:text>json.Records.0.e", "put"),
        ("body:b64>base64>json.k", "v"),
        ("body:b64>base64", '{"k":"v"}'),
        ("body:xml>xml.n.kind", "sub"),
        ("body:type>json.x", None),
        ("header:X-Topic", "orders/create"),
        ("header:x-missing|body:no|body:n", "7"),
        ("header:x-missing | 'fixed|text' ", "fixed|text"),
        ("query:q", "é 1"),
        ("query:none", None),
        ("request:method", "POST"),
        ("request:path", "/in/x"),
        ("{header:x-topic}.{body:action?}", "orders/create"),
        ("{header:x-topic}.{body:type?}", "orders/create.a.b"),
        ("{header:x-topic}.{body:action}", None),
        ("{body:action?}", None),
        ("v-{header:x-none|body:n}-{'z'}", "v-7-z"),
        ("{body:none}-x|body:n", "7"),
    ],
)
def test_expressions(expression, found):
    """What an expression yields over one request."""
    one = request(PAYLOAD, url="https://h.example/in/x?q=%C3%A9+1&q2=2", x_topic="orders/create")
    assert read(expression, one) == found


def test_forms_and_xml_are_read_by_path_too():
    """A field of a form is its last value; `body:` sees a form and XML in their mapped form."""
    form = request(b"payload=%7B%22a%22%3A%7B%22b%22%3A1%7D%7D&x=1&x=2", FORM)
    assert read("form:payload>json.a.b", form) == "1"
    assert read("form:x", form) == "2"
    assert read("body:x.0", form) == "1"
    assert read("body:a.b.@c", request(b'<s:a xmlns:s="u"><b c="9"/></s:a>', "text/xml")) == "9"


def test_a_body_that_says_it_is_text_is_read_where_it_looks_like_json():
    """SNS sends JSON as text/plain; other text yields nothing."""
    assert read("body:Type", request(b' {"Type":"Notification"}', "text/plain; charset=UTF-8")) == "Notification"
    assert read("body:Type", request(b'{"Type":"x"}', "image/png")) is None
    assert read("body:Type", request(b"Type", "text/plain")) is None


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "body",
        "typo:x",
        "body:a..b",
        "body:.a",
        "body:a.",
        "body:a>zip",
        "header:",
        "header:>json",
        "request:host",
        "{body:a",
        "{a}",
        "'open",
        "body:" + "a." * STEPS_MAX + "a",
        "'" + "x" * TEXT_CHARS_MAX + "'",
    ],
)
def test_what_is_no_expression_is_said(expression):
    """Each fault is an `ExpressionError`; `check` names the member."""
    with pytest.raises(ExpressionError):
        compile_expression(expression)
    if expression:
        with pytest.raises(ExpressionError, match=r"^id: "):
            check(Reading(type="body:type", id=expression))


@pytest.mark.parametrize("split", ["Records", "header:x", "query:q", "form:", "body:a..b"])
def test_a_split_leads_into_the_body_or_a_form(split):
    """Anything else is refused when it is configured."""
    with pytest.raises(ExpressionError, match=r"^split: "):
        check(Reading(type="body:type", split=split))


# ------------------------------------------------------------------------------------------------------ splits

_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_SPACES = st.sampled_from(["", " ", "\r\n", "\n\t "])


@given(st.lists(_JSON_VALUES, max_size=6), st.data(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_each_item_has_the_bytes_that_stood_there(values, data, ascii_only):
    """However the array is written, each item's data is its own text, byte for byte, and its pointer leads to it."""
    texts = [json.dumps(one, ensure_ascii=ascii_only).encode("utf-8", "replace") for one in values]
    space = data.draw(_SPACES).encode()
    array = b"[" + space + (space + b"," + space).join(texts) + space + b"]"
    for split, body, at in (
        ("body:", array + space, ""),
        ("body:x.1.y", b'{"x":[0,{"y":%b}],"z":[1]}' % array, "/x/1/y"),
    ):
        found = events_of(request(body), Reading(type="'t'", split=split))
        assert [item.data for item in found] == texts
        assert [item.pointer for item in found] == [f"{at}/{n}" for n in range(len(texts))]
        assert all(item.content_type == JSON for item in found)


def test_items_between_crlf_keep_their_bytes():
    """SendGrid ends each event with CRLF; that belongs to none of them."""
    body = b'[{"event":"open","sg_event_id":"1",\r\n"n":1.0},\r\n{"event":"click","sg_event_id":"2"}]\r\n'
    found = events_of(request(body), Reading(type="item:event", id="item:sg_event_id", split="body:"))
    assert [(item.type, item.id, item.data) for item in found] == [
        ("open", "1", b'{"event":"open","sg_event_id":"1",\r\n"n":1.0}'),
        ("click", "2", b'{"event":"click","sg_event_id":"2"}'),
    ]


def test_a_star_goes_through_elements_and_loses_none():
    """What of a `*` has no such array is an item itself; `parent:` is the element that holds an item."""
    body = {"object": "page", "entry": [{"id": "p1", "changes": [{"field": "feed"}, {"field": "x"}]}, {"id": "p2"}]}
    reading = Reading(
        type="{body:object}.{item:field?}", id="item:id", subject="parent:id", split="body:entry.*.changes"
    )
    found = events_of(request(body), reading)
    assert [(item.type, item.id, item.subject, item.pointer) for item in found] == [
        ("page.feed", "", "p1", "/entry/0/changes/0"),
        ("page.x", "", "p1", "/entry/0/changes/1"),
        ("page", "p2", "", "/entry/1"),
    ]


def test_text_inside_text_is_split():
    """S3 events come as JSON in a member of SNS's JSON, or in a form; an item is as it stands in the inner text."""
    inner = '{"Records":[ {"eventName": "ObjectCreated:Put"} ,{"eventName":"é"}]}'
    reading = Reading(type="item:eventName", split="body:Message>json.Records")
    found = events_of(request({"Type": "Notification", "Message": inner}, "text/plain; charset=UTF-8"), reading)
    assert [(item.type, item.data.decode()) for item in found] == [
        ("ObjectCreated:Put", '{"eventName": "ObjectCreated:Put"}'),
        ("webhook", '{"eventName":"é"}'),
    ]
    form = request(b"p=" + b"%5B1,2%5D", FORM)
    assert [item.data for item in events_of(form, Reading(type="'t'", split="form:p>json"))] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("body", "split"),
    [
        (b'{"Records":{}}', "body:Records"),
        (b'{"other":1}', "body:Records"),
        (b'{"Records":[', "body:Records"),
        (b"Hello, World!", "body:"),
        (b'{"Message":"not json"}', "body:Message>json.Records"),
        (b'{"Message":"W10="}', "body:Message>base64"),
        (b'"text"', "body:"),
    ],
)
def test_a_path_to_no_array_leaves_one_event(body, split):
    """The request is then one event, whole."""
    (found,) = events_of(request(body), Reading(type="'t'", split=split))
    assert (found.data, found.pointer) == (body, "")


def test_an_empty_array_is_no_event():
    """Nothing happened: nothing is made of it."""
    assert events_of(request(b'{"Records":[]}'), Reading(type="'t'", split="body:Records")) == []


def test_of_two_equal_keys_the_last_counts():
    """As for every reader of JSON, so that an item is the one that was verified and filtered."""
    body = b'{"r":[1],"r":[2,3]}'
    assert [item.data for item in events_of(request(body), Reading(type="'t'", split="body:r"))] == [b"2", b"3"]


def test_too_many_items_are_refused():
    """There is an end to what one request can make."""
    body = b"[" + b"1," * ITEMS_MAX + b"1]"
    with pytest.raises(TooManyItems):
        events_of(request(body), Reading(type="'t'", split="body:"))


def test_xml_is_split_into_elements_as_they_stand():
    """Each element at the path is an item; an encoding that only the document declares is told with it."""
    body = '<?xml version="1.0" encoding="ISO-8859-1"?><E><n id="1">é</n><m/><n  id="2" /></E>'.encode("latin-1")
    reading = Reading(type="{'n'}{item:@id?}", id="item:@id", split="body:E.n")
    found = events_of(request(body, "text/xml"), reading)
    assert [(item.type, item.data, item.content_type) for item in found] == [
        ("n1", b'<n id="1">\xe9</n>', "text/xml; charset=ISO-8859-1"),
        ("n2", b'<n  id="2" />', "text/xml; charset=ISO-8859-1"),
    ]
    (whole,) = events_of(request(body, "text/xml"), Reading(type="'t'", split="body:E.x"))
    assert whole.data == body


# ------------------------------------------------------------------------------------------------------ values


@given(st.text(max_size=300), st.text(max_size=20))
def test_a_type_is_always_one_that_may_be_published(text, default):
    """Whatever a provider calls it, the type is a type, and none of ours."""
    made = type_of(text, default)
    assert is_type(made)
    assert not is_operational(made)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("payment_intent.succeeded", "payment_intent.succeeded"),
        ("orders/create", "orders/create"),
        ("Push Hook", "Push_Hook"),
        ("jira:issue_updated", "jira:issue_updated"),
        ("é t", "t"),
        ("", "webhook"),
        ("hookline.endpoint.disabled", "hookline_endpoint.disabled"),
    ],
)
def test_types_are_the_providers_own_words(text, made):
    """Only what a type may not have is changed."""
    assert type_of(text, "webhook") == made


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1760000000, "2025-10-09T08:53:20Z"),
        ("1760000000", "2025-10-09T08:53:20Z"),
        (1760000000123, "2025-10-09T08:53:20.123Z"),
        (1760000000.378534, "2025-10-09T08:53:20.379Z"),
        ("2015-05-18T15:45:13Z", "2015-05-18T15:45:13Z"),
        ("2022-07-13T20:30:59.037339943Z", "2022-07-13T20:30:59.037339943Z"),
        ("2025-10-09T08:53:20.0000000001z", "2025-10-09T08:53:20.000000000Z"),
        ("2019-05-06T17:15:34.121+02:00", "2019-05-06T17:15:34.121+02:00"),
        ("2019-05-06 17:15:34+0200", "2019-05-06T17:15:34+02:00"),
        ("2019-13-06T17:15:34Z", ""),
        ("yesterday", ""),
        (True, ""),
        (-1, ""),
        ("9" * 16, ""),
        ([1], ""),
    ],
)
def test_times(value, time):
    """RFC 3339, or s or ms since 1970; anything else is no time."""
    (found,) = events_of(request({"t": value}), Reading(type="'t'", time="body:t"))
    assert found.time == time


def test_an_id_that_no_id_may_be_is_known_by_its_digest():
    """Long ones and those with control characters still tell repeats apart."""
    ids = [
        events_of(request({"i": value}), Reading(type="'t'", id="body:i"))[0].id
        for value in ("short", "x" * 256, "y" * 256, "a\nb", "\ud800")
    ]
    assert ids[0] == "short"
    assert all(one.startswith("sha256-") for one in ids[1:])
    assert len(set(ids)) == 5


def test_what_has_no_id_can_be_known_by_its_bytes():
    """`request:sha256` is of the item within a split, else of the body."""
    found = events_of(request(b"[1,1,2]"), Reading(type="'t'", id="request:sha256", split="body:"))
    assert found[0].id == found[1].id != found[2].id


_EXPRESSIONS = st.sampled_from(
    [
        "body:a.b",
        "item:a",
        "{item:a}.{parent:b?}",
        "body:a>json.b",
        "form:a>base64>json",
        "query:a|header:a",
        "request:url",
    ]
)
_BODIES = st.binary(max_size=80) | _JSON_VALUES.map(lambda value: json.dumps(value).encode())


@given(
    _BODIES,
    st.sampled_from([JSON, FORM, "text/xml", "text/plain", "multipart/form-data; boundary=x", ""]),
    _EXPRESSIONS,
    st.sampled_from(["", "body:", "body:a", "body:*.a", "body:a>json", "form:a>json"]),
    st.text(max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_no_request_makes_reading_fail(body, content_type, expression, split, query):
    """Whatever arrives there are items, with types that are types."""
    one = Inbound("POST", "https://h.example/in/x?" + query, (("content-type", content_type), ("a", "\xff")), body)
    reading = Reading(type=expression, id=expression, subject=expression, time=expression, split=split)
    for item in events_of(one, reading):
        assert is_type(item.type)
        assert len(item.id.encode()) <= 255
        assert len(item.subject.encode()) <= 255
