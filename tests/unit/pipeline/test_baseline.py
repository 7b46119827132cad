from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci import files
from lisa_ci.errors import PipelineError
from lisa_ci.model import KnownFailure, Plan
from lisa_ci.pipeline import parse_pipeline
from lisa_ci.pipeline.baseline import BASELINE, ENTRY, baseline_text, expired, head_of, load_baseline, parse_baseline
from lisa_ci.planning import make_plan
from tests.doubles.pipelines import KNOWN, LEAST_PIPELINE, SUBJECT, THREE_CASES, write_suite

WHOLE = """\
schema: 1
known:
  - case: ltp#fork14
    profile: small-*
    reason: "too little memory: the case wants 4 GiB"
    link: https://bugs.example.org/1
    owner: kernel-team
    expires: 2027-06-30
  - case: "kselftest#timers.*"
    reason: emulated clocks
    owner: a@example.org
    expires: "2027-01-31"
"""
ENTRIES = (
    KnownFailure(
        case="ltp#fork14",
        profile="small-*",
        reason="too little memory: the case wants 4 GiB",
        link="https://bugs.example.org/1",
        owner="kernel-team",
        expires=date(2027, 6, 30),
    ),
    KnownFailure(case="kselftest#timers.*", reason="emulated clocks", owner="a@example.org", expires=date(2027, 1, 31)),
)


def mistakes(text: str) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        parse_baseline(text.encode(), "baseline.yml")
    return [str(problem) for problem in caught.value.problems]


def test_every_key_arrives_in_its_value() -> None:
    assert parse_baseline(WHOLE.encode(), "baseline.yml") == ENTRIES


def test_an_empty_list_is_a_baseline_and_an_empty_file_is_a_mistake() -> None:
    assert parse_baseline(b"schema: 1\nknown: []\n", "baseline.yml") == ()
    assert mistakes("")[0].startswith("baseline.yml:1:1: error: the file is empty")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    owner: kernel-team\n", "", "3:5: error: 'known' lacks the key 'owner'"),
        ("owner: kernel", "ownr: kernel", "7:5: error: unknown key 'ownr'"),
        ("ltp#fork14", "fork14", "3:11: error: 'case' must be SUITE#CASE, where each may be a glob, not 'fork14'"),
        ("2027-06-30", "2027-06-31", "8:14: error: 'expires' '2027-06-31' is no day of the calendar"),
        ("2027-06-30", "soon", "8:14: error: 'expires' must be a day (YYYY-MM-DD), not 'soon'"),
        ("https://bugs", "javascript:bugs", "6:11: error: 'link' must be an https:// address"),
        ("schema: 1", "schema: 2", "1:9: error: 'schema' must be"),
        ('"kselftest#timers.*"', "ltp#fork14\n    profile: small-*", "9:11: error: 'ltp#fork14' is known twice"),
    ],
)
def test_every_mistake_is_told_at_its_place(old: str, new: str, told: str) -> None:
    assert old in WHOLE
    (mistake,) = mistakes(WHOLE.replace(old, new, 1))
    assert mistake.startswith(f"baseline.yml:{told}")


def test_all_mistakes_are_told_at_once() -> None:
    assert len(mistakes(WHOLE.replace("2027-06-30", "never").replace("owner: a", "owned: a"))) == 2


def test_a_pipeline_and_its_plan_hold_the_known_failures(tmp_path: Path) -> None:
    write_suite(tmp_path / "suites/mine", THREE_CASES)
    (tmp_path / "baseline.yml").write_text(WHOLE)
    text = f"{LEAST_PIPELINE}baseline: baseline.yml\n"
    pipeline = parse_pipeline(text.encode(), "lisa-ci.yml", tmp_path, KNOWN)
    assert pipeline.baseline == ENTRIES
    plan = make_plan(pipeline, SUBJECT)
    assert plan.baseline == ENTRIES
    assert files.decode(Plan, files.encode(plan), place="plan.json").baseline == ENTRIES


def test_mistakes_in_the_baseline_join_those_of_the_pipeline(tmp_path: Path) -> None:
    write_suite(tmp_path / "suites/mine", THREE_CASES)
    (tmp_path / "baseline.yml").write_text(WHOLE.replace("2027-06-30", "never"))
    text = f"{LEAST_PIPELINE}baseline: baseline.yml\nnonsense: 1\n"
    with pytest.raises(PipelineError) as caught:
        parse_pipeline(text.encode(), "lisa-ci.yml", tmp_path, KNOWN)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 2
    assert "lisa-ci.yml" in told[0]
    assert "baseline.yml:8:14" in told[1]


def test_a_baseline_that_is_not_there_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        load_baseline(tmp_path / "baseline.yml")
    assert "lisa-ci baseline update" in caught.value.problems[0].hint


def test_an_entry_covers_by_globs_over_case_and_profile() -> None:
    assert ENTRIES[0].covers("small-uefi", "ltp#fork14")
    assert not ENTRIES[0].covers("large", "ltp#fork14")
    assert not ENTRIES[0].covers("small-uefi", "ltp#fork13")
    assert ENTRIES[1].covers("large", "kselftest#timers.rtcpie")


def test_the_comments_at_the_top_stay_and_the_entries_are_sorted() -> None:
    text = f"# why we have this\n\n# ask kernel-team\n{WHOLE}"
    written = baseline_text(parse_baseline(text.encode(), "b"), head=head_of(text))
    assert written.startswith("# why we have this\n\n# ask kernel-team\nschema: 1\n")
    assert written.index("kselftest#timers") < written.index("ltp#fork14")


NAMES = st.text("abz09._*-", min_size=1, max_size=20)
WORDS = st.text(min_size=1, max_size=60).filter(lambda text: text.strip() != "")


@settings(max_examples=40)
@given(
    st.lists(
        st.builds(
            KnownFailure,
            case=st.builds("{}#{}".format, NAMES, NAMES),
            profile=NAMES,
            reason=WORDS,
            owner=WORDS,
            link=st.just("") | st.just("https://example.org/?a=1#b"),
            expires=st.dates(date(2000, 1, 1), date(2999, 12, 31)),
        ),
        max_size=8,
        unique_by=lambda one: (one.case, one.profile),
    )
)
def test_what_is_written_is_read_again(entries: list[KnownFailure]) -> None:
    read = parse_baseline(baseline_text(entries).encode("utf-8", "replace"), "b")
    assert [(one.case, one.profile, one.link, one.expires) for one in read] == sorted(
        (one.case, one.profile, one.link, one.expires) for one in entries
    )
    for one in read:
        (same,) = [entry for entry in entries if (entry.case, entry.profile) == (one.case, one.profile)]
        assert one.reason == "".join(letter if letter.isprintable() else "?" for letter in same.reason)


def test_the_documented_keys_are_those_of_the_table() -> None:
    document = (Path(__file__).parents[3] / "docs" / "baseline.md").read_text()
    assert {setting.name for setting in BASELINE.settings} == {"schema", "known"}
    for setting in ENTRY.settings:
        default = "required" if setting.is_required else "`*`" if setting.name == "profile" else "-"
        assert f"| `{setting.name}` | {setting.kind.words} | {default} | {setting.description} |\n" in document


def test_an_expired_entry_is_told_and_a_last_day_is_not() -> None:
    assert list(expired(ENTRIES, date(2027, 1, 31))) == []
    (told,) = expired(ENTRIES, date(2027, 2, 1))
    assert told == (
        "baseline: 'kselftest#timers.*' on '*' shuts the gate again: "
        "what a@example.org answers for expired on 2027-01-31"
    )
