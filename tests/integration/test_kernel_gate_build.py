"""What ``lisa-ci init --kernel-gate tree`` writes builds a kernel and everything that its suites need.

The tree has only the targets that are asked for (tests/fixtures/kernel-tree). What is delivered goes into a fresh
checkout as an artifact of GitHub's does, without executable bits, and is run as in a machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lisa_ci import registry
from lisa_ci.pipeline import load_pipeline

LISA_CI = Path(sys.executable).with_name("lisa-ci")
TREE = Path(__file__).parents[1] / "fixtures/kernel-tree"
WHO = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
NO_CCACHE = '#!/bin/sh\nexec "$@"\n'
NO_ZSTD = "#!/bin/sh\nexec gzip -c\n"


def run(*words: str | Path, cwd: Path, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | more
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh checkout of the repository, and what the build job handed over, where the other jobs have it."""
    tree = tmp_path_factory.mktemp("gate") / "linux"
    shutil.copytree(TREE, tree)
    run(LISA_CI, "init", ".", "--kernel-gate", "tree", "--lisa-ci", f"org/fork@{'a' * 40}", cwd=tree)
    run("git", "init", "-q", cwd=tree)
    run("git", "add", "-A", cwd=tree)
    run("git", *WHO, "commit", "-q", "-m", "tree", cwd=tree)
    tools = tree.parent / "tools"
    tools.mkdir()
    for name, text in {"ccache": NO_CCACHE, "zstd": NO_ZSTD}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    run("./build-kernel.sh", "delivery", cwd=tree, PATH=path, SELFTESTS="futex exec")
    checkout = tree.parent / "checkout"
    run("git", "clone", "-q", tree, checkout, cwd=tree.parent)
    for file in (tree / "delivery").rglob("*"):
        if file.is_file():
            target = checkout / file.relative_to(tree / "delivery")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())  # and no mode
    return checkout


def test_the_pipeline_names_what_was_built(delivered: Path) -> None:
    pipeline = load_pipeline(delivered / "lisa-ci.yml", registry.known())
    folders = {entry.suite.name: Path(entry.suite.folder).parent.name for entry in pipeline.suites}
    assert folders == {
        "boot": "suites",
        "kselftest": "kernel-tests",
        "kunit": "kernel-tests",
        "syscalls": "kernel-tests",
    }
    assert pipeline.kernel is not None
    assert (delivered / str(pipeline.kernel.source)).stat().st_size > 0


def test_the_kernel_s_files_are_all_in_the_delivery(delivered: Path) -> None:
    with tarfile.open(delivered / "kernel.tar.zst", "r:gz") as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
    assert {f"boot/{name}" for name in ("vmlinuz", "config", "System.map", "vmlinux")} < names
    assert "lib/modules/6.1.0-tiny/modules.dep" in names


def test_the_selftests_of_the_tree_are_found_and_run(delivered: Path) -> None:
    folder = delivered / "kernel-tests/kselftest"
    assert [line.split("\t")[0] for line in run("./list", cwd=folder).splitlines()] == ["futex:works", "exec:works"]
    run("./run", "futex:works", cwd=folder)


def test_the_kernel_as_a_program_tells_and_runs_its_tests(delivered: Path) -> None:
    folder = delivered / "kernel-tests/kunit"
    told = run("sh", "-c", "./list 2>&1", cwd=folder)  # as the runner hears it
    assert told.splitlines()[0].split("\t") == ["uml.tiny", "./run uml tiny"]
    assert "ok 1 works" in run("./run", "uml", "tiny", cwd=folder)


def test_the_checks_of_system_calls_run_without_a_compiler(delivered: Path) -> None:
    folder = delivered / "kernel-tests/syscalls"
    told = run("./check", "dup3", cwd=folder)
    assert "built here" not in told
    assert "\nok 1" in told
    assert "SKIP" not in told
