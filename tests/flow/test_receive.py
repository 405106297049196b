"""Receiving: who is let in, what is verified, what becomes of it, what is answered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path

import msgspec
import pytest

from hookline.core.errors import StoreUnavailable
from hookline.core.secret import Keyring
from hookline.core.verifiers.verdict import Fetched
from hookline.flow import receive
from hookline.flow.receive import FETCHES_S_MAX
from tests.flow.receiving import CERT_URL, CLIENT, SECRET, TOPIC, URL, Provider, Sns, github, header, provider, said
from tests.flow.rig import FaultyRig, Rig

__all__ = ["provider"]


# ----------------------------------------------------------------------------------------------- what comes of it


async def test_a_verified_request_is_an_event_that_is_delivered(rig: Rig, provider: Provider) -> None:
    """Its bytes, type, id and kept headers are the provider's; it routes like any other; the answer is the documented
    one and comes after the commit."""
    endpoint = await rig.endpoint("a", event_types=["push"])
    await provider.source()
    body = b'{ "zen":1.0,\r\n"a":"\\u00e9" }'
    answer = await provider.github(body, headers={"Authorization": "Bearer x", "Host": "h", "X-Odd": "\xe9"})
    (event,) = await provider.events()
    assert (answer.status, said(answer)) == (
        200,
        {"status": "success", "message": "Stored.", "event_id": event.public_id},
    )
    assert (event.type, event.data, event.content_type) == ("push", body, "application/json")
    assert (event.source, event.source_id) == ("/in/src", "d-1")
    origin = event.inbound
    assert origin is not None
    assert (origin.source, origin.method) == ("src", "POST")
    assert origin.request_id.startswith("req_")
    names = [name for name, _ in origin.headers]
    assert names == ["x-github-event", "x-github-delivery", "x-hub-signature-256", "x-odd"]
    await rig.quiet()
    assert rig.sender.sent == [(endpoint.url, body, 1)]
    assert rig.observer.outcomes["src", "accepted"] == 1


async def test_a_duplicate_is_answered_with_success_and_stored_once(rig: Rig, provider: Provider) -> None:
    """By the provider's id, for as long as the provider repeats; the first's id is told."""
    await provider.source(dedupe_window_s=3 * 86_400)
    first, again = await provider.github({"n": 1}), await provider.github({"n": 2})
    other = await provider.github({"n": 1}, "d-2")
    assert (again.status, said(again)["event_id"]) == (200, said(first)["event_id"])
    assert said(other)["event_id"] != said(first)["event_id"]
    assert len(await provider.events()) == 2
    rig.clock.advance(3 * 86_400 - 1)
    assert said(await provider.github({"n": 3}))["event_id"] == said(first)["event_id"]
    rig.clock.advance(2)
    assert said(await provider.github({"n": 3}))["event_id"] != said(first)["event_id"]
    assert rig.observer.outcomes["src", "duplicate"] == 2


async def test_a_hundred_at_once_share_commits_and_repeats_make_one_event(rig: Rig, provider: Provider) -> None:
    """Requests of many sources, and publishes, go together; one id at the same time is one event."""
    await provider.source()
    await provider.source("other")
    body, headers = github({"n": 1}, "same")
    before = rig.observer.commits["accept"]
    answers = await asyncio.gather(
        *(provider.calling(body, headers) for _ in range(50)),
        *(provider.calling(*github({"n": n}, f"d{n}"), to="other") for n in range(50)),
        rig.publishing({"type": "order.created", "data": 1}),
    )
    assert {answer.status for answer in answers} == {200, 202}
    assert len({said(answer)["event_id"] for answer in answers[:50]}) == 1
    assert len(await provider.events()) == 52
    assert rig.observer.commits["accept"] - before <= 2


async def test_a_forged_request_is_refused_counted_and_noted(rig: Rig, provider: Provider) -> None:
    """The sender learns the code; the owner of the source learns the reason, with headers, credentials masked."""
    await provider.source()
    body, headers = github({"n": 1}, secret="another")
    answer = await provider.call(body, {**headers, "X-Api-Token": "s3cret"}, query="?token=s3cret&a=1")
    problem = said(answer)
    assert (answer.status, problem["code"], answer.content_type) == (401, "unverified", b"application/problem+json")
    assert header(answer, "www-authenticate") is not None
    assert "signature" not in problem["detail"].lower()
    assert await provider.events() == []
    await rig.engine.rejections.flush()
    (noted,) = (await provider.sources.rejections("default", "src", 10, None)).rows
    told = noted.rejection
    assert (told.status, told.reason, told.method, told.size_bytes) == (401, "wrong_signature", "POST", len(body))
    assert "s3cret" not in repr(told)
    assert told.client == CLIENT
    assert rig.observer.rejections["src", "wrong_signature"] == 1


async def test_a_flood_of_forgeries_costs_no_commit_each(rig: Rig, provider: Provider) -> None:
    """The newest are kept, in the background."""
    await provider.source()
    body, headers = github({}, secret="another")
    for _ in range(300):
        provider.calling(body, headers)
    assert len(await provider.rejections()) == 100
    assert rig.observer.rejections["src", "wrong_signature"] == 300
    assert rig.observer.commits["accept"] == 0


# ------------------------------------------------------------------------------------------------------ let in


async def test_an_unknown_or_disabled_source_is_not_there(rig: Rig, provider: Provider) -> None:
    """The same bytes for both: nobody learns which addresses there are."""
    await provider.source("off", enabled=False)
    unknown, disabled = await provider.call(to="none"), await provider.call(to="off")
    assert (unknown.status, said(unknown)["code"]) == (404, "not_found")
    assert (disabled.status, disabled.body, disabled.headers) == (404, unknown.body, unknown.headers)
    assert rig.observer.rejections["", "not_found"] == 2


@pytest.mark.parametrize(
    ("spec", "call", "status", "code"),
    [
        ({}, {"method": "PUT"}, 405, "method_not_allowed"),
        ({}, {"headers": {"content-encoding": "gzip"}}, 415, "unsupported_media_type"),
        (
            {"content_types": ["application/json"]},
            {"headers": {"content-type": "text/xml"}},
            415,
            "unsupported_media_type",
        ),
        ({"content_types": ["application/json"]}, {}, 415, "unsupported_media_type"),
        ({"ip_ranges": ["198.51.100.0/24", "2001:db8::/32"]}, {}, 403, "forbidden"),
        ({"body_bytes_max": 10}, {"body": b"x" * 11}, 413, "payload_too_large"),
        ({"body_bytes_max": 10}, {"body": b"x" * 11, "announced": 0}, 413, "payload_too_large"),
        ({"body_bytes_max": 10}, {"announced": 11}, 413, "payload_too_large"),
    ],
)
async def test_who_is_not_let_in_is_told_why(provider: Provider, spec, call, status, code) -> None:
    """Each rule has its status and its code, a reason for the owner, and reads nothing more than it must."""
    await provider.source(**spec)
    answer = await provider.call(**call)
    assert (answer.status, said(answer)["code"]) == (status, code)
    assert header(answer, "allow") == ("POST" if status == 405 else None)
    assert await provider.rejections() == [(status, code)]


async def test_address_ranges_judge_the_real_client(provider: Provider) -> None:
    """One that is in the ranges is let in; IPv6 too."""
    await provider.source(ip_ranges=["192.0.2.0/24", "2001:db8::/32"])
    for number, client in enumerate(("192.0.2.77", "2001:db8::1")):
        assert (await provider.github({}, f"d{number}", client=client)).status == 200
    assert (await provider.github({}, "x", client="198.51.100.1")).status == 403


async def test_rates_hold_per_source_and_per_address(rig: Rig, provider: Provider) -> None:
    """429 says when to come again; the address's rate counts before it takes from the source's."""
    await provider.source(rate={"n": 4, "per_s": 60}, address_rate={"n": 2, "per_s": 60})
    body, headers = github({})
    statuses = [(await provider.call(body, headers, client=f"192.0.2.{n // 3}")).status for n in range(6)]
    assert statuses == [200, 200, 429, 200, 200, 429]
    late = await provider.call(body, headers, client="192.0.2.9")
    assert (late.status, said(late)["code"]) == (429, "rate_limited")
    assert 1 <= int(header(late, "retry-after") or 0) <= 60
    rig.clock.advance(60)
    assert (await provider.call(body, headers)).status == 200
    assert await provider.rejections() == []
    assert rig.observer.rejections["src", "rate_limited"] == 3


async def test_methods_of_ones_own(provider: Provider) -> None:
    """Any method can be allowed, also for a preset that does not use it."""
    await provider.source(methods=["POST", "PUT"], verifier={"scheme": "none"}, config={})
    answer = await provider.call(b"<a/>", {"content-type": "text/xml"}, method="PUT")
    assert answer.status == 200
    (event,) = await provider.events()
    assert (event.type, event.data, event.content_type, event.inbound.method) == ("webhook", b"<a/>", "text/xml", "PUT")


async def test_a_source_whose_secrets_cannot_be_opened_asks_to_come_again(rig: Rig, provider: Provider) -> None:
    """Nothing can be verified, so nothing is refused for good."""
    source = await provider.source()
    row = await rig.engine.catalogue.source("default", "src")
    sealed = Keyring([b"x" * 32]).seal(b'{"config":{}}', b"n" * 12)
    await rig.store.put_source(msgspec.structs.replace(row, sealed=sealed), row.version)
    await rig.engine.registry.refresh()
    assert rig.engine.registry.source(source.id).readable is False
    answer = await provider.github({})
    assert (answer.status, said(answer)["code"]) == (503, "unavailable")


# --------------------------------------------------------------------------------------------------- handshakes


async def test_a_question_is_answered_and_makes_no_event(rig: Rig, provider: Provider) -> None:
    """Slack's challenge, signed; the answer cannot run on a page of ours."""
    await provider.source(verifier="slack")
    body = b'{"type":"url_verification","challenge":"<b>c</b>","token":"x"}'
    signed = hmac.new(SECRET.encode(), b"v0:%d:%b" % (provider.now_s, body), hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Slack-Request-Timestamp": str(provider.now_s),
        "X-Slack-Signature": f"v0={signed}",
    }
    answer = await provider.call(body, headers)
    assert answer.status == 200
    assert b"<b>c</b>" in answer.body
    assert header(answer, "content-security-policy") == "default-src 'none'; sandbox"
    assert await provider.events() == []
    assert rig.observer.outcomes["src", "handshake"] == 1
    assert (await provider.call(body, {**headers, "X-Slack-Signature": "v0=" + "0" * 64})).status == 401


