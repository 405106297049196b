"""Every simulated request against the verifier of its preset, which is built of other code."""

from __future__ import annotations

import json

import pytest
from tests.core.simulate.simulating import NOW_S, SAMPLES, judged, known, setting_of, simulated

from hookline.core.reading import events_of
from hookline.core.simulate.catalogue import NAMES, provider_of
from hookline.core.simulate.changes import STALE_S, Changes
from hookline.core.simulate.draft import SimulationError
from hookline.core.verifiers import presets
from hookline.core.verifiers.verdict import Handshake, Refused, Verified

OTHER_TYPES = {
    ("sendgrid", "several"): ["delivered", "open", "click"],
    ("slack", "command"): ["webhook-collect"],
    ("discord", "APPLICATION_COMMAND"): ["order"],
    ("discord", "MESSAGE_COMPONENT"): ["approve"],
    ("ifttt", "trigger"): ["webhook"],
    ("ifttt", "action"): ["webhook"],
    ("ifttt", "setup"): ["webhook"],
    ("twilio", "incoming_message"): ["received"],
    ("twilio", "message_status"): ["delivered"],
    ("twilio", "incoming_call"): ["ringing"],
    ("linear", "Issue.create"): ["Issue"],
    ("linear", "Issue.update"): ["Issue"],
    ("linear", "Comment.create"): ["Comment"],
    ("dropbox", "list_folder_of_team"): ["list_folder"],
    ("microsoft_graph", "chatMessage"): ["created"],
    ("meta", "page.feed"): ["page"],
    ("meta", "instagram.comments"): ["instagram"],
    ("whatsapp", "messages"): ["whatsapp_business_account"],
    ("whatsapp", "statuses"): ["whatsapp_business_account"],
    ("cloudevents", "com.example.order.shipped"): ["com.example.order.shipped"] * 2,
    ("salesforce", "Lead"): ["sf:Lead"],
    ("salesforce", "Opportunity"): ["sf:Opportunity"],
    ("salesforce", "several"): ["sf:Lead", "sf:Lead", "sf:Opportunity"],
}
"""Where the event that comes of it is not called as the sample is."""
MODES = [
    ("gitlab", "Push Hook", {"mode": "token", "secret": "glpat secret ü"}),
    ("gitlab", "Push Hook", {"secret": "no signing token"}),
    ("gitlab", "Push Hook", {"mode": "signing_token", "secret": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}),
    ("hubspot", "contact.creation", {"signature_version": "v1"}),
    ("hubspot", "contact.creation", {"signature_version": "v2"}),
    ("aws_sns", "Notification", {"signature_version": "v1"}),
    ("aws_sns", "Notification", {"topic_arn": "arn:aws-cn:sns:cn-north-1:123456789012:t"}),
    ("paypal", "PAYMENT.CAPTURE.DENIED", {"environment": "live"}),
    ("standard_webhooks", "invoice.paid", {"secret": "whsk_" + "A" * 43 + "="}),
    ("svix", "invoice.paid", {"secret": ["whsec_" + "B" * 32, "whsec_" + "C" * 32]}),
    ("zapier", "new_row", {"username": "zapier", "password": "pässword"}),
    ("zapier", "new_row", {"header": "X-Token", "secret": "abc def"}),
    ("chargebee", "payment_failed", {"secret": "a key & more"}),
    ("okta", "user.session.start", {"username": "okta", "password": "p:w"}),
    ("auth0", "user.created", {"header": "X-Auth", "secret": "Bearer x"}),
    ("adyen", "REFUND", {"username": "adyen", "password": "x"}),
    ("cloudevents", "options", {"allowed_origins": ["*"], "allowed_rate": "*"}),
    ("cloudevents", "options", {"allowed_origins": ["a.example", "b.example"]}),
    ("jira_connect", "jira:issue_created", {"base_url": "https://hooks.example.com/in"}),
    ("square", "payment.updated", {"notification_url": "https://example.org/square"}),
    ("twilio", "incoming_call", {"notification_url": "https://example.org/twilio"}),
    ("twilio", "incoming_call", {"shared_secret": "a shared key"}),
    ("twilio", "com.twilio.messaging.message.delivered", {"shared_secret": "a shared key"}),
    ("microsoft_graph", "chatMessage", {"audience": "the app"}),
    ("twilio", "com.twilio.messaging.message.delivered", {"auth_token": "t"}),
    ("discord", "ENTITLEMENT_CREATE", {}),
    ("stripe", "charge.refunded", {"secret": "x"}),
]
"""Ways of one provider to prove itself, besides its usual one."""
KNOWN_BY_THEIR_BODY = ("ping", "installed", "uninstalled")
"""A body that differs makes another kind of request of these, that would be proven in another way."""
PLAIN_JSON = ("github", "issues.opened")


def test_every_preset_can_be_simulated():
    """There are samples for each preset that a source can have, two at least, and of no others."""
    assert tuple(presets.NAMES) == NAMES
    assert [name for name in NAMES if len(provider_of(name).samples) < 2] == []


