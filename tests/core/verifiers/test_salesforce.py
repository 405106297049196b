"""Salesforce outbound messages: the organization, the envelope, one event for each notification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.verifiers.recorded import Recorded, read, reason

from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Refused, Verified

REAL = Recorded("salesforce")
ORGANIZATION = REAL.config["organization_id"]
HEAD, _, _ = REAL.body.decode().partition("<Notification>")
_, _, TAIL = REAL.body.decode().partition("</Notification>")
ONE = REAL.body.decode()[len(HEAD) : -len(TAIL)]


def with_body(text):
    return REAL.request(body=text if isinstance(text, bytes) else text.encode())


def test_recorded_delivery():
    """The recorded delivery is verified, read, and answered with the acknowledgement that Salesforce waits for."""
    assert isinstance(REAL.judged(), Verified)
    (event,) = read("salesforce", REAL.request())
    assert (event.type, event.id) == ("sf:Lead", REAL.expected["dedup_id"])
    assert event.data.decode() == ONE
    reply = preset("salesforce").reply
    assert reply.body == REAL.expected["expected_response"]["example_body"]
    assert reply.content_type.startswith("text/xml")


def test_many_notifications():
    """Each notification is an event of its own, with its own id and its exact text."""
    ids = [f"04l5g00000AAAA{n}AAA" for n in range(3)]
    parts = [ONE.replace("04l5g00000AAAA0AAA", one) for one in ids]
    request = with_body(HEAD + "\n  ".join(parts) + TAIL)
    assert isinstance(REAL.judged(request), Verified)
    events = read("salesforce", request)
    assert [event.id for event in events] == ids
    assert [event.data.decode() for event in events] == parts


WRONG_ID = HEAD.replace(ORGANIZATION, "00D5g000007XXXYEAW")


OWN_ID = f"<OrganizationId>{ORGANIZATION}</OrganizationId>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (WRONG_ID + ONE + TAIL, "wrong_credential"),
        (HEAD.replace(ORGANIZATION, ORGANIZATION.lower()) + ONE + TAIL, "wrong_credential"),
        (HEAD.replace(ORGANIZATION, ORGANIZATION[:15].lower()) + ONE + TAIL, "wrong_credential"),
        (HEAD.replace(ORGANIZATION, "") + ONE + TAIL, "malformed_body"),
        (
            HEAD.replace(ORGANIZATION, f"{ORGANIZATION}</OrganizationId><OrganizationId>x") + ONE + TAIL,
            "malformed_body",
        ),
        (
            WRONG_ID + ONE.replace("<Id>", f"{OWN_ID}<Id>") + TAIL,
            "wrong_credential",
        ),
        (HEAD + TAIL, "malformed_body"),
        (HEAD + ONE * 101 + TAIL, "malformed_body"),
        (HEAD + ONE.replace("<Id>04l5g00000AAAA0AAA</Id>", "") + TAIL, "malformed_body"),
        (HEAD + ONE.replace("04l5g00000AAAA0AAA", " ") + TAIL, "malformed_body"),
        (REAL.body.decode().replace("Envelope", "Letter"), "malformed_body"),
        (REAL.body.decode().replace("soapenv:Body", "soapenv:Corpse"), "malformed_body"),
        (REAL.body.decode().replace("</notifications>", "</notifications><notifications/>"), "malformed_body"),
        (REAL.body.decode().replace("?>", '?><!DOCTYPE x SYSTEM "http://evil.example/x">', 1), "malformed_body"),
        (REAL.body.decode().replace("?>", '?><!DOCTYPE x [<!ENTITY e "00D">]>', 1), "malformed_body"),
        ("", "malformed_body"),
        ("{}", "malformed_body"),
        ("<a>" * 5000, "malformed_body"),
        (b"\xff\xfe<\0", "malformed_body"),
        (REAL.body.decode().replace("UTF-8", "UTF-99"), "malformed_body"),
    ],
)
def test_what_is_not_of_the_organization(text, why):
    """Another organization, one that only stands in a notification, another document, a DTD: refused."""
    assert reason(REAL.judged(with_body(text))) == why


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", None])
def test_what_does_not_say_that_it_is_xml(content_type):
    """A body that would not be read as XML is refused, as its events could not be."""
    assert reason(REAL.judged(REAL.request(headers={"Content-Type": content_type}))) == "malformed_body"


def test_ids_of_15_and_18_characters():
    """An organization's id of 15 characters is the same as its long form; case counts."""
    assert isinstance(REAL.judged(organization_id="00D5g000007XXXX"), Verified)
    assert isinstance(REAL.judged(organization_id=["x", ORGANIZATION]), Verified)
    assert reason(REAL.judged(organization_id="00d5g000007xxxx")) == "wrong_credential"
    assert reason(REAL.judged(organization_id=ORGANIZATION[:14])) == "wrong_credential"
    assert reason(REAL.judged(organization_id=f"{ORGANIZATION[:15]}EAX")) == "wrong_credential"
    assert reason(REAL.judged(organization_id=None)) == "not_configured"
    short = with_body(REAL.body.decode().replace(ORGANIZATION, ORGANIZATION[:15]))
    assert isinstance(REAL.judged(short), Verified)


@given(st.integers(0, len(REAL.body) - 1), st.binary(min_size=1, max_size=3))
def test_whatever_is_changed_there_is_a_verdict(at, data):
    """Bytes put in anywhere never raise; the organization's own text cannot be changed."""
    body = REAL.body[:at] + data + REAL.body[at + 1 :]
    verdict = REAL.judged(with_body(body))
    if ORGANIZATION.encode() not in body.partition(b"EnterpriseUrl")[0] and b"<!--" not in data:
        assert isinstance(verdict, Refused)


def test_how_an_id_looks_is_not_asked():
    """An organization is compared as it is written, and a notification's id only has to be there."""
    text = HEAD.replace(ORGANIZATION, "org-1") + ONE.replace("04l5g00000AAAA0AAA", "n.1") + TAIL
    assert isinstance(REAL.judged(with_body(text), organization_id="org-1"), Verified)
    assert reason(REAL.judged(with_body(text), organization_id="org-2")) == "wrong_credential"
