"""HTTPS ourselves: which files can be used, and what a change of them does to handshakes and connections."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import pytest
import trustme
from tests.web.api import KEY

from hookline.web.tls import FILE_BYTES_MAX, TlsError, TlsFiles, load

AUTHORITY = trustme.CA()
EVENT = b'{"type":"a","data":1}'
REQUEST = (
    b"POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (KEY.encode(), len(EVENT), EVENT)
)
DAY_S = 86_400.0
LONG_AGO_S = 1_000_000_000.0


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, dict[str, object]]] = []

    def fact(self, name: str, **fields: object) -> None:
        self.facts.append((name, fields))

    warn = fact

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.facts]


def write(folder: Path, *, pair: trustme.LeafCert | None = None) -> trustme.LeafCert:
    """A new pair in the folder's two files, replaced as a whole; what was written."""
    made = pair if pair is not None else AUTHORITY.issue_cert("localhost", "127.0.0.1")
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    for name, content in (("tls.crt", chain), ("tls.key", made.private_key_pem.bytes())):
        (folder / f"{name}.new").write_bytes(content)
        (folder / f"{name}.new").replace(folder / name)
    return made


def files(folder: Path, now_s: float = LONG_AGO_S) -> TlsFiles:
    """What is in the folder, in use."""
    return TlsFiles(folder / "tls.crt", folder / "tls.key", lambda: now_s)


def trusting() -> ssl.SSLContext:
    """A client's context that trusts the tests' authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def serial(port: int, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> str:
    """The serial number that a new connection is shown, once a publish on it was answered."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context if context is not None else trusting(), server_hostname=host
    )
    try:
        return await publish(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Publish, and the serial number of the connection."""
    writer.write(REQUEST)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 202")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    found: str = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
    return found.lower().lstrip("0")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_new_connections_get_the_new_certificate(make_rig, tmp_path: Path, host: str):
    """After a renewal new connections are shown the new certificate, whether or not they name a host; one that was
    open goes on with the old."""
    write(tmp_path)
    tls, told = files(tmp_path), Told()
    rig = await make_rig(tls=tls.context)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=trusting(), server_hostname=host)
    first = await publish(reader, writer)
    assert first == tls.pair.serial == await serial(rig.port, host)
    for _ in range(3):
        write(tmp_path)
        tls.refresh(told)
        assert await serial(rig.port, host) == tls.pair.serial != first
    assert await publish(reader, writer) == first
    assert told.names == ["tls_reloaded"] * 3
    tls.refresh(told)
    assert told.names == ["tls_reloaded"] * 3
    writer.close()
    await writer.wait_closed()


async def test_links_that_are_moved(make_rig, tmp_path: Path):
    """A folder behind a link that is swapped, as Kubernetes does it, is a change."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    (tmp_path / "..data").symlink_to("one")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    tls, told = files(tmp_path), Told()
    rig = await make_rig(tls=tls.context)
    first = await serial(rig.port)
    (tmp_path / "..data_tmp").symlink_to("two")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    tls.refresh(told)
    assert told.names == ["tls_reloaded"]
    assert await serial(rig.port) == load(tmp_path / "two/tls.crt", tmp_path / "two/tls.key").serial != first


async def test_a_broken_renewal_changes_nothing(make_rig, tmp_path: Path):
    """Files that cannot be used leave the old pair in use, are warned of once, and are used as soon as they are
    whole."""
    write(tmp_path)
    tls, told = files(tmp_path), Told()
    rig = await make_rig(tls=tls.context)
    first = await serial(rig.port)
    other = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    (tmp_path / "tls.crt").write_bytes(other.cert_chain_pems[0].bytes())
    for _ in range(3):
        tls.refresh(told)
        assert await serial(rig.port) == first
    assert told.names == ["tls_not_reloaded"]
    assert "does not belong to" in str(told.facts[0][1]["reason"])
    (tmp_path / "tls.key").unlink()
    for _ in range(3):
        tls.refresh(told)
    assert told.names == ["tls_not_reloaded"] * 2
    (tmp_path / "tls.key").write_bytes(other.private_key_pem.bytes())
    tls.refresh(told)
    assert told.names == ["tls_not_reloaded", "tls_not_reloaded", "tls_reloaded"]
    assert await serial(rig.port) == tls.pair.serial != first


async def test_versions_and_protocol(make_rig, tmp_path: Path):
    """TLS 1.2 and 1.3 are spoken and nothing older; the protocol within is HTTP/1.1, whatever else is offered."""
    write(tmp_path)
    rig = await make_rig(tls=files(tmp_path).context)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting()
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=context, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        await publish(reader, writer)
        writer.close()
        await writer.wait_closed()
    old = trusting()
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    assert await serial(rig.port, "localhost", old)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await serial(rig.port, "localhost", old)


async def test_what_is_not_tls_is_cut_off(make_rig, tmp_path: Path):
    """Plain HTTP, noise and silence on the port harm nobody and end."""
    write(tmp_path)
    rig = await make_rig(tls=files(tmp_path).context, header_s=0.5)
    for said in (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 600, b""):
        wire = await rig.wire()
        wire.send(said)
        assert b"HTTP/1.1 2" not in await wire.ended()
    assert await serial(rig.port)
    assert rig.observer.warnings == []


def test_expiry_is_told_once(tmp_path: Path):
    """A certificate that ends within a week is warned of, once for each."""
    write(tmp_path)
    told = Told()
    end_s = files(tmp_path).pair.expires_at.timestamp()
    tls = files(tmp_path, end_s - 8 * DAY_S)
    tls.refresh(told)
    assert told.names == []
    tls = files(tmp_path, end_s - 6 * DAY_S)
    for _ in range(3):
        tls.refresh(told)
    assert told.names == ["tls_expires_soon"]


def _encrypted() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a password"),
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tls.crt", b"", "is empty"),
        ("tls.crt", b"x" * (FILE_BYTES_MAX + 1), "larger than 1 MiB"),
        ("tls.crt", b"hello", "no certificate"),
        ("tls.crt", b"\x00\xff" * 50, "no certificate"),
        ("tls.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
        ("tls.crt", AUTHORITY.cert_pem.bytes(), "does not belong to"),
        ("tls.key", b"", "is empty"),
        ("tls.key", b"hello", "no private key"),
        ("tls.key", AUTHORITY.cert_pem.bytes(), "no private key"),
        ("tls.key", AUTHORITY.private_key_pem.bytes(), "does not belong to"),
        ("tls.key", _encrypted(), "encrypted with a password"),
        ("tls.key", None, "No such file"),
        ("tls.crt", None, "No such file"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, said: str):
    """Each fault is one line that names the file, and never shows what is in it."""
    write(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TlsError, match=said) as refused:
        files(tmp_path)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "BEGIN" not in str(refused.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    """A file that nobody ever writes is refused at once."""
    write(tmp_path)
    (tmp_path / "tls.key").unlink()
    os.mkfifo(tmp_path / "tls.key")
    with pytest.raises(TlsError, match="is empty"):
        files(tmp_path)
