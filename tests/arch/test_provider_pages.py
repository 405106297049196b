"""The pages of the providers: one for each preset, in one shape, and what they say can be done."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.arch import shell
from tests.arch.tree import ROOT

from hookline.core.reading import events_of
from hookline.core.simulate.catalogue import provider_of
from hookline.core.simulate.dice import Dice
from hookline.core.simulate.simulation import simulate
from hookline.core.source_spec import check_spec, parse_spec
from hookline.core.verified_by import check_config, is_secret, preset_of
from hookline.core.verifiers.presets import NAMES, preset

PAGES = ROOT / "docs" / "providers"
SECTIONS = ["Here", "What is verified", "Handshake", "Events", "Answer and retries", "Pitfalls", "Try it"]
CHOSEN = {"cloudevents", "discord", "standard_webhooks", "svix", "zapier"}
"""Whose types are named by whoever sends."""
NOW_S = 1_760_000_000
HTTP = "$HOOKLINE_URL/v1/sources"


def page(name: str) -> str:
    """The page of a provider."""
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands under a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The rows of its tables that begin with something in code, cell by cell."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def lines_of(name: str, *beginning: str) -> list[list[str]]:
    """The command lines of a page that begin so."""
    return [words for words in shell.commands(page(name)) if tuple(words[: len(beginning)]) == beginning]


def options(words: list[str], option: str) -> list[str]:
    """What is given to an option, each time."""
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def test_each_preset_has_a_page_and_each_page_a_preset():
    """There are as many pages as presets, by their names, and the index lists each of them with its name."""
    assert {path.stem for path in PAGES.glob("*.md")} == {*NAMES, "index"}
    listed = re.findall(r"^\| \[[^\]]+\]\((\w+)\.md\) \| `(\w+)` \|", page("index"), re.MULTILINE)
    assert sorted(listed) == sorted((name, name) for name in NAMES)
    assert f"[{len(NAMES)} providers](docs/providers/index.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_pages_have_one_shape(name):
    """Each page says what it is for, what to do at the provider, and then the same sections in the same order."""
    text = page(name)
    first, *others = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first.startswith("At ")
    assert others == SECTIONS
    assert f"Verifier `{name}`." in text.split("\n## ")[0]
    assert [title for title in others if not section(text, title).strip()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_explained(name):
    """The table of a page has each key of the preset's configuration, no other, and says which are secret."""
    told: dict[str, bool] = {}
    for keys, secret, what, _where in rows(section(page(name), "Here")):
        names = re.findall(r"`(\w+)`", keys)
        assert what, keys
        assert secret in ("", "yes", "the latter"), keys
        told |= {key: secret == "yes" or (secret == "the latter" and key == names[-1]) for key in names}
    assert told == {key: is_secret(preset(name), key) for key in preset(name).keys}


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_a_page_name_its_preset_and_its_keys(name):
    """`sources create` names the page's preset, and sets keys that it has; the address at the provider and that of
    `simulate` is that of the source."""
    created = lines_of(name, "hookline", "sources", "create")
    assert created
    for words in created:
        assert options(words, "--verifier") == [name]
        assert {item.partition("=")[0] for item in options(words, "--set")} <= set(preset(name).keys)
    source, sources = created[0][3], {words[3] for words in created}
    at_the_provider = section(page(name), "At [^\n]+")
    told = set(re.findall(r"/in/([a-z0-9_]+)", at_the_provider))
    assert told == {source} or (name == "salesforce" and not told)
    tried = lines_of(name, "hookline", "simulate")
    assert tried
    assert {to for words in tried for to in options(words, "--to")} <= {f"$HOOKLINE_URL/in/{one}" for one in sources}
    assert options(tried[-1], "--to")
    set_here = {item.partition("=")[0] for words in tried for item in options(words, "--configured")}
    assert set_here <= set(preset(name).keys)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_posted_makes_a_source(name):
    """The JSON that a page posts is a source that the API takes (without the values that a page leaves out, `…`)."""
    posted = [words for words in lines_of(name, "curl") if HTTP in words]
    created = [words for words in lines_of(name, "hookline", "sources", "create") if options(words, "--set")]
    assert len(posted) == len(created)
    for words, command in zip(posted, created, strict=True):
        document: dict[str, Any] = json.loads(options(words, "-d")[0])
        assert document["name"] == command[3]
        assert sorted(document["config"]) == sorted(item.partition("=")[0] for item in options(command, "--set"))
        whole = {key: value for key, value in document["config"].items() if "…" not in str(value)}
        spec = parse_spec(json.dumps(document | {"config": whole}).encode())
        check_spec(spec, preset_of(spec.verifier))
        check_config(preset_of(spec.verifier), spec.config)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_simulated_becomes_what_the_page_says(name):
    """`simulate` names the page's preset and a type that there is a sample of, word for word; the type of the event
    that comes of it is among those that the page tells of."""
    for words in lines_of(name, "hookline", "simulate"):
        assert words[2] == name
        assert words[3] in [sample.type for sample in provider_of(name).samples]
        made = simulate(name, words[3], {}, NOW_S, Dice("a page"), f"https://hooks.example.com/in/{name}")
        types = {item.type for item in events_of(made, preset(name).reading)}
        assert name in CHOSEN or types <= set(re.findall("`([^`]+)`", section(page(name), "Events")))
