from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.drivers.gtest import GtestDriver
from lisa_ci.model import Case, Completed, Outcome, Result, Suite

CASE = Case(suite="g", id="c")
SUITE = Suite(name="g", folder="f", digest="d", driver="gtest", listing=("./list",))
LIST = b"""Running main() from ./googletest/src/gtest_main.cc
Open.
  Works
  DISABLED_Later
Typed/0.  # TypeParam = int
  Small
All/P.
  Fits/0  # GetParam() = 1
  Fits/1  # GetParam() = "a # b"
"""


def run(*tests: str, total: int | None = None, tail: str = "") -> str:
    """A program's output: each test is ``NAME OK``, ``NAME FAILED`` ..., or any other text."""
    marks = {"OK": "[       OK ]", "FAILED": "[  FAILED  ]", "SKIPPED": "[  SKIPPED ]"}
    body, ended = "", 0
    for test in tests:
        name, _, how = test.partition(" ")
        if how in marks:
            said = (
                "" if how == "OK" else f"a_test.cc:{12 + ended}: {'Failure' if how == 'FAILED' else 'Skipped'}\nwhy\n"
            )
            body += f"[ RUN      ] {name}\n{said}{marks[how]} {name} (0 ms)\n"
            ended += 1
        else:
            body += test
    total = ended if total is None else total
    head = f"[==========] Running {total} tests from 1 test suite.\n"
    return f"{head}{body}[==========] {total} tests from 1 test suite ran. (0 ms total)\n{tail}"


def judged(text: str, status: int | None = 0) -> Result:
    return GtestDriver().interpret(CASE, Completed(exit=status, output=text.encode()))


def test_each_listed_test_is_a_case_of_the_program_named_before_it() -> None:
    cases = GtestDriver().discover(SUITE, b"/opt/t/open_test\n" + LIST + b"/opt/t/mmap_test\nMap.\n  Works\n")
    assert [(case.id, case.run) for case in cases] == [
        ("open_test.open.works", ("/opt/t/open_test", "--gtest_filter=Open.Works")),
        ("open_test.open.disabled_later", ("/opt/t/open_test", "--gtest_filter=Open.DISABLED_Later")),
        ("open_test.typed-0.small", ("/opt/t/open_test", "--gtest_filter=Typed/0.Small")),
        ("open_test.all-p.fits-0", ("/opt/t/open_test", "--gtest_filter=All/P.Fits/0")),
        ("open_test.all-p.fits-1", ("/opt/t/open_test", "--gtest_filter=All/P.Fits/1")),
        ("mmap_test.map.works", ("/opt/t/mmap_test", "--gtest_filter=Map.Works")),
    ]


def test_without_a_program_the_suite_s_run_is_asked() -> None:
    cases = GtestDriver().discover(SUITE, LIST)
    assert cases[0].run == ("./run", "--gtest_filter=Open.Works")
    assert cases[0].id == "open.works"


@pytest.mark.parametrize(
    ("text", "status", "outcome"),
    [
        (run("A.b OK"), 0, "passed"),
        (run("A.b OK", "A.c SKIPPED"), 0, "passed"),
        (run("A.b OK", "A.c FAILED"), 1, "failed"),
        (run("A.b OK", "A.c FAILED"), 0, "failed"),
        (run("A.b SKIPPED"), 0, "skipped"),
        (run("A.b OK"), 1, "failed"),
        (run("A.b OK"), 134, "failed"),
        (run("A.b OK", "[ RUN      ] A.c\n"), 139, "failed"),
        (run("A.b OK", "[ RUN      ] A.c\n"), 0, "errored"),
        (run("A.b OK", "[ RUN      ] A.c\n", "A.d OK", total=3), 0, "errored"),
        (run("A.b OK", total=2), 0, "errored"),
        (run("A.b OK").rpartition("[===")[0], 0, "errored"),
        (run(), 0, "errored"),
        (run(tail="  YOU HAVE 1 DISABLED TEST\n"), 0, "skipped"),
        (run("A.b OK", tail="[  PASSED  ] 1 test.\n  YOU HAVE 2 DISABLED TESTS\n"), 0, "passed"),
        (run("A.b OK", tail="[  PASSED  ] 0 tests.\n"), 0, "errored"),
        (run("A.b OK", tail="[  FAILED  ] A: SetUpTestSuite or TearDownTestSuite\n"), 1, "failed"),
        ("", 0, "errored"),
        ("hello\n", 0, "errored"),
        (run("A.b OK"), None, "errored"),
    ],
)
def test_what_ended_the_totals_and_the_exit_status_must_agree(text: str, status: int | None, outcome: str) -> None:
    result = judged(text, status)
    assert result.outcome.value == outcome
    assert result.message or outcome == "passed"


