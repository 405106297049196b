"""Microsoft Graph: change notifications that carry the subscription's client state, and nothing else that proves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.core.simulate.changes import changed_character
from hookline.core.simulate.draft import Draft, Provider, Sample, SimulationError, Wanted
from hookline.core.simulate.private_key import key_id, self_signed
from hookline.core.simulate.template import Scene, composed
from hookline.core.simulate.token_signing import jwt_rs256, unsigned

_TENANT: Final = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
_NOTICE: Final = composed(
    """{"value": [{"subscriptionId": "${uuid}", "subscriptionExpirationDateTime": "${iso.7+86400}",
    "clientState": "${config:client_state}", "changeType": "@change@", "resource": "@resource@",
    "resourceData": {"@odata.type": "#Microsoft.Graph.@kind@", "@odata.id": "@resource@",
        "@odata.etag": "W/\\"${base64:18}\\"", "id": "${#id}"},
    "tenantId": "@tenant@"}]}""",
    tenant=_TENANT,
)


def _change(name: str, says: str, change: str, kind: str, folder: str) -> Sample:
    resource = f"Users/${{#user}}/{folder}/${{#id}}"
    data = composed(_NOTICE, change=change, kind=kind, resource=resource)
    return Sample(name, says, data, {"id": "AAMkAG${base64url:48}AAA=", "user": "${uuid}"})


_APP: Final = "0bf30f3b-4a52-48df-9a82-234910c4a086"
"""Graph's own, that makes the tokens."""
_ENCRYPTED: Final = """{"value": [{"subscriptionId": "${uuid}", "subscriptionExpirationDateTime": "${at+3600}",
    "clientState": "${config:client_state}", "changeType": "created",
    "resource": "teams('${uuid#team}')/channels('19:${hex:32}@thread.tacv2')/messages('${ms}')",
    "resourceData": {"id": "${ms}", "@odata.type": "#Microsoft.Graph.chatMessage",
        "@odata.id": "teams('${#team}')/channels('19:x@thread.tacv2')/messages('${ms}')"},
    "encryptedContent": {"data": "${base64:512}", "dataSignature": "${base64:32}", "dataKey": "${base64:256}",
        "encryptionCertificateId": "hookline", "encryptionCertificateThumbprint": "${hex:40}"},
    "tenantId": "@tenant@"}]}"""


def _sign_tokens(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """Beside the items a token for the app that subscribed."""
    body = draft.body.rstrip()
    if not body.endswith(b"}"):
        raise SimulationError("notifications with encrypted content are a JSON object")
    now_s = int(scene.now_s)
    claims = {
        "aud": scene.config["audience"],
        "iss": f"https://sts.windows.net/{_TENANT}/",
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + 3900,
        "appid": _APP,
        "appidacr": "2",
        "idp": f"https://sts.windows.net/{_TENANT}/",
        "tid": _TENANT,
        "ver": "1.0",
    }
    token = jwt_rs256(claims, key, key_id(key))
    return draft.with_body(body[:-1] + f',"validationTokens":["{token}"]}}'.encode())


def _tamper_token(draft: Draft) -> Draft:
    """Another signature of the token."""
    body = draft.body
    middle = (body.rindex(b".") + body.rindex(b'"')) // 2
    old = body[middle : middle + 1]
    return draft.with_body(body[:middle] + changed_character(b"a" if old in b"-_" else old) + body[middle + 1 :])


def _config_of_key(key: bytes, _config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"certs": {key_id(key): self_signed(key, "accounts.accesscontrol.windows.net")}}


MICROSOFT_GRAPH: Final = Provider(
    "microsoft_graph",
    (
        _change("created", "a mail has come", "created", "Message", "Messages"),
        _change("updated", "an appointment has changed", "updated", "Event", "Events"),
        Sample(
            "reauthorizationRequired",
            "a subscription is about to end",
            composed(
                """{"value": [{"subscriptionId": "${uuid}", "subscriptionExpirationDateTime": "${at+86400}",
            "tenantId": "@tenant@", "clientState": "${config:client_state}",
            "lifecycleEvent": "reauthorizationRequired"}]}""",
                tenant=_TENANT,
            ),
        ),
        Sample(
            "chatMessage",
            "somebody wrote in a team: with encrypted content, that nobody can decrypt, and a token",
            composed(_ENCRYPTED, tenant=_TENANT),
            needs={"audience": "${uuid}"},
            sign=_sign_tokens,
            sealed=True,
            key="rsa",
            config_of_key=_config_of_key,
            tamper=_tamper_token,
            forged=(),
            signs_time=True,
        ),
        Sample(
            "validationToken",
            "a first question without a proof: the token is answered",
            "",
            query="?validationToken=Validation%3a+Testing+client+application+reachability+for+subscription"
            "+Request-Id%3a+${uuid#request}",
            content_type="text/plain; charset=utf-8",
            proven=False,
            wanted=Wanted(
                "Validation: Testing client application reachability for subscription Request-Id: ${#request}"
            ),
        ),
    ),
    unsigned,
    {"client_state": "${base62:32}"},
    credential="client_state",
    headers={"User-Agent": "Microsoft.Graph.ChangeNotification/1.0", "client-request-id": "${uuid}"},
    content_type="application/json; charset=utf-8",
    forged=("client_state",),
    signs_time=False,
)

PROVIDERS: Final = (MICROSOFT_GRAPH,)
