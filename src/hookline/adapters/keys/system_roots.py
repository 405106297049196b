"""The authorities that this machine trusts, for verifiers of certificates that have none configured."""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Final

from hookline.core.verifiers.certificates import SYSTEM_ROOTS_URL
from hookline.core.verifiers.verdict import Fetched

URL: Final = SYSTEM_ROOTS_URL


def answer() -> Fetched:
    """What a `Fetch` of `URL` is answered with; status 0 where the machine trusts nobody, or OpenSSL does not tell."""
    pem = _roots()
    return Fetched(200, pem) if pem else Fetched(0, b"")


@lru_cache(maxsize=1)
def _roots() -> bytes:
    # What OpenSSL loads by itself: SSL_CERT_FILE where that is set, else the file of the distribution.
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in found).encode("ascii")
