"""Templates of answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.expression import ExpressionError, Scope
from hookline.core.reply import TEMPLATE_CHARS_MAX, compile_template
from hookline.core.verifiers.inbound import Inbound

JSON = "application/json"


def filled(template, content_type, body=b"{}", **answer):
    request = Inbound.of("POST", "https://h.example/in/x?q=1", {"content-type": JSON}, body)
    return compile_template(template, content_type).fill(Scope(request, answer)).decode()


def test_a_json_answer_has_texts_in_quotes_and_values_outside():
    """The documented example: payload paths in an answer, numbers as numbers, what is not there as null."""
    template = (
        '{"status":"success","event_data":{"order_id":"{body:order.id}","user_id":"{body:user}","amount":{body:amount},'
        '"tags":{body:tags},"none":{body:none}},"id":"{answer:event_id}"}'
    )
    body = b'{"order":{"id":7},"user":"a\\"b\\n","amount":12.5,"tags":["x"]}'
    assert json.loads(filled(template, JSON, body, event_id="evt_1")) == {
        "status": "success",
        "event_data": {"order_id": "7", "user_id": 'a"b\n', "amount": 12.5, "tags": ["x"], "none": None},
        "id": "evt_1",
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_no_payload_breaks_a_json_answer(value):
    """Whatever a sender writes, the answer is the JSON that the template says."""
    made = json.loads(filled('{"in":"{body:v}","out":{body:v}}', JSON, json.dumps({"v": value}).encode()))
    assert set(made) == {"in", "out"}
    assert isinstance(made["in"], str)


def test_xml_is_escaped_and_text_is_not():
    """Each content type has its own way of putting text in."""
    body = b'{"n":"a<b>&\\""}'
    assert filled("<r>{body:n}</r>", "text/xml", body) == "<r>a&lt;b&gt;&amp;&quot;</r>"
    assert filled("{body:n} {query:q} {'[accepted]'}", "text/plain", body) == 'a<b>&" 1 [accepted]'


def test_braces_that_are_no_expression_are_text():
    """A template is JSON most of the time."""
    assert filled('{"a":{"b":{}}}', JSON) == '{"a":{"b":{}}}'


def test_a_long_value_is_left_out():
    """An answer is no copy of the request."""
    body = json.dumps({"v": "x" * 20_000}).encode()
    assert filled('{"v":{body:v},"w":"{body:v}"}', JSON, body) == '{"v":null,"w":""}'


@pytest.mark.parametrize("template", ["{body:a..b}", "{header:}", "x" * (TEMPLATE_CHARS_MAX + 1), "\ud800"])
def test_a_template_that_cannot_be_read_is_said(template):
    """It is refused when it is configured."""
    with pytest.raises(ExpressionError):
        compile_template(template, JSON)
