"""Jira as a Connect app receives it: tokens over method, path and query; installations; against atlassian-jwt."""

from __future__ import annotations

import datetime as dt
import json
import string
from urllib.parse import quote, urlencode

import atlassian_jwt
import jwt as pyjwt
import pytest
from atlassian_jwt.url_utils import hash_url
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.verifiers.made_certificates import NOW_S, public_pem
from tests.core.verifiers.made_tokens import token
from tests.core.verifiers.recorded import Recorded, read, reason, said, settled

from hookline.core.verifiers import jira_connect
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.jira_connect import query_hashes
from hookline.core.verifiers.verdict import Fetch, Fetched, Verified

REAL = Recorded("jira_connect")
BASE = "https://app.example.com/connect"
CONFIG = {"shared_secret": "a shared secret of the tenant, of length", "client_key": "tenant-1", "base_url": BASE}
URL = f"{BASE}/issue-updated?user_account_id=5b1&issue.key=PROJ-1"
HEADER = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"iss": "tenant-1", "iat": NOW_S - 5, "exp": NOW_S + 175}


def made(url=URL, method="POST", *, drop=(), header=HEADER, by=None, **changes):
    qsh = hash_url(method, url.removeprefix(BASE))
    told = {name: value for name, value in {**CLAIMS, "qsh": qsh, **changes}.items() if name not in drop}
    return token(header, told, CONFIG["shared_secret"].encode() if by is None else by)


def request(text, url=URL, method="POST", body=b"{}", header="JWT "):
    headers = {} if header is None else {"authorization": header + text}
    return Inbound.of(method, url, {"content-type": "application/json", **headers}, body)


def judged(text=None, now_s=NOW_S, url=URL, method="POST", **config):
    merged = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    return said("jira_connect", request(made() if text is None else text, url, method), merged, now_s)


def test_recorded_delivery():
    """The recorded delivery is verified and read."""
    assert isinstance(REAL.judged(), Verified)
    (event,) = read("jira_connect", REAL.request())
    assert (event.type, event.id, event.subject) == (REAL.expected["event_type"], "9f3a", "PROJ-1")


