"""The Helm chart: rendered by Helm's own engine in every mode, and what comes out fits together and the program."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.rendered import DEPLOY, SAMPLES, check_command, check_settings

CHART = DEPLOY / "helm" / "hookline"
STOP_S_MIN = 5 + 65 + 10
SECRETS = {
    "db": "postgresql://hookline:secret@db:5432/hookline",
    "key": SAMPLES["HOOKLINE_KEY"],
    "secretKey": SAMPLES["HOOKLINE_SECRET_KEY"],
    "queue": "amqp://hookline:secret@rabbitmq:5672/",
}
"""What the operator's Secret has, by its keys in values.yaml."""
WHOLE = {
    "ingress": {"enabled": True, "tlsSecret": "tls"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "settings": {"PUBLIC_URL": "https://hooks.example.com", "RETENTION_D": "7"},
    "secret": {"queue": True},
    "imagePullSecrets": [{"name": "registry"}],
    "api": {
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "x", "operator": "Exists"}],
        "affinity": {"podAffinity": {}},
    },
    "worker": {
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "x", "operator": "Exists"}],
        "affinity": {"podAffinity": {}},
    },
    "spool": {"enabled": True, "storageClassName": "fast"},
}
CASES: list[dict[str, Any]] = [
    {},
    WHOLE,
    {"networkPolicy": {"from": [], "metricsFrom": []}},
    *(
        {"mode": mode, "spool": {"enabled": spool}, "autoscaling": {"kind": kind}}
        for mode, spool, kind in itertools.product(("postgres", "sqlite"), (False, True), ("none", "hpa", "keda"))
    ),
]
WRONG: list[dict[str, Any]] = [{"mode": "mysql"}, {"autoscaling": {"kind": "magic"}}]


@pytest.fixture(scope="module")
def helm() -> dict[str, Any]:
    """What Helm makes of all cases. Without it the test is skipped on a person's machine, and fails in CI."""
    if importlib.util.find_spec("helm_python") is None:
        missing = "Helm's engine is not here: `make .venv/.helm`"
        if os.environ.get("CI", "") not in ("", "0", "false"):
            pytest.fail(missing)
        pytest.skip(missing)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("render_chart.py")), str(CHART)],
        input=json.dumps(CASES + WRONG),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def documents(rendered: dict[str, str]) -> list[dict[str, Any]]:
    """The objects of a rendered chart."""
    assert "error" not in rendered, rendered["error"]
    return [
        document
        for name, text in rendered.items()
        if not name.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document is not None
    ]


