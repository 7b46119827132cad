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

from lisa_ci import faults, files, scrub
from lisa_ci.errors import LisaCiError, Loss, MachineLostError, PipelineError, ProvisioningError
from lisa_ci.events import Emit, Level, Message, StageEnded, StageStarted
from lisa_ci.execution import claims, collect, index, losses
from lisa_ci.execution.caselist import Planned, environment
from lisa_ci.execution.cases import CaseRunner
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.dialogue import Surroundings
from lisa_ci.execution.group import Group
from lisa_ci.execution.install import Installed, install, new_name, remove
from lisa_ci.execution.inventory import Selection, all_known, discover, in_folder, select
from lisa_ci.execution.journal import locked, rewrite
from lisa_ci.execution.kernel_log import KernelLog
from lisa_ci.execution.record import Log, Record, errored, skipped
from lisa_ci.execution.sampler import Sampling
from lisa_ci.execution.signals import signals_held
from lisa_ci.files import LegFolder
from lisa_ci.kernel import SourceLines
from lisa_ci.model import Case, Command, Inventory, Isolation, Lease, Leg, Outcome, Plan, Result, Run, Stage, Suite
from lisa_ci.protocols import Driver, Machine, Machines, Platform, Scenario, SupportsReceipts

_KEPT: Final = timedelta(hours=24)
_SLACK: Final = timedelta(hours=1)
_SHORT: Final = timedelta(seconds=60)
_KNOCK: Final = timedelta(seconds=15)  # at a machine that is not needed any more
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
        finished = self._begin(resume=resume)
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
            self._tidy()
        if failure is not None and not isinstance(failure, ProvisioningError):
            raise failure
        return self._run

    # ---- before and after ------------------------------------------------------------------------------------------

    def _begin(self, *, resume: bool) -> list[Result]:
        """An empty folder, or one with the judged results of an earlier run of the same plan."""
        finished: list[Result] = []
        earlier = files.read_leg(self._folder.root) if resume else None
        if earlier is not None and earlier.run.plan_digest != self._run.plan_digest:
            raise PipelineError(
                f"{self._folder.root} holds a run of another plan", hint="leave --resume out, or give another --out"
            )
        if earlier is not None:
            finished = [result for result in earlier.results() if faults.is_proof(earlier.run, result)]
        if finished:
            rewrite(self._folder.journal, finished)
            for path in filter(is_ours, self._folder.root.rglob(".*")):
                path.unlink()
        else:
            self._empty()
        self._folder.root.mkdir(parents=True, exist_ok=True)
        self._write_run()
        return finished

    def _empty(self) -> None:
        root = self._folder.root
        if root.is_dir() and not self._folder.run.exists() and any(not is_ours(path) for path in root.iterdir()):
            raise PipelineError(f"{root} holds something else than a leg", hint="give another --out")
        shutil.rmtree(root, ignore_errors=True)

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

    def _tidy(self) -> None:
        """No secret stays in what the machine wrote by itself; then everything is listed."""
        if not self.settings.keep:  # a machine that goes on writes on
            for console in (self._folder.console, *sorted(self._folder.root.glob("console-*.log"))):
                if is_plain(console):
                    scrub.scrub_file(console)
        scrub.scrub_file(self._folder.log)
        index.write(self._folder)

    def _write_run(self) -> None:
        files.write_atomically(self._folder.run, files.encode(self._run))

    def _reproduce(self) -> str:
        plan = shlex.quote(str(self.settings.plan_file))
        return f"lisa-ci run {shlex.quote(self._leg.id)} --plan {plan} --out reproduce"

    @property
    def _names(self) -> Path:
        """Names the folders that we have made in a machine that lives on."""
        return self._scratch / "installed"

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
                self._collect(group)

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

    def _prepared(self, machine: Machine) -> Installed:
        limit = self._deadline.at_most(self._plan.timeouts.boot)
        found = collect.facts(machine, timeout=self._deadline.at_most(_SHORT))
        needed = {task.suite: self._suites[task.suite] for task in self._leg.tasks}
        self._remove_earlier(machine)
        name = new_name()
        if self._leg.profile.endpoint is not None:  # it lives on, and a run that comes after a kill finds this
            with contextlib.suppress(OSError), self._names.open("a") as file:
                file.write(f"{name}\n")
        installed = install(machine, needed, name=name, timeout=limit)
        for suite in needed.values():
            self._prepare_suite(suite, machine, installed)
        self._run = dataclasses.replace(
            self._run,
            facts={"profile": self._leg.profile.name, "platform": self._leg.profile.platform, **found},
            changes=(f"{installed.folder}: the runner and the suites {', '.join(sorted(needed))}",),
        )
        return installed

    def _prepare_suite(self, suite: Suite, machine: Machine, installed: Installed) -> None:
        if not suite.prepare:
            return
        limit = self._deadline.at_most(suite.timeout or self._plan.timeouts.boot)
        words = in_folder(Command(arguments=suite.prepare), installed.suite(suite.name), suite.environment)
        completed = machine.run(*words, timeout=limit)
        if completed.exit != 0:
            how = "did not end in time" if completed.is_timed_out else f"ended with exit {completed.exit}"
            said = " ".join(completed.output.decode("utf-8", "replace").split())[-300:]
            raise ProvisioningError(f"the preparation of suite {suite.name} {how}: {said or 'it said nothing'}")

    def _remove_earlier(self, machine: Machine) -> None:
        """What a run that was killed has left in a machine that lives on."""
        if self._leg.profile.endpoint is not None and self._names.exists():
            remove(machine, self._names.read_text().split(), timeout=_SHORT)

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
        for name, selection in self._selections.items():
            suite = self._suites[name]
            cases = tuple(case for case in selection.run if not record.has(case.key))
            if suite.scenario is None or not cases:
                continue
            self._deadline.check()
            try:
                self._run_scenario(suite.scenario, dataclasses.replace(suite, cases=cases), group, record)
            except MachineLostError as error:
                self._record_lost([case for case in cases if not record.has(case.key)], error, group, record)
                if not self._open_cases(record):
                    continue
                group.refresh(error.message, None)

    def _run_scenario(self, name: str, suite: Suite, group: Group, record: Record) -> None:
        cases = suite.cases or ()
        keys = {case.key for case in cases}
        by_key = {case.key: case for case in cases}
        for case in cases:
            record.started(case)
        self._kernel.begin()
        for result in self._scenario(name).run(suite, group.machines, timeouts=self._plan.timeouts, emit=self._emit):
            if result.key not in keys:
                self._say(f"scenario {name} told of {result.key}, which it was not asked for", Level.WARNING)
                continue
            for other in group.machines.members[1:] if result.outcome is Outcome.PASSED else ():
                other.run("true", timeout=self._deadline.at_most(_SHORT))  # its case has not passed where it is dead
            record.add(losses.observed(by_key[result.key], result, self._kernel.claim(result.key)))
            record.sync()
            self._deadline.check()
        for case in cases:
            record.add(errored(case, f"scenario {name} gave no result for the case"))
        record.sync()

    def _record_lost(self, cases: Sequence[Case], error: MachineLostError, group: Group, record: Record) -> None:
        """A scenario's cases whose machines went away; what the kernels said is the first one's."""
        if error.loss is Loss.SILENCE and (did := group.diagnose()):
            error = MachineLostError(f"{error.message}; {did}", hint=error.hint, loss=error.loss)
        words = self._kernel.tail(losses.role_of(error))
        for case in cases:
            record.add(losses.lost(case, error, self._kernel.claim(case.key), words, timedelta()))
        record.sync()

    def _answering(self, group: Group) -> None:
        try:
            group.machine.run("true", timeout=_SHORT)
        except MachineLostError:
            group.machine.reconnect(timeout=_KNOCK)

    def _collect_evidence(self, machine: Machine, reason: str) -> None:
        collected = collect.on_failure(machine, self._folder.telemetry, reason=reason)
        if collected.folder:
            self._say(f"what the machine says of it is in {self._folder.telemetry / collected.folder}", Level.DEBUG)

    def _collect(self, group: Group) -> None:
        """Harmless where the machine does not answer: the results are what counts."""
        try:
            if self._leg.profile.endpoint is not None:  # it lives on, so nothing of ours may stay there
                self._answering(group)
                if not group.has_installed:
                    self._remove_earlier(group.machine)
            if not group.has_installed:
                return
            try:
                collect.telemetry(group.machine, self._folder.telemetry, timeout=_SHORT)
                for other in group.machines.members[1:]:
                    collect.telemetry(other, self._folder.telemetry / other.role, timeout=_SHORT)
            finally:
                if not self.settings.keep:
                    if self._leg.profile.endpoint is not None:
                        self._answering(group)
                    remove(group.machine, (group.installed.name,), timeout=_SHORT)
        except ProvisioningError as error:
            self._say(f"no telemetry: {error.message}", Level.WARNING)


def is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def is_ours(path: Path) -> bool:
    """A file that was being written when an earlier run was killed."""
    return path.name.startswith(".") and is_plain(path)
