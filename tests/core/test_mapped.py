"""Forms and XML as JSON-like values, and where an element stands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.core.mapped import (
    ELEMENTS_MAX,
    FIELDS_MAX,
    Element,
    MappedError,
    form_fields,
    form_value,
    kind_of,
    value_of,
    xml_tree,
    xml_value,
)

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/json", "json"),
        ('Application/CloudEvents+JSON; charset="UTF-8"', "json"),
        ("application/json; charset=utf-16", ""),
        (URLENCODED + ";charset=utf-8", "form"),
        (MULTIPART, "multipart"),
        ("text/xml; charset=utf-8", "xml"),
        ("application/soap+xml", "xml"),
        ("text/plain", ""),
        ("", ""),
    ],
)
def test_a_content_type_says_what_it_is(content_type, kind):
    """Subtypes decide, in any case, with any parameters."""
    assert kind_of(content_type) == kind


def test_a_form_is_an_object_and_a_repeated_name_a_list():
    """Names are decoded; plus is a blank; a name without a value has the empty text."""
    assert value_of(URLENCODED, b"a=1&b=%C3%A9+x&a=2&c&a=3") == {"a": ["1", "2", "3"], "b": "é x", "c": ""}


def test_a_multipart_form_has_texts_and_tells_of_files():
    """A file's bytes are not in the value: its name, type and size are."""
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="a\\"b"\r\n\r\none\r\ntwo\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\n'
        b"hello\r\n--xyz\r\nX-Nameless: 1\r\n\r\nlost\r\n--xyz--\r\nepilogue"
    )
    assert form_value(form_fields(MULTIPART, body)) == {
        'a"b': "one\r\ntwo",
        "f": {"filename": "x.txt", "content_type": "text/plain", "size_bytes": 5},
    }


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (URLENCODED, b"a&" * FIELDS_MAX + b"b"),
        ("multipart/form-data", b"--x--"),
        (MULTIPART, b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1'),
        (MULTIPART, b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * (FIELDS_MAX + 1) + b"--xyz--"),
        (MULTIPART, b""),
        ("application/json", b"{"),
        ("application/json", b"NaN"),
        ("text/xml", b""),
        ("text/xml", b"<a>"),
        ("text/xml", b"<a>\xff</a>"),
        ("text/xml", b"<a/><b/>"),
        ("text/xml", b"<!DOCTYPE a><a/>"),
        ("text/xml", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'),
        ("text/xml", b"<a>&x;</a>"),
        ("text/xml", b"<a>" * 129 + b"</a>" * 129),
        ("text/xml", b"<a>" + b"<b/>" * ELEMENTS_MAX + b"</a>"),
        ("text/xml", b'<?xml version="1.0" encoding="nonsense"?><a/>'),
    ],
)
def test_what_is_not_what_it_says_is_one_error(content_type, body):
    """Too much, too deep, a DTD, an entity, another syntax: all are `MappedError`, nothing is fetched."""
    with pytest.raises(MappedError):
        value_of(content_type, body)


def test_xml_as_a_value():
    """Names lose their prefixes, attributes get an @, repeated elements are a list, nil is null, text is text."""
    document = (
        '<s:o xmlns:s="u" s:id="7"><!-- no --><l>a</l><l>b &amp; c</l><n xsi:nil="true"/><e/>'
        "<m>t<i>1</i>u</m><c><![CDATA[<x>]]></c>é</s:o>"
    )
    assert xml_value(document.encode()) == {
        "o": {
            "@id": "7",
            "l": ["a", "b & c"],
            "n": None,
            "e": "",
            "m": {"i": "1", "#text": "tu"},
            "c": "<x>",
            "#text": "é",
        }
    }
    assert xml_value(document.encode("utf-16")) == xml_value(document.encode())


_NAMES = st.sampled_from(["a", "b", "s:c"])
_SPACE = st.sampled_from(["", " ", "\n"])
_TEXT = st.sampled_from(["", "x", "/>", " ", "é", "<![CDATA[</a>]]>", "<!-- > -->", "<?p /?>"])


@st.composite
def _element(draw, depth=3):
    name, blank = draw(_NAMES), draw(_SPACE)
    attribute = draw(st.sampled_from(["", ' k="/>"', " k='>/>'"]))
    if draw(st.booleans()):
        return f"<{name}{attribute}{blank}/>"
    inner = draw(_TEXT)
    if depth:
        inner += "".join(one + draw(_TEXT) for one in draw(st.lists(_element(depth=depth - 1), max_size=3)))
    return f"<{name}{attribute}>{inner}</{name}{blank}>"


def _all(element: Element):
    yield element
    for child in element.children:
        yield from _all(child)


@given(_element())
@settings(max_examples=150, deadline=None)
def test_every_element_stands_exactly_where_it_says(document):
    """What is cut out is the element itself: read alone it is the same value."""
    body = document.encode()
    for element in _all(xml_tree(body)):
        alone = body[element.start : element.end]
        assert alone.startswith(b"<")
        assert alone.endswith(b">")
        assert xml_value(alone) == {element.name: element.value()}


@given(st.sampled_from([URLENCODED, MULTIPART, "text/xml", "application/json"]), st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_else(content_type, body):
    """Whatever comes, there is a value or a `MappedError`."""
    try:
        value_of(content_type, body)
    except MappedError:
        pass
