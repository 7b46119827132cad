"""Packages that suites name: the script with every package manager played, and with Debian's own in a real machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path

import pytest

from lisa_ci import files, registry
from lisa_ci.files import LegFolder
from lisa_ci.model import Outcome, PackageManager, Run
from lisa_ci.pipeline.suites import load_suite
from tests.doubles.demo_image import EditedImage, demo_image_path

LISA_CI = Path(sys.executable).with_name("lisa-ci")
SCRIPT = (resources("lisa_ci.execution") / "packages.sh").read_text()
SHELLS = (("dash",), ("bash", "--posix"), ("busybox", "ash"))
MANAGERS = ("apt-get", "tdnf", "dnf", "zypper", "apk")

# A package manager and the database beside it. "$here/known" has a line for each package that can be had,
# "$here/there" for each that is installed, "$here/said" gets what it was asked to do.
PROGRAM = """#!/bin/sh
here={here}
case "${{0##*/}} $*" in
  dpkg-query*|rpm*|"apk info"*)
    for name; do :; done
    grep -qx "$name" "$here/there" && printf installed
    exit ;;
  *update|*makecache|*refresh) echo "${{0##*/}} $*" >>"$here/said"; echo no route >&2; [ ! -e "$here/offline" ]; exit ;;
esac
echo "${{0##*/}} $*" >>"$here/said"
for word; do
  case $word in -*|install|add|DPkg*) continue ;; esac
  grep -qx "$word" "$here/known" || {{ echo "no package $word" >&2; exit 100; }}
done
for word; do
  case $word in -*|install|add|DPkg*) ;; *) echo "$word" >>"$here/there" ;; esac
