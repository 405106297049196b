"""Receive webhooks in Django, all in one file: `WEBHOOK_SECRET=whsec_… python receive_django.py 8500`.

In a project of yours the view goes to views.py and its path to urls.py; nothing else is needed, no application and no
middleware. An `async def` view works alike.
"""

import json
import os
import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest
from django.urls import path

from hookline.sdk import Event, Receiver
from hookline.sdk.django import webhook
from hookline.sdk.replay_guard import MemoryReplayGuard

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=os.urandom(32).hex())

# In a real receiver: RedisReplayGuard or SqlReplayGuard, which all processes share and no restart forgets.
receiver = Receiver(os.environ["WEBHOOK_SECRET"], replay_guard=MemoryReplayGuard())


@webhook(receiver)
def hook(_request: HttpRequest, event: Event) -> None:
    """Called with what is proven and new; what it raises is answered 500, and the event comes again."""
    print(f"{event.id} {event.type} {json.dumps(event.data)}", flush=True)


urlpatterns = [path("hook", hook)]

if __name__ == "__main__":
    from wsgiref.simple_server import make_server

    with make_server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8500, get_wsgi_application()) as server:
        server.serve_forever()
