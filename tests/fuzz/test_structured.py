"""Inputs built from their grammar, so that what they mean is known: it must be what is understood."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.checks import answer, filters, front, proofs, publication, schemas, texts
from tests.fuzz.seeds import words

from hookline.core.merge_patch import merged
from hookline.core.server_sent import Message, block, comment, place

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from(["a", "b", "order.created"])
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "data", "sku", "a.b", "lines"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))
OPERATORS = st.sampled_from([word for word in words("filters") if word.startswith("$")])
CONDITIONS = st.recursive(
    SCALARS,
    lambda inner: (
        st.dictionaries(NAMES, inner, max_size=3)
        | st.dictionaries(OPERATORS, inner | st.lists(inner, max_size=3) | SCALARS, min_size=1, max_size=2)
        | st.lists(inner, max_size=3)
        | st.sampled_from(["data.a", "data.lines[0].sku", "type"]).map(lambda path: {"$ref": path})
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=60)
METHODS = (b"GET", b"PUT", b"PATCH", b"DELETE")
TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map(lambda text: "x-" + text)
FIELDS = st.lists(st.tuples(TOKENS, st.text('ab ,;="\t\xe9', max_size=12).map(str.strip)), max_size=4)


def chunked(draw, body: bytes) -> bytes:
    """A body as chunks of any size, with extensions and trailers."""
    found, at = b"", 0
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b"']))
        found += (
            draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % size + extension + b"\r\n" + body[at : at + size] + b"\r\n"
        )
        at += size
    return found + b"0\r\n" + draw(st.sampled_from([b"", b"x-sum: 1\r\n"])) + b"\r\n"


@st.composite
def messages(draw, start: bytes, body: bytes) -> bytes:
    """A head that begins so, with this body in either framing."""
    head = start + b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in draw(FIELDS))
    if draw(st.booleans()):
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(draw, body)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@st.composite
def conversations(draw) -> tuple[bytes, list[front.Understood]]:
    """Valid requests on one connection, and what they are."""
    data, meant = b"", []
    for _ in range(draw(st.integers(1, 4))):
        publish, body = draw(st.booleans()), draw(BODIES)
        method, target = (b"POST", b"/v1/events") if publish else draw(
            st.tuples(st.sampled_from(METHODS), st.sampled_from([b"/", b"/a%20b?c=d", b"/x?"]))
        )  # fmt: skip
        start = b"%b %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n" % (method, target, front.KEY.encode())
        data += draw(messages(start, body))
        meant.append((method, target.removesuffix(b"?"), body))
    return data, meant


@QUICK
@given(conversations(), st.integers(0, 2**32))
def test_requests_are_understood_as_they_are_meant(conversation, seed):
    """Valid requests on one connection, cut anywhere, are understood exactly, and each is answered."""
    data, meant = conversation
    heard = front.bench().converse(front.cut(data, seed))
    assert heard.understood == meant
    assert len(front.statuses(heard.output.replace(front.CONTINUE, b""))) == len(meant)
    assert not heard.closed
    front.check(data)


@QUICK
@given(st.data(), BODIES, st.integers(200, 599).filter(lambda status: status not in (204, 304)), st.integers(0, 2**32))
def test_answers_are_read_as_they_are_meant(data, body, status, seed):
    """A correct answer, cut anywhere, has its status and its whole body; nothing is read of a redirect's."""
    raw = data.draw(messages(b"HTTP/1.1 %d Told\r\n" % status, body))
    reader, enough = answer.read(front.cut(raw, seed), 1000, whole=True)
    assert (enough, reader.fault, reader.status) == (True, None, status)
    assert reader.cut is (300 <= status < 400)
    assert reader.body == (b"" if reader.cut else body)
    for asked in (b"\x04", b"\xff"):
        answer.check(asked + raw)


@QUICK
@given(VALUES, st.sampled_from(["application/json", "application/cloudevents+json"]), st.data())
def test_events_are_taken_as_they_are_meant(payload, content_type, data):
    """A valid event in any spelling is taken, its payload byte for byte, and is sent as the same event."""
    text = json.dumps(payload, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    members = [('"type"', '"order.created"'), ('"data"', text), ('"id"', '"7"'), ('"source"', '"/a"')]
    if content_type != "application/json":
        members.append(('"specversion"', '"1.0"'))
    members = data.draw(st.permutations(members))
    body = ("{" + data.draw(st.sampled_from([",", " ,\n"])).join(f"{n}: {v}" for n, v in members) + "}").encode()
    (draft,) = publication.parse_publication(content_type, {}, body, publication.NOW_MS).drafts
    assert (draft.type, draft.source_id, draft.data) == ("order.created", "7", text.encode())
    publication.check(f"content-type: {content_type}\n\n".encode() + body)


@QUICK
@given(CONDITIONS, VALUES, st.sampled_from([1, 1, 200]))
def test_filters_keep_the_laws_of_logic(condition, payload, times):
    """A filter of any form compiles or is refused, says yes or no of any payload at bounded cost, and is logical."""
    filters.check_values({"data": condition}, payload, times)
    if isinstance(condition, dict):
        filters.check_values(condition, payload, times)


@QUICK
@given(
    st.dictionaries(st.sampled_from([word for word in words("schemas") if word.isalpha()]), VALUES, max_size=3), VALUES
)
def test_schemas_judge_any_payload(schema, payload):
    """A schema of any form compiles or is refused, and judges any payload without an exception."""
    schemas.check(json.dumps(schema).encode() + b"\n" + json.dumps(payload).encode())


@QUICK
@given(st.binary(min_size=1, max_size=80), st.binary(max_size=80))
def test_what_is_signed_is_verified(key, body):
    """What is signed with any key is verified by us and by the reference library, and by nobody once it is changed."""
    import base64

    secret = b"whsec_" + base64.b64encode(key)
    proofs.check(secret + b"\nmsg_1\nnow\ngood\n" + body)


@QUICK
@given(st.lists(st.tuples(st.sampled_from(["a", "b.c"]), st.integers(1, 999), VALUES), max_size=5))
def test_streams_are_read_as_they_are_written(entries):
    """Server-sent events that we write are read as what they are, wherever the stream is cut."""
    written = b"".join(
        comment(b"alive") + block(name.encode(), b"%d" % number, json.dumps(value).encode()) + place(b"%d" % number)
        for name, number, value in entries
    )
    assert texts.stream(written) == [
        Message(n, json.dumps(value).encode(), str(number)) for n, number, value in entries
    ]


@QUICK
@given(VALUES, st.dictionaries(NAMES, VALUES, max_size=4))
def test_merge_patches_are_those_of_the_standard(target, patch):
    """A merge patch gives what the pseudo-code of RFC 7396 gives, and changes neither of its arguments."""

    def reference(target, patch):
        if not isinstance(patch, dict):
            return patch
        target = dict(target) if isinstance(target, dict) else {}
        for name, value in patch.items():
            if value is None:
                target.pop(name, None)
            else:
                target[name] = reference(target.get(name), value)
        return target

    before = json.dumps([target, patch])
    assert merged(target, patch) == reference(target, patch)
    assert json.dumps([target, patch]) == before
