"""Receive webhooks in FastAPI: `WEBHOOK_SECRET=whsec_… python receive_fastapi.py 8500`."""

import json
import os
import sys
from typing import Annotated

import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])
app = FastAPI()
taken: set[str] = set()  # in a real receiver: a table with a unique key, in your own transaction


async def verified(request: Request) -> dict:
    """The event of a request whose signature is valid; 401 for any other."""
    body = await request.body()  # the bytes themselves: JSON that was parsed and written again has other ones
    try:
        WEBHOOK.verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise HTTPException(401, "signature not valid") from None
    return {"id": request.headers["webhook-id"], **json.loads(body)}


@app.post("/hook", status_code=204)
async def hook(event: Annotated[dict, Depends(verified)], tasks: BackgroundTasks) -> None:
    """Take each event once, answer, then work."""
    if event["id"] not in taken:
        taken.add(event["id"])
        tasks.add_task(work, event)


def work(event: dict) -> None:
    """What the event is for."""
    print(f"{event['id']} {event['type']} {json.dumps(event['data'])}", flush=True)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8500)
