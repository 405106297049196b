"""Jira Cloud: admin webhooks by an HMAC over the body, Connect apps by a token over the address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac, first_of, sha256_hex
from hookline.core.simulate.private_key import key_id, self_signed
from hookline.core.simulate.template import Scene, composed
from hookline.core.simulate.token_signing import jwt_hs256, jwt_rs256, tampered_token

_SITE: Final = "https://example.atlassian.net"

_USER: Final = composed(
    """{"self": "@site@/rest/api/2/user?accountId=5b10ac8d82e05b22cc7d4ef5",
    "accountId": "5b10ac8d82e05b22cc7d4ef5", "avatarUrls": {
        "48x48": "https://secure.gravatar.com/avatar/4beac5df66a475580809e0d52d3a0ee5?d=https%3A%2F%2Favatar.example",
        "24x24": "https://secure.gravatar.com/avatar/4beac5df66a475580809e0d52d3a0ee5?d=https%3A%2F%2Favatar.example"},
    "displayName": "Renée Müller", "active": true, "timeZone": "Europe/Berlin",
    "accountType": "atlassian"}""",
    site=_SITE,
)

_ISSUE: Final = """{"id": "${'int:10000-99999#issue}", "self": "@site@/rest/api/2/${#issue}", "key": "PROJ-${#number}",
    "fields": {"statuscategorychangedate": "${at.3-@age@}",
        "issuetype": {"self": "@site@/rest/api/2/issuetype/10004", "id": "10004", "description": "A problem or error.",
            "name": "Bug", "subtask": false, "avatarId": 10303, "hierarchyLevel": 0},
        "timespent": null, "project": {"self": "@site@/rest/api/2/project/10000", "id": "10000", "key": "PROJ",
            "name": "Orders", "projectTypeKey": "software", "simplified": false},
        "fixVersions": [], "aggregatetimespent": null, "resolution": null, "resolutiondate": null, "workratio": -1,
        "created": "${at.3-@age@}", "priority": {"self": "@site@/rest/api/2/priority/2",
            "iconUrl": "@site@/images/icons/priorities/high.svg", "name": "High", "id": "2"},
        "labels": ["webhooks"], "timeestimate": null, "aggregatetimeoriginalestimate": null, "versions": [],
        "issuelinks": [], "assignee": @assignee@, "updated": "${at.3}",
        "status": {"self": "@site@/rest/api/2/status/@status_id@", "description": "", "name": "@status@",
            "id": "@status_id@", "statusCategory": {"id": 2, "key": "new", "colorName": "blue-gray", "name": "To Do"}},
        "components": [], "timeoriginalestimate": null, "description": "The café order is charged twice.",
        "timetracking": {}, "security": null, "attachment": [], "summary": "Pay the invoice once",
        "creator": "@user", "subtasks": [], "reporter": "@user", "aggregateprogress": {"progress": 0, "total": 0},
        "environment": null, "duedate": null, "progress": {"progress": 0, "total": 0},
        "votes": {"votes": 0, "hasVoted": false}}}"""


def _issue(age: int, status: str, status_id: int, assignee: str) -> str:
    return composed(_ISSUE, age=age, status=status, status_id=status_id, assignee=assignee, site=_SITE)


_CREATED: Final = f"""{{"timestamp": "${{ms}}", "webhookEvent": "jira:issue_created",
    "issue_event_type_name": "issue_created", "user": "@user", "issue": {_issue(0, "To Do", 10000, "null")},
    "changelog": {{"id": "${{'int:10000-99999}}", "items": [{{"field": "priority", "fieldtype": "jira",
        "fieldId": "priority", "from": null, "fromString": null, "to": "2", "toString": "High"}}]}}}}"""

_UPDATED: Final = f"""{{"timestamp": "${{ms}}", "webhookEvent": "jira:issue_updated",
    "issue_event_type_name": "issue_generic", "user": "@user",
    "issue": {_issue(86400, "In Progress", 3, '"@user"')},
    "changelog": {{"id": "${{'int:10000-99999}}", "items": [{{"field": "status", "fieldtype": "jira",
        "fieldId": "status", "from": "10000", "fromString": "To Do", "to": "3", "toString": "In Progress"}}]}}}}"""

_COMMENTED: Final = f"""{{"timestamp": "${{ms}}", "webhookEvent": "comment_created",
    "comment": {{"self": "{_SITE}/rest/api/2/issue/10001/comment/10002", "id": "${{'int:10000-99999}}", "author":
    "@user",
        "body": "Fixed, please try again", "updateAuthor": "@user", "created": "${{at.3}}", "updated": "${{at.3}}",
        "jsdPublic": true}},
    "issue": {_issue(86400, "In Progress", 3, '"@user"')}, "eventType": "primaryAction"}}"""


def _samples(query: str) -> tuple[Sample, ...]:
    known = {"number": "${int:1-9999}"}
    return (
        Sample("jira:issue_created", "an issue was created", _CREATED, known, query=query),
        Sample("jira:issue_updated", "an issue was changed", _UPDATED, known, query=query),
        Sample("comment_created", "somebody wrote about an issue", _COMMENTED, known, query=query),
    )


_HEADERS: Final = {
    "User-Agent": "Atlassian Webhook HTTP Client",
    "X-Atlassian-Webhook-Identifier": "${hex:64}",
    "X-Atlassian-Webhook-Flow": "Primary",
}


def _query_hash(method: str, url: str, base_url: str) -> str:
    """Connect's `qsh`: the SHA-256 of the method, the path below the app's address, and the query in order."""
    parts = urlsplit(url)
    path, base_path = parts.path, urlsplit(base_url).path.rstrip("/")
    if f"{path}/".startswith(f"{base_path}/"):
        path = path[len(base_path) :]
    path = path.rstrip("/") or "/"
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "jwt":
            values.setdefault(_encoded(name), []).append(_encoded(value))
    query = "&".join(f"{name}={','.join(sorted(values[name]))}" for name in sorted(values))
    return sha256_hex("&".join((method.upper(), path.replace("&", "%26"), query)).encode())


def _encoded(text: str) -> str:
    return quote(text, safe="~")


def _claims(draft: Draft, scene: Scene) -> dict[str, Any]:
    now_s = int(scene.now_s)
    return {
        "iss": scene.config["client_key"],
        "iat": now_s,
        "exp": now_s + 180,
        "qsh": _query_hash(draft.method, scene.url, scene.config["base_url"]),
        "context": {},
    }


def _sign_connect(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    token = jwt_hs256(_claims(draft, scene), first_of(scene.config["shared_secret"]))
    return draft.with_header("Authorization", f"JWT {token}")


def _sign_installation(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """Before there is a shared secret: by Atlassian's key, for this app."""
    claims = _claims(draft, scene) | {"aud": [scene.config["base_url"]]}
    return draft.with_header("Authorization", f"JWT {jwt_rs256(claims, key, key_id(key))}")


