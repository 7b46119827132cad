"""Every message about wrong files, and what is planned for a right one, as people read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.errors import PipelineError
from lisa_ci.github.matrix import matrix_json
from lisa_ci.model import Plan
from lisa_ci.pipeline import load_pipeline
from lisa_ci.planning import explain, make_plan
from tests.doubles.golden import check_golden
from tests.doubles.pipelines import KNOWN, SUBJECT

FOLDER = Path(__file__).parent / "pipeline"
BROKEN = {
    "tab": b"name: x\nimage:\n\tpath: y\n",
    "not UTF-8": b"name: caf\xe9\n",
    "zero byte": b"name: a\0b\n",
    "open quote": b"name: 'x\n",
    "colon in text": b"name: a: b\n",
    "unknown tag": b"name: !include x.yml\n",
    "two documents": b"name: x\n---\nname: y\n",
    "alias without anchor": b"name: *x\n",
    "alias in itself": b"name: &x [*x]\n",
    "aliases that multiply": b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 10)) for n in range(98, 104)),
    "too deep": b"name: " + b"[" * 1000,
    "too large": b"# " + b"x" * 10_000_000,
    "empty": b"",
    "a list": b"- name\n",
    "bad indentation": b"name: x\n  image: y\n",
}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


def mistakes(path: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        load_pipeline(path, KNOWN)
    return "".join(f"{problem}\n" for problem in caught.value.problems)


def plan_of(file: str) -> Plan:
    return make_plan(load_pipeline(Path(file), KNOWN), SUBJECT)


def test_messages_about_a_file_full_of_mistakes() -> None:
    check_golden(FOLDER / "mistakes.txt", mistakes(Path("mistakes.yml")))


def test_messages_about_what_is_no_pipeline_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = ""
    for name, data in BROKEN.items():
        Path("lisa-ci.yml").write_bytes(data)
        text += f"# {name}\n{mistakes(Path('lisa-ci.yml'))}"
    Path("lisa-ci.yml").unlink()
    text += f"# no file\n{mistakes(Path('lisa-ci.yml'))}"
    Path("lisa-ci.yml").mkdir()
    text += f"# a folder\n{mistakes(Path('lisa-ci.yml'))}"
    check_golden(FOLDER / "broken.txt", text)


def test_the_explanation() -> None:
    check_golden(FOLDER / "explanation.txt", explain(plan_of("right.yml")))


def test_the_matrix() -> None:
    text = json.dumps(json.loads(matrix_json(plan_of("right.yml"))), indent=1) + "\n"
    check_golden(FOLDER / "matrix.json", text)


def test_the_plan_file() -> None:
    check_golden(FOLDER / "plan.json", files.encode(plan_of("right.yml")).decode())
