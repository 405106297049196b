"""How providers write JSON. A signature is over bytes, so a receiver that parses and writes again must be found out:
each provider's blanks, escapes and line ends are its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

Style = Callable[[Any], str]
"""A value → its text."""

_SLASH: Final = ("/", "\\/")
_HTML: Final = (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e"))


def compact(value: Any) -> str:
    """Without blanks, letters as they are: JavaScript, Java, most others."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def by_name(value: Any) -> str:
    """The same, members in the order of their names."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def pretty(value: Any) -> str:
    """Two blanks for each level."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def python(value: Any) -> str:
    """As Python's `json.dumps`: a blank behind `,` and `:`, letters beyond ASCII escaped."""
    return json.dumps(value)


def php(value: Any) -> str:
    r"""As PHP's `json_encode`: `\/`, and `\u00e9` for letters beyond ASCII."""
    return json.dumps(value, separators=(",", ":")).replace(*_SLASH)


def go(value: Any) -> str:
    r"""As Go's `encoding/json`: `&`, `<`, `>` as `\u0026`, `\u003c`, `\u003e`."""
    return _html(compact(value))


def rails(value: Any) -> str:
    r"""As Ruby on Rails, with Shopify's `\/`."""
    return _html(compact(value)).replace(*_SLASH)


def lines(value: Any) -> str:
    """An array with CRLF behind each item and at the end: SendGrid."""
    items = value if isinstance(value, list) else [value]
    return "[" + ",\r\n".join(compact(item) for item in items) + "]\r\n"


def spaced(value: Any) -> str:
    """Two blanks for each level, and a blank on both sides of the colon: Amazon SNS."""
    return json.dumps(value, indent=2, ensure_ascii=False, separators=(",", " : "))


def xero(value: Any) -> str:
    """Blanks in some places only, as Xero has them: what a parsed and rewritten body never gets right."""
    text = compact(value)
    text = re.sub(r'"(firstEventSequence|lastEventSequence|entropy)":', r'"\1": ', text)
    return text.replace(',"entropy"', ', "entropy"')


def form(value: Any) -> str:
    """A form of the payload's members."""
    return urlencode({name: compact(item) if isinstance(item, dict | list) else item for name, item in value.items()})


def form_payload(value: Any) -> str:
    """A form with the JSON in its field `payload`: Slack's interactions."""
    return urlencode({"payload": php(value)})


FORMS: Final = (form, form_payload)


def _html(text: str) -> str:
    for letter, escape in _HTML:
        text = text.replace(letter, escape)
    return text