def _config_of_key(key: bytes, _config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"certs": {key_id(key): self_signed(key, "connect-install-keys.atlassian.com")}}


def _installation(event: str, says: str) -> Sample:
    data = composed(
        """{"key": "com.example.hookline", "clientKey": "${config:client_key}",
        "sharedSecret": "${config:shared_secret}", "baseUrl": "@site@", "displayUrl": "@site@",
        "productType": "jira", "description": "Atlassian Jira at @site@", "serverVersion": "1001.0.0-SNAPSHOT",
        "pluginsVersion": "1001.0.0-SNAPSHOT", "eventType": "@event@"}""",
        site=_SITE,
        event=event,
    )
    return Sample(
        event,
        says,
        data,
        sign=_sign_installation,
        key="rsa",
        config_of_key=_config_of_key,
        tamper=tampered_token,
        forged=(),
    )


JIRA: Final = Provider(
    "jira",
    _samples(""),
    by_hmac(HmacScheme("X-Hub-Signature", value="sha256={signature}")),
    {"secret": "${base62:40}"},
    headers=_HEADERS,
    content_type="application/json; charset=UTF-8",
    fragments={"user": _USER},
    signs_time=False,
)

JIRA_CONNECT: Final = Provider(
    "jira_connect",
    (
        *_samples("?user_account_id=5b10ac8d82e05b22cc7d4ef5&issue.key=PROJ-${#number}"),
        _installation("installed", "somebody has installed the app: by Atlassian's key"),
        _installation("uninstalled", "somebody has removed the app: by Atlassian's key"),
    ),
    _sign_connect,
    {"shared_secret": "${base62:64}", "client_key": "${uuid}", "base_url": "${origin}"},
    credential="shared_secret",
    headers={**_HEADERS, "User-Agent": "Atlassian HttpClient unknown / JIRA-1001.0.0-SNAPSHOT"},
    fragments={"user": _USER},
    forged=("shared_secret",),
)

PROVIDERS: Final = (JIRA, JIRA_CONNECT)
