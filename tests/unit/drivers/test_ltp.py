from __future__ import annotations

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.drivers.ltp import LtpDriver
from lisa_ci.model import Case, Completed, Outcome, Result, Suite

CASE = Case(suite="ltp", id="c")
SUITE = Suite(name="ltp", folder="f", digest="d", driver="ltp", listing=("./list",))


def judged(text: str, status: int | None = 0) -> Result:
    return LtpDriver().interpret(CASE, Completed(exit=status, output=text.encode()))


def summary(passed: int = 0, failed: int = 0, broken: int = 0, skipped: int = 0, warnings: int = 0) -> str:
    return (
        f"\nSummary:\npassed   {passed}\nfailed   {failed}\nbroken   {broken}\n"
        f"skipped  {skipped}\nwarnings {warnings}\n"
    )


# ---- listing -------------------------------------------------------------------------------------------------------


def test_a_runtest_line_is_a_case_and_its_tag_the_id() -> None:
    cases = LtpDriver().discover(SUITE, b"#DESCRIPTION:Math\n\nabs01 abs01\nfptest02   fptest02 -n 5\n# off off01\n")
    assert [(case.id, case.run) for case in cases] == [
        ("abs01", ("./run", "abs01")),
        ("fptest02", ("./run", "fptest02 -n 5")),
    ]


def test_a_command_with_shell_words_reaches_the_shell_unchanged() -> None:
    line = b"mmapstress07 TMPFILE=`mktemp $TMPDIR/example.XXX`; mmapstress07 $TMPFILE\n"
    (case,) = LtpDriver().discover(SUITE, line)
    assert LtpDriver().command(case).arguments == (
        "./run",
        "TMPFILE=`mktemp $TMPDIR/example.XXX`; mmapstress07 $TMPFILE",
    )


def test_the_same_line_in_two_files_is_one_case_and_the_same_tag_with_another_command_a_second() -> None:
    cases = LtpDriver().discover(SUITE, b"mmap21_01 mmap21 -m 1\nmmap21_01 mmap21 -m 1\nmmap21_01 mmap21 -m 10000\n")
    assert [case.run[1] for case in cases] == ["mmap21 -m 1", "mmap21 -m 10000"]
    assert cases[0].id == "mmap21_01"
    assert cases[1].id.startswith("mmap21_01-")


def test_a_second_command_of_a_tag_keeps_its_id_whatever_comes_before_it() -> None:
    two = LtpDriver().discover(SUITE, b"a a -1\na a -2\n")[1]
    three = LtpDriver().discover(SUITE, b"a a -1\na a -3\na a -2\n")[2]
    assert two.id == three.id


# ---- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status", "outcome"),
    [
        ("a.c:1: TPASS: x\n", 0, "passed"),
        ("a.c:1: TPASS: x\na.c:2: TCONF: y\n", 0, "passed"),
        ("a.c:1: TFAIL: x\n", 1, "failed"),
        ("a.c:1: TFAIL: x\n", 0, "failed"),  # a pipe hid the exit status
        ("a.c:1: TFAIL: x\na.c:2: TBROK: y\n", 3, "failed"),
        ("a.c:1: TPASS: x\n", 1, "failed"),
        ("a.c:1: TPASS: x\na.c:9: TWARN: y\n", 5, "failed"),
        ("", 1, "failed"),
        ("a.c:2: TBROK: y\n", 2, "errored"),
        ("a.c:2: TBROK: y\n", 0, "errored"),
        ("a.c:2: TBROK: y\n", 34, "errored"),
        ("a.c:1: TPASS: x\na.c:9: TWARN: y\n", 4, "errored"),
        ("a.c:1: TPASS: x\n", 2, "errored"),
        ("a.c:1: TCONF: y\n", 32, "skipped"),
        ("a.c:1: TPASS: x\na.c:1: TCONF: y\n", 32, "skipped"),
        ("a.c:1: TCONF: y\n", 0, "skipped"),
        ("a.c:1: TCONF: y\na.c:9: TWARN: y\n", 36, "errored"),
        ("a.c:1: TINFO: x\n", 16, "errored"),
        ("a.c:1: TPASS: x\n", 16, "passed"),
        ("a.c:1: TPASS: x\n", 139, "failed"),
        ("sh: 1: foo: not found\n", 127, "failed"),
        ("", 0, "errored"),
        (" \n", 0, "errored"),
        ("all is well\n", 0, "errored"),
        ("a.c:1: TINFO: hello\n", 0, "errored"),
        ("a     0  TINFO  :  Test block 1: PASSED\n", 0, "passed"),
        ("a.c:1: TPASS: x\n", None, "errored"),
        ("a.c:1: TFAIL: x\n", None, "failed"),
    ],
)
def test_exit_bits_and_lines_together_give_the_outcome(text: str, status: int | None, outcome: str) -> None:
    result = judged(text, status)
    assert result.outcome.value == outcome
    assert result.message or outcome == "passed"


