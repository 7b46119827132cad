"""The guard process: what it owns ends with us, however we end (see guard.sh)."""

from __future__ import annotations

import os
import re
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import process
from lisa_ci.platforms.qemu import scratch
from lisa_ci.platforms.qemu.scratch import Scratch

_SCRIPT: Final = Path(__file__).with_name("guard.sh")
STDERR: Final = "qemu.err"
_BLOCKDEV: Final = re.compile(r"-blockdev \{.*\}")  # QEMU repeats the whole option before it says what is wrong
_POLL_SECONDS: Final = 0.01


class Guard:
    """Owns one QEMU process and its scratch folder. Start it before anything expensive is made in the folder.

    ``qmp_socket`` is our end of QEMU's control channel; whoever takes it closes it.
    """

    def __init__(self, place: Scratch, *, pass_fds: Sequence[int] = ()) -> None:
        """QEMU inherits ``pass_fds``, under the same numbers."""
        with ExitStack() as always, ExitStack() as on_failure:
            self.qmp_socket, theirs = socket.socketpair()
            always.callback(theirs.close)
            on_failure.callback(self.qmp_socket.close)
            reader, self._hold = os.pipe()
            always.callback(os.close, reader)
            on_failure.callback(self._close)
            self._process = process.spawn(
                ["sh", str(_SCRIPT), str(reader), str(place.folder), str(place.link)],
                stdout=place.folder / "guard.log",
                stdin=theirs.fileno(),
                pass_fds=(reader, *pass_fds),
                dies_with_us=False,
            )
            self.scratch = scratch.guarded(place, self._process.pid)
            self._is_ended = False
            self._lock = threading.Lock()
            on_failure.pop_all()

    def start(self, command: Sequence[str], *, beside: str = "") -> None:
        """Run QEMU, after the shell lines ``beside``.

        The kernel kills it when the guard dies, whatever kills that.
        """
        line = shlex.join((*process.dies_with(self._process.pid), *command))
        (self.scratch.folder / scratch.COMMAND_FILE).write_text(f"{beside}exec {line}\n")
        self._tell("start")

    def keep(self, left: timedelta) -> None:
        """From now on the machine outlives us, for that long at most."""
        self._tell(f"keep {max(1, round(left.total_seconds()))}")
        self._close()

    def end(self) -> bool:
        """Kill QEMU, remove the scratch folder. Idempotent, never raises; False where something is left.

        Usable from any thread.
        """
        with self._lock:
            self._close()
            if not self._is_ended:
                self._is_ended = True
                deadline = time.monotonic() + scratch.END_SECONDS
                while self._process.poll() is None and time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
                if self._process.poll() is None:
                    process.kill_group(self._process)
        return scratch.remove(self.scratch.folder, self.scratch.link)

    def last_error(self) -> str:
        """The last line that QEMU wrote to stderr; '' for none."""
        with suppress(OSError):
            lines = (self.scratch.folder / STDERR).read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
            return _BLOCKDEV.sub("-blockdev ...", lines[-1])[-400:] if lines else ""
        return ""

    def _tell(self, words: str) -> None:
        with suppress(OSError):  # a guard that is gone took its machine along: the QMP connection tells that
            os.write(self._hold, f"{words}\n".encode())

    def _close(self) -> None:
        if self._hold >= 0:
            with suppress(OSError):
                os.close(self._hold)
            self._hold = -1
