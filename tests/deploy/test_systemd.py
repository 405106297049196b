"""The systemd units: systemd takes them, and the program takes what they tell it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.rendered import DEPLOY, SAMPLES, check_command, check_settings, environment_of, unit

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
STOP_S_MIN = 5 + 65 + 10


def units(test: object) -> object:
    """For each unit."""
    return pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)(test)  # type: ignore[arg-type]


@units
def test_the_program_takes_what_it_is_told(path: Path, tmp_path: Path) -> None:
    """Settings and command are the program's; a worker has a port and a name for each instance."""
    found = unit(path)
    environment = environment_of(found, "3")
    if path.name == "hookline-worker@.service":
        assert environment["HOOKLINE_PORT"] == "8413"
        assert environment["HOOKLINE_INSTANCE"] == "machine-1-worker-3"
        environment |= {"HOOKLINE_DB": "postgresql://h:x@db/h", "HOOKLINE_SECRET_KEY": SAMPLES["HOOKLINE_SECRET_KEY"]}
    check_settings(environment, tmp_path)
    [start] = found["ExecStart"]
    assert start.startswith("/opt/hookline/bin/hookline ")
    check_command(start.split()[1:])
    assert int(found["TimeoutStopSec"][0]) >= STOP_S_MIN
    assert found["RestartPreventExitStatus"] == ["2"]
    for name in ("HOOKLINE_SPOOL_PATH", "HOOKLINE_DB"):
        value = environment.get(name, "").removeprefix("sqlite:///")
        if value.startswith("/"):
            assert value.startswith("/var/lib/hookline/")


@units
def test_systemd_takes_it(path: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing, and `security` calls it less exposed than MEDIUM."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        if os.environ.get("CI", "") not in ("", "0", "false"):
            pytest.fail("systemd-analyze is missing in CI")
        pytest.skip("systemd-analyze is not installed")
    name = path.name.replace("@", "@1")
    text = path.read_text(encoding="utf-8").replace("/opt/hookline/bin/hookline", "/bin/true")
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if name in line or "hookline" in line]
    assert (done.returncode, said) == (0, [])
    graded = subprocess.run(
        [analyze, "security", "--offline=yes", "--no-pager", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    match = re.search(r"Overall exposure level for .*: ([0-9.]+)", graded.stdout)
    assert match is not None, graded.stdout + graded.stderr
    assert float(match[1]) < 3.0
