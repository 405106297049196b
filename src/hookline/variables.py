"""How settings are written outside: what was meant by a name that is none, values of TOML, masked addresses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final

PREFIX: Final = "HOOKLINE_"
_OF_KUBERNETES: Final = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP).*)?$")


def toml_text(value: object) -> str | None:
    """A value of a TOML file as it would stand in a variable; None: it is of no kind that a setting has."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return None


def needs_postgres(values: Mapping[str, object]) -> str | None:
    """Why settings cannot be used on SQLite, which has one process; None: they can."""
    if values.get("role", "all") != "all":
        return "a role other than all needs PostgreSQL (HOOKLINE_DB): one process has a SQLite file alone"
    if values.get("processes", "1") != "1":
        return "HOOKLINE_PROCESSES needs PostgreSQL (HOOKLINE_DB): one process has a SQLite file alone"
    if "db_direct" in values:
        return "HOOKLINE_DB_DIRECT goes with a HOOKLINE_DB that names PostgreSQL"
    if "queue" in values:
        return "HOOKLINE_QUEUE needs PostgreSQL (HOOKLINE_DB): on SQLite there is no other process to tell"
    return None


def without_password(url: str) -> str:
    """An address without what it says of its user. One of a database or a broker may be mistaken in any way: there all
    before the last @ may be a password, and so may what stands behind the ?."""
    if url.startswith(("http", "sqlite:")):
        return re.sub(r"://[^/]*@", "://***@", url)
    url = re.sub(r"://.*@", "://***@", url, flags=re.DOTALL)
    return re.sub(r"((?:password|token|secret)[a-z_]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def meant(name: str, variable: str, known: Iterable[str]) -> str:
    """What was meant by the setting `name`, which is none; `variable` is '' in a file."""
    if _OF_KUBERNETES.search(variable):
        return of_kubernetes(variable)
    near = difflib.get_close_matches(name.lower(), list(known), 1, 0.6)
    if not near:
        return "; `hookline config show` lists all"
    return f"; did you mean {PREFIX + near[0].upper() if variable else near[0]}?"


def of_kubernetes(variable: str) -> str:
    """Where a variable comes from that nobody set."""
    return f" (Kubernetes sets {variable} for a Service of that name: put enableServiceLinks: false in the pod)"
