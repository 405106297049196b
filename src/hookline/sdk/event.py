"""An event as a handler gets it: verified, read, with its bytes as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hookline.sdk.confirmation import confirm, confirm_async


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Everything in it is proven to come from the sender, but `headers` and what is read from them alone:
    few senders sign more than the body, its id and its time."""

    id: str
    """The same over all repeats of a delivery (`webhook-id`, or the provider's own id); empty where there is none."""
    type: str
    """`order.created`, `payment_intent.succeeded`; empty where the sender says none."""
    timestamp: datetime
    """When it happened, as the sender says; where he says nothing, when it was sent, or came. Has a zone."""
    data: Any = field(repr=False)
    """The payload: of JSON the value; of a form, and of XML where defusedxml is installed, a dict; else its bytes."""
    body: bytes = field(repr=False)
    """The event's own bytes as they came: the request's body, or the one item of it that the event is."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the request: names in lower case; values of one name are joined by a comma and a blank."""
    content_type: str = ""
    """Of `body`, as it was sent."""
    malformed: str = ""
    """Why `data` is only bytes although `content_type` says more: it is genuine, and JSON that cannot be read. A
    `Receiver` answers it 400."""
    subject: str | None = None
    """What it is about, where the sender says so."""
    source: str | None = None
    """What it comes from: the CloudEvents `source`, or the name of the preset."""
    verifier: str = ""
    """Who proved it: the name of the preset, or `standard_webhooks`. Together with it `id` is unique."""
    attempt: int = 1
    """Which try of its delivery this is, from 1 on (`hookline-attempt`)."""
    confirm_url: str | None = field(default=None, repr=False)
    """Where the sender waits for a confirmation; None where he does not. Whoever has it can speak for you."""
    confirm_origins: Sequence[str] = field(default=(), repr=False)
    """Where confirmations may go, and nowhere else; none: to any https address."""

    def confirm(self, message: str | None = None) -> bool:
        """Tell the sender that the work is done. Returns whether it counted: False for a late or a repeated word.

        Raises `ConfirmationError`. Takes 10 s at most. `message` is cut to 1,024 characters.
        """
        return confirm(self.confirm_url, "success", message, self.confirm_origins)

    def reject(self, message: str) -> bool:
        """Tell the sender that the work failed: he tries again, or gives up, as the endpoint is configured.

        Returns and raises as `confirm`.
        """
        return confirm(self.confirm_url, "error", message, self.confirm_origins)

    async def confirm_async(self, message: str | None = None) -> bool:
        """As `confirm`, without holding up the event loop."""
        return await confirm_async(self.confirm_url, "success", message, self.confirm_origins)

    async def reject_async(self, message: str) -> bool:
        """As `reject`, without holding up the event loop."""
        return await confirm_async(self.confirm_url, "error", message, self.confirm_origins)
