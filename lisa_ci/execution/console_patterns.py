"""The table of what a console may say that is trouble: how it begins, where it ends, what it is called.

The messages are those of Linux 4.14 to 6.18 on x86 and arm64, and of initramfs-tools, dracut, systemd and util-linux.
``origin`` names the source that prints them. docs/console.md is made from this table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lisa_ci.model import Category


class Shape(StrEnum):
    """How a report goes on after its first line, and ends.

    LINE: it is the one line. TRACE: registers and a call trace follow; it ends at ``---[ end trace`` or ``</TASK>``,
    or when the trace has been told and other things are. BLOCK: everything belongs to it up to its last line.
    """

    LINE = "line"
    TRACE = "trace"
    BLOCK = "block"


class Speaker(StrEnum):
    """KERNEL: only a line of the kernel's log counts. EARLY_BOOT: the initramfs says it, before any case can run.

    USERLAND: a program says it on the console at any time.
    """

    KERNEL = "kernel"
    EARLY_BOOT = "early boot"
    USERLAND = "userland"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One kind of trouble.

    ``head`` matches a line from its start, without its stamp. ``words`` are literal parts, one of which is in every
    such line: they decide fast which lines are looked at. ``title`` may use the groups of ``head``; where
    ``is_located``, the function is added (group ``function``, program counter, call trace). The line belongs to a
    report of one of ``part_of`` that has begun and told no call trace yet. ``last`` ends a block, and its groups are
    the title's too. A report of shape TRACE ends after ``patience`` lines in a row that are no part of any report.
    """

    category: Category
    message: str
    head: re.Pattern[str]
    words: tuple[bytes, ...]
    title: str
    origin: str
    shape: Shape = Shape.TRACE
    last: re.Pattern[str] | None = None
    part_of: frozenset[Category] = frozenset()
    speaker: Speaker = Speaker.KERNEL
    is_located: bool = True
    patience: int = 12


_RULER: Final = re.compile("={20,}$")
_PANIC_END: Final = re.compile(r"---\[ end Kernel panic")
_KILLED: Final = re.compile(
    r"(?P<what>Memory cgroup out of memory|Out of memory).*: Kill(?:ed)? process \d+,? \((?P<victim>[^)]*)\)"
)
_CRASHED: Final = frozenset({Category.OOPS, Category.BUG})
_FAULTS: Final = (
    "general protection fault|divide error|invalid opcode|stack segment|segment not present|double fault|"
    "alignment check|int3|bounds|overflow|control protection fault|machine check"
)
_LOCKS: Final = (
    "possible circular locking dependency detected|possible recursive locking detected|"
    "possible irq lock inversion dependency detected|inconsistent lock state|"
    r"\S+-safe -> \S+-unsafe lock order detected|bad unlock balance detected|bad contention detected|"
    "held lock freed|lock held when returning to user space|Nested lock was not taken|suspicious RCU usage|"
    "Invalid wait context"
)
_BUGS: Final = (
    r"sleeping function called from invalid context|scheduling while atomic|using \w+\(\) in preemptible|"
    r"Bad page state|Bad page cache|Bad page map|Bad rss-counter state|non-zero pgtables_bytes|"
    r"(?:spinlock|rwlock) [a-z ]+|workqueue leaked[a-zA-Z, ]+"
)

PATTERNS: Final = (
    # ---- a root that is not there ----------------------------------------------------------------------------------
    Pattern(
        category=Category.FAILED_ROOT,
        message="Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        head=re.compile(r"Kernel panic - not syncing: VFS: Unable to mount root fs"),
        words=(b"Kernel panic",),
        title="VFS: Unable to mount root fs",
        origin="init/do_mounts.c",
        shape=Shape.BLOCK,
        last=_PANIC_END,
        is_located=False,
    ),
    Pattern(
        category=Category.FAILED_ROOT,
        message='VFS: Cannot open root device "sda9" or unknown-block(0,0): error -6',
        head=re.compile(r"VFS: Cannot open root device"),
        words=(b"VFS: ",),
        title="VFS: Cannot open root device",
        origin="init/do_mounts.c",
        shape=Shape.LINE,
        is_located=False,
    ),
    Pattern(
        category=Category.FAILED_ROOT,
        message="ALERT!  UUID=... does not exist.  Dropping to a shell!",
        head=re.compile(r"(?:ALERT! .* does not exist\.|Gave up waiting for root (?:file ?system )?device)"),
        words=(b"ALERT!", b"Gave up waiting"),
        title="initramfs: root device does not exist",
        origin="initramfs-tools",
        shape=Shape.LINE,
        speaker=Speaker.EARLY_BOOT,
        is_located=False,
    ),
    Pattern(
        category=Category.FAILED_ROOT,
        message="dracut-initqueue[300]: Warning: Could not boot.",
        head=re.compile(r"dracut(?:-\w+)?(?:\[\d+\])?:? (?:Warning|FATAL): (?:Could not boot|.* does not exist)"),
        words=(b"dracut",),
        title="dracut: could not boot",
        origin="dracut",
        shape=Shape.LINE,
        speaker=Speaker.EARLY_BOOT,
        is_located=False,
    ),
    # ---- panic -----------------------------------------------------------------------------------------------------
    Pattern(
        category=Category.PANIC,
        message="Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
        head=re.compile(r"Kernel panic - not syncing: (?P<what>.+)"),
        words=(b"Kernel panic",),
        title="Kernel panic: {what}",
        origin="kernel/panic.c",
        shape=Shape.BLOCK,
        last=_PANIC_END,
        is_located=False,
    ),
    # ---- sanitizers ------------------------------------------------------------------------------------------------
    Pattern(
        category=Category.KASAN,
        message="BUG: KASAN: slab-use-after-free in kmalloc_uaf+0x1a8/0x1c0",
        head=re.compile(r"BUG: (?P<what>KASAN: [\w-]+(?: or [\w-]+)*) in (?P<function>[\w.]+)"),
        words=(b"BUG",),
        title="{what}",
        origin="mm/kasan/report.c",
        shape=Shape.BLOCK,
        last=_RULER,
    ),
    Pattern(
        category=Category.KASAN,
        message="BUG: KFENCE: use-after-free read in test_use_after_free_read+0x95/0x12f",
        head=re.compile(r"BUG: (?P<what>KFENCE: [a-z -]+?)(?: read| write)? in (?P<function>[\w.]+)"),
        words=(b"BUG",),
        title="{what}",
        origin="mm/kfence/report.c",
        shape=Shape.BLOCK,
        last=_RULER,
    ),
    Pattern(
        category=Category.KASAN,
        message="BUG: KMSAN: uninit-value in test_uninit_kmsan_check_memory+0x1be/0x380",
        head=re.compile(r"BUG: (?P<what>KMSAN: [\w-]+) in (?P<function>[\w.]+)"),
        words=(b"BUG",),
        title="{what}",
        origin="mm/kmsan/report.c",
        shape=Shape.BLOCK,
        last=_RULER,
    ),
    Pattern(
        category=Category.KCSAN,
        message="BUG: KCSAN: data-race in tick_nohz_stop_tick / tick_sched_timer",
        head=re.compile(
            r"BUG: (?P<what>KCSAN: [a-z:-]+(?: [a-z:-]+)*?) in (?P<function>[\w.]+)(?:\+\S+)?"
            r"(?: \[\w+\])?(?: / (?P<other>[\w.]+))?"
        ),
        words=(b"BUG",),
        title="{what}",
        origin="kernel/kcsan/report.c",
        shape=Shape.BLOCK,
        last=_RULER,
    ),
    Pattern(
        category=Category.UBSAN,
        message="UBSAN: array-index-out-of-bounds in drivers/net/wireless/core.c:123:45",
        head=re.compile(r"UBSAN: (?P<what>[A-Za-z][\w -]*?) in (?P<file>[^:\s]+)"),
        words=(b"UBSAN: ",),
        title="UBSAN: {what}",
        origin="lib/ubsan.c",
    ),
    # ---- lockups, stalls, hangs ------------------------------------------------------------------------------------
    Pattern(
        category=Category.SOFT_LOCKUP,
        message="watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kworker/1:2:123]",
        head=re.compile(r"(?:(?:NMI )?watchdog: )?BUG: soft lockup - CPU#\d+ stuck for"),
        words=(b"BUG",),
        title="soft lockup",
        origin="kernel/watchdog.c",
    ),
    Pattern(
        category=Category.SOFT_LOCKUP,
        message="BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!",
        head=re.compile(r"BUG: workqueue lockup - pool"),
        words=(b"BUG",),
        title="workqueue lockup",
        origin="kernel/workqueue.c",
    ),
    Pattern(
        category=Category.HARD_LOCKUP,
        message="watchdog: Watchdog detected hard LOCKUP on cpu 0",
        head=re.compile(
            r"(?:NMI )?watchdog: (?:CPU ?\d+:? )?(?:Watchdog detected hard|(?:self-)?detected hard|Hard) LOCKUP"
        ),
        words=(b"LOCKUP",),
        title="hard lockup",
        origin="kernel/watchdog.c",
    ),
    Pattern(
        category=Category.HUNG_TASK,
        message="INFO: task kworker/0:1:123 blocked for more than 120 seconds.",
        head=re.compile(r"INFO: task .+:\d+ blocked (?:in I/O wait )?for more than \d+ seconds"),
        words=(b"INFO: ",),
        title="hung task",
        origin="kernel/hung_task.c",
    ),
    Pattern(
        category=Category.RCU_STALL,
        message="rcu: INFO: rcu_preempt self-detected stall on CPU",
        head=re.compile(r"(?:rcu: )?INFO: (?P<flavor>rcu\w*) (?:self-detected|detected(?: expedited)?) stalls? on"),
        words=(b"INFO: ",),
        title="RCU stall ({flavor})",
        origin="kernel/rcu/tree_stall.h",
    ),
    Pattern(
        category=Category.RCU_STALL,
        message="rcu: rcu_preempt kthread starved for 5230 jiffies! g8441 f0x0 RCU_GP_WAIT_FQS(5)",
        head=re.compile(r"(?:rcu: )?(?P<flavor>rcu_\w+) kthread (?:starved|timer wakeup didn't happen) for"),
        words=(b"kthread",),
        title="RCU stall ({flavor} kthread starved)",
        origin="kernel/rcu/tree_stall.h",
        part_of=frozenset({Category.RCU_STALL}),
        is_located=False,
    ),
    # ---- locks -----------------------------------------------------------------------------------------------------
    Pattern(
        category=Category.LOCKDEP,
        message="WARNING: possible circular locking dependency detected",
        head=re.compile(rf"(?:WARNING: |\[ BUG: )(?P<what>{_LOCKS})"),
        words=(b"WARNING: ", b"BUG"),
        patience=150,
        title="{what}",
        origin="kernel/locking/lockdep.c",
    ),
    Pattern(
        category=Category.LOCKDEP,
        message="INFO: trying to register non-static key.",
        head=re.compile(r"(?:INFO: |BUG: )(?P<what>trying to register non-static key|MAX_LOCK\w+ too low)"),
        words=(b"INFO: ", b"BUG"),
        title="{what}",
        origin="kernel/locking/lockdep.c",
    ),
    # ---- oopses ----------------------------------------------------------------------------------------------------
    Pattern(
        category=Category.OOPS,
        message="BUG: kernel NULL pointer dereference, address: 0000000000000010",
        head=re.compile(
            r"BUG: (?P<what>kernel NULL pointer dereference|"
            r"unable to handle (?:kernel )?(?:page fault|paging request|NULL pointer dereference)|"
            r"(?:\w+ )?stack guard page was hit)"
        ),
        words=(b"BUG",),
        title="BUG: {what}",
        origin="arch/x86/mm/fault.c",
    ),
    Pattern(
        category=Category.OOPS,
        message="Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010",
        head=re.compile(r"(?P<what>Unable to handle kernel .+?) at (?:virtual )?address"),
        words=(b"Unable to handle",),
        title="{what}",
        origin="arch/arm64/mm/fault.c",
    ),
    Pattern(
        category=Category.OOPS,
        message="general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP",
        head=re.compile(rf"(?:Oops: )?(?P<what>{_FAULTS})\b.*: [0-9a-f]{{4,8}} \[#\d+\]"),
        words=(b" [#",),
        title="{what}",
        origin="arch/x86/kernel/traps.c",
        part_of=_CRASHED,
    ),
    Pattern(
        category=Category.OOPS,
        message="Internal error: synchronous external abort: 0000000096000410 [#1] SMP",
        head=re.compile(r"Internal error: (?P<what>[^:\[]+?)(?:: [0-9a-f]+)? \[#\d+\]"),
        words=(b"Internal error: ",),
        title="{what}",
        origin="arch/arm64/kernel/traps.c",
        part_of=_CRASHED,
    ),
    Pattern(
        category=Category.OOPS,
        message="Oops: 0002 [#1] PREEMPT SMP NOPTI",
        head=re.compile(r"Oops(?:: [^\[]*)? \[#\d+\]"),
        words=(b" [#",),
        title="Oops",
        origin="arch/x86/mm/fault.c",
        part_of=_CRASHED,
    ),
    Pattern(
        category=Category.OOPS,
        message="traps: PANIC: double fault, error_code: 0x0",
        head=re.compile(r"(?:traps: )?PANIC: (?P<what>double fault)"),
        words=(b"double fault",),
        title="{what}",
        origin="arch/x86/kernel/traps.c",
        part_of=_CRASHED,
    ),
    # ---- BUG, WARN -------------------------------------------------------------------------------------------------
    Pattern(
        category=Category.BUG,
        message="kernel BUG at fs/ext4/inode.c:2710!",
        head=re.compile(r"kernel BUG at (?P<file>\S+?):\d+!"),
        words=(b"BUG",),
        title="kernel BUG",
        origin="lib/bug.c",
    ),
    Pattern(
        category=Category.BUG,
        message="BUG kmalloc-64 (Not tainted): Right Redzone overwritten",
        head=re.compile(r"BUG (?P<cache>\S+) \((?:Not tainted|Tainted)[^)]*\): (?P<what>[A-Za-z ]+)"),
        words=(b"BUG",),
        title="BUG {cache}: {what}",
        origin="mm/slub.c",
        is_located=False,
    ),
    Pattern(
        category=Category.BUG,
        message="BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
        head=re.compile(rf"BUG: (?P<what>{_BUGS})"),
        words=(b"BUG",),
        title="BUG: {what}",
        origin="kernel/sched/core.c, mm/, lib/",
    ),
    Pattern(
        category=Category.BUG,
        message="BUG: anything else that the kernel says so",
        head=re.compile(r"BUG: (?P<what>[A-Za-z].*)"),
        words=(b"BUG",),
        title="BUG: {what}",
        origin="anywhere",
        part_of=frozenset(Category),
    ),
    Pattern(
        category=Category.WARNING,
        message="WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:100 func+0x12/0x34",
        head=re.compile(r"WARNING: CPU: \d+ PID: \d+ at (?P<file>[^\s:]+):\d+(?: (?P<function>[A-Za-z_][\w.]*))?"),
        words=(b"WARNING: ",),
        title="WARNING",
        origin="kernel/panic.c, older",
    ),
    Pattern(
        category=Category.WARNING,
        message="WARNING: fs/inode.c:417 at drop_nlink+0xc5/0x110, CPU#1: rm/5966",
        head=re.compile(r"WARNING: (?P<file>[^\s:]+):\d+ at (?:(?P<function>[A-Za-z_][\w.]*+)|\S++).*, CPU#\d+: "),
        words=(b"WARNING: ",),
        title="WARNING",
        origin="kernel/panic.c, newer",
        part_of=frozenset({Category.WARNING}),
    ),
    # ---- memory, hardware ------------------------------------------------------------------------------------------
    Pattern(
        category=Category.OOM_KILL,
        message="stress-ng invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        head=re.compile(r".+ invoked oom-killer: gfp_mask="),
        words=(b"oom-killer",),
        title="{what}: {victim}",
        origin="mm/oom_kill.c",
        shape=Shape.BLOCK,
        last=_KILLED,
        is_located=False,
    ),
    Pattern(
        category=Category.OOM_KILL,
        message="Out of memory: Killed process 1234 (stress-ng) total-vm:1048576kB, anon-rss:524288kB",
        head=_KILLED,
        words=(b"ut of memory",),
        title="{what}: {victim}",
        origin="mm/oom_kill.c",
        shape=Shape.LINE,
        part_of=frozenset({Category.OOM_KILL}),
        is_located=False,
    ),
    Pattern(
        category=Category.MACHINE_CHECK,
        message="mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 4: b200000000070f0f",
        head=re.compile(
            r"(?:mce: )?\[Hardware Error\]: (?:CPU \d+: Machine Check(?: Exception)?: [0-9a-f]+ Bank (?P<bank>\d+)"
            r"|Machine check events logged)"
        ),
        words=(b"[Hardware Error]",),
        title="machine check",
        origin="arch/x86/kernel/cpu/mce/core.c",
        shape=Shape.LINE,
        is_located=False,
    ),
    Pattern(
        category=Category.MACHINE_CHECK,
        message="{1}[Hardware Error]: event severity: fatal",
        head=re.compile(r"(?:\{\d+\})?\[Hardware Error\]: event severity: (?P<what>fatal|recoverable)"),
        words=(b"[Hardware Error]",),
        title="hardware error, {what}",
        origin="drivers/firmware/efi/cper.c",
        shape=Shape.LINE,
        is_located=False,
    ),
    Pattern(
        category=Category.MACHINE_CHECK,
        message="SError Interrupt on CPU0, code 0x00000000bf000002 -- SError",
        head=re.compile(r"SError Interrupt on CPU\d+"),
        words=(b"SError",),
        title="SError interrupt",
        origin="arch/arm64/kernel/traps.c",
    ),
    # ---- a boot that ends at a prompt ------------------------------------------------------------------------------
    Pattern(
        category=Category.EMERGENCY_SHELL,
        message='You are in emergency mode. After logging in, type "journalctl -xb" to view system logs',
        head=re.compile(
            r"You are in (?:emergency|rescue) mode|Welcome to emergency mode!|Entering emergency mode\. Exit the shell|"
            r"(?:Give root password|Press Enter) for (?:system )?maintenance|"
            r"Cannot open access to console, the root account is locked|You are now being dropped into an emergency"
        ),
        words=(b"emergency", b"rescue mode", b"maintenance", b"account is locked"),
        title="emergency shell",
        origin="systemd, util-linux, dracut",
        shape=Shape.LINE,
        speaker=Speaker.USERLAND,
        is_located=False,
    ),
    Pattern(
        category=Category.INITRAMFS_PROMPT,
        message="(initramfs) ",
        head=re.compile(r"\(initramfs\) ?|dracut:/\S*# ?|\[rootfs [^\]]*\]# ?"),
        words=(b"(initramfs)", b"dracut", b"[rootfs "),
        title="initramfs prompt",
        origin="initramfs-tools, dracut, mkinitcpio",
        shape=Shape.LINE,
        speaker=Speaker.EARLY_BOOT,
        is_located=False,
    ),
)
