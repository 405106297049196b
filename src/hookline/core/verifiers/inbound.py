"""An inbound request as a verifier sees it: the raw bytes, nothing parsed, nothing normalised but header names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Inbound:
    """One request. `url` is the whole URL as the provider called it (scheme, host, path, query), because some sign
    it; `headers` are in order, names in lower case, values as latin-1 text; `body` are the bytes that travelled."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, method: str, url: str, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes) -> Inbound:
        """One with headers as they come: a mapping or pairs, names in any case, blanks around values dropped."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        return cls(method.upper(), url, tuple((name.lower(), value.strip(" \t")) for name, value in pairs), body)

    def header(self, name: str) -> str | None:
        """The one value of a header; None where it is missing, and where it is there more than once: which of them
        would count is not for a guess."""
        found = None
        for field, value in self.headers:
            if field == name:
                if found is not None:
                    return None
                found = value
        return found

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a header, in order."""
        return tuple([value for field, value in self.headers if field == name])

    @property
    def content_type(self) -> str:
        """The media type in lower case without parameters; empty where there is none."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    def query(self, name: str) -> str | None:
        """The decoded value of a query parameter; None where it is missing or there more than once."""
        found = self.query_all(name)
        return found[0] if len(found) == 1 else None

    def query_all(self, name: str) -> list[str]:
        """Every decoded value of a query parameter, in order."""
        try:
            pairs = parse_qsl(urlsplit(self.url).query, keep_blank_values=True)
        except ValueError:
            return []
        return [value for key, value in pairs if key == name]
