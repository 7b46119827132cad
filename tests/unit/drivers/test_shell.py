from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.drivers.listing import legal_id
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, is_id

CASE = Case(suite="s", id="c", title="C")


def judged(output: str, status: int | None) -> Result:
    return ShellDriver().interpret(CASE, Completed(exit=status, output=output.encode()))


@pytest.mark.parametrize(
    ("status", "output", "outcome", "message"),
    [
        (0, "all fine\n", Outcome.PASSED, ""),
        (77, "looking\nSKIP: no apt here\nbye\n", Outcome.SKIPPED, "no apt here"),
        (77, "no apt here\n\n", Outcome.SKIPPED, "no apt here"),
        (77, "", Outcome.SKIPPED, "exit 77, no reason given"),
        (1, "a\nFAIL: / is full\nb\n", Outcome.FAILED, "FAIL: / is full"),
        (1, "ls: cannot access 'x': No such file\ndone\n", Outcome.FAILED, "ls: cannot access 'x': No such file"),
        (1, "one\ntwo\n", Outcome.FAILED, "two"),
        (1, "", Outcome.FAILED, "exit 1"),
        (3, "two\n", Outcome.FAILED, "exit 3: two"),
        (127, "sh: 1: foo: not found\n", Outcome.FAILED, "exit 127: sh: 1: foo: not found"),
        (139, "start\n", Outcome.FAILED, "killed by SIGSEGV (exit 139): start"),
        (255, "", Outcome.FAILED, "exit 255"),
        (None, "start\n", Outcome.ERRORED, "never ended by itself: start"),
    ],
)
def test_the_exit_status_is_the_judgement(status: int | None, output: str, outcome: Outcome, message: str) -> None:
    result = judged(output, status)
    assert (result.outcome, result.message) == (outcome, message)
    assert result.exit == status


def test_a_case_that_hangs_has_failed_because_the_image_had_its_time() -> None:
    completed = Completed(exit=None, is_timed_out=True, wall=timedelta(seconds=125), output=b"waiting for disk\n")
    result = ShellDriver().interpret(CASE, completed)
    assert (result.outcome, result.message) == (Outcome.FAILED, "timed out after 2m 5s: waiting for disk")


def test_a_failure_carries_the_end_of_its_output_and_a_pass_carries_none() -> None:
    result = judged("x" * 50_000 + "\nthe end\n", 1)
    assert result.detail == "[the end of 50009 bytes of output]\nthe end\n"
    assert judged("x" * 50_000, 0).detail == ""


def test_what_the_command_took_goes_into_the_result() -> None:
    completed = Completed(exit=0, wall=timedelta(seconds=2), cpu=timedelta(seconds=1), peak_memory_bytes=5)
    result = ShellDriver().interpret(CASE, completed)
    assert (result.wall, result.cpu, result.peak_memory_bytes) == (timedelta(seconds=2), timedelta(seconds=1), 5)
    assert (result.suite, result.case, result.title) == ("s", "c", "C")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.one_of(st.none(), st.integers(0, 255)))
def test_any_bytes_give_a_result_with_a_message_of_one_line(output: bytes, status: int | None) -> None:
    result = ShellDriver().interpret(CASE, Completed(exit=status, output=output))
    assert len(result.message) <= 500
    assert len(result.message.splitlines()) <= 1
    result.message.encode()
    result.detail.encode()


def suite(**more: object) -> Suite:
    return Suite(name="s", folder="f", digest="d", driver="shell", **more)  # type: ignore[arg-type]


def test_a_listing_names_executables_or_shell_lines() -> None:
    driver = ShellDriver()
    listed = suite(listing=("./list",))
    command = driver.listing(listed)
    assert command is not None
    assert command.arguments == ("./list",)
    cases = driver.discover(listed, b"# all\n\ntests/Disk.sh\r\nquick\ttest -e /etc/passwd\nquick\ttwice\n")
    assert [(case.id, case.title, case.run) for case in cases] == [
        ("tests-disk.sh", "tests/Disk.sh", ("./tests/Disk.sh",)),
        ("quick", "", ("sh", "-c", "test -e /etc/passwd")),
    ]


def test_names_that_differ_only_where_ids_cannot_stay_two_cases() -> None:
    cases = ShellDriver().discover(suite(listing=("l",)), b"a:b\na/b\n")
    assert len({case.id for case in cases}) == 2
    assert all(is_id(case.id) for case in cases)


def test_stated_cases_need_no_listing() -> None:
    stated = suite(cases=(Case(suite="s", id="one", run=("true",)), Case(suite="s", id="two")))
    driver = ShellDriver()
    assert driver.listing(stated) is None
    assert [driver.command(case).arguments for case in driver.discover(stated, b"")] == [("true",), ("./two",)]


@given(st.text(min_size=1))
def test_every_name_has_a_legal_id_that_is_always_the_same(name: str) -> None:
    assert is_id(legal_id(name))
    assert legal_id(name) == legal_id(name)
    assert not is_id(name) or legal_id(name) == name
