"""What simulated requests are made of: dice, templates, ways to write JSON, keys, changes, curl commands."""

from __future__ import annotations

import json
import math
import re
import statistics
import uuid
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.core.simulate.simulating import private_key

from hookline.core.simulate import json_style
from hookline.core.simulate.changes import as_xml, broken, changed, forged, padded
from hookline.core.simulate.dice import BASE62, Dice
from hookline.core.simulate.draft import SimulationError
from hookline.core.simulate.private_key import chain, new_key, read_ed25519, read_p256, read_rsa, self_signed
from hookline.core.simulate.template import Scene, composed, iso

NOW_S = 1_760_000_000.25
MANY = 4000


def scene(**config: object) -> Scene:
    """One at a known time."""
    return Scene(NOW_S, Dice("template"), "https://hooks.example.com:8443/in/x?y=1", config)


@given(low=st.integers(-(10**20), 10**20), width=st.integers(0, 10**20), seed=st.text())
def test_dice_stay_within_what_was_asked(low, width, seed):
    """Any whole number from low to high can come, and none beyond."""
    assert low <= Dice(seed).between(low, low + width) <= low + width


def test_dice_are_even():
    """Each of many faces comes about as often as the others."""
    dice = Dice("even")
    counts = [0] * 10
    for _ in range(MANY):
        counts[dice.below(10)] += 1
    assert statistics.pstdev(counts) < 4 * math.sqrt(MANY / 10 * 0.9)


def test_dice_of_one_seed_are_the_same_and_forks_do_not_depend_on_throws():
    """What was thrown before changes nothing in a fork."""
    one, same = Dice("seed"), Dice(b"seed")
    assert one.bytes(100) == same.bytes(60) + same.bytes(40)
    assert one.fork("x").bytes(8) == Dice("seed").fork("x").bytes(8) != Dice("seed").fork("y").bytes(8)


def test_ids_have_their_forms():
    """UUIDs are of version 4, numbers do not begin with 0, texts are of their alphabet."""
    dice = Dice("ids")
    for _ in range(200):
        found = uuid.UUID(dice.uuid())
        assert (found.version, found.variant) == (4, uuid.RFC_4122)
        assert re.fullmatch("[1-9][0-9]{4}", dice.number(5))
        assert set(dice.text(BASE62, 30)) <= set(BASE62)


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("${uuid}", "[0-9a-f-]{36}"),
        ("${hex:40}", "[0-9a-f]{40}"),
        ("evt_${base62:24}", "evt_[0-9A-Za-z]{24}"),
        ("${upper:17}${lower:3}", "[0-9A-Z]{17}[0-9a-z]{3}"),
        ("${digits:10}", "[1-9][0-9]{9}"),
        ("${base64:32}", "[A-Za-z0-9+/]{43}="),
        ("${base64url:32}", "[A-Za-z0-9_-]{43}"),
        ("${int:7-9}", "[789]"),
        ("${pick:a b|c}", "a b|c"),
        ("${s} ${s-3600} ${s+1}", "1760000000 1759996400 1760000001"),
        ("${ms}", "1760000000250"),
        ("${sf}", "1760000000.25"),
        (
            "${iso}|${iso.3}|${iso.9}",
            r"2025-10-09T08:53:20Z\|2025-10-09T08:53:20\.250Z\|2025-10-09T08:53:20\.250000000Z",
        ),
        ("${iso.6-86400}", r"2025-10-08T08:53:20\.250000Z"),
        ("${day}", "2025-10-09"),
        ("${at}|${at.3}", r"2025-10-09T08:53:20\+00:00\|2025-10-09T08:53:20\.250\+0000"),
        ("${hex:8#a}-${#a}", "([0-9a-f]{8})-\\1"),
        ("${url}", re.escape("https://hooks.example.com:8443/in/x?y=1")),
        ("${origin}", re.escape("https://hooks.example.com:8443")),
        ("${config:topic}", "arn"),
        ("$x {y} ${ not a place }", re.escape("$x {y} ${ not a place }")),
    ],
)
def test_places_of_a_template_are_filled(template, pattern):
    """Each kind gives what its name says."""
    assert re.fullmatch(pattern, scene(topic="arn").text(template))


