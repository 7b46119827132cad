from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lisa_ci import files
from lisa_ci.pipeline.profile_settings import NIC_MODELS
from lisa_ci.pipeline.reference import TABLES, markdown, schema_json
from lisa_ci.pipeline.tables import ABSENT, Either, ListOf, Setting, Table, plain_json
from lisa_ci.platforms.qemu.command_line import NIC_DEVICES
from tests.doubles.pipelines import (
    KNOWN,
    LEAST_PIPELINE,
    LEAST_SUITE,
    THREE_CASES,
    WHOLE_PIPELINE,
    WHOLE_SUITE,
    problems_of,
    write_suite,
)

ROOT = Path(__file__).parents[3]
SCHEMAS: dict[str, dict[str, Any]] = {name: json.loads(schema_json(name)) for name in TABLES}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of a mapping with known keys."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for child in schema.values():
            yield from objects(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from objects(child)


def is_valid(text: str, name: str) -> bool:
    return jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(yaml.safe_load(text))


@pytest.mark.parametrize("name", TABLES)
def test_the_schema_is_a_valid_draft_2020_12(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", TABLES)
def test_every_key_is_described_and_no_other_is_allowed(name: str) -> None:
    found = list(objects(SCHEMAS[name]))
    assert len(found) > 2
    for schema in found:
        assert schema["additionalProperties"] is False
        for key, one in schema["properties"].items():
            assert one.get("description", "").endswith("."), key


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (WHOLE_PIPELINE, "pipeline"),
        (LEAST_PIPELINE, "pipeline"),
        ((ROOT / "lisa-ci.yml").read_text(), "pipeline"),
        ((files.shipped("templates") / "pipeline/lisa-ci.yml").read_text(), "pipeline"),
        (WHOLE_SUITE, "suite"),
        (LEAST_SUITE, "suite"),
        (THREE_CASES, "suite"),
    ],
)
def test_the_schema_takes_what_the_loader_takes(text: str, name: str) -> None:
    jsonschema.validate(yaml.safe_load(text), SCHEMAS[name], jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "line",
    [
        "shards: 3",
        "image: {path: a, url: 'https://x'}",
        "image: {url: 'https://x'}",
        "image: {}",
        "access: {user: 'a b'}",
        "access: {key: x}",
        "profiles: []",
        "profiles: [a..b]",
        "profiles: [{name: a.1of2}]",
        "profiles: [{name: a, cores: 0}]",
        "profiles: [{name: a, disks: [{bus: ide}]}]",
        "suites: [{suite: boot, skip: {'A B': x}}]",
        "timeouts: {boot: 30}",
        "timeouts: {boot: ''}",
        "release: {formats: [vhd, vhd]}",
        "kernel: {initrd: x}",
    ],
)
def test_schema_and_loader_refuse_the_same(line: str, tmp_path: Path) -> None:
    key = line.partition(":")[0]
    text = "\n".join(old for old in LEAST_PIPELINE.splitlines() if not old.startswith(f"{key}:")) + f"\n{line}\n"
    assert not is_valid(text, "pipeline")
    write_suite(tmp_path / "suites/mine", THREE_CASES)
    assert problems_of(text, tmp_path)


def settings_of(table: Table) -> Iterator[Setting]:
    for setting in table.settings:
        yield setting
        kind = setting.kind
        while isinstance(kind, ListOf | Either):
            kind = kind.kind if isinstance(kind, ListOf) else kind.long
        if isinstance(kind, Table):
            yield from settings_of(kind)


@pytest.mark.parametrize("name", TABLES)
def test_every_default_and_example_of_the_table_is_a_right_value(name: str) -> None:
    count = 0
    for setting in settings_of(TABLES[name]):
        for value in (setting.default, setting.example):
            if value is not ABSENT:
                count += 1
                jsonschema.validate(plain_json(value), setting.kind.schema(), jsonschema.Draft202012Validator)
    assert count > 5


@pytest.mark.parametrize("name", TABLES)
def test_the_example_at_the_top_of_the_page_is_right(name: str) -> None:
    example = markdown(name).partition("```yaml\n")[2].partition("```")[0]
    assert len(example.splitlines()) > 10
    jsonschema.validate(yaml.safe_load(example), SCHEMAS[name], jsonschema.Draft202012Validator)


def test_the_page_names_every_key_of_the_table() -> None:
    text = markdown("pipeline")
    for setting in settings_of(TABLES["pipeline"]):
        assert f"| `{setting.name}` |" in text


def test_every_network_card_of_the_table_is_one_that_qemu_is_asked_for() -> None:
    assert set(NIC_MODELS) == set(NIC_DEVICES)


def test_the_repositorys_own_pipeline_names_what_exists() -> None:
    assert KNOWN.platforms >= {"qemu"}
    own = yaml.safe_load((ROOT / "lisa-ci.yml").read_text())
    assert [profile["name"] for profile in own["profiles"]] == ["bios", "uefi"]