def of_kind(found: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Those of these kinds."""
    return [document for document in found if document["kind"] in kinds]


def pods(found: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Every pod's template, by the name of what makes it."""
    kinds = ("Deployment", "StatefulSet", "Job")
    return [(made["metadata"]["name"], made["spec"]["template"]) for made in of_kind(found, *kinds)]


def environment(pod: dict[str, Any]) -> dict[str, str]:
    """What a pod's program is told, secrets put in."""
    told: dict[str, str] = {}
    for variable in pod["spec"]["containers"][0]["env"]:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            assert source["secretKeyRef"]["name"] == "hookline"
            told[variable["name"]] = SECRETS[source["secretKeyRef"]["key"]]
        else:
            told[variable["name"]] = variable.get("value", "demo-api-0")
            assert isinstance(told[variable["name"]], str)
    return told


def each(test: Any) -> Any:
    """For each case."""
    return pytest.mark.parametrize("number", range(len(CASES)), ids=[json.dumps(case)[:60] for case in CASES])(test)


@pytest.fixture
def found(helm: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """The objects of a case."""
    return documents(helm["rendered"][number])


def test_lint_finds_nothing(helm: dict[str, Any]) -> None:
    """`helm lint` has neither an error nor a warning."""
    assert helm["lint"]["errors"] == []
    assert [message for message in helm["lint"]["messages"] if message["severity"] > 1] == []


def test_what_is_wrong_is_refused(helm: dict[str, Any]) -> None:
    """A mode or a kind of autoscaling that there is not ends the rendering, with what there is."""
    said = [one.get("error", "") for one in helm["rendered"][len(CASES) :]]
    assert "mode is postgres or sqlite" in said[0]
    assert "autoscaling.kind is none, hpa or keda" in said[1]


@each
def test_what_is_made(found: list[dict[str, Any]], number: int) -> None:
    """Each mode has its objects: two sets of pods and a migration before them, or one pod with a volume."""
    case = CASES[number]
    made = {(document["kind"], document["metadata"]["name"]) for document in found}
    assert len(made) == len(found)
    if case.get("mode") == "sqlite":
        [one] = of_kind(found, "StatefulSet", "Deployment", "Job")
        assert (one["metadata"]["name"], one["spec"]["replicas"]) == ("demo-sqlite", 1)
        assert not of_kind(found, "HorizontalPodAutoscaler", "ScaledObject", "PodDisruptionBudget")
        return
    spool = case.get("spool", {}).get("enabled", False)
    assert {("StatefulSet" if spool else "Deployment", "demo-api"), ("Deployment", "demo-worker")} <= made
    [migration] = of_kind(found, "Job")
    assert migration["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    kind = case.get("autoscaling", {}).get("kind", "none")
    scalers = of_kind(found, "HorizontalPodAutoscaler", "ScaledObject")
    assert len(scalers) == (0 if kind == "none" else 2)
    for workload in of_kind(found, "Deployment", "StatefulSet"):
        assert ("replicas" in workload["spec"]) == (kind == "none")
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in made


@each
def test_the_program_takes_what_it_is_told(found: list[dict[str, Any]], number: int, tmp_path: Path) -> None:
    """Every pod's settings are the program's with allowed values, its command is one of its own, its volumes are there,
    and its port is the one that is named."""
    claimed = {
        workload["metadata"]["name"]: {claim["metadata"]["name"] for claim in workload["spec"]["volumeClaimTemplates"]}
        for workload in of_kind(found, "StatefulSet")
    }
    for name, pod in pods(found):
        [container] = pod["spec"]["containers"]
        told = environment(pod)
        check_settings(told, tmp_path)
        check_command(container["args"])
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]} | claimed.get(name, set())
        assert set(mounts.values()) == volumes
        if "HOOKLINE_SPOOL_PATH" in told:
            assert mounts[str(Path(told["HOOKLINE_SPOOL_PATH"]).parent)] == "spool"
        if told["HOOKLINE_DB"].startswith("sqlite"):
            assert mounts[str(Path(told["HOOKLINE_DB"].removeprefix("sqlite:///")).parent)] == "data"
        for port in container.get("ports", ()):
            assert (port["name"], str(port["containerPort"])) == ("http", told["HOOKLINE_PORT"])


@each
def test_pods_are_hardened_and_may_end(found: list[dict[str, Any]], number: int) -> None:
    """No root, no capability, a read-only root, no token of the cluster, no variables of its Services; time to end;
    alive is not ready."""
    spool = CASES[number].get("spool", {}).get("enabled", False)
    for name, pod in pods(found):
        spec, [container] = pod["spec"], pod["spec"]["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        if name.endswith("-migrate"):
            continue
        assert spec["terminationGracePeriodSeconds"] >= STOP_S_MIN
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        takes = spool and not name.endswith("-worker")
        assert container["readinessProbe"]["httpGet"]["path"] == ("/readyz?for=in" if takes else "/readyz")


@each
def test_selectors_find_their_pods(found: list[dict[str, Any]], number: int) -> None:
    """Every selector (of workloads, Services, budgets, monitors, a policy) matches pods, of a workload its own."""
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(found)}

    def selected(selector: dict[str, str]) -> list[str]:
        return [name for name, has in labels.items() if selector.items() <= has.items()]

    for document in found:
        kind, name, spec = document["kind"], document["metadata"]["name"], document["spec"]
        if kind in ("Deployment", "StatefulSet"):
            assert selected(spec["selector"]["matchLabels"]) == [name]
        elif kind == "Service":
            [one] = selected(spec["selector"])
            assert one in ("demo-api", "demo-sqlite")
        elif kind == "NetworkPolicy":
            assert selected(spec["podSelector"]["matchLabels"]) == list(labels)
        elif kind in ("PodDisruptionBudget", "ServiceMonitor", "PodMonitor"):
            assert len(selected(spec["selector"]["matchLabels"])) == 1, (kind, name)


def test_everything_that_is_watched_is_a_metric(helm: dict[str, Any]) -> None:
    """The queries of autoscaling name metrics that the program exports, and labels that they have."""
    page = (DEPLOY.parent / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    exported = set(re.findall(r"^\| `(hookline_[a-z_]+)`", page, re.MULTILINE))
    named: set[str] = set()
    for rendered in helm["rendered"][: len(CASES)]:
        for scaler in of_kind(documents(rendered), "HorizontalPodAutoscaler", "ScaledObject"):
            named |= set(re.findall(r"hookline_[a-z_]+", json.dumps(scaler["spec"])))
    assert named >= {"hookline_in_flight", "hookline_runnable_oldest_seconds", "hookline_commit_wait_seconds_bucket"}
    assert {name.removesuffix("_bucket") for name in named} <= exported


def test_the_policy_lets_deliveries_out_and_nothing_private(helm: dict[str, Any]) -> None:
    """Deliveries reach public addresses only; nobody but those who are named comes in, and with none named nobody."""
    [policy] = of_kind(documents(helm["rendered"][0]), "NetworkPolicy")
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule.get("to", ())]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0"]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(blocks[0]["except"])
    assert len(policy["spec"]["ingress"][0]["from"]) == 2
    [closed] = of_kind(documents(helm["rendered"][2]), "NetworkPolicy")
    assert closed["spec"]["ingress"] == []
