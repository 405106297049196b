"""Receive webhooks in Google Cloud Functions (or Cloud Run functions), over HTTP and over Pub/Sub.

    gcloud functions deploy hook --runtime python312 --trigger-http --entry-point hook --set-env-vars WEBHOOK_SECRET=…
    gcloud functions deploy relayed --runtime python312 --trigger-topic webhooks --entry-point relayed …

with `hookline` in requirements.txt and this file as main.py.
"""

import json
import os

from hookline.sdk import Event, Receiver
from hookline.sdk.google_cloud import event_webhook, webhook
from hookline.sdk.replay_guard import MemoryReplayGuard

# This guard knows only what this instance of the function has handled: where a second run would do harm, take a
# RedisReplayGuard or SqlReplayGuard on a database that all instances share.
receiver = Receiver(os.environ["WEBHOOK_SECRET"], replay_guard=MemoryReplayGuard())


def handle(event: Event) -> None:
    """Called with what is proven and new; when it raises, the event comes again."""
    print(f"{event.id} {event.type} {json.dumps(event.data)}")


hook = webhook(receiver)(handle)
"""Over HTTP, straight from the sender."""

relayed = event_webhook(receiver)(handle)
"""Over Pub/Sub, from whatever has put body and headers of the request into a message."""
