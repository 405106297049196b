"""`hookline sources`: where webhooks and messages come in. What is secret is read from files, and never printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from hookline.cli.arguments import Limit, pairs, path, read_bytes, read_json, read_object
from hookline.cli.client import Client
from hookline.cli.exits import usage
from hookline.cli.terminal import terminal

app = typer.Typer(
    name="sources",
    help="Where webhooks and messages come in: who sends, how he proves it, what becomes of it.",
    no_args_is_help=True,
)
MASK: Final = "***"
_READ: Final = ("type", "default_type", "id", "subject", "time", "split")
_NUMBERS: Final = frozenset({"tolerance_s", "leeway"})
SourceId = Annotated[str, typer.Argument(metavar="SOURCE", help="Its name, src_… or its uid.")]
QuarantinedIds = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="qrn_…")]
All = Annotated[bool, typer.Option("--all", help="All that are there.")]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Of the config of the verifier or the broker: a text, @FILE or - for stdin; KEY:=JSON for anything else; "
        "several of one KEY are a list. `hookline sources presets` shows the keys of verifiers.",
    ),
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The verifier's config, a JSON object as `hookline simulate` writes it; --set wins.",
    ),
]
Add = Annotated[
    list[str] | None,
    typer.Option(
        "--add", metavar="KEY=VALUE", help="One more secret beside those that are there, while it is rotated."
    ),
]
Uid = Annotated[str | None, typer.Option(help="Your own id for it, usable wherever its id is.")]
Token = Annotated[bool | None, typer.Option("--token/--no-token", help="An address that nobody can guess.")]
Methods = Annotated[list[str] | None, typer.Option("--method", help="That it takes; may be repeated.")]
ContentTypes = Annotated[
    list[str] | None, typer.Option("--content-type", help="As application/json or text/*; may be repeated.")
]
IpRanges = Annotated[list[str] | None, typer.Option("--ip-range", help="A network that may send; may be repeated.")]
Rate = Annotated[str | None, typer.Option(help='Requests to it, as {"n": 100, "per_s": 1, "burst": 200}.')]
AddressRate = Annotated[str | None, typer.Option(help="The same, for each client address by itself.")]
BodyBytesMax = Annotated[int | None, typer.Option(help="A larger body is refused.")]
ReadType = Annotated[
    str | None, typer.Option("--type", help="Where an event's type is read: header:x-event, body:type.")
]
DefaultType = Annotated[str | None, typer.Option(help="The type where none can be read.")]
ReadId = Annotated[str | None, typer.Option("--id", help="Where the provider's id is read: what makes a repeat.")]
ReadSubject = Annotated[str | None, typer.Option("--subject", help="Where the subject is read.")]
ReadTime = Annotated[str | None, typer.Option("--time", help="Where the time is read.")]
Split = Annotated[str | None, typer.Option(help="The path to an array whose items are events, as body:Records.")]
Headers = Annotated[
    list[str] | None, typer.Option("--keep-header", help="That events keep, as x-github-*; may be repeated.")
]
DedupeWindowS = Annotated[float | None, typer.Option(help="So long the provider's ids are known.")]
Spool = Annotated[
    bool | None,
    typer.Option("--spool/--no-spool", help="Kept on the disk of who took it while the store is away."),
]
Answer = Annotated[str | None, typer.Option(help='JSON or @FILE, as {"status": 202, "body": "{body:id}"}.')]
Schemas = Annotated[
    list[str] | None, typer.Option("--schema", metavar="TYPE=@FILE", help="JSON Schema of a type, order.* or *.")
]
OnInvalid = Annotated[str | None, typer.Option(help="What a schema does not allow: refuse, quarantine or accept.")]
Description = Annotated[str | None, typer.Option(help="For people.")]
Metadata = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Your own notes.")]
Spec = Annotated[str | None, typer.Option(help="Everything else: the API's JSON as text, @FILE or -; options win.")]


@app.command()
def ls(limit: Limit = 0) -> None:
    """List sources."""
    with Client() as client:
        columns = ("id", "name", "kind", "verifier", "enabled", "url", "description")
        client.show_list(path("sources"), {}, limit, columns, "No sources.")


@app.command()
def get(source: SourceId) -> None:
    """Show one source, its secrets masked."""
    with Client() as client:
        terminal.record(client.call("GET", path("sources", source)))


@app.command()
def presets() -> None:
    """List the providers that are known, and the keys of their config; a * marks what is secret."""
    with Client() as client:
        answer = client.call("GET", path("source-presets"))
    if terminal.json:
        terminal.document(answer)
        return
    rows = [
        {**preset, "config": [key["key"] + ("*" if key["secret"] else "") for key in preset["config"]]}
        for preset in answer["data"]
    ]
    terminal.table(("name", "title", "config"), rows, "No providers are known.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="In its address: /in/NAME.")],
    verifier: Annotated[
        str | None,
        typer.Option(help="A provider's name, none (anybody may send), or one's own scheme as JSON or @FILE."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="http (the default), or the broker it consumes from: redis, nats, rabbitmq, kafka, mqtt."),
    ] = None,
    config: Set = None,
    config_file: ConfigFile = None,
    uid: Uid = None,
    token: Token = None,
    methods: Methods = None,
    content_types: ContentTypes = None,
    ip_ranges: IpRanges = None,
    rate: Rate = None,
    address_rate: AddressRate = None,
    body_bytes_max: BodyBytesMax = None,
    type_: ReadType = None,
    default_type: DefaultType = None,
    id_: ReadId = None,
    subject: ReadSubject = None,
    time: ReadTime = None,
    split: Split = None,
    headers: Headers = None,
    dedupe_window_s: DedupeWindowS = None,
    spool: Spool = None,
    answer: Answer = None,
    schemas: Schemas = None,
    on_invalid: OnInvalid = None,
    description: Description = None,
    metadata: Metadata = None,
    spec: Spec = None,
) -> None:
    """Create a source, as `hookline sources create stripe --verifier stripe --set secret=@FILE`, or `hookline sources
    create orders --kind redis --set url=redis://redis.example.com --set stream=orders`."""
    document = _document(locals())
    with Client() as client:
        made = client.call("POST", path("sources"), document=document)
    _warn(made)
    sends = "the provider sends to" if made.get("kind", "http") == "http" else "it consumes from"
    terminal.done(made, f"{made['id']} created: {sends} {made['url']}")


@app.command()
def update(
    source: SourceId,
    verifier: Annotated[str | None, typer.Option(help="Another one, as in create.")] = None,
    config: Set = None,
    config_file: ConfigFile = None,
    added: Add = None,
    uid: Uid = None,
    token: Token = None,
    methods: Methods = None,
    content_types: ContentTypes = None,
    ip_ranges: IpRanges = None,
    rate: Rate = None,
    address_rate: AddressRate = None,
    body_bytes_max: BodyBytesMax = None,
    type_: ReadType = None,
    default_type: DefaultType = None,
    id_: ReadId = None,
    subject: ReadSubject = None,
    time: ReadTime = None,
    split: Split = None,
    headers: Headers = None,
    dedupe_window_s: DedupeWindowS = None,
    spool: Spool = None,
    answer: Answer = None,
    schemas: Schemas = None,
    on_invalid: OnInvalid = None,
    description: Description = None,
    metadata: Metadata = None,
    spec: Spec = None,
) -> None:
    """Change what is given; secrets that are not named stay. In --spec a null goes back to its default (RFC 7396)."""
    options = locals()
    del options["source"]
    document = _document(options)
    with Client() as client:
        changed = client.call("PATCH", path("sources", source), document=document)
    _warn(changed)
    terminal.done(changed, f"{changed['id']} changed")


@app.command()
def enable(source: SourceId) -> None:
    """Take its requests again."""
    with Client() as client:
        changed = client.call("PATCH", path("sources", source), document={"enabled": True})
    terminal.done(changed, f"{source} is enabled")


@app.command()
def disable(source: SourceId) -> None:
    """Take nothing more: its address is answered as if it was not there."""
    with Client() as client:
        changed = client.call("PATCH", path("sources", source), document={"enabled": False})
    terminal.done(changed, f"{source} is disabled")


@app.command()
def delete(source: SourceId) -> None:
    """Delete a source; its events stay."""
    with Client() as client:
        terminal.done(client.call("DELETE", path("sources", source)), f"{source} is deleted")


@app.command()
def rejections(source: SourceId, limit: Limit = 20) -> None:
    """Show what it refused of late, and why."""
    with Client() as client:
        columns = ("at", "status", "reason", "detail", "method", "target", "client", "size_bytes")
        client.show_list(path("sources", source, "rejections"), {}, limit, columns, "Nothing was refused of late.")


@app.command()
def quarantine(
    source: SourceId,
    quarantined_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One of them, with its payload.")] = None,
    limit: Limit = 0,
) -> None:
    """Show what its schema does not allow and waits for you: `release` or `drop` it."""
    with Client() as client:
        if quarantined_id is not None:
            terminal.record(client.call("GET", path("sources", source, "quarantine", quarantined_id)))
            return
        columns = ("id", "at", "type", "source_id", "data_bytes", "problem")
        client.show_list(
            path("sources", source, "quarantine"), {}, limit, columns, "Nothing is in quarantine.", _in_short
        )


@app.command()
def release(source: SourceId, quarantined: QuarantinedIds = None, everything: All = False) -> None:
    """Let requests out of quarantine: they become events as they are."""
    with Client() as client:
        released = [
            client.call("POST", path("sources", source, "quarantine", one, "release"))
            for one in _chosen(client, source, quarantined, everything)
        ]
    terminal.done({"data": released}, f"{_requests(len(released))} released")


@app.command()
def drop(source: SourceId, quarantined: QuarantinedIds = None, everything: All = False) -> None:
    """Throw requests in quarantine away, for ever."""
    with Client() as client:
        chosen = _chosen(client, source, quarantined, everything)
        for one in chosen:
            client.call("DELETE", path("sources", source, "quarantine", one))
    terminal.done({"dropped": chosen}, f"{_requests(len(chosen))} dropped")


def _in_short(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the quarantine with what is wrong as a sentence."""
    problem = row.get("problem") or {}
    at = f" (at {problem['pointer']})" if problem.get("pointer") else ""
    return {**row, "problem": f"{problem.get('detail', '')}{at}"}


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _chosen(client: Client, source: str, quarantined: Sequence[str] | None, everything: bool) -> list[str]:
    """The ids that are named, or all, the oldest first."""
    if bool(quarantined) == everything:
        raise usage("name the requests (qrn_…), or give --all")
    if quarantined:
        return list(quarantined)
    rows, _ = client.pages(path("sources", source, "quarantine"), {}, 0)
    return [row["id"] for row in reversed(rows)]


