"""What `hookline simulate` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ProviderName = Annotated[str | None, typer.Argument(metavar="PROVIDER", help="As its preset is called: stripe.")]
EventType = Annotated[
    str | None, typer.Argument(metavar="TYPE", help="In the provider's words, or how it begins: pull_request.")
]
ListAll = Annotated[bool, typer.Option("--list", help="Show what there is (of one provider, where it is named).")]
To = Annotated[str | None, typer.Option(metavar="URL", help="Where to send it; without: the request is printed.")]
SignedUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The address as the provider knows it, where it signs that and it is another."),
]
Secret = Annotated[str | None, typer.Option(help="What it signs or proves itself with; @FILE hides it.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The receiver's configuration, a JSON object.")
]
Configured = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="One key of it, as mode=token; may be repeated.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The private key (PEM) it signs with; made, where there is no file."),
]
WriteConfig = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write there what the receiver must be configured with.")
]
Data = Annotated[str | None, typer.Option(help="Another payload: text, @FILE, or - for stdin.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="A member of the payload, as data.object.amount=1; repeatable."),
]
Header = Annotated[
    list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header, before it is signed.")
]
ContentType = Annotated[str | None, typer.Option(metavar="TYPE", help="Say that it is this, whatever it is.")]
Tampered = Annotated[bool, typer.Option("--tampered", help="Change it after it was signed.")]
Stale = Annotated[bool, typer.Option("--stale", help="Sign it as if it were yesterday.")]
Malformed = Annotated[bool, typer.Option("--malformed", help="Let its JSON break off, well signed.")]
Xml = Annotated[bool, typer.Option("--xml", help="Send XML instead of its JSON, well signed.")]
Oversize = Annotated[int, typer.Option(min=0, metavar="BYTES", help="Blow it up to this size, well signed.")]
Duplicate = Annotated[bool, typer.Option("--duplicate", help="Send each request twice, the same bytes.")]
Slow = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Let its body take so long.")]
Count = Annotated[int, typer.Option(min=1, metavar="N", help="Send so many, each a new one.")]
Rate = Annotated[float | None, typer.Option(min=0.001, metavar="PER_S", help="Begin so many a second.")]
Seed = Annotated[str | None, typer.Option(help="Ids and keys made of this text: the same again.")]
At = Annotated[float | None, typer.Option(metavar="SECONDS", help="As if it were this Unix time.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait for an answer.")
]
Expect = Annotated[
    str | None,
    typer.Option(metavar="STATUS", help="What is right: 401, 4xx, 200,202. Else 2xx; of what is to be refused 4xx."),
]
Curl = Annotated[bool, typer.Option("--curl", help="Print it as a curl command, and send nothing.")]
