"""Amazon SNS: RSA over some fields of a JSON body, by a certificate that the request names.

Anyone may make a topic of his own and subscribe anyone's address to it, signed by Amazon all the same: so the topic
must be the configured one, and the certificate must come from the very host of the topic's region. A message of raw
delivery is not signed, and refused.

S3, SES, CloudWatch and EventBridge send through SNS: their own JSON is the text of `Message`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from hookline.core.verifiers import certificates
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import from_base64
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.json_body import BodyError, parse_object
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.timestamp import Timestamp, check_fresh
from hookline.core.verifiers.verdict import Fetch, Fetched, Refused, Verdict, Verified

CERTIFICATE: Final = "sns-certificate"
NOTIFICATION: Final = "Notification"
SUBSCRIPTION: Final = "SubscriptionConfirmation"
SIGNED: Final = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""What is signed of each type, in this order."""
_DIGESTS: Final = {"1": "sha1", "2": "sha256"}
_TOPIC: Final = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z0-9]+){1,4}):[0-9]{12}:[A-Za-z0-9_.-]{1,256}"
)
_CERT_PATH: Final = re.compile(r"/SimpleNotificationService-[A-Za-z0-9_-]{1,128}\.pem")
_SIGNER: Final = re.compile(r"sns(?:[.-][a-z0-9-]{1,63}){0,3}\.amazonaws\.com(?:\.cn)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether SNS sent it for one of the configured topics."""
    try:
        return _verify(request, config, now_s, fetched)
    except Unproven as error:
        return error.refused


def check(config: Config) -> None:
    """Raise `ConfigError` for a text that holds no certificate."""
    certificates.configured("certs", tuple(config.table("certs").values()))


def _verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    if request.all("x-amz-sns-rawdelivery"):
        return Refused("unsupported", "raw message delivery is on: such messages are not signed")
    try:
        body = parse_object(request.body)
    except BodyError as error:
        return Refused("malformed_body", str(error))
    kind, topic = _text(body, "Type"), _text(body, "TopicArn")
    if kind not in SIGNED:
        return Refused("malformed_body", "Type is none of those that SNS sends")
    if topic not in config.texts("topic_arn"):
        return Refused("wrong_recipient", "TopicArn is not topic_arn")
    signed, signature = _signed(body, kind), from_base64(_text(body, "Signature"))
    if signature is None:
        return Refused("malformed_signature", "Signature is not base64")
    version = _text(body, "SignatureVersion")
    allowed = config.choice("signature_version", "", ("", "v1", "v2"))
    if version not in _DIGESTS or (allowed and allowed != f"v{version}"):
        return Refused("unsupported", f"SignatureVersion is not {allowed[1:] or '1 or 2'}")
    if config.has("tolerance_s"):
        sent_s = Timestamp(unit="rfc3339").seconds(_text(body, "Timestamp"))
        check_fresh(sent_s, now_s, config.seconds("tolerance_s", 0.0))
    host = _host(topic)
    key = _public_key(_cert_url(body, host), config, now_s, fetched)
    if isinstance(key, Fetch):
        return key
    if not certificates.rsa_signed(key, signature, signed, _DIGESTS[version]):
        return Refused("wrong_signature", "the signature is not over these fields")
    return Verified(_confirm_url(body, host, topic) if kind == SUBSCRIPTION else None, {"topic_arn": topic})


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        missing = "missing_signature" if name in ("Signature", "SignatureVersion", "SigningCertURL") else ""
        raise Unproven(missing or "malformed_body", f"{name} is missing, or not a text")
    return value


def _signed(body: Mapping[str, Any], kind: str) -> bytes:
    """The signed text: names and values in lines of their own. `Message` comes first and only it may have lines, so
    that it can be read in one way only: else a message could pass for other fields."""
    lines: list[str] = []
    for name in SIGNED[kind]:
        value = body.get(name)
        if name == "Subject" and value is None:
            continue
        if not isinstance(value, str) or (name != "Message" and _CONTROL.search(value)):
            raise Unproven("malformed_body", f"{name} is missing, or not a text of one line")
        lines += (name, value)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")


def _host(topic: str) -> str:
    """The one host that signs for a topic: that of its region."""
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise Unproven("wrong_recipient", "TopicArn is not the name of a topic")
    return f"sns.{found[2]}.amazonaws.com{'.cn' if found[1] == 'aws-cn' else ''}"


def _cert_url(body: Mapping[str, Any], host: str) -> str:
    name = "SigningCertURL" if "SigningCertURL" in body or "SigningCertUrl" not in body else "SigningCertUrl"
    url, origin = _text(body, name), f"https://{host}"
    if not url.startswith(f"{origin}/") or _CERT_PATH.fullmatch(url[len(origin) :]) is None:
        raise Unproven("untrusted_key", f"{name} is not that of SNS in the topic's region")
    return url


def _public_key(url: str, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Any:
    """The key to check with; of a configured certificate as it is."""
    if config.has("certs"):
        pem = config.table("certs").get(url)
        if pem is None:
            raise Unproven("untrusted_key", "the certificate that the request names is not among certs")
        return certificates.configured("certs", (pem,))[0].public_key()
    found = fetched.get(CERTIFICATE)
    if found is None:
        return Fetch(CERTIFICATE, url, keep_s=DAY_S)
    certificate = certificates.fetched_certificates(found, "SNS")[0]
    # It came over TLS from the one host that can be right; the rest is a safeguard.
    if _SIGNER.fullmatch(certificates.common_name(certificate)) is None:
        raise Unproven("untrusted_key", "the certificate is not that of SNS")
    if not certificates.valid_at(certificate, now_s):
        raise Unproven("untrusted_key", "the certificate of SNS is not valid now")
    return certificate.public_key()


def _confirm_url(body: Mapping[str, Any], host: str, topic: str) -> str:
    """Where the subscription is confirmed: the region's own host again; no other topic."""
    url = _text(body, "SubscribeURL")
    told = dict(parse_qsl(urlsplit(url).query)) if url.startswith(f"https://{host}/?") and "#" not in url else {}
    if told.get("Action") != "ConfirmSubscription" or told.get("TopicArn", topic) != topic:
        raise Unproven("untrusted_key", "SubscribeURL does not confirm this subscription at SNS")
    return url


PRESET: Final = Preset(
    name="aws_sns",
    title="Amazon SNS",
    verify=verify,
    keys=("topic_arn", "certs", "signature_version", "tolerance_s"),
    secrets=(),
    reading=Reading(
        split="body:Message>json.Records",
        # S3; EventBridge; SES; the test message of S3; a CloudWatch alarm (ALARM, OK); else what SNS says.
        type="item:eventName|body:Message>json.detail-type|body:Message>json.notificationType"
        "|body:Message>json.eventType|body:Message>json.Event|body:Message>json.NewStateValue|body:Type",
        # One message may have several records: each is known by its own bytes besides.
        id="{body:MessageId}:{item:eventName|item:eventSource|item:eventVersion}:{request:sha256}|body:MessageId",
        subject="item:s3.object.key|body:Message>json.AlarmName|body:Subject",
        time="item:eventTime|body:Message>json.time|body:Timestamp",
    ),
    answer_within_s=15.0,
    check=check,
)
