from __future__ import annotations

import io
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from lisa_ci import files
from lisa_ci.errors import Loss
from lisa_ci.files import LegEvidence
from lisa_ci.model import Category, Finding, Method, Outcome, Plan, Recovery, Result, Run, SubResult
from lisa_ci.reporting.chosen import LegRun
from lisa_ci.reporting.junit import JUnitWriter, write_junit, write_leg_junit
from lisa_ci.reporting.reasons import Kind, reason
from tests.doubles.evidence import STARTED, make_plan, make_result, plan_digest, results_of, write_leg

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parents[2] / "golden" / "junit-10.xsd"))
# Everything a Python string can hold, lone surrogates included.
ANY_TEXT = st.text(st.characters(codec=None), max_size=200)


def leg_run(plan: Plan, **fields: object) -> LegRun:
    leg = plan.legs[0]
    run = Run(leg=leg.id, plan_digest="p", subject_digest="s", attempt=1, started=STARTED, **fields)  # type: ignore[arg-type]
    return LegRun(leg=leg, run=run, inventory=None, results=lambda: iter(()))


def written(results: Iterable[Result], **fields: object) -> bytes:
    plan = make_plan()
    stream = io.BytesIO()
    writer = JUnitWriter(stream, plan)
    run = leg_run(plan, **fields)
    for result in results:
        writer.take(run, result)
    writer.close([])
    return stream.getvalue()


def valid(data: bytes) -> etree._Element:
    root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, huge_tree=True))
    SCHEMA.assertValid(root)
    return root


def whole(plan: Plan, results: Path) -> etree._Element:
    stream = io.BytesIO()
    write_junit(stream, plan, files.read_results(results))
    return valid(stream.getvalue())


# ---- valid, whatever comes -----------------------------------------------------------------------------------------


@given(
    texts=st.lists(ANY_TEXT, min_size=9, max_size=9),
    outcome=st.sampled_from(Outcome),
    code=st.none() | st.integers(),
    line=st.none() | st.integers(),
    wall=st.timedeltas(),
    dropped=st.integers(-5, 5),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_a_machine_sends_gives_a_valid_file(
    texts: list[str], outcome: Outcome, code: int | None, line: int | None, wall: timedelta, dropped: int
) -> None:
    found = Finding(category=Category.BUG, title=texts[3], fingerprint=texts[4], text=texts[5], allowed=texts[6])
    result = Result(
        suite=texts[0],
        case=texts[1],
        outcome=outcome,
        message=texts[2],
        detail=texts[3],
        title=texts[4],
        file=texts[5],
        line=line,
        log=texts[6],
        exit=code,
        wall=wall,
        children=(SubResult(name=texts[7], outcome=outcome, message=texts[8]),),
        dropped_children=dropped,
        loss=Loss.PANIC,
        note=texts[0],
        findings=(found,),
    )
    back = Recovery(reason=texts[1], case=texts[2], method=Method.REBOOT, wall=wall)
    root = valid(written([result], facts={texts[0]: texts[1]}, findings=(found, found), recoveries=(back,)))
    assert len(root.findall(".//testcase")) == 1


@pytest.mark.parametrize("text", ["]]>", "<![CDATA[", "&#0;", "\x00", "\ud800", "\ufffe", "\uffff", "a\rb\r\n", "<!--"])
def test_text_that_breaks_xml_comes_back_readable(text: str) -> None:
    root = valid(written([make_result("boot", "a", Outcome.FAILED, message=text, detail=text)]))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.text is not None
    clean = text.translate(dict.fromkeys([0, 0xD800, 0xFFFE, 0xFFFF], "\ufffd"))
    assert failure.text == clean
    assert failure.get("message") == clean


def test_bytes_that_are_no_utf_8_survive_the_journal_and_the_file(tmp_path: Path) -> None:
    plan = make_plan()
    broken = b"\xff\xfe broken \xc3".decode(errors="replace")
    results = [make_result("boot", "a", Outcome.FAILED, detail=broken), *results_of(plan, "small")[1:]]
    write_leg(tmp_path, plan, "small", results)
    assert broken in (whole(plan, tmp_path).findtext(".//failure") or "")


@pytest.mark.parametrize(
    "wall", [timedelta(0), timedelta(microseconds=1), timedelta(hours=50), timedelta.max, -timedelta(seconds=5)]
)
def test_times_have_at_most_three_decimals_and_are_never_negative(wall: timedelta) -> None:
    root = valid(written([make_result("boot", "a", wall=wall)]))
    case = root.find(".//testcase")
    assert case is not None
    assert float(case.get("time", "")) == pytest.approx(max(wall.total_seconds(), 0), abs=0.0006)


# ---- what is in it -------------------------------------------------------------------------------------------------


def test_each_outcome_is_what_junit_calls_it() -> None:
    results = [make_result("boot", outcome.value, outcome) for outcome in Outcome]
    suite = valid(written(results)).find("testsuite")
    assert suite is not None
    assert suite.get("name") == "small/boot"
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
        "time": "1.000",
    }
    shown = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert shown == {"passed": [], "failed": ["failure"], "errored": ["error"], "skipped": ["skipped"]}
    skipped = suite.find(".//skipped")
    assert skipped is not None
    assert skipped.get("message") == "there is no such device"


