"""The front: HTTP/1.1 from the socket to the flow, strict, bounded, in order.

Each connection reads one request at a time and answers in the order of asking. `POST /v1/events` goes from the
parser straight to the publisher, and whatever comes to `/in/…` to the receiver, without a task or an ASGI cycle;
everything else becomes one. What a client may
send and how long he may take is in `limits`; whoever passes a limit or breaks RFC 9112 is answered and closed.
The order of answers, and the end, are `web.connection`'s.
"""

from __future__ import annotations

from typing import Final, NoReturn

import httptools

from hookline.core.errors import Refusal
from hookline.core.source import Source
from hookline.flow.admission import Turned
from hookline.web.address_rate import UNLIMITED
from hookline.web.connection import BODY, DEAF, HEAD, IDLE, SLICE_BYTES, Connection, Request
from hookline.web.cycle import Cycle
from hookline.web.errors import internal
from hookline.web.inbound import PREFIX, call_of, length_of
from hookline.web.known_head import KnownHead, learn
from hookline.web.publish import PATH, Admission, admit, too_large
from hookline.web.strict import check_head, check_line, scope_of

_UNCOUNTED_BYTES: Final = 64 * 1024
"""Smaller bodies are not counted in `Shared.bodies_bytes`."""
_PUBLISH_LINE: Final = b"POST %b HTTP/1.1\r\n" % PATH.encode("ascii")
_PUBLISH_TARGET: Final = PATH.encode("ascii")


class _Stop(Exception):
    """Leaves the parser in the middle: what follows on this connection is not read."""


