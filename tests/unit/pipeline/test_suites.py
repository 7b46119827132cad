from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import files, registry
from lisa_ci.errors import PipelineError
from lisa_ci.model import Case, Expectation, PlannedSuite, Risk, Suite
from lisa_ci.pipeline import bundled_suites, find_suite, load_planned_suite, load_suite
from lisa_ci.pipeline.suites import folder_in_plan
from tests.doubles.pipelines import KNOWN, LEAST_SUITE, WHOLE_SUITE, write_suite


def load(text: str, folder: Path) -> Suite:
    return load_suite(write_suite(folder / "mine", text), KNOWN, "mine")


def problems_of(text: str, folder: Path) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        load(text, folder)
    return [str(problem) for problem in caught.value.problems]


def test_every_key_arrives_in_the_suite(tmp_path: Path) -> None:
    suite = load(WHOLE_SUITE, tmp_path)
    assert suite.description == "Two lines\nof text.\n"
    assert suite.requires == {"cores": 2, "firmware": ("bios", "uefi"), "outbound": True, "platform": "qemu"}
    assert (suite.driver, suite.scenario, suite.timeout) == ("shell", None, timedelta(seconds=60))
    assert suite.environment == {"LC_ALL": "C", "EMPTY": "", "NO": "no"}
    assert suite.digest == files.tree_digest(tmp_path / "mine")
    assert suite.cases == (
        Case(
            suite="mine",
            id="first",
            title="The first",
            description="Proves something.",
            run=("sh", "-c", "set -e\n./first\n"),
            timeout=timedelta(minutes=2),
            requires={"disk_nvme": 1},
            expects=(Expectation.REBOOT, Expectation.SPLAT),
            risk=Risk.CRASH,
            source="mine/suite.yaml:11:5",
        ),
        Case(suite="mine", id="second", run=("./second", "", "-x"), source="mine/suite.yaml:21:5"),
    )


FETCHING = """\
schema: 1
name: mine
driver: tap
listing: ./list
fetch:
  - {name: a.tar.xz, url: "https://example.org/a-1.tar.xz", sha256: SHA}
"""


def test_a_file_to_fetch_arrives_in_lower_case(tmp_path: Path) -> None:
    [one] = load(FETCHING.replace("SHA", "AB" * 32), tmp_path).fetch
    assert (one.name, one.url, one.sha256) == ("a.tar.xz", "https://example.org/a-1.tar.xz", "ab" * 32)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("https://example", "http://example", "only https is fetched"),
        ("https://example", "https://me:word@example", "carries a user name or password"),
        ("name: a.tar.xz", "name: suite.yaml", "the suite has a file 'suite.yaml' of its own"),
        ("name: a.tar.xz", "name: ../up", "'name' must be a file name"),
        ("SHA", "'12'", "'sha256' must be 64 hexadecimal digits"),
        ("fetch:\n", "fetch:\n  - {name: a.tar.xz, url: 'https://a/b', sha256: SHA}\n", "is given twice"),
    ],
)
def test_what_is_not_fetched_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = FETCHING.replace(old, new).replace("SHA", "ab" * 32)
    [problem] = problems_of(text, tmp_path)
    assert told in problem


def test_a_listing_takes_the_place_of_cases(tmp_path: Path) -> None:
    suite = load("schema: 1\nname: mine\ndriver: tap\nlisting: ./list --all\n", tmp_path)
    assert (suite.cases, suite.listing) == (None, ("sh", "-c", "./list --all"))


