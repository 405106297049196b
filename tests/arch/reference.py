"""What the reference pages must say, read from the program's own tables: the rows of their tables, word for word."""

from __future__ import annotations

import inspect
import re
from typing import Any

from hookline.adapters.observers.prometheus import PrometheusObserver
from hookline.core.attempt import REASONS
from hookline.core.errors import STATUS_BY_CODE
from hookline.flow.report import OPERATIONAL
from hookline.settings import KNOBS, PREFIX, Settings, default, shown


def cell(text: str) -> str:
    """A text as it stands in a table of Markdown."""
    return text.replace("|", "\\|")


def setting_rows() -> list[str]:
    """Every setting: variable, default, unit, what is allowed, what it is for."""
    rows = []
    for name, knob in KNOBS.items():
        value = "" if default(name) in (None, (), "") else f"`{shown(Settings(), name)}`"
        form = cell(knob.form.allowed)
        rows.append(f"| `{PREFIX}{name.upper()}` | {value} | {form} | {knob.unit} | {cell(knob.help)} |")
    return rows


def error_starts() -> list[str]:
    """Every problem code with its status; what it means is written by hand behind it."""
    return [f"| `{code}` | {status} | " for code, status in STATUS_BY_CODE.items()]


def reason_rows() -> list[str]:
    """Every reason: code, cause, meaning, remedy."""
    return [f"| `{r.code}` | `{r.cause}` | {cell(r.means)} | {cell(r.remedy)} |" for r in REASONS.values()]


def operational_rows() -> list[str]:
    """Every operational event with its meaning."""
    return [f"| `{name}` | {cell(means)} |" for name, means in OPERATIONAL.items()]


def metric_rows() -> list[str]:
    """Every metric family of ours: name as scraped, type, meaning."""
    rows = []
    for family in PrometheusObserver().collect():
        name = {"counter": family.name + "_total", "info": family.name + "_info"}.get(family.type, family.name)
        rows.append(f"| `{name}` | {family.type} | {cell(family.documentation)} |")
    return rows


def command_sections() -> dict[str, list[str]]:
    """Every command (`hookline events ls`) with the lines that its section must have: its help, then its options."""
    import typer.main

    from hookline.cli.main import app

    sections: dict[str, list[str]] = {}
    todo = [("hookline", typer.main.get_command(app))]
    while todo:
        words, command = todo.pop(0)
        inner = getattr(command, "commands", None)
        if inner is not None:
            todo += [(f"{words} {name}", inner[name]) for name in inner]
        if inner is None or words == "hookline":
            sections[words] = [_sentence(command.help), *_parameter_rows(command)]
    return sections


def _parameter_rows(command: Any) -> list[str]:
    rows = []
    for parameter in command.params:
        if parameter.name in ("help", "install_completion", "show_completion"):
            continue
        is_option = parameter.param_type_name == "option"
        names = ", ".join(f"`{name}`" for name in parameter.opts) if is_option else f"`{parameter.name.upper()}`"
        rows.append(f"| {names} | {cell(_sentence(parameter.help))} |")
    return rows


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of this version."""
    from hookline.version import __version__
    from hookline.web.document import openapi

    return openapi(_application(), __version__)


def route_rows() -> list[str]:
    """Every operation of the OpenAPI document: method, path, what it does."""
    rows = []
    for path, item in openapi_document()["paths"].items():
        for method, operation in item.items():
            does = f"{operation['summary']}. {_sentence(operation.get('description'))}"
            rows.append(f"| `{method.upper()}` | `{path}` | {cell(does)} |")
    return rows


def routes() -> set[str]:
    """Every path that the application answers, also those that the OpenAPI document leaves out."""
    return {route.path for route in _application().routes}


def _application() -> Any:
    """The framework's application. Nothing is called, so nothing need be there behind it."""
    from hookline.web.app import build_app
    from hookline.web.auth import Authority

    nothing: dict[str, Any] = dict.fromkeys(inspect.signature(build_app).parameters)
    gate = build_app(**nothing | {"authority": Authority({})})
    return gate._app


