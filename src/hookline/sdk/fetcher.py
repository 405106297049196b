"""What a preset needs from elsewhere: the provider's certificates, keys and tokens, fetched guarded, and kept."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Final

from hookline.core.verifiers.certificates import SYSTEM_ROOTS_URL
from hookline.core.verifiers.verdict import Fetch, Fetched
from hookline.sdk.exchange import TIMEOUT_S, ExchangeError, exchange

KEPT_MAX: Final = 64
_FAILURE_KEPT_S: Final = 5.0
"""So long a forger who names keys that are not there makes us ask for each of them only once."""
_Key = tuple[str, str, str, tuple[tuple[str, str], ...], bytes]


class Fetcher:
    """Fetches over https alone (but for what proves itself), follows no redirect, within 10 s, up to 256 KiB, and keeps
    at most 64 answers for as long as the verifier says. May be called from several threads. `clock` counts seconds."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, tuple[float, Fetched]] = OrderedDict()

    def __call__(self, wanted: Fetch) -> Fetched:
        """What came of it. Never raises: status 0, where nothing came."""
        if wanted.url == SYSTEM_ROOTS_URL:
            return _system_roots()
        key = (wanted.name, wanted.method, wanted.url, wanted.headers, wanted.body)
        with self._lock:
            until_s, found = self._kept.get(key, (0.0, None))
            if found is not None and self._clock() < until_s:
                self._kept.move_to_end(key)
                return found
        try:
            answer = exchange(
                wanted.url,
                method=wanted.method,
                headers=wanted.headers,
                body=wanted.body,
                origins=(wanted.url,) if wanted.proves_itself else (),
                timeout_s=self._timeout_s,
            )
            fetched = Fetched(answer.status, answer.body)
        except ExchangeError:
            fetched = Fetched(0, b"")
        is_good = 200 <= fetched.status <= 299
        self._keep(key, wanted.keep_s if is_good else min(wanted.keep_s, _FAILURE_KEPT_S), fetched)
        return fetched

    def _keep(self, key: _Key, keep_s: float, fetched: Fetched) -> None:
        if keep_s <= 0:
            return
        with self._lock:
            self._kept[key] = (self._clock() + keep_s, fetched)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)


@cache
def _system_roots() -> Fetched:
    """The authorities that this machine trusts."""
    import ssl

    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    pem = "".join(ssl.DER_cert_to_PEM_cert(der) for der in found).encode("ascii")
    return Fetched(200, pem) if pem else Fetched(0, b"")
