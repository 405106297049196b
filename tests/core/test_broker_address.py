"""The address of a broker: its parts, what is refused, and what may be shown."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.broker_address import SCHEMES, parse_broker_address


@pytest.mark.parametrize(
    ("url", "hosts", "user", "password", "path", "tls"),
    [
        ("redis://h", (("h", 6379),), "", "", "", False),
        ("redis://:p%2F%40w@h:1/3", (("h", 1),), "", "p/@w", "3", False),
        ("rediss://u:p@ss@[::1]:7,b.example", (("::1", 7), ("b.example", 6379)), "u", "p@ss", "", True),
        ("nats://token@a,b:1/", (("a", 4222), ("b", 1)), "token", "", "", False),
        ("tls://h", (("h", 4222),), "", "", "", True),
        ("amqp://u:p@h/a%2Fb", (("h", 5672),), "u", "p", "a/b", False),
        ("amqps://h/", (("h", 5671),), "", "", "", True),
        ("kafka://a:1,b", (("a", 1), ("b", 9092)), "", "", "", False),
        ("kafkas://u:p@h", (("h", 9093),), "u", "p", "", True),
    ],
)
def test_parts(url, hosts, user, password, path, tls):
    """An address has hosts with the scheme's port unless it says another, credentials, a path, TLS or not."""
    found = parse_broker_address(url)
    assert (found.hosts, found.user, found.password) == (hosts, user, password)
    assert (found.path, found.tls, found.name) == (path, tls, "hookline")


def test_options():
    """Behind the ? stand the name that begins all others, and certificates."""
    found = parse_broker_address("rediss://h/1?name=staging-2&ca_file=/etc/ca%20s.pem")
    assert (found.path, found.name, found.ca_file) == ("1", "staging-2", "/etc/ca s.pem")
    assert parse_broker_address("kafka://u:p@h?mechanism=PLAIN").mechanism == "PLAIN"


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", "no address"),
        ("hunter2", "no address"),
        ("hunter2:6379", "no address"),
        ("hun ter2://h", "no address"),
        ("mqtt://h", "no broker is known for mqtt://"),
        ("redis://", "a host and a port"),
        ("redis://:hunter2", "a host and a port"),
        ("redis://h:hunter2", "a host and a port"),
        ("redis://h:0", "from 1 to 65535"),
        ("redis://h:65536", "from 1 to 65535"),
        ("redis://h/hunter2", "number of the database"),
        ("redis://:hunter2/x@h", "%2F"),
        ("redis://:hunter2#x@h", "%23"),
        ("redis://:hunter2 x@h", "%20"),
        ("redis://:x?hunter2@h", "name and ca_file only"),
        ("redis://h?password=hunter2", "name and ca_file only"),
        ("redis://h?name=", "1 to 64 letters"),
        ("redis://h?name=a.b", "1 to 64 letters"),
        ("redis://h?ca_file=/x", "ca_file is for TLS"),
        ("nats://h/x", "it has a path"),
        ("amqp://h/a/b", "one virtual host"),
        ("kafka://h/topic", "it has a path"),
        ("kafka://h?mechanism=GSSAPI", "mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        ("amqp://h?mechanism=PLAIN", "name and ca_file only"),
        ("redis://" + ",".join("h" * 17), "more than 16 hosts"),
    ],
)
def test_a_wrong_address_is_refused_without_what_is_in_it(url, part):
    """The reason is a sentence, and no part of a password is in it."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse_broker_address(url)
    assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)


SECRETS = st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=6, max_size=20)


@given(st.sampled_from(sorted(SCHEMES)), SECRETS)
def test_nothing_shows_the_password(scheme, secret):
    """What is shown of an address has no credentials, and a text is rid of them, also where they are encoded."""
    quoted = quote(secret, safe="")
    found = parse_broker_address(f"{scheme}://me:{quoted}@broker.example:1")
    assert found.password == secret
    assert str(found) == f"{scheme}://broker.example:1"
    assert secret not in repr(found)
    hidden = found.hide(f"<{secret}> <{quoted}>")
    assert secret not in hidden
    assert quoted not in hidden
