"""Braintree: a form of a signature and of XML in base64, and a question that is answered with a signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final
from urllib.parse import urlencode

from hookline.core.simulate.changes import changed_character
from hookline.core.simulate.draft import Draft, Provider, Sample, Wanted
from hookline.core.simulate.hmac_signing import first_of
from hookline.core.simulate.template import Scene, composed
from hookline.core.simulate.token_signing import unsigned


def _mac(scene: Scene, content: bytes) -> str:
    """SHA-1 with the digest of the private key for the key."""
    key = hashlib.sha1(first_of(scene.config["private_key"]).encode(), usedforsecurity=False).digest()
    return hmac.new(key, content, hashlib.sha1).hexdigest()


def _sign(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    payload = base64.encodebytes(draft.body)
    signature = f"{scene.config['public_key']}|{_mac(scene, payload)}"
    return draft.with_body(urlencode({"bt_signature": signature, "bt_payload": payload}).encode())


def _tamper(draft: Draft) -> Draft:
    """Another letter in the payload, which stays base64."""
    found = re.search(rb"[0-9A-Za-z]{8}", draft.body.partition(b"bt_payload=")[2])
    assert found is not None
    place = draft.body.index(found.group()) + 4
    other = changed_character(draft.body[place : place + 1])
    return draft.with_body(draft.body[:place] + other + draft.body[place + 1 :])


def _answer(scene: Scene) -> str:
    return f"{scene.config['public_key']}|{_mac(scene, str(scene.known['challenge']).encode())}"


_NOTICE: Final = """<?xml version="1.0" encoding="UTF-8"?>
<notification>
  <kind>@kind@</kind>
  <timestamp type="datetime">${iso}</timestamp>
  <source-merchant-id>${config:merchant_id}</source-merchant-id>
  <subject>
@subject@
  </subject>
</notification>
"""
_SUBSCRIPTION: Final = """    <subscription>
      <id>${lower:6}</id>
      <balance>0.00</balance>
      <billing-period-start-date type="date">${day}</billing-period-start-date>
      <billing-period-end-date type="date">${day+2592000}</billing-period-end-date>
      <next-billing-date type="date">${day+2592000}</next-billing-date>
      <plan-id>monthly</plan-id>
      <price>${decimal:amount}</price>
      <status>@status@</status>
      <add-ons type="array"/>
      <discounts type="array"/>
      <transactions type="array">@transactions@</transactions>
    </subscription>"""
_TRANSACTION: Final = """
        <transaction>
          <id>${lower:8}</id>
          <status>submitted_for_settlement</status>
          <type>sale</type>
          <currency-iso-code>USD</currency-iso-code>
          <amount>${decimal:amount}</amount>
          <merchant-account-id>example</merchant-account-id>
          <created-at type="datetime">${iso-2}</created-at>
          <customer>
            <first-name>Zoë</first-name>
          </customer>
        </transaction>
      """
_DISPUTE: Final = """    <dispute>
      <amount>${decimal:amount}</amount>
      <amount-disputed>${decimal:amount}</amount-disputed>
      <amount-won>0.00</amount-won>
      <case-number>CB${digits:7}</case-number>
      <created-at type="datetime">${iso-2}</created-at>
      <currency-iso-code>USD</currency-iso-code>
      <evidence type="array"/>
      <id>${lower:16}</id>
      <kind>chargeback</kind>
      <merchant-account-id>example</merchant-account-id>
      <reason>fraud</reason>
      <received-date type="date">${day-86400}</received-date>
      <reply-by-date type="date">${day+864000}</reply-by-date>
      <status>open</status>
      <status-history type="array">
        <status-history>
          <status>open</status>
          <timestamp type="datetime">${iso-2}</timestamp>
        </status-history>
      </status-history>
      <transaction>
        <id>${lower:8}</id>
        <amount>${decimal:amount}</amount>
      </transaction>
      <updated-at type="datetime">${iso-2}</updated-at>
    </dispute>"""


def _notice(kind: str, says: str, subject: str) -> Sample:
    data = composed(_NOTICE, kind=kind, subject=subject)
    return Sample(kind, says, data, {"amount": "${int:500-90000}"}, style=None)


BRAINTREE: Final = Provider(
    "braintree",
    (
        _notice(
            "subscription_charged_successfully",
            "a subscription was paid",
            composed(_SUBSCRIPTION, status="Active", transactions=_TRANSACTION),
        ),
        _notice(
            "subscription_canceled",
            "a subscription has ended",
            composed(_SUBSCRIPTION, status="Canceled", transactions=""),
        ),
        _notice("dispute_opened", "a payment was disputed", _DISPUTE),
        Sample(
            "bt_challenge",
            "a first question without a proof: the challenge is signed",
            "",
            {"challenge": "${hex:32}"},
            query="?bt_challenge=${#challenge}",
            method="GET",
            content_type="",
            sign=unsigned,
            proven=False,
            wanted=Wanted(_answer),
        ),
    ),
    _sign,
    {"public_key": "${lower:16}", "private_key": "${hex:32}", "merchant_id": "${lower:16}"},
    credential="private_key",
    headers={"User-Agent": "Braintree-Webhooks", "Accept": "*/*"},
    content_type="application/x-www-form-urlencoded",
    signs_time=False,
    tamper=_tamper,
)

PROVIDERS: Final = (BRAINTREE,)
