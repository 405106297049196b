"""The image and the compose files: what they name is there, and the program takes what they tell it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.acceptance.program import Program, free_port
from tests.deploy.rendered import DEPLOY, ROOT, SAMPLES, check_command, check_settings, interpolated, pairs

DOCKER = DEPLOY / "docker"
FILES = sorted(DOCKER.glob("compose.*.yaml"))
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text(encoding="utf-8"))
STOP_S_MIN = 5 + 65 + 10
"""HOOKLINE_DRAIN_S, the least HOOKLINE_GRACE_S, and what is then left to write."""
OURS = "hookline:local"


def composed(path: Path) -> dict[str, Any]:
    """A compose file as compose reads it, with what an operator sets."""
    read: dict[str, Any] = yaml.safe_load(interpolated(path.read_text(encoding="utf-8"), SAMPLES))
    return read


def services(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those that run Hookline."""
    for name, service in composed(path)["services"].items():
        if service.get("image") == OURS:
            yield name, service


def files(test: Any) -> Any:
    """For each compose file."""
    return pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)(test)


def test_there_are_three() -> None:
    """SQLite, PostgreSQL, and the cluster."""
    assert [path.name for path in FILES] == ["compose.cluster.yaml", "compose.postgres.yaml", "compose.sqlite.yaml"]


@files
def test_it_follows_the_specification(path: Path) -> None:
    """A compose file is one by the JSON schema of the Compose specification."""
    validator = jsonschema_rs.validator_for(SCHEMA)
    assert [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(composed(path))] == []


def test_the_specification_refuses() -> None:
    """A member that is none, and a wrong form, are found by that schema."""
    validator = jsonschema_rs.validator_for(SCHEMA)
    wrong: dict[str, Any] = {"services": {"a": {"image": "x", "comand": ["y"]}}}
    assert not validator.is_valid(wrong)
    assert not validator.is_valid({"services": {"a": {"image": ["x"]}}})


@files
def test_docker_takes_it(path: Path) -> None:
    """`docker compose config` renders it, where docker has compose."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not here")
    words = [docker, "compose", "-f", str(path), "config", "--quiet"]
    subprocess.run(words, env={**os.environ, **SAMPLES}, check=True, capture_output=True)


@files
def test_the_program_takes_what_it_is_told(path: Path, tmp_path: Path) -> None:
    """Every setting is one of the program's with an allowed value, and every command is one of its own."""
    count = 0
    for _, service in services(path):
        check_settings(pairs(service["environment"]), tmp_path)
        check_command(service["command"])
        count += 1
    assert count


@files
def test_secrets_must_be_set(path: Path) -> None:
    """Without a secret that it needs a file refuses; none has one in it, and none is made up."""
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"\$\{([A-Z_]+):\?", text):
        with pytest.raises(KeyError, match=name):
            interpolated(text, {**SAMPLES, name: ""})
    assert re.findall(r"^ +\w*(?:PASSWORD|KEY|PASS): (?!\$\{)(.*)$", text, re.MULTILINE) == []
    example = (DOCKER / "env.example").read_text(encoding="utf-8")
    wanted = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert wanted <= set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE))


