"""GitHub: an HMAC over the body, the event's name in a header."""

from __future__ import annotations

import json
from typing import Final

from hookline.core.simulate.draft import Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac
from hookline.core.simulate.template import composed

_API: Final = "https://api.github.com"
_REPO: Final = f"{_API}/repos/octo-org/hello-world"
_COLLECTIONS: Final = {
    "forks": "/forks",
    "keys": "/keys{/key_id}",
    "collaborators": "/collaborators{/collaborator}",
    "teams": "/teams",
    "hooks": "/hooks",
    "issue_events": "/issues/events{/number}",
    "events": "/events",
    "assignees": "/assignees{/user}",
    "branches": "/branches{/branch}",
    "tags": "/tags",
    "blobs": "/git/blobs{/sha}",
    "git_tags": "/git/tags{/sha}",
    "git_refs": "/git/refs{/sha}",
    "trees": "/git/trees{/sha}",
    "statuses": "/statuses/{sha}",
    "languages": "/languages",
    "stargazers": "/stargazers",
    "contributors": "/contributors",
    "subscribers": "/subscribers",
    "subscription": "/subscription",
    "commits": "/commits{/sha}",
    "git_commits": "/git/commits{/sha}",
    "comments": "/comments{/number}",
    "issue_comment": "/issues/comments{/number}",
    "contents": "/contents/{+path}",
    "compare": "/compare/{base}...{head}",
    "merges": "/merges",
    "archive": "/{archive_format}{/ref}",
    "downloads": "/downloads",
    "issues": "/issues{/number}",
    "pulls": "/pulls{/number}",
    "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}",
    "labels": "/labels{/name}",
    "releases": "/releases{/id}",
    "deployments": "/deployments",
}
_USER_LINKS: Final = {
    "followers": "/followers",
    "following": "/following{/other_user}",
    "gists": "/gists{/gist_id}",
    "starred": "/starred{/owner}{/repo}",
    "subscriptions": "/subscriptions",
    "organizations": "/orgs",
    "repos": "/repos",
    "events": "/events{/privacy}",
    "received_events": "/received_events",
}


def _user(login: str, number: int, kind: str = "User") -> str:
    home = f"{_API}/users/{login}"
    return json.dumps(
        {
            "login": login,
            "id": number,
            "node_id": f"U_kgDO{number}",
            "avatar_url": f"https://avatars.githubusercontent.com/u/{number}?v=4",
            "gravatar_id": "",
            "url": home,
            "html_url": f"https://github.com/{login}",
            **{f"{name}_url": home + path for name, path in _USER_LINKS.items()},
            "type": kind,
            "user_view_type": "public",
            "site_admin": False,
        }
    )


def _repository() -> str:
    html = "https://github.com/octo-org/hello-world"
    return json.dumps(
        {
            "id": 186853002,
            "node_id": "MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI=",
            "name": "hello-world",
            "full_name": "octo-org/hello-world",
            "private": False,
            "owner": "@organization",
            "html_url": html,
            "description": "Grüße an die Welt: <hello> & goodbye",
            "fork": False,
            "url": _REPO,
            **{f"{name}_url": _REPO + path for name, path in _COLLECTIONS.items()},
            "created_at": "2019-05-15T15:19:25Z",
            "updated_at": "${iso-600}",
            "pushed_at": "${iso-2}",
            "git_url": "git://github.com/octo-org/hello-world.git",
            "ssh_url": "git@github.com:octo-org/hello-world.git",
            "clone_url": f"{html}.git",
            "svn_url": html,
            "homepage": None,
            "size": 217,
            "stargazers_count": 80,
            "watchers_count": 80,
            "language": "Python",
            "has_issues": True,
            "has_projects": True,
            "has_downloads": True,
            "has_wiki": True,
            "has_pages": False,
            "has_discussions": False,
            "forks_count": 9,
            "mirror_url": None,
            "archived": False,
            "disabled": False,
            "open_issues_count": 2,
            "license": None,
            "allow_forking": True,
            "is_template": False,
            "web_commit_signoff_required": False,
            "topics": ["webhooks"],
            "visibility": "public",
            "forks": 9,
            "open_issues": 2,
            "watchers": 80,
            "default_branch": "main",
        }
    )


