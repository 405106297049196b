"""A preset: all that is known of a provider: how it proves itself, what its requests say, what it wants to hear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Fetched, Verdict

Verify = Callable[[Inbound, Config, float, Mapping[str, Fetched]], Verdict]
"""(request, configuration, now in s since 1970, what was fetched by name) → what it says. May raise `ConfigError`;
nothing else."""
Check = Callable[[Config], None]
"""Raises `ConfigError` for a configuration that no request could be verified by."""

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How events are read from a verified request: expressions of `core.reading`, alternatives separated by `|`, the
    first that yields something counts: `header:x-github-event`, `body:data.type`, `form:type`, `query:topic`, text in
    single quotes; a template `{header:x-github-event}.{body:action?}` (a part with `?` may be missing, with the `.`,
    `/`, `-`, `:` or `_` before it).

    With `split`, a path to an array (`body:`, `body:Records`, `body:entry.*.changes`; `>json` and `>base64` read text
    inside text: `body:Message>json.Records`), each item is an event of its own, and `item:` paths are into the item.
    Of alternatives the first that leads to an array counts; where none does, the request is one event.
    """

    type: str
    """What is not readable gives `default_type`."""
    id: str = ""
    """The provider's own id of this delivery or event: what makes a repeat. Empty: none is known."""
    subject: str = ""
    time: str = ""
    """RFC 3339 text, or a number of s or ms since 1970."""
    split: str = ""
    default_type: str = "webhook"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider is answered when its request is durable. `body` is a template (`core.reading`); None: the
    default of the source."""

    status: int = 200
    content_type: str = "application/json"
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known of one provider."""

    name: str
    title: str
    verify: Verify
    keys: tuple[str, ...]
    """The keys of its configuration."""
    reading: Reading
    secrets: tuple[str, ...] = ("secret",)
    """Those of `keys` that are secret: sealed in the store, never shown."""
    methods: tuple[str, ...] = ("POST",)
    """That it uses, handshakes included."""
    reply: Reply = field(default_factory=Reply)
    replies: Mapping[str, Reply] = field(default_factory=dict)
    """By `mode`, where another answer is wanted in that mode."""
    refusal: Reply | None = None
    """What a refused request is answered, with the status of the refusal; None: a problem document."""
    answer_within_s: float = 10.0
    """After so long the provider gives up."""
    retry_window_s: float = DAY_S
    """Over so long it repeats a request: duplicates are known for at least this."""
    never_retries: bool = False
    """It repeats nothing: what is not taken at once is lost."""
    modes: tuple[str, ...] = ()
    """What `mode` of its configuration may be."""
    check: Check | None = None
    """Judges a configuration when a source is made; what is missing is not missed before a request needs it."""
    proxy_headers: tuple[str, ...] = ()
    """Headers (lower case) that prove something only if a trusted proxy set them: from anybody else they are to be
    taken away before the request is judged."""

    def reply_in(self, mode: str) -> Reply:
        """The answer in this mode; empty: none is configured."""
        return self.replies.get(mode, self.reply)
