from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.drivers.kselftest import KselftestDriver
from lisa_ci.model import Case, Completed, Outcome, Result, Suite

SUITE = Suite(name="kselftest", folder="f", digest="d", driver="kselftest", listing=("./list",))
CASE = Case(suite="kselftest", id="clone3.clone3", title="clone3:clone3", run=("./run", "clone3:clone3"))


def judged(text: str, status: int | None = 0, case: Case = CASE) -> Result:
    return KselftestDriver().interpret(case, Completed(exit=status, output=text.encode()))


def wrapped(text: str, line: str, header: str = "selftests: clone3: clone3") -> str:
    body = "".join(f"# {each}\n" for each in text.splitlines())
    return f"TAP version 13\n1..1\n# {header}\n{body}{line.replace('@', header)}\n"


# ---- listing -------------------------------------------------------------------------------------------------------


def test_the_list_of_kselftest_itself_is_a_listing() -> None:
    cases = KselftestDriver().discover(SUITE, b"timers:posix_timers\nvDSO:vdso_test_abi\nnet/forwarding:bridge.sh\n")
    assert [(case.id, case.title, case.run) for case in cases] == [
        ("timers.posix_timers", "timers:posix_timers", ("./run", "timers:posix_timers")),
        ("vdso.vdso_test_abi", "vDSO:vdso_test_abi", ("./run", "vDSO:vdso_test_abi")),
        ("net-forwarding.bridge.sh", "net/forwarding:bridge.sh", ("./run", "net/forwarding:bridge.sh")),
    ]


def test_a_collection_s_settings_and_missing_options_come_with_its_tests() -> None:
    slow, endless = KselftestDriver().discover(
        SUITE, b"rtc:rtctest\ttimeout=210\tlacks=CONFIG_RTC=y\tlacks=rubbish=y\nftrace:ftracetest\ttimeout=0\n"
    )
    assert (slow.timeout, slow.requires) == (timedelta(seconds=210), {"CONFIG_RTC": "y"})
    assert (endless.timeout, endless.requires) == (None, {})


@given(st.binary(max_size=2000))
def test_any_listing_gives_legal_cases(listing: bytes) -> None:
    cases = KselftestDriver().discover(SUITE, listing)
    assert len({case.id for case in cases}) == len(cases)


# ---- a program's own output ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status", "outcome"),
    [
        ("", 0, "passed"),
        ("Check itimer... [OK]\n", 0, "passed"),
        ("1..2\nok 1 a\nok 2 b\n", 0, "passed"),
        ("1..2\nok 1 a\nok 1 a\nok 2 b\n", 0, "passed"),  # children that print their parent's lines once more
        ("TAP version 13\n1..3\nPASS: 0\n# Totals: pass:3 fail:0 xfail:0 xpass:0 skip:0 error:0\n", 0, "passed"),
        ("1..2\nok 1 a\nok 2 b\n# Totals: pass:3 fail:0 xfail:0 xpass:0 skip:0 error:0\n", 0, "errored"),
        ("1..2\nok 1 a\nok 1 a\nok 2 b\n# Totals: pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0\n", 0, "passed"),
        ("1..2\nok 1 a\n", 0, "errored"),
        ("1..2\nok 1 a\nBail out! no\n", 0, "errored"),
        ("1..2\nok 1 a\nnot ok 2 b\n", 0, "failed"),
        ("1..1\nok 1 a\n# Totals: pass:0 fail:1 xfail:0 xpass:0 skip:0 error:0\n", 0, "failed"),
        ("1..1\nok 1 a\n", 1, "failed"),
        ("1..1\nok 1 a\n", 139, "failed"),
        ("", 1, "failed"),
        ("", 4, "skipped"),
        ("1..0 # SKIP no such device\n", 4, "skipped"),
        ("1..2\nok 1 a # SKIP no\nok 2 b # SKIP no\n", 0, "skipped"),
        ("1..2\nok 1 a # XFAIL known\nok 2 b\n", 0, "passed"),
        ("1..1\nnot ok 1 a # XFAIL known\n", 0, "skipped"),
        ("1..1\nok 1 a # XPASS\n", 0, "passed"),
        ("1..1\nok 1 a\n", None, "errored"),
    ],
)
def test_the_exit_status_judges_and_the_output_can_only_make_it_worse(
    text: str, status: int | None, outcome: str
) -> None:
    result = judged(text, status)
    assert result.outcome.value == outcome
    assert result.message or outcome == "passed"


def test_an_unexpected_pass_is_told() -> None:
    assert judged("1..1\nok 1 a # XPASS known since May\n").message == "1 passed unexpectedly: a"


def test_a_failed_harness_test_points_into_the_kernel_s_tree() -> None:
    result = judged(
        "TAP version 13\n1..1\n#  RUN           global.clone3 ...\n# clone3.c:155:clone3:Child has PID 3546\n"
        "# clone3.c:164:clone3:Expected set_capability() (-1) == 0 (0)\n# clone3.c:165:clone3:Could not set it\n"
        "# clone3: Test terminated by assertion\n#          FAIL  global.clone3\nnot ok 1 global.clone3\n"
        "# FAILED: 0 / 1 tests passed.\n",
        1,
    )
    assert (result.file, result.line) == ("tools/testing/selftests/clone3/clone3.c", 164)
    assert result.message == "global.clone3 (clone3.c:164:clone3:Expected set_capability() (-1) == 0 (0))"


