"""The action and the workflows, run for real: caller and lisa-ci in two repositories, a real image, real machines.

act runs the jobs on this host. What it cannot show (permissions, environments, concurrency, cancelling) is in
docs/github-live.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lisa_ci import cli
from tests.doubles.act import COMMIT, PULL_REQUEST, ROOT, ActRun, run_act
from tests.doubles.openssh import sshd

PIPELINE = """\
name: caller
image: {path: image.qcow2}
profiles: [bios-disk]
suites:
  - suite: tests/smoke
timeouts: {boot: 5m}
release: {name: caller, version: "1.2.3"}
"""

SUITE = """\
schema: 1
name: smoke
description: What the caller wants to know of its image.
driver: shell
cases:
  - id: kernel.is-linux
    description: The kernel says that it is Linux.
    run: test "$(uname -s)" = Linux
  - id: disk.is-there
    description: The data disk of the profile is there.
    run: lsblk -dno SERIAL | grep -qx lisa-ci-0
"""

FAILING = """\
  - id: answer.is-right
    description: Fails, with output that would like to speak to the runner.
    run: echo '::error::fake'; echo 'the answer is 41'; exit 1
"""


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of requirements.lock, so that the action's own install step runs without an index."""
    lock = ROOT / "requirements.lock"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lisa-ci-tests"
    folder = cache / f"wheels-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not folder.is_dir():
        fresh = tmp_path_factory.mktemp("wheels")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--require-hashes"]
        subprocess.run([*command, "-r", lock, "-d", fresh], check=True, timeout=300)
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copytree(fresh, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def lisa_ci_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as a runner would check it out: what git tracks, nothing else."""
    folder = tmp_path_factory.mktemp("lisa-ci") / "checkout"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def make_caller(folder: Path, *, suite: str, demo_image: Path) -> Path:
    """A distribution's repository: what ``init`` writes, a build script, and a suite of its own."""
    folder.mkdir()
    made = CliRunner().invoke(
        cli.cli, ["init", str(folder), "--lisa-ci", f"lisa-ci/lisa-ci@{COMMIT}"], catch_exceptions=False
    )
    assert made.exit_code == 0, made.output
    workflow = folder / ".github/workflows/lisa-ci.yml"
    # act does not tell a called workflow where it comes from; servers that do not either use the same inputs.
    told = f"lisa-ci-repository: lisa-ci/lisa-ci\n      lisa-ci-ref: {COMMIT}\n      image-artifact: image"
    workflow.write_text(workflow.read_text().replace("image-artifact: image", told))
    (folder / "lisa-ci.yml").write_text(PIPELINE)
    build = folder / "build-image.sh"
    build.write_text(f'#!/bin/sh\nexec cp --reflink=auto "{demo_image}" "$1"\n')
    build.chmod(0o755)
    (folder / "tests/smoke").mkdir(parents=True)
    (folder / "tests/smoke/suite.yaml").write_text(suite)
    return folder


def run_workflow(
    caller: Path,
    lisa_ci: Path,
    wheels: Path,
    work: Path,
    *,
    event: str,
    ref: str,
    secrets: dict[str, str] | None = None,
) -> ActRun:
    payload = PULL_REQUEST if event == "pull_request" else {"ref": ref}
    return run_act(
        caller,
        ".github/workflows/lisa-ci.yml",
        event=event,
        payload=payload,
        work=work,
        repositories={"lisa-ci/lisa-ci": lisa_ci, "distro/image": caller},
        environment={
            "GITHUB_REPOSITORY": "distro/image",
            "GITHUB_REF": ref,
            "SHA_REF": COMMIT,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "LISA_CI_CACHE": str(work / "cache"),
        },
        secrets=secrets,
    )


def test_a_failing_test_is_an_annotation_and_a_red_gate(
    tmp_path: Path, demo_image: Path, lisa_ci_repository: Path, wheelhouse: Path
) -> None:
    caller = make_caller(tmp_path / "caller", suite=SUITE + FAILING, demo_image=demo_image)
    run = run_workflow(
        caller, lisa_ci_repository, wheelhouse, tmp_path / "work", event="pull_request", ref="refs/pull/7/merge"
    )

    errors = [each for each in run.annotations if each.level == "error"]
    assert any("smoke#answer.is-right" in each.properties.get("title", "") for each in errors), run.text[-3000:]
    assert not any(each.message == "fake" for each in run.annotations)
    assert run.exit != 0
    assert run.job_failed("gate")
    assert not any(run.job_failed(job) for job in ("image", "plan"))
    assert not run.ran("release")
    assert any("answer.is-right" in summary for summary in run.summaries)
    artifacts = {path.name for path in (tmp_path / "work/artifacts").iterdir()}
    assert artifacts == {"image", "lisa-ci-plan-1", "lisa-ci-leg-bios-disk-1", "lisa-ci-report-1"}
    assert (tmp_path / "work/artifacts/lisa-ci-report-1/junit.xml").is_file()


def test_a_tag_ends_in_a_signed_folder_that_verifies(
    tmp_path: Path, demo_image: Path, lisa_ci_repository: Path, wheelhouse: Path
) -> None:
    caller = make_caller(tmp_path / "caller", suite=SUITE, demo_image=demo_image)
    key = tmp_path / "key.pem"
    runner = CliRunner()
    made = runner.invoke(cli.cli, ["sign", "--new-key", str(key)], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    shutil.copy(f"{key}.pub", caller / "lisa-ci.pub")

    run = run_workflow(
        caller,
        lisa_ci_repository,
        wheelhouse,
        tmp_path / "work",
        event="push",
        ref="refs/tags/v1.2.3",
        secrets={"LISA_CI_SIGNING_KEY": key.read_text()},
    )

    assert run.exit == 0, run.text[-5000:]
    assert key.read_text().splitlines()[1] not in run.text
    published = tmp_path / "work/artifacts/lisa-ci-release-1"
    releases = [path.parent for path in published.rglob("SHA256SUMS")]
    assert releases
    verified = runner.invoke(cli.cli, ["verify", str(releases[0]), "--key", f"{key}.pub"])
    assert verified.exit_code == 0, verified.output


# ---- attempts ------------------------------------------------------------------------------------------------------

TWO_MACHINES = """\
name: two machines
access: {{user: {user}, way_in: key, key: {key}}}
profiles:
{profiles}
suites: [./tests/counted]
timeouts: {{boot: 5s, case: 30s, leg: 5m}}
"""
MACHINE = """\
  - {{name: {name}, platform: ssh, endpoint: {{host: 127.0.0.1, port: {port}, host_key: "{host_key}"}}}}
"""
COUNTED = """\
schema: 1
name: counted
driver: shell
cases:
  - id: runs
    run: echo "$LISA_CI_PROFILE" >> {ran}
"""
CALLER = f"""\
on: push
permissions: {{}}
jobs:
  pipeline:
    permissions:
      contents: read
    uses: lisa-ci/lisa-ci/.github/workflows/pipeline.yml@{COMMIT}
    with:
      lisa-ci-repository: lisa-ci/lisa-ci
      lisa-ci-ref: {COMMIT}
"""


def test_a_second_attempt_runs_only_what_has_no_proof(
    tmp_path: Path, lisa_ci_repository: Path, wheelhouse: Path
) -> None:
    """One machine refuses us in the first attempt. act runs all jobs again, as "re-run all jobs" does: the plan job
    finds what is proven, and the gate puts both attempts together."""
    caller, ran, artifacts = tmp_path / "caller", tmp_path / "ran", tmp_path / "artifacts"
    for name in (".github/workflows", "tests/counted"):
        (caller / name).mkdir(parents=True)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (caller / "tests/counted/suite.yaml").write_text(COUNTED.format(ran=ran))
    (caller / ".github/workflows/lisa-ci.yml").write_text(CALLER)
    with sshd(tmp_path / "here") as here, sshd(tmp_path / "there") as there:
        machines = [("here", here), ("there", there)]
        profiles = "".join(MACHINE.format(name=name, port=of.port, host_key=of.host_key) for name, of in machines)
        (caller / "lisa-ci.yml").write_text(TWO_MACHINES.format(user=here.user, key=here.key, profiles=profiles))

        def attempt(number: int) -> ActRun:
            return run_act(
                caller,
                ".github/workflows/lisa-ci.yml",
                event="push",
                payload={"ref": "refs/heads/main"},
                work=tmp_path / f"work-{number}",
                repositories={"lisa-ci/lisa-ci": lisa_ci_repository, "distro/image": caller},
                environment={
                    "GITHUB_REPOSITORY": "distro/image",
                    "GITHUB_REF": "refs/heads/main",
                    "SHA_REF": COMMIT,
                    "PIP_NO_INDEX": "1",
                    "PIP_FIND_LINKS": str(wheelhouse),
                    "LISA_CI_CACHE": str(tmp_path / "cache"),
                    "STANDIN_ARTIFACTS": str(artifacts),
                },
                attempt=number,
            )

        first = attempt(1)
        assert first.exit != 0
        assert ran.is_file(), "\n".join(line for lines in first.lines.values() for line in lines)[-5000:]
        assert ran.read_text() == "here\n"
        warnings = [each.properties.get("title", "") for each in first.annotations if each.level == "warning"]
        assert any(title.startswith("Infrastructure: not judged, there") for title in warnings), first.text[-5000:]
        errors = [each.properties.get("title", "") for each in first.annotations if each.level == "error"]
        assert "Not green: two machines" in errors

        (tmp_path / "there/authorized").write_text((tmp_path / "here/authorized").read_text())
        second = attempt(2)

        third = attempt(3)

    assert second.exit == 0, second.text[-5000:]
    assert third.exit == 0, third.text[-5000:]
    assert not third.ran("there")
    assert not third.ran("leg")
    assert "leg there: proven by attempt 2, not run again" in third.text
    assert ran.read_text() == "here\nthere\n"
    assert "leg here: proven by attempt 1, not run again" in second.text
    names = {path.name for path in artifacts.iterdir()}
    assert {name for name in names if name.startswith("lisa-ci-leg-")} == {
        "lisa-ci-leg-here-1",
        "lisa-ci-leg-there-1",
        "lisa-ci-leg-there-2",
    }
    assert {"lisa-ci-plan-1", "lisa-ci-plan-2", "lisa-ci-report-1", "lisa-ci-report-2"} <= names
    plans = [(artifacts / f"lisa-ci-plan-{number}/plan.json").read_bytes() for number in (1, 2)]
    assert plans[0] == plans[1]
