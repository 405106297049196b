"""Amazon SNS: what is signed, whose certificate counts, confirmations; what comes through it."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from tests.core.verifiers.made_certificates import DAY, NOW, NOW_S, issued, pem, signed_by
from tests.core.verifiers.recorded import Recorded, read, reason, said, settled

from hookline.core.verifiers import aws_sns
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Fetch, Fetched, Refused, Verified

REAL = Recorded("aws_sns")
TOPIC = "arn:aws:sns:eu-west-1:123456789012:orders"
HOST = "https://sns.eu-west-1.amazonaws.com"
CERT_URL = f"{HOST}/SimpleNotificationService-abc123.pem"
CERT = issued("sns.amazonaws.com", "sns")
CONFIG = {"topic_arn": TOPIC, "certs": {CERT_URL: pem(CERT)}}


def message(kind="Notification", *, version="2", key_name="sns", drop=(), **changes):
    """A message as SNS makes it: changed first, then signed."""
    body = {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": "hello\nworld ☃",
        "Timestamp": "2025-10-09T08:53:20.123Z",
        "SignatureVersion": version,
        "SigningCertURL": CERT_URL,
    }
    if kind != "Notification":
        body["Token"] = "2336412f37fb"
        body["SubscribeURL"] = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb"
    body.update(changes)
    names = [name for name in aws_sns.SIGNED.get(kind, ()) if body.get(name) is not None]
    signed = "".join(f"{name}\n{body[name]}\n" for name in names).encode("utf-8", "surrogatepass")
    digest = hashes.SHA1 if version == "1" else hashes.SHA256
    body.setdefault("Signature", base64.b64encode(signed_by(key_name, signed, digest)).decode())
    return {name: value for name, value in body.items() if name not in drop}


def request(body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body, indent=2).encode()
    given = {"content-type": "text/plain; charset=UTF-8", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return Inbound.of("POST", "https://h.example/in/s", given, data)


def judged(body=None, now_s=NOW_S, **config):
    merged = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    return said("aws_sns", request(message() if body is None else body), merged, now_s)


def test_recorded_delivery():
    """The recorded delivery is verified and read: its type is that of SNS, its id the message's."""
    assert isinstance(REAL.judged(), Verified)
    (event,) = read("aws_sns", REAL.request())
    assert (event.type, event.id) == (REAL.expected["event_type"], REAL.expected["dedup_id"])
    assert event.data == REAL.body


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "A subject"])
def test_both_versions(version, subject):
    """SHA-1 and SHA-256 signatures count, with and without a subject, unless one version is configured."""
    body = message(version=version, Subject=subject)
    assert isinstance(judged(body), Verified)
    assert isinstance(judged(body, signature_version=f"v{version}"), Verified)
    assert reason(judged(body, signature_version=f"v{3 - int(version)}")) == "unsupported"
    assert reason(judged(body, signature_version="v3")) == "not_configured"


@pytest.mark.parametrize("name", ["Message", "MessageId", "Subject", "Timestamp", "Type"])
def test_what_is_signed(name):
    """Every signed field that is changed after signing refuses the message."""
    body = message(Subject="s")
    body[name] = "UnsubscribeConfirmation" if name == "Type" else body[name] + "x"
    assert reason(judged(body)) in ("wrong_signature", "malformed_body")


