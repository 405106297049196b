"""A source: where events come in from outside. Who may send, how he proves himself, what his requests say, what he is
answered.

`SourceSpec` is what the API takes and gives; `Source` is the same, compiled, as the flow uses it. Building one from
the other is `core.source_spec`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw

from hookline.core import ids
from hookline.core.endpoint import RateSpec
from hookline.core.event import EVENT_BYTES_MAX, REQUEST_BYTES_MAX
from hookline.core.schema import Schema
from hookline.core.verifiers.preset import Preset, Reading, Reply

WAIT_S_DEFAULT: Final = 5.0
WAIT_S_MAX: Final = 60.0
DEDUPE_S_DEFAULT: Final = 86_400.0
DEDUPE_S_MAX: Final = 30 * 86_400.0
EXPRESSION_CHARS_MAX: Final = 1024
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
PATH: Final = "/in/"
"""What the paths of inbound webhooks begin with."""
TOKEN: Final = "tok_"  # noqa: S105 - how an unguessable address begins
TOKEN_BYTES: Final = 16

Expression = Annotated[str, Meta(max_length=EXPRESSION_CHARS_MAX)]


class AnswerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a provider is answered when its request is durable. What is not named is as its preset has it."""

    status: Annotated[int, Meta(ge=200, le=299)] | None = None
    content_type: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    body: Annotated[str, Meta(max_length=16_384)] | None = None
    """A template (`core.reading`)."""
    after: Literal["stored", "delivered"] = "stored"
    """`delivered`: `endpoint` is waited for and its answer is passed on; if it does not come in time, the answer is
    that of `stored`."""
    wait_s: Annotated[float, Meta(ge=0.1, le=WAIT_S_MAX)] = WAIT_S_DEFAULT
    """How long to wait for the endpoint, at most; never longer than the provider waits."""
    endpoint: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    """The endpoint (id or uid) of the same tenant whose answer is given."""


class ReadingSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How events are read: expressions of `core.expression`. None: as the preset does; empty: not at all."""

    type: Expression | None = None
    default_type: Annotated[str, Meta(max_length=255)] | None = None
    """The type of what `type` yields nothing for."""
    id: Expression | None = None
    """What makes a repeat. Empty: nothing does, every request is new."""
    subject: Expression | None = None
    time: Expression | None = None
    split: Expression | None = None
    """A path to an array: one event for each of its items."""


class SourceSpec(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=False):
    """What `POST /v1/sources` takes. Deep checks (verifier, expressions, schemas …) are `core.source_spec`'s."""

    name: Annotated[str, Meta(min_length=1, max_length=64, pattern=NAME_PATTERN)]
    verifier: Annotated[str, Meta(min_length=1, max_length=64)] | dict[str, Any] | None = None
    """A preset's name, `none`, or an object: one's own scheme (`core.verifiers.custom`). Needed where the kind is http;
    a broker's source has none: who may publish there is the broker's business."""
    config: dict[str, Any] = {}
    """The parameters of the verifier, or of the broker (`core.broker_source`). Secrets are stored encrypted and shown
    as `***`."""
    kind: Literal["http", "redis", "nats", "rabbitmq", "kafka", "mqtt"] = "http"
    """`http`: webhooks come to its address; else it consumes from a broker."""
    uid: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$")] | None = None
    token: bool = False
    """Its address is `/in/tok_…`, which nobody can guess, and not its name."""
    enabled: bool = True
    """A disabled one takes nothing: it is answered like one that does not exist."""
    methods: (
        Annotated[list[Annotated[str, Meta(pattern=r"^[A-Z]{1,20}$")]], Meta(min_length=1, max_length=10)] | None
    ) = None
    """None: those that the preset uses."""
    content_types: Annotated[list[Annotated[str, Meta(max_length=127)]], Meta(min_length=1, max_length=50)] | None = (
        None
    )
    """Media types as `application/json`, `text/*`, `application/*+json`; None: any."""
    ip_ranges: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=1000)] | None = None
    """Networks as `192.0.2.0/24` that may send; None: any. Behind trusted proxies the real client's address counts."""
    rate: RateSpec | None = None
    """Requests to this source; beyond it 429 with Retry-After."""
    address_rate: RateSpec | None = None
    """The same for each client address (IPv6: each /64)."""
    body_bytes_max: Annotated[int, Meta(ge=1, le=REQUEST_BYTES_MAX)] = EVENT_BYTES_MAX
    reading: ReadingSpec = ReadingSpec()
    headers: Annotated[list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(max_length=100)] | None = None
    """Names of headers that events keep, also as `x-github-*`; None: all but credentials and the connection's."""
    dedupe_window_s: Annotated[float, Meta(ge=0, le=DEDUPE_S_MAX)] | None = None
    """How long a provider's id is known; None: as long as the provider repeats, at least a day."""
    spool: bool = False
    """While the store is away requests are kept on the disk of who took them, and answered: for providers that never
    repeat. A weaker promise, and only where there is a spool."""
    answer: AnswerSpec = AnswerSpec()
    schemas: Annotated[dict[str, Raw], Meta(max_length=100)] = {}
    """JSON Schema 2020-12 by event type, by a prefix as `order.*`, or for all others `*`."""
    on_invalid: Literal["refuse", "quarantine", "accept"] = "refuse"
    """What becomes of a request that its schema does not allow. A broker is told no refusal: from there it is
    quarantined, also where this says `refuse`."""
    description: Annotated[str, Meta(max_length=1024)] = ""
    metadata: Annotated[dict[str, str], Meta(max_length=50)] = {}


