"""PayPal: RSA over a checksum of the body, by a certificate that the request names; or PayPal itself is asked.

By certificate (the default): the URL is PayPal's own, which is checked before anything is fetched; a path of valid
certificates leads from it to an authority that is trusted; it was issued to PayPal's signer of messages. What is
signed holds the body's CRC-32 and not the body: who has seen one delivery and its signature can make another body of
the same checksum. Whoever fears that has PayPal asked (`client_id`, `client_secret`), which costs two requests.

PayPal serves its certificate alone. The one above it is taken from `intermediates`, else from where the certificate
itself says; it need not be trusted for that, as the path must end at a trusted one.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hookline.core.verifiers import certificates
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import from_base64
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.json_body import BodyError, parse_object
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.timestamp import Timestamp, check_fresh
from hookline.core.verifiers.verdict import Fetch, Fetched, Refused, Verdict, Verified

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CERTIFICATE: Final = "paypal-certificate"
TOKEN: Final = "paypal-token"  # noqa: S105 - a name
JUDGEMENT: Final = "paypal-judgement"
ISSUERS_MAX: Final = 2

_CERT_URL: Final = re.compile(r"https://api(?:-m)?(?:\.sandbox)?\.paypal\.com/[A-Za-z0-9._~/-]{1,500}")
_SIGNER: Final = re.compile(r"messageverificationcerts(?:\.[a-z0-9-]{1,63}){0,2}\.paypal\.com")
_ISSUER_URL: Final = re.compile(r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)+/[A-Za-z0-9._~/-]{1,500}")
# A `|` in one of them would let a forger move the borders within what is signed.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIME: Final = re.compile(r"[0-9TZ:.+-]{1,40}")
_API: Final = {"live": "api-m.paypal.com", "sandbox": "api-m.sandbox.paypal.com"}


@dataclass(frozen=True, slots=True)
class _Transmission:
    """What the headers say, each in the form that PayPal gives it."""

    id: str
    time: str
    signature: bytes
    signature_text: str
    cert_url: str
    algorithm: str


def verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether PayPal sent it for the configured webhook."""
    try:
        sent = _transmission(request)
        webhook_id = config.text("webhook_id")
        if config.has("tolerance_s"):
            check_fresh(Timestamp(unit="rfc3339").seconds(sent.time), now_s, config.seconds("tolerance_s", 0.0))
        if config.has("client_id") and not config.has("certs") and not config.has("trusted_roots"):
            return _asked(request, sent, webhook_id, config, fetched)
        return _by_certificate(request, sent, webhook_id, config, now_s, fetched)
    except Unproven as error:
        return error.refused


def check(config: Config) -> None:
    """Raise `ConfigError` for a text that holds no certificate."""
    if config.has("trusted_roots"):
        certificates.configured("trusted_roots", config.texts("trusted_roots"))
    _intermediates(config)
    certificates.configured("certs", tuple(config.table("certs").values()))


def _transmission(request: Inbound) -> _Transmission:
    def one(name: str, form: re.Pattern[str] | None = None) -> str:
        value = request.header(f"paypal-{name}")
        if value is None:
            raise Unproven("missing_signature", f"paypal-{name} is missing, or there more than once")
        if form is not None and form.fullmatch(value) is None:
            raise Unproven("malformed_signature", f"paypal-{name} is not what PayPal sends")
        return value

    cert_url = one("cert-url")
    if _CERT_URL.fullmatch(cert_url) is None:
        raise Unproven("untrusted_key", "paypal-cert-url is not PayPal's")
    algorithm, signature_text = one("auth-algo"), one("transmission-sig")
    if algorithm.lower() != "sha256withrsa":
        raise Unproven("unsupported", "paypal-auth-algo is not SHA256withRSA")
    signature = from_base64(signature_text)
    if signature is None:
        raise Unproven("malformed_signature", "paypal-transmission-sig is not base64")
    transmission_id, time = one("transmission-id", _ID), one("transmission-time", _TIME)
    return _Transmission(transmission_id, time, signature, signature_text, cert_url, algorithm)


