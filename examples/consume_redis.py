"""Webhook in, queue, your application: read events from the Redis stream of an endpoint, and handle each once.

    python consume_redis.py redis://127.0.0.1:6379 STREAM

Needs `redis` and `standardwebhooks`; with WEBHOOK_SECRET (`hookline endpoints secret ID`) it verifies who wrote them.
"""

import os
import sys

import redis
from standardwebhooks import Webhook, WebhookVerificationError

GROUP = "application"


def handle(event_id: str, fields: dict[bytes, bytes]) -> None:
    """Your work. `data` is the payload, or the document that the endpoint's format makes of it."""
    print(event_id, fields[b"data"].decode(errors="replace"), flush=True)


def verified(fields: dict[bytes, bytes]) -> bool:
    """Whether Hookline wrote it: the signature is that of a webhook."""
    secret = os.environ.get("WEBHOOK_SECRET")
    if not secret:
        return True
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    try:
        Webhook(secret).verify(fields[b"data"], {name: fields[name.encode()].decode() for name in names})
    except (WebhookVerificationError, ValueError):
        return False
    return True


def main(url: str, stream: str) -> None:
    """Read for ever; what was read and not acknowledged before a crash is read again first."""
    client = redis.Redis.from_url(url)
    try:
        client.xgroup_create(stream, GROUP, id="0", mkstream=True)
    except redis.ResponseError:
        pass  # it is there
    after = "0"
    while True:
        answer = client.xreadgroup(GROUP, "one", {stream: after}, count=100, block=1000)
        entries = [entry for _, found in answer or () for entry in found]
        if not entries:
            after = ">"  # nothing is left over: the new ones
        for entry_id, fields in entries:
            event_id = fields[b"webhook-id"].decode()
            done = f"{stream}:handled:{event_id}"
            if verified(fields) and not client.exists(done):
                handle(event_id, fields)
            # After the work, so that a crash repeats it and loses nothing. (Where the work has a database, keep the ids
            # in its transactions: then nothing is repeated either.)
            client.pipeline().set(done, 1, ex=7 * 86_400).xack(stream, GROUP, entry_id).execute()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
