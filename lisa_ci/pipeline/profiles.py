"""The catalogue of hardware profiles, and profiles composed from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lisa_ci.errors import Location
from lisa_ci.model import AZURE, Azure, Disk, Endpoint, Nic, Profile, Spot, azure_contradictions, contradictions
from lisa_ci.pipeline.close import did_you_mean
from lisa_ci.pipeline.document import parse_document, shown
from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.places import read_source
from lisa_ci.pipeline.reading import Found, Reading
from lisa_ci.pipeline.settings import CATALOGUE
from lisa_ci.pipeline.tables import Table

CATALOGUE_FILE: Final = Path(__file__).with_name("profiles.yaml")
AZURE_FILE: Final = Path(__file__).with_name("profiles-azure.yaml")
RUNNING: Final = "ssh"
AZURE_CATALOGUE: Final = Table(
    title="catalogue",
    description="The profiles for Azure that come with lisa-ci.",
    settings=tuple(one for one in CATALOGUE.settings if one.name == "profiles"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of the catalogue: ``boot_seconds`` and ``no_snapshot`` (why) by the profile's name."""

    on: str
    boot_seconds: Mapping[str, int]
    no_snapshot: Mapping[str, str]


def catalogue() -> Mapping[str, Profile]:
    """The profiles for QEMU that come with lisa-ci, by name, in the order of their file."""
    return _catalogue()[0]


@functools.cache
def azure_catalogue() -> Mapping[str, Profile]:
    """The profiles for Azure that come with lisa-ci, by name, in the order of their file."""
    file = AZURE_FILE.name
    root, problems = parse_document(read_source(AZURE_FILE, file), file)
    reading = Reading(file, problems)
    found = AZURE_CATALOGUE.read(root, reading, "catalogue") if root else None
    known = Known(platforms=frozenset({AZURE}), drivers=frozenset(), scenarios=frozenset())
    profiles = build_profiles(found.get("profiles") if found else None, {}, known, reading)
    reading.stop_on_problems()
    return {profile.name: profile for profile in profiles}


def all_profiles() -> Mapping[str, Profile]:
    """Every profile that comes with lisa-ci, by name."""
    return {**catalogue(), **azure_catalogue()}


def measured() -> Measured:
    """The figures that stand beside them."""
    return _catalogue()[1]


@functools.cache
def _catalogue() -> tuple[Mapping[str, Profile], Measured]:
    file = CATALOGUE_FILE.name
    root, problems = parse_document(read_source(CATALOGUE_FILE, file), file)
    reading = Reading(file, problems)
    found = CATALOGUE.read(root, reading, "catalogue") if root else None
    entries, figures = (found.get("profiles"), found.get("measured")) if found else (None, None)
    known = Known(platforms=frozenset({Profile(name="any").platform}), drivers=frozenset(), scenarios=frozenset())
    profiles = build_profiles(entries, {}, known, reading)
    reading.stop_on_problems()
    values: dict[str, Any] = figures.plain() if figures else {}
    return {profile.name: profile for profile in profiles}, Measured(**values)


def build_profiles(
    entries: Found | None, shipped: Mapping[str, Profile], known: Known, reading: Reading
) -> tuple[Profile, ...]:
    """The profiles in a file's list, each a name of the catalogue or a table; mistakes are reported, and left out."""
    builder = _Builder(shipped, known, reading)
    for entry in entries.value if entries else ():
        builder.take(entry)
    return tuple(builder.built.values())


class _Builder:
    def __init__(self, shipped: Mapping[str, Profile], known: Known, reading: Reading) -> None:
        self._shipped = shipped
        self._known = known
        self._reading = reading
        self._places: dict[str, Location] = {}
        self.built: dict[str, Profile] = {}

    def take(self, entry: Found) -> None:
        name = entry if isinstance(entry.value, str) else entry.get("name")
        profile = self._named(entry) if isinstance(entry.value, str) else self._composed(entry)
        if name is None:
            return
        first = self._places.setdefault(name.value, name.location)
        if first is not name.location:
            message = f"profile {shown(name.value)} is given twice"
            self._reading.report(message, name.location, f"the first is in line {first.line}")
        elif profile is not None:
            self.built[name.value] = profile

    def _named(self, name: Found) -> Profile | None:
        profile = self._shipped.get(name.value)
        if profile is None:
            self._unknown(name)
        return profile

    def _composed(self, entry: Found) -> Profile | None:
        start = entry.get("from")
        given = self._base(start) if start else None
        if start and given is None and start.value not in self._places:
            self._unknown(start)
        self._check_platform(entry, given)
        name = entry.get("name")
        if not entry.is_whole or name is None or (start and given is None):
            return None
        values: dict[str, Any] = entry.plain()
        values.pop("from", None)
        for key, kind in (("disks", Disk), ("nics", Nic)):
            if key in values:
                values[key] = tuple(kind(**item) for item in values[key])
        if "endpoint" in values:
            values["endpoint"] = Endpoint(**values["endpoint"])
        if "azure" in values:
            values["azure"] = _azure(given, values["azure"])
        profile = dataclasses.replace(given or Profile(name=name.value), **values)
        for problem in (*contradictions(profile), *azure_contradictions(profile)):
            self._reading.report(f"profile {shown(name.value)}: {problem}", entry.location)
        return profile

    def _base(self, start: Found) -> Profile | None:
        """An earlier profile of the file comes before one of the catalogue; a wrong one has been reported already."""
        if start.value in self._places:
            return self.built.get(start.value)
        return self._shipped.get(start.value)

    def _unknown(self, name: Found) -> None:
        names = [*self._places, *self._shipped]
        shipped = [one for one, profile in self._shipped.items() if profile.platform != AZURE]
        more = f" and, for Azure, {len(self._shipped) - len(shipped)} more" if len(self._shipped) > len(shipped) else ""
        hint = did_you_mean(name.value, names) or f"the catalogue has: {', '.join(shipped)}{more} (docs/profiles.md)"
        self._reading.report(f"unknown profile {shown(name.value)}", name.location, hint)

    def _check_platform(self, entry: Found, given: Profile | None) -> None:
        platform, endpoint = entry.get("platform"), entry.get("endpoint")
        if platform and platform.value not in self._known.platforms:
            names = sorted(self._known.platforms)
            hint = did_you_mean(platform.value, names) or f"known: {', '.join(names)}"
            self._reading.report(f"unknown platform {shown(platform.value)}", platform.location, hint)
            return
        name = platform.value if platform else (given or Profile(name="any")).platform
        has_endpoint = "endpoint" in entry.value or (given is not None and given.endpoint is not None)
        if name == RUNNING and not has_endpoint and entry.is_whole:
            hint = "add 'endpoint:' with 'host' and 'host_key'"
            self._reading.report(f"platform '{RUNNING}' needs an endpoint", entry.location, hint)
        if name != RUNNING and endpoint:
            hint = f"write 'platform: {RUNNING}' for a machine that already runs"
            self._reading.report(f"platform {shown(name)} takes no endpoint", endpoint.location, hint)


def _azure(given: Profile | None, values: dict[str, Any]) -> Azure:
    """Keys that are given replace those of the profile that is built on, one by one."""
    if "spot" in values:
        values["spot"] = Spot(**values["spot"])
    return dataclasses.replace((given and given.azure) or Azure(), **values)