done
"""


def played(folder: Path, shell: Sequence[str], program: str, *words: str, known: str = "", there: str = "") -> str:
    """What the script says and how it ends, in a world with one package manager."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name in ("grep", "tail", "cat", "echo", "printf", "sh"):
        path = shutil.which(name)
        if path and not (tools / name).exists():
            (tools / name).symlink_to(path)
    for name in (program, *(("dpkg-query",) if program == "apt-get" else ("rpm",) if program != "apk" else ())):
        (tools / name).write_text(PROGRAM.format(here=folder))
        (tools / name).chmod(0o755)
    (folder / "known").write_text("".join(f"{name}\n" for name in known.split()))
    (folder / "there").write_text("".join(f"{name}\n" for name in there.split()))
    (folder / "said").write_text("")
    text = SCRIPT.replace("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin", "")  # nothing of this host
    path = shutil.which(shell[0])
    assert path, shell
    done = subprocess.run(
        [path, *shell[1:], "-c", text, "sh", *words],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return f"{done.stdout}exit {done.returncode}\n"


def asked(folder: Path) -> list[str]:
    return (folder / "said").read_text().splitlines()


@pytest.mark.parametrize(
    ("program", "shell"),
    [
        (program, shell)
        for program in MANAGERS
        for shell in SHELLS
        if program in ("apt-get", "apk") or shell[0] != "busybox"  # its shell has an rpm of its own
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_each_package_manager_is_asked_once_for_its_own_and_for_what_lacks(
    program: str, shell: Sequence[str], tmp_path: Path
) -> None:
    own = "apt" if program == "apt-get" else program
    words = [f"{own}:fio", "pacman:other", f"{own}:there", f"{own}:lib++"]
    said = played(tmp_path, shell, program, *words, known="fio lib++", there="there")
    assert said == "added fio\nadded lib++\nexit 0\n"
    refresh, install = asked(tmp_path)
    assert re.search("update|makecache|refresh", refresh)
    assert install.endswith(" fio lib++")


@pytest.mark.parametrize("program", MANAGERS)
def test_one_that_is_not_to_be_had_does_not_take_the_others_with_it(program: str, tmp_path: Path) -> None:
    own = "apt" if program == "apt-get" else program
    said = played(tmp_path, ["dash"], program, f"{own}:fio", f"{own}:gone", f"{own}:socat", known="fio socat")
    assert said == "added fio\nlacks gone: no package gone\nadded socat\nexit 0\n"


def test_nothing_is_refreshed_where_everything_is_there(tmp_path: Path) -> None:
    assert played(tmp_path, ["dash"], "dnf", "dnf:fio", "apt:fio", there="fio") == "exit 0\n"
    assert asked(tmp_path) == []


def test_a_machine_without_a_network_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "offline").touch()
    assert played(tmp_path, ["dash"], "apt-get", "apt:fio", "apt:socat") == "no route\nexit 1\n"
    assert len(asked(tmp_path)) == 2


def test_packages_that_lie_in_the_machine_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "offline").touch()
    assert played(tmp_path, ["dash"], "apt-get", "apt:fio", known="fio") == "added fio\nexit 0\n"


def test_a_package_manager_that_nobody_knows_is_told(tmp_path: Path) -> None:
    said = played(tmp_path, ["dash"], "pacman", "apt:fio")
    assert said.startswith("there is no package manager that is known")
    assert said.endswith("exit 1\n")


def test_the_script_is_plain() -> None:
    check = ["shellcheck", "-s", "sh", "-"]
    done = subprocess.run(check, input=SCRIPT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_debians_names_are_those_that_debian_has() -> None:
    names = {
        name
        for folder in files.shipped("suites").iterdir()
        if (folder / "suite.yaml").is_file()
        for name in load_suite(folder, registry.known()).packages.get(PackageManager.APT, ())
    }
    done = subprocess.run(["apt-cache", "policy", *names], capture_output=True, text=True, timeout=120, check=True)
    has = {
        name
        for name, candidate in re.findall(r"^(\S+):\n.*\n  Candidate: (.*)$", done.stdout, re.MULTILINE)
        if candidate != "(none)"
    }
    assert names - has == set()


# ---- a real machine ------------------------------------------------------------------------------------------------

PIPELINE = """\
name: packages
image: {path: disk.raw}
profiles: [bios]
suites: [./mine]
install_packages: true
"""
SUITE = """\
schema: 1
name: mine
driver: shell
packages:
  apt: [lisa-ci-hello, lisa-ci-nowhere]
  dnf: [something-else]
cases:
  - {id: says-hello, description: The package is there., run: [lisa-ci-hello]}
"""
CONTROL = """\
Package: lisa-ci-hello
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: says hello
"""


def package(folder: Path) -> Mapping[str, Path]:
    """A repository of one package, as files by name."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(CONTROL)
    program = tree / "usr/bin/lisa-ci-hello"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    place = folder / "repository"
    place.mkdir()
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, place / "hello.deb"], check=True, capture_output=True)
    index = subprocess.run(["dpkg-scanpackages", "."], cwd=place, check=True, capture_output=True).stdout
    (place / "Packages").write_bytes(index)
    return {path.name: path for path in place.iterdir()}


def test_a_machine_gets_what_its_repository_has_and_the_run_says_what_changed(tmp_path: Path) -> None:
    disk = EditedImage.of(demo_image_path(), tmp_path / "disk.raw")
    disk.change(
        ["mkdir /srv/packages", *(f"write {path} /srv/packages/{name}" for name, path in package(tmp_path).items())]
    )
    disk.change([f"rm /etc/apt/{name}" for name in ("sources.list", "sources.list.d/0000sources.list")])
    disk.write("/etc/apt/sources.list.d/test.list", "deb [trusted=yes] file:/srv/packages ./\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/suite.yaml").write_text(SUITE)
    (tmp_path / "lisa-ci.yml").write_text(PIPELINE)
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    for words in (("plan", "--out", "plan.json"), ("run", "bios", "--plan", "plan.json", "--out", "results")):
        done = subprocess.run(
            [LISA_CI, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
    assert (
        "package lisa-ci-nowhere cannot be installed in bios: E: Unable to locate package lisa-ci-nowhere"
        in done.stderr
    )
    folder = LegFolder(tmp_path / "results/bios")
    run = files.decode(Run, folder.run.read_bytes(), place="run")
    assert run.changes[1:] == ("packages in bios: lisa-ci-hello",)
    assert Outcome.PASSED.value in folder.journal.read_text()
