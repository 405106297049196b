"""Receive webhooks with the standard library: `WEBHOOK_SECRET=whsec_… python receive.py 8500`.

Three rules make a good receiver: verify the signature over the body's own bytes, take each webhook-id once (deliveries
are at-least-once), and answer before the work, not after it.
"""

import json
import os
import sys
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])
BODY_BYTES_MAX = 1024 * 1024
taken: OrderedDict[str, None] = OrderedDict()  # in a real receiver: a table with a unique key, in your own transaction


class Handler(BaseHTTPRequestHandler):
    """Answers deliveries."""

    protocol_version = "HTTP/1.1"  # keeps connections open
    timeout = 60

    def do_POST(self) -> None:
        """One delivery."""
        length = int(self.headers.get("Content-Length", "0"))
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(length)
        try:
            WEBHOOK.verify(body, dict(self.headers), json_parse=False)
        except (WebhookVerificationError, ValueError):
            return self.answer(401)
        webhook_id = self.headers["webhook-id"]
        if webhook_id not in taken:
            taken[webhook_id] = None
            if len(taken) > 10_000:
                taken.popitem(last=False)
            event = json.loads(body)
            print(f"{webhook_id} {event['type']} {json.dumps(event['data'])}", flush=True)
        return self.answer(204)

    def answer(self, status: int) -> None:
        """An answer without a body."""
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The events are what is printed."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8500
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