def test_a_template_with_a_mistake_is_a_defect_of_ours():
    """An unknown kind does not become text."""
    with pytest.raises(AssertionError, match="'nonsense'"):
        scene().text("${nonsense}")


def test_numbers_fragments_and_sums_of_json():
    """A text that is one number's place is a number, one with an apostrophe a text, one that names a fragment that."""
    made = scene().value(
        {"n": "${int:5-5#cents}", "t": "${'#cents}", "x": "is ${#cents}", "f": "@part", "@part": ["@other", None, 1.5]},
        {"part": '{"sum": "${decimal:cents+cents}", "s": "${s}"}'},
    )
    assert made == {
        "n": 5,
        "t": "5",
        "x": "is 5",
        "f": {"sum": "0.10", "s": 1_760_000_000},
        "@part": ["@other", None, 1.5],
    }


def test_templates_are_composed():
    """Each part stands wherever its name does."""
    assert composed("@a@ @b@ @a@ @c@", a="@b@", b=1) == "1 1 1 @c@"


@given(at_us=st.integers(0, 4 * 10**15), digits=st.integers(0, 6))
def test_times_are_those_of_the_calendar(at_us, digits):
    """To the digit, never rounded up into another second."""
    text = iso(at_us / 1_000_000, digits)
    found = datetime.fromisoformat(text)
    assert abs((found - datetime.fromtimestamp(at_us / 1_000_000, UTC)).total_seconds()) <= 10**-digits


VALUE = {"b/c": "é<&> 😀", "a": [1, {"x": None}]}
STYLES = {
    json_style.compact: '{"b/c":"é<&> 😀","a":[1,{"x":null}]}',
    json_style.by_name: '{"a":[1,{"x":null}],"b/c":"é<&> 😀"}',
    json_style.pretty: '{\n  "b/c": "é<&> 😀",\n  "a": [\n    1,\n    {\n      "x": null\n    }\n  ]\n}',
    json_style.python: '{"b/c": "\\u00e9<&> \\ud83d\\ude00", "a": [1, {"x": null}]}',
    json_style.php: '{"b\\/c":"\\u00e9<&> \\ud83d\\ude00","a":[1,{"x":null}]}',
    json_style.go: '{"b/c":"é\\u003c\\u0026\\u003e 😀","a":[1,{"x":null}]}',
    json_style.rails: '{"b\\/c":"é\\u003c\\u0026\\u003e 😀","a":[1,{"x":null}]}',
    json_style.lines: '[{"b/c":"é<&> 😀","a":[1,{"x":null}]}]\r\n',
    json_style.spaced: '{\n  "b/c" : "é<&> 😀",\n  "a" : [\n    1,\n    {\n      "x" : null\n    }\n  ]\n}',
    json_style.form: "b%2Fc=%C3%A9%3C%26%3E+%F0%9F%98%80&a=%5B1%2C%7B%22x%22%3Anull%7D%5D",
    json_style.form_payload: "payload=%7B%22b%5C%2Fc%22%3A%22%5Cu00e9%3C%26%3E+%5Cud83d%5Cude00%22"
    "%2C%22a%22%3A%5B1%2C%7B%22x%22%3Anull%7D%5D%7D",
}


@pytest.mark.parametrize("style", STYLES)
def test_each_way_to_write_json(style):
    """Blanks, escapes and line ends are the provider's, the value is the same."""
    text = style(VALUE)
    assert text == STYLES[style]
    if style not in json_style.FORMS:
        assert json.loads(text) in (VALUE, [VALUE])