@pytest.mark.parametrize("name", ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token"])
def test_what_is_signed_of_a_confirmation(name):
    """The same for a confirmation, whose token and address are signed."""
    body = message("SubscriptionConfirmation")
    body[name] += "x"
    assert reason(judged(body)) == "wrong_signature"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (message(TopicArn="arn:aws:sns:eu-west-1:123456789012:other"), "wrong_recipient"),
        (message(TopicArn="arn:aws:sns:eu-west-1:210987654321:orders"), "wrong_recipient"),
        (message(TopicArn=TOPIC.upper()), "wrong_recipient"),
        (message(key_name="stranger"), "wrong_signature"),
        (message(SignatureVersion="3"), "unsupported"),
        (message(SignatureVersion=2), "missing_signature"),
        (message(Signature="%%%"), "malformed_signature"),
        (message(Signature=""), "missing_signature"),
        (message(Signature=["x"]), "missing_signature"),
        (message(drop=["Signature"]), "missing_signature"),
        (message(drop=["SignatureVersion"]), "missing_signature"),
        (message(drop=["SigningCertURL"]), "missing_signature"),
        (message(drop=["TopicArn"]), "malformed_body"),
        (message(drop=["Type"]), "malformed_body"),
        (message(drop=["Message"]), "malformed_body"),
        (message(Type="Other"), "malformed_body"),
        (message(Type={"a": 1}), "malformed_body"),
        (message(Timestamp=7, Signature="AAAA"), "malformed_body"),
        ([], "malformed_body"),
        (b"", "malformed_body"),
        (b"hello", "malformed_body"),
        (b"\xff{}", "malformed_body"),
    ],
)
def test_what_is_not_of_the_topic(body, why):
    """Another topic, key, version or form is refused."""
    assert reason(judged(body)) == why


def test_lines_cannot_be_moved_between_fields():
    """A value with a line in it, except for the message, is refused: it could pass for several fields."""
    whole = message(Message="a\nMessageId\nm1\nTimestamp\nt1\nTopicArn\nx\nType\ny")
    assert isinstance(judged(whole), Verified)
    moved = {
        **whole,
        "Message": "a",
        "MessageId": "m1\nTimestamp\nt1\nTopicArn\nx\nType\ny\nMessageId\n" + whole["MessageId"],
    }
    assert reason(judged(moved)) == "malformed_body"


def test_no_subject_or_an_empty_one():
    """A subject of null is none; one that appears after signing refuses the message."""
    assert isinstance(judged({**message(), "Subject": None}), Verified)
    assert reason(judged({**message(), "Subject": ""})) == "wrong_signature"


EVIL_URLS = [
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-abc123.pem",  # another region
    "https://sns.eu-west-1.amazonaws.com.evil.com/SimpleNotificationService-abc123.pem",
    "https://sns.eu-west-1.amazonaws.com.cn/SimpleNotificationService-abc123.pem",
    "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://user@sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://sns.eu-west-1.amazonaws.com:443/SimpleNotificationService-abc123.pem",
    "https://sns.eu-west-1.amazonaws.com@evil.com/SimpleNotificationService-abc123.pem",
    "https://sns.eu-west-1.amazonaws.com./SimpleNotificationService-abc123.pem",
    "https://bucket.s3.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://sns.eu-west-1.s3.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://s3.amazonaws.com/sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://sns-eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://sns.evil.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://evil.com/sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://evil.com#sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://evil.com\\.sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
    "https://sns.eu-west-1.amazonaws.com/?x=/SimpleNotificationService-abc123.pem",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem?x",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem#x",
    "https://sns.eu-west-1.amazonaws.com/a/../SimpleNotificationService-abc123.pem",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-../x.pem",
    "https://sns.eu-west-1.amazonaws.com/other.pem",
    "HTTPS://SNS.EU-WEST-1.AMAZONAWS.COM/SimpleNotificationService-abc123.pem",
    "file:///SimpleNotificationService-abc123.pem",
    "//sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc123.pem",
]


@pytest.mark.parametrize("url", EVIL_URLS)
def test_certificate_of_elsewhere(url):
    """A certificate that is not at the very host of the topic's region is refused, at hand or not, and not fetched."""
    body = message(SigningCertURL=url)
    assert reason(judged(body, certs={url: pem(CERT)})) == "untrusted_key"
    assert reason(judged(body, certs=None)) == "untrusted_key"


