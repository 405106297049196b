"""What proves a sender and is elsewhere: certificates, sets of keys, tokens, answers to a question back."""

from __future__ import annotations

from typing import Protocol

from hookline.core.verifiers.verdict import Fetch, Fetched


class Keys(Protocol):
    """Fetches for verifiers, guarded and bounded, and keeps what may be kept."""

    async def fetch(self, fetch: Fetch, *, within_s: float, group: str) -> Fetched:
        """What came of it within `within_s` seconds; status 0: nothing did. Never raises.

        An answer with status 200 is kept for `fetch.keep_s` and given to others who ask for the same (everything but
        `keep_s` equal); any other one only so long that a flood does not become one of ours. With `keep_s` 0 each asks
        for himself. Redirects are not followed; addresses that are not public are not reached, unless the operator
        opened them. `group` shares a bound with its own kind (a tenant).
        """
        ...

    async def close(self) -> None:
        """Fetch nothing any more; who waits gets nothing."""
        ...
