"""The command line: `hookline COMMAND`. One command, one file; heavy imports are inside the commands.

`--json`, `--server`, `--tenant` and `--debug` may stand anywhere before a `--`. Exit codes are in `cli.exits`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from hookline.cli import (
    backup,
    config,
    deliveries,
    demo,
    endpoints,
    event_types,
    events,
    keys,
    listen,
    migrate,
    openapi,
    replay,
    replays,
    restore,
    send,
    serve,
    sign,
    simulate,
    sink,
    sources,
    tail,
    tenants,
    verify,
    version,
)
from hookline.cli.exits import CommandError, ExitCode, usage
from hookline.cli.groups import Group
from hookline.cli.terminal import ReaderGone, json_text, printable, terminal

EPILOG: Final = (
    "Exit codes: 0 done; 1 refused, not found or not valid; 2 wrong command line or setting; 3 no answer from the "
    "server; 4 another key is wanted; 5 the server cannot do it now; 130 interrupted."
)
EVERYWHERE: Final = "Everywhere: --json, --server URL, --tenant NAME, --debug."
_FLAGS: Final = ("--json", "--debug")
_WITH_VALUE: Final = ("--server", "--tenant")

app = typer.Typer(
    name="hookline",
    help="Webhooks for event-driven systems: accepted, signed, delivered, retried, recorded, never silently lost.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def everywhere(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The server (default: HOOKLINE_URL, or http://127.0.0.1:8400).")
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Act for this tenant (operator's key).")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """These options may stand anywhere on the line."""
    if tenant is not None:
        from hookline.core.tenant import TENANT_RULE, is_tenant

        if not is_tenant(tenant):
            raise usage(f"--tenant {tenant!a} can be no tenant: it is {TENANT_RULE}")
    terminal.json = as_json
    terminal.server = server
    terminal.tenant = tenant
    terminal.debug = debug


for _command in (
    serve, demo, send, simulate, tail, listen, sink, replay, sign, verify, backup, restore, openapi, version,
):  # fmt: skip
    _command.add_to(app)
for _group in (events, deliveries, replays, endpoints, event_types, sources, tenants, keys, config, migrate):
    app.add_typer(_group.app, cls=Group)
    for _info in _group.app.registered_commands:
        _info.epilog = EVERYWHERE
for _info in app.registered_commands:
    _info.epilog = EVERYWHERE


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. Errors are one line on stderr, with `--debug` also their traceback."""
    terminal.reset()
    line = to_the_front(arguments)
    terminal.json, terminal.debug = "--json" in line[: len(_FLAGS)], "--debug" in line[: len(_FLAGS)]
    try:
        result = app(args=line, prog_name="hookline", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else ExitCode.OK
    except CommandError as error:
        return _failed(error.line, error.code, error.problem)
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage: "):  # a group without a command: the message is its help
            print(message, file=sys.stderr)
            return ExitCode.USAGE
        return _failed(message, ExitCode.USAGE)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except ReaderGone:
        sys.stdout = None  # what is buffered has no reader, and must not be tried again at exit
        return ExitCode.OK
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the last line of defence: a person gets a sentence)
        return _failed(f"{type(error).__name__}: {error} (a bug in Hookline? --debug shows where)", ExitCode.REFUSED)


def to_the_front(arguments: Sequence[str]) -> list[str]:
    """The line with the options that may stand anywhere moved before the command."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in _FLAGS:
            front.insert(0, word)
        elif word in _WITH_VALUE:
            front += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith(tuple(f"{option}=" for option in _WITH_VALUE)):
            front.append(word)
        else:
            rest.append(word)
    return front + rest


def _failed(line: str, code: ExitCode, problem: object = None) -> int:
    if terminal.debug:
        import traceback

        traceback.print_exc()
    if terminal.json:
        print(json_text({"error": line, "exit_code": int(code), "problem": problem}), file=sys.stderr)
    else:
        print(f"hookline: {printable(' '.join(line.split()))}", file=sys.stderr)
    return code
