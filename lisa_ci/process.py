"""Programs on the host: the only module that starts any. No shell reads their words; always a timeout, no pipe left.

A program that outlives us is a leak, so everything started here runs in a session of its own, is killed as a whole
group, and asks the kernel (``PR_SET_PDEATHSIG``, set by util-linux' ``setpriv``) to be killed when we die.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import IOBase
from pathlib import Path
from typing import Final

from lisa_ci.errors import ToolError

OUTPUT_LIMIT: Final = 1 << 20
_BLOCK: Final = 1 << 20
_POLL_SECONDS: Final = 0.2
_STDIN, _STDOUT, _STDERR = "stdin", "stdout", "stderr"

Arguments = Sequence[str | Path]
Child = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended. A signal is ``-number``. ``stdout`` and ``stderr`` hold at most the limit's first bytes."""

    exit: int
    stdout: bytes
    stderr: bytes


def find(program: str) -> str | None:
    """The program's path; the administrator's folders are searched even where a user's PATH lacks them."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    return shutil.which(program, path=path)


def run(
    arguments: Arguments,
    *,
    timeout: timedelta,
    stdin: bytes = b"",
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limit: int = OUTPUT_LIMIT,
) -> Finished:
    """Run to the end. What is printed beyond ``limit`` bytes a stream is read and thrown away.

    ``environment`` is added to ours. ToolError where the program is missing or does not end within ``timeout``.
    """
    kept = {_STDOUT: bytearray(), _STDERR: bytearray()}
    with _started(arguments, directory=directory, environment=environment, with_stdin=bool(stdin)) as process:
        for name, data in _output(process, stdin, timeout):
            kept[name] += data[: max(0, limit - len(kept[name]))]
        exit_code = process.wait()
    return Finished(exit=exit_code, stdout=bytes(kept[_STDOUT]), stderr=bytes(kept[_STDERR]))


def check(
    arguments: Arguments,
    *,
    timeout: timedelta,
    stdin: bytes = b"",
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limit: int = OUTPUT_LIMIT,
) -> bytes:
    """Like ``run``, but ToolError with the end of stderr where the exit code is not 0. The answer is stdout."""
    finished = run(arguments, timeout=timeout, stdin=stdin, directory=directory, environment=environment, limit=limit)
    if finished.exit != 0:
        raise ToolError(_failure(arguments, finished.exit, finished.stderr))
    return finished.stdout


def spawn(
    arguments: Arguments,
    *,
    stdout: Path,
    stderr: Path | None = None,
    stdin: int | None = None,
    pass_fds: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    dies_with_us: bool = True,
) -> Child:
    """Start a program that goes on beside us, with files for its output: an orphan must never hold our pipes open.

    ``stderr`` None joins stdout. With ``dies_with_us`` the kernel kills it when the *thread* that called this ends,
    so call it from a thread that lives as long as the program should.
    """
    command = _command(arguments)
    if dies_with_us:
        command = [*dies_with(os.getpid()), *command]
    with ExitStack() as files:
        out = files.enter_context(stdout.open("ab"))
        error = files.enter_context(stderr.open("ab")) if stderr else subprocess.STDOUT
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=out,
                stderr=error,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
                env=_environment(environment),
            )
        except OSError as cause:
            raise ToolError(f"cannot start {command[0]}: {cause.strerror}") from cause


def stream(
    arguments: Arguments, *, timeout: timedelta, environment: Mapping[str, str] | None = None
) -> Generator[bytes, None, None]:
    """stdout in blocks of at most 1 MiB as they come; closing it ends the program.

    ToolError at the end where the exit code is not 0.
    """
    errors = bytearray()
    with _started(arguments, environment=environment) as process:
        for name, data in _output(process, b"", timeout):
            if name == _STDOUT:
                yield data
            else:
                errors += data[: max(0, OUTPUT_LIMIT - len(errors))]
        exit_code = process.wait()
    if exit_code != 0:
        raise ToolError(_failure(arguments, exit_code, bytes(errors)))


def attach(arguments: Arguments) -> int:
    """Run a program for the person at our terminal: it gets our stdin, stdout and stderr. Its exit code."""
    try:
        return subprocess.call(_command(arguments))
    except OSError as error:
        raise ToolError(f"cannot start {arguments[0]}: {error.strerror}") from error


def dies_with(parent: int) -> list[str]:
    """The words before a command that its parent starts, so that the kernel kills it when that process dies.

    A parent that is dead before the kernel was asked has another process in its place: the command does not begin.
    """
    return [_path("setpriv"), "--pdeathsig", "KILL", "--", "sh", "-c", '[ "$PPID" -eq "$0" ] && exec "$@"', str(parent)]


def kill_group(process: Child) -> None:
    """End a program and all it started; never raises."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