@pytest.mark.parametrize(
    ("test", "output", "file", "line"),
    [
        ("openat2:resolve_test", "Bail out! resolve_test.c:54 mount failed\n", "openat2/resolve_test.c", 54),
        ("proc:read", "read: proc.h:49: xreaddir: Assertion `de' failed.\n", "proc/proc.h", 49),
        ("futex:run.sh", "oh no\n", "futex/run.sh", None),
        ("net/mptcp:simult", "../../kselftest.h:12: Assertion\n", "kselftest.h", 12),
    ],
)
def test_without_a_place_the_program_s_source_is_the_place(test: str, output: str, file: str, line: int | None) -> None:
    (case,) = KselftestDriver().discover(SUITE, test.encode())
    result = judged(output, 1, case)
    assert (result.file, result.line) == (f"tools/testing/selftests/{file}", line)


def test_a_failure_without_the_options_of_its_collection_is_skipped_and_says_so() -> None:
    (case,) = KselftestDriver().discover(SUITE, b"ipc:msgque\tlacks=CONFIG_A=y\tlacks=CONFIG_B=y\n")
    result = judged("mq failed: no such call\n", 1, case)
    assert result.outcome is Outcome.SKIPPED
    assert result.message == "needs CONFIG_A=y, CONFIG_B=y, which this kernel lacks: exit 1: mq failed: no such call"
    assert judged("fine\n", 0, case).outcome is Outcome.PASSED
    assert judged("", 139, case).outcome is Outcome.FAILED


def test_cut_tap_is_believed_only_with_totals() -> None:
    head, rest = b"1..900\nok 1 a\n", b"\nok 900 b\n"
    cut = Completed(exit=0, output=head + rest, head_bytes=len(head), dropped_bytes=10**6)
    assert KselftestDriver().interpret(CASE, cut).outcome is Outcome.ERRORED
    rest += b"# Totals: pass:900 fail:0 xfail:0 xpass:0 skip:0 error:0\n"
    cut = Completed(exit=0, output=head + rest, head_bytes=len(head), dropped_bytes=10**6)
    assert KselftestDriver().interpret(CASE, cut).outcome is Outcome.PASSED


# ---- the runner's lines around it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "line", "status", "outcome", "message"),
    [
        ("fine", "ok 1 @", 0, "passed", ""),
        ("", "ok 1 @ # SKIP", 0, "skipped", ""),
        ("SKIP: no such device", "ok 1 @ # SKIP", 0, "skipped", "no such device"),
        ("1..1\nok 1 a", "ok 1 @", 0, "passed", ""),
        ("1..1\nnot ok 1 a", "ok 1 @", 0, "failed", "reported ok, but 1 of 1 tests below it failed: a"),
        ("oh no", "not ok 1 @ # exit=1", 0, "failed", "exit=1: oh no"),
        ("", "not ok 1 @ # TIMEOUT 45 seconds", 1, "failed", "timeout 45 seconds"),
    ],
)
def test_the_runner_s_own_line_judges_its_program(
    body: str, line: str, status: int, outcome: str, message: str
) -> None:
    result = judged(wrapped(body, line), status)
    assert (result.outcome.value, result.message) == (outcome, message)


def test_the_tests_of_a_wrapped_program_are_the_case_s_own_children() -> None:
    result = judged(wrapped("TAP version 13\n1..2\nok 1 a\nok 2 b # SKIP no", "ok 1 @"))
    assert [(child.name, child.outcome.value) for child in result.children] == [("a", "passed"), ("b", "skipped")]


def test_a_runner_that_was_cut_short_proves_nothing() -> None:
    assert judged(wrapped("1..1\nok 1 a", "ok 1 @").replace("1..1\n#", "1..2\n#", 1)).outcome is Outcome.ERRORED
    assert judged(wrapped("1..1\nok 1 a", "")).outcome is Outcome.ERRORED


WORDS = st.sampled_from(
    ["1..1\n", "1..2\n", "ok 1 a\n", "not ok 2 b\n", "# ", "# SKIP", "\n", "Bail out!\n", "TAP version 13\n", "    ",
     "# selftests: a: b\n", "ok 1 selftests: a: b", "not ok 1 selftests: a: b # exit=1\n", " # XFAIL x\n",
     "# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0\n", "a.c:1:t:Expected x\n"]
)  # fmt: skip


@given(
    data=st.binary(max_size=1000) | st.lists(WORDS, max_size=60).map(lambda words: "".join(words).encode()),
    status=st.sampled_from([0, 1, 4, 124, 139, None]),
    gap=st.integers(0, 300),
    dropped=st.sampled_from([0, 7]),
)
def test_any_bytes_give_one_result_and_no_invented_pass(
    data: bytes, status: int | None, gap: int, dropped: int
) -> None:
    completed = Completed(exit=status, output=data, head_bytes=min(gap, len(data)), dropped_bytes=dropped)
    result = KselftestDriver().interpret(CASE, completed)
    assert len(result.message) <= 500
    assert len(result.message.splitlines()) <= 1
    if result.outcome is Outcome.PASSED:
        assert status == 0 or b"selftests: a: b" in data
        assert not {child.outcome for child in result.children} & {Outcome.FAILED}
