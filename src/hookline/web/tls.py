"""HTTPS ourselves: a certificate and its key from files, read again when they change.

A handshake takes the newest pair that was good; connections that are open keep theirs. A new pair is read and checked
as a whole before it is used, so a renewal that is half done, or broken, changes nothing. Files may be replaced, written
over, or be links that are moved (as Kubernetes does with secrets).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from hookline.ports.observer import Observer

LOOK_EVERY_S: Final = 2.0
EXPIRES_SOON_S: Final = 7 * 86_400.0
FILE_BYTES_MAX: Final = 1024 * 1024

_Signature = tuple[tuple[int, ...], ...] | None
"""What tells one version of the files from another; None: one of them is not there."""


class TlsError(ValueError):
    """A certificate or key that cannot be used. The message is one line and names the file."""


class Pair(msgspec.Struct, frozen=True):
    """A certificate that can be used with its key."""

    context: ssl.SSLContext
    expires_at: dt.datetime
    serial: str
    """The certificate's serial number in hex, as browsers and openssl show it."""


class TlsFiles:
    """The pair in use. `context` is what a server takes; each handshake on it gets the pair of that moment.

    `now_s` is the wall clock, seconds since 1970. Raises `TlsError` when the files cannot be used at the start.
    """

    def __init__(self, certificate: Path, key: Path, now_s: Callable[[], float]) -> None:
        self._certificate, self._key = certificate, key
        self._now_s = now_s
        self._signature = self._look()
        self.pair = load(certificate, key)
        self._failed = ""
        self._told_expiry = ""
        self.context = self.pair.context
        self.context.sni_callback = self._choose

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called at each handshake, whether or not the client names a host."""
        connection.context = self.pair.context

    def _look(self) -> _Signature:
        try:
            found = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) for status in found)

    def refresh(self, observer: Observer) -> None:
        """Look at the files, and use them if they changed and are good. Never raises; may wait for a disk."""
        signature = self._look()
        if signature != self._signature or self._failed:
            try:
                pair = load(self._certificate, self._key)
            except TlsError as error:
                # Looked at again each time, because a change of rights alone does not show; told once.
                if str(error) != self._failed or signature != self._signature:
                    observer.warn("tls_not_reloaded", reason=str(error))
                self._failed = str(error)
            else:
                self._failed = ""
                self.pair = pair
                observer.fact("tls_reloaded", serial=pair.serial, expires_at=_text(pair.expires_at))
            self._signature = signature
        self._check_expiry(observer)

    def _check_expiry(self, observer: Observer) -> None:
        pair = self.pair
        if self._told_expiry != pair.serial and pair.expires_at.timestamp() - self._now_s() < EXPIRES_SOON_S:
            self._told_expiry = pair.serial
            observer.warn("tls_expires_soon", serial=pair.serial, expires_at=_text(pair.expires_at))

    async def watch(self, observer: Observer, sleep: Callable[[float], Awaitable[None]]) -> None:
        """`refresh` every `LOOK_EVERY_S`, in a thread, until cancelled."""
        while True:
            await asyncio.to_thread(self.refresh, observer)
            await sleep(LOOK_EVERY_S)


def load(certificate: Path, key: Path) -> Pair:
    """The pair in these PEM files: TLS 1.2 or newer, HTTP/1.1. Raises `TlsError`."""
    chain, expires_at, serial = _check(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError: too weak a key, for one
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise TlsError(f"{certificate} and {key} cannot be used: {reason}") from None
    if _read(certificate) != chain:
        raise TlsError(f"{certificate} changed while it was read")
    return Pair(context, expires_at, serial)


def _check(certificate: Path, key: Path) -> tuple[bytes, dt.datetime, str]:
    """What is in the files, checked with a better word for each fault than the TLS library has."""
    chain, key_pem = _read(certificate), _read(key)
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise TlsError(f"{certificate} holds no certificate in PEM that can be used") from None
    try:
        private = load_pem_private_key(key_pem, None)
        of_key = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError:
        raise TlsError(f"{key} is encrypted with a password; a key without one is needed") from None
    except (ValueError, UnsupportedAlgorithm):
        raise TlsError(f"{key} holds no private key in PEM that can be used") from None
    if of_key != public:
        raise TlsError(f"the key in {key} does not belong to the certificate in {certificate}")
    return chain, leaf.not_valid_after_utc, f"{leaf.serial_number:x}"


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for ever
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error.strerror}") from None
    if not content or len(content) > FILE_BYTES_MAX:
        raise TlsError(f"{path} is empty or larger than {FILE_BYTES_MAX >> 20} MiB")
    return content


def _text(instant: dt.datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