# ---- inside --------------------------------------------------------------------------------------------------------


def _command(arguments: Arguments) -> list[str]:
    return [_path(str(arguments[0])), *(str(argument) for argument in arguments[1:])]


def _path(program: str) -> str:
    path = find(program)
    if path is None:
        hint = "run 'lisa-ci doctor' to see which package has it"
        raise ToolError(f"program '{program}' is not installed", hint=hint)
    return path


def _environment(added: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(added or {})}


def _failure(arguments: Arguments, exit_code: int, stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()[-3:]
    how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"failed with exit code {exit_code}"
    return f"{Path(arguments[0]).name} {how}" + (
        f": {' / '.join(line.strip()[:300] for line in lines)}" if lines else ""
    )


@contextmanager
def _started(
    arguments: Arguments,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    with_stdin: bool = False,
) -> Iterator[Child]:
    """A process in a group of its own; the group is dead and the pipes are closed on every way out."""
    command = _command(arguments)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if with_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            start_new_session=True,
            env=_environment(environment),
        )
    except OSError as error:
        raise ToolError(f"cannot start {command[0]}: {error.strerror}") from error
    try:
        yield process
    finally:
        kill_group(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _output(process: Child, stdin: bytes, timeout: timedelta) -> Iterator[tuple[str, bytes]]:
    """What the process prints, as (stream, block), until both streams end; ``stdin`` is written meanwhile.

    A grandchild that keeps the streams open does not hold us: once the process itself has ended, only what is
    already in the pipes is read.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    remaining = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for name, pipe in ((_STDOUT, process.stdout), (_STDERR, process.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, name)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, _STDIN)
        while any(key.data != _STDIN for key in selector.get_map().values()):
            left = deadline - time.monotonic()
            if left <= 0:
                name = Path(str(process.args[0] if isinstance(process.args, list) else process.args)).name
                raise ToolError(f"{name} did not end within {timeout.total_seconds():g} s")
            ready = selector.select(min(left, _POLL_SECONDS))
            if not ready and process.poll() is not None:
                return
            for key, _ in ready:
                if key.data == _STDIN:
                    remaining = _fed(selector, key, remaining)
                    continue
                data = os.read(key.fd, _BLOCK)
                if data:
                    yield key.data, data
                else:
                    selector.unregister(key.fileobj)
        _wait_until(process, deadline, timeout)


def _fed(selector: selectors.BaseSelector, key: selectors.SelectorKey, remaining: memoryview) -> memoryview:
    """Write what the pipe takes; close it after the last byte, or when the program no longer reads."""
    try:
        remaining = remaining[os.write(key.fd, remaining[:_BLOCK]) :]
    except BlockingIOError:
        return remaining
    except BrokenPipeError:
        remaining = remaining[:0]
    if not remaining:
        selector.unregister(key.fileobj)
        if isinstance(key.fileobj, IOBase):
            with suppress(OSError):
                key.fileobj.close()
    return remaining


def _wait_until(process: Child, deadline: float, timeout: timedelta) -> None:
    """A program may close its streams long before it ends."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{Path(error.cmd[0]).name} did not end within {timeout.total_seconds():g} s") from error
