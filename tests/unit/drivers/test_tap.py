from __future__ import annotations

import time
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.drivers.result import CHILD_LIMIT
from lisa_ci.drivers.tap import TapDriver
from lisa_ci.model import Case, Completed, Outcome, Result, SubResult

CASE = Case(suite="s", id="c")


def judged(text: str | bytes, status: int | None = 0) -> Result:
    output = text.encode() if isinstance(text, str) else text
    return TapDriver().interpret(CASE, Completed(exit=status, output=output))


def cut(head: str, rest: str, *, status: int = 0) -> Result:
    output = (head + rest).encode()
    completed = Completed(exit=status, output=output, head_bytes=len(head.encode()), dropped_bytes=5_000_000)
    return TapDriver().interpret(CASE, completed)


def names(children: tuple[SubResult, ...]) -> list[object]:
    return [(c.name, c.outcome.value, names(c.children)) if c.children else (c.name, c.outcome.value) for c in children]


def test_a_plan_may_come_last_and_lines_may_end_in_crlf_and_the_last_line_in_nothing() -> None:
    result = judged("ok 1 - a\r\nok 2 - b\r\n1..2")
    assert result.outcome is Outcome.PASSED
    assert names(result.children) == [("a", "passed"), ("b", "passed")]


def test_tests_without_numbers_and_names_are_numbered() -> None:
    assert names(judged("1..3\nok\nnot ok\nok third\n").children) == [
        ("test 1", "passed"),
        ("test 2", "failed"),
        ("third", "passed"),
    ]


def test_an_escaped_hash_starts_no_directive() -> None:
    assert names(judged("1..1\nnot ok 1 issue \\# SKIP \\\\ is not skipped\n").children) == [
        ("issue # SKIP \\ is not skipped", "failed")
    ]


def test_a_hash_in_a_name_is_not_taken_for_a_directive() -> None:
    result = judged("1..2\nok 1 closes issue # 5\nok 2 parses # error lines\n")
    assert names(result.children) == [("closes issue # 5", "passed"), ("parses # error lines", "passed")]
    assert result.message == ""


def test_a_whole_stream_that_is_skipped_says_why() -> None:
    result = judged("1..0 # SKIP no such device\n")
    assert (result.outcome, result.message) == (Outcome.SKIPPED, "no such device")


def test_an_empty_plan_with_tests_after_it_is_not_believed() -> None:
    assert judged("1..0 # SKIP no\nok 1 a\n").outcome is Outcome.ERRORED


def test_an_unexpected_pass_is_told_and_is_no_failure() -> None:
    result = judged("1..2\nok 1 a # TODO broken since May\nok 2 b\n")
    assert result.outcome is Outcome.PASSED
    assert result.message == "1 passed unexpectedly: a"
    assert result.children[0].message == "unexpected pass: broken since May"


def test_no_tap_at_all_is_errored_unless_the_exit_status_says_more() -> None:
    assert judged("hello\n").outcome is Outcome.ERRORED
    assert judged("hello\n").message == "no TAP output: hello"
    assert judged("", status=0).message == "no TAP output"
    assert judged("sh: foo: not found\n", status=127).outcome is Outcome.FAILED
    skipped = judged("SKIP: needs a floppy\n", status=4)
    assert (skipped.outcome, skipped.message) == (Outcome.SKIPPED, "needs a floppy")
    assert judged("", status=None).outcome is Outcome.ERRORED


def test_a_crash_after_good_tests_is_a_failure_that_names_the_signal() -> None:
    result = judged("1..3\nok 1 a\n", status=139)
    assert result.outcome is Outcome.FAILED
    assert result.message == "no test failed, but killed by SIGSEGV (exit 139) (after 1 of 3 tests)"


def test_a_timeout_is_a_failure_that_says_how_far_it_came() -> None:
    completed = Completed(exit=None, is_timed_out=True, output=b"1..3\nok 1 a\n", wall=timedelta(seconds=30))
    result = TapDriver().interpret(CASE, completed)
    assert (result.outcome, result.message) == (Outcome.FAILED, "timed out after 30s, after 1 of 3 tests")