def test_xero_writes_blanks_in_some_places_only():
    """As in Xero's own examples."""
    value = {"events": [{"a": 1}], "firstEventSequence": 1, "lastEventSequence": 1, "entropy": "S"}
    wanted = '{"events":[{"a":1}],"firstEventSequence": 1,"lastEventSequence": 1, "entropy": "S"}'
    assert json_style.xero(value) == wanted


def test_a_new_rsa_key_is_one():
    """Of 2048 bits, usual exponent, primes far apart enough, the same of the same dice."""
    key = read_rsa(private_key("rsa"))
    numbers = key.private_numbers()
    assert (key.key_size, key.public_key().public_numbers().e) == (2048, 65_537)
    assert abs(numbers.p - numbers.q).bit_length() > 900
    assert private_key("rsa") == new_key("rsa", Dice("the keys of the tests"))
    for prime in (numbers.p, numbers.q):
        assert all(pow(base, prime - 1, prime) == 1 for base in (2, 3, 5, 7))


@pytest.mark.parametrize(("kind", "read"), [("rsa", read_rsa), ("p256", read_p256), ("ed25519", read_ed25519)])
def test_a_key_is_read_as_its_kind_alone(kind, read):
    """Another kind, and what is no key, is refused with a sentence."""
    assert read(private_key(kind)) is not None
    other = "p256" if kind != "p256" else "rsa"
    with pytest.raises(SimulationError, match="another kind"):
        read(private_key(other))
    with pytest.raises(SimulationError, match="not a private key"):
        read(b"nonsense")


def test_certificates_are_of_their_key_and_always_the_same():
    """For the name they were made for; the chain's root signed the leaf and is an authority."""
    pem = private_key("rsa")
    assert self_signed(pem, "a.example") == self_signed(pem, "a.example")
    leaf_pem, root_pem = chain(pem, "b.example")
    leaf, root = (x509.load_pem_x509_certificate(text.encode()) for text in (leaf_pem, root_pem))
    public = leaf.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.public_numbers() == read_rsa(pem).public_key().public_numbers()
    leaf.verify_directly_issued_by(root)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["b.example"]


@given(st.binary())
def test_what_is_changed_is_never_what_it_was(data):
    """One place is another, and the length is the same wherever there was a digit or a letter."""
    other = changed(data)
    assert other != data
    assert len(other) - len(data) == (0 if re.search(rb"[0-9A-Za-z]", data) else 1)


def test_json_stays_json_when_it_is_changed():
    """A digit becomes another digit, and no number begins with 0 because of it."""
    for text in ('{"a":0}', '{"a":9}', '{"a":[10,2]}', '{"a":"x"}', '{"a":"\\u00e9"}'):
        other = changed(text.encode())
        assert json.loads(other) != json.loads(text)


@given(st.text(min_size=1), st.text(min_size=1))
def test_who_does_not_know_a_credential_has_another(one, other):
    """Of the keys that he does not know each differs, the rest stays."""
    config = {"secret": one, "list": [one, other], "number": 1, "other": other}
    made = forged(config, ("secret", "list", "number", "missing"))
    assert made["secret"] != one
    assert made["list"] != [one]
    assert len(made["list"]) == 1
    assert (made["number"], made["other"]) == (1, other)


def test_what_breaks_off_is_no_json():
    """And what is padded still is what it was, of the size that was asked for."""
    body = json.dumps(VALUE).encode()
    with pytest.raises(ValueError):
        json.loads(broken(body))
    assert json.loads(padded(body, 1000)) == VALUE
    assert len(padded(body, 1000)) == 1000
    assert len(padded(b"a=b", 1000, in_form=True)) >= 1000
    assert padded(body, 3) == body


def test_a_payload_as_xml_can_be_read():
    """Names that no element can have, texts with markup and control characters included."""
    from defusedxml.ElementTree import fromstring

    root = fromstring(as_xml({"1 x": "<&>\x00\ud800", "list": [1, True, None], "": {"a": "é"}}))
    assert [child.tag for child in root] == ["_1_x", "list", "_"]
    assert root.find("list/item").text == "1"
    assert root.find("_/a").text == "é"
