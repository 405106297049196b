"""One's own scheme, described in the parameters of the table: an object with `scheme` and what belongs to it.

hmac                 signature, content, algorithm, encoding, prefix, item_separator, field_separator, field, key,
                     key_prefix, timestamp, timestamp_unit, tolerance_s, each; configured by `secret`
public_key           the same without key and key_prefix; configured by `public_key`
static               header, query (one or both); configured by `secret`
bearer               header; configured by `secret`
basic                configured by `username` and `password`
jwt                  as `bearer.verify` has it; the parameters stand here, a `secret` in the configuration
client_certificate   header, form; configured by `fingerprint` or `subject`
none                 nobody proves anything

No regular expression: a scheme of a user's must not be slow for a text of a forger's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from hookline.core.verifiers import client_certificate, hmac_scheme, public_key
from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.content import Content, content
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.known_keys import needs
from hookline.core.verifiers.place import SOURCES, Place, PlaceError, place
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.request_parts import Parts, verifier
from hookline.core.verifiers.signed_message import DECODERS, Fields, SignedMessage
from hookline.core.verifiers.static_credential import AUTHORIZATION, StaticCredential
from hookline.core.verifiers.timestamp import UNITS, UNIX_DIGITS, Timestamp
from hookline.core.verifiers.verdict import Fetched, Verdict

__all__ = ["SCHEMES", "custom", "needs"]

TOLERANCE_S: Final = 300.0
_FIELD: Final = "field:"
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_MESSAGE: Final = (
    "signature",
    "content",
    "algorithm",
    "encoding",
    "prefix",
    "item_separator",
    "field_separator",
    "field",
    "timestamp",
    "timestamp_unit",
    "tolerance_s",
    "each",
)


def custom(spec: Mapping[str, Any]) -> Preset:
    """The preset that `spec` describes. Raises `ConfigError` with the parameter that cannot be used."""
    scheme = spec.get("scheme")
    build = SCHEMES.get(scheme) if isinstance(scheme, str) else None
    if build is None:
        raise ConfigError("scheme", f"must be one of {', '.join(SCHEMES)}")
    parameters, make = build
    for key in spec:
        if key != "scheme" and key not in parameters:
            raise ConfigError(
                str(key)[:64], f"is not a parameter of {scheme}; it has {', '.join(parameters) or 'none'}"
            )
    try:
        return make(Config(spec))
    except PlaceError as error:
        raise ConfigError("content", str(error)) from None


def _preset(
    verify: Callable[[Inbound, Config, float, Mapping[str, Fetched]], Verdict], keys: tuple[str, ...]
) -> Preset:
    return Preset("custom", "One's own scheme", verify, keys, Reading(type="body:type"), secrets=())


# ----------------------------------------------------------------------------------------------- signed messages


def _hmac(spec: Config) -> Preset:
    message, keys = _message(spec)
    scheme = hmac_scheme.HmacScheme(
        message,
        spec.choice("algorithm", "sha256", hmac_scheme.ALGORITHMS),
        spec.choice("key", "text", hmac_scheme.KEY_FORMS),
        spec.text_or("key_prefix", ""),
    )
    if scheme.key_prefix and scheme.key == "text":
        raise ConfigError("key_prefix", "stands before a key of hex or base64")
    preset = _preset(verifier(scheme.prove), ("secret", *keys))
    return replace(preset, secrets=("secret",), check=scheme.check)


def _public_key(spec: Config) -> Preset:
    message, keys = _message(spec)
    if not spec.has("algorithm"):
        raise ConfigError("algorithm", f"must be one of {', '.join(public_key.ALGORITHMS)}")
    scheme = public_key.PublicKeyScheme(message, spec.choice("algorithm", "", public_key.ALGORITHMS))
    return replace(_preset(verifier(scheme.prove), ("public_key", *keys)), check=scheme.check)


def _message(spec: Config) -> tuple[SignedMessage, tuple[str, ...]]:
    """The message, and the keys of the configuration that it asks for."""
    signature = _place(spec, "signature", SOURCES)
    fields = _fields(spec)
    signed = content(spec.text_or("content", "{body}"))
    stamp = _timestamp(spec, fields, signed)
    if signed.covers("timestamp") and stamp is None:
        raise ConfigError("timestamp", "is needed: the content has {timestamp}")
    each = tuple(spec.text("each").split(".")) if spec.has("each") else ()
    if not all(each):
        raise ConfigError("each", "must be a path as items.*.notification")
    tolerance_s = None if "tolerance_s" in spec.values else TOLERANCE_S
    if spec.has("tolerance_s"):
        tolerance_s = spec.seconds("tolerance_s", TOLERANCE_S)
    message = SignedMessage(
        signature,
        signed,
        spec.choice("encoding", "hex", tuple(DECODERS)),
        spec.text_or("prefix", ""),
        fields,
        stamp,
        tolerance_s,
        each,
    )
    return message, (*signed.config_keys(), *(("tolerance_s",) if stamp is not None else ()))


def _fields(spec: Config) -> Fields | None:
    if not (spec.has("field") or spec.has("item_separator") or spec.has("field_separator")):
        return None
    separator, assign = spec.text("item_separator"), spec.text_or("field_separator", "=")
    if len(separator) > 8 or len(assign) > 8:
        raise ConfigError("item_separator", "and field_separator have at most 8 characters")
    if separator == assign:
        raise ConfigError("field_separator", "must be another than item_separator")
    return Fields(separator, assign, spec.text("field"))


def _timestamp(spec: Config, fields: Fields | None, signed: Content) -> Timestamp | None:
    unit = spec.choice("timestamp_unit", "s", UNITS)
    if not spec.has("timestamp"):
        return None
    # Where nothing separates it from its neighbour, only a fixed length keeps the border between the two.
    digits = {"s": UNIX_DIGITS, "ms": UNIX_DIGITS + 3, "rfc3339": 0}[unit] if signed.borders("timestamp") else 0
    written = spec.text("timestamp")
    if written.startswith(_FIELD):
        if fields is None:
            raise ConfigError("timestamp", "field: needs item_separator and field")
        stamp = Timestamp(None, written.removeprefix(_FIELD), unit, digits)
    else:
        stamp = Timestamp(_place(spec, "timestamp", SOURCES), "", unit, digits)
    within = stamp.place is not None and stamp.place.source in ("body", "form") and signed.covers("body")
    if not within and not signed.covers("timestamp"):
        raise ConfigError("timestamp", "is not signed: content must have {timestamp}")
    return stamp


def _place(spec: Config, key: str, sources: tuple[str, ...]) -> Place:
    try:
        return place(spec.text(key), sources=sources)
    except PlaceError as error:
        raise ConfigError(key, str(error)) from None


# --------------------------------------------------------------------------------------------- static credentials


def _header(spec: Config, default: str) -> str:
    name = spec.text_or("header", default)
    if name and _HEADER.fullmatch(name) is None:
        raise ConfigError("header", "is no name of a header")
    return name.lower()


def _static(spec: Config) -> Preset:
    header, query = _header(spec, ""), spec.text_or("query", "")
    if not header and not query:
        raise ConfigError("header", "or query is needed")
    credential = StaticCredential(header, query=query)
    return replace(_preset(verifier(credential.prove), ("secret",)), secrets=("secret",))


def _bearer(spec: Config) -> Preset:
    credential = StaticCredential(_header(spec, AUTHORIZATION), bearer="yes")
    return replace(_preset(verifier(credential.prove), ("secret",)), secrets=("secret",))


def _basic(_spec: Config) -> Preset:
    credential = StaticCredential(basic=True)
    return replace(_preset(verifier(credential.prove), ("username", "password")), secrets=("password",))


def _client_certificate(spec: Config) -> Preset:
    form = spec.choice("form", "rfc9440", client_certificate.FORMS)
    header = _header(spec, {"rfc9440": "client-cert", "xfcc": "x-forwarded-client-cert"}.get(form, ""))
    if not header:
        raise ConfigError("header", "is needed: the one in which the proxy names the certificate")
    prove = partial(client_certificate.prove, header=header, form=form)
    key = "subject" if form == "subject" else "fingerprint"

    def check(config: Config) -> None:
        if config.has(key):
            config.texts(key) if form == "subject" else client_certificate.fingerprints(config)

    return replace(_preset(verifier(prove), (key,)), check=check, proxy_headers=(header,))


def _jwt(spec: Config) -> Preset:
    from hookline.core.verifiers import bearer

    parameters = {key: value for key, value in spec.values.items() if key != "scheme"}

    def whole(config: Config) -> Config:
        return Config({**config.values, **parameters})

    def verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
        return bearer.verify(request, whole(config), now_s, fetched)

    return replace(_preset(verify, ("secret",)), secrets=("secret",), check=lambda config: bearer.check(whole(config)))


def _none(_spec: Config) -> Preset:
    return _preset(verifier(_anybody), ())


def _anybody(_parts: Parts, _config: Config, _now_s: float) -> str:
    return ""


SCHEMES: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Config], Preset]]]] = {
    "hmac": ((*_MESSAGE, "key", "key_prefix"), _hmac),
    "public_key": (_MESSAGE, _public_key),
    "static": (("header", "query"), _static),
    "bearer": (("header",), _bearer),
    "basic": ((), _basic),
    "jwt": (
        ("issuer", "audience", "algorithms", "jwks_url", "keys", "claims", "header", "leeway", "ttl_s_max"),
        _jwt,
    ),
    "client_certificate": (("header", "form"), _client_certificate),
    "none": ((), _none),
}
"""Scheme → its parameters, and what makes a preset of them."""