KIT_MODULES = (
    "hookline.sdk",
    "hookline.sdk.flask",
    "hookline.sdk.django",
    "hookline.sdk.fastapi",
    "hookline.sdk.asgi",
    "hookline.sdk.wsgi",
    "hookline.sdk.aws_lambda",
    "hookline.sdk.google_cloud",
    "hookline.sdk.replay_guard",
    "hookline.sdk.inbox",
    "hookline.sdk.inbox_worker",
)
"""The modules of the receiver kit that an application imports from."""


def kit_sections() -> dict[str, list[str]]:
    """Every public module of the receiver kit with the rows of its names: how each is called, and what it is."""
    import importlib

    sections: dict[str, list[str]] = {}
    for module in KIT_MODULES:
        found = importlib.import_module(module)
        rows = []
        for name in sorted(found.__all__):
            public = getattr(found, name)
            if inspect.isclass(public):
                rows += _class_rows(name, public)
            elif callable(public):
                rows.append(_row(name + _call(public), public.__doc__))
            else:
                value = " ".join(f"`{key}`" for key in public) if isinstance(public, dict) else f"`{public!r}`"
                rows.append(f"| `{name}` | {value} |")
        sections[module] = rows
    return sections


def _class_rows(name: str, public: type) -> list[str]:
    is_made = not issubclass(public, BaseException) and not getattr(public, "_is_protocol", False)
    rows = [_row(name + (_call(public) if is_made else ""), public.__doc__)]
    rows += [_row(f"{name}.{field}", text) for field, text in _field_texts(public).items() if text]
    foreign = [base for base in public.__mro__[1:] if not base.__module__.startswith("hookline.")]
    for method, value in vars(public).items():
        if method.startswith("_") or any(hasattr(base, method) for base in foreign):
            continue
        function = getattr(value, "__func__", value)
        if inspect.isfunction(function):
            if not (function.__doc__ or "").startswith("See "):
                rows.append(_row(f"{name}.{method}{_call(function)}", function.__doc__))
        elif isinstance(value, property):
            rows.append(_row(f"{name}.{method}", value.__doc__))
    return rows


def _field_texts(public: type) -> dict[str, str | None]:
    """The fields of a dataclass with the text that stands behind each in the source."""
    import ast
    import dataclasses
    import textwrap

    if not dataclasses.is_dataclass(public):
        return {}
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(public))).body
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str | None] = {}
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = after.value if isinstance(after, ast.Expr) else None
            texts[node.target.id] = said.value if isinstance(said, ast.Constant) else ""
    return texts


def _call(function: Any) -> str:
    """Its parameters without their types, and without what is a method's own."""
    found = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in found.parameters.items()
        if name not in ("self", "cls")
    ]
    shown = re.sub(r"Host\(.*\)(?=\)$)", "PLAIN", str(inspect.Signature(parameters)))
    return re.sub(r"<built-in function ([a-z_.]+)>", r"\1", shown).replace("<factory>", "{}")


def _row(name: str, text: str | None) -> str:
    first = inspect.cleandoc(text or "").split("\n\n")[0]
    return f"| `{cell(name)}` | {cell(_sentence(first))} |"


def outcome_rows() -> list[str]:
    """Every kind of outcome of the receiver kit, with what it means."""
    from hookline.sdk.outcome import KINDS

    return [f"| `{kind}` | {cell(means)} |" for kind, means in KINDS.items()]


def kit_reasons() -> dict[str, str]:
    """Every reason of a `VerificationError` with the class that it is raised as."""
    from hookline.sdk.errors import _CLASS_BY_REASON

    return {reason: found.__name__ for reason, found in _CLASS_BY_REASON.items()}


def write_postman() -> None:
    """Write the Postman collection of the documentation again: `make docs`."""
    import json

    from tests.arch.tree import ROOT

    from hookline.web.postman import postman

    text = json.dumps(postman(openapi_document()), indent=1, ensure_ascii=False)
    (ROOT / "docs" / "reference" / "hookline.postman_collection.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_postman()