_SENDER: Final = '"repository": "@repository", "sender": "@sender"'
_PERSON: Final = '{"name": "Mona Lisa", "email": "mona@example.com", "username": "octocat"}'

_COMMIT: Final = composed(
    """{"id": "${#after}", "tree_id": "${hex:40}", "distinct": true, "message": "Fix the naïve retry\\n\\nCloses #42",
    "timestamp": "${iso-120}", "url": "https://github.com/octo-org/hello-world/commit/${#after}",
    "author": @person@, "committer": @person@, "added": [], "removed": [],
    "modified": ["src/retry.py"]}""",
    person=_PERSON,
)

_PUSH: Final = composed(
    """{"ref": "refs/heads/main", "before": "${hex:40#before}", "after": "${hex:40#after}", "repository": "@repository",
    "pusher": {"name": "octocat", "email": "mona@example.com"}, "sender": "@sender", "created": false,
    "deleted": false, "forced": false, "base_ref": null,
    "compare": "https://github.com/octo-org/hello-world/compare/${#before}...${#after}",
    "commits": [@commit@], "head_commit": @commit@}""",
    commit=_COMMIT,
)

_ISSUE: Final = """{"url": "@repo@/issues/${int:1-9999#number}", "repository_url": "@repo@",
    "labels_url": "@repo@/issues/${#number}/labels{/name}", "comments_url": "@repo@/issues/${#number}/comments",
    "events_url": "@repo@/issues/${#number}/events", "html_url": "https://github.com/octo-org/hello-world/issues/${#number}",
    "id": "${int:2000000000-2999999999}", "node_id": "I_kwDOCyMvCs${base62:8}", "number": "${#number}",
    "title": "Café orders are <lost> & not found", "user": "@sender",
    "labels": [{"id": 1362934389, "node_id": "MDU6TGFiZWwxMzYyOTM0Mzg5", "url": "@repo@/labels/bug", "name": "bug",
        "color": "d73a4a", "default": true, "description": "Something isn't working"}],
    "state": "open", "locked": false, "assignee": null, "assignees": [], "milestone": null, "comments": @comments@,
    "created_at": "${iso-@age@}", "updated_at": "${iso}", "closed_at": null, "author_association": "CONTRIBUTOR",
    "type": null, "active_lock_reason": null, "sub_issues_summary": {"total": 0, "completed": 0,
        "percent_completed": 0}, "body": "Steps to reproduce:\\r\\n1. order a café au lait 😀", "reactions": {
        "url": "@repo@/issues/${#number}/reactions", "total_count": 0, "+1": 0, "-1": 0, "laugh": 0, "hooray": 0,
        "confused": 0, "heart": 0, "rocket": 0, "eyes": 0},
    "timeline_url": "@repo@/issues/${#number}/timeline", "performed_via_github_app": null,
    "state_reason": null}"""

_COMMENT: Final = composed(
    """{"url": "@repo@/issues/comments/${int:2000000000-2999999999#comment}",
    "html_url": "https://github.com/octo-org/hello-world/issues/${#number}#issuecomment-${#comment}",
    "issue_url": "@repo@/issues/${#number}", "id": "${#comment}", "node_id": "IC_kwDOCyMvCs${base62:8}",
    "user": "@sender", "created_at": "${iso}", "updated_at": "${iso}", "author_association": "CONTRIBUTOR",
    "body": "You are totally right! I'll fix it.", "performed_via_github_app": null}""",
    repo=_REPO,
)

_BRANCH: Final = """{"label": "octo-org:@ref@", "ref": "@ref@", "sha": "${hex:40}", "user": "@organization",
    "repo": "@repository"}"""

