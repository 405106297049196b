"""A sender that is not HTTP keeps the promise of every sender: the seam knows nothing of HTTP."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from hookline.adapters.clock import SystemClock
from hookline.core.attempt import Kind
from hookline.core.errors import Refusal
from hookline.core.event import Event
from hookline.ports.sender import Sender
from hookline.testing.coroutine_sender import sent
from hookline.testing.mailbox import BUSY_S, MailboxSender, read_mailbox
from hookline.testing.samples import full_event, sample_endpoint, sample_event
from hookline.testing.sender_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.sender_contract import EndpointFactory, request, spec_of


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A mailbox sender on real time: the suite waits for its timeouts."""
    mailbox = MailboxSender(SystemClock())
    yield mailbox
    await mailbox.close()


@pytest.fixture
def accepting(tmp_path: Path) -> EndpointFactory:
    """A mailbox that takes everything."""
    return partial(sample_endpoint, f"mailbox://{tmp_path}", kind="mailbox")


@pytest.fixture
def failing(tmp_path: Path) -> EndpointFactory:
    """A mailbox whose folder is not there."""
    return partial(sample_endpoint, f"mailbox://{tmp_path}/not-there", kind="mailbox")


@pytest.fixture
def hanging(tmp_path: Path) -> EndpointFactory:
    """A mailbox that never answers."""
    return partial(sample_endpoint, f"mailbox://{tmp_path}", kind="mailbox", config={"answer": "hang"})


@pytest.fixture
def consenting(tmp_path: Path) -> EndpointFactory:
    """A mailbox that echoes challenges."""
    return partial(sample_endpoint, f"mailbox://{tmp_path}", kind="mailbox", config={"answer": "echo"})


async def test_a_delivery_is_a_file(sender: Sender, accepting: EndpointFactory, tmp_path: Path) -> None:
    """Each delivery is one CloudEvents document, and nothing half-written is left beside."""
    await sent(sender, request(accepting(), sample_event(1), sample_event(2)))
    documents = read_mailbox(tmp_path)
    assert [document["data"] for document in documents] == [
        {"order": 1, "total": 12.5},
        {"order": 2, "total": 12.5},
    ]
    assert [document["id"] for document in documents] == [sample_event(n).public_id for n in (1, 2)]
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("event", [sample_event(), full_event()])
async def test_the_document_says_where_to_confirm(
    sender: Sender, accepting: EndpointFactory, tmp_path: Path, event: Event
) -> None:
    """Where a confirmation is asked for the document says where, and is otherwise the same."""
    asked = request(accepting(), event)
    items = [msgspec.structs.replace(item, confirm_url='https://hooks.example/"x') for item in asked.items]
    await sent(sender, msgspec.structs.replace(asked, items=items))
    (document,) = read_mailbox(tmp_path)
    assert document.pop("hooklineconfirmurl") == 'https://hooks.example/"x'
    await sent(sender, asked)
    assert read_mailbox(tmp_path) == [document]


async def test_a_payload_that_is_not_json_is_base64(sender: Sender, accepting: EndpointFactory, tmp_path: Path) -> None:
    """A binary payload arrives byte for byte as data_base64, with its content type."""
    event = full_event()
    await sent(sender, request(accepting(), event))
    (document,) = read_mailbox(tmp_path)
    assert base64.b64decode(document["data_base64"]) == event.data
    assert document["datacontenttype"] == event.content_type


@pytest.mark.parametrize(
    ("answer", "kind", "retry_after_s"),
    [
        ("retry", Kind.RETRY, None),
        ("busy", Kind.RETRY, BUSY_S),
        ("reject", Kind.REJECTED, None),
        ("gone", Kind.GONE, None),
    ],
)
async def test_it_answers_as_told(
    sender: Sender, accepting: EndpointFactory, tmp_path: Path, answer: str, kind: Kind, retry_after_s: float | None
) -> None:
    """A mailbox that is told to refuse says so and stores nothing."""
    (outcome,) = await sent(sender, request(accepting(config={"answer": answer})))
    assert (outcome.kind, outcome.retry_after_s) == (kind, retry_after_s)
    assert read_mailbox(tmp_path) == []


@pytest.mark.parametrize(
    ("config", "pointer"),
    [({"answer": "perhaps"}, "/config/answer"), ({"colour": "red"}, "/config/colour"), ({"answer": []}, None)],
)
async def test_its_config_is_its_own_business(
    sender: Sender, accepting: EndpointFactory, config: dict[str, object], pointer: str | None
) -> None:
    """What a mailbox cannot be told is refused at creation, with the place of the fault."""
    with pytest.raises(Refusal) as refused:
        await sender.check(spec_of(accepting(), config=config))
    assert refused.value.pointer == (pointer or "/config/answer")


async def test_a_missing_folder_is_a_warning(
    sender: Sender, accepting: EndpointFactory, failing: EndpointFactory
) -> None:
    """A folder may come later: its endpoint is accepted with a warning, one that is there without."""
    assert len(await sender.check(spec_of(failing()))) == 1
    assert list(await sender.check(spec_of(accepting()))) == []


async def test_after_close_nothing_is_started(sender: Sender, accepting: EndpointFactory, tmp_path: Path) -> None:
    """A closed mailbox sends nothing and says that no try was used."""
    await sender.close()
    (outcome,) = await sent(sender, request(accepting()))
    assert not outcome.started
    assert read_mailbox(tmp_path) == []
