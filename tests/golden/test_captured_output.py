"""What real tools printed, and that the drivers say of it what the tools said themselves (tests/cases)."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from lisa_ci.drivers.gtest import GtestDriver
from lisa_ci.drivers.junit import JunitDriver
from lisa_ci.drivers.kselftest import KselftestDriver
from lisa_ci.drivers.ktap import KtapDriver
from lisa_ci.drivers.ltp import LtpDriver
from lisa_ci.drivers.tap import TapDriver
from lisa_ci.model import Case, Completed, Outcome, Result, Suite

CASES: Final = Path(__file__).parents[1] / "cases"
CASE: Final = Case(suite="s", id="c")


def captured(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(gzip.decompress((CASES / name).read_bytes()))
    return loaded


LTP: Final = captured("ltp/syscalls.json.gz")
KSELFTEST: Final = captured("kselftest/linux-6.1.json.gz")
RUNNER_LINE: Final = re.compile(r"^(not ok|ok) \d+ selftests: \S+ .*?(# SKIP)?$", re.MULTILINE)


def verdict_of_runner(text: str) -> Outcome:
    found = RUNNER_LINE.findall(text)[-1]
    return Outcome.SKIPPED if found[1] else Outcome.PASSED if found[0] == "ok" else Outcome.FAILED


# ---- LTP -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ran", LTP, ids=lambda ran: ran["command"].split()[0])
def test_ltp_s_exit_status_and_the_driver_agree(ran: dict[str, Any]) -> None:
    result = LtpDriver().interpret(CASE, Completed(exit=ran["exit"], output=ran["output"].encode()))
    assert result.outcome is {0: Outcome.PASSED, 32: Outcome.SKIPPED}[ran["exit"]]


@pytest.mark.parametrize("ran", LTP, ids=lambda ran: ran["command"].split()[0])
def test_every_result_that_ltp_s_summary_counts_is_a_child_or_counted(ran: dict[str, Any]) -> None:
    counts = [
        int(number)
        for number in re.findall(r"^(?:passed|failed|broken|skipped|warnings) +(\d+)$", ran["output"], re.MULTILINE)
    ]
    result = LtpDriver().interpret(CASE, Completed(exit=ran["exit"], output=ran["output"].encode()))
    if counts:
        assert len(result.children) + result.dropped_children == sum(counts)


# ---- kselftest -----------------------------------------------------------------------------------------------------


def case_of(ran: dict[str, Any]) -> Case:
    suite = Suite(name="kselftest", folder="f", digest="d", driver="kselftest", listing=("./list",))
    return KselftestDriver().discover(suite, ran["test"].encode())[0]


@pytest.mark.parametrize("ran", KSELFTEST, ids=lambda ran: ran["test"])
def test_kselftest_s_runner_and_the_driver_agree_on_a_program_run_by_itself(ran: dict[str, Any]) -> None:
    result = KselftestDriver().interpret(case_of(ran), Completed(exit=ran["exit"], output=ran["output"].encode()))
    assert result.outcome is verdict_of_runner(ran["runner"]), result.message


@pytest.mark.parametrize("ran", KSELFTEST, ids=lambda ran: ran["test"])
def test_kselftest_s_runner_and_the_driver_agree_on_the_runner_s_output(ran: dict[str, Any]) -> None:
    result = KselftestDriver().interpret(
        case_of(ran), Completed(exit=ran["runner_exit"], output=ran["runner"].encode())
    )
    assert result.outcome is verdict_of_runner(ran["runner"]), result.message


BLOCK: Final = re.compile(
    r"^# selftests: (?P<test>.+)\n(?P<output>(?:#.*\n)*)(?:not ok|ok) \d+ selftests: (?P=test)", re.MULTILINE
)
POINT: Final = re.compile(r"^# (?P<ok>not ok|ok)(?P<rest>(?: .*)?)$", re.MULTILINE)


def outcome_of(point: re.Match[str]) -> Outcome:
    """What a line "ok" or "not ok" says by itself."""
    if re.search(r"#\s*(SKIP|TODO|XFAIL)\b", point["rest"], re.IGNORECASE):
        return Outcome.SKIPPED
    return Outcome.PASSED if point["ok"] == "ok" else Outcome.FAILED


@pytest.mark.parametrize("ran", KSELFTEST, ids=lambda ran: ran["test"])
def test_a_program_s_own_lines_below_the_runner_are_the_children(ran: dict[str, Any]) -> None:
    [block] = BLOCK.finditer(ran["runner"])
    result = KselftestDriver().interpret(case_of(ran), Completed(exit=ran["exit"], output=ran["output"].encode()))
    assert Counter(child.outcome for child in result.children) == Counter(
        outcome_of(point) for point in POINT.finditer(block["output"])
    )


CAP: Final = 64 << 10  # what the runner keeps of the beginning and of the end


@pytest.mark.parametrize("ran", [ran for ran in KSELFTEST if len(ran["output"]) > 2 * CAP], ids=lambda ran: ran["test"])
def test_kselftest_s_runner_and_the_driver_agree_on_what_is_kept_of_long_output(ran: dict[str, Any]) -> None:
    whole = ran["output"].encode()
    cut = Completed(
        exit=ran["exit"],
        output=whole[:CAP] + whole[-CAP:],
        head_bytes=CAP,
        dropped_bytes=len(whole) - 2 * CAP,
    )
    assert KselftestDriver().interpret(case_of(ran), cut).outcome is verdict_of_runner(ran["runner"])


def test_there_are_enough_captured_programs_and_long_ones_among_them() -> None:
    assert len(KSELFTEST) >= 90
    assert len(LTP) >= 75
    assert any(len(ran["output"]) > 2 * CAP for ran in KSELFTEST)


@pytest.mark.parametrize("ran", [ran for ran in KSELFTEST if ran["exit"] not in {0, 4}], ids=lambda ran: ran["test"])
def test_a_failed_kselftest_points_into_the_tree(ran: dict[str, Any]) -> None:
    result = KselftestDriver().interpret(case_of(ran), Completed(exit=ran["exit"], output=ran["output"].encode()))
    collection = ran["test"].partition(":")[0]
    assert (result.file or "").startswith(f"tools/testing/selftests/{collection}/")


def test_a_log_of_many_collections_has_every_verdict_of_the_runner() -> None:
    text = (CASES / "kselftest" / "run_kselftest.log").read_text()
    result = TapDriver().interpret(CASE, Completed(exit=0, output=text.encode()))
    said = {
        name: Outcome.PASSED if ok == "ok" else Outcome.FAILED
        for ok, name in re.findall(r"^(not ok|ok) \d+ (selftests: \S+ \S+)", text, re.MULTILINE)
    }
    assert {child.name: child.outcome for child in result.children} == said
    assert len(said) == 18


# ---- KUnit ---------------------------------------------------------------------------------------------------------


def test_kunit_py_and_the_driver_count_the_same_tests() -> None:
    output = (CASES / "kunit" / "uml-6.1.log").read_bytes()
    result = KtapDriver().interpret(CASE, Completed(exit=0, output=output))
    tests = Counter(test.outcome for suite in result.children for test in suite.children)
    assert (len(result.children), tests) == (27, {Outcome.PASSED: 210, Outcome.SKIPPED: 7})
    assert result.outcome is Outcome.PASSED


# ---- GoogleTest ----------------------------------------------------------------------------------------------------

GTEST: Final = {
    "bad-exit1": ("failed", 10),
    "crash-exit134": ("failed", 6),
    "disabled-exit0": ("skipped", 0),
    "early-exit-exit0": ("errored", 1),  # the program left in the middle of a test, by exit(0)
    "good-exit0": ("passed", 9),
    "matchers-exit1": ("failed", 4),
    "matchers-filter-exit1": ("failed", 1),
    "matchers-one-exit0": ("passed", 1),
    "matchers-shard-exit1": ("failed", 1),
    "no-match-exit0": ("errored", 0),
    "no-times-exit1": ("failed", 10),
    "skipped-exit0": ("skipped", 1),
}


def interpreted(path: Path) -> Result:
    driver = GtestDriver() if path.suffix == ".out" else JunitDriver()
    status = int(path.stem.rpartition("-exit")[2])
    return driver.interpret(CASE, Completed(exit=status, output=path.read_bytes()))


@pytest.mark.parametrize("path", sorted((CASES / "gtest").glob("*.out")), ids=lambda path: path.stem)
def test_googletest_s_output_gives_its_verdict_and_all_tests(path: Path) -> None:
    result = interpreted(path)
    assert (result.outcome.value, len(result.children)) == GTEST[path.stem]


def test_a_matcher_s_failure_points_to_its_line_and_says_what_was_wanted() -> None:
    """As gVisor's tests print it: three lines behind the place."""
    result = interpreted(CASES / "gtest/matchers-exit1.out")
    assert (result.file, result.line) == ("test/syscalls/linux/matchers.cc", 20)
    assert "Expected: is a call that succeeds" in result.message
    outcomes = {child.name: child.outcome for child in result.children}
    assert outcomes == {
        "OpenTest.OfNothing": Outcome.PASSED,
        "OpenTest.OfNull": Outcome.FAILED,
        "ForkTest.ChildDies": Outcome.FAILED,
        "MemoryTest.NeedsAccount": Outcome.SKIPPED,
    }


@pytest.mark.parametrize("name", ["good-exit0", "bad-exit1", "matchers-exit1"])
def test_googletest_s_text_and_its_xml_say_the_same(name: str) -> None:
    text = interpreted(CASES / "gtest" / f"{name}.out")
    xml = interpreted(CASES / "gtest" / f"{name}.xml")
    tests = {test.name: test.outcome for suite in xml.children for test in suite.children}
    assert {child.name: child.outcome for child in text.children} == {
        name: outcome for name, outcome in tests.items() if "DISABLED" not in name
    }
    assert (text.outcome, text.file, text.line) == (xml.outcome, xml.file, xml.line)