def test_a_bail_out_without_failure_is_errored_and_with_one_is_failed() -> None:
    assert judged("1..3\nok 1 a\nBail out! no disk\n", status=1).message == "Bail out! no disk (after 1 of 3 tests)"
    assert judged("1..3\nok 1 a\nBail out! no disk\n", status=1).outcome is Outcome.ERRORED
    failed = judged("1..3\nnot ok 1 a\nbail out! no disk\n", status=1)
    assert failed.outcome is Outcome.FAILED
    assert "no disk" in failed.message


def test_numbers_given_twice_or_outside_the_plan_are_not_believed() -> None:
    assert judged("1..2\nok 1 a\nok 1 b\n").message == "test 1 reported twice"
    assert judged("1..2\nok 1 a\nok 7 b\n").message == "test 7 is outside the plan 1..2"
    assert judged("1..1\n1..2\nok 1 a\n").message == "two plans, 1..1 and 1..2"


def test_numbers_out_of_order_are_fine() -> None:
    assert judged("1..3\nok 2 a\nok 1 b\nok 3 c\n").outcome is Outcome.PASSED


def test_documents_that_follow_each_other_each_have_their_own_plan() -> None:
    assert judged("TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..1\nok 1 b\n").outcome is Outcome.PASSED
    assert judged("TAP version 13\n1..2\nok 1 a\nTAP version 13\n1..1\nok 1 b\n").message == "planned 2, ran 1"


def test_subtests_of_tap_14_belong_to_the_line_that_follows_them() -> None:
    result = judged(
        "TAP version 14\n1..2\n# Subtest: first\n    ok 1 - a\n      ---\n      said: |\n        not ok 9 quoted\n"
        "      ...\n    # Subtest: deep\n        ok 1 - d\n        1..1\n    ok 2 - deep\n    1..2\nok 1 - first\n"
        "    # Subtest: second\n    1..1\n    not ok 1 - x\nnot ok 2 - second\n"
    )
    assert names(result.children) == [
        ("first", "passed", [("a", "passed"), ("deep", "passed", [("d", "passed")])]),
        ("second", "failed", [("x", "failed")]),
    ]
    assert result.message == "1 of 2 failed: second (1 of 1 tests below it failed)"


def test_ktap_is_indented_by_two_and_announced_inside() -> None:
    result = judged(
        "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: suite\n  1..2\n  ok 1 a\n  # b: skipped here\n"
        "  ok 2 b # SKIP\n# suite: pass:1 fail:0 skip:1 total:2\nok 1 suite\n"
    )
    assert names(result.children) == [("suite", "passed", [("a", "passed"), ("b", "skipped")])]


def test_kunit_in_the_kernel_log_is_read_through_its_time_stamps() -> None:
    lines = ["KTAP version 1", "1..1", "    KTAP version 1", "    # Subtest: example", "    1..1", "    not ok 1 a"]
    text = "".join(f"[    1.{n:06}] {line}\n" for n, line in enumerate([*lines, "not ok 1 example"]))
    result = judged(text)
    assert names(result.children) == [("example", "failed", [("a", "failed")])]


def test_the_output_of_programs_under_kselftests_runner_is_nested_by_hashes() -> None:
    result = judged(
        "TAP version 13\n1..3\n# selftests: timers: nanosleep\n# TAP version 13\n# 1..2\n# # probing\n# ok 1 A\n"
        "# ok 2 # SKIP CLOCK_B\n# # Totals: pass:1 fail:0 xfail:0 xpass:0 skip:1 error:0\n"
        "ok 1 selftests: timers: nanosleep\n# selftests: kcmp: kcmp_test\n# PASS: 0 returned\n"
        "ok 2 selftests: kcmp: kcmp_test\n"
        "# selftests: timers: rtcpie\n# 2Hz: 1 2 3\nnot ok 3 selftests: timers: rtcpie # exit=255\n",
        status=0,
    )
    assert names(result.children) == [
        ("selftests: timers: nanosleep", "passed", [("A", "passed"), ("CLOCK_B", "skipped")]),
        ("selftests: kcmp: kcmp_test", "passed"),
        ("selftests: timers: rtcpie", "failed"),
    ]
    assert result.message == "1 of 3 failed: selftests: timers: rtcpie (exit=255)"


