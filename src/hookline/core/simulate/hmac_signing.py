"""Signatures by a shared secret: a table row for each header that carries one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from hookline.core.simulate.draft import Draft, Sign, SimulationError
from hookline.core.simulate.template import Scene, iso

_PART: Final = re.compile(r"\{(?:(body|time|method|url|signature)|(header|config):([A-Za-z0-9_-]+))\}")


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """One header with an HMAC. `content` and `value` are texts with `{body}`, `{time}`, `{method}`, `{url}` (as the
    provider knows it), `{header:name}`, `{config:key}`, and `value` also with `{signature}`."""

    header: str
    content: str = "{body}"
    value: str = "{signature}"
    digest: Literal["sha256", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    key: Literal["text", "base64", "hex"] = "text"
    credential: str = "secret"
    """The configuration's key for the secret; of several secrets the first is used."""
    time: Literal["s", "ms", "iso"] = "s"
    time_header: str = ""
    """The header that the time is sent in, besides."""

    def sign(self, draft: Draft, scene: Scene) -> Draft:
        """The request with this header."""
        time = {"s": str(int(scene.now_s)), "ms": str(int(scene.now_s * 1000)), "iso": iso(scene.now_s)}[self.time]
        if self.time_header:
            draft = draft.with_header(self.time_header, time)
        parts = {"body": draft.body, "time": time.encode(), "method": draft.method.encode(), "url": scene.url.encode()}
        content = filled(self.content, draft, scene, parts)
        mac = hmac.new(key_bytes(first_of(scene.config[self.credential]), self.key), content, self.digest).digest()
        parts["signature"] = mac.hex().encode() if self.encoding == "hex" else base64.b64encode(mac)
        return draft.with_header(self.header, filled(self.value, draft, scene, parts).decode("latin-1"))


def by_hmac(*schemes: HmacScheme) -> Sign:
    """Signs by each of the schemes."""

    def sign(draft: Draft, scene: Scene, _: bytes) -> Draft:
        for scheme in schemes:
            draft = scheme.sign(draft, scene)
        return draft

    return sign


def filled(template: str, draft: Draft, scene: Scene, parts: dict[str, bytes]) -> bytes:
    """The bytes of a template of `HmacScheme`."""
    result = b""
    place = 0
    for match in _PART.finditer(template):
        result += template[place : match.start()].encode()
        place = match.end()
        plain, kind, name = match.groups()
        if plain:
            result += parts[plain]
        elif kind == "header":
            result += draft.header(name).encode()
        else:
            result += str(scene.config[name]).encode()
    return result + template[place:].encode()


def first_of(secret: Any) -> str:
    """The secret that is signed with: the first where several are configured."""
    found = secret[0] if isinstance(secret, list | tuple) and secret else secret
    if not isinstance(found, str) or not found:
        raise SimulationError("the secret must be a text that is not empty, or a list of such")
    return found


def key_bytes(secret: str, form: str) -> bytes:
    """The key that a secret's text stands for."""
    try:
        if form == "hex":
            return bytes.fromhex(secret)
        if form == "base64":
            text = secret.removeprefix("whsec_").rstrip("=")
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error) as error:
        raise SimulationError(f"the secret is not {form}: {error}") from None
    return secret.encode()


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