@files
def test_what_it_names_is_there(path: Path) -> None:
    """Volumes, networks, services that are waited for, and files exist; nothing is open to the world by itself."""
    whole = composed(path)
    for name, service in whole["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (path.parent / source).exists() if source.startswith(".") else source in whole["volumes"], name
        assert set(service.get("networks", ())) <= set(whole.get("networks", ())), name
        assert set(service.get("depends_on", ())) <= set(whole["services"]), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        build = service.get("build")
        if build is not None:
            context = (path.parent / build["context"]).resolve()
            assert context == ROOT
            assert (context / build["dockerfile"]).is_file()


@files
def test_processes_are_hardened_and_may_end(path: Path) -> None:
    """Each of ours has a read-only root, no capability, no way to more rights, and the time that a stop takes."""
    for name, service in services(path):
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        if service["command"][0] != "migrate":
            assert int(service["stop_grace_period"].removesuffix("s")) >= STOP_S_MIN, name
            assert service["restart"] == "on-failure", name


@files
def test_processes_do_not_share_what_is_one_process_own(path: Path) -> None:
    """Names, and volumes of SQLite and of spools, are one process's each; what is written lies on a volume."""
    names, spools = [], []
    for _, service in services(path):
        environment = pairs(service["environment"])
        targets = {volume.split(":")[1]: volume.split(":")[0] for volume in service.get("volumes", ())}
        if "HOOKLINE_INSTANCE" in environment:
            names.append(environment["HOOKLINE_INSTANCE"])
        if "HOOKLINE_SPOOL_PATH" in environment:
            spools.append(targets[environment["HOOKLINE_SPOOL_PATH"]])
        if environment["HOOKLINE_DB"].startswith("sqlite"):
            assert str(Path(environment["HOOKLINE_DB"].removeprefix("sqlite:///")).parent) in targets
    assert len(set(names)) == len(names)
    assert len(set(spools)) == len(spools) > 0


def test_the_cluster_is_what_the_balancer_knows() -> None:
    """nginx has the addresses of exactly the processes that accept, is itself the proxy that they trust, and listens
    where its port is published."""
    whole = composed(DOCKER / "compose.cluster.yaml")
    configuration = (DOCKER / "nginx.conf").read_text(encoding="utf-8")
    servers = re.findall(r"^\s*server (\S+):8400 ", configuration, re.MULTILINE)
    roles = {name: service["command"] for name, service in services(DOCKER / "compose.cluster.yaml")}
    accepting = [name for name, command in roles.items() if command[:3] == ["serve", "--role", "api"]]
    assert len(accepting) == len([name for name, command in roles.items() if command == ["worker"]]) == 2
    address = {name: whole["services"][name]["networks"]["inside"]["ipv4_address"] for name in [*accepting, "nginx"]}
    assert servers == [address[name] for name in accepting]
    for name in accepting:
        trusted = pairs(whole["services"][name]["environment"])["HOOKLINE_TRUSTED_PROXIES"]
        assert trusted == f"{address['nginx']}/32"
    [port] = whole["services"]["nginx"]["ports"]
    assert re.findall(r"^\s*listen (\d+);", configuration, re.MULTILINE) == [port.split(":")[-1]]


# ------------------------------------------------------------------------------------------------------ the image


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, in order: word and rest, continued lines together."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in found]


def of(word: str) -> list[str]:
    """What stands behind each of this instruction."""
    return [rest for found, rest in instructions() if found == word]


def test_what_the_image_copies_reaches_the_builder() -> None:
    """Every file that it copies is there and is let through by .dockerignore; so is every stage."""
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    stages = {rest.split(" AS ")[1] for rest in of("FROM") if " AS " in rest}
    for rest in of("COPY"):
        words = rest.split()
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in allowed, source
    assert allowed[1] == "*"


def test_the_image_is_locked() -> None:
    """All it installs has hashes; and each driver that a setting can ask for is among it."""
    installs = [rest for rest in of("RUN") if " install " in rest and "-d -o" not in rest]
    assert len(installs) == 3
    assert all("--require-hashes" in rest or "--no-index" in rest for rest in installs)
    locked = (ROOT / "requirements-image.lock").read_text(encoding="utf-8")
    names = set(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==", locked, re.MULTILINE))
    drivers = {"asyncpg", "redis", "emcache", "confluent-kafka", "aio-pika", "nats-py", "aiomqtt"}
    assert drivers <= names
    assert not names & {"pytest", "hatchling", "mypy"}
    dev = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    pins = set(re.findall(r"^[a-z0-9._-]+(?:\[[^]]*\])?==[^ ;\\]+", locked, re.MULTILINE))
    of_dev = set(re.findall(r"^[a-z0-9._-]+(?:\[[^]]*\])?==[^ ;\\]+", dev, re.MULTILINE))
    assert {re.sub(r"\[[^]]*\]", "", pin) for pin in pins} <= {re.sub(r"\[[^]]*\]", "", pin) for pin in of_dev}


def test_the_image_runs_the_program_as_nobody_special(tmp_path: Path) -> None:
    """Its last stage has another user than root, an entry and a command of the program's, and settings it knows."""
    last = instructions()[max(number for number, (word, _) in enumerate(instructions()) if word == "FROM") :]
    told = dict(last)
    assert told["USER"] == "10001:10001"
    assert json.loads(told["ENTRYPOINT"]) == ["hookline"]
    check_command(json.loads(told["CMD"]))
    environment = dict(re.findall(r"([A-Z_]+)=(\S+)", told["ENV"]))
    check_settings(environment, tmp_path)
    assert told["EXPOSE"] == environment["HOOKLINE_PORT"]
    database = Path(environment["HOOKLINE_DB"].removeprefix("sqlite:///"))
    assert json.loads(told["VOLUME"]) == [str(database.parent)] == [told["WORKDIR"]]


def test_the_health_check_tells_alive_from_dead(tmp_path: Path) -> None:
    """The image's own health check succeeds beside a program that runs, and fails beside none."""
    check = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
    words = [sys.executable, *check[1:]]
    program = Program(tmp_path)
    try:
        program.start()
        alive = {"HOOKLINE_PORT": str(program.port)}
        assert subprocess.run(words, env=alive, check=False, capture_output=True).returncode == 0
    finally:
        program.close()
    dead = {"HOOKLINE_PORT": str(free_port())}
    assert subprocess.run(words, env=dead, check=False, capture_output=True).returncode != 0