async def test_meta_asks_by_get(provider: Provider) -> None:
    """The challenge for who knows the token, 403 for anybody else."""
    await provider.source(verifier="meta", config={"secret": SECRET, "verify_token": "known"})
    query = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    right, wrong = [await provider.call(method="GET", query=query + token) for token in ("known", "guess")]
    assert (right.status, right.body) == (200, b"1158201444")
    assert wrong.status == 403
    assert (await provider.rejections())[0][0] == 403


# ------------------------------------------------------------------------------------------------ what is elsewhere

CONFIRM_URL = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={}&Token=t".format(
    TOPIC.replace(":", "%3A")
)


@pytest.fixture(scope="module")
def sns() -> Sns:
    """Amazon."""
    return Sns()


async def test_a_certificate_is_fetched_once_and_kept(rig: Rig, provider: Provider, sns: Sns) -> None:
    """The answer waits for it; later requests do not."""
    rig.far[CERT_URL] = Fetched(200, sns.pem)
    await provider.source(verifier="aws_sns", config={"topic_arn": TOPIC})
    headers = {"content-type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
    for number in range(3):
        body = sns.message("Notification", Message="hi", MessageId=f"m-{number}")
        assert (await provider.call(body, headers)).status == 200
    assert rig.fetched == [CERT_URL]
    assert len(await provider.events()) == 3


async def test_what_cannot_be_fetched_is_asked_to_come_again(rig: Rig, provider: Provider, sns: Sns) -> None:
    """503, not 401, since the sender may be right; it is said within the time that providers wait."""
    await provider.source(verifier="aws_sns", config={"topic_arn": TOPIC})
    body = sns.message("Notification", Message="hi")
    answer = await provider.call(body, {"content-type": "text/plain"})
    assert (answer.status, said(answer)["code"]) == (503, "unavailable")
    assert header(answer, "retry-after") is not None
    assert await provider.rejections() == [(503, "key_unavailable")]
    rig.clock.advance(60)
    rig.fetch_gates[CERT_URL] = asyncio.Event()
    waiting = provider.calling(body, {"content-type": "text/plain"})
    await rig.clock.asleep()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await rig.clock.run_for(FETCHES_S_MAX)
    assert (await asyncio.wait_for(waiting, 5)).status == 503
    rig.fetch_gates[CERT_URL].set()


async def test_those_who_wait_for_a_fetch_are_bounded(rig: Rig, provider: Provider, sns: Sns, monkeypatch) -> None:
    """A flood that waits for one certificate holds so many bodies and no more; who comes then is to come again."""
    monkeypatch.setattr(receive, "WAITING_MAX", 3)
    rig.fetch_gates[CERT_URL] = asyncio.Event()
    rig.far[CERT_URL] = Fetched(200, sns.pem)
    await provider.source(verifier="aws_sns", config={"topic_arn": TOPIC})
    bodies = [sns.message("Notification", Message="hi", MessageId=f"m-{n}") for n in range(4)]
    calls = [provider.calling(body, {"content-type": "text/plain"}) for body in bodies]
    late = await calls[-1]
    assert (late.status, said(late)["code"]) == (503, "overloaded")
    rig.fetch_gates[CERT_URL].set()
    assert [(await asyncio.wait_for(call, 5)).status for call in calls[:-1]] == [200] * 3
    assert rig.engine.receive.busy is False


async def test_a_subscription_is_confirmed_before_it_is_answered(rig: Rig, provider: Provider, sns: Sns) -> None:
    """Only when the signature is right, and at the provider's own host."""
    rig.far |= {CERT_URL: Fetched(200, sns.pem), CONFIRM_URL: Fetched(200, b"<ok/>")}
    await provider.source(verifier="aws_sns", config={"topic_arn": TOPIC})
    body = sns.message("SubscriptionConfirmation", Message="m", SubscribeURL=CONFIRM_URL, Token="t")
    assert (await provider.call(body, {"content-type": "text/plain"})).status == 200
    assert rig.fetched == [CERT_URL, CONFIRM_URL]
    assert [event.type for event in await provider.events()] == ["SubscriptionConfirmation"]
    rig.fetched.clear()
    forged = body.replace(b'"Token": "t"', b'"Token": "u"')
    assert (await provider.call(forged, {"content-type": "text/plain"})).status == 401
    elsewhere = sns.message("SubscriptionConfirmation", Message="m", SubscribeURL="https://127.0.0.1/", Token="t")
    assert (await provider.call(elsewhere, {"content-type": "text/plain"})).status == 401
    assert rig.fetched == []


async def test_a_confirmation_that_fails_is_tried_again(rig: Rig, provider: Provider, sns: Sns) -> None:
    """The request is taken all the same; its owner sees it, and within half an hour the provider may hear our yes."""
    rig.far[CERT_URL] = Fetched(200, sns.pem)
    await provider.source(verifier="aws_sns", config={"topic_arn": TOPIC})
    body = sns.message("SubscriptionConfirmation", Message="m", SubscribeURL=CONFIRM_URL, Token="t")
    assert (await provider.call(body, {"content-type": "text/plain"})).status == 200
    assert await provider.rejections() == [(200, "unconfirmed")]
    for wait_s, tries in ((9, 1), (2, 2), (60, 3)):
        await rig.clock.run_for(wait_s)
        assert rig.fetched.count(CONFIRM_URL) == tries
    rig.far[CONFIRM_URL] = Fetched(200, b"<ok/>")
    await rig.clock.run_for(3600)
    assert rig.fetched.count(CONFIRM_URL) == 4
    assert len(await provider.events()) == 1


async def test_a_header_that_a_proxy_sets_is_believed_only_from_a_proxy(provider: Provider) -> None:
    """A client certificate is what a trusted proxy says it is; from anybody else it is a forger's word."""
    scheme = {"scheme": "client_certificate", "header": "x-client-cert"}
    source = await provider.source(verifier=scheme, config={})
    assert "x-client-cert" in source.preset.proxy_headers
    answer = await provider.call(b"{}", {"x-client-cert": "anything"})
    assert answer.status == 401
    assert (await provider.rejections())[-1][1] in {"missing_signature", "not_configured"}


async def test_urls_that_are_signed_are_those_that_were_called(provider: Provider) -> None:
    """A verifier sees the whole URL, with its query."""
    await provider.source(verifier={"scheme": "none"}, config={}, type="'t'", subject="request:url", id="query:k")
    await provider.call(b"1", {"content-type": "application/json"}, query="?k=v%201")
    (event,) = await provider.events()
    assert (event.subject, event.source_id) == (f"{URL}/in/src?k=v%201", "v 1")


# ----------------------------------------------------------------------------------------------------- the store


async def test_what_the_store_does_not_take_is_not_acknowledged(tmp_path: Path) -> None:
    """503 while it is away, before and after the commit; who comes again is stored once, whatever was lost."""
    rig = FaultyRig(tmp_path / "flow.db")
    await rig.start()
    provider = Provider(rig)
    await provider.source()
    for after_commit in (False, True):
        rig.faults.fail("accept", StoreUnavailable("away"), times=1, after_commit=after_commit)
        answer = await provider.github({"n": 1}, f"d-{after_commit}")
        assert (answer.status, said(answer)["code"]) == (503, "store_unavailable")
        assert header(answer, "retry-after") is not None
        rig.faults.heal()
        assert (await provider.github({"n": 1}, f"d-{after_commit}")).status == 200
    assert [event.source_id for event in await provider.events()] == ["d-False", "d-True"]
    assert rig.observer.rejections["src", "store_unavailable"] == 2
    await rig.stop()