def test_a_cases_name_does_not_change_when_its_suite_is_sharded_anew() -> None:
    names = set()
    for shards in (1, 2, 5):
        plan = make_plan(suites={"big": ["case"]}, shards={"big": shards})
        leg = next(leg for leg in plan.legs if leg.tasks[0].shard.contains("case"))
        run = Run(leg=leg.id, plan_digest="p", subject_digest="s", attempt=1, started=STARTED)
        stream = io.BytesIO()
        writer = JUnitWriter(stream, plan)
        writer.take(LegRun(leg=leg, run=run, inventory=None, results=lambda: iter(())), make_result("big", "case"))
        writer.close([])
        case = valid(stream.getvalue()).find(".//testcase")
        assert case is not None
        names.add((case.get("classname"), case.get("name")))
    assert names == {("small.big", "case")}


def test_a_failure_tells_the_place_the_exit_code_the_log_and_the_excerpt() -> None:
    result = make_result(
        "boot", "a", Outcome.FAILED, detail="it broke", file="checks/a.sh", line=7, exit=3, log="cases/boot/a.log"
    )
    failure = valid(written([result])).find(".//failure")
    assert failure is not None
    assert (failure.text or "").splitlines() == [
        "at checks/a.sh:7",
        "exit 3",
        "log: small/cases/boot/a.log",
        "it broke",
    ]


def test_sub_tests_are_lines_with_their_counts() -> None:
    inner = SubResult(name="inner", outcome=Outcome.FAILED, message="not equal")
    children = (
        SubResult(name="one", outcome=Outcome.PASSED),
        SubResult(name="two", outcome=Outcome.FAILED, children=(inner,)),
    )
    root = valid(written([make_result("boot", "a", Outcome.FAILED, children=children, dropped_children=4)]))
    assert (root.findtext(".//system-out") or "").splitlines() == [
        "sub-tests: 1 passed, 2 failed",
        "passed  one",
        "failed  two",
        "  failed  inner: not equal",
        "and 4 more",
    ]


def test_a_case_with_a_hundred_thousand_sub_tests_stays_readable() -> None:
    children = tuple(SubResult(name=f"sub {number}", outcome=Outcome.PASSED) for number in range(100_000))
    text = valid(written([make_result("boot", "a", children=children)])).findtext(".//system-out") or ""
    lines = text.splitlines()
    assert lines[0] == "sub-tests: 100000 passed"
    assert len(lines) == 1002
    assert lines[-1] == "and 99000 more"


