"""``lisa-ci.yml`` -> Pipeline: read once, here, with every mistake told at its place."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lisa_ci import download, files
from lisa_ci.errors import Location, PipelineError
from lisa_ci.model import (
    Access,
    ImageSource,
    Kernel,
    KnownFailure,
    Pipeline,
    Profile,
    ReleaseSettings,
    Suite,
    SuiteSelection,
    Timeouts,
    WayIn,
)
from lisa_ci.pipeline.baseline import load_baseline
from lisa_ci.pipeline.close import did_you_mean
from lisa_ci.pipeline.console_settings import build_allowances
from lisa_ci.pipeline.document import parse_document, shown
from lisa_ci.pipeline.download_settings import build_downloads
from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.places import from_here, read_source
from lisa_ci.pipeline.profiles import all_profiles, build_profiles
from lisa_ci.pipeline.reading import Found, Reading
from lisa_ci.pipeline.settings import PIPELINE
from lisa_ci.pipeline.suites import find_suite, load_suite


def load_pipeline(path: Path, known: Known) -> Pipeline:
    """The pipeline in a file, with its suites. PipelineError carries every mistake in the file and in its suites."""
    data = read_source(path, str(path), "name the pipeline file, or let 'lisa-ci init' write one")
    return parse_pipeline(data, str(path), path.parent, known)


def parse_pipeline(data: bytes, file: str, folder: Path, known: Known) -> Pipeline:
    """The pipeline in ``data``; messages call it ``file``, and paths of suites are relative to ``folder``."""
    root, problems = parse_document(data, file)
    if root is None:
        place = Location(file=file, line=1, column=1)
        raise PipelineError("the file is empty", hint="'lisa-ci init' writes one to start from", location=place)
    reading = Reading(file, problems)
    found = PIPELINE.read(root, reading, "pipeline")
    pipeline = _Assembly(found, folder, known, reading).pipeline() if found else None
    reading.stop_on_problems()
    if pipeline is None:
        raise AssertionError("a pipeline file without mistakes gives a pipeline")
    return pipeline


class _Assembly:
    """From values with places to a Pipeline: what one key alone cannot tell is checked here."""

    def __init__(self, found: Found, folder: Path, known: Known, reading: Reading) -> None:
        self._found = found
        self._folder = folder
        self._known = known
        self._reading = reading
        self._loaded: dict[Path, Suite | None] = {}

    def pipeline(self) -> Pipeline | None:
        entries = self._found.get("profiles")
        profiles = build_profiles(entries, all_profiles(), self._known, self._reading)
        are_all = entries is not None and entries.is_whole and len(entries.value) == len(profiles)
        self._check_image()
        self._check_access()
        if are_all:
            self._check_subject(profiles)
        suites = self._suites(profiles if are_all else None)
        console = build_allowances(self._part("console"), self._reading)
        baseline = self._baseline()
        if not self._reading.is_clean:
            return None
        values = self._found.plain()
        return Pipeline(
            file=self._reading.file,
            folder=from_here(self._folder),
            name=values["name"],
            image=ImageSource(**values["image"]) if "image" in values else None,
            kernel=_kernel(values["kernel"]) if "kernel" in values else None,
            access=Access(**values.get("access", {})),
            profiles=profiles,
            suites=suites,
            timeouts=Timeouts(**values.get("timeouts", {})),
            release=ReleaseSettings(**values.get("release", {})),
            allow_empty=values.get("allow_empty", False),
            install_packages=values.get("install_packages", False),
            console=console,
            baseline=baseline,
        )

    def _baseline(self) -> tuple[KnownFailure, ...]:
        named = self._part("baseline")
        if named is None:
            return ()
        try:
            return load_baseline(self._folder / named.value)
        except PipelineError as error:
            self._reading.add(error.problems)
            return ()

    def _part(self, *keys: str) -> Found | None:
        found: Found | None = self._found
        for key in keys:
            found = found.get(key) if found else None
        return found

    # ---- image, access ---------------------------------------------------------------------------------------------

    def _check_image(self) -> None:
        url = self._part("image", "url")
        if url is None:
            return
        if problem := download.problem(url.value):
            message = f"'url' {shown(url.value)} is not fetched: {problem}"
            self._reading.report(message, url.location, "write https://HOST/PATH")

    def _check_access(self) -> None:
        key, way_in = self._part("access", "key"), self._part("access", "way_in")
        if key and way_in and way_in.value is not WayIn.KEY:
            self._reading.report(
                "'key' is only for 'way_in: key'", key.location, "a key of its own is made for each leg"
            )
        access = self._part("access")
        if access and way_in and way_in.value is WayIn.KEY and "key" not in access.value and access.is_whole:
            self._reading.report("'way_in: key' needs a key", way_in.location, "add 'key: PATH' of the private key")

    def _check_subject(self, profiles: tuple[Profile, ...]) -> None:
        booted = [profile.name for profile in profiles if profile.endpoint is None]
        running = [profile.name for profile in profiles if profile.endpoint is not None]
        if booted and "image" not in self._found.value:
            message = f"'pipeline' lacks the key 'image', which profile {shown(booted[0])} boots"
            self._reading.report(message, self._found.location, "add 'image:' with 'path' or 'url'")
        way_in = self._part("access", "way_in")
        is_wrong = "access" in self._found.value and not self._found.value["access"].is_whole
        if running and not is_wrong and (way_in is None or way_in.value is not WayIn.KEY):
            message = f"profile {shown(running[0])} already runs, and lets no key of ours in"
            place = way_in.location if way_in else self._found.location
            self._reading.report(message, place, "add 'access:' with 'way_in: key' and 'key: PATH'")

    # ---- suites ----------------------------------------------------------------------------------------------------

    def _suites(self, profiles: tuple[Profile, ...] | None) -> tuple[SuiteSelection, ...]:
        entries = self._found.get("suites")
        selections: dict[str, SuiteSelection] = {}
        for entry in entries.value if entries else ():
            name = entry if isinstance(entry.value, str) else entry.get("suite")
            suite = self._suite(name) if name else None
            if profiles is not None and not isinstance(entry.value, str):
                self._check_globs(entry.get("profiles"), [profile.name for profile in profiles], "profile")
            if name is None or suite is None:
                continue
            if suite.name in selections:
                hint = "one entry per suite; 'profiles' takes several globs"
                self._reading.report(f"suite {shown(suite.name)} is given twice", name.location, hint)
                continue
            if suite.cases is not None and not isinstance(entry.value, str):
                self._check_globs(entry.get("only"), [case.id for case in suite.cases], "case")
            selections[suite.name] = self._selection(entry, suite)
        return tuple(selections.values())

    def _selection(self, entry: Found, suite: Suite) -> SuiteSelection:
        if isinstance(entry.value, str):
            return SuiteSelection(suite=suite)
        downloads = build_downloads(entry.get("fetch"), Path(suite.folder), self._reading)
        values: dict[str, Any] = {**entry.plain(), "suite": suite, "fetch": downloads}
        return SuiteSelection(**values)

    def _suite(self, name: Found) -> Suite | None:
        try:
            folder = find_suite(name.value, self._folder)
        except PipelineError as error:
            self._reading.report(error.message, name.location, error.hint)
            return None
        if folder not in self._loaded:
            self._loaded[folder] = self._read_suite(folder)
        return self._loaded[folder]

    def _read_suite(self, folder: Path) -> Suite | None:
        is_bundled = folder.parent == files.shipped("suites")
        try:
            return load_suite(folder, self._known, f"bundled:{folder.name}" if is_bundled else None)
        except PipelineError as error:
            self._reading.add(error.problems)
            return None

    def _check_globs(self, globs: Found | None, names: list[str], what: str) -> None:
        for glob in globs.value if globs else ():
            if not any(fnmatch.fnmatchcase(name, glob.value) for name in names):
                hint = did_you_mean(glob.value, names) or f"there are: {_first(names)}"
                self._reading.report(f"{shown(glob.value)} matches no {what}", glob.location, hint)


def _kernel(values: dict[str, Any]) -> Kernel:
    """``from`` is a word of Python's, so the value has another name."""
    return Kernel(**{"source" if name == "from" else name: value for name, value in values.items()})


def _first(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
