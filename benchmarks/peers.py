"""Other tools that run many cases in a machine over SSH, as their documentation says: each from PyPI, in a virtual
environment of its own in the user's cache. What cannot be installed or does not run is said, never guessed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from lisa_ci.ssh import Login

_CASES: Final = (2, 12)  # the difference between the two runs is cases only, not the start of the tool
_MINUTES: Final = 10 * 60
_NEWEST_MINOR: Final = 14  # of Python 3


class NotMeasuredError(Exception):
    """Says why a peer has no figure."""


def measure_all(login: Login) -> dict[str, float | str]:
    """Seconds a case by peer, or why there are none."""
    found: dict[str, float | str] = {}
    peers: dict[str, tuple[tuple[str, ...], tuple[int, int], Callable[[Path, Login, int, Path], list[str]]]] = {
        "kirk 4.2": (("kirk==4.2", "asyncssh"), (3, 11), _kirk),
        "mslisa": (("mslisa",), (3, 11), _mslisa),
        "tmt 1.80": (("tmt==1.80",), (3, 12), _tmt),
    }
    for name, (requirements, oldest, prepare) in peers.items():
        try:
            programs = installed(name, requirements, oldest)
            few, many = (_seconds(prepare, programs, login, count) for count in _CASES)
            found[name] = (many - few) / (_CASES[1] - _CASES[0])
        except NotMeasuredError as error:
            found[name] = f"      none: {error}"
        print(f"{name}: {found[name]}", flush=True)
    return found


def _interpreter(oldest: tuple[int, int]) -> str:
    """A Python that the peer accepts: ours, or another one of this host."""
    if sys.version_info >= oldest:
        return sys.executable
    for minor in range(oldest[1], _NEWEST_MINOR + 1):
        for found in _pythons(minor):
            # A shim of pyenv is there for versions that are not chosen as well, and only then says so.
            wanted = f"import sys, venv; sys.exit(sys.version_info[:2] != (3, {minor}))"
            if subprocess.run([found, "-c", wanted], capture_output=True, check=False).returncode == 0:
                return str(found)
    raise NotMeasuredError(
        f"not installed: it needs Python {oldest[0]}.{oldest[1]} or newer, which is neither on PATH nor among pyenv's"
    )


def _pythons(minor: int) -> Iterator[Path]:
    """Where a Python 3.MINOR may be: on PATH, or one that pyenv has built."""
    if on_path := shutil.which(f"python3.{minor}"):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/3.{minor}*/bin/python3.{minor}"))


def installed(name: str, requirements: tuple[str, ...], oldest: tuple[int, int]) -> Path:
    """The folder of its programs; NotMeasuredError where it cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "lisa-ci" / "benchmarks" / name.replace(" ", "-")
    if not (folder / "complete").exists():
        subprocess.run([_interpreter(oldest), "-m", "venv", "--clear", folder], check=True)
        command = [folder / "bin" / "pip", "install", "-q", *requirements]
        installed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_MINUTES)
        if installed.returncode != 0:
            raise NotMeasuredError(f"not installed: {_last(installed.stderr)}")
        (folder / "complete").touch()
    return folder / "bin"


def _seconds(prepare: Callable[[Path, Login, int, Path], list[str]], programs: Path, login: Login, count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="lisa-ci-peer-") as folder:
        command = prepare(programs, login, count, Path(folder))
        path = f"{programs}:{os.environ.get('PATH', os.defpath)}"
        started = time.monotonic()
        try:
            finished = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "PATH": path, "LTPROOT": folder, "HOME": folder},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_MINUTES,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotMeasuredError(str(error)[:200]) from error
        taken = time.monotonic() - started
        if finished.returncode != 0:
            raise NotMeasuredError(f"exit {finished.returncode}: {_last(finished.stdout + finished.stderr)}")
        if not any(f"case{mark}{count - 1}" in finished.stdout + finished.stderr for mark in ("", "_")):
            raise NotMeasuredError("it ended well and did not tell of the last case")
        return taken


def _kirk(programs: Path, login: Login, count: int, folder: Path) -> list[str]:
    (folder / "runtest").mkdir()
    (folder / "runtest" / "bench").write_text("".join(f"case{number} true\n" for number in range(count)))
    (folder / "testcases" / "bin").mkdir(parents=True)
    (folder / ".ssh").mkdir()
    (folder / ".ssh" / "known_hosts").write_text(f"[{login.host}]:{login.port} {login.host_key}\n")
    way = f"ssh:host={login.host}:port={login.port}:user={login.user}:key_file={login.key}"
    return [str(programs / "kirk"), "--com", way, "--sut", "default:com=ssh", "--run-suite", "bench"]


def _mslisa(programs: Path, login: Login, count: int, folder: Path) -> list[str]:
    (folder / "suite").mkdir()
    cases = "".join(
        f'    @TestCaseMetadata(description="true", priority=0)\n'
        f"    def case_{number}(self, node: Node) -> None:\n"
        f'        node.execute("true", expected_exit_code=0)\n\n'
        for number in range(count)
    )
    (folder / "suite" / "bench.py").write_text(
        "from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata\n\n\n"
        '@TestSuiteMetadata(area="bench", category="functional", description="bench")\n'
        f"class Bench(TestSuite):\n{cases}"
    )
    (folder / "bench.yml").write_text(
        textwrap.dedent(
            f"""\
            name: bench
            extension: [./suite]
            environment:
              environments:
                - nodes:
                    - {{type: remote, address: {login.host}, port: {login.port}, public_address: {login.host},
                       public_port: {login.port}, username: {login.user}, private_key_file: {login.key}}}
            platform: [{{type: ready}}]
            testcase: [{{criteria: {{area: bench}}}}]
            """
        )
    )
    return [str(programs / "lisa"), "-r", "bench.yml", "-l", "log", "-w", "work"]


def _tmt(programs: Path, login: Login, count: int, folder: Path) -> list[str]:
    if shutil.which("rsync") is None:
        raise NotMeasuredError("it needs rsync on this host")
    (folder / ".fmf").mkdir()
    (folder / ".fmf" / "version").write_text("1\n")
    (folder / "bench.fmf").write_text("".join(f"/case{number}:\n  test: 'true'\n" for number in range(count)))
    (folder / "plan.fmf").write_text("discover: {how: fmf}\nexecute: {how: tmt}\n")
    guest = ["--guest", login.host, "--port", str(login.port), "--user", login.user, "--key", str(login.key)]
    steps = ["discover", "provision", "--how", "connect", *guest, "prepare", "execute", "report", "finish"]
    return [str(programs / "tmt"), "--feeling-safe", "run", "--verbose", *steps]


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["nothing was said"])[-1][:160]
