"""docs/console.md: its table comes from the table of patterns."""

from __future__ import annotations

from itertools import groupby

from lisa_ci.execution.console_lines import LINE_LIMIT
from lisa_ci.execution.console_patterns import PATTERNS, Pattern, Speaker
from lisa_ci.execution.console_reports import LINES_LIMIT, TEXT_LIMIT
from lisa_ci.execution.console_watch import KEPT_FINDINGS
from lisa_ci.model import Category

_HEAD = """\
<!-- Generated from lisa_ci/execution/console_patterns.py by tests/console_page.py; do not edit. -->

# The console

Most bugs of a kernel do not make a test fail: they print a warning, and go on. So lisa-ci reads the console of each
machine while cases run. What it finds is attributed to the case that ran, and a case that passed while the kernel
reported trouble is failed. A case may say that trouble is what it is about (`expects` in the
[suite file](suite-file.md)), and the pipeline file may allow a finding for a time ([below](#the-allow-list)).

A finding has a category, a title (`WARNING in refcount_warn_saturate`), an excerpt, and a fingerprint.

## What is looked for

A line counts from its start, after the kernel's stamp: `systemd[1]: BUG: x` is no bug of the kernel. *Ends* tells how
far an excerpt goes: **line**, this one only; **trace**, to `---[ end trace`, to a ruler of `=`, or until three lines
after the call trace are no part of a report; **block**, to its last line.

| Category | The message, for example | Ends | Said by | Source |
|---|---|---|---|---|
"""

_TAIL = """
KFENCE and KMSAN count as `kasan`, workqueue lockups as `soft-lockup`, SError as `machine-check`. Errors that the
hardware corrected are no findings. The messages are those of Linux 4.14 to 6.18.

## Titles and fingerprints

A title names the trouble and the function that it is in: the one that the message names, else the program counter, else
the first function of the call trace that is not part of the reporting itself. Numbers and addresses are `N`.

A fingerprint is 16 hexadecimal digits of a SHA-256 over category, title and the first three such functions. It does not
depend on addresses, offsets, line numbers, processes, processors, times, the kernel's version, where a module was
loaded, or what a compiler appends to names (`.constprop.0`). The same finding in the same case is told once, with a
count. A leg keeps {kept} findings; further ones are only counted.

## Which case

The runner writes `lisa-ci: case SUITE#CASE` and `lisa-ci: end` into the kernel's log, where they are in order with
what the kernel says. A report belongs to the case in which its first line came. Between cases, it belongs to none. With
`CONFIG_PRINTK_CALLER`, reports of several processors at once are told apart; without, the lines between belong to the
report that was begun, and its title and fingerprint stay the same.

## What is no finding

- Lines without a stamp, where the kernel stamps its own: a test that prints an oops.
- The log once more (`dmesg > /dev/ttyS0`): its stamps are behind the newest by more than a second, or the very line
  came before. Where its stamps repeat those of the boot to the microsecond, its first line is no other boot.
- Boot parameters, device names, lines of KUnit, lines of programs in the kernel's log (`name[1]: ...`).
- Prompts of an initramfs once a case has begun in this boot.

## What cannot be told

- A program that may write to `/dev/kmsg` can print what only a kernel should. So can one that prints stamps of its own
  that are ahead of the kernel's. A hostile machine can hide and invent findings: the watch is for machines that err.
- Where the kernel stamps nothing (`printk.time=0`), what a test prints counts as the kernel's.
- A kernel that boots with `quiet` does not show its first line, nor what it warns of during its boot; while cases run,
  the runner lets notices through. A copy of such a kernel's whole log on the console is taken for another boot.
- Where a program writes into the middle of a kernel's line, that line is lost.
- Reports of a kernel that died before its console was up.

A line counts by its first {line} bytes, a report has at most {lines} lines, an excerpt {text} bytes. Memory is
constant, whatever a machine prints.

## The allow-list

```yaml
console:
  - match: WARNING in drm_*
    category: warning
    reason: no screen in these machines, upstream bug 12345
    owner: graphics-team
    expires: 2027-06-30
```

Every entry needs a reason, an owner, and a day; after that day the finding fails cases again, and `lisa-ci check` and
`lisa-ci plan` say so. `fingerprint` instead of `match` allows this one finding only. All keys: the
[pipeline file](pipeline.md).
"""

_SPEAKERS = {Speaker.KERNEL: "the kernel", Speaker.EARLY_BOOT: "the early boot", Speaker.USERLAND: "any program"}


def console_page() -> str:
    """The page as it should be."""
    order = list(Category)
    rows = sorted(PATTERNS, key=lambda pattern: order.index(pattern.category))
    lines = []
    for category, patterns in groupby(rows, key=lambda pattern: pattern.category):
        for number, pattern in enumerate(patterns):
            lines.append(_row(f"`{category.value}`" if number == 0 else "", pattern))
    limits = {
        "kept": f"{KEPT_FINDINGS}",
        "line": f"{LINE_LIMIT:,}",
        "lines": f"{LINES_LIMIT}",
        "text": f"{TEXT_LIMIT:,}",
    }
    return _HEAD + "\n".join(lines) + "\n" + _TAIL.format(**limits)


def _row(category: str, pattern: Pattern) -> str:
    message = pattern.message.replace("|", "\\|").strip()
    return f"| {category} | `{message}` | {pattern.shape.value} | {_SPEAKERS[pattern.speaker]} | {pattern.origin} |"
