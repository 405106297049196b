"""`schema=` of a receiver: JSON Schema 2020-12 by whichever validator is installed, or an application's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

MESSAGE_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a payload."""

    pointer: str | None
    """Where, as a JSON pointer into `data`; empty for the whole; None where it is not known."""
    message: str


Schema: TypeAlias = Mapping[str, Any] | bool | Callable[[Any], Any]
Check: TypeAlias = Callable[[Any], Fault | None]


def compile_schema(schema: Schema) -> Check:
    """What finds the first fault of a payload; None: it has none.

    A mapping (or True, False) is JSON Schema: it needs `jsonschema-rs`, or else `jsonschema`; references out of the
    schema are never followed. A function gets the payload; False and whatever it raises mean that it is not valid.
    Raises `ValueError` for a schema that is none, `ImportError` where it needs a package that is not installed.
    """
    if callable(schema):
        return _called(schema)
    try:
        import jsonschema_rs  # noqa: F401
    except ImportError:
        return _jsonschema(schema)
    return _jsonschema_rs(schema)


def _called(function: Callable[[Any], Any]) -> Check:
    def check(data: Any) -> Fault | None:
        try:
            found = function(data)
        except Exception as error:  # noqa: BLE001 - validators of all kinds: each has its own exceptions
            return Fault(None, _cut(f"{type(error).__name__}: {error}"))
        return Fault(None, "The payload is not valid.") if found is False else None

    return check


def _jsonschema_rs(schema: Any) -> Check:
    import jsonschema_rs

    try:
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True, offline=True)
    except jsonschema_rs.ValidationError as error:
        raise ValueError(f"The schema is none: {error.message}") from None

    def check(data: Any) -> Fault | None:
        try:
            validator.validate(data)
        except jsonschema_rs.ValidationError as error:
            return Fault(_pointer(error.instance_path), _cut(error.message))
        except ValueError:  # bytes
            return Fault("", "The payload is not JSON.")
        return None

    return check


def _jsonschema(schema: Any) -> Check:
    try:
        import jsonschema
        import referencing
    except ImportError:
        text = "schema= as JSON Schema needs the package jsonschema-rs or jsonschema; a function needs none."
        raise ImportError(text, name="jsonschema") from None
    kind = jsonschema.Draft202012Validator
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"The schema is none: {error.message}") from None
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER, registry=referencing.Registry())

    def check(data: Any) -> Fault | None:
        if isinstance(data, bytes):
            return Fault("", "The payload is not JSON.")
        error = next(validator.iter_errors(data), None)
        return None if error is None else Fault(_pointer(error.absolute_path), _cut(error.message))

    return check


def _pointer(path: Any) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARS_MAX else text[: MESSAGE_CHARS_MAX - 1] + "…"
