"""Names and words: what the house calls things, and what every test says of itself."""

from __future__ import annotations

import ast
import re

from tests.arch.tree import ROOT, SOURCE, functions, project_files, python_files, tree_of

NO_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base", "models"})
NOT_DONE = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE = re.compile(rb"(?<![\w.])/(?:wor" + rb"k|far" + rb"m|root)/|/tm" + rb"p/brief")
TEXT = (".py", ".md", ".toml", ".sql", ".sh", ".c", ".yml", ".yaml", ".html", ".js", ".css", "")


def is_test(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether pytest takes it for a test."""
    return node.name.startswith("test_")


def test_no_module_is_a_heap():
    """No module or folder of the program has a name under which anything could stand."""
    found = [path for path in SOURCE.rglob("*") if path.stem in NO_NAMES and path.suffix in ("", ".py")]
    assert found == []


def test_every_test_says_in_one_sentence_what_holds():
    """Every test's docstring is one sentence."""
    wrong = []
    for path in python_files("tests"):
        for node in functions(tree_of(path)):
            if not is_test(node):
                continue
            text = " ".join((ast.get_docstring(node) or "").split())
            ends = re.findall(r"[.!?](?=\s+[A-Z]|$)", text)
            if len(ends) != 1 or not text.endswith((".", "!", "?")):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert wrong == []


def test_every_module_says_what_it_is_for():
    """Every module of the program and of the tests begins with a docstring; an empty package need not."""
    files = [path for path in python_files("src", "tests", "bench", "examples") if path.stat().st_size]
    silent = [str(path.relative_to(ROOT)) for path in files if not ast.get_docstring(tree_of(path))]
    assert silent == []


def test_tests_do_not_share_names():
    """Within one module no test hides another of the same name."""
    hidden = []
    for path in python_files("tests"):
        scopes = [tree_of(path), *(node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef))]
        for scope in scopes:
            names = [n.name for n in scope.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and is_test(n)]
            hidden += [f"{path.name}: {name}" for name in set(names) if names.count(name) > 1]
    assert hidden == []


def test_no_file_knows_the_machine_it_was_written_on():
    """No path of a developer's machine stands in the project."""
    found = [str(path.relative_to(ROOT)) for path in project_files() if MACHINE.search(path.read_bytes())]
    assert found == []


def test_nothing_is_left_for_later():
    """No file has a note that something in it is not finished."""
    found = []
    for path in project_files():
        if path.suffix in TEXT and NOT_DONE.search(path.read_text(encoding="utf-8", errors="replace")):
            found.append(str(path.relative_to(ROOT)))
    assert found == []
