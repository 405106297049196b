"""Each rule of docs/reliability.md that holds now has tests that are marked with its number."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.arch.tree import ROOT, functions, python_files, tree_of

RULE = re.compile(r"^([0-9]+)\. .*?\*\*Status:\*\*(.*?)(?=^[0-9]+\. |^#|\Z)", re.MULTILINE | re.DOTALL)


def statuses() -> dict[int, str]:
    """Number → what its line Status says."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    return {int(number): status for number, status in RULE.findall(text)}


def marks(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[int]:
    """The numbers n of each `@pytest.mark.rule(n=…)` of a test, or of a class with tests."""
    found = set()
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.rule":
            assert [keyword.arg for keyword in decorator.keywords] == ["n"], f"{node.name}: rule(n=…)"
            found.add(int(ast.unparse(decorator.keywords[0].value)))
    return found


def marked() -> Iterator[tuple[str, set[int]]]:
    """Every marked test, by name, with its numbers."""
    for path in python_files("tests", "src/hookline/testing"):
        tree = tree_of(path)
        tests = [function for function in functions(tree) if function.name.startswith("test_")]
        for test in tests:
            yield test.name, marks(test)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(test in node.body for test in tests):
                yield node.name, marks(node)


def test_every_rule_that_holds_has_a_test():
    """The rules whose Status says that they hold now are exactly those that tests are marked with."""
    now = {number for number, status in statuses().items() if re.search(r"\b(now|holds)\b", status)}
    tested = set().union(*(numbers for _, numbers in marked()))
    assert len(statuses()) == 30
    assert sorted(now - tested) == []
    assert sorted(tested - now) == []


def test_a_test_named_after_a_rule_is_marked_with_it():
    """`test_rule_12_…` carries the mark of rule 12."""
    named = [(name, match[1]) for name, _ in marked() if (match := re.match(r"test_rule_([0-9]+)_", name))]
    by_name = dict(marked())
    assert named
    assert [name for name, number in named if int(number) not in by_name[name]] == []