def test_a_comment_that_looks_like_a_test_is_a_comment() -> None:
    assert names(judged("1..1\n# not ok 2 just talking\nok 1 a\n").children) == [("a", "passed")]


def test_a_parent_that_hides_a_failed_child_has_failed() -> None:
    result = judged("1..1\n# Subtest: s\n    not ok 1 x\n    1..1\nok 1 s\n")
    assert result.outcome is Outcome.FAILED
    assert result.children[0].message == "reported ok, but 1 of 1 tests below it failed"
    covered = judged("1..2\nok 1 a\n# Subtest: s\n    not ok 1 x\n    1..1\nnot ok 2 s # TODO soon\n")
    assert covered.outcome is Outcome.PASSED


def test_a_nested_document_without_its_result_line_is_not_believed() -> None:
    assert judged("1..1\nok 1 a\n# Subtest: s\n    ok 1 x\n    1..1\n").outcome is Outcome.ERRORED
    assert judged("1..1\nok 1 a\n# Subtest: s\n    not ok 1 x\n    1..1\n").outcome is Outcome.FAILED


def test_a_nested_plan_that_is_wrong_is_not_believed_but_kselftests_runner_judged_its_program_itself() -> None:
    assert judged("1..1\n# Subtest: s\n    ok 1 x\n    1..2\nok 1 s\n").outcome is Outcome.ERRORED
    sloppy = judged("1..1\n# selftests: a: b\n# 1..2\n# ok 1 x\nok 1 selftests: a: b\n")
    assert sloppy.outcome is Outcome.PASSED
    assert sloppy.children[0].message == "planned 2, ran 1"


def test_diagnostics_of_a_failed_test_become_its_message_and_place() -> None:
    result = judged("1..1\nnot ok 1 a\n#   Failed test 'a'\n#   at t/basic.t line 12.\n", status=1)
    assert result.children[0].message == "Failed test 'a' at t/basic.t line 12."
    assert (result.file, result.line) == ("t/basic.t", 12)
    yaml = judged("1..1\nnot ok 1 a\n  ---\n  message: 'got 3'\n  file: src/a.c\n  line: 7\n  ...\n", status=1)
    assert (yaml.children[0].message, yaml.file, yaml.line) == ("got 3", "src/a.c", 7)


def test_a_yaml_block_that_never_ends_gives_way_to_the_next_test() -> None:
    assert judged("1..2\nok 1 a\n  ---\n  x: 1\nnot ok 2 b\n").outcome is Outcome.FAILED


def test_kernel_lines_between_change_nothing_and_are_counted_where_it_failed() -> None:
    kernel = "[   12.345678] BUG: scheduling while atomic\n"
    assert judged(f"1..2\n{kernel}ok 1 a\n{kernel}ok 2 b\n").outcome is Outcome.PASSED
    torn = judged("1..2\nok 1 al[   12.345678] BUG: bad page\nnot ok 2 b\n")
    assert names(torn.children) == [("al", "passed"), ("b", "failed")]
    assert torn.message.endswith("1 kernel lines between")


def test_cut_output_is_not_counted_unless_its_totals_prove_every_planned_test() -> None:
    ok = "1..100\nok 1 a\nok 2"
    assert cut(ok, "9 z\nok 100 end\n").outcome is Outcome.ERRORED
    assert "5000000 bytes" in cut(ok, "9 z\nok 100 end\n").message
    assert cut(ok, "9 z\nok 100 end\n# Totals: pass:90 fail:0 xfail:0 skip:10 error:0\n").outcome is Outcome.PASSED
    assert cut(ok, "9 z\nok 100 end\n# Totals: pass:89 fail:0 xfail:0 skip:10 error:0\n").outcome is Outcome.ERRORED
    assert cut(ok, "9 z\nok 100 end\n# Totals: pass:90 fail:1 skip:9 error:0\n").outcome is Outcome.FAILED
    assert cut(ok, "9 z\nnot ok 100 end\n", status=1).outcome is Outcome.FAILED
    assert cut(ok, "9 z\nok 100 end\n", status=1).outcome is Outcome.FAILED