@pytest.mark.parametrize(
    ("topic", "host"),
    [
        ("arn:aws:sns:us-east-1:123456789012:t", "sns.us-east-1.amazonaws.com"),
        ("arn:aws:sns:ap-southeast-2:123456789012:t.fifo", "sns.ap-southeast-2.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:t", "sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:t", "sns.us-gov-west-1.amazonaws.com"),
    ],
)
def test_host_of_a_region(topic, host):
    """Each region, also of China and of the government, signs at its own host."""
    url = f"https://{host}/SimpleNotificationService-abc123.pem"
    body = message(TopicArn=topic, SigningCertURL=url)
    assert isinstance(judged(body, topic_arn=topic, certs={url: pem(CERT)}), Verified)
    assert isinstance(judged(body, topic_arn=["arn:x", topic], certs={url: pem(CERT)}), Verified)


@pytest.mark.parametrize(
    "topic",
    [
        "x",
        "arn:aws:sqs:eu-west-1:123456789012:t",
        "arn:aws:sns:evil.com/:123456789012:t",
        "arn:aws:sns::123456789012:t",
    ],
)
def test_topic_that_is_none(topic):
    """A configured text that is no name of a topic never makes a host."""
    assert reason(judged(message(TopicArn=topic), topic_arn=topic)) == "wrong_recipient"


def test_configuration():
    """Without a topic nothing is judged; a certificate that is not among the given ones is not fetched."""
    assert reason(judged(topic_arn=None)) == "not_configured"
    assert reason(judged(certs={})) == "untrusted_key"
    assert reason(judged(certs={CERT_URL: "no PEM"})) == "not_configured"
    assert reason(judged(certs={CERT_URL: pem(issued("sns.amazonaws.com", "stranger"))})) == "wrong_signature"


def test_given_certificate_is_trusted_as_it_is():
    """A certificate in the configuration is not judged by its name or time."""
    old = issued("anything", "sns", until=NOW - DAY)
    assert isinstance(judged(certs={CERT_URL: pem(old)}), Verified)


def test_certificate_is_fetched():
    """Otherwise it is fetched, and must be that of SNS and valid now."""

    def with_web(certificate):
        text = certificate if isinstance(certificate, Fetched) else Fetched(200, pem(certificate).encode())
        return settled("aws_sns", request(message()), {"topic_arn": TOPIC}, NOW_S, {CERT_URL: text})

    verdict, asked = with_web(CERT)
    assert isinstance(verdict, Verified)
    assert asked == [Fetch(aws_sns.CERTIFICATE, CERT_URL, keep_s=86_400.0)]
    assert reason(with_web(issued("sns.amazonaws.com", "sns", until=NOW - DAY))[0]) == "untrusted_key"
    assert reason(with_web(issued("evil.example", "sns"))[0]) == "untrusted_key"
    for nothing in (Fetched(0, b""), Fetched(403, b"x"), Fetched(200, b"<Error/>")):
        verdict = with_web(nothing)[0]
        assert isinstance(verdict, Refused)
        # A 4xx would make SNS give the message up.
        assert (verdict.reason, verdict.status) == ("key_unavailable", 503)


def test_raw_delivery_is_refused():
    """Raw messages are not signed."""
    body = request(message(), x_amz_sns_rawdelivery="true")
    assert reason(said("aws_sns", body, CONFIG, NOW_S)) == "unsupported"


def test_tolerance_only_where_it_is_configured():
    """The signed time is held against now only with tolerance_s: a policy may repeat a message for an hour."""
    assert isinstance(judged(now_s=NOW_S + 86_400), Verified)
    assert isinstance(judged(now_s=NOW_S + 300, tolerance_s=300), Verified)
    assert reason(judged(now_s=NOW_S + 302, tolerance_s=300)) == "stale"
    assert reason(judged(now_s=NOW_S - 302, tolerance_s=300)) == "stale"
    assert reason(judged(message(Timestamp="yesterday"), tolerance_s=300)) == "malformed_timestamp"


