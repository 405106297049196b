"""Receive webhooks in plain WSGI, as a middleware: `WEBHOOK_SECRET=whsec_… python receive_wsgi.py 8500`.

The application behind it gets what is proven and new. Without an application of yours the handler is one by itself:
`hookline.sdk.wsgi.webhook(receiver)(handler)`.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from wsgiref.simple_server import make_server

from hookline.sdk import Receiver
from hookline.sdk.replay_guard import MemoryReplayGuard
from hookline.sdk.wsgi import WebhookMiddleware


def application(environ: dict, start_response: Callable) -> Iterable[bytes]:
    """Whatever it answers below 400 means that the events are handled; else they come again."""
    for event in environ.get("hookline.events", ()):
        print(f"{event.id} {event.type} {json.dumps(event.data)}", flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]


# In a real receiver: RedisReplayGuard or SqlReplayGuard, which all processes share and no restart forgets.
receiver = Receiver(os.environ["WEBHOOK_SECRET"], replay_guard=MemoryReplayGuard())
app = WebhookMiddleware(application, receiver, path="/hook")

if __name__ == "__main__":
    with make_server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8500, app) as server:
        server.serve_forever()
