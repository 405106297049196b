"""Receive webhooks in plain ASGI: `WEBHOOK_SECRET=whsec_… python receive_asgi.py 8500`.

Here the handler is the whole application. In front of an application of yours stands
`WebhookMiddleware(app, receiver, path="/hook")`, and the events are in `scope["hookline.events"]`.
"""

import json
import os
import sys

import uvicorn

from hookline.sdk import Event, Receiver
from hookline.sdk.asgi import webhook
from hookline.sdk.replay_guard import MemoryReplayGuard

# In a real receiver: a Redis or SQL guard, which all processes share and no restart forgets.
receiver = Receiver(os.environ["WEBHOOK_SECRET"], replay_guard=MemoryReplayGuard())


@webhook(receiver)
async def app(event: Event) -> None:
    """Called with what is proven and new; what it raises is answered 500, and the event comes again."""
    print(f"{event.id} {event.type} {json.dumps(event.data)}", flush=True)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8500)
