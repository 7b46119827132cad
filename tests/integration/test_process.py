from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import process
from lisa_ci.errors import ToolError

SECONDS = timedelta(seconds=20)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def test_input_and_both_outputs_pass_without_a_deadlock() -> None:
    data = os.urandom(3 << 20)
    finished = process.run(["sh", "-c", "cat; echo end >&2; exit 3"], timeout=SECONDS, stdin=data, limit=4 << 20)
    assert (finished.exit, finished.stdout, finished.stderr) == (3, data, b"end\n")


def test_output_beyond_the_limit_is_thrown_away() -> None:
    finished = process.run(["head", "-c", "200000000", "/dev/zero"], timeout=SECONDS, limit=1000)
    assert (finished.exit, len(finished.stdout)) == (0, 1000)


def test_a_timeout_kills_all_that_was_started(tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/pid; sleep 300"
    with pytest.raises(ToolError, match=r"sh did not end within 0\.5 s"):
        process.run(["sh", "-c", script], timeout=timedelta(seconds=0.5))
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


def test_a_child_in_the_background_does_not_hold_us() -> None:
    start = time.monotonic()
    assert process.run(["sh", "-c", "sleep 30 & echo hi"], timeout=SECONDS).stdout == b"hi\n"
    assert time.monotonic() - start < 10


def test_a_failure_is_told_with_the_end_of_stderr() -> None:
    with pytest.raises(ToolError, match="sh failed with exit code 9: no such disk"):
        process.check(["sh", "-c", "echo no such disk >&2; exit 9"], timeout=SECONDS)
    with pytest.raises(ToolError, match="killed by signal 9"):
        process.check(["sh", "-c", "kill -9 $$"], timeout=SECONDS)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolError, match="program 'no-such-program' is not installed"):
        process.run(["no-such-program"], timeout=SECONDS)


def test_a_stream_is_whole_and_its_failure_is_not_lost() -> None:
    assert (
        sum(len(block) for block in process.stream(["head", "-c", "50000000", "/dev/zero"], timeout=SECONDS))
        == 50000000
    )
    with pytest.raises(ToolError, match="exit code 2"):
        list(process.stream(["sh", "-c", "echo x; exit 2"], timeout=SECONDS))


def test_a_stream_that_nobody_reads_to_its_end_leaves_no_process(tmp_path: Path) -> None:
    blocks = process.stream(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec cat /dev/zero"], timeout=SECONDS)
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


def test_a_spawned_program_dies_with_us_even_by_sigkill(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lisa_ci import process\n"
        f"child = process.spawn(['sleep', '300'], stdout=Path({str(tmp_path / 'out')!r}))\n"
        "print(child.pid, flush=True); time.sleep(300)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
    assert wait_until_gone(pid)


def test_a_command_whose_parent_is_dead_before_the_kernel_was_asked_does_not_begin(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert process.run([*process.dies_with(gone.pid), "touch", tmp_path / "begun"], timeout=SECONDS).exit == 1
    assert not (tmp_path / "begun").exists()
    process.check([*process.dies_with(os.getpid()), "touch", tmp_path / "begun"], timeout=SECONDS)
    assert (tmp_path / "begun").exists()