def test_the_summary_counts_what_no_line_told() -> None:
    assert judged("a.c:1: TPASS: x\n" + summary(passed=1, failed=2), 0).outcome is Outcome.FAILED
    assert judged("a.c:1: TPASS: x\n" + summary(passed=1, broken=1), 0).outcome is Outcome.ERRORED
    result = judged("a.c:1: TPASS: x\n" + summary(passed=256), 0)
    assert (result.outcome, len(result.children), result.dropped_children) == (Outcome.PASSED, 1, 255)


def test_a_summary_of_nothing_proves_nothing() -> None:
    assert judged("a.c:1: TINFO: PASSED\n" + summary(), 0).outcome is Outcome.ERRORED


def test_each_result_is_a_child_with_the_place_that_it_came_from() -> None:
    result = judged(
        "accept03.c:46: TPASS: on file\naccept03.c:48: TFAIL: on pipe: EBADF (9)\nx.c:9: TCONF: no epoll\n", 1
    )
    assert [(child.name, child.outcome.value, child.message) for child in result.children] == [
        ("on file", "passed", ""),
        ("on pipe: EBADF (9)", "failed", "accept03.c:48: TFAIL: on pipe: EBADF (9)"),
        ("no epoll", "skipped", "x.c:9: TCONF: no epoll"),
    ]
    assert (result.file, result.line) == ("accept03.c", 48)
    assert result.message == "1 of 3 failed: accept03.c:48: on pipe: EBADF (9)"


def test_old_lines_are_read_with_the_place_that_some_have() -> None:
    result = judged(
        "getresgid01    1  TFAIL  :  "
        "/build/ltp/testcases/kernel/syscalls/getresgid/../utils/compat_16.h:151: no such id\n"
        "getresgid01    2  TPASS  :  fine\n",
        1,
    )
    assert [(child.name, child.outcome.value) for child in result.children] == [
        ("no such id", "failed"),
        ("fine", "passed"),
    ]
    assert (result.file, result.line) == ("testcases/kernel/syscalls/utils/compat_16.h", 151)


def test_the_test_s_own_line_is_a_better_place_than_the_library_s() -> None:
    result = judged("tst_test.c:1741: TBROK: Test killed by SIGSEGV!\nfoo.c:12: TBROK: mmap() failed\n", 2)
    assert (result.file, result.line) == ("foo.c", 12)
    alone = judged("tst_test.c:1741: TBROK: Test killed by SIGSEGV!\n", 2)
    assert (alone.file, alone.line) == ("lib/tst_test.c", 1741)


def test_a_result_behind_text_without_an_end_of_line_is_seen() -> None:
    assert judged("working...foo foo.c:12: TFAIL: no\nfoo.c:13: TPASS: yes\n", 0).outcome is Outcome.FAILED


def test_colours_are_no_part_of_a_result() -> None:
    result = judged("foo.c:12: \x1b[1;31mTFAIL: \x1b[0mno\n", 1)
    assert [child.name for child in result.children] == ["no"]


def test_a_kernel_without_the_option_is_skipped_with_the_option_s_name() -> None:
    result = judged(
        "tst_kconfig.c:611: TINFO: Constraint 'CONFIG_X=y' not satisfied!\n"
        "tst_test.c:1459: TCONF: Aborting due to unsuitable kernel config, see above!\n" + summary(skipped=1),
        32,
    )
    assert (result.outcome, result.message) == (Outcome.SKIPPED, "needs CONFIG_X=y")


