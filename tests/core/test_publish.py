"""What the door takes as an event, and how it says what it does not take."""

from __future__ import annotations

import json

import pytest

from hookline.core.errors import Refusal
from hookline.core.event import DELIVER_AT_AHEAD_S_MAX, EVENT_BYTES_MAX
from hookline.core.page import format_time
from hookline.core.publish import parse_publication

NOW_MS = 1_790_000_000_000
JSON = "application/json"
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


def parse(body, content_type=JSON, headers=None):
    return parse_publication(content_type, headers or {}, body, NOW_MS)


def one(body, content_type=JSON, headers=None):
    publication = parse(body, content_type, headers)
    assert publication.batch is False
    (draft,) = publication.drafts
    return draft


def refusal_of(body, content_type=JSON, headers=None):
    with pytest.raises(Refusal) as refusal:
        parse(body, content_type, headers)
    assert refusal.value.status in (400, 413, 415, 422)
    return refusal.value


def test_an_event_has_all_its_members():
    """Every member of the envelope arrives in its field."""
    draft = one(
        b'{"type":"order.created","data":{"a":1},"id":"o-1","source":"/shop","subject":"s","time":"2026-01-31T23:59:59Z",'
        b'"ordering_key":"k","deliver_at":"' + format_time(NOW_MS + 5000).encode() + b'","correlation_id":"c"}'
    )
    assert (draft.type, draft.data, draft.content_type) == ("order.created", b'{"a":1}', "application/json")
    assert (draft.source, draft.source_id, draft.subject) == ("/shop", "o-1", "s")
    assert (draft.time, draft.ordering_key, draft.correlation_id) == ("2026-01-31T23:59:59Z", "k", "c")
    assert draft.deliver_at_ms == NOW_MS + 5000


def test_an_event_needs_only_type_and_data():
    """Where a member is absent, or null, its field is empty."""
    for body in (b'{"type":"a","data":1}', b'{"type":"a","data":1,"id":null,"source":null,"deliver_at":null}'):
        draft = one(body)
        assert (draft.source, draft.source_id, draft.time, draft.deliver_at_ms) == ("", None, None, None)
        assert (draft.traceparent, draft.extensions, draft.causation_id) == (None, None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"0",
        b"-0.0",
        b"1.50e+3",
        b"1e999",
        b"-" + b"9" * 400,
        b'"\\u00e9\\/\\"}"',
        '"é😀"'.encode(),
        b"[ 1 ,\t2,\r\n3 ]",
        b'{ "b" : 1, "a":2 , "b": 3 }',
        b'{"data":{"type":"x"}}',
        b'"\\\\"',
        b"[]",
        b'"\\u0000"',
    ],
)
@pytest.mark.parametrize(
    "frame",
    [
        b'{"type":"a","data":%b}',
        b'{"data":%b,"type":"a"}',
        b' {"data" : %b , "type" : "a" , "id":"\\u0041\\"\\\\"}\n',
        b'\r\n\t {"type":"a","data":\n%b\n}\n',
    ],
)
def test_the_payload_keeps_its_bytes(data, frame):
    """Whitespace, key order, number spelling, escapes and repeated keys within the payload stay as they were."""
    assert one(frame % data).data == data


