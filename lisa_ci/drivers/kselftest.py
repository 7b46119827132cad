"""Driver ``kselftest``: programs of the kernel's tools/testing/selftests, one case each.

kselftest judges a program by its exit status, and so does this driver; what the program printed can make that worse,
never better (docs/drivers.md has the table). A suite's listing gives one test a line as kselftest-list.txt does, and
facts behind TABs::

    timers:posix_timers<TAB>timeout=0<TAB>lacks=CONFIG_POSIX_TIMERS=y

``timeout`` is that of the collection's ``settings`` in seconds, 0 for none. ``lacks`` is an option of the collection's
``config`` that the kernel was not built with. ``./run COLLECTION:TEST`` beside ``suite.yaml`` runs one.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from lisa_ci.drivers import wording
from lisa_ci.drivers.listing import Listed, cases_of, listing_command
from lisa_ci.drivers.result import Place, result_of
from lisa_ci.drivers.tap import notes, read, so_far
from lisa_ci.drivers.tap_lines import SELFTESTS
from lisa_ci.drivers.tap_stream import Level
from lisa_ci.model import Case, Command, Completed, Outcome, Result, SubResult, Suite

SKIPPED: Final = 4  # KSFT_SKIP
TREE: Final = "tools/testing/selftests"
_TEST: Final = re.compile(r"(?:selftests: )?([\w./+-]{1,200}): ?([\w.+ -]{1,200}(?:/[\w.+ -]{1,200})*)", re.ASCII)
_OPTION: Final = re.compile(r"CONFIG_\w{1,100}", re.ASCII)
_SOURCE: Final = re.compile(r"(?<![\w./+-])([\w./+-]{1,100}\.(?:[ch]|sh|py)):(\d{1,7})\b", re.ASCII)
_LACKS_SHOWN: Final = 3


class KselftestDriver:
    """Reads a program's own output, and that of ``run_kselftest.sh -t`` around it."""

    def listing(self, suite: Suite) -> Command | None:
        return listing_command(suite)

    def discover(self, suite: Suite, listing: bytes) -> Sequence[Case]:
        """A case for each test, with the time its collection gives it and the kernel options it lacks."""
        return suite.cases if suite.cases is not None else cases_of(suite, _listed(listing))

    def command(self, case: Case) -> Command:
        return Command(arguments=case.run or ("./run", case.title or case.id))

    def interpret(self, case: Case, completed: Completed) -> Result:
        """One result, with the program's KTAP as its children."""
        stream = read(completed)
        outcome, message, children = _judge(completed, stream)
        lacks = [f"{name}={value}" for name, value in case.requires.items() if _OPTION.fullmatch(name)]
        is_plain_exit = completed.exit is not None and completed.exit < 128 and not completed.is_timed_out
        if outcome is Outcome.FAILED and lacks and is_plain_exit:
            options = ", ".join(lacks[:_LACKS_SHOWN]) + (" ..." if len(lacks) > _LACKS_SHOWN else "")
            return result_of(case, completed, Outcome.SKIPPED, f"needs {options}, which this kernel lacks: {message}")
        return result_of(
            case,
            completed,
            outcome,
            message,
            children=children,
            dropped_children=stream.shared.room.dropped,
            place=_place(case, stream, children, message),
        )


def _listed(listing: bytes) -> Iterator[Listed]:
    for line in wording.lines(listing):
        name, *facts = (part.strip() for part in line.split("\t"))
        if not name or name.startswith("#"):
            continue
        given = [fact.partition("=") for fact in facts]
        seconds = next((value for key, _, value in given if key == "timeout"), "")
        lacks = (value.partition("=") for key, _, value in given if key == "lacks")
        yield Listed(
            name=name,
            id_from=name.replace(":", ".", 1),
            run=("./run", name),
            timeout=timedelta(seconds=int(seconds)) if re.fullmatch(r"[1-9]\d{0,5}", seconds, re.ASCII) else None,
            requires={option: value for option, _, value in lacks if _OPTION.fullmatch(option)},
        )


def _judge(completed: Completed, stream: Level) -> tuple[Outcome, str, tuple[SubResult, ...]]:
    children = tuple(stream.children)
    if completed.is_timed_out:
        return Outcome.FAILED, f"timed out after {wording.span(completed)}, {so_far(stream)}", children
    if completed.exit in {0, 1} and len(children) == 1 and SELFTESTS.fullmatch(children[0].name):
        return _judge_wrapped(completed, stream, children[0])
    outcome, message = _judge_program(completed, stream)
    if outcome is not Outcome.PASSED:
        return outcome, message, children
    told = [message, *notes(completed, stream, outcome), *(stream.problems if stream.points else ())]
    return outcome, "; ".join(part for part in told if part), children