def test_deeply_nested_sub_tests_do_not_exhaust_the_stack() -> None:
    child = SubResult(name="leaf", outcome=Outcome.FAILED)
    for depth in range(5_000):
        child = SubResult(name=f"level {depth}", outcome=Outcome.FAILED, children=(child,))
    assert valid(written([make_result("boot", "a", Outcome.FAILED, children=(child,))])) is not None


def test_a_long_output_keeps_its_beginning_and_its_end() -> None:
    detail = "BEGIN" + "x" * 10_000_000 + "END"
    data = written([make_result("boot", "a", Outcome.FAILED, detail=detail)])
    text = valid(data).findtext(".//failure") or ""
    assert text.startswith("BEGIN")
    assert text.endswith("END")
    assert "characters left out" in text
    assert len(data) < 100_000


def test_results_of_two_suites_may_come_mixed() -> None:
    plan = make_plan(suites={"one": ["a", "b"], "two": ["a", "b"]})
    stream = io.BytesIO()
    writer = JUnitWriter(stream, plan)
    run = leg_run(plan)
    for suite, case in (("one", "a"), ("two", "a"), ("one", "b"), ("two", "b")):
        writer.take(run, make_result(suite, case))
    writer.close([])
    root = valid(stream.getvalue())
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [("small/one", "2"), ("small/two", "2")]


# ---- the gate in JUnit ---------------------------------------------------------------------------------------------


def test_a_missing_leg_is_an_error_that_every_reader_of_junit_shows(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    write_leg(tmp_path, plan, "small")
    suite = whole(plan, tmp_path).find("testsuite[@name='verdict']")
    assert suite is not None
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("1", "1", "0")
    case = suite.find("testcase")
    assert case is not None
    assert case.get("name") == "missing-leg large"


def test_a_green_verdict_adds_no_testsuite(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small")
    assert [suite.get("name") for suite in whole(plan, tmp_path)] == ["small/boot"]


def test_a_failed_case_is_told_once(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"boot#a": Outcome.FAILED}))
    assert len(whole(plan, tmp_path).findall(".//failure")) == 1


def test_a_plan_without_legs_is_valid(tmp_path: Path) -> None:
    assert len(whole(make_plan(suites={}, allow_empty=True), tmp_path)) == 0


def test_hostile_reasons_are_valid_too() -> None:
    stream = io.BytesIO()
    writer = JUnitWriter(stream, make_plan())
    writer.close([reason(Kind.UNKNOWN_CASE, "\ud800 <&\x00", leg="\x00<", case='"]]>')])
    assert valid(stream.getvalue()).find(".//failure") is not None


# ---- one leg -------------------------------------------------------------------------------------------------------


def evidence_of(folder: Path) -> LegEvidence:
    evidence = files.read_leg(folder)
    assert evidence is not None
    return evidence