# -------------------------------------------------------------------------------------------------- certificate


def _by_certificate(
    request: Inbound,
    sent: _Transmission,
    webhook_id: str,
    config: Config,
    now_s: float,
    fetched: Mapping[str, Fetched],
) -> Verdict:
    served = _served(sent.cert_url, config, fetched)
    if isinstance(served, Fetch):
        return served
    leaf = served[0]
    if _SIGNER.fullmatch(certificates.common_name(leaf)) is None:
        return Refused("untrusted_key", "the certificate is not that of PayPal's signer of messages")
    if config.has("trusted_roots"):
        roots = certificates.configured("trusted_roots", config.texts("trusted_roots"))
    else:
        found = certificates.system_roots(fetched)
        if isinstance(found, Fetch):
            return found
        roots = found
    others = (*served[1:], *_intermediates(config))
    if not config.has("certs"):
        issuers = _issuers(leaf, others, roots, fetched)
        if isinstance(issuers, Fetch):
            return issuers
        others += issuers
    why = certificates.why_untrusted(leaf, others, roots, now_s)
    if why is not None:
        return Refused("untrusted_key", f"the certificate is not trusted: {why}")
    signed = f"{sent.id}|{sent.time}|{webhook_id}|{zlib.crc32(request.body)}".encode()
    if not certificates.rsa_signed(leaf.public_key(), sent.signature, signed, "sha256"):
        return Refused("wrong_signature", "the signature is not over this body for this webhook_id")
    return Verified(facts={"transmission_id": sent.id})


def _intermediates(config: Config) -> tuple[Certificate, ...]:
    # An empty list says that there are none, as no list does.
    given = config.texts("intermediates") if config.values.get("intermediates") else ()
    return certificates.configured("intermediates", given)


def _served(cert_url: str, config: Config, fetched: Mapping[str, Fetched]) -> tuple[Certificate, ...] | Fetch:
    """PayPal's certificate, and what comes with it."""
    if config.has("certs"):
        pem = config.table("certs").get(cert_url)
        if pem is None:
            raise Unproven("untrusted_key", "the certificate that the request names is not among certs")
        return certificates.configured("certs", (pem,))
    found = fetched.get(CERTIFICATE)
    if found is None:
        return Fetch(CERTIFICATE, cert_url, keep_s=DAY_S)
    return certificates.fetched_certificates(found, "PayPal")


def _issuers(
    leaf: Certificate,
    others: tuple[Certificate, ...],
    roots: tuple[Certificate, ...],
    fetched: Mapping[str, Fetched],
) -> tuple[Certificate, ...] | Fetch:
    """The certificates between `leaf` and `roots` that are not among `others`, from where each says the next is."""
    gained: tuple[Certificate, ...] = ()
    root_names, at = {root.subject for root in roots}, leaf
    for _step in range(len(others) + ISSUERS_MAX):
        if at.issuer in root_names:
            break
        above = next((one for one in (*others, *gained) if one.subject == at.issuer), None)
        if above is None:
            url = _issuer_url(at)
            if url is None or len(gained) == ISSUERS_MAX:
                break
            name = f"paypal-issuer-{len(gained) + 1}"
            found = fetched.get(name)
            if found is None:
                return Fetch(name, url, keep_s=DAY_S, proves_itself=True)
            above = certificates.fetched_certificates(found, "the authority above PayPal")[0]
            gained += (above,)
        at = above
    return gained


