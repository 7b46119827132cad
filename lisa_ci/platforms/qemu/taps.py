"""Network cards with several queues: a program that opens tap devices, and then becomes QEMU.

QEMU's user-mode network has one queue. A tap device has as many as it is opened for, and needs no rights of the host's
in a network namespace of its own: a child makes that, opens the devices there, and passes them on. The namespace lives
as long as they are open, and nothing but the guest is in it.

usage: python taps.py NIC=QUEUES... -- COMMAND...     (run as a file; it imports nothing of ours)
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys

FIRST_FD = 10  # of the first queue that COMMAND gets; the others follow
_DEVICE = "/dev/net/tun"
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_TUNSETIFF, _SIOCSIFFLAGS = 0x400454CA, 0x8914  # linux/if_tun.h, linux/sockios.h
_TAP, _MULTI_QUEUE, _NO_PACKET_INFO, _OFFLOADS = 0x0002, 0x0100, 0x1000, 0x4000
_UP = 1


def open_taps(queues: list[int]) -> list[int]:
    """In a namespace of its own: the file descriptors of all queues, tap by tap. OSError says what is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace of its own")
    found = []
    for number, count in enumerate(queues):
        name = f"tap{number}".encode()
        kind = _TAP | _NO_PACKET_INFO | _OFFLOADS | (_MULTI_QUEUE if count > 1 else 0)
        for _ in range(count):
            queue = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(queue, _TUNSETIFF, struct.pack("16sH22x", name, kind))
            found.append(queue)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, _UP))
    return found


def main(arguments: list[str]) -> None:
    split = arguments.index("--")
    queues, command = [int(word.partition("=")[2]) for word in arguments[:split]], arguments[split + 1 :]
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            socket.send_fds(theirs, [b"."], open_taps(queues))
        except OSError as error:
            theirs.send(f"no tap device: {error}".encode())
        os._exit(0)
    theirs.close()
    said, found, _, _ = socket.recv_fds(ours, 4096, sum(queues))
    os.waitpid(child, 0)
    if len(found) != sum(queues):
        sys.exit(said.decode(errors="replace") or "no tap device")
    moved = [fcntl.fcntl(queue, fcntl.F_DUPFD, FIRST_FD + len(found)) for queue in found]  # clear of their places
    for place, queue in enumerate(moved, start=FIRST_FD):
        os.dup2(queue, place)
    for queue in (*found, *moved):
        if queue not in range(FIRST_FD, FIRST_FD + len(moved)):
            with contextlib.suppress(OSError):
                os.close(queue)
    os.execvp(command[0], command)  # noqa: S606  it becomes QEMU, of which only the process id is known


if __name__ == "__main__":
    main(sys.argv[1:])
