"""LTP cases in one QEMU machine: lisa-ci's runner beside the same commands in one shell loop there, and kirk 4.2.

    python benchmarks/ltp.py IMAGE [--count 200] [--rounds 3] [--ltp FOLDER] [--wait MS] [--kirk 200]

Without --ltp (an LTP that is installed in a folder of this host, as /opt/ltp is), a stand-in takes its place, because
no package of Debian 12 holds LTP: benchmarks/ltp_standin.c, one program that does what LTP's library does around a
test and prints its lines, under COUNT names. The loop has the least that gives the same answers: for each line of the
runtest file `sh -c` with LTP's environment, output into a file of its own, the exit status told. --kirk N runs the
first N lines by kirk over the same SSH server; 0 leaves it out. A stand-in does as little as a test can; with --wait
each takes so many milliseconds longer, as tests do that wait, sleep or loop.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import peers
from lisa_ci import files, image, registry
from lisa_ci.drivers.ltp import LtpDriver
from lisa_ci.execution.caselist import Planned
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.dialogue import Dialogue, Surroundings
from lisa_ci.execution.install import Installed, install, new_name
from lisa_ci.execution.inventory import discover, in_folder
from lisa_ci.execution.kernel_log import KernelLog
from lisa_ci.execution.record import Record
from lisa_ci.model import Access, Command, ImageSource, Lease, Outcome, Profile, Subject, Suite, Timeouts
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.protocols import Machine
from lisa_ci.ssh import Login, SshMachine

LIMIT = timedelta(minutes=15)
TARGET = 1.05
RUNTEST = "bench"
LOOP = r"""
mul=$2 out=$(mktemp -d) || exit 1
export LTPROOT=/opt/ltp TMPDIR=/var/tmp LTP_TIMEOUT_MUL="$mul" LTP_COLORIZE_OUTPUT=n
export PATH=/opt/ltp/testcases/bin:/opt/ltp/bin:$PATH
cd /opt/ltp/testcases/bin || exit 1
while read -r tag command; do
  sh -c "$command" >"$out/$tag" 2>&1 </dev/null
  echo "$tag $?"
done <"/opt/ltp/runtest/$1"
rm -rf "$out"
"""


def make_ltp(folder: Path, count: int, installed: Path | None, wait: int) -> None:
    """An LTP in ``folder``, with a runtest file of ``count`` lines: the stand-in, or what is installed.

    Each stand-in waits for ``wait`` milliseconds beside what it does.
    """
    (folder / "runtest").mkdir(parents=True)
    programs = folder / "testcases/bin"
    if installed is not None:
        shutil.copytree(installed / "testcases", folder / "testcases")
        text = (installed / "runtest/syscalls").read_text()
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][:count]
    else:
        programs.mkdir(parents=True)
        source = Path(__file__).with_name("ltp_standin.c")
        subprocess.run(["gcc", "-O2", "-static", "-o", programs / "call", source], check=True)
        lines = [f"call{number:03} call{number:03}" + (f" {wait}" if wait else "") for number in range(count)]
        for line in lines:
            (programs / line.split()[0]).symlink_to("call")
    (folder / "runtest" / RUNTEST).write_text("".join(f"{line}\n" for line in lines))
    (folder / "Version").write_text("stand-in\n" if installed is None else (installed / "Version").read_text())


def put(machine: Machine, folder: Path) -> None:
    packed = subprocess.run(["tar", "-c", "-C", folder.parent, folder.name], capture_output=True, check=True).stdout
    if machine.run("tar", "-x", "-f", "-", "-C", "/opt", timeout=LIMIT, stdin=packed).exit != 0:
        sys.exit("the programs could not be copied into the machine")


def by_loop(machine: Machine, count: int, factor: str) -> float:
    started = time.monotonic()
    completed = machine.run("sh", "-c", LOOP, "loop", RUNTEST, factor, timeout=LIMIT)
    taken = time.monotonic() - started
    told = completed.output.decode().split()
    if completed.exit != 0 or told[1::2] != ["0"] * count:
        sys.exit(f"the loop does not say {count} times 0: {' '.join(told)[-300:]}")
    return taken


def by_lisa_ci(machine: Machine, installed: Installed, suite: Suite, count: int) -> float:
    """Seconds of the inventory and of all cases, results judged and on this host's disk."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        cases = discover(suite, registry.driver, machine, installed.suite("ltp"), LIMIT)
        planned = [
            Planned(
                case=case,
                command=LtpDriver().command(case),
                timeout=suite.timeout or LIMIT,
                folder=installed.suite("ltp"),
                environment=suite.environment,
            )
            for case in cases
        ]
        with Record(files.LegFolder(Path(folder)), "bench", lambda _: None, reproduce="{case}") as record:
            around = Surroundings(
                environment={},
                driver=registry.driver,
                drivers={"ltp": "ltp"},
                record=record,
                console=KernelLog((), today=datetime.now(UTC).date()),
                deadline=Deadline(timedelta(hours=1)),
                silence=timedelta(minutes=2),
                emit=lambda _: None,
            )
            Dialogue(machine, installed, planned, around).run()
        taken = time.monotonic() - started
        outcomes = [result.outcome for result in files.read_journal(Path(folder) / "journal.ndjson")]
    if outcomes != [Outcome.PASSED] * count:
        sys.exit(f"{len(outcomes)} results, not {count} that passed")
    return taken


