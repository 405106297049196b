"""Receive webhooks in FastAPI: `WEBHOOK_SECRET=whsec_… python receive_fastapi.py 8500`."""

import json
import os
import sys
from typing import Annotated

import uvicorn
from fastapi import APIRouter, FastAPI

from hookline.sdk import Event, Receiver
from hookline.sdk.fastapi import WebhookRoute, webhook
from hookline.sdk.replay_guard import MemoryReplayGuard

# In a real receiver: a Redis or SQL guard, which all processes share and no restart forgets.
receiver = Receiver(os.environ["WEBHOOK_SECRET"], replay_guard=MemoryReplayGuard())
router = APIRouter(route_class=WebhookRoute)


@router.post("/hook")
async def hook(event: Annotated[Event, webhook(receiver)]) -> None:
    """Called with what is proven and new; what it raises is answered 500, and the event comes again."""
    print(f"{event.id} {event.type} {json.dumps(event.data)}", flush=True)


app = FastAPI()
app.include_router(router)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8500)