@pytest.mark.parametrize(("name", "event_type"), SAMPLES)
def test_a_simulated_request_is_valid(name, event_type):
    """The preset's verifier takes it, with the configuration that is made for it and with no key that it lacks."""
    preset, (_, sample) = presets.preset(name), known(name, event_type)
    setting = setting_of(name, event_type)
    sent = simulated(setting)
    verdict = judged(setting, sent)
    assert isinstance(verdict, Verified | Handshake), verdict
    assert set(setting.receiver) <= set(preset.keys)
    assert set(setting.made) == set(setting.receiver)
    assert sent.method in preset.methods
    if isinstance(verdict, Verified):
        wanted = OTHER_TYPES.get((name, event_type), [sample.type.replace(" ", "_")])
        assert [item.type for item in events_of(sent.inbound, preset.reading)] == wanted


@pytest.mark.parametrize(("name", "event_type"), SAMPLES)
def test_a_question_is_answered_as_its_provider_wants_it(name, event_type):
    """What a handshake's answer must have according to the sample is in the verifier's answer."""
    setting = setting_of(name, event_type)
    sent = simulated(setting)
    verdict = judged(setting, sent)
    if not isinstance(verdict, Handshake):
        assert name == "salesforce" or sent.wanted.body == ""
        return
    assert str(sent.wanted.body).encode() in verdict.body
    assert sent.wanted.status in (0, verdict.status)
    assert not sent.wanted.header or sent.wanted.header.lower() in dict(verdict.headers)


@pytest.mark.parametrize(("name", "event_type"), SAMPLES)
def test_a_tampered_request_is_refused_as_forged(name, event_type):
    """It still has its form, so that nothing but the proof is wrong."""
    setting = setting_of(name, event_type)
    if not setting.sample.proven:
        with pytest.raises(SimulationError, match="nothing to tamper with"):
            simulated(setting, Changes(tampered=True))
        return
    verdict = judged(setting, simulated(setting, Changes(tampered=True)))
    assert isinstance(verdict, Refused)
    assert verdict.reason in ("wrong_signature", "wrong_credential", "wrong_recipient")


@pytest.mark.parametrize(("name", "event_type"), SAMPLES)
def test_a_stale_request_is_refused_where_its_time_is_signed(name, event_type):
    """Yesterday's is refused as old and nothing else; where nobody says how old one may be, by a tolerance alone."""
    setting = setting_of(name, event_type)
    if setting.sample.signs_time is None and not setting.provider.signs_time:
        with pytest.raises(SimulationError, match="signs no time"):
            simulated(setting, Changes(stale=True))
        return
    sent = simulated(setting, Changes(stale=True))
    assert not isinstance(judged(setting, sent, now_s=NOW_S - STALE_S), Refused)
    verdict = judged(setting, sent)
    if not setting.provider.limits_age:
        assert not isinstance(verdict, Refused)
        verdict = judged(setting, sent, tolerance_s=300)
    assert isinstance(verdict, Refused)
    assert verdict.reason == "stale"


@pytest.mark.parametrize(("name", "event_type"), SAMPLES)
def test_what_is_made_different_before_it_is_signed_is_well_signed(name, event_type):
    """Broken, blown up, or turned into XML, it is never refused for its signature."""
    setting = setting_of(name, event_type)
    for changes in (Changes(malformed=True), Changes(size_bytes=50_000), Changes(xml=True)):
        try:
            sent = simulated(setting, changes)
        except SimulationError:
            assert not changes.size_bytes
            continue
        assert len(sent.body) >= changes.size_bytes
        verdict = judged(setting, sent)
        right = isinstance(verdict, Verified | Handshake) or verdict.reason in ("malformed_body", "unsupported")
        assert right or event_type in KNOWN_BY_THEIR_BODY, verdict


@pytest.mark.parametrize(("name", "event_type", "config"), MODES)
def test_each_way_to_prove_oneself_is_simulated(name, event_type, config):
    """What the configuration says decides how it is signed; a forgery of it is refused."""
    setting = setting_of(name, event_type, config)
    verdict = judged(setting, simulated(setting))
    assert isinstance(verdict, Verified | Handshake), verdict
    if config.get("allowed_origins") != ["*"]:  # then everybody may
        assert isinstance(judged(setting, simulated(setting, Changes(tampered=True))), Refused)


@pytest.mark.parametrize(("name", "event_type"), SAMPLES)
def test_the_same_seed_gives_the_same_request(name, event_type):
    """To the byte, with everything that is made; and another seed gives other ids."""
    one, same = setting_of(name, event_type), setting_of(name, event_type)
    assert one.receiver == same.receiver
    assert simulated(one) == simulated(same)
    other = simulated(one, seed="another")
    preset = presets.preset(name)
    if isinstance(judged(one, other), Verified):
        ids = {item.id for sent in (simulated(one), other) for item in events_of(sent.inbound, preset.reading)}
        assert len(ids - {""}) in (0, 2 * len(events_of(other.inbound, preset.reading)))