def _issuer_url(certificate: Certificate) -> str | None:
    from cryptography.x509 import AuthorityInformationAccess, ExtensionNotFound, UniformResourceIdentifier
    from cryptography.x509.oid import AuthorityInformationAccessOID

    try:
        told = certificate.extensions.get_extension_for_class(AuthorityInformationAccess).value
    except (ExtensionNotFound, ValueError):
        return None
    for one in told:
        where = one.access_location
        if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
            where, UniformResourceIdentifier
        ):
            return where.value if _ISSUER_URL.fullmatch(where.value) else None
    return None


# ----------------------------------------------------------------------------------------------------- postback


def _asked(
    request: Inbound, sent: _Transmission, webhook_id: str, config: Config, fetched: Mapping[str, Fetched]
) -> Verdict:
    """What PayPal itself says of the request."""
    host = _API[config.choice("environment", "live", tuple(_API))]
    credentials = f"{config.text('client_id')}:{config.text('client_secret')}".encode()
    try:
        parse_object(request.body)
    except BodyError as error:
        return Refused("malformed_body", str(error))
    name = TOKEN
    judged = fetched.get(JUDGEMENT)
    if judged is not None and judged.status == 401:
        # The token that was kept is no longer good: once more, with one that is at most a minute old.
        name, judged = f"{TOKEN}-again", fetched.get(f"{JUDGEMENT}-again")
    if judged is not None:
        return _judgement(judged)
    granted = fetched.get(name)
    if granted is None:
        basic = base64.b64encode(credentials).decode("ascii")
        return Fetch(
            name,
            f"https://{host}/v1/oauth2/token",
            "POST",
            (("authorization", f"Basic {basic}"), ("content-type", "application/x-www-form-urlencoded")),
            b"grant_type=client_credentials",
            keep_s=3600.0 if name == TOKEN else 60.0,
        )
    return Fetch(
        JUDGEMENT if name == TOKEN else f"{JUDGEMENT}-again",
        f"https://{host}/v1/notifications/verify-webhook-signature",
        "POST",
        (("authorization", f"Bearer {_token(granted)}"), ("content-type", "application/json")),
        _question(request.body, sent, webhook_id),
        keep_s=0.0,
    )


def _question(body: bytes, sent: _Transmission, webhook_id: str) -> bytes:
    """What PayPal is asked: the event is its own JSON text as it came, because its bytes are what was signed. It is
    known to be one JSON object, so nothing in it can add to the question."""
    told = json.dumps(
        {
            "auth_algo": sent.algorithm,
            "cert_url": sent.cert_url,
            "transmission_id": sent.id,
            "transmission_sig": sent.signature_text,
            "transmission_time": sent.time,
            "webhook_id": webhook_id,
        }
    )
    return told[:-1].encode() + b',"webhook_event":' + body + b"}"


def _token(granted: Fetched) -> str:
    try:
        found: Any = parse_object(granted.body).get("access_token") if granted.status == 200 else None
    except BodyError:
        found = None
    if not isinstance(found, str) or not found.isascii() or not found.isprintable() or not 0 < len(found) <= 8192:
        raise Unproven("key_unavailable", f"PayPal gave no token: status {granted.status}", status=503)
    return found


def _judgement(judged: Fetched) -> Verdict:
    try:
        found: Any = parse_object(judged.body).get("verification_status") if judged.status == 200 else None
    except BodyError:
        found = None
    if found == "SUCCESS":
        return Verified()
    if found == "FAILURE":
        return Refused("wrong_signature", "PayPal says that it did not send this for this webhook_id")
    return Refused("key_unavailable", f"PayPal did not say whether it sent this: status {judged.status}", status=503)


PRESET: Final = Preset(
    name="paypal",
    title="PayPal",
    verify=verify,
    keys=(
        "webhook_id",
        "certs",
        "intermediates",
        "trusted_roots",
        "client_id",
        "client_secret",
        "environment",
        "tolerance_s",
    ),
    secrets=("client_secret",),
    reading=Reading(type="body:event_type", id="body:id", subject="body:resource.id", time="body:create_time"),
    retry_window_s=3 * DAY_S,
    check=check,
)