def _judge_wrapped(
    completed: Completed, stream: Level, program: SubResult
) -> tuple[Outcome, str, tuple[SubResult, ...]]:
    """What kselftest's own runner says of its one program; its line stands for the case."""
    if stream.is_short:
        return Outcome.ERRORED, "; ".join(stream.problems), (program,)
    outcome, message = program.outcome, program.message
    inner = next((child.message for child in program.children if child.message and child.outcome is outcome), "")
    if outcome is Outcome.SKIPPED and not message:
        message = inner or _skip_reason(completed)
    if outcome is Outcome.FAILED:
        first = next((child.name for child in program.children if child.outcome is outcome), "")
        detail = f"{first} ({inner})" if first and inner else first or _telling(completed)
        message = ": ".join(part for part in (message, detail) if part)
    return outcome, message, program.children


def _judge_program(completed: Completed, stream: Level) -> tuple[Outcome, str]:
    status, failed = completed.exit, stream.counts[Outcome.FAILED]
    if failed:
        first = stream.shared.first_failure
        said = f"{failed} of {stream.points} failed: {first}" if stream.points > 1 else first
        return Outcome.FAILED, said if status in {0, 1, None} else f"{said} ({wording.ending(status)})"
    if status is None:
        return Outcome.ERRORED, f"never ended by itself, {so_far(stream)}"
    if status == SKIPPED:
        return Outcome.SKIPPED, stream.skip_all or _skip_reason(completed) or "exit 4, no reason given"
    if status:
        said = stream.shared.bail or _telling(completed)
        return Outcome.FAILED, f"{wording.ending(status)}: {said}" if said else wording.ending(status)
    return _judge_exit_0(completed, stream)


def _judge_exit_0(completed: Completed, stream: Level) -> tuple[Outcome, str]:
    if stream.shared.bail is not None:
        return Outcome.ERRORED, f"Bail out! {stream.shared.bail}".strip() + f" ({so_far(stream)})"
    if completed.dropped_bytes and stream.has_tap and not stream.is_proven_by_totals:
        return Outcome.ERRORED, f"{completed.dropped_bytes} bytes of output were cut out, so nothing can be counted"
    if stream.is_short:
        return Outcome.ERRORED, "; ".join(stream.problems)
    if stream.points and not stream.counts[Outcome.PASSED] and not stream.is_proven_by_totals:
        return Outcome.SKIPPED, f"all {stream.points} skipped" + next(
            (f": {child.message}" for child in stream.children if child.message), ""
        )
    if stream.skip_all is not None and not stream.points:
        return Outcome.SKIPPED, stream.skip_all or "no tests planned"
    return Outcome.PASSED, ""


def _telling(completed: Completed) -> str:
    return wording.telling_line(_plain(completed))


def _skip_reason(completed: Completed) -> str:
    return wording.skip_reason(_plain(completed))


def _plain(completed: Completed) -> bytes:
    """The end of the output without the ``# `` of kselftest's nesting, its header and its own line."""
    kept = []
    for line in wording.lines(completed.output[-wording.DETAIL_LIMIT :]):
        text = line.removeprefix("#").strip()
        if text and "selftests: " not in text and not text.startswith(("TAP version", "Totals:", "1..")):
            kept.append(text)
    return "\n".join(kept).encode()


def _place(case: Case, stream: Level, children: tuple[SubResult, ...], message: str) -> Place | None:
    """A file of the kernel's tree: the one that was printed, else the program's own source by its name."""
    headers = [child.name for child in stream.children] if stream.children and not children else []
    for text in (case.run[-1] if case.run else "", case.title, *headers):
        if found := _TEST.fullmatch(text):
            collection, test = found[1], found[2]
            break
    else:
        return stream.shared.place
    folder = f"{TREE}/{collection}"
    place = stream.shared.place
    if place is None and (found := _SOURCE.search(message)):
        place = Place(file=found[1], line=int(found[2]))
    if place is None:
        return Place(file=f"{folder}/{test}" if "." in test else f"{folder}/{test}.c")
    _, within, below = place.file.rpartition(f"{TREE}/")
    file = posixpath.normpath(f"{TREE}/{below}" if within else posixpath.join(folder, place.file))
    return dataclasses.replace(place, file=file)
