"""Suites: finding one by name or path, and its ``suite.yaml`` -> Suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from lisa_ci import files
from lisa_ci.errors import Location, PipelineError
from lisa_ci.model import Case, PackageManager, PlannedSuite, Suite, is_id
from lisa_ci.pipeline.close import did_you_mean
from lisa_ci.pipeline.document import parse_document, shown
from lisa_ci.pipeline.download_settings import build_downloads
from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.places import from_here, read_source
from lisa_ci.pipeline.reading import Found, Reading
from lisa_ci.pipeline.suite_settings import SUITE

SUITE_FILE: Final = "suite.yaml"
BUNDLED: Final = "bundled:"


def bundled_suites() -> tuple[str, ...]:
    """Names of the suites that come with lisa-ci."""
    folder = files.shipped("suites")
    return tuple(sorted(path.parent.name for path in folder.glob(f"*/{SUITE_FILE}"))) if folder.is_dir() else ()


def find_suite(name_or_path: str, base: Path) -> Path:
    """The folder of a suite: a bundled one by ``NAME`` or ``bundled:NAME``, else a path (with a '/') below ``base``.

    PipelineError where there is none, with the bundled suite that may be meant.
    """
    name = name_or_path.removeprefix(BUNDLED)
    if name != name_or_path or is_id(name):
        if name in bundled_suites():
            return files.shipped("suites") / name
        own = f"write './{name}' for the folder" if (base / name / SUITE_FILE).is_file() else ""
        known = f"bundled suites: {', '.join(bundled_suites()) or 'none'}; a path has a '/'"
        raise PipelineError(f"unknown suite {shown(name)}", hint=own or did_you_mean(name, bundled_suites()) or known)
    folder = base / name_or_path
    try:
        is_suite = (folder / SUITE_FILE).exists()
    except (OSError, ValueError):
        is_suite = False
    if not is_suite:
        hint = f"a suite is a folder with a {SUITE_FILE}; the path is relative to {base}"
        raise PipelineError(f"there is no suite in {shown(name_or_path)}", hint=hint)
    return folder


def load_suite(folder: Path, known: Known, display: str | None = None) -> Suite:
    """The suite in ``folder``; ``display`` names the folder in messages. PipelineError with every mistake.

    ``Suite.folder`` is a path on this host: relative to the working directory where it lies below it.
    """
    file = f"{display or from_here(folder)}/{SUITE_FILE}"
    data = read_source(folder / SUITE_FILE, file, f"a suite is a folder with a {SUITE_FILE}")
    root, problems = parse_document(data, file)
    reading = Reading(file, problems)
    if root is None:
        raise PipelineError(
            "the file is empty", hint="see docs/suite-file.md", location=Location(file=file, line=1, column=1)
        )
    found = SUITE.read(root, reading, "suite file")
    suite = _suite(found, folder, known, reading) if found else None
    reading.stop_on_problems()
    if suite is None:
        raise AssertionError("a suite file without mistakes gives a suite")
    return suite


def load_planned_suite(planned: PlannedSuite, known: Known) -> Suite:
    """The suite that a plan names, from the folder that the plan was made in. PipelineError where it has changed."""
    suite = load_suite(find_suite(planned.folder, Path()), known, planned.folder)
    if suite.digest != planned.digest:
        raise PipelineError(f"suite {planned.name} is not the one that was planned", hint="make the plan again")
    return suite


def folder_in_plan(folder: str) -> str:
    """``Suite.folder`` as a plan names it: ``bundled:NAME`` for one that comes with lisa-ci.

    A path in the plan has a '/', so that it is never taken for a bundled suite.
    """
    shipped = files.shipped("suites").absolute()
    path = Path(folder)
    if path.absolute().parent == shipped:
        return f"{BUNDLED}{path.name}"
    return folder if "/" in folder else f"./{folder}"


def _suite(found: Found, folder: Path, known: Known, reading: Reading) -> Suite | None:
    for key, names in (("driver", known.drivers), ("scenario", known.scenarios)):
        given = found.get(key)
        if given and given.value not in names:
            hint = did_you_mean(given.value, sorted(names)) or f"known: {', '.join(sorted(names))}"
            reading.report(f"unknown {key} {shown(given.value)}", given.location, hint)
    _check_cases(found, reading)
    downloads = build_downloads(found.get("fetch"), folder, reading)
    if not reading.is_clean:
        return None
    values: dict[str, Any] = found.plain()
    del values["schema"]
    values["listing"] = _command(values.get("listing", ()))
    values["prepare"] = _command(values.get("prepare", ()))
    values["fetch"] = downloads
    values["packages"] = {PackageManager(key): names for key, names in values.get("packages", {}).items()}
    if "cases" in values:
        places = [item.location for item in found.value["cases"].value]
        cases = zip(values["cases"], places, strict=True)
        values["cases"] = tuple(_case(case, values["name"], place) for case, place in cases)
    return Suite(folder=from_here(folder), digest=_digest(folder, reading.file), **values)


def _case(values: dict[str, Any], suite: str, place: Location) -> Case:
    return Case(suite=suite, source=str(place), **{**values, "run": _command(values.get("run", ()))})


def _command(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return ("sh", "-c", value) if isinstance(value, str) else value


def _digest(folder: Path, file: str) -> str:
    try:
        return files.tree_digest(folder)
    except OSError as error:
        raise PipelineError(f"cannot read {error.filename}: {error.strerror}", location=Location(file=file)) from error


def _check_cases(found: Found, reading: Reading) -> None:
    cases, listing, scenario = found.get("cases"), found.get("listing"), found.get("scenario")
    is_scenario = scenario is not None
    if is_scenario and listing:
        reading.report("a scenario has no 'listing'", listing.location, "state its cases under 'cases'")
    if is_scenario and "cases" not in found.value and "listing" not in found.value:
        reading.report(
            "'suite file' lacks the key 'cases'", found.location, "a scenario tells the ids of its cases there"
        )
    if found.get("driver") and cases and listing:
        reading.report("'suite file' has both cases and listing", listing.location, "keep one")
    if found.get("driver") and "cases" not in found.value and "listing" not in found.value and found.is_whole:
        reading.report(
            "'suite file' lacks 'cases' or 'listing'", found.location, "state the cases, or how to list them"
        )
    first: dict[str, Location] = {}
    for case in cases.value if cases else ():
        _check_case(case, first, reading, is_scenario=is_scenario)


def _check_case(case: Found, first: dict[str, Location], reading: Reading, *, is_scenario: bool) -> None:
    case_id, run = case.get("id"), case.get("run")
    if case_id and case_id.value in first:
        where = f"the first is in line {first[case_id.value].line}"
        reading.report(f"case {shown(case_id.value)} is given twice", case_id.location, where)
    if case_id:
        first.setdefault(case_id.value, case_id.location)
    if is_scenario and run:
        reading.report("a case of a scenario has no 'run'", run.location, "the scenario drives it from the host")
    if not is_scenario and run is None and case.is_whole:
        reading.report("'case' lacks the key 'run'", case.location, "add 'run: ./my-check'")
