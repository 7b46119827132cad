from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lisa_ci import files
from lisa_ci.errors import Loss
from lisa_ci.github.limits import SUMMARY_BYTES
from lisa_ci.model import (
    Category,
    Finding,
    Method,
    Outcome,
    Plan,
    Reason,
    Recovery,
    Result,
    Run,
    SubResult,
    Verdict,
)
from lisa_ci.reporting.chosen import LegRun
from lisa_ci.reporting.highlights import PER_KIND, PER_LEG, Highlights
from lisa_ci.reporting.markdown import block, code
from lisa_ci.reporting.reasons import Kind
from lisa_ci.reporting.summary import summary
from lisa_ci.reporting.verdict import decide
from tests.doubles.evidence import STARTED, make_plan, make_result, plan_digest, results_of, write_leg

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
PIECES = (
    *("```", "````", "~~~", "`", "\n", "\n\n", "|", "\\", "\\|", "<b>", "</details>", "<script>alert(1)</script>"),
    *("@root", "[x](http://y)", "http://z.example", "![i](u)", "# h", "- ", "> ", "<!--", "-->", "&lt;", "    "),
)
HOSTILE = st.lists(
    st.one_of(
        st.text(st.characters(codec=None), max_size=30),
        st.sampled_from(PIECES),
    ),
    max_size=15,
).map("".join)


