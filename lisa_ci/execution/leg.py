"""One leg: a machine is provisioned, its cases run, everything it leaves is on disk, the machine is gone.

Whatever happens on the way, each planned case has exactly one result at the end. ``cases`` goes on after a crash,
``group`` brings the machines back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import LisaCiError, MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Level, Message, StageEnded, StageStarted
from lisa_ci.execution import claims, collect, leg_folder
from lisa_ci.execution.caselist import Planned, environment
from lisa_ci.execution.cases import CaseRunner
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.dialogue import Surroundings
from lisa_ci.execution.group import Group
from lisa_ci.execution.install import Installed
from lisa_ci.execution.installation import Installation
from lisa_ci.execution.inventory import Selection, all_known, discover, select
from lisa_ci.execution.journal import locked
from lisa_ci.execution.kernel_log import KernelLog
from lisa_ci.execution.record import Log, Record, errored, skipped
from lisa_ci.execution.sampler import Sampling
from lisa_ci.execution.scenario_cases import ScenarioRunner
from lisa_ci.files import LegFolder
from lisa_ci.kernel import SourceLines
from lisa_ci.model import Case, Inventory, Isolation, Lease, Leg, Plan, Run, Stage, Suite
from lisa_ci.protocols import Driver, Machine, Machines, Platform, Scenario, SupportsReceipts
from lisa_ci.signals import signals_held

_KEPT: Final = timedelta(hours=24)
_SLACK: Final = timedelta(hours=1)
_SHORT: Final = timedelta(seconds=60)
_DMESG: Final = "command -v dmesg >/dev/null || exit 0; dmesg | tail -c 900000"
_INTERRUPTED: Final = "the run was interrupted"


def run_leg(
    plan: Plan,
    plan_digest: str,
    leg: Leg,
    *,
    platform: Platform,
    driver: Callable[[str], Driver],
    scenario: Callable[[str], Scenario],
    suites: Mapping[str, Suite],
    out: Path,
    attempt: int = 1,
    resume: bool = False,
    keep: bool = False,
    only: tuple[str, ...] = (),
    plan_file: Path = Path("plan.json"),
    emit: Emit,
) -> Run:
    """Run a leg into ``out``/LEG. ``suites`` are those of its tasks, by name.

    ``resume`` keeps the judged results of an earlier run of the same plan; ``only`` (globs over ``suite#case``) runs
    a part, and the gate does not take such a run; ``plan_file`` is named in the line that reproduces a failure.
    ``Run.error`` says why the image was not judged; other errors than ProvisioningError are raised when everything is
    on disk.
    """
    with locked(out, leg.id):
        work = _Leg(plan, plan_digest, leg, driver=driver, scenario=scenario, suites=suites, out=out, emit=emit)
        work.settings = _Settings(keep=keep, only=only, plan_file=plan_file, attempt=attempt)
        return work.run(platform, resume=resume)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    keep: bool = False
    only: tuple[str, ...] = ()
    plan_file: Path = Path("plan.json")
    attempt: int = 1


class _Leg:
    settings = _Settings()

    def __init__(
        self,
        plan: Plan,
        plan_digest: str,
        leg: Leg,
        *,
        driver: Callable[[str], Driver],
        scenario: Callable[[str], Scenario],
        suites: Mapping[str, Suite],
        out: Path,
        emit: Emit,
    ) -> None:
        self._plan = plan
        self._leg = leg
        self._driver = driver
        self._scenario = scenario
        self._suites = {
            task.suite: dataclasses.replace(suite, environment={**suite.environment, **task.environment})
            for task in leg.tasks
            if (suite := suites.get(task.suite)) is not None
        }
        self._out = out
        self._folder = LegFolder(out / leg.id)
        self._emit = emit
        self._deadline = Deadline(plan.timeouts.leg)
        self._stages: list[Stage] = []
        self._selections: dict[str, Selection] = {}
        self._run = Run(
            leg=leg.id,
            plan_digest=plan_digest,
            subject_digest=plan.subject.digest,
            attempt=1,
            started=datetime.now(UTC),
        )

    def run(self, platform: Platform, *, resume: bool) -> Run:
        self._run = dataclasses.replace(self._run, attempt=self.settings.attempt, only=self.settings.only)
        with signals_held() as let_go:
            return self._held(platform, let_go, resume=resume)

    def _held(self, platform: Platform, let_go: Callable[[], None], *, resume: bool) -> Run:
        """From the first file on, an interrupt finds a leg that knows its cases and can give each a result."""
        finished = leg_folder.begin(self._folder, plan_digest=self._run.plan_digest, resume=resume)
        self._write_run()
        log = Log(self._folder.log, self._emit)
        self._emit = log.emit
        failure: LisaCiError | None = None
        reason = _INTERRUPTED
        try:
            with Record(
                self._folder, self._leg.id, self._emit, reproduce=self._reproduce(), has=(r.key for r in finished)
            ) as record:
                try:
                    self._select(all_known(self._leg, self._suites), record)
                    let_go()
                    self._in_machine(platform, record)
                    reason = ""
                except LisaCiError as error:
                    failure = error
                    reason = error.message
                finally:
                    record.give_up(self._open_cases(record), reason)
        finally:
            self._end(reason, platform)
            log.close()
            leg_folder.end(self._folder, console_goes_on=self.settings.keep)
        if failure is not None and not isinstance(failure, ProvisioningError):
            raise failure
        return self._run

    # ---- before and after ------------------------------------------------------------------------------------------

    def _end(self, reason: str, platform: Platform) -> None:
        self._run = dataclasses.replace(
            self._run,
            ended=datetime.now(UTC),
            is_complete=reason != _INTERRUPTED,
            error=reason,
            stages=tuple(self._stages),
            receipts=tuple(platform.receipts()) if isinstance(platform, SupportsReceipts) else (),
        )
        self._write_run()
        if not self.settings.keep:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _write_run(self) -> None:
        files.write_atomically(self._folder.run, files.encode(self._run))

    def _reproduce(self) -> str:
        plan = shlex.quote(str(self.settings.plan_file))
        return f"lisa-ci run {shlex.quote(self._leg.id)} --plan {plan} --out reproduce"

    @property
    def _scratch(self) -> Path:
        return self._out / f".{self._leg.id}.scratch"

    @contextlib.contextmanager
    def _stage(self, name: str, expected: int | None = None) -> Iterator[None]:
        started, began, error = datetime.now(UTC), time.monotonic(), ""
        self._emit(StageStarted(place=self._leg.id, stage=name, expected=expected))
        try:
            yield
        except LisaCiError as failure:
            error = failure.message
            raise
        finally:
            wall = timedelta(seconds=time.monotonic() - began)
            self._stages.append(Stage(name=name, started=started, wall=wall))
            self._emit(StageEnded(place=self._leg.id, stage=name, wall=wall, error=error))

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._emit(Message(text=text, level=level, place=self._leg.id))

    # ---- which cases -----------------------------------------------------------------------------------------------

    def _select(self, cases: Mapping[str, tuple[Case, ...]], record: Record) -> None:
        for task in self._leg.tasks:
            if task.suite in cases:
                record.know(cases[task.suite])
                self._selections[task.suite] = select(task, cases[task.suite], self.settings.only)
                for case, reason in self._selections[task.suite].left_out:
                    record.add(skipped(case, reason))
        record.sync()

    def _open_cases(self, record: Record) -> list[Case]:
        return [case for selection in self._selections.values() for case in selection.run if not record.has(case.key)]

    # ---- with a machine --------------------------------------------------------------------------------------------

    def _in_machine(self, platform: Platform, record: Record) -> None:
        lease = Lease(
            owner=getpass.getuser(),
            leg=self._leg.id,
            attempt=self._run.attempt,
            delete_after=datetime.now(UTC) + (_KEPT if self.settings.keep else self._plan.timeouts.leg + _SLACK),
            evidence=self._folder.root,
            scratch=self._scratch,
            keep=self.settings.keep,
        )
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        self._installation = Installation(
            suites={task.suite: self._suites[task.suite] for task in self._leg.tasks},
            lives_on=self._leg.profile.endpoint is not None,
            keep=self.settings.keep,
            installs_packages=self._plan.install_packages,
            names=self._scratch / "installed",
            telemetry=self._folder.telemetry,
            deadline=self._deadline,
            timeouts=self._plan.timeouts,
            emit=self._emit,
            place=self._leg.id,
        )
        kernel = self._plan.subject.kernel
        self._kernel = KernelLog(
            self._plan.console,
            today=self._run.started.date(),
            source=(lambda _: "") if kernel is None else SourceLines(kernel).place,
        )
        sampling = Sampling(self._folder.telemetry, emit=self._emit)
        group = Group(
            lambda: platform.provision(
                self._leg.profile,
                self._plan.subject,
                self._plan.access,
                lease,
                timeouts=self._plan.timeouts,
                emit=self._emit,
            ),
            self._prepared,
            self._kernel,
            lambda machine: sampling.of(machine, group.installed.name),
            boots=self._leg.profile.endpoint is None,
            boot=self._plan.timeouts.boot,
            deadline=self._deadline,
            place=self._leg.id,
            emit=self._emit,
        )
        with self._stage("provision"):
            group.start()
        try:
            self._use(group, record)
        finally:
            if self.settings.keep:
                self._tell_kept(group.machines)
            with self._stage("destroy"):
                group.end()
            self._run = dataclasses.replace(
                self._run, recoveries=tuple(group.recoveries), findings=self._kernel.of_no_case()
            )

    def _tell_kept(self, machines: Machines) -> None:
        for machine in machines.members:
            self._say(f"{machine.name} stays up; enter it: {machine.login_command()}")
        end = machines.end_command()
        if end:
            self._say(f"end it: {end}")

    def _use(self, group: Group, record: Record) -> None:
        try:
            self._make_ready(group, record)
            expected = len(self._open_cases(record))
            if expected > 1 and not self.settings.keep and group.has_snapshots:
                with self._stage("snapshot"):
                    group.keep_state()
            self._kernel.begin()
            with self._stage("cases", expected), group.attended():
                self._run_driver_cases(group, record)
                self._run_scenarios(group, record)
        finally:
            with self._stage("collect"):
                self._installation.take_back(group)

    def _make_ready(self, group: Group, record: Record) -> None:
        """A machine that is lost before its first case costs no result, so it is tried with one more."""
        try:
            with self._stage("prepare"):
                group.prepare()
            with self._stage("inventory"):
                self._take_inventory(group, record)
        except MachineLostError as error:
            group.refresh(error.message, None)
            self._take_inventory(group, record)

    def _prepared(self, machines: Sequence[Machine]) -> Installed:
        brought = self._installation.bring(machines)
        profile = self._leg.profile
        facts = {"profile": profile.name, "platform": profile.platform, **brought.facts}
        self._run = dataclasses.replace(self._run, facts=facts, changes=brought.changes)
        return brought.installed

    def _take_inventory(self, group: Group, record: Record) -> None:
        machine, installed = group.machine, group.installed
        cases = {}
        for task in self._leg.tasks:
            limit = self._deadline.at_most(self._plan.timeouts.case)
            cases[task.suite] = discover(
                self._suites[task.suite], self._driver, machine, installed.suite(task.suite), limit
            )
        inventory = Inventory(
            leg=self._leg.id, suites={name: tuple(case.id for case in found) for name, found in cases.items()}
        )
        files.write_atomically(self._folder.inventory, files.encode(inventory))
        self._select(cases, record)
        self._check_claims(group.machines.members, record)

    def _check_claims(self, machines: Sequence[Machine], record: Record) -> None:
        """A case that asks for what the profile claims falsely says nothing about the image."""
        false = claims.ask(machines[0], self._leg.profile, others=machines[1:], timeout=self._deadline.at_most(_SHORT))
        for why in dict.fromkeys(false.values()):
            self._say(why, Level.WARNING)
        for case in self._open_cases(record):
            why = claims.claimed_falsely(case, self._suites[case.suite], false)
            if why:
                record.add(errored(case, why))
        record.sync()

    def _run_driver_cases(self, group: Group, record: Record) -> None:
        drivers = {name: suite.driver for name, suite in self._suites.items() if suite.driver is not None}
        around = Surroundings(
            environment=environment(self._leg),
            driver=self._driver,
            drivers=drivers,
            record=record,
            console=self._kernel,
            deadline=self._deadline,
            silence=self._plan.timeouts.silence,
            emit=self._emit,
        )

        def still_open() -> list[Planned]:
            return [
                self._planned(case, drivers[case.suite], group)
                for case in self._open_cases(record)
                if case.suite in drivers
            ]

        if not group.can_refresh and any(self._wants_fresh(planned) for planned in still_open()):
            self._say("this machine cannot be had afresh: cases that ask for it share it as it is", Level.WARNING)
        boot = self._plan.timeouts.boot
        CaseRunner(
            group,
            around,
            still_open,
            wants_fresh=self._wants_fresh,
            evidence=lambda reason: self._collect_evidence(group.machine, reason),
            boot=boot,
        ).run()
        if not self._kernel.has_console:
            with contextlib.suppress(MachineLostError):  # the results are there, this is evidence beside them
                said = group.machine.run("sh", "-c", _DMESG, timeout=self._deadline.at_most(_SHORT))
                self._kernel.read_dmesg(said.output)

    def _wants_fresh(self, planned: Planned) -> bool:
        return planned.case.dirty or self._suites[planned.case.suite].isolation is Isolation.CASE

    def _planned(self, case: Case, driver: str, group: Group) -> Planned:
        suite = self._suites[case.suite]
        return Planned(
            case=case,
            command=self._driver(driver).command(case),
            timeout=case.timeout or suite.timeout or self._plan.timeouts.case,
            folder=group.installed.suite(case.suite),
            environment=suite.environment,
            watch=group.can_refresh and suite.isolation is not Isolation.CRASH,
        )

    def _run_scenarios(self, group: Group, record: Record) -> None:
        runner = ScenarioRunner(
            group=group,
            scenario=self._scenario,
            kernel=self._kernel,
            record=record,
            deadline=self._deadline,
            timeouts=self._plan.timeouts,
            emit=self._emit,
            place=self._leg.id,
        )
        for name, selection in self._selections.items():
            suite = self._suites[name]
            cases = [case for case in selection.run if not record.has(case.key)]
            if suite.scenario is not None and cases:
                runner.run(suite, cases, is_last=lambda: not self._open_cases(record))

    def _collect_evidence(self, machine: Machine, reason: str) -> None:
        collected = collect.on_failure(machine, self._folder.telemetry, reason=reason)
        if collected.folder:
            self._say(f"what the machine says of it is in {self._folder.telemetry / collected.folder}", Level.DEBUG)