@pytest.mark.parametrize(("name", "event_type"), SAMPLES)
def test_payloads_are_written_in_one_way(name, event_type):
    """A JSON body is JSON, and one that its receiver parses and writes again is most often another."""
    sent = simulated(setting_of(name, event_type))
    if sent.body.lstrip()[:1] in (b"{", b"["):
        assert json.loads(sent.body)


def test_a_configuration_of_another_mode_is_refused():
    """A sample that needs a mode is not simulated for a receiver in another."""
    with pytest.raises(SimulationError, match="mode is 'header'"):
        setting_of("adyen", "balancePlatform.transfer.created", {"mode": "standard"})


def test_a_public_key_of_somebody_else_is_refused():
    """Who configured a public key must give the private key to it."""
    with pytest.raises(SimulationError, match="public_key is not that of the private key"):
        setting_of("discord", "PING", {"public_key": "00" * 32})


def test_a_payload_of_ones_own_is_signed_as_it_is():
    """Its bytes are the body's; in an envelope they are its content."""
    for name, event_type, data in (
        ("stripe", "charge.refunded", b'{ "type":"x" ,"id":"1"}'),
        ("github", "push", b"\xff\x00 not JSON"),
        ("slack", "command", b"command=%2Fx&text="),
    ):
        setting = setting_of(name, event_type)
        sent = simulated(setting, Changes(data=data))
        assert sent.body == data
        assert isinstance(judged(setting, sent), Verified)
    setting = setting_of("aws_sns", "Notification")
    sent = simulated(setting, Changes(data=b'{"a":1}'))
    assert json.loads(sent.body)["Message"] == '{"a":1}'
    assert isinstance(judged(setting, sent), Verified)


def test_members_can_be_set():
    """At any depth, also new ones, and what is set is signed."""
    setting = setting_of("stripe", "payment_intent.succeeded")
    sets = (
        ("data.object.amount", 1),
        ("data.object.metadata.new", "é"),
        ("type", "mine"),
        ("list", [1]),
        ("list.1", 2),
    )
    sent = simulated(setting, Changes(sets=sets))
    body = json.loads(sent.body)
    assert (body["data"]["object"]["amount"], body["data"]["object"]["metadata"]["new"]) == (1, "é")
    assert (body["type"], body["list"]) == ("mine", [1, 2])
    assert isinstance(judged(setting, sent), Verified)
    for path in ("type.x", "list.7", "data.object.amount.x"):
        with pytest.raises(SimulationError, match="no place"):
            simulated(setting, Changes(sets=(*sets, (path, 1))))


def test_headers_can_be_set_before_it_is_signed():
    """A webhook-id of one's own is what is signed; a header that cannot be sent is refused."""
    setting = setting_of("standard_webhooks", "invoice.paid")
    sent = simulated(setting, Changes(headers=(("webhook-id", "msg_mine"),)))
    assert sent.inbound.header("webhook-id") == "msg_mine"
    assert isinstance(judged(setting, sent), Verified)
    for pair in (("a b", "x"), ("x", "a\nb"), ("x", "a\x00")):
        with pytest.raises(SimulationError, match="cannot be sent"):
            simulated(setting, Changes(headers=(pair,)))


def test_a_wrong_content_type_is_said_and_nothing_else():
    """The body is what it was."""
    setting = setting_of(*PLAIN_JSON)
    sent = simulated(setting, Changes(content_type="text/csv"))
    assert sent.inbound.content_type == "text/csv"
    assert sent.body == simulated(setting).body


@pytest.mark.parametrize(
    ("name", "event_type", "found"),
    [
        ("github", "pull_request", "pull_request.opened"),
        ("jira", "jira:issue_created", "jira:issue_created"),
        ("aws_sns", "ObjectCreated", "ObjectCreated:Put"),
        ("aws_sns", "subscription_confirmation", "SubscriptionConfirmation"),
        ("shopify", "orders", "orders/create"),
        ("gitlab", "push_hook", "Push Hook"),
        ("discord", "ping", "PING"),
        ("meta", "hub.challenge", "hub.challenge"),
        ("paypal", "payment.capture.completed", "PAYMENT.CAPTURE.COMPLETED"),
    ],
)
def test_a_sample_is_found_by_what_people_write(name, event_type, found):
    """By how its type begins, and whatever its case and punctuation."""
    assert setting_of(name, event_type).sample.type == found


def test_what_there_is_not_is_said_with_what_there_is():
    """An unknown provider and an unknown type are answered with a list."""
    with pytest.raises(SimulationError, match="there are stripe, paypal"):
        provider_of("strype")
    with pytest.raises(SimulationError, match=r"there are push, pull_request\.opened"):
        setting_of("github", "pul")