NONE = {"alg": "none"}
FORGED = {
    "another tenant": (made(iss="tenant-2"), "wrong_recipient"),
    "no tenant": (made(drop=["iss"]), "wrong_recipient"),
    "another secret": (made(by=b"another secret"), "wrong_signature"),
    "empty secret": (made(by=b""), "wrong_signature"),
    "ended": (made(exp=NOW_S), "stale"),
    "does not end": (made(drop=["exp"]), "stale"),
    "ends in ms": (made(exp=NOW_S * 1000), "stale"),
    "made later": (made(iat=NOW_S + 120), "stale"),
    "qsh of another path": (made(f"{BASE}/issue-deleted?user_account_id=5b1&issue.key=PROJ-1"), "wrong_recipient"),
    "qsh of another query": (made(f"{BASE}/issue-updated?user_account_id=5b1&issue.key=PROJ-2"), "wrong_recipient"),
    "qsh of no query": (made(f"{BASE}/issue-updated"), "wrong_recipient"),
    "qsh of another method": (made(method="GET"), "wrong_recipient"),
    "qsh of the whole path": (
        made(qsh=hash_url("POST", URL.removeprefix("https://app.example.com"))),
        "wrong_recipient",
    ),
    "qsh of a page": (made(qsh="context-qsh"), "wrong_recipient"),
    "no qsh": (made(drop=["qsh"]), "malformed_signature"),
    "qsh is a list": (made(qsh=["x"]), "malformed_signature"),
    "none": (token(NONE, {**CLAIMS, "qsh": hash_url("POST", URL.removeprefix(BASE))}, None), "malformed_signature"),
    "HS512": (made(header={"alg": "HS512"}), "wrong_signature"),
    "RS256 for no installation": (made(header={"alg": "RS256", "kid": "k1"}, by="atlassian"), "wrong_signature"),
    "crit": (made(header={**HEADER, "crit": ["qsh"]}), "unsupported"),
    "cut": (made()[:-2], "malformed_signature"),
    "empty": ("", "malformed_signature"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_tokens(name):
    """Whatever is not the tenant's token for this method, path and query is refused."""
    text, why = FORGED[name]
    assert reason(judged(text)) == why


def test_url_is_covered():
    """A good token does not do for another path, query or method; the base's host and scheme are not covered."""
    good = made()
    for url, method in (
        (URL + "&more=1", "POST"),
        (URL.replace("PROJ-1", "PROJ-2"), "POST"),
        (URL.replace("issue-updated", "other"), "POST"),
        (URL, "PUT"),
    ):
        assert reason(judged(good, url=url, method=method)) == "wrong_recipient"
    assert isinstance(judged(good, url=URL.replace("app.example.com", "localhost:8400")), Verified)


def test_where_the_token_stands():
    """In the header or in the query (of which it is then no part); of two, none counts."""
    good = made()
    url = f"{URL}&jwt={good}"
    assert isinstance(said("jira_connect", request(good, url, header=None), CONFIG, NOW_S), Verified)
    assert isinstance(said("jira_connect", request("x", url, header="Bearer "), CONFIG, NOW_S), Verified)
    assert isinstance(said("jira_connect", request(good, header="jwt "), CONFIG, NOW_S), Verified)
    assert reason(said("jira_connect", request(good, header="Bearer "), CONFIG, NOW_S)) == "missing_signature"
    assert reason(said("jira_connect", request(good, header=None), CONFIG, NOW_S)) == "missing_signature"
    assert (
        reason(said("jira_connect", request(good, f"{url}&jwt=x", header=None), CONFIG, NOW_S)) == "missing_signature"
    )
    one = request(good)
    two = Inbound(one.method, one.url, (*one.headers, ("authorization", f"JWT {good}")), one.body)
    assert reason(said("jira_connect", two, CONFIG, NOW_S)) == "missing_signature"


def test_configuration():
    """Tenant and secret are needed; several secrets are tried; without a base URL the whole path counts."""
    assert reason(judged(client_key=None)) == "not_configured"
    assert reason(judged(shared_secret=None)) == "not_configured"
    assert isinstance(judged(shared_secret=["new", CONFIG["shared_secret"]]), Verified)
    whole = made(qsh=hash_url("POST", URL.removeprefix("https://app.example.com")))
    assert isinstance(judged(whole, base_url=None), Verified)
    assert isinstance(judged(whole, base_url="https://app.example.com/"), Verified)
    assert isinstance(judged(base_url=f"{BASE}/"), Verified)
    assert reason(judged(url="https://[::1")) == "wrong_recipient"


def test_leeway():
    """A token may have ended by the configured leeway."""
    assert isinstance(judged(made(exp=NOW_S - 5), leeway=10), Verified)
    assert reason(judged(made(exp=NOW_S - 10), leeway=10)) == "stale"


# ------------------------------------------------------------------------------------------------- atlassian-jwt


class Tenant(atlassian_jwt.Authenticator):
    """Their own judge."""

    def get_shared_secret(self, client_key):
        return {"tenant-1": CONFIG["shared_secret"]}[client_key]


names = st.text(st.sampled_from(string.ascii_letters + "~*'()!-_. +&=/,;é☃%"), min_size=1, max_size=6)
values = st.text(st.sampled_from(string.ascii_letters + string.digits + "~*'()!-_. +&=/,;é☃%"), max_size=6)
segments = st.text(st.sampled_from(string.ascii_letters + "-_.~&%20,@"), min_size=1, max_size=6)


@settings(max_examples=200)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.lists(segments, max_size=3),
    st.lists(st.tuples(names, values), max_size=4),
    st.booleans(),
)
def test_hashes_are_atlassians(method, path, pairs, plus):
    """For whatever path and query, one of our hashes is the one of atlassian-jwt (which takes a first segment with a
    colon for a scheme, so none has one)."""
    query = urlencode(pairs) if plus else urlencode(pairs, quote_via=quote)
    relative = "/" + "/".join(path) + (f"?{query}" if query else "")
    assert hash_url(method, relative) in query_hashes(method, BASE + relative, BASE)


def test_their_tokens_are_ours():
    """What atlassian-jwt makes (with our clock told), it and we accept; a changed one neither does."""
    now_s = dt.datetime.now(dt.UTC).timestamp()  # their library reads the clock itself
    relative = "/hook?a=1&b=2&a=0"
    good = atlassian_jwt.encode_token("POST", relative, "tenant-1", CONFIG["shared_secret"], timeout_secs=180)
    for text, fine in ((good, True), (good[:-4] + "AAAA", False)):
        ours = isinstance(judged(text, now_s, url=BASE + relative), Verified)
        try:
            theirs = Tenant().authenticate("POST", relative, {"Authorization": f"JWT {text}"}).client_key == "tenant-1"
        except pyjwt.InvalidTokenError:
            theirs = False
        assert (ours, theirs) == (fine, fine)


# ------------------------------------------------------------------------------------------------ installations

INSTALLED = json.dumps({"key": "app", "clientKey": "tenant-9", "sharedSecret": "s", "eventType": "installed"}).encode()
INSTALL_URL = f"{BASE}/installed"
KID = "0e50fccb-239d-4991-a5db-dc850ba3f236"


def installation(*, kid=KID, body=INSTALLED, by="atlassian", **changes):
    claims = {"iss": "tenant-9", "aud": BASE, "qsh": hash_url("POST", "/installed"), **changes}
    text = made(header={"alg": "RS256", "kid": kid}, by=by, **claims)
    return request(text, INSTALL_URL, body=body)


def installed(one, **config):
    base = {"base_url": BASE, **config}
    web = {jira_connect.INSTALL_KEYS_URL + KID: Fetched(200, public_pem("atlassian").encode())}
    return settled("jira_connect", one, base, NOW_S, web)


def test_installation():
    """The callback of an installation is signed by Atlassian's key of that name, and needs no secret yet."""
    verdict, asked = installed(installation())
    assert isinstance(verdict, Verified)
    assert asked == [Fetch(jira_connect.INSTALL_KEY, jira_connect.INSTALL_KEYS_URL + KID, keep_s=3600.0)]
    assert isinstance(installed(installation(), client_key="tenant-9")[0], Verified)
    given_key = {"certs": {KID: public_pem("atlassian")}}
    assert installed(installation(), **given_key) == (Verified(facts={"client_key": "tenant-9"}), [])
    (event,) = read("jira_connect", installation())
    assert (event.type, event.subject) == ("installed", "tenant-9")


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (installation(by="stranger"), "wrong_signature"),
        (installation(aud="https://other.example.com"), "wrong_recipient"),
        (installation(iss="tenant-8"), "wrong_recipient"),
        (installation(qsh=hash_url("POST", "/other")), "wrong_recipient"),
        (installation(exp=NOW_S), "stale"),
        (installation(kid="../" + KID), "untrusted_key"),
        (installation(kid=f"{KID}/../x"), "untrusted_key"),
        (installation(kid="https://evil.com/"), "untrusted_key"),
        (installation(kid="x?y"), "untrusted_key"),
        (installation(kid=None), "untrusted_key"),
        (installation(kid="another"), "key_unavailable"),
        (installation(body=b'{"eventType":"installed"}'), "malformed_body"),
        (installation(body=INSTALLED.replace(b"installed", b"enabled")), "not_configured"),
    ],
)
def test_forged_installation(one, why):
    """Another app, tenant, path or key, a key's name that is a path, and other callbacks are no installation."""
    assert reason(installed(one)[0]) == why


def test_installation_signed_with_a_public_key_as_secret():
    """HS256 with Atlassian's public key is held against the shared secret, and refused."""
    text = made(INSTALL_URL, by=public_pem("atlassian").encode(), iss="tenant-1")
    one = request(text, INSTALL_URL, body=INSTALLED)
    assert (
        reason(said("jira_connect", one, {**CONFIG, "certs": {KID: public_pem("atlassian")}}, NOW_S))
        == "wrong_signature"
    )
