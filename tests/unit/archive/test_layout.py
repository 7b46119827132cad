"""Names and bytes of an archive: what we write is read, and nothing else is."""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from contextlib import suppress
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci import files
from lisa_ci.archive import layout
from lisa_ci.archive.layout import ArchivedFile, Mark, PackName, RunIndex, RunName, Summary
from lisa_ci.archive.store import is_name
from lisa_ci.errors import DataError
from lisa_ci.model import Outcome

DIGEST = "ab" * 32

ids = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True).filter(lambda text: ".." not in text)
run_names = st.builds(
    RunName,
    day=st.dates(min_value=date(2000, 1, 1), max_value=date(8999, 12, 31)),
    name=ids,
    leg=ids,
    attempt=st.integers(0, 10**9 - 1),
    id=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
)


@st.composite
def summaries(draw: st.DrawFn) -> Summary:
    cases = draw(st.lists(st.from_regex(r"[a-z]{1,5}#[a-z]{1,5}", fullmatch=True), max_size=8, unique=True))
    return Summary(
        id=draw(st.from_regex(r"[0-9a-f]{16}", fullmatch=True)),
        name=draw(ids),
        leg=draw(ids),
        profile=draw(ids),
        attempt=draw(st.integers(0, 99)),
        started=datetime(2026, 3, draw(st.integers(1, 31)), draw(st.integers(0, 23)), tzinfo=UTC),
        cases=tuple(cases),
        outcomes=draw(st.text("pfes", min_size=len(cases), max_size=len(cases))),
        wall_ms=tuple(draw(st.lists(st.integers(0, 10**6), min_size=len(cases), max_size=len(cases)))),
        findings=tuple(Mark(fingerprint=one, category="warning", title="x") for one in draw(st.lists(ids, max_size=2))),
    )


def summary(**fields: object) -> Summary:
    started = datetime(2026, 3, 4, 5, tzinfo=UTC)
    plain = Summary(id="0" * 16, name="example", leg="small", profile="small", attempt=1, started=started)
    return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]


def index(*archived: ArchivedFile, blobs: dict[str, int] | None = None, **fields: object) -> RunIndex:
    return RunIndex(summary=summary(**fields), files=archived, blobs={DIGEST: 100} if blobs is None else blobs)


def archived(path: str, **fields: object) -> ArchivedFile:
    plain = ArchivedFile(path=path, sha256=DIGEST, size_bytes=10, blob=DIGEST)
    return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]


def read(value: RunIndex) -> RunIndex:
    return layout.decode_index(layout.encode_index(value), layout.name_of(value.summary))


# ---- names ---------------------------------------------------------------------------------------------------------


@given(run_names)
def test_a_runs_name_is_read_as_it_was_written(name: RunName) -> None:
    assert layout.parse_run_name(str(name)) == name
    assert is_name(str(name))


@given(st.text() | st.from_regex(r"runs/\d{4}/\d\d/\d\d/[^/]*/[^/]*/\d{1,9}-[0-9a-f]{16}\.json\.gz", fullmatch=True))
def test_a_name_that_is_read_is_one_that_we_would_give(text: str) -> None:
    name = layout.parse_run_name(text)
    assert name is None or str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "runs/2026/13/01/a/b/1-0123456789abcdef.json.gz",
        "runs/2026/02/30/a/b/1-0123456789abcdef.json.gz",
        "runs/2026/01/01/../b/1-0123456789abcdef.json.gz",
        "runs/2026/01/01/a/B/1-0123456789abcdef.json.gz",
        "runs/2026/01/01/a/b/01-0123456789abcdef.json.gz",
        "runs/2026/01/01/a/b/c/1-0123456789abcdef.json.gz",
    ],
)
def test_a_name_that_is_nearly_ours_is_none(text: str) -> None:
    assert layout.parse_run_name(text) is None


def test_a_packs_name_tells_its_month_and_how_many_runs_it_holds() -> None:
    name = PackName(month="2026/03", count=64, sha256=DIGEST)
    assert layout.parse_pack_name(str(name)) == name
    assert layout.parse_pack_name(f"packs/2026/03/64-{DIGEST}.json") is None


def test_months_go_over_the_end_of_a_year() -> None:
    assert list(layout.months(date(2025, 11, 30), date(2026, 2, 1))) == ["2025/11", "2025/12", "2026/01", "2026/02"]
    assert list(layout.months(date(2026, 2, 2), date(2026, 1, 1))) == []
    assert layout.month_before("2026/01") == "2025/12"
    assert layout.month_before("2026/12") == "2026/11"


# ---- bytes ---------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=5000), st.integers(1, 700))
def test_content_is_the_same_in_any_pieces(data: bytes, step: int) -> None:
    stored = layout.compressed(data).getvalue()
    pieces = [stored[at : at + step] for at in range(0, len(stored), step)]
    assert b"".join(layout.unpacked(pieces, len(data), place="x")) == data
    assert gzip.decompress(stored) == data


def test_the_same_content_gives_the_same_bytes_whenever() -> None:
    assert layout.compressed(b"x" * 1000).getvalue() == layout.compressed(b"x" * 1000).getvalue()
    assert layout.compressed(b"x").getvalue()[4:8] == bytes(4)  # no time


