"""What the tests of verification share: the services over the rig's engine, and answers to be told."""

from __future__ import annotations

import json
from typing import Any

from hookline.core.attempt import Kind, Outcome
from hookline.core.consent import CALLBACK_PURPOSE, token_subject
from hookline.flow.endpoints import Described, Endpoints
from hookline.ports.sender import Consent
from hookline.ports.store import EndpointRow
from tests.flow.rig import OK, Rig

PUBLIC_URL = "https://hooks.example"
NO = Consent(given=False, outcome=Outcome(Kind.RETRY, "answer_rejected", detail="It said no.", status=200))
YES = Consent(given=True, outcome=OK)


def url(path: str = "a") -> str:
    return f"http://receiver.example/{path}"


def service(rig: Rig) -> Endpoints:
    engine = rig.engine
    return Endpoints(
        rig.store,
        engine.registry,
        engine.catalogue,
        rig.keyring,
        engine.senders,
        rig.clock,
        engine.ids,
        engine.wake.notify,
        engine.verification,
    )


async def create(rig: Rig, verify: str = "challenge", path: str = "a", **spec: Any) -> Described:
    body = json.dumps({"url": url(path), "verify": verify, **spec}).encode()
    return await service(rig).create("default", body)


async def patch(rig: Rig, described: Described, **changes: Any) -> Described:
    return await service(rig).patch("default", reference(described), json.dumps(changes).encode())


async def look(rig: Rig, described: Described) -> Described:
    return await service(rig).get("default", reference(described))


def reference(described: Described) -> str:
    return "ep_" + described.row.id.hex()


def token_of(rig: Rig, row: EndpointRow) -> str:
    """The token that the receiver would have got with the handshake."""
    return rig.keyring.tokens(CALLBACK_PURPOSE).make(token_subject(row.id, row.version))
