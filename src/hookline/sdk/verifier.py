"""Verifying what any provider sends, by its preset: the same rules by which Hookline itself takes its webhooks in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from hookline.core.expression import ExpressionError, Scope
from hookline.core.reading import Item, TooManyItems, check, events_of
from hookline.core.reply import compile_template
from hookline.core.verifiers import presets
from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.known_keys import needs
from hookline.core.verifiers.preset import Preset
from hookline.core.verifiers.verdict import Fetch, Fetched, Handshake, Refused
from hookline.sdk.answer import Answer, success
from hookline.sdk.delivery import Delivery
from hookline.sdk.errors import refused
from hookline.sdk.event import Event
from hookline.sdk.fetcher import Fetcher
from hookline.sdk.parts import Body, Headers, by_name, clock_s, header_pairs, raw_body
from hookline.sdk.reading import instant, value_of
from hookline.sdk.steps import Ask, Run, Steps, advance, advance_async

FETCHES_MAX: Final = 6
"""A verdict needs a token, a certificate and its issuers at most."""

FetchCall: TypeAlias = Callable[[Fetch], Fetched | Awaitable[Fetched]]


class Verifier:
    """Verifies requests of one provider: `Verifier("stripe", secret="whsec_…")`.

    The names of presets and the keys of their configuration are those of a source's `verifier` and `config`; a secret
    may be a list of several. Instead of a name there may be a scheme of one's own, an object like a source's:
    `Verifier({"scheme": "hmac", "signature": "header:x-signature"}, secret=…)`. Raises `ValueError` for a preset or a
    key that is none; a key that is missing is found out when a request needs it.

    - `name`: tells several verifiers of one preset or scheme apart where they share a replay guard.
    - `reading`: how events are read, as a source's does: expressions for `type`, `id`, `subject`, `time`, `split`
      (`{"id": "header:x-delivery"}`); what is not named stays the preset's.
    - `fetch`: gets what a preset needs from elsewhere (certificates, keys, a postback); default a `Fetcher`.
    """

    def __init__(
        self,
        preset: str | Mapping[str, Any],
        /,
        *,
        name: str | None = None,
        reading: Mapping[str, str] | None = None,
        fetch: FetchCall | None = None,
        **config: Any,
    ) -> None:
        self._preset = _read_by(_preset(preset), reading or {})
        wrong = needs(self._preset, config)
        if wrong:
            raise ValueError("; ".join(f"{key} {why}" for key, why in wrong))
        self._name = name or self._preset.name
        self._config = config
        self._fetch: FetchCall = Fetcher() if fetch is None else fetch

    @property
    def name(self) -> str:
        """The preset's name, or the one that was given."""
        return self._name

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that the provider uses, handshakes included."""
        return self._preset.methods

    @property
    def is_several(self) -> bool:
        """Whether a request of this provider may have several events."""
        return bool(self._preset.reading.split)

    def verify(
        self, body: Body, headers: Headers, *, method: str = "POST", url: str = "", now: float | None = None
    ) -> Delivery:
        """The delivery that a request is: its events, or the answer to a handshake.

        `body` and `headers` as for `hookline.sdk.verify`. `url` is the whole URL as the provider called it: some sign
        it, some ask by its query. `now` is in seconds since 1970. Blocks for at most 10 s at a time where something is
        fetched. Raises `VerificationError`, and nothing else, whatever is passed.
        """
        steps = self.prove(_request(method, url, headers, body), clock_s(now))
        found = advance(steps)
        assert not isinstance(found, Run)
        return found

    async def verify_async(
        self, body: Body, headers: Headers, *, method: str = "POST", url: str = "", now: float | None = None
    ) -> Delivery:
        """As `verify`, without holding up the event loop."""
        steps = self.prove(_request(method, url, headers, body), clock_s(now))
        found = await advance_async(steps)
        assert not isinstance(found, Run)
        return found

    def prove(self, request: Inbound, now_s: float) -> Steps[Delivery]:
        """The steps to a delivery: what must be fetched. They raise `VerificationError`."""
        fetched: dict[str, Fetched] = {}
        for _ in range(FETCHES_MAX + 1):
            verdict = judge(self._preset, request, self._config, now_s, fetched)
            if not isinstance(verdict, Fetch):
                break
            fetched[verdict.name] = yield from self._fetched(verdict)
        if isinstance(verdict, Fetch):
            raise refused("key_unavailable", "The verifier asked for more and more.", 503)
        if isinstance(verdict, Refused):
            raise refused(verdict.reason, verdict.detail, verdict.status if verdict.status != 401 else None)
        if isinstance(verdict, Handshake):
            return Delivery(handshake=Answer(verdict.status, verdict.body, verdict.headers))
        if verdict.confirm_url is not None:
            return (yield from self._subscribed(verdict.confirm_url))
        return self._read(request, now_s)

    def _fetched(self, wanted: Fetch) -> Steps[Fetched]:
        try:
            found = yield Ask(partial(self._fetch, wanted))
        except Exception:  # noqa: BLE001 - a fetcher of the application's own may raise whatever it likes
            found = None
        return found if isinstance(found, Fetched) else Fetched(0, b"")

    def _subscribed(self, url: str) -> Steps[Delivery]:
        """Agree to a subscription, at an address that the verifier knows to be the provider's."""
        found = yield from self._fetched(Fetch("confirm", url, keep_s=0))
        if not 200 <= found.status <= 299:
            raise refused("unconfirmed_subscription", f"The subscription was answered {found.status}.", 503)
        return Delivery(handshake=success([], "subscribed"))

    def _read(self, request: Inbound, now_s: float) -> Delivery:
        """What is in a proven request. Raises `VerificationError`."""
        headers = by_name(request.headers)
        try:
            items = events_of(request, self._preset.reading)
            events = tuple(self._event(item, headers, now_s) for item in items)
            return Delivery(events, reply=_reply(self._preset, request, events))
        except TooManyItems as error:
            raise refused("malformed_body", str(error)) from None
        except ImportError as error:
            raise refused("missing_package", f"The package {error.name} is needed to read this.") from None
        except Exception as error:  # noqa: BLE001 - as `judge`: behind a defect of ours there is a refusal
            raise refused("defect", f"{type(error).__name__} while this was read") from None

    def _event(self, item: Item, headers: Mapping[str, str], now_s: float) -> Event:
        data, malformed = value_of(item.data, item.content_type, loose=True)
        return Event(
            id=item.id,
            type=item.type,
            timestamp=instant(item.time, now_s),
            data=data,
            body=item.data,
            headers=headers,
            content_type=item.content_type,
            malformed=malformed,
            subject=item.subject or None,
            source=self.name,
            verifier=self.name,
        )


