"""The form of the spool's files: whatever is torn, damaged or forged, only whole records come out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.adapters.spools.segment import (
    HEADER_BYTES,
    MARK,
    OVER,
    PAYLOAD_BYTES_MAX,
    RECORD_HEAD_BYTES,
    Place,
    encode,
    header,
    payload_at,
    places,
    salt_of,
)

SALT = bytes(range(16))
PAYLOADS = st.lists(st.binary(max_size=60) | st.just(MARK) | st.just(MARK + b"\0" * 40), max_size=6)


def file_of(payloads: list[bytes], salt: bytes = SALT) -> bytes:
    """A whole file."""
    data = header(salt)
    for number, payload in enumerate(payloads):
        data += encode(salt, len(data), 1_000 + number, payload)
    return data


def read(data: bytes) -> tuple[list[bytes], int]:
    """The payloads that come out, and how many bytes are none."""
    salt = salt_of(data) or b""
    payloads: list[bytes] = []
    damaged = 0
    for found in places(data):
        if isinstance(found, Place):
            whole = payload_at(salt, data, 0, found.offset)
            assert whole is not None
            assert whole[0] == found
            payloads.append(whole[1])
        else:
            damaged += found
    return payloads, damaged


def is_part(few: list[bytes], many: list[bytes]) -> bool:
    """Whether `few` is `many` with some left out."""
    rest = iter(many)
    return all(one in rest for one in few)


@given(PAYLOADS)
def test_what_was_written_is_read(payloads):
    """A whole file gives its records in order and has no damage."""
    assert read(file_of(payloads)) == (payloads, 0)


@given(PAYLOADS.filter(bool))
@settings(deadline=None)
def test_a_torn_tail_at_every_byte(payloads):
    """Cut anywhere, a file gives exactly the records that are whole before the cut, and the rest is counted."""
    data = file_of(payloads)
    ends = [HEADER_BYTES]
    for payload in payloads:
        ends.append(ends[-1] + RECORD_HEAD_BYTES + len(payload))
    assert ends[-1] == len(data)
    for cut in range(len(data) + 1):
        whole = sum(1 for end in ends[1:] if end <= cut)
        kept = ends[whole] if cut >= HEADER_BYTES else 0
        assert read(data[:cut]) == (payloads[:whole], cut - kept)


@given(PAYLOADS.filter(bool), st.data())
@settings(deadline=None)
def test_a_damaged_byte_costs_one_record(payloads, draw):
    """Any byte behind the header may change: at most its own record is missing, and no wrong payload ever comes out."""
    data = bytearray(file_of(payloads))
    at = draw.draw(st.integers(HEADER_BYTES, len(data) - 1))
    data[at] = draw.draw(st.integers(0, 255).filter(lambda byte: byte not in (data[at], OVER[3])))
    found, damaged = read(bytes(data))
    assert len(found) == len(payloads) - 1
    assert is_part(found, payloads)
    assert damaged >= RECORD_HEAD_BYTES


@given(PAYLOADS, st.binary(max_size=80), st.integers(0, 6))
def test_garbage_between_records_is_passed_over(payloads, garbage, place):
    """Bytes that are no record, wherever they lie, hide no record in front of them."""
    place = min(place, len(payloads))
    data = file_of(payloads[:place]) + garbage
    for payload in payloads[place:]:
        data += encode(SALT, len(data), 5, payload)
    assert read(data) == (payloads, len(garbage))


@given(PAYLOADS.filter(bool), st.data())
def test_a_record_that_is_over_is_passed_over(payloads, draw):
    """One whose mark was changed so is no damage and does not come; the others do."""
    data = bytearray(file_of(payloads))
    place = draw.draw(st.integers(0, len(payloads) - 1))
    offset = HEADER_BYTES + sum(RECORD_HEAD_BYTES + len(payload) for payload in payloads[:place])
    data[offset : offset + 4] = OVER
    assert read(bytes(data)) == ([*payloads[:place], *payloads[place + 1 :]], 0)


@given(PAYLOADS, st.integers(0, 255))
def test_a_payload_cannot_pass_for_a_record(inner, salt_byte):
    """Somebody who sends a whole file, or records, as his payload adds none, not even where the file is damaged."""
    foreign = file_of(inner, bytes([salt_byte]) * 16)
    data = bytearray(file_of([foreign, b"after"]))
    assert read(bytes(data)) == ([foreign, b"after"], 0)
    data[HEADER_BYTES + 5] ^= 0xFF  # the length of the record around it
    assert read(bytes(data))[0] == [b"after"]


@given(st.binary(max_size=200))
def test_no_file_of_ours_has_no_records(data):
    """Any other file is counted as damage, and nothing raises."""
    if salt_of(data) is None:
        assert read(data) == ([], len(data))


def test_a_record_has_a_limit():
    """More than 64 MiB is refused when it is written, and believed by nobody who reads."""
    with pytest.raises(ValueError, match="too large"):
        encode(SALT, 0, 0, bytes(PAYLOAD_BYTES_MAX + 1))