class SourceSecrets(msgspec.Struct, frozen=True):
    """What of a source is stored encrypted."""

    config: dict[str, Any] = {}
    """The secret members of its `config`."""
    token: str | None = None
    """`tok_…`, where its address is one."""


class Ranges:
    """Networks that may send. Raises `ValueError` for text that is no network; host bits must be zero."""

    def __init__(self, cidrs: Sequence[str]) -> None:
        self._ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for cidr in cidrs:
            network = ip_network(cidr)
            bounds = int(network.network_address), int(network.broadcast_address)
            self._ranges[network.version].append(bounds)

    def __contains__(self, address: str) -> bool:
        """Whether this address (text; IPv4 in IPv6 counts as IPv4) is in one of them; what is no address is in none."""
        try:
            found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        found = mapped or found
        number = int(found)
        return any(first <= number <= last for first, last in self._ranges[found.version])


class MediaTypes:
    """Content types that are taken: whole ones, `text/*`, and `application/*+json`."""

    def __init__(self, patterns: Sequence[str]) -> None:
        whole, parts = set[str](), list[tuple[str, str]]()
        for pattern in patterns:
            before, star, after = pattern.lower().partition("*")
            if star:
                parts.append((before, "" if after == "/*" else after))
            else:
                whole.add(before)
        self._whole = frozenset(whole)
        self._parts = tuple(parts)

    def __contains__(self, essence: str) -> bool:
        """Whether this media type (lower case, without parameters; empty: none was given) is one of them."""
        if essence in self._whole:
            return True
        return any(
            len(essence) > len(before) + len(after) and essence.startswith(before) and essence.endswith(after)
            for before, after in self._parts
        )


class Kept:
    """Which headers of a request an event keeps."""

    def __init__(self, names: Sequence[str] | None, secret: frozenset[str] = frozenset()) -> None:
        """`names` as `SourceSpec.headers` has them."""
        self._whole = None if names is None else frozenset(name.lower() for name in names if not name.endswith("*"))
        self._prefixes = tuple(name[:-1].lower() for name in names or () if name.endswith("*"))
        self.secret = secret
        """Lower-case names of headers that carry a credential of this source."""

    def __contains__(self, name: str) -> bool:
        """Whether a header of this name (lower case) is kept."""
        if name in self.secret or name in CONNECTION_HEADERS or is_credential(name):
            return False
        return self._whole is None or name in self._whole or name.startswith(self._prefixes)


CONNECTION_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
"""Headers of the way and not of the message, and those that an event has a place of its own for."""
_CREDENTIAL_WORDS: Final = ("authorization", "cookie", "password", "passwd", "secret", "token", "api-key", "apikey")
_CREDENTIALS: Final = frozenset({"ifttt-service-key", "x-client-cert", "x-amz-security-token"})


def is_credential(name: str) -> bool:
    """Whether a header of this name (lower case) says a secret as it is: never kept, never shown."""
    return name in _CREDENTIALS or any(word in name for word in _CREDENTIAL_WORDS)


class Source(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A source as the flow uses it: everything parsed and compiled once per version. Immutable.

    `dict=True` lets others cache what they derive (compiled expressions) under their own name.
    """

    id: bytes
    tenant: str
    name: str
    version: int
    preset: Preset
    """The verifier's, with this source's own methods, reading, answer and times in it where it has them."""
    config: Mapping[str, Any]
    """With its secrets: for `judge`."""
    enabled: bool
    readable: bool
    """False: its secrets were sealed with a key that is not here. Nothing can be verified: 503, so that the provider
    comes again."""
    methods: frozenset[str]
    content_types: MediaTypes | None
    """None: any."""
    ranges: Ranges | None
    """None: any address."""
    rate: RateSpec | None
    address_rate: RateSpec | None
    body_bytes_max: int
    headers: Kept
    dedupe_s: float
    after: Literal["stored", "delivered"]
    wait_s: float
    endpoint: str | None
    """For `after: delivered`, as it was written: an id or a uid."""
    schemas: Mapping[str, Schema]
    on_invalid: Literal["refuse", "quarantine", "accept"]
    kind: str = "http"
    """`http`, or the broker it consumes from."""
    uid: str | None = None
    token: str | None = None
    """`tok_…`, where its address is one."""
    spool: bool = False
    """While the store is away its requests may wait in the spool."""
    addressed: bool = True
    """Its name and id are addresses; not where a token is."""

    @property
    def reading(self) -> Reading:
        """How its events are read."""
        return self.preset.reading

    @property
    def reply(self) -> Reply:
        """What it answers when a request is durable."""
        return self.preset.reply

    @property
    def public_id(self) -> str:
        """`src_…`."""
        return ids.SOURCE + self.id.hex()

    @property
    def event_source(self) -> str:
        """The `source` of its events."""
        return PATH + self.name

    def schema_of(self, event_type: str) -> Schema | None:
        """The schema for events of this type: its own, else that of the longest prefix, else that of `*`."""
        if not self.schemas:
            return None
        found = self.schemas.get(event_type)
        dot = len(event_type)
        while found is None and (dot := event_type.rfind(".", 0, dot)) >= 0:
            found = self.schemas.get(event_type[: dot + 1] + "*")
        return found if found is not None else self.schemas.get("*")
