"""The table of settings, where their values come from, and the one line that refuses a bad one."""

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline import key_files
from hookline.forms import parse_db, parse_secret_keys, processes_of
from hookline.key_files import operator_key, secret_keys
from hookline.settings import KNOBS, Settings, SettingsError, load_settings, shown

KEY_A = base64.b64encode(bytes(range(32))).decode()
KEY_B = base64.urlsafe_b64encode(bytes([255] * 32)).decode()


def load(tmp_path: Path, env: dict[str, str] | None = None, toml: str | None = None, **overrides: str) -> Settings:
    """The settings that these sources give, and no others."""
    if toml is not None:
        (tmp_path / "hookline.toml").write_text(toml)
    return load_settings(env or {}, overrides, tmp_path)


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return [path.name for path in folder.iterdir()]


def test_defaults_are_what_the_design_promises(tmp_path: Path) -> None:
    """Without environment and file everything has the documented default."""
    settings = load(tmp_path)
    assert (settings.host, settings.port, settings.db) == ("127.0.0.1", 8400, "sqlite:///hookline.db")
    assert (settings.queue, settings.cache, settings.key, settings.secret_key) == ("", "", None, ())
    assert (settings.allow_networks, settings.https_only, settings.ca_file) == ((), False, None)
    assert (settings.log_level, settings.log_format, settings.event_types) == ("info", "auto", "open")
    assert (settings.dedupe_h, settings.concurrency, settings.host_concurrency) == (24, 2048, 64)
    assert (settings.handoff_max, settings.open_max, settings.disk_free_min_mib) == (4096, 1_000_000, 512)
    assert (settings.grace_s, settings.drain_s, settings.migrate) == (65, 0, "auto")
    assert (settings.key_path, settings.secret_key_path) == (Path("hookline.key"), Path("hookline.secret"))


def test_every_field_is_a_knob_with_help_and_a_usable_default(tmp_path: Path) -> None:
    """Each setting says what it is for and what is allowed, and its default, written out, is allowed."""
    defaults = load(tmp_path)
    for name, knob in KNOBS.items():
        assert knob.help, name
        assert knob.form.allowed, name
        text = shown(defaults, name)
        if text:
            assert knob.form.parse(text) == getattr(defaults, name), name


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("HOST", "::1", "::1"),
        ("PORT", " 0 ", 0),
        ("DB", "sqlite:////var/lib/h.db", "sqlite:////var/lib/h.db"),
        ("KEY", "a key with spaces", "a key with spaces"),
        ("KEY_FILE", "/run/key", Path("/run/key")),
        ("SECRET_KEY", f"{KEY_A},\n{KEY_B}", (bytes(range(32)), bytes([255] * 32))),
        ("ALLOW_NETWORKS", "127.0.0.0/8,::1/128", ("127.0.0.0/8", "::1/128")),
        ("ALLOW_NETWORKS", "10.0.0.1", ("10.0.0.1/32",)),
        ("HTTPS_ONLY", "Yes", True),
        ("EVENT_TYPES", "STRICT", "strict"),
        ("DEDUPE_H", "0.5", 0.5),
        ("GRACE_S", "65", 65.0),
        ("LOG_FORMAT", "json", "json"),
        ("QUEUE", "", ""),
        ("CACHE", "Memory", "memory"),
        ("CACHE", "rediss://me:secret@h:6380/1", "rediss://me:secret@h:6380/1"),
        ("CACHE", "memcached://h:1,i:2", "memcached://h:1,i:2"),
    ],
)
def test_a_value_is_read_in_its_form(tmp_path: Path, variable: str, text: str, expected: object) -> None:
    """What the environment says is parsed into the type that the program uses."""
    assert getattr(load(tmp_path, {f"HOOKLINE_{variable}": text}), variable.lower()) == expected