def test_ltp_s_own_time_limit_is_a_failure_as_ours_is() -> None:
    result = judged(
        "tst_test.c:1790: TINFO: Test timeouted, sending SIGKILL!\n"
        "tst_test.c:1842: TBROK: Test killed! (timeout?)\n" + summary(broken=1),
        2,
    )
    assert result.outcome is Outcome.FAILED
    assert "time limit" in result.message


def test_a_case_out_of_time_says_how_far_it_came() -> None:
    late = Completed(exit=None, is_timed_out=True, output=b"a.c:1: TPASS: x\n", wall=timedelta(seconds=30))
    assert LtpDriver().interpret(CASE, late).message == "timed out after 30s, 1 passed"


def test_cut_output_is_believed_only_with_a_summary() -> None:
    head, rest = b"a.c:1: TPASS: x\na.c:1: TFA", b"SS: y\na.c:1: TPASS: x\n"
    cut = Completed(exit=0, output=head + rest, head_bytes=len(head), dropped_bytes=10**6)
    assert LtpDriver().interpret(CASE, cut).outcome is Outcome.ERRORED
    rest += summary(passed=900).encode()
    cut = Completed(exit=0, output=head + rest, head_bytes=len(head), dropped_bytes=10**6)
    result = LtpDriver().interpret(CASE, cut)
    assert (result.outcome, len(result.children), result.dropped_children) == (Outcome.PASSED, 2, 898)


# ---- anything ------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["a.c:1: ", "TPASS: ", "TFAIL: ", "TBROK: ", "x\n", "a  1  TPASS  :  y", "\n", "Summary:\n", "passed   3\n",
     "failed 1\n",
     "a.c:1: TINFO: PASSED\n", "\x1b[1m", "warnings 2\n", "a  0  TFAIL  :  /z/testcases/a/../b.c:12: no\n"]
)  # fmt: skip


@given(
    data=st.binary(max_size=1000) | st.lists(WORDS, max_size=60).map(lambda words: "".join(words).encode()),
    status=st.sampled_from([0, 1, 2, 4, 16, 32, 33, 36, 139, None]),
    gap=st.integers(0, 300),
    dropped=st.sampled_from([0, 7]),
)
def test_any_bytes_give_one_result_and_no_invented_pass(
    data: bytes, status: int | None, gap: int, dropped: int
) -> None:
    completed = Completed(exit=status, output=data, head_bytes=min(gap, len(data)), dropped_bytes=dropped)
    result = LtpDriver().interpret(CASE, completed)
    assert len(result.message) <= 500
    assert len(result.message.splitlines()) <= 1
    assert all(child.name for child in result.children)
    if result.outcome is Outcome.PASSED:
        assert status in {0, 16}
        assert b"PASS" in data or b"passed" in data
        assert not {child.outcome for child in result.children} & {Outcome.FAILED, Outcome.ERRORED}
    else:
        assert result.message


@given(st.lists(st.sampled_from(["TPASS", "TFAIL", "TCONF"]), min_size=1, max_size=30))
def test_a_test_passes_exactly_when_something_passed_and_nothing_failed(tags: list[str]) -> None:
    text = "".join(f"a.c:{n}: {tag}: t{n}\n" for n, tag in enumerate(tags, 1))
    expected = "failed" if "TFAIL" in tags else "passed" if "TPASS" in tags else "skipped"
    assert judged(text, 0).outcome.value == expected


@given(st.binary(max_size=3000))
def test_any_listing_gives_legal_cases(listing: bytes) -> None:
    cases = LtpDriver().discover(SUITE, listing)
    assert len({case.id for case in cases}) == len(cases)
    assert all(case.run[0] == "./run" for case in cases)


@pytest.mark.parametrize(
    "line", [b"a.c:1: TPASS: x\n", b"x" * 100_000 + b"\n", b"a:1:" * 20_000 + b"\n", b" " * 50_000]
)
def test_reading_takes_time_in_proportion_to_the_output(line: bytes) -> None:
    def seconds(copies: int) -> float:
        data = line * copies
        start = time.perf_counter()
        LtpDriver().interpret(CASE, Completed(exit=0, output=data))
        return time.perf_counter() - start

    copies = max(1, 200_000 // len(line))
    assert seconds(copies * 8) < 40 * max(seconds(copies), 0.005)
