"""TLS towards receivers: one context for all of them, always verifying."""

from __future__ import annotations

import ssl
from functools import lru_cache


@lru_cache(maxsize=8)
def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A context that checks certificate and name against the system's authorities and speaks TLS 1.2 or later.

    Reading the system's authorities takes up to 100 ms, so there is one context per setting. `ca_file` adds
    authorities in PEM. Raises `OSError` when that file cannot be read or holds none.
    """
    context = _verifying(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


@lru_cache(maxsize=8)
def plain_context(ca_file: str | None = None) -> ssl.SSLContext:
    """The same for another protocol than HTTP."""
    return _verifying(ca_file)


def _verifying(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def failure(error: ssl.SSLError) -> str:
    """One line for a person about a handshake that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate was not accepted: {error.verify_message}."
    reason = (error.reason or "unknown").replace("_", " ").lower()
    return f"The TLS handshake failed: {reason}."