def test_a_crash_names_the_test_that_was_running() -> None:
    result = judged(run("A.b OK", "[ RUN      ] A.c\nfoo\n").rpartition("[===")[0], 139)
    assert result.message == "killed by SIGSEGV (exit 139) in A.c, after 1 tests"
    assert [(child.name, child.outcome.value) for child in result.children] == [("A.b", "passed"), ("A.c", "errored")]


def test_a_failure_keeps_its_place_and_what_it_says() -> None:
    result = judged(run("A.b OK", "A.c FAILED"), 1)
    assert (result.file, result.line) == ("a_test.cc", 13)
    assert result.message == "1 of 2 failed: A.c (a_test.cc:13: why)"


def test_an_end_behind_the_program_s_own_output_is_seen() -> None:
    assert judged(run("[ RUN      ] A.b\nno end of line[       OK ] A.b (3 ms)\n", total=1)).outcome is Outcome.PASSED


def test_a_failed_parameter_is_told_from_the_list_at_the_end() -> None:
    text = run(
        "[ RUN      ] All/P.Fits/2\n[  FAILED  ] All/P.Fits/2, where GetParam() = 3 (0 ms)\n",
        total=1,
        tail="[  FAILED  ] 1 test, listed below:\n[  FAILED  ] All/P.Fits/2, where GetParam() = 3\n",
    )
    assert [child.name for child in judged(text, 1).children] == ["All/P.Fits/2"]


def test_times_may_be_left_out() -> None:
    text = run("A.b OK", "A.c FAILED", tail="[  FAILED  ] 1 test, listed below:\n[  FAILED  ] A.c\n")
    result = judged(text.replace(" (0 ms)", ""), 1)
    assert [(child.name, child.outcome.value) for child in result.children] == [("A.b", "passed"), ("A.c", "failed")]


def test_cut_output_is_believed_only_with_the_count_of_what_passed() -> None:
    head, rest = b"[ RUN      ] A.b\n", b"x\n[==========] 900 tests from 9 test suites ran. (0 ms total)\n"
    cut = Completed(exit=0, output=head + rest, head_bytes=len(head), dropped_bytes=10**6)
    assert GtestDriver().interpret(CASE, cut).outcome is Outcome.ERRORED
    rest += b"[  PASSED  ] 900 tests.\n"
    cut = Completed(exit=0, output=head + rest, head_bytes=len(head), dropped_bytes=10**6)
    assert GtestDriver().interpret(CASE, cut).outcome is Outcome.PASSED


WORDS = st.sampled_from(
    ["[ RUN      ] A.b\n", "[       OK ] A.b (0 ms)\n", "[  FAILED  ] A.c (1 ms)\n", "[  SKIPPED ] A.b (0 ms)\n", "x",
     "[==========] 1 test from 1 test suite ran. (0 ms total)\n", "[  PASSED  ] 1 test.\n", "\n", "a.cc:1: Failure\n",
     "[  FAILED  ] 1 test, listed below:\n", "  YOU HAVE 1 DISABLED TEST\n", "[ RUN      ] A.c\n"]
)  # fmt: skip


@given(
    data=st.binary(max_size=1000) | st.lists(WORDS, max_size=60).map(lambda words: "".join(words).encode()),
    status=st.sampled_from([0, 1, 139, None]),
    gap=st.integers(0, 300),
    dropped=st.sampled_from([0, 7]),
)
def test_any_bytes_give_one_result_and_no_invented_pass(
    data: bytes, status: int | None, gap: int, dropped: int
) -> None:
    completed = Completed(exit=status, output=data, head_bytes=min(gap, len(data)), dropped_bytes=dropped)
    result = GtestDriver().interpret(CASE, completed)
    assert len(result.message) <= 500
    assert len(result.message.splitlines()) <= 1
    if result.outcome is Outcome.PASSED:
        assert status == 0
        assert b"   OK ]" in data or b"  PASSED  ]" in data
        assert not {child.outcome for child in result.children} & {Outcome.FAILED, Outcome.ERRORED}
    else:
        assert result.message


@given(st.binary(max_size=2000) | st.just(LIST))
def test_any_listing_gives_legal_cases(listing: bytes) -> None:
    cases = GtestDriver().discover(SUITE, listing)
    assert len({case.id for case in cases}) == len(cases)


@pytest.mark.parametrize(
    "line", ["[       OK ] " * 300 + "\n", "[  FAILED  ] A.b, where " * 200 + "\n", "a" * 4000 + "\n"]
)
def test_reading_takes_time_in_proportion_to_the_output(line: str) -> None:
    def seconds(copies: int) -> float:
        data = line.encode() * copies
        start = time.perf_counter()
        GtestDriver().interpret(CASE, Completed(exit=0, output=data))
        return time.perf_counter() - start

    assert seconds(400) < 40 * max(seconds(50), 0.005)
