"""No input of any kind gives anything but a value or a PipelineError."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lisa_ci import files
from lisa_ci.errors import PipelineError
from lisa_ci.model import Pipeline, Suite
from lisa_ci.pipeline import load_suite, parse_pipeline
from lisa_ci.pipeline.reference import schema_json
from lisa_ci.pipeline.settings import PIPELINE
from lisa_ci.pipeline.tables import Either, ListOf, Table
from tests.doubles.pipelines import KNOWN, LEAST_PIPELINE, THREE_CASES, WHOLE_PIPELINE, WHOLE_SUITE, write_suite

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "tree_digest", lambda _folder: "0" * 64)
    write_suite(tmp_path / "suites/mine", THREE_CASES)
    return tmp_path


def check(data: bytes, folder: Path) -> None:
    try:
        assert isinstance(parse_pipeline(data, "lisa-ci.yml", folder, KNOWN), Pipeline)
    except PipelineError as error:
        for problem in error.problems:
            assert problem.message
            assert problem.location is not None
            str(problem).encode()
            assert "\n" not in str(problem)
            assert len(str(problem)) < 2000


def known_keys(table: Table) -> list[str]:
    keys = []
    for setting in table.settings:
        keys.append(setting.name)
        kind = setting.kind
        while isinstance(kind, ListOf | Either):
            kind = kind.kind if isinstance(kind, ListOf) else kind.long
        if isinstance(kind, Table):
            keys += known_keys(kind)
    return keys


KEYS = sorted(set(known_keys(PIPELINE)))
WORDS = st.sampled_from(
    ["bios", "uefi", "./suites/mine", "key", "ssh", "qemu", "30s", "x", "", "*", "no", "a/b", "..", "\0"]
)
SCALARS = WORDS | st.integers() | st.floats() | st.booleans() | st.none() | st.dates() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=25,
)
PIECES = st.lists(
    st.sampled_from(
        [
            *WHOLE_PIPELINE.splitlines(keepends=True),
            "  ",
            "\t",
            "- ",
            ": ",
            "&a ",
            "*a",
            "<<: *a",
            "{",
            "}",
            "[",
            "]",
            "|\n",
        ]
    )
    | st.text(max_size=6),
    max_size=30,
)


@QUICK
@given(data=st.binary(max_size=400))
def test_any_bytes(data: bytes, folder: Path) -> None:
    check(data, folder)


@QUICK
@given(text=st.text(alphabet="abcns:-{}[]&*!|>'\"#%@`?,.0123456789~<= \t\n", max_size=300))
def test_any_text_of_yamls_own_signs(text: str, folder: Path) -> None:
    check(text.encode(), folder)


@QUICK
@given(pieces=PIECES)
def test_any_order_of_pieces_of_a_right_file(pieces: list[str], folder: Path) -> None:
    check("".join(pieces).encode(errors="replace"), folder)


@QUICK
@given(value=st.dictionaries(st.sampled_from([setting.name for setting in PIPELINE.settings]), VALUES, max_size=9))
def test_any_values_under_known_keys(value: dict[str, object], folder: Path) -> None:
    check(yaml.safe_dump(value, allow_unicode=True).encode(errors="replace"), folder)


@QUICK
@given(start=st.integers(0, len(WHOLE_PIPELINE)), length=st.integers(0, 40), new=st.text(max_size=10))
def test_any_change_of_a_right_file(start: int, length: int, new: str, folder: Path) -> None:
    text = WHOLE_PIPELINE[:start] + new + WHOLE_PIPELINE[start + length :]
    check(text.encode(errors="replace"), folder)


@QUICK
@given(
    old=st.sampled_from(sorted({word for word in re.findall(r"[\w.-]+", WHOLE_PIPELINE) if not word.isalpha()})),
    new=st.sampled_from(["1", "2", "64", "300", "1m", "2h", "uefi", "nvme", "a-b", "'a'", "true", "qcow2", "x.y", "A"]),
)
def test_what_the_loader_takes_the_schema_takes(old: str, new: str, folder: Path) -> None:
    text = WHOLE_PIPELINE.replace(old, new, 1)
    try:
        parse_pipeline(text.encode(), "lisa-ci.yml", folder, KNOWN)
    except PipelineError:
        return
    jsonschema.validate(yaml.safe_load(text), json.loads(schema_json("pipeline")), jsonschema.Draft202012Validator)


@QUICK
@given(start=st.integers(0, len(WHOLE_SUITE)), length=st.integers(0, 40), new=st.text(max_size=10))
def test_any_change_of_a_right_suite(start: int, length: int, new: str, folder: Path) -> None:
    text = WHOLE_SUITE[:start] + new + WHOLE_SUITE[start + length :]
    (folder / "suites/mine/suite.yaml").write_bytes(text.encode(errors="replace"))
    try:
        found: object = load_suite(folder / "suites/mine", KNOWN)
    except PipelineError as error:
        found = error
    assert isinstance(found, Suite) or all(problem.location for problem in cast("PipelineError", found).problems)


def test_the_least_pipeline_is_a_pipeline(folder: Path) -> None:
    assert isinstance(parse_pipeline(LEAST_PIPELINE.encode(), "lisa-ci.yml", folder, KNOWN), Pipeline)