class Seen(HTMLParser):
    """Tags outside of code, links, and all text outside of code."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self._code = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._code += tag == "code"
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._code else data


def told(plan: Plan, folder: Path) -> tuple[Verdict, Highlights]:
    highlights = Highlights()
    return decide(
        plan, plan_digest(plan), files.read_results(folder), watch=highlights.take, begin=highlights.begin
    ), highlights


def page(plan: Plan, folder: Path) -> str:
    return summary(plan, *told(plan, folder))


# ---- nothing gets out of code --------------------------------------------------------------------------------------


def texts_everywhere(text: str) -> tuple[Plan, Verdict, Highlights]:
    plan = make_plan(left_out={"b": text}, notes=[text])
    highlights = Highlights()
    leg = plan.legs[0]
    found = Finding(category=Category.OOPS, title=text, fingerprint=text, text=text, case=text)
    back = Recovery(reason=text, case=text, method=Method.SNAPSHOT, wall=timedelta(seconds=1))
    run = Run(leg=leg.id, plan_digest="p", subject_digest="s", attempt=1, started=STARTED)
    run = replace(run, is_complete=True, findings=(found,), recoveries=(back,))
    taken = LegRun(leg=leg, run=run, inventory=None, results=lambda: iter(()))
    highlights.begin(taken)
    result = Result(suite=text, case=text, outcome=Outcome.PASSED, message=text, detail=text, title=text, file=text)
    result = replace(result, log=text, note=text, findings=(replace(found, allowed="known"), found))
    for outcome in Outcome:
        for loss in (None, Loss.PANIC, Loss.CONNECTION):
            highlights.take(taken, replace(result, outcome=outcome, loss=loss))
    reasons = (Reason(kind="unknown-case", message=text, leg=text, case=text),)
    verdict = Verdict(
        name=text, plan_digest=text, subject_digest=text, passed=False, releasable=False, reasons=reasons, notes=(text,)
    )
    return plan, verdict, highlights


@functools.cache
def harmless_page() -> Seen:
    return Seen(MARKDOWN.render(summary(*texts_everywhere("harmless"))))


@given(HOSTILE)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("a|b\\|c")
@example("`")
@example("``` \n</details><img src=x onerror=alert(1)>")
def test_no_text_from_a_machine_is_read_as_markdown_or_html(text: str) -> None:
    harmless = harmless_page()
    hostile = Seen(MARKDOWN.render(summary(*texts_everywhere(text))))
    # An empty text leaves its paragraph or block out; all others have the very same structure.
    if re.sub(r"\s", "", text):
        assert not set(hostile.tags) - set(harmless.tags)
        assert hostile.tags.count("td") == harmless.tags.count("td")
        assert hostile.tags.count("details") == harmless.tags.count("details")
        assert hostile.tags.count("h4") == harmless.tags.count("h4")
    assert "a" not in hostile.tags
    assert "@root" not in hostile.text
    assert "http://" not in hostile.text


@given(HOSTILE)
@settings(deadline=None)
def test_a_code_span_is_one_line_and_keeps_its_text(text: str) -> None:
    span = code(text)
    assert "\n" not in span
    html = MARKDOWN.renderInline(span)
    assert re.fullmatch(r"<code>[^<]*</code>", html)


@given(HOSTILE)
@settings(deadline=None)
def test_a_code_block_ends_where_we_end_it(text: str) -> None:
    tokens = MARKDOWN.parse(block(text) + "\nafter\n")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[2].content == "after"


# ---- what is on the page -------------------------------------------------------------------------------------------


def test_the_verdict_is_the_first_line(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small")
    first = page(plan, tmp_path).splitlines()[0]
    assert first == "## ✅ `example` is green and releasable; 1 leg; 3 passed"


def test_a_failure_has_its_excerpt_its_place_and_the_line_that_reproduces_it(tmp_path: Path) -> None:
    plan = make_plan()
    bad = make_result("boot", "a", Outcome.FAILED, detail="disk is full", file="checks/a.sh", line=4)
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    text = page(plan, tmp_path)
    assert "#### ❌ `boot#a` on `small`" in text
    assert "```text\ndisk is full\n```" in text
    assert "at `checks/a.sh:4`" in text
    assert "lisa-ci run small --plan plan.json --out reproduce --case 'boot#a' --keep" in text


def test_the_line_that_reproduces_cannot_run_anything_else() -> None:
    _, _, highlights = texts_everywhere("x'; rm -rf / #")
    finding = highlights.of(Kind.FAILED)[0]
    assert "--case 'x'\"'\"'; rm -rf / ##x'\"'\"'; rm -rf / #'" in finding.reproduce


def test_only_infrastructure_is_told_as_such(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    write_leg(tmp_path, plan, "small")
    text = page(plan, tmp_path)
    assert "a retry may help" in text
    assert "⚠️ **missing leg** `large`" in text


def test_skips_are_counted_by_reason_and_what_was_left_out_is_named(tmp_path: Path) -> None:
    plan = make_plan(left_out={"c": "needs nics >= 2, profile gives 1"})
    skipped = [make_result("boot", "a"), make_result("boot", "b", Outcome.SKIPPED, message="no RTC")]
    write_leg(tmp_path, plan, "small", skipped)
    text = page(plan, tmp_path)
    assert "| 1 | `boot` | `no RTC` |" in text
    assert "| `small` | `boot#c` | `needs nics >= 2, profile gives 1` |" in text


def test_the_failed_sub_tests_stand_before_the_output(tmp_path: Path) -> None:
    children = (
        SubResult(name="fine", outcome=Outcome.PASSED),
        SubResult(name="outer", outcome=Outcome.FAILED, children=(SubResult(name="inner", outcome=Outcome.FAILED),)),
    )
    plan = make_plan()
    bad = make_result("boot", "a", Outcome.FAILED, detail="output", children=children)
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    assert "```text\nfailed: inner\noutput\n```" in page(plan, tmp_path)


# ---- bounded -------------------------------------------------------------------------------------------------------


def many_failures(count: int, detail: str) -> Iterable[Result]:
    return (make_result("boot", f"c{number}", Outcome.FAILED, detail=detail, message=detail) for number in range(count))


@pytest.mark.parametrize("detail", ["x" * 20_000, "é`" * 10_000, "\n" * 20_000, "\U0001f600|" * 9_000])
def test_the_page_fits_whatever_the_legs_wrote(detail: str, tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", many_failures(80, detail))
    text = page(plan, tmp_path)
    assert len(text.encode()) < SUMMARY_BYTES
    assert "### Failed: 80" in text
    assert f"{80 - PER_KIND} more are in the report's `junit.xml`" in text


def test_hundreds_of_legs_with_long_reasons_fit(tmp_path: Path) -> None:
    plan = make_plan(profiles=[f"profile-{number}" for number in range(300)], left_out={"a": "why " * 5_000})
    text = page(plan, tmp_path)
    assert len(text.encode()) < SUMMARY_BYTES
    assert "200 more are in `plan.json`" in text


def test_reasons_to_skip_are_bounded_and_still_counted(tmp_path: Path) -> None:
    plan = make_plan()
    skips = [make_result("boot", f"c{number}", Outcome.SKIPPED, message=f"why {number}") for number in range(1000)]
    write_leg(tmp_path, plan, "small", skips)
    _, highlights = told(plan, tmp_path)
    assert len(highlights.skips()) == 201
    assert highlights.skips()[0] == ("", "(other reasons)", 800)
    assert highlights.skipped() == 1000


def test_machines_that_came_back_are_counted_with_why_and_how(tmp_path: Path) -> None:
    plan = make_plan()
    back = Recovery(reason="the kernel panicked", case="boot#a", method=Method.SNAPSHOT, wall=timedelta(seconds=2.5))
    write_leg(tmp_path, plan, "small", recoveries=(back,) * 30)
    text = page(plan, tmp_path)
    assert "Machines brought back: 30 times" in text
    assert "| `small` | `the kernel panicked` | `boot#a` | `snapshot` | 2.5 |" in text
    assert f"*{30 - PER_LEG} more are in the legs' `run.json`.*" in text


def test_what_the_console_said_is_told_with_its_fingerprint_and_what_is_allowed_with_its_reason(tmp_path: Path) -> None:
    plan = make_plan()
    splat = Finding(category=Category.WARNING, title="WARNING: at x.c:1", fingerprint="a" * 16, text="Call Trace:")
    known = replace(
        splat, fingerprint="b" * 16, title="ACPI Error", allowed="firmware, #7 (kernel team)", case="boot#b"
    )
    results = results_of(plan, "small")
    write_leg(tmp_path, plan, "small", [replace(results[0], findings=(known,)), *results[1:]], findings=(splat,))
    text = page(plan, tmp_path)
    assert f"- `WARNING: at x.c:1` on `small`: `warning`, fingerprint `{'a' * 16}`" in text
    assert "Call Trace:" in text
    assert f"| `small` | `boot#b` | `ACPI Error` | `{'b' * 16}` | `firmware, #7 (kernel team)` |" in text


def test_a_kernel_that_never_stops_complaining_fills_no_memory(tmp_path: Path) -> None:
    plan = make_plan()
    found = Finding(category=Category.OOPS, title="Oops", fingerprint="0", text="x" * 8192)
    write_leg(
        tmp_path, plan, "small", findings=tuple(replace(found, fingerprint=f"{number:016x}") for number in range(400))
    )
    verdict, highlights = told(plan, tmp_path)
    assert len(highlights.said()) == 200
    assert highlights.dropped == 200
    assert len(summary(plan, verdict, highlights).encode()) <= SUMMARY_BYTES


@pytest.mark.parametrize(
    ("loss", "heading"),
    [(Loss.PANIC, "### Crashed: 1"), (Loss.CONNECTION, "### Lost to infrastructure: 1"), (None, "### Not judged: 1")],
)
def test_crashes_broken_tests_and_infrastructure_have_headings_of_their_own(
    loss: Loss | None, heading: str, tmp_path: Path
) -> None:
    plan = make_plan()
    bad = make_result("boot", "a", Outcome.ERRORED, loss=loss)
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    text = page(plan, tmp_path)
    assert heading in text
    assert ("a retry may help" in text) == (loss is Loss.CONNECTION)
