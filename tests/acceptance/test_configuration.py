"""What is configured on one node is known on the other within a second."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

from tests.acceptance.cluster import Cluster
from tests.acceptance.program import Program, until
from tests.acceptance.receiver import Hit, Receiver

WITHIN_S = 1.0
SIGNING = "whsec_of_a_provider_0123456789"


def signed_with(hit: Hit, secret: str) -> bool:
    """Whether one of its signatures was made with this secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{hit.id}.{hit.headers['webhook-timestamp']}.".encode() + hit.body
    made = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return f"v1,{made}" in hit.headers["webhook-signature"].split(" ")


def secret_of(node: Program, endpoint: dict[str, Any]) -> str:
    """The newest secret, as this node tells it."""
    found: str = node.get(f"/v1/endpoints/{endpoint['id']}/secret")["secret"]
    return found


def test_a_change_is_known_everywhere_within_a_second(cluster: Cluster, receiver: Receiver) -> None:
    """A rotated secret, a pause, a changed address and a new source, each made on one node, hold on the other a second
    later; a new endpoint holds at once."""
    one, other = cluster.start("api"), cluster.start()
    url = receiver.url()
    endpoint = one.endpoint(url, event_types=["a.*"])
    other.publish("a.b", 0)
    first = secret_of(one, endpoint)
    assert signed_with(receiver.came(url, 1)[0], first)

    one.post(f"/v1/endpoints/{endpoint['id']}/secret/rotate", {}, status=200)
    second = secret_of(one, endpoint)
    assert second != first
    time.sleep(WITHIN_S)
    other.publish("a.b", 1)
    assert signed_with(receiver.came(url, 2)[1], second)

    one.post(f"/v1/endpoints/{endpoint['id']}/pause", status=200)
    time.sleep(WITHIN_S)
    held = other.publish("a.b", 2)
    assert other.delivery(held["id"])["state"] == "held"
    assert len(receiver.hits(url)) == 2

    moved = receiver.url()
    changed = one.client.patch(f"/v1/endpoints/{endpoint['id']}", json={"url": moved})
    assert changed.status_code == 200, changed.text
    one.post(f"/v1/endpoints/{endpoint['id']}/resume", status=200)
    assert [hit.id for hit in receiver.came(moved, 1)] == [held["id"]]
    assert len(receiver.hits(url)) == 2

    assert other.raw("/in/shop", b"{}", "application/json").status_code == 404
    one.post("/v1/sources", {"name": "shop", "verifier": "stripe", "config": {"secret": SIGNING}}, status=201)
    until(lambda: other.raw("/in/shop", b"{}", "application/json").status_code == 401, wait_s=WITHIN_S)
