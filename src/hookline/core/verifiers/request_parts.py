"""A request while it is verified: its body is read as JSON or as a form once, and only where somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.json_body import BodyError, parse
from hookline.core.verifiers.verdict import Refused, Verdict, Verified

FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


class Unproven(Exception):
    """Ends a verification: `reason` and `detail` as in `Refused`."""

    def __init__(self, reason: str, detail: str, status: int = 401) -> None:
        super().__init__(detail)
        self.refused = Refused(reason, detail, status)


class Parts:
    """The parts of one request, each read at most once. What cannot be read raises `Unproven`."""

    __slots__ = ("_form", "_json", "_read", "request")

    def __init__(self, request: Inbound) -> None:
        self.request = request
        self._read = False
        self._json: Any = None
        self._form: dict[str, str] | None = None

    def json(self) -> Any:
        """The body as JSON."""
        if not self._read:
            try:
                self._json = parse(self.request.body)
            except BodyError as error:
                raise Unproven("malformed_body", str(error)) from None
            self._read = True
        return self._json

    def json_or_none(self) -> Any:
        """The body as JSON; None where it is none: for questions that only some requests ask."""
        try:
            return self.json()
        except Unproven:
            return None

    @property
    def is_form(self) -> bool:
        """Whether the body says that it is a form."""
        return self.request.content_type in FORMS

    def form(self) -> dict[str, str]:
        """The fields of a form; of several with one name the last, of a file nothing."""
        if self._form is None:
            from hookline.core.mapped import MappedError, form_fields

            try:
                fields = form_fields(self.request.header("content-type") or "", self.request.body)
            except MappedError as error:
                raise Unproven("malformed_body", str(error)) from None
            self._form = {name: text for name, text in fields if isinstance(text, str)}
        return self._form


Ask = Callable[[Parts, Config], Verdict | None]
"""Answers a question that comes without a proof (a GET with a challenge); None: it is no such question."""
Prove = Callable[[Parts, Config, float], str]
"""Returns the key or credential that proves the sender, as configured; raises `Unproven` or `ConfigError`."""
Answer = Callable[[Parts, Config, str], Verdict | None]
"""Answers a question that came with a proof, by the key that proved it; None: it is no question."""


def verifier(
    prove: Prove, *, ask: Ask | None = None, answer: Answer | None = None
) -> Callable[[Inbound, Config, float, object], Verdict]:
    """A preset's `verify`: unproven questions first, then the proof, then proven questions."""

    def verify(request: Inbound, config: Config, now_s: float, _fetched: object) -> Verdict:
        parts = Parts(request)
        try:
            asked = None if ask is None else ask(parts, config)
            if asked is not None:
                return asked
            secret = prove(parts, config, now_s)
            answered = None if answer is None else answer(parts, config, secret)
        except Unproven as error:
            return error.refused
        return Verified() if answered is None else answered

    return verify