@given(st.binary(max_size=300), st.integers(0, 400))
def test_what_is_cut_short_is_no_content(data: bytes, kept: int) -> None:
    stored = layout.compressed(data).getvalue()
    if kept < len(stored):
        with pytest.raises(DataError):
            list(layout.unpacked([stored[:kept]], 1000, place="x"))


@given(st.binary(max_size=200))
def test_any_bytes_are_content_or_a_data_error(data: bytes) -> None:
    with suppress(DataError):
        assert len(b"".join(layout.unpacked([data], 1000, place="x"))) <= 1000


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(DataError, match="bytes behind its end"):
        list(layout.unpacked([layout.compressed(b"a").getvalue(), b"more"], 100, place="x"))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    blocks = layout.unpacked([bomb], 2 << 20, place="x")
    assert [len(next(blocks)) for _ in range(2)] == [1 << 20] * 2
    with pytest.raises(DataError, match="larger than it may be"):
        next(blocks)


# ---- indexes and packs ---------------------------------------------------------------------------------------------


def test_an_index_is_read_as_it_was_written() -> None:
    value = index(archived("run.json"), archived("cases/a.log", offset=90))
    assert read(value) == value


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (index(archived("../x")), "no path below the folder"),
        (index(archived("/etc/passwd")), "no path below the folder"),
        (index(archived("a/./b")), "no path below the folder"),
        (index(archived("a\\b")), "not plain, printable text"),
        (index(archived("a\n")), "not plain, printable text"),
        (index(archived("a" * 256)), "too long"),
        (index(archived("a"), archived("a")), "lists a file twice"),
        (index(archived("a"), archived("a/b")), "lies below a file"),
        (index(archived("a", offset=91)), "not inside its blob"),
        (index(archived("a", offset=-1)), "cannot be"),
        (index(archived("a", size_bytes=-5)), "cannot be"),
        (index(archived("a", blob="cd" * 32)), "not inside its blob"),
        (index(archived("a", sha256="x")), "cannot be"),
        (index(blobs={"../../x": 1}), "a blob that cannot be"),
        (index(blobs={DIGEST: -1}), "a blob that cannot be"),
        (index(cases=("a",), outcomes="", wall_ms=(1,)), "do not fit together"),
        (index(cases=("a",), outcomes="x", wall_ms=(1,)), "an outcome that is none"),
    ],
)
def test_an_index_that_is_not_sound_is_refused(wrong: RunIndex, why: str) -> None:
    with pytest.raises(DataError, match=why):
        read(wrong)


def test_an_index_under_the_name_of_another_run_is_refused() -> None:
    value = index()
    name = dataclasses.replace(layout.name_of(value.summary), attempt=2)
    with pytest.raises(DataError, match="another run"):
        layout.decode_index(layout.encode_index(value), name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.data())
def test_an_index_with_anything_anywhere_is_read_or_a_data_error(data: st.DataObject) -> None:
    value = index(archived("run.json"))
    plain = json.loads(layout.encode_index(value))
    part = data.draw(st.sampled_from([plain, plain["summary"], plain["files"][0], plain["blobs"]]))
    part[data.draw(st.sampled_from(sorted(part)) | st.text(max_size=5))] = data.draw(json_values)
    name = layout.name_of(value.summary)
    with suppress(DataError):
        found = layout.decode_index(json.dumps(plain).encode(), name)
        assert layout.name_of(found.summary) == name


@given(st.lists(summaries(), min_size=1, max_size=6, unique_by=layout.name_of))
def test_a_pack_holds_its_runs_whatever_their_order(found: list[Summary]) -> None:
    name, data = layout.encode_pack(found)
    assert layout.encode_pack(reversed(found)) == (name, data)
    assert name.count == len(found)
    assert layout.decode_pack(data, name) == sorted(found, key=layout.name_of)


def test_runs_with_the_same_cases_share_their_list() -> None:
    many = tuple(f"suite#case-{n}" for n in range(1000))
    wall = tuple(range(1000))
    runs = [summary(attempt=n, cases=many, outcomes="p" * 1000, wall_ms=wall) for n in range(50)]
    name, data = layout.encode_pack(runs)
    assert data.count(b'suite#case-7"') == 1
    read_back = layout.decode_pack(data, name)
    assert all(run.cases is read_back[0].cases for run in read_back)


def test_a_pack_with_another_digest_is_refused() -> None:
    name, data = layout.encode_pack([summary()])
    with pytest.raises(DataError, match="another digest"):
        layout.decode_pack(data.replace(b"small", b"large"), name)


def test_a_pack_that_points_to_no_list_is_refused() -> None:
    pack = layout.Pack(case_lists=(), runs=(layout.Packed(summary=summary(), case_list=0),))
    data = files.encode_line(pack)
    name = PackName(month="2026/03", count=1, sha256=layout.hashlib.sha256(data).hexdigest())
    with pytest.raises(DataError, match="no case list 0"):
        layout.decode_pack(data, name)


def test_counts_are_those_of_the_letters() -> None:
    counts = summary(cases=("a", "b", "c"), outcomes="ppf", wall_ms=(1, 2, 3)).counts
    assert (counts[Outcome.PASSED], counts[Outcome.FAILED], counts[Outcome.ERRORED]) == (2, 1, 0)
