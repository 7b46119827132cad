"""The console watch over a log of 200 MB, against ``grep`` and plain ``re`` that only look for the same messages.

    python benchmarks/console.py [MEGABYTES]

Three logs: chatter of a boot and its services; the same with a splat in every 64 KiB; nothing but splats. The peers
print or count lines: they attribute nothing, know no copies of a log and make no excerpts.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

from lisa_ci.execution.console_patterns import PATTERNS
from lisa_ci.execution.console_watch import ConsoleWatch

BLOCK = 1 << 20
CHATTER = (
    "systemd[1]: Started session-{n}.scope - Session {n} of User root.",
    "virtio_blk virtio1: [vda] {n} 512-byte logical blocks (21.5 GB/20.0 GiB)",
    'audit: type=1400 audit(1700000000.{n}:12): apparmor="STATUS" operation="profile_load" name="unconfined"',
    "EXT4-fs (vda1): re-mounted. Quota mode: none.",
    "systemd-journald[231]: Received client request to flush runtime journal.",
    "usb 1-{n}: new high-speed USB device number 2 using xhci_hcd",
    "nf_conntrack: default automatic helper assignment has been turned off",
)
SPLAT = (
    "------------[ cut here ]------------",
    "WARNING: CPU: 1 PID: {n} at drivers/mine.c:28 mine_put_{letter}+0xba/0x110",
    "CPU: 1 PID: {n} Comm: cat Tainted: G           OE      6.1.0-28-amd64 #1  Debian 6.1.119-1",
    "RIP: 0010:mine_put_{letter}+0xba/0x110",
    "Call Trace:",
    " <TASK>",
    " mine_release+0x12/0x60 [mine]",
    " __fput+0x91/0x250",
    " </TASK>",
    "---[ end trace 0000000000000000 ]---",
)


def lines(kind: str) -> Iterator[str]:
    number, at = 0, 1.0
    while True:
        number += 1
        if kind == "splats only" or (kind == "a splat in 64 KiB" and number % 45 == 0):
            texts: tuple[str, ...] = SPLAT
        else:
            texts = (f"lisa-ci: case syscalls#case-{number}", *CHATTER, *CHATTER, "lisa-ci: end")
        for text in texts:
            at += 0.0007
            yield f"[{at:12.6f}] {text.format(n=number, letter=chr(97 + number % 26))}\r\n"


def write(path: Path, kind: str, size: int) -> None:
    with path.open("wb") as file:
        pending: list[str] = []
        for line in lines(kind):
            pending.append(line)
            if len(pending) >= 10_000:
                file.write("".join(pending).encode())
                pending.clear()
                if file.tell() >= size:
                    return


def watch(path: Path) -> str:
    watching = ConsoleWatch(today=date(2026, 1, 1))
    findings = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            findings += len(watching.feed(block))
    findings += len(watching.finish())
    return f"{findings} findings, {sum(watching.counts.values()) + watching.dropped} times"


def grep(path: Path) -> str:
    words = sorted({word.decode() for pattern in PATTERNS for word in pattern.words})
    arguments = ["grep", "-c", "-F", *(part for word in words for part in ("-e", word)), str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
    return f"{done.stdout.strip()} lines"


def grep_expressions(path: Path) -> str:
    """The patterns themselves, as Perl's expressions."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        heads = "|".join(re.sub(r"\(\?P<\w+>", "(?:", pattern.head.pattern) for pattern in PATTERNS)
        file.write(rf"^\[ *[0-9.]+\] (?:{heads})")
        file.flush()
        arguments = ["grep", "-c", "-a", "-P", "-f", file.name, str(path)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
    return f"{done.stdout.strip()} lines {done.stderr.strip()}".strip()


def plain(path: Path) -> str:
    heads = [re.compile(re.sub(r"\(\?P<\w+>", "(?:", one.head.pattern).encode()) for one in PATTERNS]
    stamp = re.compile(rb"\[ *[0-9.]+\] ")
    count = 0
    with path.open("rb") as file:
        for line in file:
            found = stamp.match(line)
            text = line[found.end() :] if found else line
            count += any(head.match(text) for head in heads)
    return f"{count} lines"


def processor_seconds() -> float:
    """User time of this process and of those it waited for: other work on the machine counts little."""
    times = os.times()
    return times.user + times.children_user


PEERS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("lisa-ci", watch),
    ("grep -F, words", grep),
    ("grep -P, patterns", grep_expressions),
    ("re, line by line", plain),
)


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else "200") * 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "console.log"
        for kind in ("chatter", "a splat in 64 KiB", "splats only"):
            write(path, kind, size)
            print(f"{kind}, {path.stat().st_size / 1e6:.0f} MB")
            ours = 0.0
            for name, run in PEERS:
                started = processor_seconds()
                said = run(path)
                spent = processor_seconds() - started
                ours = ours or spent
                print(f"  {name:20} {spent:7.2f} s {size / 1e6 / spent:8.1f} MB/s {ours / spent:7.2f}  {said}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
