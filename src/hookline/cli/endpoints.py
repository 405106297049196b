"""`hookline endpoints`: subscribers."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer

from hookline.cli.arguments import Limit, pairs, path, read_bytes, read_json, read_object
from hookline.cli.attempt_report import show_attempt
from hookline.cli.client import Client
from hookline.cli.exits import ExitCode
from hookline.cli.terminal import terminal

app = typer.Typer(name="endpoints", help="Subscribers: where to deliver, what, and how.", no_args_is_help=True)
ATTEMPT_S_MAX: Final = 90.0
"""An attempt may take a minute."""
NOT_VERIFIED: Final = "Not verified:"
EndpointId = Annotated[str, typer.Argument(metavar="ID", help="ep_… or its uid.")]

EventTypes = Annotated[
    list[str] | None, typer.Option("--event-type", "-t", help="A pattern, as order.*; may be repeated. Default: all.")
]
Filter = Annotated[str | None, typer.Option("--filter", help='JSON or @FILE, as {"data.total": {"$gt": 100}}.')]
Format = Annotated[str | None, typer.Option("--format", help="standard, raw, cloudevents or cloudevents-binary.")]
Header = Annotated[list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="Sent along.")]
Retry = Annotated[str | None, typer.Option(help='JSON or @FILE, as {"schedule_s": [5, 300]}.')]
Rate = Annotated[str | None, typer.Option(help='JSON, as {"n": 10, "per_s": 1}.')]
Order = Annotated[str | None, typer.Option(help="key: events with the same ordering_key one after the other.")]
Secret = Annotated[str | None, typer.Option(help="whsec_… or whsk_…, or @FILE; made when absent.")]
TimeoutS = Annotated[float | None, typer.Option(help="Seconds for one attempt, 1 to 60.")]
Concurrency = Annotated[int | None, typer.Option("--concurrency-max", help="Attempts at the same time.")]
Metadata = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Your own notes.")]
Spec = Annotated[str | None, typer.Option(help="Everything else: the API's JSON as text, @FILE or -; options win.")]
Uid = Annotated[str | None, typer.Option(help="Your own id for it, usable wherever its id is.")]
Method = Annotated[str | None, typer.Option(help="POST, PUT, PATCH or DELETE.")]
Verify = Annotated[
    str | None, typer.Option(help="none, test, challenge or cloudevents: how it says that it wants to be one.")
]
ConfirmWithinS = Annotated[
    float | None, typer.Option(help="Delivered only when its receiver confirms it, within so many seconds.")
]
DeadLetter = Annotated[str | None, typer.Option(help="The endpoint (id or uid) that gets what fails here.")]
Description = Annotated[str | None, typer.Option(help="For people.")]
Kind = Annotated[
    str | None, typer.Option(help="http, redis, rabbitmq, nats, kafka or mqtt; without it the URL's scheme says so.")
]
Config = Annotated[
    str | None, typer.Option(help='JSON or @FILE, what its kind needs besides the URL, as {"topic": "orders"}.')
]
Auth = Annotated[
    str | None,
    typer.Option(help='JSON or @FILE, as {"kind": "basic", "username": "…", "password": "…"}; kept encrypted.'),
]


@app.command()
def ls(limit: Limit = 0) -> None:
    """List endpoints."""
    with Client() as client:
        columns = ("id", "uid", "state", "url", "event_types", "description")
        client.show_list(path("endpoints"), {}, limit, columns, "No endpoints.")


@app.command()
def get(endpoint_id: EndpointId) -> None:
    """Show one endpoint."""
    with Client() as client:
        terminal.record(client.call("GET", path("endpoints", endpoint_id)))


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where to deliver.")],
    event_types: EventTypes = None,
    uid: Uid = None,
    filter_: Filter = None,
    method: Method = None,
    format_: Format = None,
    header: Header = None,
    retry: Retry = None,
    rate: Rate = None,
    order: Order = None,
    secret: Secret = None,
    timeout_s: TimeoutS = None,
    concurrency_max: Concurrency = None,
    kind: Kind = None,
    config: Config = None,
    auth: Auth = None,
    verify: Verify = None,
    confirm_within_s: ConfirmWithinS = None,
    dead_letter: DeadLetter = None,
    description: Description = None,
    metadata: Metadata = None,
    spec: Spec = None,
) -> None:
    """Create an endpoint. `hookline endpoints secret ID` shows what its receiver verifies with."""
    options = locals()
    with Client() as client:
        answer = client.call("POST", path("endpoints"), document=_document(options))
    for warning in answer.get("warnings") or ():
        terminal.note(f"warning: {warning}")
    terminal.done(answer, f"{answer['id']} created, {answer['state']}")


@app.command()
def update(
    endpoint_id: EndpointId,
    url: Annotated[str | None, typer.Option(help="Where to deliver.")] = None,
    event_types: EventTypes = None,
    uid: Uid = None,
    filter_: Filter = None,
    method: Method = None,
    format_: Format = None,
    header: Header = None,
    retry: Retry = None,
    rate: Rate = None,
    order: Order = None,
    timeout_s: TimeoutS = None,
    concurrency_max: Concurrency = None,
    kind: Kind = None,
    config: Config = None,
    auth: Auth = None,
    verify: Verify = None,
    confirm_within_s: ConfirmWithinS = None,
    dead_letter: DeadLetter = None,
    description: Description = None,
    metadata: Metadata = None,
    spec: Spec = None,
) -> None:
    """Change what is given. In --spec a member that is null goes back to its default (RFC 7396)."""
    options = locals()
    del options["endpoint_id"]
    with Client() as client:
        answer = client.call("PATCH", path("endpoints", endpoint_id), document=_document(options))
    for warning in answer.get("warnings") or ():
        terminal.note(f"warning: {warning}")
    terminal.done(answer, f"{answer['id']} changed")


@app.command()
def delete(endpoint_id: EndpointId) -> None:
    """Delete an endpoint; what is open of it is discarded."""
    with Client() as client:
        terminal.done(client.call("DELETE", path("endpoints", endpoint_id)), f"{endpoint_id} is deleted")


@app.command()
def pause(endpoint_id: EndpointId) -> None:
    """Hold its deliveries."""
    with Client() as client:
        terminal.done(client.call("POST", path("endpoints", endpoint_id, "pause")), f"{endpoint_id} is paused")


@app.command()
def resume(endpoint_id: EndpointId) -> None:
    """Let its deliveries flow again, also after it was disabled."""
    with Client() as client:
        terminal.done(client.call("POST", path("endpoints", endpoint_id, "resume")), f"{endpoint_id} is active")


@app.command("test")
def try_out(
    endpoint_id: EndpointId,
    event_type: Annotated[
        str | None, typer.Option("--type", "-t", help="Of this event type, with its example; default: hookline.test.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The payload instead: JSON text, @FILE, or - for stdin.")] = None,
) -> ExitCode:
    """Send one event now, in whatever state it is, and show the whole attempt. Ends with 1 when that failed."""
    members = [] if event_type is None else [b'"type":' + json.dumps(event_type).encode()]
    if data is not None:
        members.append(b'"data":' + read_json(data, "the payload")[0])  # byte for byte
    with Client() as client:
        answer = client.call(
            "POST",
            path("endpoints", endpoint_id, "test"),
            content=b"{%b}" % b",".join(members),
            headers={"content-type": "application/json"},
            wait_s=ATTEMPT_S_MAX,
        )
    if terminal.json:
        terminal.document(answer)
    else:
        show_attempt(answer)
    return ExitCode.OK if answer["success"] else ExitCode.REFUSED


@app.command()
def verify(endpoint_id: EndpointId) -> ExitCode:
    """Ask it (again) whether it wants to be one. Ends with 1 when it has not said so."""
    with Client() as client:
        answer = client.call("POST", path("endpoints", endpoint_id, "verify"))
    warnings = answer.get("warnings") or ()
    for warning in warnings:
        terminal.note(f"warning: {warning}")
    terminal.done(answer, f"{answer['id']} is {answer['state']}")
    missing = any(warning.startswith(NOT_VERIFIED) for warning in warnings)
    return ExitCode.REFUSED if missing or answer["state"] == "unverified" else ExitCode.OK


@app.command()
def secret(endpoint_id: EndpointId) -> None:
    """Show its signing secret."""
    with Client() as client:
        answer = client.call("GET", path("endpoints", endpoint_id, "secret"))
    if terminal.json or "public_key" in answer:
        terminal.record(answer)
    else:
        terminal.say(answer["secret"])


@app.command("rotate-secret")
def rotate_secret(
    endpoint_id: EndpointId,
    new: Annotated[str | None, typer.Option("--secret", help="The new one, or @FILE; made when absent.")] = None,
    overlap_s: Annotated[float | None, typer.Option(help="So long both sign; default: a day.")] = None,
) -> None:
    """Give it a new signing secret; for a day (or --overlap-s) the old one signs too."""
    document: dict[str, Any] = {}
    if new is not None:
        document["secret"] = read_bytes(new).decode().strip()
    if overlap_s is not None:
        document["overlap_s"] = overlap_s
    with Client() as client:
        terminal.record(client.call("POST", path("endpoints", endpoint_id, "secret", "rotate"), document=document))


def _document(options: dict[str, Any]) -> dict[str, Any]:
    """What the API takes, of the options of `create` and `update`."""
    given = {name.rstrip("_"): value for name, value in options.items() if value is not None}
    spec = given.pop("spec", None)
    document = {} if spec is None else read_object(spec, "the spec")
    header, metadata = given.pop("header", None), given.pop("metadata", None)
    if header is not None:
        given["headers"] = pairs(header, ":", "the header")
    if metadata is not None:
        given["metadata"] = pairs(metadata, "=", "the metadata")
    kind = _kind_of(given.get("url", ""))
    if kind is not None and "kind" not in document:
        given.setdefault("kind", kind)
    for name in ("filter", "retry", "rate", "config", "auth"):
        if name in given:
            given[name] = read_json(given[name], f"the {name}")[1]
    if "confirm_within_s" in given:
        given["confirm"] = {"within_s": given.pop("confirm_within_s")}
    if "secret" in given:
        given["secret"] = read_bytes(given["secret"]).decode().strip()
    return {**document, **given}


def _kind_of(url: str) -> str | None:
    """The kind of broker whose scheme a URL has; None: no broker's."""
    from hookline.core.broker import KINDS

    scheme = url.partition("://")[0].lower()
    return next((kind.name for kind in KINDS.values() if scheme in kind.schemes), None)
