"""Keys in files: the operator's API key and the keys that encrypt stored secrets, made where they are missing."""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
from pathlib import Path

from hookline.forms import SECRET_KEY_BYTES, parse_api_key, parse_secret_keys
from hookline.settings import API_KEY, KNOBS, Settings, SettingsError


def operator_key(settings: Settings) -> tuple[str, bool]:
    """The operator's API key, and whether it was created now (then show it once). Raises `SettingsError`."""
    if settings.key is not None:
        return settings.key, False
    if settings.on_postgres and settings.key_file is None:
        raise SettingsError(
            "HOOKLINE_KEY or HOOKLINE_KEY_FILE is needed on PostgreSQL: every process has the same, none makes it"
        )
    path = settings.key_path
    new = None if settings.on_postgres else "hl_" + secrets.token_urlsafe(32)
    text, created = _read_or_create(path, new, "HOOKLINE_KEY_FILE")
    try:
        return parse_api_key(text), created
    except ValueError:
        raise SettingsError(f"{path} holds no usable key; allowed: {API_KEY.allowed}") from None


def secret_keys(settings: Settings, *, create: bool = True) -> tuple[bytes, ...]:
    """The keys that encrypt stored secrets, the sealing one first, each 32 bytes. Raises `SettingsError`.

    With `create` False a missing file is an error: for a database that has sealed something already.
    """
    if settings.secret_key:
        return settings.secret_key
    if settings.on_postgres and settings.secret_key_file is None:
        raise SettingsError(
            "HOOKLINE_SECRET_KEY or HOOKLINE_SECRET_KEY_FILE is needed on PostgreSQL: every process has the same"
            " (`openssl rand -base64 32` makes one)"
        )
    path = settings.secret_key_path
    make = create and not settings.on_postgres
    new = base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode() if make else None
    text, _ = _read_or_create(path, new, "HOOKLINE_SECRET_KEY_FILE")
    try:
        return parse_secret_keys(text)
    except ValueError as error:
        allowed = KNOBS["secret_key"].form.allowed
        raise SettingsError(f"{path} cannot be used ({error}); allowed: {allowed}") from None


def _read_or_create(path: Path, new: str | None, variable: str) -> tuple[str, bool]:
    """What the file says, or `new`, written to it with mode 0600: whole or not at all, by one of all who try."""
    try:
        try:
            return path.read_text(encoding="ascii").strip(), False
        except FileNotFoundError:
            if new is None:
                lost = ", and without it what the database holds encrypted is lost" if "SECRET" in variable else ""
                raise SettingsError(f"{path} ({variable}) is missing{lost}") from None
        return new, _write_new(path, new)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip(), False
    except UnicodeDecodeError:
        raise SettingsError(f"{path} ({variable}) is not plain ASCII text") from None
    except OSError as error:
        raise SettingsError(f"{path} ({variable}) cannot be used: {error.strerror}") from None


def _write_new(path: Path, text: str) -> bool:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails when another process was first, and never shows half a file
    finally:
        Path(temporary).unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
