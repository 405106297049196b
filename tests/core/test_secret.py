"""Signing keys in their text forms, and what is sealed at rest."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from hookline.core import secret
from hookline.core.errors import Refusal
from hookline.core.secret import Keyring
from hookline.core.signing_key import hmac_key

SEED = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()


def b64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode()


@given(st.binary(min_size=24, max_size=64))
def test_made_secrets_can_be_used(random: bytes) -> None:
    """A secret that we make holds the random bytes, and passes our own check."""
    text = secret.make_signing_secret(random)
    secret.check_signing_secret(text)
    assert hmac_key(text) == random


@given(st.binary(min_size=1, max_size=1024))
def test_a_given_secret_may_have_any_length_and_no_padding(key: bytes) -> None:
    """A secret given to us has 1 to 1,024 bytes, padded or not."""
    assert hmac_key("whsec_" + b64(key)) == key
    assert hmac_key("whsec_" + b64(key).rstrip("=")) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_====",
        "whsec_A",
        "whsec_QUJD=",
        "whsec_QUJD====",
        "whsec_QUI",
        "whsec_QUI=QUI=",
        "whsec_QUI==",
        "whsec_QU I=",
        "whsec_QUJD\n",
        "whsec_QU-_",
        "whsec_QU$D",
        "whsec_ＱＵＪＤ",
        "whsec_" + b64(bytes(1025)),
        "WHSEC_QUJD",
        "QUJD",
        "whpk_" + b64(PUBLIC),
        "whsk_",
        "whsk_" + b64(bytes(31)),
        "whsk_" + b64(SEED + bytes(32)),
        "whsk_" + b64(bytes(63)),
        "whsk_" + b64(SEED)[:-2] + "$=",
    ],
)
def test_what_cannot_sign_is_refused(text: str) -> None:
    """Junk, wrong lengths and public keys are refused, without repeating the secret."""
    if text == "whsec_QUI":
        secret.check_signing_secret(text)  # only the padding is missing
        return
    with pytest.raises(Refusal) as refused:
        secret.check_signing_secret(text)
    assert (refused.value.code, refused.value.pointer) == ("invalid_secret", "/secret")
    digits = text.partition("_")[2]
    assert len(digits) < 8 or digits not in str(refused.value.problem())


def test_both_forms_of_an_ed25519_key_are_one_key() -> None:
    """A seed and a seed with its public key are the same key, and have the same public key."""
    short, long = "whsk_" + b64(SEED), "whsk_" + b64(SEED + PUBLIC)
    secret.check_signing_secret(short)
    secret.check_signing_secret(long)
    assert secret.public_key(short) == secret.public_key(long) == "whpk_" + b64(PUBLIC)


def test_the_public_key_of_the_standards_example() -> None:
    """The whsk_ of the standard's own test has the whpk_ it names; a whsec_ has none."""
    text = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    assert secret.public_key(text) == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
    assert secret.public_key("whsec_QUJD") is None


@pytest.mark.parametrize("text", ["whpk_", "whpk_" + b64(bytes(31)), "whsk_" + b64(SEED), "whpk_=" + b64(PUBLIC)])
def test_a_wrong_public_key_is_an_error(text: str) -> None:
    """What is not 32 bytes after whpk_ raises ValueError."""
    with pytest.raises(ValueError):
        secret.verifying_key(text)


@pytest.mark.parametrize(
    ("text", "shown"), [("whsec_QUJD", "whsec_***"), ("whsk_" + b64(SEED), "whsk_***"), ("other", "***"), ("", "***")]
)
def test_the_mask_shows_the_kind_alone(text: str, shown: str) -> None:
    """Nothing of a secret but its prefix is shown."""
    assert secret.mask(text) == shown


# --------------------------------------------------------------------------------------------------- at rest

OLD, NEW = bytes(32), bytes(range(32))
NONCE = bytes(12)


@given(st.binary(max_size=200), st.binary(min_size=12, max_size=12))
def test_what_is_sealed_can_be_opened(plain: bytes, nonce: bytes) -> None:
    """Opening gives back what was sealed, and the sealed form does not hold it."""
    keyring = Keyring([NEW])
    sealed = keyring.seal(plain, nonce)
    assert keyring.open(sealed) == plain
    assert len(plain) < 8 or plain not in sealed[17:]


def test_keys_can_be_rotated() -> None:
    """The first key seals; what an older key sealed opens as long as the key is there."""
    sealed_before = Keyring([OLD]).seal(b"secret", NONCE)
    both = Keyring([NEW, OLD])
    assert both.open(sealed_before) == b"secret"
    assert Keyring([NEW]).open(both.seal(b"secret", NONCE)) == b"secret"
    with pytest.raises(ValueError, match="HOOKLINE_SECRET_KEY"):
        Keyring([NEW]).open(sealed_before)


@given(st.integers(0, 5 + 12 + 6 + 16 - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(position: int, change: int) -> None:
    """Whatever byte of a sealed secret is changed, it does not open."""
    keyring = Keyring([NEW])
    sealed = bytearray(keyring.seal(b"secret", NONCE))
    sealed[position] ^= change
    with pytest.raises(ValueError):
        keyring.open(bytes(sealed))


@pytest.mark.parametrize("length", [0, 1, 5, 17, 32])
def test_a_cut_secret_does_not_open(length: int) -> None:
    """A sealed secret that was cut short raises ValueError."""
    with pytest.raises(ValueError):
        Keyring([NEW]).open(Keyring([NEW]).seal(b"", NONCE)[:length])


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW, bytes(31)]])
def test_a_keyring_needs_keys_of_32_bytes(keys: list[bytes]) -> None:
    """No key, or one of another length, is an error."""
    with pytest.raises(ValueError):
        Keyring(keys)
