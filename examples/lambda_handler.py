"""Receive webhooks in AWS Lambda, behind a function URL, API Gateway or a load balancer.

`pip install --no-deps --target . hookline` beside this file (the kit needs no other package), set WEBHOOK_SECRET, and
name `lambda_handler.lambda_handler` as the handler.
"""

import json
import os

from hookline.sdk import Event, Receiver
from hookline.sdk.aws_lambda import webhook
from hookline.sdk.replay_guard import MemoryReplayGuard

# This guard knows only what this instance of the function has handled: where a second run would do harm, take a
# RedisReplayGuard or SqlReplayGuard on a database that all instances share.
receiver = Receiver(os.environ["WEBHOOK_SECRET"], replay_guard=MemoryReplayGuard())


@webhook(receiver)
def lambda_handler(event: Event) -> None:
    """Called with what is proven and new; what it raises is answered 500, and the event comes again."""
    print(f"{event.id} {event.type} {json.dumps(event.data)}")
