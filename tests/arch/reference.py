"""What the reference pages must say, read from the program's own tables: the rows of their tables, word for word."""

from __future__ import annotations

import inspect
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


def write_postman() -> None:
    """Write the Postman collection of the documentation again: `make docs`."""
    import json

    from tests.arch.tree import ROOT

    from hookline.web.postman import postman

    text = json.dumps(postman(openapi_document()), indent=1, ensure_ascii=False)
    (ROOT / "docs" / "reference" / "hookline.postman_collection.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_postman()
