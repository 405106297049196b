"""Microsoft Graph: change notifications that carry the subscription's client state, and nothing else that proves."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample, Wanted
from hookline.core.simulate.template import composed
from hookline.core.simulate.token_signing import unsigned

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
