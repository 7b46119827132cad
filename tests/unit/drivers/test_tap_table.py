"""The whole table of docs/drivers.md: every line form in every circumstance, as the driver really judges it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci.drivers.tap import TapDriver
from lisa_ci.model import Case, Completed, Outcome, Result

DOCUMENT = Path(__file__).parents[3] / "docs" / "drivers.md"
LINES = (
    "ok 1 a",
    "not ok 1 a",
    "ok 1 a # SKIP why",
    "not ok 1 a # SKIP why",
    "ok 1 a # TODO why",
    "not ok 1 a # TODO why",
    "ok 1 a # XFAIL why",
    "not ok 1 a # XFAIL why",
    "ok 1 a # XPASS why",
    "not ok 1 a # TIMEOUT 45 seconds",
)
KERNEL = "[   12.345678] BUG: scheduling while atomic: swapper/0/1"
CIRCUMSTANCES = {
    "plan right": Completed(exit=0, output=b"TAP version 14\n1..1\n{}\n"),
    "no plan": Completed(exit=0, output=b"TAP version 14\n{}\n"),
    "fewer than planned": Completed(exit=0, output=b"1..2\n{}\n"),
    "more than planned": Completed(exit=0, output=b"1..1\n{}\nok 2 b # SKIP more\n"),
    "bail-out": Completed(exit=0, output=b"1..1\n{}\nBail out! no more\n"),
    "kernel lines between": Completed(exit=0, output=f"1..1\n{KERNEL}\n{{}}\n{KERNEL}\n".encode()),
    "exit 1": Completed(exit=1, output=b"1..1\n{}\n"),
    "exit 4": Completed(exit=4, output=b"1..1\n{}\n"),
    "output cut": Completed(exit=0, output=b"1..1\n{}\nxx", head_bytes=-2, dropped_bytes=9000),
    "timed out": Completed(exit=None, is_timed_out=True, output=b"1..1\n{}\n", wall=timedelta(seconds=30)),
}


def judged(line: str, circumstance: Completed) -> Result:
    output = circumstance.output.replace(b"{}", line.encode())
    completed = Completed(
        exit=circumstance.exit,
        output=output,
        head_bytes=len(output) - 2 if circumstance.dropped_bytes else 0,
        dropped_bytes=circumstance.dropped_bytes,
        is_timed_out=circumstance.is_timed_out,
        wall=circumstance.wall,
    )
    return TapDriver().interpret(Case(suite="s", id="c"), completed)


def table() -> str:
    """The table in Markdown; ERRORED and FAILED in capitals so that they are seen."""
    shown = {Outcome.ERRORED: "ERRORED", Outcome.FAILED: "FAILED", Outcome.PASSED: "passed", Outcome.SKIPPED: "skipped"}
    rows = [["the only test line", "the sub-test", *(f"case: {name}" for name in CIRCUMSTANCES)]]
    rows.append(["---"] * len(rows[0]))
    for line in LINES:
        results = [judged(line, circumstance) for circumstance in CIRCUMSTANCES.values()]
        subs = {result.children[0].outcome for result in results}
        assert len(subs) == 1, f"{line}: a sub-test's outcome depends on its line alone"
        rows.append([f"`{line}`", shown[subs.pop()], *(shown[result.outcome] for result in results)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_the_documented_table_is_what_the_driver_does() -> None:
    found = re.search(r"<!-- tap-table -->\n(.*?)<!-- end -->", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    assert found[1].strip() == table().strip()


@pytest.mark.parametrize("circumstance", CIRCUMSTANCES)
def test_a_failed_test_line_is_never_hidden_by_anything_else(circumstance: str) -> None:
    assert judged("not ok 1 a", CIRCUMSTANCES[circumstance]).outcome is Outcome.FAILED


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(
    "circumstance", ["no plan", "fewer than planned", "more than planned", "bail-out", "output cut"]
)
def test_what_does_not_prove_that_all_ran_is_never_passed_or_skipped(line: str, circumstance: str) -> None:
    assert judged(line, CIRCUMSTANCES[circumstance]).outcome in {Outcome.ERRORED, Outcome.FAILED}


if __name__ == "__main__":
    print(table())  # noqa: T201  the table for docs/drivers.md
