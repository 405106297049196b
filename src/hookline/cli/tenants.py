"""`hookline tenants`: customers of the operator, and their limits."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hookline.cli.arguments import Limit, pairs, path, read_json, read_object
from hookline.cli.client import Client
from hookline.cli.terminal import terminal
from hookline.core.tenant import TENANT_RULE

app = typer.Typer(name="tenants", help="Tenants and their limits (operator's key).", no_args_is_help=True)
TenantId = Annotated[str, typer.Argument(metavar="ID", help=TENANT_RULE)]

Name = Annotated[str | None, typer.Option(help="For people.")]
EndpointsMax = Annotated[int | None, typer.Option(help="Endpoints that may exist at once.")]
EventsRate = Annotated[str | None, typer.Option(help='Events published, as {"n": 100, "per_s": 1, "burst": 500}.')]
RetentionS = Annotated[float | None, typer.Option(help="Seconds for which events and deliveries are kept.")]
DeadLetter = Annotated[str | None, typer.Option(help="The endpoint (id or uid) that gets what failed.")]
Metadata = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Your own notes.")]
Spec = Annotated[str | None, typer.Option(help="Everything: the API's JSON as text, @FILE or -; options win.")]


@app.command()
def ls(limit: Limit = 0) -> None:
    """List tenants that were created."""
    with Client() as client:
        columns = ("id", "name", "endpoints_max", "events_rate", "retention_s", "dead_letter")
        client.show_list(path("tenants"), {}, limit, columns, "No tenants.")


@app.command()
def get(tenant_id: TenantId) -> None:
    """Show one tenant."""
    with Client() as client:
        terminal.record(client.call("GET", path("tenants", tenant_id)))


@app.command()
def create(
    tenant_id: TenantId,
    name: Name = None,
    endpoints_max: EndpointsMax = None,
    events_rate: EventsRate = None,
    retention_s: RetentionS = None,
    dead_letter: DeadLetter = None,
    metadata: Metadata = None,
    spec: Spec = None,
) -> None:
    """Create a tenant with limits of its own. Without it a tenant can be used, too: without any."""
    options = locals()
    document = {**_document(options), "id": options["tenant_id"]}
    with Client() as client:
        answer = client.call("POST", path("tenants"), document=document)
    terminal.done(answer, f"{answer['id']} created")


@app.command()
def update(
    tenant_id: TenantId,
    name: Name = None,
    endpoints_max: EndpointsMax = None,
    events_rate: EventsRate = None,
    retention_s: RetentionS = None,
    dead_letter: DeadLetter = None,
    metadata: Metadata = None,
    spec: Spec = None,
) -> None:
    """Change what is given. In --spec a member that is null is no limit any more (RFC 7396)."""
    options = locals()
    with Client() as client:
        answer = client.call("PATCH", path("tenants", options["tenant_id"]), document=_document(options))
    terminal.done(answer, f"{answer['id']} changed")


@app.command()
def delete(tenant_id: TenantId) -> None:
    """Delete a tenant with its endpoints, sources, keys and event types, at once; its history expires."""
    with Client() as client:
        terminal.done(client.call("DELETE", path("tenants", tenant_id)), f"{tenant_id} is deleted")


def _document(options: dict[str, Any]) -> dict[str, Any]:
    """What the API takes, of the options of `create` and `update`."""
    given = {name: value for name, value in options.items() if value is not None and name != "tenant_id"}
    spec = given.pop("spec", None)
    document = {} if spec is None else read_object(spec, "the spec")
    if "metadata" in given:
        given["metadata"] = pairs(given["metadata"], "=", "the metadata")
    if "events_rate" in given:
        given["events_rate"] = read_json(given["events_rate"], "the rate")[1]
    return {**document, **given}