def _preset(preset: str | Mapping[str, Any]) -> Preset:
    if isinstance(preset, str):
        try:
            return presets.preset(preset)
        except KeyError:
            raise ValueError(f"There is no preset {preset!r}; there are {', '.join(presets.NAMES)}.") from None
    from hookline.core.verifiers.custom import custom

    try:
        return custom(preset)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _read_by(preset: Preset, changes: Mapping[str, str]) -> Preset:
    if not changes:
        return preset
    try:
        reading = replace(preset.reading, **changes)
        check(reading)
    except (TypeError, AttributeError, ExpressionError) as error:
        raise ValueError(f"reading: {error}") from None
    return replace(preset, reading=reading)


def _request(method: str, url: str, headers: Headers, body: Body) -> Inbound:
    if not isinstance(method, str) or not isinstance(url, str):
        raise refused("unusable_setting", "method and url must be text.")
    return Inbound(method.upper(), url, header_pairs(headers), raw_body(body))


def _reply(preset: Preset, request: Inbound, events: tuple[Event, ...]) -> Answer | None:
    reply = preset.reply
    if reply.body is None:
        return None if reply.status == 200 else Answer(reply.status)
    told = {"event_id": events[0].id if events else "", "event_ids": [event.id for event in events]}
    body = compile_template(reply.body, reply.content_type).fill(Scope(request, told))
    return Answer(reply.status, body, (("content-type", reply.content_type),) if body else ())
