"""A TPM 2.0 for one machine: the program swtpm, started beside QEMU in the same scratch folder.

It is a child of the process that becomes QEMU, and the kernel kills it when that ends, however it ends. Its state is
new for each machine, and travels in the machine's snapshot.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from lisa_ci.platforms.qemu.command_line import FOLDER_FD, TPM_SOCKET

PROGRAM: Final = "swtpm"
_STATE: Final = "tpm"
_SOCKET_NAME: Final = Path(TPM_SOCKET).name
_WAITS: Final = 200  # of 0.05 s each

# The socket is reached by way of a file descriptor of the folder: a socket's own path has 107 bytes at most. fd 4 is
# QEMU's control channel. QEMU connects once, so the socket has to be there before it starts.
_SCRIPT: Final = """\
exec {fd}<{folder}
mkdir -p {folder}/{state}
setpriv --pdeathsig KILL -- sh -c '[ "$PPID" -eq "$0" ] && exec "$@"' "$$" \\
  {program} socket --tpm2 --tpmstate dir={folder}/{state} --ctrl type=unixio,path={socket} --terminate 4<&- &
waits=0
until [ -S {folder}/{socket_name} ] || [ "$waits" -ge {most} ]; do
  sleep 0.05
  waits=$((waits + 1))
done
"""


def beside(folder: Path) -> str:
    """Shell lines that start it, for ``Guard.start``; its own complaints go where QEMU's go."""
    return _SCRIPT.format(
        fd=FOLDER_FD,
        folder=shlex.quote(str(folder)),
        state=_STATE,
        program=PROGRAM,
        socket=TPM_SOCKET,
        socket_name=_SOCKET_NAME,
        most=_WAITS,
    )