def test_lines_torn_by_a_cut_are_never_read() -> None:
    result = cut("1..9\nok 1 a\nnot ok 2", " b # SKIP\nok 9 z\n")
    assert names(result.children) == [("a", "passed"), ("z", "passed")]


def test_a_program_that_only_prints_totals_is_believed_when_they_meet_the_plan() -> None:
    result = judged("TAP version 13\n1..3\nPASS: 0\n# Totals: pass:3 fail:0 xfail:0 xpass:0 skip:0 error:0\n")
    assert (result.outcome, result.message) == (Outcome.PASSED, "counted by its own totals")


def test_more_children_than_fit_are_counted_and_late_failures_are_kept() -> None:
    count = CHILD_LIMIT + 5_000
    text = f"1..{count}\n" + "".join(f"ok {n}\n" for n in range(1, count)) + f"not ok {count} last\n"
    result = judged(text)
    assert result.outcome is Outcome.FAILED
    assert result.children[-1].name == "last"
    assert len(result.children) + result.dropped_children == count
    assert len(result.children) <= CHILD_LIMIT


def test_numbers_of_thousands_of_digits_are_no_test_numbers() -> None:
    assert judged("1..1\nok " + "9" * 5000 + "\n1.." + "9" * 5000 + "\n").outcome is Outcome.PASSED


def test_nesting_without_end_is_cut_off() -> None:
    assert judged("# Subtest: a\n" + "".join("  " * n + "ok 1 x\n" for n in range(200))).outcome is Outcome.ERRORED
    assert judged("# TAP version 13\n" + "# " * 2000 + "ok 1 x\n").outcome is Outcome.ERRORED


def test_reading_takes_time_in_proportion_to_the_output() -> None:
    hostile = (b"ok 1 " + b"# " * 2000 + b"\n") * 30 + (b"# " * 2000 + b"\n") * 30 + b" " * 100_000 + b"\\" * 50_000

    def took(data: bytes) -> float:
        start = time.process_time()
        judged(data)
        return time.process_time() - start

    once, fourfold = took(hostile), took(hostile * 4)
    assert fourfold < max(once * 12, 0.5)


TAP_WORDS = st.sampled_from(
    [
        "ok",
        "not ok",
        " 1",
        " 2",
        " - a",
        " # SKIP",
        " # TODO",
        "1..2",
        "1..0",
        "TAP version 14",
        "Bail out!",
        "# Subtest: s",
        "    ",
        "  ",
        "# ",
        "---",
        "...",
        "\n",
        "\n",
        "\r\n",
        "[    1.000000] ",
        "# selftests: a: b",
        "# Totals: pass:1 fail:0",
        "message: x",
        "\\#",
        "\x00",
        "é",
        "\u2028",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=2000) | st.lists(TAP_WORDS, max_size=60).map(lambda words: "".join(words).encode()),
    status=st.sampled_from([0, 1, 4, 139, None]),
    gap=st.integers(0, 200),
    dropped=st.sampled_from([0, 1]),
)
def test_any_bytes_give_one_result_with_one_line(data: bytes, status: int | None, gap: int, dropped: int) -> None:
    completed = Completed(exit=status, output=data, head_bytes=min(gap, len(data)), dropped_bytes=dropped)
    result = TapDriver().interpret(CASE, completed)
    assert len(result.message) <= 500
    assert len(result.message.splitlines()) <= 1
    if result.outcome is Outcome.PASSED:
        assert status == 0
    if result.outcome is not Outcome.PASSED:
        assert result.message


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_case_passes_exactly_when_all_its_planned_tests_pass(oks: list[bool]) -> None:
    text = f"1..{len(oks)}\n" + "".join(f"{'' if ok else 'not '}ok {n}\n" for n, ok in enumerate(oks, 1))
    assert (judged(text).outcome is Outcome.PASSED) == all(oks)