def test_the_cases_of_a_scenario_have_nothing_to_run(tmp_path: Path) -> None:
    suite = load("schema: 1\nname: mine\nscenario: reboot\ncases: [{id: back-again}]\n", tmp_path)
    assert suite.cases == (Case(suite="mine", id="back-again", source="mine/suite.yaml:4:9"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine/suite.yaml:1:1: error: the file is empty"),
        ("[]", "mine/suite.yaml:1:1: error: 'suite file' must be a mapping, not a list"),
        (LEAST_SUITE.replace("schema: 1", "schema: 2"), "'schema' must be a whole number from 1 to 1, not '2'"),
        (LEAST_SUITE.replace("schema: 1\n", ""), "'suite file' lacks the key 'schema'; add 'schema: 1'"),
        (LEAST_SUITE.replace("name: mine\n", ""), "'suite file' lacks the key 'name'"),
        (LEAST_SUITE.replace("driver: shell", "driver: perl"), "unknown driver 'perl'; known: shell, tap"),
        (LEAST_SUITE.replace("driver: shell\n", ""), "'suite file' lacks 'driver' or 'scenario'"),
        (
            LEAST_SUITE.replace(", run: x", "") + "scenario: reboot\n",
            "'suite file' has both 'driver' and 'scenario'; keep one",
        ),
        ("schema: 1\nname: a\nscenario: rebot\ncases: [{id: a}]\n", "unknown scenario 'rebot'; did you mean 'reboot'?"),
        (LEAST_SUITE.replace("driver: shell", "scenario: reboot"), "a case of a scenario has no 'run'"),
        ("schema: 1\nname: a\nscenario: reboot\n", "'suite file' lacks the key 'cases'; a scenario tells the ids of"),
        ("schema: 1\nname: a\nscenario: reboot\nlisting: x\n", "a scenario has no 'listing'"),
        (LEAST_SUITE + "listing: x\n", "'suite file' has both cases and listing"),
        ("schema: 1\nname: a\ndriver: tap\n", "'suite file' lacks 'cases' or 'listing'"),
        (LEAST_SUITE.replace(", run: x", ""), "'case' lacks the key 'run'"),
        (
            LEAST_SUITE.replace("run: x", "run: true"),
            "'run' must be a shell command, but YAML reads 'true' as true or false",
        ),
        (LEAST_SUITE.replace("run: x", "run: []"), "'run' has 0 entries; give 1 to 200"),
        (LEAST_SUITE.replace("run: x", 'run: "a\\0b"'), "'run' must not hold control character U+0000"),
        (LEAST_SUITE.replace("}]", "}, {id: a, run: y}]"), "case 'a' is given twice; the first is in line 4"),
        (LEAST_SUITE.replace("cases: [{id: a, run: x}]", "cases: []"), "'cases' has 0 entries; give 1 to 10000"),
        (LEAST_SUITE + "requires: {core: 2}\n", "unknown capability 'core'; did you mean 'cores'?"),
        (LEAST_SUITE + "requires: {cores: lots}\n", "'cores' must be a whole number from 0 to"),
        (LEAST_SUITE + "requires: {cores: [1, many]}\n", "'cores' must be a whole number from 0 to"),
        (
            LEAST_SUITE + "requires: {firmware: efi}\n",
            "'firmware' must be one of bios, uefi, not 'efi'; did you mean 'uefi'?",
        ),
        (LEAST_SUITE + "requires: {outbound: 1}\n", "'outbound' must be true or false, not '1'"),
        (LEAST_SUITE + "requires: [cores]\n", "'requires' must be a mapping from a capability to a value"),
        (LEAST_SUITE + "environment: {LISA_CI_CASE: x}\n", "'key of environment' must be a variable name"),
        (
            LEAST_SUITE + "environment: {A: 1}\n",
            "'A' must be text, but YAML reads '1' as a number; put it in quotes: \"1\"",
        ),
        (LEAST_SUITE + "timeout: 5\n", "'timeout' must be a duration from 1s to 24h, not '5'"),
    ],
)
def test_a_mistake_in_a_suite_is_told_with_value_and_hint(tmp_path: Path, text: str, message: str) -> None:
    told = problems_of(text, tmp_path)
    assert len(told) == 1, told
    assert message in told[0]
    assert told[0].startswith("mine/suite.yaml:")


def test_the_digest_changes_with_any_file_of_the_suite(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "mine", LEAST_SUITE)
    before = load_suite(folder, KNOWN).digest
    (folder / "helper.sh").write_text("true\n")
    with_helper = load_suite(folder, KNOWN).digest
    (folder / "helper.sh").chmod(0o755)
    assert len({before, with_helper, load_suite(folder, KNOWN).digest}) == 3


def bundled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for bundled suites with one suite in it."""
    write_suite(folder / "shipped/userland", LEAST_SUITE.replace("name: mine", "name: userland"))
    (folder / "shipped/not-a-suite").mkdir()
    monkeypatch.setattr(files, "shipped", lambda _name: folder / "shipped")
    return folder / "shipped/userland"


def test_a_name_is_a_bundled_suite_and_a_path_is_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = bundled(tmp_path, monkeypatch)
    own = write_suite(tmp_path / "repo/suites/userland", LEAST_SUITE)
    assert bundled_suites() == ("userland",)
    assert find_suite("userland", tmp_path / "repo") == shipped
    assert find_suite("bundled:userland", tmp_path) == shipped
    assert find_suite("./suites/userland", tmp_path / "repo") == own
    assert find_suite("suites/userland", tmp_path / "repo") == own


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("usrland", "error: unknown suite 'usrland'; did you mean 'userland'?"),
        ("bundled:x", "error: unknown suite 'x'; bundled suites: userland; a path has a '/'"),
        ("mine", "error: unknown suite 'mine'; write './mine' for the folder"),
        ("./nowhere", "error: there is no suite in './nowhere'; a suite is a folder with a suite.yaml"),
        ("../" * 300 + "x" * 3000, "error: there is no suite in "),
        ("", "error: there is no suite in ''"),
    ],
)
def test_a_suite_that_is_not_there_is_told_with_the_one_that_may_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    bundled(tmp_path, monkeypatch)
    write_suite(tmp_path / "repo/mine", LEAST_SUITE)
    with pytest.raises(PipelineError) as caught:
        find_suite(name, tmp_path / "repo")
    assert str(caught.value.problems[0]).startswith(message)


def test_a_plan_names_suites_so_that_run_finds_them_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = bundled(tmp_path, monkeypatch)
    write_suite(tmp_path / "repo/mine", LEAST_SUITE)
    monkeypatch.chdir(tmp_path / "repo")
    for folder, name in ((shipped, "bundled:userland"), (Path("mine"), "./mine")):
        suite = load_suite(folder, KNOWN)
        assert folder_in_plan(suite.folder) == name
        planned = PlannedSuite(name=suite.name, folder=name, digest=suite.digest, cases=("a",))
        assert load_planned_suite(planned, KNOWN).digest == suite.digest
        changed = PlannedSuite(name=suite.name, folder=name, digest="0" * 64, cases=("a",))
        with pytest.raises(PipelineError, match="is not the one that was planned"):
            load_planned_suite(changed, KNOWN)


@pytest.mark.parametrize("name", bundled_suites())
def test_every_bundled_suite_is_right_and_is_called_as_its_folder(name: str) -> None:
    suite = load_suite(find_suite(name, Path()), registry.known())
    assert suite.name == name
    assert suite.description