WRONG = [
    (b'{"type":"a"}', "invalid_event", "/data"),
    (b'{"data":1}', "invalid_event", "/type"),
    (b"{}", "invalid_event", "/type"),
    (b'"x"', "invalid_event", ""),
    (b"1", "invalid_event", ""),
    (b"null", "invalid_event", ""),
    (b'{"type":1,"data":1}', "invalid_event", "/type"),
    (b'{"type":null,"data":1}', "invalid_event", "/type"),
    (b'{"type":["a"],"data":1}', "invalid_event", "/type"),
    (b'{"type":"a","data":1,"id":5}', "invalid_event", "/id"),
    (b'{"type":"a","data":1,"id":{"x":1}}', "invalid_event", "/id"),
    (b'{"type":"a","data":1,"id":""}', "invalid_event", "/id"),
    (b'{"type":"a","data":1,"source":""}', "invalid_event", "/source"),
    (b'{"type":"a","data":1,"payload":1}', "unknown_field", "/payload"),
    (b'{"type":"a","data":1,"Type":"a"}', "unknown_field", "/Type"),
    (b'{"type":"a","data":1,"a/b~c`d":1}', "unknown_field", "/a~1b~0c`d"),
    (b'{"type":"a","data":1,"":1}', "unknown_field", "/"),
    (b'{"type":"","data":1}', "invalid_event_type", "/type"),
    (b'{"type":"a b","data":1}', "invalid_event_type", "/type"),
    (b'{"type":"-a","data":1}', "invalid_event_type", "/type"),
    (b'{"type":"a\\n","data":1}', "invalid_event_type", "/type"),
    (b'{"type":"' + b"a" * 256 + b'","data":1}', "invalid_event_type", "/type"),
    ('{"type":"é","data":1}'.encode(), "invalid_event_type", "/type"),
    (b'{"type":"hookline.x","data":1}', "reserved_event_type", "/type"),
    (b'{"type":"a","data":1,"time":"yesterday"}', "invalid_event", "/time"),
    (b'{"type":"a","data":1,"time":"2026-02-30T00:00:00Z"}', "invalid_event", "/time"),
    (b'{"type":"a","data":1,"time":"2026-01-01 00:00:00Z"}', "invalid_event", "/time"),
    (b'{"type":"a","data":1,"time":"2026-01-01T00:00:00"}', "invalid_event", "/time"),
    (b'{"type":"a","data":1,"time":"0000-01-01T00:00:00Z"}', "invalid_event", "/time"),
    (b'{"type":"a","data":1,"time":1790000000}', "invalid_event", "/time"),
    (b'{"type":"a","data":1,"deliver_at":"soon"}', "invalid_event", "/deliver_at"),
    (b'{"type":"a","data":1,"deliver_at":""}', "invalid_event", "/deliver_at"),
]


@pytest.mark.parametrize(("body", "code", "pointer"), WRONG)
def test_what_is_not_an_event_is_refused_with_a_pointer(body, code, pointer):
    """A member that is missing, unknown or wrong is named by a JSON pointer."""
    refusal = refusal_of(body)
    assert (refusal.code, refusal.pointer) == (code, pointer)


