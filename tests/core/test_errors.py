"""Every error a client can cause has a stable code and a status."""

from __future__ import annotations

import ast
import json
from http import HTTPStatus
from pathlib import Path

import pytest

import hookline
from hookline.core.errors import STATUS_BY_CODE, Conflict, DataError, Refusal, StoreUnavailable

SOURCE = Path(hookline.__file__).parent
_POSITION = {"Refusal": 0}
_NAMED = {"Refusal", "StoreUnavailable", "Conflict"}


def codes_in_the_source() -> set[str]:
    """The literal codes with which our code raises errors."""
    codes: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in _NAMED:
                continue
            values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if node.func.id in _POSITION and node.args:
                values.append(node.args[0])
            codes |= {value.value for value in values if isinstance(value, ast.Constant)}
    return codes


def test_every_code_that_is_raised_is_known() -> None:
    """No module of ours raises a code that is not in the table."""
    raised = codes_in_the_source()
    assert "address_refused" in raised
    assert raised <= set(STATUS_BY_CODE)


def test_every_status_is_an_error() -> None:
    """Codes are lower-case words, and each has a client's or server's error status of HTTP."""
    for code, status in STATUS_BY_CODE.items():
        assert code.replace("_", "").isalpha()
        assert code == code.lower()
        assert HTTPStatus(status) >= 400


@pytest.mark.parametrize("code", STATUS_BY_CODE)
def test_a_refusal_becomes_a_problem_document(code: str) -> None:
    """The problem has the members of RFC 9457, our code, and can be written as JSON."""
    refusal = Refusal(code, "Not like this.", pointer="/a/b", extra={"expected": "x"}, retry_after_s=3)
    problem = json.loads(json.dumps(refusal.problem()))
    assert problem["code"] == code
    assert problem["status"] == refusal.status == STATUS_BY_CODE[code]
    assert problem["type"] == f"urn:hookline:problem:{code}"
    assert (problem["detail"], problem["pointer"], problem["expected"]) == ("Not like this.", "/a/b", "x")
    assert problem["title"][0].isupper()
    assert str(refusal) == "Not like this."


def test_a_problem_without_a_place_has_no_pointer() -> None:
    """Members that say nothing are left out; the pointer to the whole document is the empty one."""
    assert "pointer" not in Refusal("internal", "x").problem()
    assert Refusal("internal", "x", pointer="").problem()["pointer"] == ""


def test_errors_of_the_store_carry_codes_of_the_table() -> None:
    """The codes that the store's errors have by themselves are known."""
    assert StoreUnavailable("full").code in STATUS_BY_CODE
    assert STATUS_BY_CODE[StoreUnavailable("full").code] == 503
    assert Conflict("taken").code in STATUS_BY_CODE
    assert DataError("bad", item=3).item == 3
