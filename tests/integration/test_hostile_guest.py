"""A machine that does its worst, through the whole of ``lisa-ci run`` on GitHub: nothing on the host changes outside of
the leg's folder, what is in it is plain and bounded, and GitHub finds no command but ours in what is printed.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Outcome
from tests.doubles.far_desk import FarDesk

LONGEST = 120  # seconds

WORST = {
    "commands": r"""printf '::error title=pwned::pwned\n  ::set-output name=a::pwned\n##[error]pwned\n::endgroup::\n'
printf 'x ##[command]pwned\r::add-mask::pwned\n::stop-commands::pwned\n::pwned::\n::debug::pwned\n'; exit 1""",
    "terminal": r"""printf '\033]0;pwned\007\033[2J\033[31mred\033[?1049h\033P+q\033\\ \302\233 31m\n\b\b\b'; exit 1""",
    "zeros": r"""dd if=/dev/zero bs=65536 count=100 2>/dev/null; exit 1""",
    "gigabyte": r"""head -c 1073741824 /dev/zero; exit 1""",
    "frames": r"""for fd in 3 4 5 6 7 8 9; do { printf 'END 5 4\nexit' >&$fd; } 2>/dev/null; done
printf 'BYE 0 0\nEND 5 60\nexit=0 wall_ms=1 cpu_us=1 memory=1 dropped=0 lost=0 timeout=0'; exit 1""",
    "not-text": r"""dd if=/dev/urandom bs=4096 count=20 2>/dev/null; exit 1""",
    "last-line": r"""printf '::error::pwned'; exit 1""",
    "message": r"""printf '</failure>]]><!-- & \001 \ud800 %%0A::error::pwned\n'; exit 1""",
    # Names, links and devices where things are collected from, and programs that lie.
    "names": r"""cd /var/tmp; mkdir "$(printf 'a\n::error::pwned')"; ln -s /etc/shadow core.link; mkfifo core.1
ln -s ../../../../../../etc/passwd ..x; mkdir -p /run/log/journal; ln -s /dev/zero /run/log/journal/zero; exit 1""",
    "journal": r"""for f in /var/tmp/lisa-ci-*/journal; do printf 'E 1 0 0\nE 99999999999999999999 0\n' >>"$f"
head -c 2000000 /dev/zero >>"$f"; done; exit 1""",
}
ALLOWED = {"group", "endgroup", "stop-commands", "error", "warning", "notice", "add-mask"}


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """A home, a folder for temporary files and GitHub's own files, all in the folder that is watched."""
    places = {name: tmp_path / name for name in ("home", "temporary", "runner")}
    for place in places.values():
        place.mkdir()
    own = ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
    for name in own:
        (tmp_path / "runner" / name).touch()
    return {
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "GITHUB_ACTIONS": "true",
        **{name: str(tmp_path / "runner" / name) for name in own},
    }


def everything(folder: Path, *, but: Path) -> dict[str, str]:
    """What is below a folder: name -> kind, mode, target or digest. Without ``but``."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_relative_to(but):
            continue
        facts = path.lstat()
        content = ""
        if path.is_symlink():
            content = str(path.readlink())
        elif stat.S_ISREG(facts.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = f"{stat.filemode(facts.st_mode)} {content}"
    return found


def commands_in(printed: str) -> Iterator[str]:
    """The workflow commands that GitHub's runner finds, as its ActionCommandManager does: names."""
    stopped = ""
    for line in re.split(r"\r\n|\r|\n", printed):
        text = line.lstrip()
        second = re.match(r"::([^\s:]+)( [^:]*)?::(.*)", text)
        if stopped:
            if second and second[1] == stopped:
                stopped = ""
            continue
        if second:
            yield second[1]
            if second[1] == "stop-commands":
                stopped = second[3]
        elif "##[" in line:
            yield line


def run(desk: FarDesk, surroundings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return desk.call(desk.run_command, surroundings)


def check_leg(folder: Path) -> None:
    """Only folders and regular files, with names that can be shown, and bounded."""
    total = 0
    for path in folder.rglob("*"):
        facts = path.lstat()
        assert stat.S_ISDIR(facts.st_mode) or stat.S_ISREG(facts.st_mode), path
        assert path.name.isprintable()
        assert path.name.isascii()
        total += facts.st_size
    assert total < 64 << 20


def test_a_machine_that_does_its_worst_changes_nothing_and_commands_nobody(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    with FarDesk(tmp_path / "desk", WORST, told=lambda _: None) as desk:
        leg = tmp_path / "desk/results"
        before = everything(tmp_path, but=leg)
        finished = run(desk, surroundings)
        assert everything(tmp_path, but=leg) == before
        assert finished.returncode == 0, finished.stderr
        printed = finished.stdout + finished.stderr
        assert set(commands_in(printed)) <= ALLOWED, printed
        assert "\x1b" not in printed
        assert "\0" not in printed
        assert len(printed) < 1 << 20
        check_leg(leg)
        results = {result.case: result for result in desk.results()}
        assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(WORST, Outcome.FAILED)
        assert all(len(result.message) <= 500 for result in results.values())
        assert (leg / "desk/cases/s/gigabyte.log").stat().st_size < 200_000
        report = desk.call(
            desk.command("report", "--plan", "plan.json", "--results", "results", "--out", "report"), surroundings
        )
        assert report.returncode == 1, report.stderr
        assert set(commands_in(report.stdout + report.stderr)) <= ALLOWED, report.stdout + report.stderr


@pytest.mark.parametrize(
    "listing",
    [
        r"printf '../../../escape\ttrue\n'",
        r"printf '::error::pwned\ttrue\n'",
        r"printf 'a\001b\ttrue\n\033[2Jx\ttrue\n'",
        r"tr '\0' a </dev/zero | head -c 3000000",
        r"yes",
        r"printf 'same\ttrue\nsame\tfalse\n'",
        r"printf 'CON\ttrue\n.\ttrue\n..\ttrue\n.lock\ttrue\n'",
        r"kill -9 $$",
    ],
    ids=["dots", "command", "control", "one-line", "endless", "twice", "odd", "killed"],
)
def test_a_machine_that_lists_its_cases_falsely_names_no_file_of_ours(
    tmp_path: Path, surroundings: dict[str, str], listing: str
) -> None:
    with FarDesk(tmp_path / "desk", {}, told=lambda _: None, listing=listing) as desk:
        leg = tmp_path / "desk/results"
        before = everything(tmp_path, but=leg)
        finished = run(desk, surroundings)
        assert everything(tmp_path, but=leg) == before
        assert finished.returncode in {0, 4}, finished.stderr
        assert "Traceback" not in finished.stderr
        assert set(commands_in(finished.stdout + finished.stderr)) <= ALLOWED, finished.stderr
        assert len(finished.stderr) < 1 << 20
        check_leg(leg)
        assert not (tmp_path / "desk/escape").exists()
        evidence = files.read_leg(desk.leg)
        assert evidence is not None
        names = [result.case for result in evidence.results()]
        assert len(names) == len(set(names))
        assert all(os.sep not in name and name not in {".", ".."} for name in names)
