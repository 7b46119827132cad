"""One report of the kernel, from its first line to its last: excerpt, title, fingerprint."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from typing import Final

from lisa_ci.execution.console_lines import Line
from lisa_ci.execution.console_patterns import Pattern, Shape
from lisa_ci.model import Category, Finding

TEXT_LIMIT: Final = 8192  # bytes of an excerpt
LINES_LIMIT: Final = 400  # lines of a report; a full lockdep report has about 200
FRAMES: Final = 3
_AFTER_TRACE: Final = 3
_TITLE_LIMIT: Final = 160

_BEGIN_TRACE: Final = re.compile(r"Call [Tt]race:|stack backtrace:|Backtrace:")
_END_TRACE: Final = re.compile(r"---\[ end trace|={20,}$")
# What belongs to a report beside prose: indented lines, registers, headings of the kernel's dumps.
_PART: Final = re.compile(
    r"[\s<?]|[RE][A-Z0-9]{2,3}: |[CD]R\d: |[CDEFGS]S: |x\d+ ?: |(?:pc|lr|sp|ra|epc|gp|tp|pstate|badaddr|status) ?: |"
    r"NIP |PKRU: |ORIG_RAX|Code: |CPU: |Call [Tt]race:|Hardware name: |Modules linked in: |Workqueue: |Kernel Offset|"
    r"irq event stamp|hardirqs last|softirqs last|task:|Tainted: |Showing |NMI backtrace|Sending NMI|rcu: |"
    r"Mem abort info|Data abort info|user pgtable|swapper pgtable|\[[0-9a-f]{8,16}\] pgd=|PGD |Internal error: |Oops|"
    r"#PF: |invalid opcode|---\[ |Stack:|Preemption disabled at|in_atomic\(\): |no locks held|\d+ locks? held|"
    r"Dumping ftrace|\[<|\(\w"
)
_FRAME: Final = re.compile(
    r" *(?:\[[<]?[0-9a-f]{8,16}[>]?\] *)*(?P<guess>\? )?(?P<name>[A-Za-z_][\w.$]*)\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?(?: |$)"
)
_COUNTER: Final = re.compile(
    r"(?:[RE]IP: (?:[0-9a-f]{4}:)?(?:\[<[0-9a-f]+>\] *)*|e?pc : |PC is at |NIP \[[0-9a-f]+\] )"
    r"(?P<name>[A-Za-z_][\w.]*)\+0x"
)
_LOCKED_AT: Final = re.compile(r"(?! *#\d).* at: (?:\[<[0-9a-f]+>\] *)?(?P<name>[A-Za-z_][\w.]*)\+0x")
_SUFFIX: Final = re.compile(r"\.(?:isra|constprop|part|cold|llvm|lto_priv)\b.*")
# How the kernel came to report, not what it reports.
_PLUMBING: Final = re.compile(
    r"_*(?:dump_stack(?:_lvl)?|show_stack|show_regs|dump_backtrace|print_report|print_address_description|kasan_\w+|asan_\w+|"
    r"hwasan_\w+|kcsan_\w+|tsan_\w+|kmsan_\w+|msan_\w+|ubsan_\w+|warn|warn_printk|warn_slowpath\w*|report_bug|handle_bug|"
    r"fixup_bug|do_error_trap|do_trap\w*|do_invalid_op|exc_\w+|asm_exc_\w+|asm_sysvec_\w+|sysvec_\w+|invalid_op|error_entry|"
    r"panic|vpanic|die|oops_end|no_context|bad_area\w*|page_fault\w*|do_user_addr_fault|do_page_fault|do_kern_addr_fault|"
    r"might_sleep|might_resched|schedule_bug|check_preemption_disabled|debug_smp_processor_id|lockdep_\w+|print_\w+_bug|"
    r"print_\w+_dependency\w*|print_\w+_recursion|print_usage_bug\w*|check_noncircular|check_prev\w*|validate_chain|"
    r"mark_lock\w*|lock_acquire\w*|lock_release|register_lock_class|_raw_(?:spin|read|write)_lock\w*|schedule|"
    r"schedule_\w+|switch_to|preempt_schedule\w*|context_switch|io_schedule\w*|"
    r"watchdog_\w+|nmi_\w+|default_do_nmi|end_repeat_nmi|rcu_dump_cpu_stacks|rcu_sched_clock_irq|print_cpu_stall|"
    r"print_other_cpu_stall|bust_spinlocks|el1[a-z_]*|el1h?_\w+|do_mem_abort|do_sea|do_translation_fault|"
    r"arm64_notify_die|bug_handler|call_break_hook|do_debug_exception|brk_handler|do_el1_\w+|die_kernel_fault)$"
)
_NUMBERS: Final = (
    re.compile(r"\b0x[0-9a-fA-F]+\b"),
    re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,16}\b"),
    re.compile(r"(?<!\w)\d+"),
)


def without_numbers(text: str) -> str:
    """A message in which addresses and numbers do not tell one time from another."""
    for pattern in _NUMBERS:
        text = pattern.sub("N", text)
    return " ".join(text.split())


class Report:
    """A report that is being told. ``take`` is asked with every line of the same caller until ``is_over``."""

    def __init__(self, pattern: Pattern, head: re.Match[str], line: Line, before: list[str], case: str | None) -> None:
        self.pattern = pattern
        self.case = case
        self.is_over = pattern.shape is Shape.LINE
        self.has_trace = False
        self._groups = {name: value for name, value in head.groupdict().items() if value}
        self._shown = [*before, line.shown]
        self._count = 1
        self._foreign = 0
        self._patience = pattern.patience
        self._counter = ""
        self._locked_at = ""
        self._frames: list[str] = []
        self._is_first_trace = False

    def take(self, line: Line, *, is_part: bool = False) -> None:
        """The next line of this report, or one that shows that it is over. ``is_part``: it surely belongs to it."""
        self._count += 1
        self._shown.append(line.shown)
        self._learn(line.text)
        if self._count >= LINES_LIMIT:
            self.is_over = True
        elif self.pattern.shape is Shape.BLOCK:
            self._look_for_last(line.text)
        else:
            self._look_for_others(line.text, is_part=is_part)

    def _look_for_last(self, text: str) -> None:
        last = self.pattern.last and self.pattern.last.match(text)
        if last:
            self._groups.update({name: value for name, value in last.groupdict().items() if value})
            self.is_over = True

    def _look_for_others(self, text: str, *, is_part: bool) -> None:
        if text.startswith(("---", "===")) and _END_TRACE.match(text):
            self.is_over = True
        elif is_part or not text or _PART.match(text):
            self._foreign = 0
        else:
            self._foreign += 1
            self.is_over = self._foreign >= self._patience
        if "</TASK>" in text:
            self._patience = 1

    def _learn(self, text: str) -> None:
        if "race:" in text and _BEGIN_TRACE.search(text):
            self._is_first_trace = not self._frames
            self.has_trace = True
            self._patience = min(self._patience, _AFTER_TRACE)
            return
        if not self._counter and (counter := _COUNTER.match(text)):
            self._counter = _function(counter["name"])
        if not self.has_trace and not self._locked_at and " at: " in text and (lock := _LOCKED_AT.match(text)):
            self._locked_at = _function(lock["name"])
        if self._is_first_trace and len(self._frames) < FRAMES:
            self._learn_frame(text)

    def _learn_frame(self, text: str) -> None:
        frame = _FRAME.match(text)
        if frame and not frame["guess"]:
            name = _function(frame["name"])
            if not _PLUMBING.match(name):
                self._frames.append(name)
        elif self._frames and (not text or text.endswith((":", "</TASK>", "]---"))):
            self._is_first_trace = False

    # ---- what it amounts to ----------------------------------------------------------------------------------------

    def finding(self) -> Finding:
        """The finding as far as it has been told; ``allowed`` is not decided here."""
        return Finding(
            category=self.pattern.category,
            title=self._title(),
            fingerprint=self.fingerprint(),
            text=self._text(),
            case=self.case,
        )

    def fingerprint(self) -> str:
        """16 hex digits of what the trouble is, as far as it has been told."""
        is_placed = self.pattern.is_located or self.pattern.category is Category.PANIC
        told = "\n".join([self.pattern.category.value, self._title(), *(self._frames if is_placed else [])])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _title(self) -> str:
        groups: defaultdict[str, str] = defaultdict(str, self._groups)
        title = without_numbers(self.pattern.title.format_map(groups)).strip(" :,!.") or self.pattern.category.value
        if self.pattern.is_located:
            title += self._place(groups)
        return title[:_TITLE_LIMIT]

    def _place(self, groups: defaultdict[str, str]) -> str:
        function = groups["function"] and _function(groups["function"])
        if function and groups["other"]:
            return f" in {function} / {_function(groups['other'])}"
        name = function or self._locked_at or self._known_counter() or next(iter(self._frames), "")
        if name:
            return f" in {name}"
        return f" at {groups['file']}" if groups["file"] else ""

    def _known_counter(self) -> str:
        return "" if _PLUMBING.match(self._counter) else self._counter

    def _text(self) -> str:
        shown = self._shown[: len(self._shown) - self._foreign] if self._foreign else self._shown
        kept = []
        size = 0
        for number, line in enumerate(shown):
            size += len(line.encode()) + 1
            if size > TEXT_LIMIT - 40:
                kept.append(f"[{len(shown) - number} more lines]")
                break
            kept.append(line)
        return "\n".join(kept)


def _function(name: str) -> str:
    """A function's name without what a compiler adds to it."""
    return _SUFFIX.sub("", name)