class FrontProtocol(Connection):
    """One connection: what comes in."""

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        known = self._known
        if (
            known is not None
            and self._phase == IDLE
            and self._current is None
            and not self._queue
            and not self._backlog
            and len(data) <= self._known_bytes_max
            and (body_at := known.body_at(data))
            and self._take(known, data[body_at:])
        ):
            return
        if self._phase == DEAF:
            self._discard(len(data))
        elif self._backlog or len(data) > SLICE_BYTES:
            self._backlog = self._backlog[self._backlog_at :] + data
            self._backlog_at = 0
            self._advance()
            if self._backlog:
                self.flow.hold()
        else:
            self._feed(data)

    def _take(self, known: KnownHead, body: bytes) -> bool:
        """Publish under a known head what the parser would come to. False: it must judge, and nothing was done."""
        shared, admission, client = self._shared, known.admission, known.client
        key = admission.key
        if key is None or not shared.authority.holds(key, admission.tenant):
            return False
        try:
            if shared.address_rate is not None:
                shared.address_rate.check(client)
            if key.id is not None:
                shared.authority.look_after(key, key.id, client)
        except Refusal as refusal:
            self._refuse(refusal)
            return True
        self._current = Request(keep=True)
        shared.publisher.publish(
            admission.tenant, admission.headers, admission.content_type, body, self._answered, admission.allowed
        )
        return True

    def _learn(self, admission: Admission, client: str) -> None:
        """Know this head again. A connection that has published once is one that is kept."""
        known = self._known
        if (
            not self._answered_any
            or not self._lessons
            or admission.headers  # mostly another in each request
            or (known is not None and known.admission.key is admission.key and self._fed.startswith(known.before))
        ):
            return
        self._lessons -= 1
        self._known = learn(self._fed, self.headers, admission, client)

    def _feed(self, data: bytes) -> None:
        """Parse, then count what is still incomplete."""
        before = self._before = self._phase
        self._begun = 0
        self._fed = data
        rest = None
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
            if rest is not None:  # not where the upgrade is caught: it would become the context of what is raised
                self._parse_again(rest)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Stop):
                self._shared.observer.warn("front_failed", error=type(error.__context__).__name__)
                self._refuse(internal())
        except httptools.HttpParserError:
            self._refuse(Refusal("malformed_request", "This is not HTTP/1.1 as RFC 9112 has it."))
        phase = self._phase
        if phase == HEAD:
            if not self._begun:
                self._head_bytes += len(data)
            else:
                self._since = self.loop.time()
                # What came before it in the same piece belongs to another request.
                self._head_bytes = len(data) if self._begun == 1 and before == IDLE else 0
                self._line = b""
            if len(self._line) < SLICE_BYTES + self._limits.target_bytes_max:
                self._line += data
            if len(self.headers) > self._fields_max:
                self._refuse(self._too_many_fields())
            elif self._head_bytes > self._limits.header_bytes_max + self._limits.target_bytes_max:
                self._refuse(self._too_many_bytes())
        elif phase == BODY:
            if self._begun or before != BODY:
                self._since = self.loop.time()
            elif self._chunked:
                self._wire_bytes += len(data)
                # Tiny chunks, endless extensions and trailers cost more than the body they carry.
                if self._wire_bytes > _UNCOUNTED_BYTES + 2 * self._body_bytes:
                    self._refuse(Refusal("malformed_request", "The chunked body is mostly not body."))

    def _parse_again(self, rest: bytes) -> None:
        # RFC 9110, 7.8: an upgrade (Java and curl offer h2c) may be ignored. The parser takes what follows for another
        # protocol; so it gets the same request again, without the offer.
        while True:
            self._fed = self._without_offer() + rest
            self._offered = False
            self.parser = httptools.HttpRequestParser(self)
            try:
                self.parser.feed_data(self._fed)
            except httptools.HttpParserUpgrade as upgrade:
                rest = self._fed[upgrade.args[0] :]
            else:
                return

    def _without_offer(self) -> bytes:
        head = [self._offered_method + b" " + self.url + b" HTTP/1.1"]
        head.extend(b"%b: %b" % field for field in self.headers if field[0] != b"upgrade")
        return b"\r\n".join((*head, b"", b""))

    def _too_many_bytes(self) -> Refusal:
        return Refusal("headers_too_large", f"The headers are larger than {self._limits.header_bytes_max:,} bytes.")

    def _too_many_fields(self) -> Refusal:
        return Refusal("headers_too_large", f"There are more than {self._fields_max} header fields.")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._phase == DEAF:
            raise _Stop
        self._phase = HEAD
        self._begun += 1
        self.url = b""
        self.headers = []
        if self._current is not None:
            self.flow.hold()

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self.url += url
        if len(self.url) > self._limits.target_bytes_max:
            self._stop(Refusal("uri_too_long", f"The target is longer than {self._limits.target_bytes_max:,} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer field, which is dropped (RFC 9110, 6.5.1)."""
        # Not counted here: a slice holds at most 4,096 fields, `_feed` and `on_headers_complete` count them.
        if self._phase == HEAD:
            self.headers.append((name.lower(), value))
        else:
            self._trailers += 1
            if self._trailers > self._fields_max:
                self._stop(self._too_many_fields())

    def on_headers_complete(self) -> None:
        """The head is there: refuse it, or say where its body goes."""
        headers, parser, limits = self.headers, self.parser, self._limits
        fields = dict(headers)
        try:
            if len(headers) > self._fields_max:
                raise self._too_many_fields()
            if (
                self._head_bytes + len(self._fed) > limits.header_bytes_max
                and sum(len(name) + len(value) + 4 for name, value in headers) > limits.header_bytes_max
            ):
                raise self._too_many_bytes()
            whole = self._begun == 1 and self._before == IDLE
            plain = whole and self._fed.startswith(_PUBLISH_LINE)
            inbound = self._shared.receiver is not None and self.url.startswith(PREFIX)
            if plain or (inbound and whole and self._fed.startswith(b"POST %b HTTP/1.1\r\n" % self.url)):
                version, method = "1.1", b"POST"  # as nearly all come; asking the parser costs more
                check_head(version, method, headers, fields)
            else:
                version, method = parser.get_http_version(), parser.get_method()
                check_head(version, method, headers, fields)
                check_line(method, self.url, self._line + self._fed)
                self._line = b""
            if parser.should_upgrade():
                self._offered, self._offered_method = True, method
                return
            client = self._shared.proxies.client(self._peer, headers) if self._proxied else self._peer
            if self._shared.address_rate is not None and self.url.partition(b"?")[0] not in UNLIMITED:
                self._shared.address_rate.check(client)
            request = Request(version == "1.1" and parser.should_keep_alive())
            self._chunked = b"transfer-encoding" in fields
            if inbound:
                self._admit_inbound(request, method, client)
                self._expecting = version == "1.1" and fields.get(b"expect", b"").lower() == b"100-continue"
            elif self.url == _PUBLISH_TARGET and method == b"POST" and self._shared.publishes:
                admission = admit(headers, fields, self._shared.authority, limits.publish_bytes_max, client)
                request.admission = admission
                self._expecting = admission.expects and version == "1.1"
                if plain and request.keep and not self._expecting and not self._chunked:
                    self._learn(admission, client)
            else:
                request.cycle = self._cycle(version, method, fields, request.keep, client)
        except Refusal as refusal:
            self._stop(refusal)
        except Turned as turned:
            self._turn_away(turned.answer, request.call)
            raise _Stop from None
        self._phase = BODY
        self._head_bytes = self._body_bytes = self._wire_bytes = self._trailers = 0
        self._reading = request
        if request.cycle is not None:
            self._ready(request)
        elif self._expecting and self._current is None:
            self._continue()

    def _admit_inbound(self, request: Request, method: bytes, client: str) -> None:
        """Judge a request to a source by its head. Raises `Turned`."""
        shared = self._shared
        assert shared.receiver is not None
        request.call = call_of(
            method,
            self.url,
            self.headers,
            client,
            proxied=self._proxied,
            scheme=self.scheme or "http",
            public_url=shared.public_url,
        )
        request.source = shared.receiver.admission.admit(request.call, length_of(self.headers))

    def _cycle(self, version: str, method: bytes, fields: dict[bytes, bytes], keep: bool, client: str) -> Cycle:
        scope = scope_of(self.url, method, version, self.headers)
        scope["asgi"] = {"version": self.asgi_version, "spec_version": "2.3"}
        scope["scheme"], scope["server"] = self.scheme or "http", self.server
        scope["client"] = (client, self.client[1] if self.client is not None and client == self._peer else 0)
        return Cycle(
            scope,
            self,
            self.flow,
            self.server_state.default_headers,
            self._cycle_done,
            expects=version == "1.1" and fields.get(b"expect", b"").lower() == b"100-continue",
            keep=keep and not self._shared.draining,
        )

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        request = self._reading
        assert request is not None
        self._expecting = False
        self._body_bytes += len(body)
        cycle = request.cycle
        if cycle is not None:
            cycle.body += body
            if len(cycle.body) > _UNCOUNTED_BYTES:
                self.flow.pause_reading()
            cycle.message_event.set()
            return
        source = request.source
        if source is not None:
            if self._body_bytes > source.body_bytes_max:
                self._stop_inbound(source, request)
        elif self._body_bytes > self._limits.publish_bytes_max:
            self._stop(too_large(self._limits.publish_bytes_max))
        if not request.body:
            request.body = body
        else:
            if request.pieces is None:
                request.pieces = [request.body]
            request.pieces.append(body)
            self._count(request)

    def _count(self, request: Request) -> None:
        """Keep all growing publish bodies together within their limit."""
        if self._body_bytes > _UNCOUNTED_BYTES:
            self._shared.bodies_bytes += self._body_bytes - request.counted
            request.counted = self._body_bytes
            if self._shared.bodies_bytes > self._limits.bodies_bytes_max:
                self._stop(Refusal("overloaded", "Too many large bodies at once; try again.", retry_after_s=1))

    def on_message_complete(self) -> None:
        """The request is there, whole."""
        if self._offered:
            return
        request = self._reading
        assert request is not None
        self._reading = None
        self._expecting = False
        self._phase = IDLE if request.keep else DEAF
        if request.cycle is not None:
            request.cycle.more_body = False
            request.cycle.message_event.set()
            return
        if request.pieces is not None:
            request.body = b"".join(request.pieces)
            request.pieces = None
        if self._current is None and not self._queue:
            self._begin(request)
        else:
            self._queue.append(request)

    def _stop_inbound(self, source: Source, request: Request) -> NoReturn:
        """Its body is more than the source takes."""
        receiver, call = self._shared.receiver, request.call
        assert receiver is not None
        assert call is not None
        refusal = too_large(source.body_bytes_max)
        self._turn_away(receiver.admission.refuse(source, call, refusal, self._body_bytes), call)
        raise _Stop

    def _stop(self, refusal: Refusal) -> NoReturn:
        """Refuse from within the parser, and leave it."""
        self._refuse(refusal)
        raise _Stop
