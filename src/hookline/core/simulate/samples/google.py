"""Google Cloud Pub/Sub, and Cloud Storage through it: a token by Google's key, the payload in base64."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.json_style import by_name, pretty
from hookline.core.simulate.private_key import key_id, self_signed
from hookline.core.simulate.template import Scene, iso
from hookline.core.simulate.token_signing import jwt_rs256, tampered_token

_NAME: Final = "federated-signon.system.gserviceaccount.com"
_TOKEN_S: Final = 3600


def _config_of_key(key: bytes, _config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"certs": {key_id(key): self_signed(key, _NAME)}}


def _sign(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """The payload becomes the data of a message; the token says who pushes it and to whom, and nothing of what."""
    now_s, config, message_id = int(scene.now_s), scene.config, scene.dice.number(17)
    published = iso(scene.now_s - 1, 3)
    message = {
        "attributes": scene.known["attributes"],
        "data": base64.b64encode(draft.body).decode("ascii"),
        "messageId": message_id,
        "message_id": message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if not message["attributes"]:
        del message["attributes"]
    claims = {
        "aud": config["audience"],
        "azp": scene.known["subject"],
        "email": config["service_account_email"],
        "email_verified": True,
        "exp": now_s + _TOKEN_S,
        "iat": now_s,
        "iss": "https://accounts.google.com",
        "sub": scene.known["subject"],
    }
    body = by_name({"message": message, "subscription": "projects/example-project/subscriptions/hookline"})
    draft = draft.with_header("Authorization", f"Bearer {jwt_rs256(claims, key, key_id(key))}")
    return draft.with_body(body.encode())


_OBJECT: Final = """{"kind": "storage#object", "id": "example-uploads/${#object}/${#generation}",
    "selfLink": "https://www.googleapis.com/storage/v1/b/example-uploads/o/invoices%2Fcaf%C3%A9.pdf",
    "name": "${#object}", "bucket": "example-uploads", "generation": "${#generation}", "metageneration": "1",
    "contentType": "application/pdf", "timeCreated": "${iso.3-1}", "updated": "${iso.3-1}",
    "storageClass": "STANDARD", "timeStorageClassUpdated": "${iso.3-1}", "size": "${'int:1000-9999999}",
    "md5Hash": "${base64:16}",
    "mediaLink": "https://storage.googleapis.com/download/storage/v1/b/example-uploads/o/invoices%2Fcaf%C3%A9.pdf?alt=media",
    "crc32c": "${base64:4}", "etag": "${base64:6}"}"""


def _storage(event: str, says: str) -> Sample:
    attributes = {
        "bucketId": "example-uploads",
        "eventTime": "${iso.6-1}",
        "eventType": event,
        "notificationConfig": "projects/_/buckets/example-uploads/notificationConfigs/1",
        "objectGeneration": "${#generation}",
        "objectId": "${#object}",
        "payloadFormat": "JSON_API_V1",
    }
    known = {
        "object": "invoices/café-${hex:8}.pdf",
        "generation": "${digits:16}",
        "subject": "${digits:21}",
        "attributes": attributes,
    }
    return Sample(event, says, _OBJECT, known, style=pretty)


GCP_PUBSUB: Final = Provider(
    "gcp_pubsub",
    (
        _storage("OBJECT_FINALIZE", "an object was written to a Cloud Storage bucket"),
        _storage("OBJECT_DELETE", "an object was deleted from a Cloud Storage bucket"),
        Sample(
            "message",
            "somebody published a message",
            '{"order_id": "${uuid}", "total": "${int:1-999}"}',
            {"attributes": {"origin": "shop"}, "subject": "${digits:21}"},
        ),
    ),
    _sign,
    {
        "audience": "${url}",
        "service_account_email": "pubsub-push@example-project.iam.gserviceaccount.com",
    },
    credential="",
    headers={
        "User-Agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)",
        "Accept": "application/json",
        "From": "noreply@google.com",
    },
    key="rsa",
    config_of_key=_config_of_key,
    tamper=tampered_token,
)

PROVIDERS: Final = (GCP_PUBSUB,)