def _warn(source: dict[str, Any]) -> None:
    for warning in source.get("warnings") or ():
        terminal.note(f"warning: {warning}")


# --------------------------------------------------------------------------------------------------- documents


def _document(options: dict[str, Any]) -> dict[str, Any]:
    """What the API takes, of the options of `create` and `update`."""
    given = {name.rstrip("_"): value for name, value in options.items() if value is not None}
    spec = given.pop("spec", None)
    document = {} if spec is None else read_object(spec, "the spec")
    if "verifier" in given:
        given["verifier"] = _verifier(given["verifier"])
    config_file = given.pop("config_file", None)
    config = {} if config_file is None else read_object(f"@{config_file}", "the config")
    config.update(_config(given.pop("config", None) or ()))
    for key, values in _values(given.pop("added", None) or ()).items():
        config[key] = [*values, MASK]
    if config:
        given["config"] = {**document.get("config", {}), **config}
    reading = {name: given.pop(name) for name in _READ if name in given}
    if reading:
        given["reading"] = {**document.get("reading", {}), **reading}
    if "metadata" in given:
        given["metadata"] = pairs(given["metadata"], "=", "the metadata")
    if "schemas" in given:
        schemas = pairs(given["schemas"], "=", "the schema")
        given["schemas"] = {name: read_json(schema, f"the schema of {name}")[1] for name, schema in schemas.items()}
    for name in ("rate", "address_rate", "answer"):
        if name in given:
            given[name] = read_json(given[name], f"the {name}")[1]
    return {**document, **given}


def _verifier(text: str) -> Any:
    """A provider's name, or a scheme: an object as JSON, in a file or on stdin."""
    return read_object(text, "the verifier") if text[:1] in ("{", "@", "-") else text


def _config(items: Sequence[str]) -> dict[str, Any]:
    return {key: values[0] if len(values) == 1 else values for key, values in _values(items).items()}


def _values(items: Sequence[str]) -> dict[str, list[Any]]:
    """The values by key. What is wrong is said without the value, which may be a secret."""
    found: dict[str, list[Any]] = {}
    for place, item in enumerate(items, 1):
        key, separator, value = item.partition("=")
        as_json = key.endswith(":")
        key = key.removesuffix(":").strip()
        if not separator or not key.isidentifier():
            raise usage(f"setting {place} is not written as KEY=VALUE")
        found.setdefault(key, []).append(_value(key, value, as_json=as_json))
    return found


def _value(key: str, value: str, *, as_json: bool) -> Any:
    try:
        text = read_bytes(value).decode()
    except UnicodeDecodeError:
        raise usage(f"{key} is not text in UTF-8") from None
    text = text.strip()
    if not as_json and key not in _NUMBERS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise usage(f"{key} is not {'JSON' if as_json else 'a number of seconds'}") from None
