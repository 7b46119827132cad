"""What every driver must do, whatever its kind of suite is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lisa_ci import registry
from lisa_ci.model import Case, Completed, Outcome, Suite
from lisa_ci.protocols import Driver

GOOD = {
    "gtest": (
        b"[==========] Running 1 test from 1 test suite.\n[ RUN      ] A.B\n[       OK ] A.B (0 ms)\n"
        b"[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 1 test.\n"
    ),
    "junit": b'<testsuite name="a" tests="1"><testcase name="b"/></testsuite>',
    "kselftest": b"TAP version 13\n1..1\nok 1 fine\n",
    "ktap": b"KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: a\n    1..1\n    ok 1 b\nok 1 a\n",
    "ltp": b"a.c:1: TPASS: fine\n",
    "shell": b"fine\n",
    "tap": b"TAP version 14\n1..1\nok 1 - fine\n",
}
SKIPPED = {
    "gtest": (
        0,
        (
            b"[ RUN      ] A.B\na.cc:1: Skipped\nnot here\n[  SKIPPED ] A.B (0 ms)\n"
            b"[==========] 1 test from 1 test suite ran. (0 ms total)\n"
        ),
    ),
    "junit": (0, b'<testsuite name="a"><testcase name="b"><skipped message="not here"/></testcase></testsuite>'),
    "kselftest": (4, b"1..0 # SKIP not here\n"),
    "ktap": (4, b"1..0 # SKIP not here\n"),
    "ltp": (32, b"a.c:1: TCONF: not here\n"),
    "shell": (77, b"SKIP: not here\n"),
    "tap": (4, b"1..0 # SKIP not here\n"),
}
HOSTILE = (
    b"",
    b"\x00\xff\xfe" * 1000,
    b"\n" * 5000,
    b"x" * 200_000,
    "\u2028\u202e\x1b[2J]0;t\a".encode(),
    b"]]>\xed\xa0\x80",
)
CASE = Case(suite="s", id="c", title="The case", run=("./c", "--all"))


@pytest.mark.parametrize("name", sorted(registry.DRIVERS))
class TestDriver:
    @pytest.fixture
    def driver(self, name: str) -> Driver:
        return registry.driver(name)

    def test_stated_cases_are_run_as_stated(self, driver: Driver) -> None:
        suite = Suite(name="s", folder="f", digest="d", driver="x", cases=(CASE,))
        assert driver.listing(suite) is None
        assert list(driver.discover(suite, b"")) == [CASE]
        assert driver.command(CASE).arguments == ("./c", "--all")

    def test_a_listing_command_becomes_cases_of_that_suite(self, driver: Driver) -> None:
        suite = Suite(name="s", folder="f", digest="d", driver="x", listing=("./list", "-l"))
        command = driver.listing(suite)
        assert command is not None
        assert command.arguments == ("./list", "-l")
        cases = driver.discover(suite, b"one\ntwo\n")
        assert [(case.suite, case.id) for case in cases] == [("s", "one"), ("s", "two")]
        assert all(driver.command(case).arguments for case in cases)

    def test_every_driver_has_its_samples_here(self, name: str) -> None:
        assert name in GOOD
        assert name in SKIPPED

    @pytest.mark.parametrize("listing", HOSTILE)
    def test_no_listing_breaks_it_and_every_id_is_given_once(self, driver: Driver, listing: bytes) -> None:
        cases = driver.discover(Suite(name="s", folder="f", digest="d", driver="x", listing=("l",)), listing)
        assert len({case.id for case in cases}) == len(cases)

    def test_a_good_case_passes_and_keeps_its_figures(self, driver: Driver, name: str) -> None:
        completed = Completed(
            exit=0, output=GOOD[name], wall=timedelta(seconds=3), cpu=timedelta(seconds=1), peak_memory_bytes=7
        )
        result = driver.interpret(CASE, completed)
        assert (result.suite, result.case, result.title, result.outcome) == ("s", "c", "The case", Outcome.PASSED)
        assert (result.exit, result.wall, result.cpu, result.peak_memory_bytes) == (
            0,
            timedelta(seconds=3),
            timedelta(seconds=1),
            7,
        )

    def test_a_skipped_case_says_why(self, driver: Driver, name: str) -> None:
        status, output = SKIPPED[name]
        result = driver.interpret(CASE, Completed(exit=status, output=output))
        assert result.outcome is Outcome.SKIPPED
        assert "not here" in result.message

    def test_a_bad_exit_status_is_never_a_pass(self, driver: Driver, name: str) -> None:
        for status in (1, 2, 126, 127, 134, 139, 255):
            result = driver.interpret(CASE, Completed(exit=status, output=GOOD[name]))
            # LTP's exit 2 is a test that could not run; for all others it is a failure.
            assert result.outcome is (Outcome.ERRORED if (name, status) == ("ltp", 2) else Outcome.FAILED)
            assert result.message

    def test_a_case_out_of_time_has_failed_and_one_that_never_ended_was_not_judged(self, driver: Driver) -> None:
        late = driver.interpret(CASE, Completed(exit=None, is_timed_out=True, wall=timedelta(seconds=30)))
        assert late.outcome is Outcome.FAILED
        assert "timed out after 30s" in late.message
        assert driver.interpret(CASE, Completed(exit=None)).outcome is Outcome.ERRORED

    @pytest.mark.parametrize("output", HOSTILE)
    @pytest.mark.parametrize("status", [0, 1, 4, 77, None])
    def test_any_output_gives_one_short_line_and_a_bounded_detail(
        self, driver: Driver, output: bytes, status: int | None
    ) -> None:
        for dropped in (0, 10**9):
            completed = Completed(exit=status, output=output, head_bytes=len(output) // 2, dropped_bytes=dropped)
            result = driver.interpret(CASE, completed)
            assert len(result.message) <= 500
            assert len(result.message.splitlines()) <= 1
            assert len(result.detail.encode()) <= 64 * 1024
