"""What a client may send and how long he may take: plain values, each with its default."""

from __future__ import annotations

import msgspec

from hookline.core.event import REQUEST_BYTES_MAX


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one connection and of one request. Passing one gets a clear answer, then the connection closes."""

    header_bytes_max: int = 64 * 1024
    """All header fields together, each as name + value + 4; beyond: 431."""
    header_fields_max: int = 100
    """Header fields, and trailer fields; beyond: 431."""
    target_bytes_max: int = 8 * 1024
    """The request target; beyond: 414."""
    publish_bytes_max: int = REQUEST_BYTES_MAX
    """The body of `POST /v1/events`; beyond: 413."""
    manage_bytes_max: int = 1024 * 1024
    """The body of every other route; beyond: 413."""
    bodies_bytes_max: int = 256 * 1024 * 1024
    """What all connections together hold of publish bodies over 64 KiB that are still coming in; beyond: 503."""
    header_s: float = 10.0
    """From a request's first byte until its headers are complete; then 408."""
    body_s: float = 20.0
    """A body may take this, and one second more for each `body_bytes_per_s` received; then 408."""
    body_bytes_per_s: int = 16 * 1024
    first_s: float = 15.0
    """A new connection must begin its first request within this."""
    idle_s: float = 75.0
    """A connection without a request is kept so long: longer than the 60 s of the usual load balancers."""
    write_s: float = 60.0
    """A client that does not read its answer is cut off after this."""
    linger_s: float = 2.0
    """After a refusal that left the body unread, the client's end of the connection is awaited so long, so that
    the answer is not lost to a reset."""
    linger_bytes_max: int = 512 * 1024
    """What is read and thrown away meanwhile."""
    spill_s: float = 10.0
    """The same for a client whose key was right: many send their whole body before they look at the answer."""
    spill_bytes_max: int = 64 * 1024 * 1024
    sweep_s: float = 1.0
    """All connections are checked against the times above once in so many seconds."""