@pytest.mark.parametrize(
    ("variable", "text", "part"),
    [
        ("PORT", "65536", "HOOKLINE_PORT='65536' cannot be used; allowed: a whole number from 0 to 65535"),
        ("PORT", "٣", "a whole number"),
        ("PORT", "tcp://10.0.0.1:8400", "enableServiceLinks: false"),
        ("HOST", "a b", "an address"),
        ("DB", "postgresql://me:hunter2@h", "'postgresql://***@h' cannot be used (it names no database"),
        ("DB", "postgresql://me:hunter2@h:x/d", "'postgresql://***@h:x/d' cannot be used"),
        ("DB_DIRECT", "postgresql://me:hunter2@h/d", "goes with a HOOKLINE_DB that names PostgreSQL"),
        ("DB_DIRECT", "mysql://me:hunter2@h/d", "'mysql://***@h/d' cannot be used"),
        ("INSTANCE", "a b", "letters, digits"),
        ("ROLE", "worker", "needs PostgreSQL"),
        ("PROCESSES", "2", "HOOKLINE_PROCESSES needs PostgreSQL (HOOKLINE_DB): one process has a SQLite file alone"),
        ("PROCESSES", "auto", "needs PostgreSQL"),
        ("PROCESSES", "0", "a whole number from 1 to 64, auto, or auto:N"),
        ("PROCESSES", "auto:1", "auto:N"),
        ("PROCESSES", "auto:", "auto:N"),
        ("DB", "sqlite:///:memory:", "not durable"),
        ("DB", "sqlite://x.db", "sqlite:/// and a path"),
        ("CACHE", "http://h", "memory, redis://"),
        ("CACHE", "redis://me:hunter2@h:x", "'redis://***@h:x' cannot be used"),
        ("CACHE", "redis://me:hunter2@h,i", "only memcached can"),
        ("CACHE", "redis://h?password=hunter2", "it has a query"),
        ("CACHE", "redis://", "it names no server"),
        ("CACHE", "memcached://me@h", "memcached://host:port is expected"),
        ("QUEUE", "redis://h", "HOOKLINE_QUEUE needs PostgreSQL"),
        ("QUEUE", "mqtt://h", "no broker is known for mqtt://"),
        ("QUEUE", "h:6379", "it is no address of a broker"),
        ("QUEUE", "redis://:hunter2@h:x", "'redis://***@h:x' cannot be used (a host and a port"),
        ("QUEUE", "redis://:hun/hunter2@h", "'redis://***@h' cannot be used (a / in a password is written as %2F)"),
        ("QUEUE", "redis://h?password=hunter2", "name and ca_file only"),
        ("KEY", "short", "HOOKLINE_KEY='***' cannot be used; allowed: 8 to 256 printable ASCII"),
        ("KEY", "ключключ", "'***'"),
        ("SECRET_KEY", "c2hvcnQ=", "'***' cannot be used (key number 1 has 5 bytes)"),
        ("ALLOW_NETWORKS", "10.0.0.1/8", "host bits"),
        ("HTTPS_ONLY", "maybe", "true or false"),
        ("EVENT_TYPES", "closed", "open or strict"),
        ("DEDUPE_H", "nan", "a number"),
        ("GRACE_S", "64", "from 65"),
        ("CA_FILE", "/nonexistent.pem", "no such file"),
        ("CONFIG", "/nonexistent.toml", "no such file"),
        ("PROT", "1", "HOOKLINE_PROT is not a setting of Hookline; did you mean HOOKLINE_PORT?"),
        ("Port", "1", "did you mean HOOKLINE_PORT?"),
        ("TLS_CERT_FILE", "/nonexistent.pem", "no such file"),
        ("TLS_CERT_FILE", __file__, "HOOKLINE_TLS_KEY_FILE are set both or neither"),
        ("TLS_KEY_FILE", __file__, "HOOKLINE_TLS_KEY_FILE are set both or neither"),
        ("PUBLIC_URL", "hooks.example.com", "https://host or http://host:port"),
        ("PUBLIC_URL", "https://hööks.example.com", "https://host or http://host:port"),
        ("PUBLIC_URL", "https://hooks.example.com/?a=b", "it has a query"),
        ("ADMIN_URL", "ftp://example.com", "an http or https URL"),
        ("ADDRESS_RATE", "100", "a slash and seconds"),
        ("RETENTION_D", "0", "a number from 1e-05"),
        ("SERVICE_HOST", "10.0.0.1", "enableServiceLinks"),
    ],
)
def test_a_bad_variable_is_refused_in_one_line(tmp_path: Path, variable: str, text: str, part: str) -> None:
    """A value or name that cannot be used is one precise line, without the secret in it."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {f"HOOKLINE_{variable}": text})
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "cores", "bounds"),
    [
        ("1", 8, (1, 1)),
        ("4", 2, (4, 4)),
        ("auto", 8, (1, 8)),
        ("AUTO", 1, (1, 2)),
        ("auto", 500, (1, 64)),
        ("auto:6", 2, (1, 6)),
    ],
)
def test_how_many_processes_that_is(tmp_path: Path, text: str, cores: int, bounds: tuple[int, int]) -> None:
    """A number is as many; auto is bounded by the cores, or as it says."""
    settings = load(tmp_path, {"HOOKLINE_PROCESSES": text, "HOOKLINE_DB": "postgresql://h/d"})
    assert processes_of(settings.processes, cores) == bounds


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ("prot = 1", "'prot' is not a setting of Hookline; did you mean port?"),
        ("HOST = 'x'", "did you mean host?"),
        ("config = 'x'", "'config' is not a setting"),
        ("port = 1.5", "port='1.5' cannot be used"),
        ("host = {}", "host is a dict"),
        ("allow_networks = [1]", "allow_networks is a list"),
        ("port = ", "is not TOML"),
        ("key = 'short'", "key='***' cannot be used"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, toml: str, part: str) -> None:
    """The file is judged like the environment, and the line names it."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, toml=toml)
    assert part in str(caught.value)
    assert "hookline.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_says_all_that_the_environment_can(tmp_path: Path) -> None:
    """Every setting but the file's own name is also a key of the file, and lists may be lists there."""
    settings = load(tmp_path, toml="port = 1\nhttps_only = true\ndedupe_h = 2\nallow_networks = ['10.0.0.0/8', '::1']")
    assert (settings.port, settings.https_only, settings.dedupe_h) == (1, True, 2.0)
    assert settings.allow_networks == ("10.0.0.0/8", "::1/128")
    assert set(settings.origin) == {"port", "https_only", "dedupe_h", "allow_networks"}


