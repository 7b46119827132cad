"""The cases that run in the machine, on machines that may be lost: each loss costs the case that ran, and no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from lisa_ci.errors import Loss, MachineLostError, ProvisioningError
from lisa_ci.execution import losses
from lisa_ci.execution.caselist import Planned
from lisa_ci.execution.dialogue import Dialogue, Surroundings
from lisa_ci.execution.frames import ProtocolError
from lisa_ci.execution.group import Group
from lisa_ci.model import Case

_ATTEMPTS: Final = 3  # losses in a row under no case: the machine does not even bear the runner
_SHORT: Final = timedelta(seconds=15)
_MEMORY: Final = timedelta(seconds=60)

Open = Callable[[], Sequence[Planned]]
Fresh = Callable[[Planned], bool]
Evidence = Callable[[str], None]


class CaseRunner:
    """Runs what ``still_open`` gives until nothing is left. ``wants_fresh``: the machine must be fresh behind a case.

    ``evidence`` is asked for, with the reason, on a machine in trouble that still answers, before it is taken back.
    ``boot`` is the longest that a machine of others may take to come back. Raises ProvisioningError where there is no
    machine any more; the case that ran is recorded, those behind it have no result.
    """

    def __init__(
        self,
        group: Group,
        around: Surroundings,
        still_open: Open,
        *,
        wants_fresh: Fresh,
        evidence: Evidence,
        boot: timedelta,
    ) -> None:
        self._group = group
        self._around = around
        self._still_open = still_open
        self._wants_fresh = wants_fresh
        self._evidence = evidence
        self._boot = boot
        self._boot_id = ""
        self._is_gone = False

    def run(self) -> None:
        losses_in_a_row = 0
        self._boot_id = self._read_boot_id()
        while cases := self._part(self._still_open()):
            dialogue = Dialogue(self._group.machine, self._group.installed, cases, self._around)
            before = self._around.record.count
            case: str | None
            try:
                dialogue.run()
                case = dialogue.last.key
                if dialogue.is_in_trouble:
                    self._evidence(dialogue.dirt)
                reason = dialogue.dirt or f"{case} is to leave a fresh machine behind it"
            except MachineLostError as error:
                case, reason = self._lost(dialogue, error)
                losses_in_a_row = 0 if self._around.record.count > before else losses_in_a_row + 1
                if self._is_gone or losses_in_a_row == _ATTEMPTS:
                    raise
            except ProvisioningError as error:
                self._record(dialogue, dialogue.running, error)
                raise
            if self._still_open():
                self._group.refresh(reason, case)
                self._boot_id = self._read_boot_id()

    def _part(self, cases: Sequence[Planned]) -> Sequence[Planned]:
        """The cases up to the first that wants a fresh machine behind it, where there is one to be had."""
        if self._group.can_refresh:
            for count, planned in enumerate(cases, 1):
                if self._wants_fresh(planned):
                    return cases[:count]
        return cases

    # ---- after a loss ----------------------------------------------------------------------------------------------

    def _lost(self, dialogue: Dialogue, error: MachineLostError) -> tuple[str | None, str]:
        """Find out what happened, and give the case that ran its result. That case, and a sentence for people."""
        error = self._understood(dialogue, error)
        case = self._really_running(dialogue)
        self._record(dialogue, case, error)
        return (case.key if case else None), losses.reason(error)

    def _understood(self, dialogue: Dialogue, error: MachineLostError) -> MachineLostError:
        match error.loss:
            case Loss.SILENCE if did := self._group.diagnose():
                return MachineLostError(f"{error.message}; {did}", hint=error.hint, loss=error.loss)
            case Loss.SILENCE | Loss.CONNECTION | Loss.RUNNER if not isinstance(error, ProtocolError):
                return self._asked_again(dialogue, error)
        return error

    def _asked_again(self, dialogue: Dialogue, error: MachineLostError) -> MachineLostError:
        """The machine may live: then it knows how the cases ended that we have not heard of."""
        group = self._group
        if not group.reach(timeout=min(_SHORT, self._around.silence) if group.can_refresh else self._boot):
            self._is_gone = not group.can_refresh
            return error
        boot_id = self._read_boot_id()
        if boot_id and self._boot_id and boot_id != self._boot_id:
            self._mark_repeated(dialogue)
            return MachineLostError(f"it rebooted by itself ({error.message})", loss=Loss.REBOOT)
        with contextlib.suppress(ProvisioningError):
            dialogue.replay()
        self._evidence(error.message)
        return error

    def _mark_repeated(self, dialogue: Dialogue) -> None:
        """The journal on the machine's disk knows what had ended; its output was in memory, so it runs again."""
        journal = f"{self._group.installed.folder}/journal"
        with contextlib.suppress(ProvisioningError):
            said = self._group.machine.run("cat", journal, timeout=_MEMORY)
            self._around.record.repeated(ended_keys(said.output, dialogue.keys))

    def _really_running(self, dialogue: Dialogue) -> Case | None:
        """By the marks on the console, where they are ahead of what came through the connection."""
        told = dialogue.running
        marked = self._around.console.running()
        begun = dialogue.cases
        ahead = {case.key: number for number, case in enumerate(begun)}
        if marked is None or marked not in ahead or self._around.record.has(marked):
            return told
        number = ahead[marked]
        self._around.record.repeated(case.key for case in begun[:number] if not self._around.record.has(case.key))
        return begun[number]

    def _record(self, dialogue: Dialogue, case: Case | None, error: ProvisioningError) -> None:
        if case is not None and not self._around.record.has(case.key):
            console = self._around.console
            found = console.findings(case.key)
            self._around.record.add(losses.lost(case, error, found, console.tail(), dialogue.wall))
        self._around.record.sync()

    def _read_boot_id(self) -> str:
        try:
            said = self._group.machine.run("cat", "/proc/sys/kernel/random/boot_id", timeout=_SHORT)
        except ProvisioningError:
            return ""
        return said.output.decode("ascii", "replace").strip() if said.exit == 0 else ""


def ended_keys(journal: bytes, keys: Sequence[str]) -> list[str]:
    """The cases that ended, as the machine's own journal says: lines ``E NUMBER ...``; whatever else is passed over."""
    found = []
    for line in journal.split(b"\n"):
        words = line.split(b" ")
        if len(words) > 2 and words[0] == b"E" and words[1].isdigit() and len(words[1]) < 8:
            number = int(words[1])
            if 1 <= number <= len(keys):
                found.append(keys[number - 1])
    return found
