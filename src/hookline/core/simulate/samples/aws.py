"""Amazon SNS, and S3 through it: a signature in the body, by a certificate that the body names."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from hookline.core.simulate.changes import changed
from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.json_style import compact, spaced
from hookline.core.simulate.private_key import key_id, rsa_signature, self_signed
from hookline.core.simulate.template import Scene, composed, iso

_ARN_DEFAULT: Final = "arn:aws:sns:us-west-2:123456789012:hookline-simulated"
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


def _region(config: Mapping[str, Any]) -> str:
    parts = str(config["topic_arn"]).split(":")
    return parts[3] if len(parts) > 3 and parts[3] else "us-west-2"


def _cert_url(key: bytes, config: Mapping[str, Any]) -> str:
    region = _region(config)
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://sns.{region}.{domain}/SimpleNotificationService-{key_id(key)[:32]}.pem"


def _config_of_key(key: bytes, config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"certs": {_cert_url(key, config): self_signed(key, "sns.amazonaws.com")}}


def _sign(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """The payload becomes the message of an envelope, which is signed."""
    kind, config = draft.header("x-amz-sns-message-type"), scene.config
    topic, host = config["topic_arn"], _cert_url(key, config).rpartition("/")[0]
    version = "1" if config.get("signature_version") == "v1" else "2"
    subscription = draft.header("x-amz-sns-subscription-arn")
    members: dict[str, str] = {"Type": kind, "MessageId": draft.header("x-amz-sns-message-id")}
    if kind != "Notification":
        members["Token"] = scene.dice.bytes(128).hex()
    members |= {"TopicArn": topic}
    if kind == "Notification":
        members["Subject"] = "Amazon S3 Notification" if draft.body.startswith(b'{"Records"') else "A simulated message"
    members |= {"Message": draft.body.decode("utf-8", "replace")}
    if kind != "Notification":
        token = members["Token"]
        members["SubscribeURL"] = f"{host}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}"
    members |= {"Timestamp": iso(scene.now_s, 3), "SignatureVersion": version}
    content = "".join(f"{name}\n{members[name]}\n" for name in _SIGNED[kind] if name in members)
    signature = rsa_signature(key, content.encode(), "sha1" if version == "1" else "sha256")
    members["Signature"] = base64.b64encode(signature).decode("ascii")
    members["SigningCertURL"] = _cert_url(key, config)
    if kind == "Notification":
        members["UnsubscribeURL"] = f"{host}/?Action=Unsubscribe&SubscriptionArn={subscription}"
    return draft.with_body(spaced(members).encode())


def _tamper(draft: Draft) -> Draft:
    """Another message under the same signature."""
    members = json.loads(draft.body)
    members["Message"] = changed(members["Message"].encode()).decode()
    return draft.with_body(spaced(members).encode())


_S3: Final = """{"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-west-2",
    "eventTime": "${iso.3-1}", "eventName": "@event@", "userIdentity": {"principalId": "AWS:AROA${upper:17}:uploader"},
    "requestParameters": {"sourceIPAddress": "198.51.100.24"},
    "responseElements": {"x-amz-request-id": "${upper:16}", "x-amz-id-2": "${base64:57}"},
    "s3": {"s3SchemaVersion": "1.0", "configurationId": "uploads",
        "bucket": {"name": "example-uploads", "ownerIdentity": {"principalId": "A${upper:13}"},
            "arn": "arn:aws:s3:::example-uploads"},
        "object": {"key": "invoices/caf%C3%A9+2025/${hex:8}.pdf"@content@, "sequencer": "00${upper:16}"}}}]}"""


def _s3(event: str, says: str, content: str) -> Sample:
    data = composed(_S3, event=event, content=content)
    return Sample(event, says, data, headers=_kind("Notification"))


def _kind(kind: str) -> dict[str, str]:
    subscribed = {} if kind == "Notification" else {"x-amz-sns-subscription-arn": ""}
    return {"x-amz-sns-message-type": kind, **subscribed}


_ASKED: Final = (
    "You have chosen to subscribe to the topic ${config:topic_arn}.\n"
    "To confirm the subscription, visit the SubscribeURL included in this message."
)
_LEFT: Final = (
    "You have chosen to deactivate subscription ${config:topic_arn}:${uuid}.\n"
    "To cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
)

AWS_SNS: Final = Provider(
    "aws_sns",
    (
        _s3("ObjectCreated:Put", "an object was put into an S3 bucket", ', "size": 1024, "eTag": "${hex:32}"'),
        _s3("ObjectRemoved:Delete", "an object was deleted from an S3 bucket", ""),
        Sample(
            "Notification",
            "somebody published a message",
            '{"order_id": "${uuid}", "total": "${int:1-999}"}',
            headers=_kind("Notification"),
        ),
        Sample(
            "SubscriptionConfirmation",
            "a first question: the receiver fetches an address of Amazon's, which knows nothing of this one",
            _ASKED,
            headers=_kind("SubscriptionConfirmation"),
            style=None,
        ),
        Sample(
            "UnsubscribeConfirmation",
            "the subscription has ended",
            _LEFT,
            headers=_kind("UnsubscribeConfirmation"),
            style=None,
        ),
    ),
    _sign,
    {"topic_arn": _ARN_DEFAULT},
    credential="",
    headers={
        "User-Agent": "Amazon Simple Notification Service Agent",
        "x-amz-sns-message-id": "${uuid}",
        "x-amz-sns-topic-arn": "${config:topic_arn}",
        "x-amz-sns-subscription-arn": "${config:topic_arn}:${uuid}",
    },
    style=compact,
    content_type="text/plain; charset=UTF-8",
    key="rsa",
    config_of_key=_config_of_key,
    tamper=_tamper,
    limits_age=False,
)

PROVIDERS: Final = (AWS_SNS,)