def test_command_line_over_environment_over_file(tmp_path: Path) -> None:
    """The nearest word wins, and an empty one counts as not said."""
    toml = "host = 'a'\nport = 1\nlog_level = 'debug'\nkey = 'key of the file'"
    env = {"HOOKLINE_HOST": "b", "HOOKLINE_PORT": "2", "HOOKLINE_LOG_LEVEL": " ", "HOOKLINE_KEY_FILE": "k"}
    settings = load(tmp_path, env, toml, host="c")
    assert (settings.host, settings.port, settings.log_level) == ("c", 2, "debug")
    assert settings.key is None
    assert settings.origin["host"] == "command line"
    assert settings.origin["port"] == "HOOKLINE_PORT"


def test_the_file_may_be_named(tmp_path: Path) -> None:
    """HOOKLINE_CONFIG names the file that is read instead."""
    (tmp_path / "other.toml").write_text("port = 7")
    assert load(tmp_path, {"HOOKLINE_CONFIG": str(tmp_path / "other.toml")}, "port = 1").port == 7


def test_what_clients_and_tests_say_is_no_setting(tmp_path: Path) -> None:
    """HOOKLINE_URL and HOOKLINE_TESTING do not hinder a start."""
    assert load(tmp_path, {"HOOKLINE_URL": "http://x", "HOOKLINE_TESTING": "1"}) == Settings()


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    """Neither the representation nor the shown values contain a key."""
    settings = load(tmp_path, {"HOOKLINE_KEY": "canary-canary", "HOOKLINE_SECRET_KEY": KEY_A})
    text = repr(settings) + "".join(shown(settings, name) for name in KNOBS)
    assert "canary" not in text
    assert KEY_A not in text
    assert "'***'" in text


