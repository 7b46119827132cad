from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.drivers.ktap import KtapDriver
from lisa_ci.model import Case, Completed, Outcome, Result, SubResult

CASE = Case(suite="kunit", id="c")
SUITES = """KTAP version 1
1..2
    KTAP version 1
    # Subtest: list
    # module: list_test
    1..2
    ok 1 list_add
        KTAP version 1
        # Subtest: list_many
        ok 1 one
        ok 2 two
    # list_many: pass:2 fail:0 skip:0 total:2
    ok 2 list_many
# list: pass:2 fail:0 skip:0 total:2
# Totals: pass:3 fail:0 skip:0 total:3
ok 1 list
    KTAP version 1
    # Subtest: example
    1..2
    # example_simple: EXPECTATION FAILED at lib/kunit/example.c:29
    Expected 1 + 1 == 3, but
        1 + 1 == 2 (0x2)
        3 == 3 (0x3)
    not ok 1 example_simple
    ok 2 example_skip # SKIP not today
# example: pass:0 fail:1 skip:1 total:2
not ok 2 example
"""
DEBUGFS = "KTAP version 1\n\n    KTAP version 1\n    # Subtest: {0}\n    1..1\n    ok 1 one\nok 1 {0}\n"


def judged(text: str, status: int | None = 0) -> Result:
    return KtapDriver().interpret(CASE, Completed(exit=status, output=text.encode()))


def names(children: tuple[SubResult, ...]) -> list[object]:
    return [(c.name, c.outcome.value, names(c.children)) if c.children else (c.name, c.outcome.value) for c in children]


def test_each_suite_is_a_child_with_its_tests_and_their_parameters_below() -> None:
    result = judged(SUITES)
    assert names(result.children) == [
        (
            "list",
            "passed",
            [("list_add", "passed"), ("list_many", "passed", [("one", "passed"), ("two", "passed")])],
        ),
        ("example", "failed", [("example_simple", "failed"), ("example_skip", "skipped")]),
    ]
    assert result.message == "1 of 2 failed: example (1 of 2 tests below it failed)"


def test_a_failed_expectation_gives_the_place_and_what_was_expected() -> None:
    result = judged(SUITES)
    assert (result.file, result.line) == ("lib/kunit/example.c", 29)
    assert result.children[1].children[0].message == (
        "example_simple: EXPECTATION FAILED at lib/kunit/example.c:29 Expected 1 + 1 == 3, but"
    )


def test_the_first_failed_expectation_is_the_place_however_many_follow() -> None:
    more = "    # example_simple: EXPECTATION FAILED at lib/other.c:31\n    Expected a == b, but\n" * 5
    result = judged(SUITES.replace("    not ok 1 example_simple", f"{more}    not ok 1 example_simple"))
    assert (result.file, result.line) == ("lib/kunit/example.c", 29)


@pytest.mark.parametrize(
    "stamp",
    [
        "[    1.234567] ",
        "[ 1234.234567][  T123] ",
        "<6>[    1.234567] ",
        "Nov 28 11:00:00 machine kernel: ",
        "kern  :info  : [    1.234567] ",
        "[Sat Nov 28 11:00:00 2026] ",
    ],
)
def test_a_kernel_log_gives_what_the_same_text_without_stamps_gives(stamp: str) -> None:
    noise = f"{stamp}usb 1-1: new device\n"
    log = noise + "".join(f"{stamp}{line}\n{noise}" for line in SUITES.splitlines())
    result = judged(log)
    assert names(result.children) == names(judged(SUITES).children)
    assert (result.file, result.line) == ("lib/kunit/example.c", 29)


def test_files_of_debugfs_one_after_the_other_need_no_plan_around_them() -> None:
    result = judged(DEBUGFS.format("one") + DEBUGFS.format("two"))
    assert (result.outcome, result.message) == (Outcome.PASSED, "")
    assert [child.name for child in result.children] == ["one", "two"]


def test_a_suite_needs_a_plan_and_must_meet_it() -> None:
    assert judged(DEBUGFS.format("a").replace("    1..1\n", "")).outcome is Outcome.ERRORED
    assert judged(DEBUGFS.format("a").replace("    1..1\n", "    1..2\n")).outcome is Outcome.ERRORED


def test_a_line_without_a_suite_of_its_own_needs_the_plan_around_it() -> None:
    assert judged("KTAP version 1\nok 1 a\n").outcome is Outcome.ERRORED
    assert judged("KTAP version 1\n1..1\nok 1 a\n").outcome is Outcome.PASSED


def test_a_suite_that_a_panic_cut_short_was_not_judged() -> None:
    text = SUITES[: SUITES.index("    # example_simple")] + "Kernel panic - not syncing: no\n"
    result = judged(text)
    assert result.outcome is Outcome.ERRORED
    assert "planned 2, ran 1" in result.message


def test_nothing_in_the_log_is_errored() -> None:
    assert judged("[    1.000000] usb 1-1: new device\n").outcome is Outcome.ERRORED
    assert judged("KTAP version 1\n").outcome is not Outcome.PASSED


def test_suites_indented_by_tabs_as_old_kernels_did_are_read() -> None:
    suite = "\t# Subtest: a\n\t1..1\n\t# x: EXPECTATION FAILED at lib/x.c:3\n\tnot ok 1 - x\n"
    result = judged(f"TAP version 14\n1..1\n{suite}not ok 1 - a\n")
    assert names(result.children) == [("a", "failed", [("x", "failed")])]
    assert (result.file, result.line) == ("lib/x.c", 3)


WORDS = st.sampled_from(
    ["KTAP version 1\n", "    ", "1..1\n", "1..2\n", "ok 1 a\n", "not ok 2 b\n", "# Subtest: s\n", "\t",
     "[    1.234567] ",
     "# x: EXPECTATION FAILED at a.c:1\n", "Expected x\n", "# Totals: pass:1 fail:0 skip:0 total:1\n", "\n"]
)  # fmt: skip


@given(
    data=st.binary(max_size=1000) | st.lists(WORDS, max_size=80).map(lambda words: "".join(words).encode()),
    status=st.sampled_from([0, 1, 4, 139, None]),
)
def test_any_bytes_give_one_result_and_no_invented_pass(data: bytes, status: int | None) -> None:
    result = KtapDriver().interpret(CASE, Completed(exit=status, output=data))
    assert len(result.message.splitlines()) <= 1
    if result.outcome is Outcome.PASSED:
        assert status == 0
        assert b"ok 1 a" in data or b"pass:1" in data
