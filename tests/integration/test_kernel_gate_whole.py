"""The gate of a whole kernel, by what ``lisa-ci init --kernel-gate`` writes: a small one of Debian's sources.

It is built for real (some ten minutes of two processors, less where ccache knows it) and boots the demo's image.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from lisa_ci import process
from tests.doubles import debian_kernels, kernel_gate
from tests.doubles.demo_image import demo_image_path
from tests.doubles.kernel_gate import Results
from tests.integration import test_act

pytestmark = pytest.mark.field

LIMIT = timedelta(minutes=60)
SMALL = Path(__file__).parents[1] / "fixtures/small-kernel"
ARCHIVE = Path(f"/usr/src/{debian_kernels.SOURCE}.tar.xz")
WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org")
COMMAND_LINE = "console=ttyS0,115200 no_timer_check"  # a busy emulated machine fails that check
KNOWN = """\
schema: 1
known:
  - case: kselftest#clone3.clone3_cap_checkpoint_restore
    reason: it writes into a structure of libcap's own, which newer versions lay out in another way
    owner: t
    expires: 2099-12-31
"""
NOTHING = '#!/bin/sh\necho "not done: $*" >&2\n'

lisa_ci_repository = test_act.lisa_ci_repository
wheelhouse = test_act.wheelhouse


def run(*words: str | Path, cwd: Path, **more: str) -> str:
    return process.check(words, directory=cwd, environment={"CI": "", **more}, timeout=LIMIT).decode()


def settle(repository: Path, *, suites: list[str] | None = None) -> None:
    """The pipeline as its owner settles it: command line, one machine, what is known, and all suites or those named."""
    file = repository / "lisa-ci.yml"
    settings = yaml.safe_load(file.read_text())
    settings["kernel"]["command_line"] = COMMAND_LINE
    settings["profiles"] = ["bios"]
    settings["timeouts"] = {"boot": "8m"}
    settings["suites"] = suites or settings["suites"]
    settings["baseline"] = "known.yml"
    (repository / "known.yml").write_text(KNOWN)
    file.write_text(yaml.safe_dump(settings, sort_keys=False))


@pytest.fixture(scope="module")
def ccache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled files are kept: the user's own place, if there is one."""
    return Path(os.environ.get("CCACHE_DIR") or tmp_path_factory.mktemp("ccache"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the kernel's sources with its configuration, and what ``init`` writes into it."""
    assert ARCHIVE.is_file(), f"{debian_kernels.SOURCE} is not installed"
    folder = tmp_path_factory.mktemp("whole") / "linux"
    folder.mkdir()
    run("tar", "--strip-components=1", "-xf", ARCHIVE, cwd=folder)
    run("make", "-s", "tinyconfig", cwd=folder)
    run(folder / "scripts/kconfig/merge_config.sh", "-m", ".config", SMALL / "small.config", cwd=folder)
    run("make", "-s", "olddefconfig", cwd=folder)
    kernel_gate.init(folder, "tree")
    (folder / "image.qcow2").symlink_to(demo_image_path())
    settle(folder)
    run("git", "init", "-q", cwd=folder)
    run("git", "add", "-f", ".", cwd=folder)  # Debian's own .gitignore leaves out all
    run("git", *WHO, "commit", "-q", "-m", "tree", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def before(tree: Path, ccache: Path) -> tuple[bool, Results]:
    """Of the tree as it is: whether its gate is open, and why."""
    run(tree / "build-kernel.sh", ".", cwd=tree, CCACHE_DIR=str(ccache))
    return kernel_gate.judge(tree)


def test_a_tree_that_breaks_nothing_passes(before: tuple[bool, Results]) -> None:
    is_open, results = before
    assert results.failed() == ["kselftest#clone3.clone3_cap_checkpoint_restore"]
    assert is_open
    passed = {case.partition("#")[0] for case, outcome in results.outcomes().items() if outcome == "passed"}
    assert passed == {"boot", "kselftest", "kunit", "syscalls"}


def test_a_system_call_that_breaks_its_contract_shuts_the_gate(
    before: tuple[bool, Results], tree: Path, ccache: Path
) -> None:
    patch = (SMALL / "dup3.patch").read_bytes()
    subprocess.run(["patch", "-s", "-p1"], input=patch, cwd=tree, check=True)
    settle(tree, suites=["./kernel-tests/syscalls"])
    for suite in ("kselftest", "kunit"):  # not asked for any more, so not built
        shutil.rmtree(tree / "kernel-tests" / suite)
    run(tree / "build-kernel.sh", ".", cwd=tree, CCACHE_DIR=str(ccache))
    is_open, results = kernel_gate.judge(tree)
    assert not is_open
    assert results.failed() == ["syscalls#dup3"]
    assert before[1].outcomes()["syscalls#dup3"] == "passed"


def test_a_change_of_the_configuration_alone_shuts_the_gate_of_its_workflow(
    tree: Path,
    ccache: Path,
    lisa_ci_repository: Path,
    wheelhouse: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under act, build job and all. CONFIG_BASE_FULL looks as if it saved memory only; it takes kernel.pid_max down."""
    caller = tmp_path / "config"
    (caller / "config").mkdir(parents=True)
    (caller / "config/base").write_text(run("git", "show", "HEAD:.config", cwd=tree))
    (caller / "config/10-smaller.config").write_text("# CONFIG_BASE_FULL is not set\n")
    kernel_gate.init(caller, "config")
    settle(caller, suites=["boot"])
    shutil.rmtree(caller / "kernel-tests")
    with (caller / "build-kernel.sh").open("a") as script:
        script.write(f'cp -L "{demo_image_path()}" "$delivery/image.qcow2"\n')
    (tmp_path / "programs").mkdir()
    apt = tmp_path / "programs/sudo"  # what the job installs is here
    apt.write_text(NOTHING)
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    ran, results = kernel_gate.run_workflow(
        caller,
        tmp_path / "work",
        lisa_ci_repository=lisa_ci_repository,
        wheelhouse=wheelhouse,
        minutes=60,
        CCACHE_DIR=str(ccache),
    )
    assert ran.exit != 0
    assert ran.job_failed("gate"), ran.text[-5000:]
    assert results.failed() == ["boot#failed-units"]
    errors = {each.properties.get("title"): each.message for each in ran.annotations if each.level == "error"}
    assert "systemd-sysctl.service" in errors["boot#failed-units on bios"]
