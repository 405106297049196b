"""Receive, commit, answer, and handle afterwards, once: `WEBHOOK_SECRET=whsec_… python inbox.py 8500 inbox.db`.

`python inbox.py letters inbox.db` lists what failed for good, `python inbox.py retry inbox.db KEY` handles one again.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hookline.sdk import Answer, Event, Receiver
from hookline.sdk.inbox import GiveUp, Inbox
from hookline.sdk.inbox_worker import Worker

# Where deliveries that ask for it are confirmed; without this, at any https address.
SERVER = os.environ.get("HOOKLINE_URL", "http://127.0.0.1:8400")


def orders_of(inbox: Inbox) -> None:
    """What is to be done with orders."""
    # A table of the application's own, in the same database: that is what makes it exactly once.
    inbox.run(lambda t: t.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, total REAL NOT NULL)"))

    @inbox.on("order.*", transaction=True)
    def ordered(event: Event, connection: Any) -> None:
        """Commits together with "handled": both happen, or neither."""
        if "order_id" not in event.data:
            raise GiveUp("an order has an order_id")
        row = (event.data["order_id"], event.data.get("total", 0))
        connection.execute("INSERT INTO orders (id, total) VALUES (?, ?) ON CONFLICT DO NOTHING", row)

    @inbox.on("order.*")
    def told(event: Event) -> None:
        """Something outside the database: at least once. An id that stays the same lets the other side see repeats."""
        print(f"{event.id} {event.type} {json.dumps(event.data)}", flush=True)


class Handler(BaseHTTPRequestHandler):
    """Any web server will do: the inbox says what to answer."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    inbox: Inbox
    receiver: Receiver

    def do_POST(self) -> None:
        """A delivery: committed when it is answered."""
        early = self.receiver.early(self.command, self.headers.get("Content-Length", "0"))
        if early is not None:
            self.close_connection = True
            return self.send(early)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        return self.send(self.inbox.respond(self.command, self.path, self.headers, body))

    def send(self, answer: Answer) -> None:
        """Send an answer."""
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """The events are what is printed."""


def serve(port: int, path: str) -> None:
    """Receive and handle, until Ctrl-C. In production these are often two processes on one database."""
    receiver = Receiver(os.environ["WEBHOOK_SECRET"], confirm_origins=[SERVER])
    inbox = Inbox(path, receiver)
    orders_of(inbox)
    Handler.inbox, Handler.receiver = inbox, receiver
    with Worker(inbox), ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


def main() -> None:
    """The command line."""
    words = sys.argv[1:] or ["8500"]
    path = words[1] if len(words) > 1 else "inbox.db"
    if words[0] == "letters":
        for letter in Inbox(path).letters():
            print(f"{letter.key} {letter.event.type} after {letter.tries} tries: {letter.error}")
    elif words[0] == "retry":
        Inbox(path).retry(words[2])
    else:
        serve(int(words[0]), path)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
