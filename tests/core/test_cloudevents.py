"""CloudEvents as they come in, in their three modes."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.cloudevents import decode_header, encode_header
from hookline.core.errors import Refusal
from hookline.core.event import EVENT_BYTES_MAX
from hookline.core.page import format_time
from hookline.core.publish import parse_publication

NOW_MS = 1_790_000_000_000
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json; charset=UTF-8"
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
OTHER_TRACE = "00-" + "3" * 32 + "-" + "4" * 16 + "-01"
LEAST = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b"}
HEADERS = {f"ce-{name}": value for name, value in LEAST.items()}


def parse(body, content_type=STRUCTURED, headers=None):
    return parse_publication(content_type, headers or {}, body, NOW_MS)


def structured(members=None, text="", headers=None):
    """The draft of an event with more `members`, and `text` before its end."""
    body = json.dumps({**LEAST, **(members or {})}, ensure_ascii=False)[:-1] + text + "}"
    publication = parse(body.encode(), headers=headers)
    assert publication.batch is False
    return publication.drafts[0]


def binary(headers=None, body=b"", content_type=""):
    return parse(body, content_type, {**HEADERS, **(headers or {})}).drafts[0]


def refusal_of(call, *arguments, **more):
    with pytest.raises(Refusal) as refusal:
        call(*arguments, **more)
    return refusal.value


# ------------------------------------------------------------------------------------------------- structured


def test_attributes_arrive_in_their_fields():
    """Context attributes and the extensions we know become fields, the others stay extensions."""
    draft = structured(
        {
            "subject": "s",
            "time": "2026-01-31T23:59:59+01:00",
            "dataschema": "https://example.com/s",
            "orderingkey": "k",
            "correlationid": "c",
            "causationid": "b",
            "deliverat": format_time(NOW_MS + 1000),
            "traceparent": TRACE,
            "tracestate": "a=1",
            "foo": "bar",
            "n": -5,
            "yes": True,
            "nothing": None,
            "empty": "",
        },
        ',"data": {"x":  1}',
    )
    assert (draft.type, draft.source, draft.source_id, draft.subject) == ("a.b", "/s", "1", "s")
    assert (draft.time, draft.dataschema) == ("2026-01-31T23:59:59+01:00", "https://example.com/s")
    assert (draft.ordering_key, draft.correlation_id, draft.causation_id) == ("k", "c", "b")
    assert (draft.deliver_at_ms, draft.traceparent, draft.tracestate) == (NOW_MS + 1000, TRACE, "a=1")
    assert draft.extensions == {"foo": "bar", "n": -5, "yes": True, "empty": ""}
    assert (draft.data, draft.content_type) == (b'{"x":  1}', "application/json")


@pytest.mark.parametrize(
    ("text", "data", "content_type"),
    [
        ("", b"", "application/json"),
        (',"data":null', b"null", "application/json"),
        (',"data": "text" ', b'"text"', "application/json"),
        (',"data": 1.50 , "datacontenttype":"application/vnd.x+json"', b"1.50", "application/vnd.x+json"),
        (',"datacontenttype":null,"data":[ ]', b"[ ]", "application/json"),
        (',"datacontenttype":"application/xml","data":"<a>\\u00e9\\n</a>"', "<a>é\n</a>".encode(), "application/xml"),
        (',"datacontenttype":"text/plain; charset=utf-8","data":""', b"", "text/plain; charset=utf-8"),
        (',"datacontenttype":"image/png","data_base64":"iVBO\\u0052w=="', b"\x89PNG", "image/png"),
        (',"data_base64":"eyJhIjoxfQ=="', b'{"a":1}', "application/json"),
        (',"data_base64":null,"data":1', b"1", "application/json"),
    ],
)
def test_the_payload_is_the_datas_own_bytes(text, data, content_type):
    """JSON keeps its bytes, a string of another type is its text, Base64 is what it encodes."""
    draft = structured(text=text)
    assert (draft.data, draft.content_type) == (data, content_type)


@pytest.mark.parametrize(
    ("members", "text", "code", "pointer"),
    [
        ({"specversion": "0.3"}, "", "invalid_cloudevent", "/specversion"),
        ({"specversion": "1.0.2"}, "", "invalid_cloudevent", "/specversion"),
        ({"specversion": 1.0}, "", "invalid_cloudevent", "/specversion"),
        ({"id": ""}, "", "invalid_cloudevent", "/id"),
        ({"id": None}, "", "invalid_cloudevent", "/id"),
        ({"id": 5}, "", "invalid_cloudevent", "/id"),
        ({"id": "a\u0085"}, "", "invalid_cloudevent", "/id"),
        ({"source": ""}, "", "invalid_cloudevent", "/source"),
        ({"source": "x" * 2049}, "", "invalid_cloudevent", "/source"),
        ({"type": "a b"}, "", "invalid_event_type", "/type"),
        ({"type": "hookline.x"}, "", "reserved_event_type", "/type"),
        ({"time": "now"}, "", "invalid_cloudevent", "/time"),
        ({"time": ""}, "", "invalid_cloudevent", "/time"),
        ({"deliverat": "2126-01-01T00:00:00Z"}, "", "invalid_cloudevent", "/deliverat"),
        ({"orderingkey": "x" * 256}, "", "invalid_cloudevent", "/orderingkey"),
        ({"partitionkey": "x" * 256}, "", "invalid_cloudevent", "/partitionkey"),
        ({"orderingkey": 5}, "", "invalid_cloudevent", "/orderingkey"),
        ({"datacontenttype": "json"}, ',"data":1', "invalid_cloudevent", "/datacontenttype"),
        ({"datacontenttype": "a/b\r\nx: y"}, ',"data":"1"', "invalid_cloudevent", "/datacontenttype"),
        ({"datacontenttype": "a/" + "b" * 254}, "", "invalid_cloudevent", "/datacontenttype"),
        ({"datacontenttype": "text/xml"}, ',"data":{"a":1}', "invalid_cloudevent", "/data"),
        ({}, ',"data":1,"data_base64":"MQ=="', "invalid_cloudevent", "/data_base64"),
        ({}, ',"data_base64":"MQ="', "invalid_cloudevent", "/data_base64"),
        ({}, ',"data_base64":"MQ==MQ=="', "invalid_cloudevent", "/data_base64"),
        ({}, ',"data_base64":" MQ=="', "invalid_cloudevent", "/data_base64"),
        ({}, ',"data_base64":"é"', "invalid_cloudevent", "/data_base64"),
        ({}, ',"data_base64":5', "invalid_cloudevent", "/data_base64"),
        ({}, ',"data_base64":"ew=="', "malformed_json", None),
        ({"Foo": "x"}, "", "invalid_cloudevent", "/Foo"),
        ({"foo_bar": "x"}, "", "invalid_cloudevent", "/foo_bar"),
        ({"": "x"}, "", "invalid_cloudevent", "/"),
        ({"x" * 65: "x"}, "", "invalid_cloudevent", "/" + "x" * 65),
        ({"foo": 1.5}, "", "invalid_cloudevent", "/foo"),
        ({"foo": {}}, "", "invalid_cloudevent", "/foo"),
        ({"foo": [1]}, "", "invalid_cloudevent", "/foo"),
        ({"foo": 2**31}, "", "invalid_cloudevent", "/foo"),
        ({"foo": "a\nb"}, "", "invalid_cloudevent", "/foo"),
        ({"foo": "x" * 2049}, "", "invalid_cloudevent", "/foo"),
        ({f"e{n}": 1 for n in range(65)}, "", "invalid_cloudevent", None),
        ({f"e{n}": "x" * 2000 for n in range(9)}, "", "event_too_large", None),
        ({}, ',"id":"1"', "malformed_json", None),
        ({}, ',"i\\u0064":"1"', "malformed_json", None),
        ({}, ',"foo":1,"foo":1', "malformed_json", None),
        ({}, ',"data":1,"data":1', "malformed_json", None),
        ({}, ',"subject":null,"subject":"x"', "malformed_json", None),
        ({}, ',"data":01', "malformed_json", None),
        ({}, ',"data":"\\ud800"', "malformed_json", None),
        ({}, ',"data":' + "[" * 128 + "]" * 128, "too_deep", None),
        ({}, ',"data":"' + "x" * EVENT_BYTES_MAX + '"', "event_too_large", None),
    ],
)
def test_what_is_not_a_cloudevent_is_refused(members, text, code, pointer):
    """What breaks the specification, or a limit, is refused with a pointer to the attribute."""
    refusal = refusal_of(structured, members, text)
    assert (refusal.code, refusal.pointer) == (code, pointer)


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_required_attributes_are_required(name):
    """An event without one of the four is refused, in JSON and in headers."""
    members = {key: value for key, value in LEAST.items() if key != name}
    refusal = refusal_of(parse, json.dumps(members).encode())
    assert (refusal.code, refusal.pointer) == ("invalid_cloudevent", f"/{name}")
    headers = {f"ce-{key}": value for key, value in members.items()}
    refusal = refusal_of(parse, b"", "text/plain", headers)
    assert (refusal.code, f"ce-{name}" in refusal.detail) == ("invalid_cloudevent", True)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"{}", b"\xff", b"\xef\xbb\xbf{}"])
def test_what_is_no_object_is_refused(body):
    """A structured request holds one JSON object."""
    assert refusal_of(parse, body).code in ("malformed_json", "invalid_cloudevent")


def test_a_partition_key_orders_and_stays():
    """The partitioning extension is the ordering key where there is no other, and is kept as it is."""
    draft = structured({"partitionkey": "p"})
    assert (draft.ordering_key, draft.extensions) == ("p", {"partitionkey": "p"})
    draft = structured({"partitionkey": "p", "orderingkey": "o"})
    assert (draft.ordering_key, draft.extensions) == ("o", {"partitionkey": "p"})


def test_the_headers_trace_wins_but_over_that_of_a_batch():
    """HTTP's trace is the current hop's; an event of a batch has its own, or that of the request."""
    headers = {"traceparent": OTHER_TRACE}
    assert structured({"traceparent": TRACE, "tracestate": "a=1"}, headers=headers).traceparent == OTHER_TRACE
    assert structured({"traceparent": TRACE, "tracestate": "a=1"}, headers=headers).tracestate is None
    assert structured({"traceparent": TRACE}, headers={"traceparent": "bad"}).traceparent == TRACE
    assert structured({"traceparent": "bad"}).traceparent is None
    assert binary({"ce-traceparent": TRACE}).traceparent == TRACE
    assert binary({"ce-traceparent": TRACE, "traceparent": OTHER_TRACE}).traceparent == OTHER_TRACE
    items = [{**LEAST, "traceparent": TRACE}, LEAST]
    drafts = parse(json.dumps(items).encode(), BATCH, headers).drafts
    assert [draft.traceparent for draft in drafts] == [TRACE, OTHER_TRACE]


# ------------------------------------------------------------------------------------------------------ batch


def test_a_batch_is_judged_item_by_item():
    """Each event of a batch is a draft or a refusal, with a pointer that begins with its index."""
    items = [LEAST, {**LEAST, "specversion": "2.0"}, {**LEAST, "data": {"x": 1}, "foo": "bar"}, 5]
    publication = parse(json.dumps(items).encode(), BATCH)
    first, second, third, fourth = publication.drafts
    assert publication.batch is True
    assert (first.source_id, third.extensions, third.data) == ("1", {"foo": "bar"}, b'{"x": 1}')
    assert (second.code, second.pointer) == ("invalid_cloudevent", "/1/specversion")
    assert (fourth.code, fourth.pointer) == ("invalid_cloudevent", "/3")


def test_a_batch_is_an_array_that_is_not_empty():
    """An empty batch, and one that is no array, are refused as a whole."""
    assert refusal_of(parse, b"[]", BATCH).code == "empty_batch"
    assert refusal_of(parse, json.dumps(LEAST).encode(), BATCH).code == "invalid_event"
    assert refusal_of(parse, b"[" + b"{}," * 1000 + b"{}]", BATCH).code == "batch_too_large"


# ----------------------------------------------------------------------------------------------------- binary


@pytest.mark.parametrize(
    ("content_type", "body", "kept"),
    [
        ("application/json", b'{"a":  1.0}', "application/json"),
        ("application/json; charset=utf-8", b"null", "application/json; charset=utf-8"),
        ("application/xml", b"<a/>", "application/xml"),
        ("application/octet-stream", b"\x00\xff", "application/octet-stream"),
        ("text/plain; charset=iso-8859-1", b"\xe9", "text/plain; charset=iso-8859-1"),
        ("application/json; charset=utf-16", b"\xff\xfe1\x00", "application/json; charset=utf-16"),
        ("application/x-www-form-urlencoded", b"a=1&b=2", "application/x-www-form-urlencoded"),
        ("", b"bytes", "application/octet-stream"),
        ("", b"", "application/json"),
        ("application/json", b"", "application/json"),
    ],
)
def test_binary_mode_keeps_body_and_content_type(content_type, body, kept):
    """With `ce-` headers the body is the payload, of whatever type, also of application/json."""
    draft = binary(body=body, content_type=content_type)
    assert (draft.data, draft.content_type, draft.source_id) == (body, kept, "1")


def test_binary_attributes_are_decoded():
    """Header values are unquoted and percent-decoded; names we do not know are extensions."""
    draft = binary(
        {
            "ce-subject": "Euro%20%E2%82%AC%20%f0%9f%98%80",
            "ce-foo": '"a \\"b\\" %25"',
            "ce-time": "2026-01-01T00:00:00Z",
        }
    )
    assert (draft.subject, draft.time) == ("Euro € 😀", "2026-01-01T00:00:00Z")
    assert draft.extensions == {"foo": 'a "b" %'}


@pytest.mark.parametrize(
    ("headers", "body", "content_type", "code"),
    [
        ({"ce-datacontenttype": "a/b"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-specversion": "0.3"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": "%C0%A0"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": "%ED%A0%80"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": "50%"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": "%zz"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": "%00"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": "%0d%0aX: y"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": "é"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": '"x'}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-subject": ""}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-foo-bar": "x"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-": "x"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-data": "x"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-data_base64": "x"}, b"", "a/b", "invalid_cloudevent"),
        ({"ce-type": "hookline.x"}, b"", "a/b", "reserved_event_type"),
        ({}, b"x", "nonsense", "invalid_cloudevent"),
        ({}, b"x", "a/b\n", "invalid_cloudevent"),
        ({}, b"{", "application/json", "malformed_json"),
        ({}, b"\xef\xbb\xbf1", "application/json", "malformed_json"),
        ({}, b'"\xff"', "text/json", "malformed_json"),
        ({}, b"[" * 129 + b"]" * 129, "application/json", "too_deep"),
        ({}, b"x" * (EVENT_BYTES_MAX + 1), "a/b", "event_too_large"),
    ],
)
def test_what_is_wrong_in_binary_mode_is_refused(headers, body, content_type, code):
    """A bad header, and a body that is not what its type says, is refused; nothing points into JSON."""
    refusal = refusal_of(binary, headers, body, content_type)
    assert (refusal.code, refusal.pointer) == (code, None)


def test_the_fault_in_a_header_is_named():
    """The answer to a bad attribute in a header names the header."""
    assert refusal_of(binary, {"ce-id": "x" * 256}).extra == {"header": "ce-id"}


def test_any_ce_header_means_binary_mode():
    """A request that only begins to look like binary mode is told what is missing."""
    for name, value in HEADERS.items():
        refusal = refusal_of(parse, b'{"type":"a","data":1}', "application/json", {name: value})
        assert refusal.code == "invalid_cloudevent"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_headers_bear_any_text(text):
    """Any text survives a header, which holds visible ASCII only and neither quote nor space."""
    encoded = encode_header(text)
    assert all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in encoded)
    assert decode_header(encoded.decode("ascii")) == text


@given(st.text(st.sampled_from('%"\\ aE2€AC\t'), max_size=12))
def test_no_header_breaks_the_decoder(value):
    """Any header value is decoded or is a ValueError."""
    try:
        decoded = decode_header(value)
    except ValueError:
        decoded = ""
    assert isinstance(decoded, str)


def test_the_specifications_example_is_encoded_as_it_says():
    """The example of the HTTP binding, 3.1.3.2, upper case."""
    assert encode_header("Euro € 😀") == b"Euro%20%E2%82%AC%20%F0%9F%98%80"
    assert [encode_header(value) for value in (True, False, -5)] == [b"true", b"false", b"-5"]


@given(data=st.binary(max_size=50), content_type=st.sampled_from(["a/b", "text/plain"]))
def test_base64_gives_back_any_bytes(data, content_type):
    """Any payload arrives through data_base64."""
    encoded = base64.b64encode(data).decode()
    assert structured({"data_base64": encoded, "datacontenttype": content_type}).data == data
