"""Nothing is sent to Hookline itself, whatever name leads there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from tests.adapters.senders.sending import send

from hookline.adapters.senders import dial
from hookline.adapters.senders.dial import is_local
from hookline.adapters.senders.http import HttpSender
from hookline.core.attempt import Kind
from hookline.core.endpoint import EndpointSpec
from hookline.core.errors import Refusal
from hookline.core.ourselves import OURS, Ourselves
from hookline.testing.receiver import Receiver

MakeSender = Callable[..., HttpSender]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "rebound.example"])
@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0"])
async def test_where_we_listen(make_sender: MakeSender, receiver: Receiver, host: str, listening: str) -> None:
    """An address that we listen on is refused at creation and at every attempt; other ports of it are not."""
    ourselves = Ourselves("", [(listening, receiver.port)])
    sender = make_sender(lookup=lambda _host: ["127.0.0.1"], ourselves=ourselves)
    url = f"https://{host}:{receiver.port}/v1/events"
    with pytest.raises(Refusal) as refused:
        await sender.check(EndpointSpec(url=url))
    assert (refused.value.code, refused.value.pointer, refused.value.detail) == ("address_refused", "/url", OURS)
    outcome = await send(sender, url)
    assert (outcome.kind, outcome.reason, outcome.detail) == (Kind.RETRY, "address_refused", OURS)
    assert await sender.check(EndpointSpec(url=f"http://{host}:{receiver.port - 1}/")) == []
    assert receiver.requests == []


async def test_our_public_address(make_sender: MakeSender, receiver: Receiver) -> None:
    """Below our public address nothing is sent, not even on a connection that was made for its neighbour's sake."""
    base = f"http://127.0.0.1:{receiver.port}"
    sender = make_sender(ourselves=Ourselves(base + "/hooks"))
    with pytest.raises(Refusal) as refused:
        await sender.check(EndpointSpec(url=base + "/hooks/v1/events"))
    assert (refused.value.code, refused.value.pointer, refused.value.detail) == ("address_refused", "/url", OURS)
    assert (await send(sender, base + "/shop")).kind is Kind.DELIVERED
    outcome = await send(sender, base + "/hooks/v1/events")
    assert (outcome.kind, outcome.reason, outcome.detail) == (Kind.RETRY, "address_refused", OURS)
    assert [request.path for request in receiver.requests] == ["/shop"]


def test_which_addresses_are_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback is this machine's and a foreign address is not, also where a socket may be bound to any."""
    addresses = [ip_address(text) for text in ("127.0.0.1", "192.0.2.7", "2001:db8::7")]
    assert [is_local(address) for address in addresses] == [True, False, False]
    monkeypatch.setattr(dial, "_can_bind", lambda _version, _host: True)
    assert [is_local(address) for address in addresses] == [True, False, False]


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_the_loopback_of_ipv6() -> None:
    """It is this machine's where there is one."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("::1 is not configured")
    assert is_local(ip_address("::1"))