_PULL: Final = composed(
    """{"url": "@repo@/pulls/${int:1-9999#number}", "id": "${int:2000000000-2999999999}",
    "node_id": "PR_kwDOCyMvCs${base62:8}", "html_url": "https://github.com/octo-org/hello-world/pull/${#number}",
    "diff_url": "https://github.com/octo-org/hello-world/pull/${#number}.diff",
    "patch_url": "https://github.com/octo-org/hello-world/pull/${#number}.patch", "issue_url":
    "@repo@/issues/${#number}",
    "number": "${#number}", "state": "open", "locked": false, "title": "Retry with backoff", "user": "@sender",
    "body": "Fixes #42.", "created_at": "${iso-1}", "updated_at": "${iso-1}", "closed_at": null, "merged_at": null,
    "merge_commit_sha": null, "assignee": null, "assignees": [], "requested_reviewers": [], "requested_teams": [],
    "labels": [], "milestone": null, "draft": false, "commits_url": "@repo@/pulls/${#number}/commits",
    "comments_url": "@repo@/issues/${#number}/comments", "head": @head@, "base": @base@,
    "_links": {"self": {"href": "@repo@/pulls/${#number}"},
        "html": {"href": "https://github.com/octo-org/hello-world/pull/${#number}"}},
    "author_association": "CONTRIBUTOR", "auto_merge": null, "active_lock_reason": null, "merged": false,
    "mergeable": null, "rebaseable": null, "mergeable_state": "unknown", "merged_by": null, "comments": 0,
    "review_comments": 0, "maintainer_can_modify": false, "commits": 1, "additions": 12, "deletions": 3,
    "changed_files": 1}""",
    head=composed(_BRANCH, ref="retry"),
    base=composed(_BRANCH, ref="main"),
    repo=_REPO,
)

_PING: Final = composed(
    """{"zen": "Design for failure.", "hook_id": "${#hook}", "hook": {"type": "Repository", "id": "${#hook}",
    "name": "web", "active": true, "events": ["issues", "push"], "config": {"content_type": "json",
    "insecure_ssl": "0", "secret": "********", "url": "${url}"}, "updated_at": "${iso-1}", "created_at": "${iso-1}",
    "url": "@repo@/hooks/${#hook}", "test_url": "@repo@/hooks/${#hook}/test", "ping_url": "@repo@/hooks/${#hook}/pings",
    "deliveries_url": "@repo@/hooks/${#hook}/deliveries",
    "last_response": {"code": null, "status": "unused", "message": null}}, """,
    repo=_REPO,
)


def _sample(event: str, action: str, says: str, data: str) -> Sample:
    event_type = f"{event}.{action}" if action else event
    return Sample(event_type, says, data, {"hook": "${int:300000000-599999999}"}, {"X-GitHub-Event": event})


def _issue(age: int, comments: int) -> str:
    return composed(_ISSUE, age=age, comments=comments, repo=_REPO)


GITHUB: Final = Provider(
    "github",
    (
        _sample("push", "", "commits were pushed", _PUSH),
        _sample(
            "pull_request",
            "opened",
            "a pull request was opened",
            f'{{"action": "opened", "number": "${{int:1-9999#number}}", "pull_request": {_PULL}, {_SENDER}}}',
        ),
        _sample(
            "issues", "opened", "an issue was opened", f'{{"action": "opened", "issue": {_issue(0, 0)}, {_SENDER}}}'
        ),
        _sample(
            "issue_comment",
            "created",
            "somebody wrote about an issue",
            f'{{"action": "created", "issue": {_issue(3600, 1)}, "comment": {_COMMENT}, {_SENDER}}}',
        ),
        _sample("ping", "", "the webhook was made: a first question, answered like any event", _PING + _SENDER + "}"),
    ),
    by_hmac(
        HmacScheme("X-Hub-Signature", value="sha1={signature}", digest="sha1"),
        HmacScheme("X-Hub-Signature-256", value="sha256={signature}"),
    ),
    {"secret": "${hex:40}"},
    headers={
        "User-Agent": "GitHub-Hookshot/044aadd",
        "Accept": "*/*",
        "X-GitHub-Delivery": "${uuid}",
        "X-GitHub-Hook-ID": "${#hook}",
        "X-GitHub-Hook-Installation-Target-ID": "186853002",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
    },
    fragments={
        "repository": _repository(),
        "sender": _user("octocat", 21031067),
        "organization": _user("octo-org", 6811672, "Organization"),
    },
    signs_time=False,
)

PROVIDERS: Final = (GITHUB,)
