"""The receiver kit needs the standard library alone: here it runs where nothing else is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.arch.tree import SOURCE, imports, module_name, python_files
from tests.sdk.signed import ED_PUBLIC, ED_SECRET, OTHER, SECRET, sent

BEGIN = f"""
import sys
sys.path.insert(0, {str(SOURCE.parent)!r})
for package in ("cryptography", "msgspec", "fastapi", "flask", "django", "defusedxml", "jsonschema_rs"):
    try:
        __import__(package)
    except ImportError:
        continue
    raise SystemExit(package + " is there")
"""
FRAMEWORKS = {"fastapi": "fastapi", "flask": "flask", "django": "asgiref"}
"""Module of the kit → the package that it asks for first."""


def alone(code: str) -> str:
    """What a program prints in an interpreter that has no packages."""
    command = [sys.executable, "-I", "-S", "-c", BEGIN + code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_verifying_needs_no_package():
    """`verify`, every class of receiver without a framework, the guard in memory and the inbox work."""
    request = sent(headers={"hookline-attempt": "2"})
    code = f"""
import asyncio, hookline.sdk as sdk
from hookline.sdk import asgi, aws_lambda, google_cloud, wsgi, replay_guard, inbox
headers, body = {request.headers!r}, {request.body!r}
event = sdk.verify(body, headers, [{OTHER!r}, {SECRET!r}])
print(event.id, event.attempt, event.data["order_id"])
receiver = sdk.Receiver({SECRET!r}, replay_guard=replay_guard.MemoryReplayGuard(), schema=lambda data: data)
for _ in range(2):
    print(receiver.respond("POST", "https://h.example/", headers, body, lambda event: None).body.decode())
print(asyncio.run(receiver.respond_async("POST", "https://h.example/", {{}}, body, lambda event: None)).status)
try:
    sdk.verify(body, headers, {OTHER!r})
except sdk.SignatureMismatch as error:
    print(error.reason)
"""
    lines = alone(code).splitlines()
    assert lines[0] == "msg_1 2 A-1"
    assert '"received"' in lines[1]
    assert '"handled before"' in lines[2]
    assert lines[3:] == ["401", "no_matching_signature"]


def test_what_needs_a_package_says_so():
    """Ed25519, JSON Schema and a framework's module name what is missing; XML is its bytes."""
    request, xml = sent(secret=ED_SECRET), sent(body=b"<a/>", content_type="text/xml")
    code = f"""
import hookline.sdk as sdk
try:
    sdk.verify({request.body!r}, {request.headers!r}, {ED_PUBLIC!r})
except sdk.Unverifiable as error:
    print(error.reason)
try:
    sdk.Receiver({SECRET!r}, schema={{"type": "object"}})
except ImportError as error:
    print(error.name)
print(sdk.verify({xml.body!r}, {xml.headers!r}, {SECRET!r}).data)
for name in {list(FRAMEWORKS)!r}:
    try:
        __import__("hookline.sdk." + name)
    except ImportError as error:
        print(error.name)
"""
    assert alone(code).split() == ["unsupported_key", "jsonschema", "b'<a/>'", *FRAMEWORKS.values()]


@pytest.mark.parametrize("name", ["stripe", "github", "slack", "shopify", "standard_webhooks", "twilio", "mailgun"])
def test_presets_of_shared_secrets_need_no_package(name: str):
    """A provider that signs by HMAC is verified; an unsigned request is refused for what it lacks."""
    code = f"""
import hookline.sdk as sdk
secret = {{"auth_token": "x"}} if {name!r} == "twilio" else {{"secret": {SECRET!r}}}
try:
    sdk.Verifier({name!r}, **secret).verify(b"{{}}", {{"content-type": "application/json"}})
except sdk.VerificationError as error:
    print(error.reason)
"""
    assert alone(code).strip() in ("missing_signature", "missing_header", "malformed_body")


def test_the_kit_loads_little():
    """Importing it loads no event loop, no HTTP client and no TLS, so that a cold function starts soon."""
    code = """
import hookline.sdk
print([name for name in ("asyncio", "http.client", "urllib.request", "ssl", "sqlite3", "email") if name in sys.modules])
"""
    assert alone(code).strip() == "[]"


def test_a_framework_is_known_to_its_own_module():
    """The kit imports the core and the standard library; a framework stands in the module named after it."""
    wrong = []
    own = {f"hookline.sdk.{name}": package for name, package in FRAMEWORKS.items()}
    for path in python_files("src/hookline/sdk"):
        module = module_name(path)
        for name in imports(path):
            root = name.split(".")[0]
            inside = name.startswith(("hookline.core", "hookline.sdk")) or root in sys.stdlib_module_names
            if inside or name == "hookline" or module in own or module == "hookline.sdk.schema":
                continue
            wrong.append((module, name))
    assert wrong == []
