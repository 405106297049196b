"""What providers send, for flow tests: sources made as a client makes them, requests signed as the provider signs."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from hookline.core.event import Event
from hookline.core.source import Source
from hookline.flow.admission import Call, Turned
from hookline.flow.answers import Answer
from hookline.flow.sources import Sources
from hookline.ports.store import Query
from tests.flow.rig import Rig

SECRET = "whsec_of_the_provider"
URL = "https://hooks.example"
CLIENT = "192.0.2.1"
READING = ("type", "id", "subject", "time", "split", "default_type")
JSON = {"content-type": "application/json"}


class Provider:
    """Sends to sources of a rig."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        engine = rig.engine
        self.sources = Sources(
            rig.store,
            engine.registry,
            engine.catalogue,
            rig.keyring,
            rig.clock,
            engine.ids,
            URL,
            has_spool=engine.intake.spool is not None,
        )

    @property
    def now_s(self) -> int:
        return self.rig.clock.wall_ms() // 1000

    async def source(self, name: str = "src", verifier: Any = "github", **spec: Any) -> Source:
        """A new source; `config` is its secret unless given, and what is of its `reading` need not be in it."""
        reading = {member: spec.pop(member) for member in READING if member in spec}
        body = {"name": name, "verifier": verifier, "config": {"secret": SECRET}, "reading": reading, **spec}
        described = await self.sources.create("default", json.dumps(body).encode())
        source = self.rig.engine.registry.source(described.row.id)
        assert source is not None
        return source

    def calling(
        self,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        to: str = "src",
        query: str = "",
        client: str = CLIENT,
        proxied: bool = False,
        announced: int | None = None,
    ) -> asyncio.Future[Answer]:
        """One request; its answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        fields = tuple((name.lower(), value) for name, value in (headers or {}).items())
        target = f"/in/{to}{query}"
        call = Call(to, method, URL + target, target, fields, client, proxied)
        receive = self.rig.engine.receive
        try:
            source = receive.admission.admit(call, len(body) if announced is None else announced)
        except Turned as turned:
            future.set_result(turned.answer)
        else:
            receive.receive(source, call, body, future.set_result)
        return future

    async def call(self, *args: Any, **more: Any) -> Answer:
        """The same, waited for."""
        async with asyncio.timeout(10):
            return await self.calling(*args, **more)

    async def github(self, payload: Any, delivery: str = "d-1", event: str = "push", **more: Any) -> Answer:
        """A signed delivery of GitHub's."""
        body, headers = github(payload, delivery, event)
        return await self.call(body, {**headers, **more.pop("headers", {})}, **more)

    async def events(self) -> list[Event]:
        """Everything that was accepted, the oldest first."""
        rows = (await self.rig.store.events(Query(tenant="default", limit=250))).rows
        whole = [await self.rig.store.event("default", row.id) for row in rows]
        return [event for event in reversed(whole) if event is not None]

    async def rejections(self, name: str = "src") -> list[tuple[int, str]]:
        """Status and reason of what was refused, the oldest first."""
        await self.rig.engine.rejections.flush()
        page = await self.sources.rejections("default", name, 100, None)
        return [(one.rejection.status, one.rejection.reason) for one in reversed(page.rows)]


def github(
    payload: Any, delivery: str = "d-1", event: str = "push", secret: str = SECRET
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a signed delivery."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return body, {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def said(answer: Answer) -> Any:
    """What an answer says."""
    return json.loads(answer.body)


def header(answer: Answer, name: str) -> str | None:
    """A header of an answer."""
    return next((value.decode() for field, value in answer.headers if field == name.encode()), None)


@pytest.fixture
async def provider(rig: Rig) -> Provider:
    """Sends to the rig."""
    return Provider(rig)


TOPIC = "arn:aws:sns:us-east-1:123456789012:orders"
CERT_URL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"
_SIGNED = {
    "Notification": ("Message", "MessageId", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


class Sns:
    """Amazon's key and certificate, and messages signed with it."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.us-east-1.amazonaws.com")])
        start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
        builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + dt.timedelta(days=800))
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def message(self, kind: str, **more: str) -> bytes:
        """One of this type."""
        told = {"Type": kind, "MessageId": "m-1", "TopicArn": TOPIC, "Timestamp": "2026-01-01T00:00:00.000Z", **more}
        text = "".join(f"{name}\n{told[name]}\n" for name in _SIGNED[kind])
        signature = base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
        return json.dumps(
            {**told, "SignatureVersion": "2", "Signature": signature, "SigningCertURL": CERT_URL}
        ).encode()
