"""Sizes: what does not fit a page is not read."""

from __future__ import annotations

from tests.arch.tree import ROOT, functions, python_files, tree_of

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FOLDERS = ("src", "bench", "examples")


def test_files_are_short():
    """No file of the program, the bench or the examples has more than 400 lines."""
    files = python_files(*FOLDERS)
    assert len(files) > 50
    counted = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in counted.items() if lines > FILE_LINES_MAX} == {}


def test_functions_are_short():
    """No function has more than 70 lines."""
    long = {}
    for path in python_files(*FOLDERS):
        for node in functions(tree_of(path)):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert long == {}