def by_kirk(login: Login, count: int) -> float:
    """Seconds of the whole of kirk; it logs in for each case."""
    programs = peers.installed("kirk 4.2", ("kirk==4.2", "asyncssh"), (3, 11))
    with tempfile.TemporaryDirectory(prefix="lisa-ci-kirk-") as folder:
        home = Path(folder)
        (home / ".ssh").mkdir()
        (home / ".ssh/known_hosts").write_text(f"[{login.host}]:{login.port} {login.host_key}\n")
        way = f"ssh:host={login.host}:port={login.port}:user={login.user}:key_file={login.key}"
        command = [programs / "kirk", "--com", way, "--sut", "default:com=ssh", "--run-suite", f"{RUNTEST}-{count}"]
        environment = {**os.environ, "HOME": folder, "LTPROOT": "/opt/ltp"}
        started = time.monotonic()
        finished = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=3600
        )
        taken = time.monotonic() - started
    if finished.returncode != 0:
        raise peers.NotMeasuredError(f"exit {finished.returncode}: {(finished.stdout + finished.stderr)[-500:]}")
    return taken


def measure(machine: SshMachine, count: int, rounds: int, kirk: int) -> tuple[list[float], str]:
    suite = load_suite(files.shipped("suites") / "ltp", registry.known())
    suite = replace(suite, environment={"LTPROOT": "/opt/ltp", "LTP_RUNTEST": RUNTEST})
    installed = install(machine, {"ltp": suite}, name=new_name(), timeout=LIMIT)
    prepare = in_folder(Command(arguments=suite.prepare), installed.suite("ltp"), suite.environment)
    if machine.run(*prepare, timeout=LIMIT).exit != 0:
        sys.exit("suite ltp could not be prepared")
    ready = machine.run("cat", f"{installed.suite('ltp')}/ready", timeout=LIMIT).output.decode().split()
    ratios = []
    for number in range(1, rounds + 1):
        loop = by_loop(machine, count, ready[1])
        ours = by_lisa_ci(machine, installed, suite, count)
        ratios.append(ours / loop)
        print(f"round {number}: loop {loop:.2f} s, lisa-ci {ours:.2f} s, ratio {ours / loop:.3f}", flush=True)
    if not kirk:
        return ratios, "kirk 4.2: left out"
    shorten = f"head -n {kirk} /opt/ltp/runtest/{RUNTEST} >/opt/ltp/runtest/{RUNTEST}-{kirk}"
    machine.run("sh", "-c", shorten, timeout=LIMIT)
    try:
        taken = by_kirk(machine.login, kirk)
    except peers.NotMeasuredError as error:
        return ratios, f"kirk 4.2: none: {error}"
    per_case = (
        f"{1000 * taken / kirk:.0f} ms a case; the loop {1000 * loop / count:.0f}, lisa-ci {1000 * ours / count:.0f}"
    )
    return ratios, f"kirk 4.2: {kirk} cases in {taken:.1f} s, {per_case}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ltp", type=Path, help="an LTP that is installed on this host")
    parser.add_argument("--wait", type=int, default=0, help="milliseconds that each stand-in waits as well")
    parser.add_argument("--kirk", type=int, default=200, help="cases for kirk")
    options = parser.parse_args()
    path = options.image.resolve()
    subject = Subject(image=image.resolve(ImageSource(path=str(path)), path.parent))
    with tempfile.TemporaryDirectory(prefix="lisa-ci-ltp-") as folder:
        make_ltp(Path(folder) / "ltp", options.count, options.ltp, options.wait)
        lease = Lease(
            owner="benchmark",
            leg="ltp",
            attempt=1,
            delete_after=datetime.now(UTC) + timedelta(hours=2),
            evidence=Path(folder) / "evidence",
            scratch=Path(folder) / "scratch",
        )
        timeouts = Timeouts(boot=LIMIT)
        with QemuPlatform().provision(
            Profile(name="small", cores=2), subject, Access(), lease, timeouts=timeouts, emit=lambda _: None
        ) as group:
            [machine] = group.members
            put(machine, Path(folder) / "ltp")
            ratios, kirk = measure(machine, options.count, options.rounds, options.kirk)
    ratio = statistics.median(ratios)
    kind = "LTP" if options.ltp else "stand-ins for LTP"
    print(f"{options.count} {kind} in one machine, median of {options.rounds}: {ratio:.3f} (asked: at most {TARGET})")
    print(kirk)
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