def test_the_operators_key_is_created_once_with_mode_0600(tmp_path: Path) -> None:
    """The first start writes a key beside the database that only its owner can read; the next ones read it."""
    settings = load(tmp_path, {"HOOKLINE_DB": f"sqlite:///{tmp_path}/h.db"})
    key, created = operator_key(settings)
    assert created
    assert len(key) > 40
    assert operator_key(settings) == (key, False)
    assert stat.S_IMODE((tmp_path / "hookline.key").stat().st_mode) == 0o600
    assert names(tmp_path) == ["hookline.key"]


def test_a_given_key_needs_no_file(tmp_path: Path) -> None:
    """HOOKLINE_KEY is used as it is and nothing is written."""
    settings = load(tmp_path, {"HOOKLINE_DB": f"sqlite:///{tmp_path}/h.db", "HOOKLINE_KEY": "my own key"})
    assert operator_key(settings) == ("my own key", False)
    assert names(tmp_path) == []


def test_the_secret_key_is_created_and_read_back(tmp_path: Path) -> None:
    """A new installation gets a random 32-byte key; a rotated file seals with its first line."""
    settings = load(tmp_path, {"HOOKLINE_DB": f"sqlite:///{tmp_path}/h.db"})
    (key,) = secret_keys(settings)
    assert len(key) == 32
    assert secret_keys(settings, create=False) == (key,)
    (tmp_path / "hookline.secret").write_text(f"{KEY_A}\n{base64.b64encode(key).decode()}\n")
    assert secret_keys(settings) == (bytes(range(32)), key)


def test_a_lost_secret_key_is_not_replaced(tmp_path: Path) -> None:
    """Where something is sealed already, a missing key is an error and not a new key."""
    settings = load(tmp_path, {"HOOKLINE_SECRET_KEY_FILE": str(tmp_path / "s")})
    with pytest.raises(SettingsError, match="is missing"):
        secret_keys(settings, create=False)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "no key in it"), (b"\xff\xfe", "plain ASCII"), (b"!!!", "not base64"), (b"YQ==", "1 byte")],
)
def test_an_unusable_secret_file_is_one_line(tmp_path: Path, content: bytes, part: str) -> None:
    """A damaged key file is refused with its path, never overwritten."""
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SettingsError, match=part) as caught:
        secret_keys(load(tmp_path, {"HOOKLINE_SECRET_KEY_FILE": str(tmp_path / "s")}))
    assert str(tmp_path / "s") in str(caught.value)
    assert (tmp_path / "s").read_bytes() == content


@pytest.mark.parametrize("where", ["missing/hookline.key", "."])
def test_an_unreachable_key_file_is_one_line(tmp_path: Path, where: str) -> None:
    """A folder that is not there, or a folder where the file should be, is a SettingsError."""
    with pytest.raises(SettingsError, match="cannot be used"):
        operator_key(load(tmp_path, {"HOOKLINE_KEY_FILE": str(tmp_path / where)}))


def test_two_processes_that_create_a_key_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second to create the file reads what the first wrote."""
    settings = load(tmp_path, {"HOOKLINE_KEY_FILE": str(tmp_path / "k")})
    write_new = key_files._write_new

    def beaten(path: Path, text: str) -> bool:
        write_new(path, "the first one's key")
        return write_new(path, text)

    monkeypatch.setattr(key_files, "_write_new", beaten)
    assert operator_key(settings) == ("the first one's key", False)
    assert names(tmp_path) == ["k"]


@given(st.text())
def test_any_text_is_a_path_or_a_reason(text: str) -> None:
    """parse_db returns a path or raises ValueError, whatever it is given."""
    try:
        path = parse_db(f"sqlite:///{text}")
    except ValueError:
        assert (
            not text.isprintable()
            or set("?#") & set(text)
            or text.startswith("file:")
            or text.endswith("/")
            or text in ("", ":memory:")
        )
    else:
        assert path == text


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4))
def test_secret_keys_survive_being_written(keys: list[bytes]) -> None:
    """What is written as base64 with commas is read back in order."""
    assert parse_secret_keys(",".join(base64.b64encode(key).decode() for key in keys)) == tuple(keys)
