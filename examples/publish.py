"""Publish an event with the standard library alone: `python publish.py order.created '{"order_id": "A-1"}'`.

The event has an id of its own, so trying again after a lost answer makes no second event.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

URL = os.environ.get("HOOKLINE_URL", "http://127.0.0.1:8400")
KEY = os.environ["HOOKLINE_KEY"]
TRIES = 5


def publish(event_type: str, data: object) -> dict:
    """The server's answer. When this returns, the event and its deliveries are stored."""
    event = {"type": event_type, "data": data, "id": str(uuid.uuid4()), "source": "/examples"}
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    for again in range(TRIES):
        request = urllib.request.Request(f"{URL}/v1/events", json.dumps(event).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):  # refused: the same will be refused again
                raise SystemExit(f"refused: {error.read().decode()}") from None
            wait_s = float(error.headers.get("Retry-After", "1"))
        except OSError as error:  # no connection, or no answer: it may have been stored, or not
            print(f"no answer ({error}), trying again", file=sys.stderr)
            wait_s = 2.0**again / 4
        time.sleep(wait_s)
    raise SystemExit(f"no answer from {URL}")


if __name__ == "__main__":
    answer = publish(sys.argv[1], json.loads(sys.argv[2]))
    print(f"{answer['id']}: {answer['deliveries']} deliveries")
