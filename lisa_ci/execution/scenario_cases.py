"""The cases that scenarios run from the host, on one machine or several; ``cases`` has those that run in a machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from lisa_ci.errors import Loss, MachineLostError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.execution import losses
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.group import Group
from lisa_ci.execution.kernel_log import KernelLog
from lisa_ci.execution.record import Record, errored
from lisa_ci.model import Case, Outcome, Suite, Timeouts
from lisa_ci.protocols import Scenario

_SHORT: Final = timedelta(seconds=60)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRunner:
    """Runs a suite's scenario on the machines of ``group``; ``place`` is the leg, for what is said.

    Each case that it is given has one result afterwards.
    """

    group: Group
    scenario: Callable[[str], Scenario]
    kernel: KernelLog
    record: Record
    deadline: Deadline
    timeouts: Timeouts
    emit: Emit
    place: str

    def run(self, suite: Suite, cases: Sequence[Case], *, is_last: Callable[[], bool]) -> None:
        """Run ``cases`` of ``suite``. Machines that are lost are had afresh, but where ``is_last`` says why not to."""
        self.deadline.check()
        try:
            self._run(suite, cases)
        except MachineLostError as error:
            self._record_lost([case for case in cases if not self.record.has(case.key)], error)
            if not is_last():
                self.group.refresh(error.message, None)

    def _run(self, suite: Suite, cases: Sequence[Case]) -> None:
        by_key = {case.key: case for case in cases}
        name = suite.scenario or ""
        for case in cases:
            self.record.started(case)
        self.kernel.begin()
        asked = dataclasses.replace(suite, cases=tuple(cases))
        for result in self.scenario(name).run(asked, self.group.machines, timeouts=self.timeouts, emit=self.emit):
            if result.key not in by_key:
                text = f"scenario {name} told of {result.key}, which it was not asked for"
                self.emit(Message(text=text, level=Level.WARNING, place=self.place))
                continue
            if result.outcome is Outcome.PASSED:
                self._ask_the_others()
            self.record.add(losses.observed(by_key[result.key], result, self.kernel.claim(result.key)))
            self.record.sync()
            self.deadline.check()
        for case in cases:
            self.record.add(errored(case, f"scenario {name} gave no result for the case"))
        self.record.sync()

    def _ask_the_others(self) -> None:
        """A case has not passed where one of its machines is dead."""
        for other in self.group.machines.members[1:]:
            other.run("true", timeout=self.deadline.at_most(_SHORT))

    def _record_lost(self, cases: Sequence[Case], error: MachineLostError) -> None:
        """What the kernels said is the first case's."""
        if error.loss is Loss.SILENCE and (did := self.group.diagnose()):
            error = MachineLostError(f"{error.message}; {did}", hint=error.hint, loss=error.loss)
        words = self.kernel.tail(losses.role_of(error))
        for case in cases:
            self.record.add(losses.lost(case, error, self.kernel.claim(case.key), words, timedelta()))
        self.record.sync()