@pytest.mark.rule(n=3)
@pytest.mark.parametrize("name", ["id", "source", "subject", "ordering_key", "correlation_id"])
def test_texts_are_bounded_in_bytes_and_have_no_controls(name):
    """An attribute has 1 to 255 bytes (a source 2,048) of UTF-8 and no control character, however it is written."""
    bytes_max = 2048 if name == "source" else 255

    def body(text):
        return json.dumps({"type": "a", "data": 1, name: text}, ensure_ascii=False).encode()

    for good in ("x", " ", "x" * bytes_max, "é" * (bytes_max // 2), "😀", "\u00a0", '"\\'):
        draft = one(body(good))
        assert getattr(draft, "source_id" if name == "id" else name) == good
    for bad in ("", "x" * (bytes_max + 1), "é" * (bytes_max // 2 + 1), "a\u0000", "a\n", "\x7f", "\u0085", "\x1b[2J"):
        refusal = refusal_of(body(bad))
        assert (refusal.code, refusal.pointer) == ("invalid_event", f"/{name}")


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-31T23:59:59Z",
        "2026-02-28T00:00:00.123456789Z",
        "2024-02-29T23:59:60Z",
        "2026-12-31t23:59:59z",
        "2026-12-31T23:59:59.5+05:30",
        "0001-01-01T00:00:00-23:59",
        "9999-12-31T23:59:59Z",
    ],
)
def test_times_stay_as_they_were_written(time):
    """Any RFC 3339 time is taken and kept as it is."""
    assert one(b'{"type":"a","data":1,"time":"%b"}' % time.encode()).time == time


def test_deliver_at_is_within_30_days_and_a_past_one_means_now():
    """A time that has come is no wait; one beyond 30 days is refused."""

    def body(at_ms):
        return b'{"type":"a","data":1,"deliver_at":"%b"}' % format_time(at_ms).encode()

    last = NOW_MS + DELIVER_AT_AHEAD_S_MAX * 1000
    assert one(body(NOW_MS - 1)).deliver_at_ms is None
    assert one(body(NOW_MS)).deliver_at_ms is None
    assert one(body(NOW_MS + 1)).deliver_at_ms == NOW_MS + 1
    assert one(body(last)).deliver_at_ms == last
    assert refusal_of(body(last + 1)).pointer == "/deliver_at"


def test_a_payload_of_one_mebibyte_is_the_largest():
    """1 MiB of payload is taken, one byte more is too large."""
    body = b'{"type":"a","data":"%b"}'
    assert len(one(body % (b"x" * (EVENT_BYTES_MAX - 2))).data) == EVENT_BYTES_MAX
    assert refusal_of(body % (b"x" * (EVENT_BYTES_MAX - 1))).code == "event_too_large"
    assert refusal_of(b'{"type":"a","data":1,"id":"%b"}' % (b"x" * EVENT_BYTES_MAX)).code == "invalid_event"


def test_the_type_may_be_anything_that_is_not_ours():
    """A type that only looks like ours is the publisher's."""
    assert one(b'{"type":"hooklines.x","data":1}').type == "hooklines.x"
    assert one(b'{"type":"hookline","data":1}').type == "hookline"


# ---------------------------------------------------------------------------------------------------- batches


def test_a_batch_judges_each_item_alone():
    """A bad item is a refusal in its place, its pointer beginning with its index; the others are drafts."""
    publication = parse(
        b' [{"type":"a","data":{"x":  1}}, {"type":5,"data":1}, 7, {"type":"b","data":null,"x":1},'
        b'{"type":"c","data":1,"data":1}, {"type":"hookline.c","data":1},{"type":"d","data":'
        + b"[" * 128
        + b"]" * 128
        + b"},"
        b'{"type":"e","data":"' + b"x" * EVENT_BYTES_MAX + b'"},{"type":"z","data":[]}]'
    )
    assert publication.batch is True
    drafts = publication.drafts
    assert [d.type for d in (drafts[0], drafts[8])] == ["a", "z"]
    assert drafts[0].data == b'{"x":  1}'
    assert [(d.code, d.pointer) for d in drafts[1:8]] == [
        ("invalid_event", "/1/type"),
        ("invalid_event", "/2"),
        ("unknown_field", "/3/x"),
        ("malformed_json", "/4"),
        ("reserved_event_type", "/5/type"),
        ("too_deep", "/6"),
        ("event_too_large", "/7"),
    ]


def test_a_batch_has_1_to_1000_items():
    """An empty array and one of more than 1,000 items are refused as a whole, however many there are."""
    item = b'{"type":"a","data":1}'
    assert len(parse(b"[" + b",".join([item] * 1000) + b"]").drafts) == 1000
    assert refusal_of(b"[" + b",".join([item] * 1001) + b"]").code == "batch_too_large"
    assert refusal_of(b"[" + b"0," * 3_000_000 + b"0]").code == "batch_too_large"
    assert refusal_of(b"[]").code == "empty_batch"
    assert refusal_of(b" [ ] ").code == "empty_batch"


# ------------------------------------------------------------------------------------- content types and traces


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; q=1",
        "application/json; charset=utf8",
    ],
)
def test_json_in_utf8_is_taken(content_type):
    """Case and parameters of the content type do not matter, as long as it is UTF-8."""
    assert one(b'{"type":"a","data":1}', content_type).type == "a"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/cloudevents+json; charset=latin1",
        "application/cloudevents",
        "application/cloudevents+avro",
        "application/cloudevents-batch",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/ld+json",
        "json",
        "application/json," * 1000,
    ],
)
def test_other_content_types_are_refused(content_type):
    """Everything else is an unsupported media type, and the answer lists what is accepted."""
    refusal = refusal_of(b'{"type":"a","data":1}', content_type)
    assert refusal.code == "unsupported_media_type"
    assert "application/cloudevents+json" in refusal.detail


def test_the_trace_of_the_request_is_the_events():
    """A valid traceparent is kept with its tracestate; a bad one is nothing and refuses nothing."""
    body = b'{"type":"a","data":1}'
    draft = one(body, headers={"traceparent": TRACE, "tracestate": "a=1,b=2"})
    assert (draft.traceparent, draft.tracestate) == (TRACE, "a=1,b=2")
    for headers in ({"traceparent": "00-0-0-00", "tracestate": "a=1"}, {"tracestate": "a=1"}, {"x": "y"}):
        assert one(body, headers=headers).traceparent is None
        assert one(body, headers=headers).tracestate is None
    assert one(body, headers={"traceparent": TRACE, "tracestate": "a=" + "1" * 511}).tracestate is None
    assert one(body, headers={"traceparent": TRACE, "tracestate": "a=\n"}).tracestate is None
    (item,) = parse(b"[" + body + b"]", headers={"traceparent": TRACE}).drafts
    assert item.traceparent == TRACE


def test_a_wrong_type_is_said_in_words():
    """The answer to a member of the wrong type names both types as people do."""
    assert refusal_of(b'{"type":1,"data":1}').detail == "Expected a string, got an integer."
    assert refusal_of(b'{"type":"a","data":1,"id":[]}').detail == "Expected a string or null, got an array."
    assert refusal_of(b'{"type":"a"}').detail == "The member 'data' is missing."
    assert refusal_of(b'{"type":"a","data":1,"x":1}').detail == "An event has no member 'x'."
