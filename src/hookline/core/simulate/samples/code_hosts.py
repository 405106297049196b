"""GitLab, Bitbucket and Linear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac, first_of
from hookline.core.simulate.json_style import python
from hookline.core.simulate.template import Scene, composed
from hookline.core.simulate.token_signing import by_header, by_standard_webhooks

_GITLAB_TOKEN: Final = by_header("X-Gitlab-Token")
_GITLAB_SIGNATURE: Final = by_standard_webhooks("webhook")


def _is_signed(config: Mapping[str, Any]) -> bool:
    """By the mode that is configured; without one, by the secret's form."""
    signing = first_of(config["secret"]).startswith("whsec_")
    return (config.get("mode") or ("signing_token" if signing else "token")) == "signing_token"


def _sign_gitlab(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """The token as it is, or a signature."""
    if not _is_signed(scene.config):
        return _GITLAB_TOKEN(draft, scene, key)
    return _GITLAB_SIGNATURE(draft.with_header("webhook-id", draft.header("Idempotency-Key")), scene, key)


_PROJECT: Final = """{"id": 15, "name": "Diaspora", "description": "Café & more", "web_url": "https://gitlab.com/mike/diaspora",
    "avatar_url": null, "git_ssh_url": "git@gitlab.com:mike/diaspora.git",
    "git_http_url": "https://gitlab.com/mike/diaspora.git", "namespace": "Mike", "visibility_level": 0,
    "path_with_namespace": "mike/diaspora", "default_branch": "main", "ci_config_path": "",
    "homepage": "https://gitlab.com/mike/diaspora", "url": "git@gitlab.com:mike/diaspora.git",
    "ssh_url": "git@gitlab.com:mike/diaspora.git", "http_url": "https://gitlab.com/mike/diaspora.git"}"""
_REPOSITORY: Final = """{"name": "Diaspora", "url": "git@gitlab.com:mike/diaspora.git", "description": "Café & more",
    "homepage": "https://gitlab.com/mike/diaspora", "git_http_url": "https://gitlab.com/mike/diaspora.git",
    "git_ssh_url": "git@gitlab.com:mike/diaspora.git", "visibility_level": 0}"""
_PERSON: Final = """{"id": 4, "name": "John Smith", "username": "jsmith",
    "avatar_url": "https://s.gravatar.com/avatar/d4c74594d841139328695756648b6bd6?s=8", "email": "[REDACTED]"}"""

_GITLAB_PUSH: Final = """{"object_kind": "push", "event_name": "push", "before": "${hex:40}", "after":
    "${hex:40#after}",
    "ref": "refs/heads/main", "ref_protected": true, "checkout_sha": "${#after}", "message": null, "user_id": 4,
    "user_name": "John Smith", "user_username": "jsmith", "user_email": "", "user_avatar":
    "https://s.gravatar.com/avatar/d4c74594d841139328695756648b6bd6?s=8", "project_id": 15, "project": "@project",
    "commits": [{"id": "${#after}", "message": "Fix the naïve retry\\n", "title": "Fix the naïve retry",
        "timestamp": "${at-60}", "url": "https://gitlab.com/mike/diaspora/-/commit/${#after}",
        "author": {"name": "John Smith", "email": "[REDACTED]"}, "added": [], "modified": ["app/retry.rb"],
        "removed": []}], "total_commits_count": 1, "push_options": {}, "repository": "@repository"}"""

_GITLAB_MERGE: Final = """{"object_kind": "merge_request", "event_type": "merge_request", "user": "@person",
    "project": "@project", "object_attributes": {"assignee_id": 4, "author_id": 4, "created_at": "${iso-2}",
        "description": "Closes #42", "draft": false, "head_pipeline_id": null, "id": "${int:100000-9999999}",
        "iid": "${int:1-999#iid}", "merge_status": "unchecked", "source_branch": "retry", "source_project_id": 15,
        "state": "opened", "state_id": 1, "target_branch": "main", "target_project_id": 15, "title":
        "Retry with backoff",
        "updated_at": "${iso-2}", "url": "https://gitlab.com/mike/diaspora/-/merge_requests/${#iid}",
        "source": "@project", "target": "@project", "last_commit": {"id": "${hex:40}", "message": "Retry",
            "timestamp": "${at-60}", "author": {"name": "John Smith", "email": "[REDACTED]"}},
        "work_in_progress": false, "assignee_ids": [4], "reviewer_ids": [], "labels": [], "action": "open"},
    "labels": [], "changes": {"merge_status": {"previous": "preparing", "current": "unchecked"}},
    "repository": "@repository", "assignees": ["@person"]}"""

_GITLAB_ISSUE: Final = """{"object_kind": "issue", "event_type": "issue", "user": "@person", "project": "@project",
    "object_attributes": {"author_id": 4, "confidential": false, "created_at": "${iso-1}",
        "description": "The café order is lost.", "id": "${int:100000-9999999}", "iid": "${int:1-999#iid}",
        "project_id": 15, "state_id": 1, "title": "Lost order", "updated_at": "${iso-1}", "type": "Issue",
        "url": "https://gitlab.com/mike/diaspora/-/issues/${#iid}", "assignee_ids": [], "labels": [],
        "state": "opened", "severity": "unknown", "action": "open"},
    "labels": [], "changes": {}, "repository": "@repository"}"""


def _gitlab(event: str, says: str, data: str) -> Sample:
    return Sample(event, says, data, headers={"X-Gitlab-Event": event})


GITLAB: Final = Provider(
    "gitlab",
    (
        _gitlab("Push Hook", "commits were pushed", _GITLAB_PUSH),
        _gitlab("Merge Request Hook", "a merge request was opened", _GITLAB_MERGE),
        _gitlab("Issue Hook", "an issue was opened", _GITLAB_ISSUE),
    ),
    _sign_gitlab,
    {"secret": "whsec_${base64:32}"},
    headers={
        "User-Agent": "GitLab/18.9.0",
        "X-Gitlab-Instance": "https://gitlab.com",
        "X-Gitlab-Webhook-UUID": "02affd2d-2cba-4033-917d-ec22d5dc4b38",
        "X-Gitlab-Event-UUID": "${uuid}",
        "Idempotency-Key": "${uuid}",
    },
    fragments={"project": _PROJECT, "repository": _REPOSITORY, "person": _PERSON},
    forged=lambda config: () if _is_signed(config) else ("secret",),
    signs_time=_is_signed,
)

_BB_REPO: Final = """{"type": "repository", "full_name": "team_name/repo_name", "links": {
    "self": {"href": "https://api.bitbucket.org/2.0/repositories/team_name/repo_name"},
    "html": {"href": "https://bitbucket.org/team_name/repo_name"}}, "name": "repo_name", "scm": "git",
    "website": null, "owner": "@actor", "workspace": {"type": "workspace", "uuid":
    "{bf2ac2a2-9d5e-4a3c-8b1e-2d7c7b6f4e10}",
    "name": "Team", "slug": "team_name"}, "is_private": true, "project": null,
    "uuid": "{673a6070-3421-46c9-9d48-90745f7bfe8e}", "parent": null}"""
_BB_ACTOR: Final = """{"display_name": "Zoë Doe", "links": {"self": {"href":
    "https://api.bitbucket.org/2.0/users/%7Ba54f16da-24e9-4d7f-a3a7-b1ba2cd98aa3%7D"}}, "type": "user",
    "uuid": "{a54f16da-24e9-4d7f-a3a7-b1ba2cd98aa3}", "account_id": "5b10ac8d82e05b22cc7d4ef5", "nickname": "zoe"}"""
_BB_TARGET: Final = """{"type": "commit", "hash": "${hex:40}", "date": "${at-60}", "author": {"type": "author",
    "raw": "Zoë Doe <zoe@example.com>", "user": "@actor"}, "message": "Fix the naïve retry\\n", "parents": []}"""

_BB_PUSH: Final = """{"push": {"changes": [{"old": {"name": "main", "target": "@target", "type": "branch"},
    "new": {"name": "main", "target": "@target", "type": "branch"}, "truncated": false, "created": false,
    "forced": false, "closed": false, "links": {"html": {"href":
    "https://bitbucket.org/team_name/repo_name/branches/compare/${hex:40}..${hex:40}"}}, "commits": ["@target"]}]},
    "repository": "@repo", "actor": "@actor"}"""
_BB_PULL: Final = """{"repository": "@repo", "actor": "@actor", "pullrequest": {"comment_count": 0, "task_count": 0,
    "type": "pullrequest", "id": "${int:1-9999#pull}", "title": "Retry with backoff", "description": "Closes #42",
    "state": "OPEN", "draft": false, "merge_commit": null, "close_source_branch": false, "closed_by": null,
    "author": "@actor", "reason": "", "created_on": "${at-2}", "updated_on": "${at-1}",
    "destination": {"branch": {"name": "main"}, "commit": {"hash": "${hex:12}", "type": "commit"}, "repository":
    "@repo"},
    "source": {"branch": {"name": "retry"}, "commit": {"hash": "${hex:12}", "type": "commit"}, "repository": "@repo"},
    "reviewers": [], "participants": [], "links": {"html": {"href":
    "https://bitbucket.org/team_name/repo_name/pull-requests/${#pull}"}}}}"""


def _bitbucket(event: str, says: str, data: str) -> Sample:
    return Sample(event, says, data, headers={"X-Event-Key": event})


BITBUCKET: Final = Provider(
    "bitbucket",
    (
        _bitbucket("repo:push", "commits were pushed", _BB_PUSH),
        _bitbucket("pullrequest:created", "a pull request was opened", _BB_PULL),
    ),
    by_hmac(HmacScheme("X-Hub-Signature", value="sha256={signature}")),
    {"secret": "${base62:32}"},
    headers={
        "User-Agent": "Bitbucket-Webhooks/2.0",
        "X-Request-UUID": "${uuid}",
        "X-Hook-UUID": "6fa9e2b1-6a3c-4f0c-9d3d-7e0f5a1b2c3d",
        "X-Attempt-Number": "1",
    },
    style=python,
    fragments={"repo": _BB_REPO, "actor": _BB_ACTOR, "target": _BB_TARGET},
    signs_time=False,
)

_LINEAR_ISSUE: Final = """{"action": "@action@", "actor": {"id": "b5ea5f1f-8adc-4f52-b4bd-ab4e84cf51ba", "type": "user",
    "name": "Zoë Doe", "email": "zoe@example.com", "url": "https://linear.app/example/profiles/zoe"},
    "createdAt": "${iso.3}", "data": {"id": "${uuid}", "createdAt": "${iso.3}", "updatedAt": "${iso.3}",
        "number": "${int:1-9999#number}", "title": "Pay the invoice once", "priority": 2, "sortOrder": -12.5,
        "prioritySortOrder": -12.5, "slaType": "all", "labelIds": [], "teamId": "72b2a2dc-6f4f-4423-9d34-24b5bd10634a",
        "previousIdentifiers": [], "creatorId": "b5ea5f1f-8adc-4f52-b4bd-ab4e84cf51ba",
        "stateId": "fbc4b2f1-3a1c-4a0d-8f5e-7f0f7a3b0f0d", "reactionData": [], "priorityLabel": "High",
        "identifier": "LIN-${#number}", "url": "https://linear.app/example/issue/LIN-${#number}/pay-the-invoice-once",
        "subscriberIds": [], "state": {"id": "fbc4b2f1-3a1c-4a0d-8f5e-7f0f7a3b0f0d", "color": "#e2e2e2",
        "name": "Todo", "type": "unstarted"}, "team": {"id": "72b2a2dc-6f4f-4423-9d34-24b5bd10634a", "key": "LIN",
        "name": "Linear"}, "labels": [], "description": "The café order is charged twice."}@more@,
    "url": "https://linear.app/example/issue/LIN-${#number}/pay-the-invoice-once", "type": "Issue",
    "organizationId": "f4b8b4e7-5a4e-4c53-9f4d-2b0d6f1f5c6a", "webhookTimestamp": "${ms}",
    "webhookId": "000042e3-d123-4980-b49f-8e140eef9329"}"""
_LINEAR_COMMENT: Final = """{"action": "create", "actor": {"id": "b5ea5f1f-8adc-4f52-b4bd-ab4e84cf51ba", "type": "user",
    "name": "Zoë Doe"}, "createdAt": "${iso.3}", "data": {"id": "${uuid#comment}", "createdAt": "${iso.3}",
        "updatedAt": "${iso.3}", "body": "Fixed, please try again 😀", "issueId": "${uuid}",
        "userId": "b5ea5f1f-8adc-4f52-b4bd-ab4e84cf51ba", "reactionData": [],
        "user": {"id": "b5ea5f1f-8adc-4f52-b4bd-ab4e84cf51ba", "name": "Zoë Doe"}},
    "url": "https://linear.app/example/issue/LIN-1/pay#comment-${#comment}", "type": "Comment",
    "organizationId": "f4b8b4e7-5a4e-4c53-9f4d-2b0d6f1f5c6a", "webhookTimestamp": "${ms}",
    "webhookId": "000042e3-d123-4980-b49f-8e140eef9329"}"""


def _linear(event: str, action: str, says: str, data: str) -> Sample:
    return Sample(f"{event}.{action}", says, composed(data, action=action), headers={"Linear-Event": event})


LINEAR: Final = Provider(
    "linear",
    (
        _linear("Issue", "create", "an issue was created", composed(_LINEAR_ISSUE, more="")),
        _linear(
            "Issue",
            "update",
            "an issue was changed",
            composed(_LINEAR_ISSUE, more=', "updatedFrom": {"updatedAt": "${iso.3-600}", "priority": 0}'),
        ),
        _linear("Comment", "create", "somebody wrote about an issue", _LINEAR_COMMENT),
    ),
    by_hmac(HmacScheme("Linear-Signature")),
    {"secret": "lin_wh_${base62:40}"},
    headers={"User-Agent": "Linear-Webhook", "Linear-Delivery": "${uuid}"},
    content_type="application/json; charset=utf-8",
)

PROVIDERS: Final = (GITLAB, BITBUCKET, LINEAR)