def test_subscription_is_confirmed_at_the_same_host():
    """A confirmation is verified and says what to visit; an address of elsewhere, signed or not, is not visited."""
    verdict = judged(message("SubscriptionConfirmation"))
    assert isinstance(verdict, Verified)
    assert verdict.confirm_url == message("SubscriptionConfirmation")["SubscribeURL"]
    query = f"?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb"
    for url in (
        "http://127.0.0.1/",
        f"http://sns.eu-west-1.amazonaws.com/{query}",
        f"https://sns.us-east-1.amazonaws.com/{query}",
        f"https://sns.eu-west-1.amazonaws.com.evil.com/{query}",
        f"https://evil.com/{HOST}/{query}",
        f"{HOST}:8443/{query}",
        f"{HOST}/other{query}",
        f"{HOST}/?Action=Unsubscribe&TopicArn={TOPIC}&Token=2336412f37fb",
        f"{HOST}/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:1:x&Token=2336412f37fb",
        f"{HOST}/{query}#x",
    ):
        assert reason(judged(message("SubscriptionConfirmation", SubscribeURL=url))) == "untrusted_key"


def test_end_of_a_subscription_is_never_visited():
    """An UnsubscribeConfirmation is an event; its address would subscribe again."""
    verdict = judged(message("UnsubscribeConfirmation"))
    assert isinstance(verdict, Verified)
    assert verdict.confirm_url is None
    (event,) = read("aws_sns", request(message("UnsubscribeConfirmation")))
    assert event.type == "UnsubscribeConfirmation"


# ------------------------------------------------------------------------------------------------------ reading

S3 = (
    '{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"2025-10-09T08:53:20.000Z",'
    '"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"a+b.txt","sequencer":"0065"}}}, '
    '{"eventSource":"aws:s3","eventName":"ObjectRemoved:Delete","s3":{"object":{"key":"c","sequencer":"0065"}}}]}'
)


def test_records_of_s3_are_events_of_their_own():
    """Each record of S3 is an event: its name is the type, its text is the data, its id is its own."""
    one, two = read("aws_sns", request(message(Message=S3, Subject="Amazon S3 Notification")))
    assert (one.type, two.type) == ("ObjectCreated:Put", "ObjectRemoved:Delete")
    assert (one.subject, one.time) == ("a+b.txt", "2025-10-09T08:53:20.000Z")
    assert one.data.decode() in S3
    assert json.loads(one.data)["s3"]["object"]["key"] == "a+b.txt"
    assert one.id != two.id
    assert one.id.startswith("22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324:")
    assert [event.id for event in read("aws_sns", request(message(Message=S3)))] == [one.id, two.id]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}', "s3:TestEvent"),
        ('{"notificationType":"Bounce","bounce":{}}', "Bounce"),
        ('{"eventType":"Delivery","mail":{}}', "Delivery"),
        ('{"AlarmName":"cpu","NewStateValue":"ALARM"}', "ALARM"),
        ('{"detail-type":"EC2 Instance State-change Notification"}', "EC2_Instance_State-change_Notification"),
        ('{"anything":1}', "Notification"),
        ('{"Records":7}', "Notification"),
        ("[1]", "Notification"),
        ("plain text", "Notification"),
        ("{broken", "Notification"),
    ],
)
def test_types_of_what_comes_through_it(text, kind):
    """SES, CloudWatch, EventBridge and S3 say their own type within the message; what does not is a Notification."""
    (event,) = read("aws_sns", request(message(Message=text, Subject="s")))
    assert event.type == kind
    assert event.id == "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"


@given(
    st.dictionaries(
        st.sampled_from([*message("SubscriptionConfirmation")]),
        st.one_of(st.none(), st.integers(), st.text(max_size=30), st.lists(st.text(max_size=3), max_size=2)),
        min_size=1,
    )
)
def test_mutations(changes):
    """No signed field can be replaced by another value, of whatever kind."""
    before = message("SubscriptionConfirmation")
    after = {**before, **changes}
    if after != before:
        assert isinstance(judged(after), Refused)