def test_a_leg_alone_can_be_written_and_tells_that_it_died(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    folder = write_leg(tmp_path, plan, "small", [make_result("boot", "a")], is_complete=False)
    stream = io.BytesIO()
    write_leg_junit(stream, plan, evidence_of(folder))
    root = valid(stream.getvalue())
    assert [suite.get("name") for suite in root] == ["small/boot", "verdict"]
    assert len(root.findall(".//error")) == 1


def test_a_leg_that_is_not_in_the_plan_cannot_be_written(tmp_path: Path) -> None:
    plan = make_plan()
    folder = write_leg(tmp_path, plan, "other", [])
    with pytest.raises(ValueError, match="other"):
        write_leg_junit(io.BytesIO(), plan, evidence_of(folder))


# ---- speed ---------------------------------------------------------------------------------------------------------


def test_ten_thousand_cases_are_written_within_four_seconds() -> None:
    results = [make_result("boot", f"case-{number}") for number in range(10_000)]
    started = time.process_time()
    data = written(results)
    assert time.process_time() - started < 4
    assert len(valid(data).findall(".//testcase")) == 10_000


def test_the_digest_of_the_plans_file_may_be_given(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", digest="d" * 64)
    stream = io.BytesIO()
    write_junit(stream, plan, files.read_results(tmp_path), plan_digest="d" * 64)
    assert valid(stream.getvalue()).find(".//error") is None
    assert plan_digest(plan) != "d" * 64


@pytest.mark.parametrize(
    ("loss", "tag", "kind"),
    [
        (None, "error", "errored"),
        (Loss.PANIC, "failure", "crashed.panic"),
        (Loss.SILENCE, "failure", "crashed.silence"),
        (Loss.CONNECTION, "error", "infrastructure.connection"),
        (Loss.DESTROYED, "error", "infrastructure.destroyed"),
    ],
)
def test_what_the_image_did_is_a_failure_and_what_the_world_did_an_error(
    loss: Loss | None, tag: str, kind: str
) -> None:
    suite = valid(written([make_result("boot", "a", Outcome.ERRORED, loss=loss)], is_complete=True)).find("testsuite")
    assert suite is not None
    told = suite.find(f"testcase/{tag}")
    assert told is not None
    assert told.get("type") == kind
    assert (suite.get("failures"), suite.get("errors")) == (("1", "0") if tag == "failure" else ("0", "1"))


def test_a_case_that_never_ran_is_infrastructure() -> None:
    root = valid(written([make_result("boot", "a", Outcome.ERRORED, loss=None)], error="no machine", is_complete=True))
    assert [told.get("type") for told in root.iter("error")] == ["infrastructure"]


def test_the_kernels_words_stand_with_the_case_and_with_the_leg() -> None:
    found = Finding(category=Category.OOPS, title="Oops: 0002", fingerprint="ab" * 8, text="Call Trace:", allowed="#7")
    back = Recovery(reason="panic", case=None, method=Method.SNAPSHOT, wall=timedelta(seconds=2))
    results = [make_result("boot", "a", findings=(found,), note="attempt 1")]
    root = valid(written(results, is_complete=True, findings=(found,), recoveries=(back,)))
    assert root.findtext(".//system-out") == (
        "note: attempt 1\nconsole: oops: Oops: 0002; allowed: #7 [abababababababab]\nCall Trace:"
    )
    told = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert told["finding.abababababababab"] == "oops: Oops: 0002; allowed: #7"
    assert (told["recoveries"], told["recovery.1"]) == ("1", "panic; after no case; snapshot, 2.0 s")


def test_figures_stand_with_the_case_and_among_the_properties_of_its_suite() -> None:
    measured = {"tcp_mbit_per_s": 412.5, "p99_us": 1800.0}
    root = valid(written([make_result("s", "tcp", metrics=measured), make_result("s", "other")]))
    properties = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert properties["metric.tcp.tcp_mbit_per_s"] == "412.5"
    assert properties["metric.tcp.p99_us"] == "1800"
    assert [one.text for one in root.iter("system-out")] == ["tcp_mbit_per_s: 412.5\np99_us: 1800"]


def test_more_figures_than_a_reader_wants_are_cut() -> None:
    measured = {f"x{number}_s": float(number) for number in range(1000)}
    root = valid(written([make_result("s", "one", metrics=measured), make_result("s", "two", metrics=measured)]))
    assert sum(one.get("name").startswith("metric.") for one in root.iter("property")) == 200


def test_a_leg_alone_tells_that_its_image_was_dead(tmp_path: Path) -> None:
    plan = make_plan()
    panic = Finding(category=Category.PANIC, title="Kernel panic", fingerprint="1" * 16)
    folder = write_leg(tmp_path, plan, "small", [], error="no login", findings=(panic,))
    stream = io.BytesIO()
    write_leg_junit(stream, plan, evidence_of(folder))
    failure = valid(stream.getvalue()).find(".//failure")
    assert failure is not None
    assert failure.get("type") == "dead-image"
    assert failure.get("message") == "the image gave no machine: no login; its console: Kernel panic"
