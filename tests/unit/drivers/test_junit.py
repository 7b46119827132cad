from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.drivers.junit import JunitDriver
from lisa_ci.model import Case, Completed, Outcome, Result

CASE = Case(suite="j", id="c")
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    '<testsuite name="&b;"><testcase name="x"/></testsuite>'
)
OUTSIDE = '<!DOCTYPE testsuite SYSTEM "file:///etc/passwd"><testsuite name="a"><testcase name="x"/></testsuite>'


def judged(text: str, status: int | None = 0) -> Result:
    return JunitDriver().interpret(CASE, Completed(exit=status, output=text.encode()))


def suite(*cases: str, **attributes: int) -> str:
    given = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<testsuite name="s"{given}>{"".join(cases)}</testsuite>'


GOOD = '<testcase classname="m" name="good" file="t.py" line="3"/>'
FAILED = (
    '<testcase classname="m" name="bad" file="t.py" line="7"><failure message="1 != 2">a trace</failure></testcase>'
)
ERRORED = '<testcase name="broken"><error type="OSError">no disk\n</error></testcase>'
SKIPPED = '<testcase name="off"><skipped message="not here"/></testcase>'


@pytest.mark.parametrize(
    ("text", "status", "outcome"),
    [
        (suite(GOOD), 0, "passed"),
        (f"<testsuites>{suite(GOOD)}</testsuites>", 0, "passed"),
        (f'<?xml version="1.0" encoding="utf-8"?>\n{suite(GOOD)}\n', 0, "passed"),
        (f"log line\n{suite(GOOD)}\nmore log\n", 0, "passed"),
        (suite(GOOD, FAILED), 1, "failed"),
        (suite(GOOD, FAILED), 0, "failed"),
        (suite(GOOD, FAILED, ERRORED), 1, "failed"),
        (suite(GOOD, ERRORED), 1, "errored"),
        (suite(GOOD, SKIPPED), 0, "passed"),
        (suite(SKIPPED), 0, "skipped"),
        (suite(GOOD), 1, "failed"),
        (suite(GOOD), 139, "failed"),
        (suite(GOOD, tests=2), 0, "errored"),
        (suite(GOOD, tests=1, failures=1), 0, "failed"),
        (suite(GOOD, tests=1, errors=1), 0, "errored"),
        (suite(), 0, "errored"),
        ("", 0, "errored"),
        ("all is well\n", 0, "errored"),
        ("sh: foo: not found\n", 127, "failed"),
        (suite(GOOD)[:-5], 0, "errored"),
        (suite(FAILED)[:-5], 0, "failed"),
        ("<testsuite><testcase></testsuite>", 0, "errored"),
        ('<?xml version="1.0"?><html/>', 0, "errored"),
        (suite(GOOD), None, "errored"),
        (BOMB, 0, "errored"),
        (OUTSIDE, 0, "errored"),
        ("<testsuite>" * 40, 0, "errored"),
        ('<?xml version="1.0" encoding="no-such"?><testsuite/>', 0, "errored"),
        (suite('<testcase name="x" status="notrun" result="suppressed"/>'), 0, "skipped"),
    ],
)
def test_the_testcases_the_counts_and_the_exit_status_must_agree(text: str, status: int | None, outcome: str) -> None:
    result = judged(text, status)
    assert result.outcome.value == outcome
    assert result.message or outcome == "passed"


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_a_document_type_and_entities_are_refused_at_once(text: str) -> None:
    assert "document type" in judged(text).message


def test_a_failed_testcase_gives_its_message_and_its_place() -> None:
    result = judged(suite(GOOD, FAILED), 1)
    assert result.message == "1 of 2 failed: m.bad (1 != 2)"
    assert (result.file, result.line) == ("t.py", 7)
    assert [(child.name, child.outcome.value, child.message) for child in result.children] == [
        ("m.good", "passed", ""),
        ("m.bad", "failed", "1 != 2"),
    ]


def test_a_message_that_is_not_given_is_the_type_or_the_text() -> None:
    assert judged(suite(ERRORED)).children[0].message == "OSError"
    plain = suite("<testcase name='x'><failure>no\n disk</failure></testcase>")
    assert judged(plain, 1).children[0].message == "no disk"


def test_several_testsuites_become_a_child_each_and_nested_ones_stay_nested() -> None:
    inner = suite(FAILED).replace('"s"', '"inner"')
    outer = suite(GOOD, inner).replace('"s"', '"o"')
    result = judged(f"<testsuites>{suite(GOOD)}{outer}</testsuites>", 1)
    assert [(child.name, child.outcome.value) for child in result.children] == [("s", "passed"), ("o", "failed")]
    assert [child.name for child in result.children[1].children] == ["m.good", "inner"]


def test_cut_output_is_not_believed() -> None:
    data = suite(GOOD, GOOD).encode()
    cut = Completed(exit=0, output=data, head_bytes=40, dropped_bytes=10**6)
    assert JunitDriver().interpret(CASE, cut).outcome is Outcome.ERRORED


def test_ten_thousand_children_are_kept_and_the_rest_counted() -> None:
    result = judged(suite(*['<testcase name="x"/>'] * 12_000))
    assert result.outcome is Outcome.PASSED
    assert (len(result.children), result.dropped_children) == (9_000, 3_000)


PIECES = st.sampled_from(
    ["<testsuites>", "<testsuite name='a' tests='1'>", GOOD, FAILED, SKIPPED, "<testcase>", "</testcase>",
     "</testsuite>", "</testsuites>", "<failure/>", "text", "&amp;", "&x;", "<!DOCTYPE a>",
     "<?xml version='1.0'?>", "\x00"]
)  # fmt: skip


@given(
    data=st.binary(max_size=500).map(lambda b: b"<testsuite>" + b)
    | st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode()),
    status=st.sampled_from([0, 1, 139, None]),
)
def test_any_bytes_give_one_result_and_no_invented_pass(data: bytes, status: int | None) -> None:
    result = JunitDriver().interpret(CASE, Completed(exit=status, output=data))
    assert len(result.message) <= 500
    assert len(result.message.splitlines()) <= 1
    if result.outcome is Outcome.PASSED:
        assert status == 0
        assert b"<testcase" in data
    else:
        assert result.message


def test_reading_takes_time_in_proportion_to_the_output() -> None:
    def seconds(copies: int) -> float:
        text = suite(*[FAILED] * copies)
        start = time.perf_counter()
        judged(text, 1)
        return time.perf_counter() - start

    assert seconds(8000) < 40 * max(seconds(1000), 0.005)
