"""Signatures, held against the standard's vectors and its official library."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.endpoint import SigningKey
from hookline.core.secret import make_signing_secret, public_key
from hookline.core.signature import Signer
from hookline.core.verification import VerificationError, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ED_SECRET = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ED_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ID, AT_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="


def headers(signature: str = V1, *, webhook_id: str = ID, timestamp: str = str(AT_S)) -> dict[str, str]:
    """The three headers of the example."""
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def sign(secret: str, webhook_id: str = ID, at_s: int = AT_S, body: bytes = BODY) -> str:
    """One signature."""
    return Signer([SigningKey(secret)]).header(webhook_id, at_s, body, at_s * 1000)


def refusal(
    signed: dict[str, str], body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,), now_s: float = AT_S
) -> str:
    """Why a message is not verified."""
    with pytest.raises(VerificationError) as error:
        verify(body, signed, secrets, now_s=now_s)
    return error.value.reason


# --------------------------------------------------------------------------------------------------- signing


@pytest.mark.parametrize(
    ("secret", "webhook_id", "at_s", "body", "expected"),
    [
        (SECRET, ID, AT_S, BODY, V1),
        (
            OTHER,
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1649367553,
            b'{"email":"test@example.com","username":"test_user"}',
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (ED_SECRET, ID, AT_S, BODY, V1A),
    ],
)
def test_the_standards_vectors(secret: str, webhook_id: str, at_s: int, body: bytes, expected: str) -> None:
    """The published examples come out bit for bit, and verify."""
    assert sign(secret, webhook_id, at_s, body) == expected
    verify(body, headers(expected, webhook_id=webhook_id, timestamp=str(at_s)), [secret], now_s=at_s)


def test_the_two_forms_of_an_ed25519_secret_sign_alike() -> None:
    """The 32-byte seed alone makes the same signature as seed and public key."""
    seed = base64.b64decode(ED_SECRET.removeprefix("whsk_"))[:32]
    assert sign("whsk_" + base64.b64encode(seed).decode()) == V1A


@given(
    st.sampled_from([1, 24, 63, 64, 65, 1024]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    st.binary(max_size=300),
)
def test_v1_is_hmac_sha256_whatever_the_key(key: bytes, body: bytes) -> None:
    """The precomputed halves of the key give what hmac gives, for keys shorter and longer than a block."""
    signed = b"%b.%d.%b" % (ID.encode(), AT_S, body)
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert sign("whsec_" + base64.b64encode(key).decode(), body=body) == "v1," + expected


@given(st.binary(min_size=24, max_size=64), st.text(max_size=200))
def test_the_official_library_signs_alike(random: bytes, body: str) -> None:
    """standardwebhooks makes the same signature of any text."""
    secret = make_signing_secret(random)
    official = standardwebhooks.Webhook(secret).sign(ID, datetime.fromtimestamp(AT_S, UTC), body)
    assert official == sign(secret, body=body.encode())


def test_the_official_library_verifies_a_json_message() -> None:
    """standardwebhooks verifies and parses a message that we signed, also while a secret is rotated."""
    at_s = int(datetime.now(UTC).timestamp())
    signature = Signer([SigningKey(OTHER), SigningKey(ED_SECRET), SigningKey(SECRET, at_s * 1000 + 1000)])
    signed = headers(signature.header(ID, at_s, BODY, at_s * 1000), timestamp=str(at_s))
    for secret in (SECRET, OTHER):
        assert standardwebhooks.Webhook(secret).verify(BODY, signed) == {"test": 2432232314}


@given(st.binary(min_size=24, max_size=64), st.text(max_size=200))
def test_we_verify_what_the_official_library_signs(random: bytes, body: str) -> None:
    """What standardwebhooks signs is verified here."""
    secret = make_signing_secret(random)
    signature = standardwebhooks.Webhook(secret).sign(ID, datetime.fromtimestamp(AT_S, UTC), body)
    verify(body.encode(), headers(signature), [secret], now_s=AT_S)


def test_keys_sign_until_they_expire() -> None:
    """Newest first, one item for each key that has not expired; at its end a key has expired."""
    signer = Signer([SigningKey(SECRET), SigningKey(OTHER, expires_at_ms=5000), SigningKey(ED_SECRET, 4000)])
    both = signer.header(ID, AT_S, BODY, 4999).split(" ")
    assert both == [V1, sign(OTHER)]
    assert len(signer.header(ID, AT_S, BODY, 3999).split(" ")) == 3
    assert signer.header(ID, AT_S, BODY, 5000) == V1


def test_a_key_that_cannot_sign_is_an_error() -> None:
    """Making a signer from a broken key raises ValueError."""
    for secret in ("whsec_", "nonsense", ED_PUBLIC):
        with pytest.raises(ValueError):
            Signer([SigningKey(secret)])


# ------------------------------------------------------------------------------------------------- verifying


@pytest.mark.parametrize(
    "signature",
    [
        V1,
        f"v0,x {V1}",
        f"v2,{V1[3:]} {V1}",
        f"{sign(OTHER)} {V1A} v1,AAAA {V1}",
        f"v1 v1,a,b {V1}",
        f"  {V1} ",
        f"garbage {V1} ,",
    ],
)
def test_one_good_signature_among_others_is_enough(signature: str) -> None:
    """Items of another version or form are passed over."""
    verify(BODY, headers(signature), [OTHER, SECRET], now_s=AT_S)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        " ",
        "v1",
        "v1,",
        "v1,a,b",
        "garbage",
        V1[:-2] + "A=",
        V1[:11],
        V1[:-1],
        V1 + "=",
        V1 + "A",
        V1[3:],
        "V1" + V1[2:],
        "v1a" + V1[2:],
        "v2" + V1[2:],
        V1.replace(",", ", "),
        V1.replace("/", "_").replace("+", "-"),
        "v1," + base64.b64encode(bytes(31)).decode(),
        "v1," + V1[3:].replace("E", "E\u00e9", 1),
        V1.replace("g0hM", "ｇ0hM"),
        "v1,\ud800",
        V1 + "\n",
        V1 + "," + V1,
        "v1," + "A" * 64_000,
    ],
)
def test_a_bad_signature_is_refused_and_nothing_else(signature: str) -> None:
    """A malformed, foreign or forged signature raises VerificationError."""
    assert refusal(headers(signature)) in ("no_matching_signature", "invalid_signature_header")


def test_too_many_signatures_are_refused_unread() -> None:
    """16 signatures are read, 17 are not, even if one of them is good."""
    verify(BODY, headers(" ".join(["v1,x"] * 15 + [V1])), [SECRET], now_s=AT_S)
    assert refusal(headers(" ".join(["v1,x"] * 16 + [V1]))) == "too_many_signatures"
    assert refusal(headers(" ".join([V1] * 10_000))) == "invalid_signature_header"


@pytest.mark.parametrize(
    "body", [b'{"test":2432232314}', b'{"test": 2432232314} ', b"", b'{"test": 2432232315}', b"\xff"]
)
def test_another_body_is_refused(body: bytes) -> None:
    """The bytes count, not what they mean as JSON."""
    assert refusal(headers(), body) == "no_matching_signature"


def test_nothing_can_be_shifted_between_id_timestamp_and_body() -> None:
    """What was signed as one triple is not verified as another with the same bytes."""
    body = f"{AT_S}.B".encode()
    signature = sign(SECRET, "m", AT_S, body)
    verify(body, headers(signature, webhook_id="m"), [SECRET], now_s=AT_S)
    shifted = headers(signature, webhook_id=f"m.{AT_S}")
    assert refusal(shifted, b"B") == "invalid_id"
    assert refusal(headers(signature, webhook_id="m", timestamp=f"{AT_S}.{AT_S}"), b"B") == "invalid_timestamp"


@pytest.mark.parametrize("webhook_id", ["", "a.b", "a b", "a" * 65, "é", "a\n", "a/b"])
def test_ids_have_one_form(webhook_id: str) -> None:
    """An id is 1 to 64 letters, digits, _ or -."""
    assert refusal(headers(sign(SECRET, "a"), webhook_id=webhook_id)) == "invalid_id"


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "1.7e9",
        "161426533",
        "16142653300",
        " 1614265330",
        "1614265330\n",
        "+614265330",
        "-614265330",
        "１６１４２６５３３０",
        "now",
    ],
)
def test_timestamps_have_one_form(timestamp: str) -> None:
    """A timestamp is ten ASCII digits."""
    assert refusal(headers(timestamp=timestamp)) == "invalid_timestamp"


def test_the_tolerance_goes_both_ways() -> None:
    """300 s of age or of future are verified, 301 s are not; the limit can be set."""
    for now_s in (AT_S - 300, AT_S + 300):
        verify(BODY, headers(), [SECRET], now_s=now_s)
    assert refusal(headers(), now_s=AT_S + 301) == "too_old"
    assert refusal(headers(), now_s=AT_S - 301) == "too_new"
    verify(BODY, headers(), [SECRET], now_s=AT_S + 1000, tolerance_s=1000)
    with pytest.raises(VerificationError):
        verify(BODY, headers(), [SECRET], now_s=AT_S + 2, tolerance_s=1)


def test_the_algorithm_belongs_to_the_key() -> None:
    """No message can choose how a key is used: the public key is no HMAC key, and a secret no public key."""
    public = base64.b64decode(ED_PUBLIC.removeprefix("whpk_"))
    forged = sign("whsec_" + base64.b64encode(public).decode())
    for signature in (forged, "v1a" + forged[2:], V1):
        assert refusal(headers(signature), secrets=(ED_PUBLIC,)) == "no_matching_signature"
    assert refusal(headers(V1A)) == "no_matching_signature"


def test_ed25519_is_verified_with_either_key() -> None:
    """A v1a signature is verified by the public key, and by the secret key that holds it."""
    for secret in (ED_PUBLIC, ED_SECRET):
        verify(BODY, headers(f"v1,AA {V1A}"), [secret], now_s=AT_S)
    assert refusal(headers(V1A[:-4] + "Ag=="), BODY + b" ", (ED_PUBLIC,)) == "no_matching_signature"


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_ed25519_round_trips(seed: bytes, body: bytes) -> None:
    """What any seed signs, its public key verifies, and the library of the key agrees."""
    secret = "whsk_" + base64.b64encode(seed).decode()
    signature = sign(secret, body=body)
    public = public_key(secret)
    assert public is not None
    verify(body, headers(signature), [public], now_s=AT_S)
    signed = b"%b.%d.%b" % (ID.encode(), AT_S, body)
    Ed25519PrivateKey.from_private_bytes(seed).public_key().verify(base64.b64decode(signature[4:]), signed)


def test_names_of_headers() -> None:
    """Names are matched without regard to case, and svix- names do as well."""
    verify(BODY, {name.title(): value for name, value in headers().items()}, [SECRET], now_s=AT_S)
    svix = {name.replace("webhook-", "Svix-"): value for name, value in headers().items()}
    verify(BODY, svix, [SECRET], now_s=AT_S)
    verify(BODY, {**headers(), "svix-signature": "v1,x"}, [SECRET], now_s=AT_S)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(missing: str) -> None:
    """All three headers must be there."""
    assert refusal({name: value for name, value in headers().items() if name != missing}) == "missing_header"
    assert refusal({}) == "missing_header"


def test_a_repeated_header_is_refused() -> None:
    """The same header twice, in different spelling, is refused, whichever of them is good."""
    assert refusal({**headers(), "Webhook-Signature": V1}) == "repeated_header"


@pytest.mark.parametrize("secret", ["", "whsec_", "whpk_", "whsk_QUJD", "\ud800", "whsec_é"])
def test_a_secret_that_is_none_is_said_to_be_so(secret: str) -> None:
    """A broken secret on our side has a reason of its own."""
    assert refusal(headers(), secrets=(secret,)) == "invalid_secret"


def test_without_secrets_nothing_is_verified() -> None:
    """An empty list of secrets verifies nothing."""
    assert refusal(headers(), secrets=()) == "no_matching_signature"


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()), st.binary()
)
def test_whatever_arrives_it_is_one_error(signed: dict[str, str], body: bytes) -> None:
    """No headers and no body raise anything but VerificationError."""
    with pytest.raises(VerificationError):
        verify(body, {**headers(), **signed}, [OTHER, ED_PUBLIC], now_s=AT_S)
