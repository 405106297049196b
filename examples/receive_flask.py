"""Receive webhooks in Flask: `WEBHOOK_SECRET=whsec_… python receive_flask.py 8500`."""

import json
import os
import sys

from flask import Flask

from hookline.sdk import Event, Receiver
from hookline.sdk.flask import webhook
from hookline.sdk.replay_guard import MemoryReplayGuard

# In a real receiver: RedisReplayGuard or SqlReplayGuard, which all processes share and no restart forgets.
receiver = Receiver(os.environ["WEBHOOK_SECRET"], replay_guard=MemoryReplayGuard())
app = Flask(__name__)


@app.post("/hook")
@webhook(receiver)
def hook(event: Event) -> None:
    """Called with what is proven and new; what it raises is answered 500, and the event comes again."""
    print(f"{event.id} {event.type} {json.dumps(event.data)}", flush=True)


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8500)
