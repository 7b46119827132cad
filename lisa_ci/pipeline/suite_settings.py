"""The one table of everything that a ``suite.yaml`` may say. Loader, JSON Schema and docs come from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lisa_ci.model import (
    LEAST_PRIORITY,
    SCHEMA,
    Arch,
    Capability,
    Case,
    Expectation,
    Firmware,
    Isolation,
    PackageManager,
    Profile,
    Risk,
    Suite,
)
from lisa_ci.pipeline.close import did_you_mean
from lisa_ci.pipeline.document import ListNode, MappingNode, Node, shown
from lisa_ci.pipeline.download_settings import FETCH
from lisa_ci.pipeline.kinds import Choice, Duration, Flag, Id, Text, Whole
from lisa_ci.pipeline.reading import Found, Kind, Reading, Schema, describe
from lisa_ci.pipeline.setting import setting
from lisa_ci.pipeline.settings import ENVIRONMENT
from lisa_ci.pipeline.tables import Either, ListOf, Setting, Table

_WORDS: Final = {"arch": Choice(of=Arch), "firmware": Choice(of=Firmware)}


def _capability_kind(name: str, value: Capability) -> Kind:
    match value:
        case bool():
            return Flag()
        case int():
            return Whole(least=0, most=16 << 20)
        case str():
            return _WORDS.get(name, Text(words="a name", pattern="[a-z0-9_-]+", most=50))


CAPABILITIES: Final = {name: _capability_kind(name, value) for name, value in Profile(name="any").capabilities.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """Capability -> what a profile must give: a value (a number: at least that), or a list of which one will do."""

    words: str = "a mapping from a capability to a value or a list of values"

    def schema(self) -> Schema:
        properties: Schema = {}
        for name, kind in CAPABILITIES.items():
            one = kind.schema()
            several = ListOf(kind=kind, least=1, most=20, is_unique=True).schema()
            properties[name] = {"anyOf": [one, several], "description": f"Capability `{name}`: {kind.words}."}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        if not isinstance(node, MappingNode):
            reading.report(f"'{name}' must be {self.words}, not {describe(node)}", node.location, "write 'cores: 2'")
            return None
        found = {}
        for key, value in node.entries:
            kind = CAPABILITIES.get(key.text)
            if kind is None:
                hint = did_you_mean(key.text, CAPABILITIES) or f"known: {', '.join(CAPABILITIES)}"
                reading.report(f"unknown capability {shown(key.text)}", key.location, hint)
                continue
            several = ListOf(kind=kind, least=1, most=20, is_unique=True)
            entry = (several if isinstance(value, ListNode) else kind).read(value, reading, key.text)
            if entry is not None:
                found[key.text] = entry
        is_whole = len(found) == len(node.entries) and all(entry.is_whole for entry in found.values())
        return Found(found, node.location, is_whole)


SHELL_OR_ARGUMENTS: Final = Either(
    short=Text(words="a shell command", most=20_000, is_lines=True),
    long=ListOf(kind=Text(words="an argument", least=0, most=20_000, is_lines=True), least=1, most=200),
    words="a shell command, or a list of arguments",
)
TIMEOUT: Final = Duration(most=timedelta(hours=24))

_MANAGERS: Final = {
    PackageManager.APT: "Debian, Ubuntu and what is made of them.",
    PackageManager.TDNF: "Azure Linux, Photon. Without it, those of `dnf`.",
    PackageManager.DNF: "Fedora, RHEL and what is made of them.",
    PackageManager.ZYPPER: "SUSE, openSUSE.",
    PackageManager.APK: "Alpine.",
}
PACKAGES: Final = Table(
    title="packages",
    description=(
        "Packages that the cases use, by what installs them. They are installed where the pipeline says "
        "`install_packages: true`, once in each machine; one that the machine cannot get is told, and the cases that "
        "miss it skip."
    ),
    settings=tuple(
        Setting(
            name=manager.value,
            kind=ListOf(
                kind=Text(
                    words="a package's name",
                    pattern=r"[A-Za-z0-9][A-Za-z0-9.+_-]*",
                    most=100,
                    hint="letters, digits, '.', '+', '_' and '-'; no version",
                ),
                least=1,
                most=200,
                is_unique=True,
            ),
            description=description,
            example=["nvme-cli"],
        )
        for manager, description in _MANAGERS.items()
    ),
)

CASE: Final = Table(
    title="case",
    description="One testcase.",
    settings=(
        Setting(
            name="id",
            kind=Id(),
            description="Names the case in results, for ever: a case with a new id is a new case.",
            is_required=True,
            example="clock-is-synchronised",
        ),
        setting(
            Case, "title", Text(words="a title", most=300), "What people call it.", example="The clock is synchronised"
        ),
        setting(
            Case,
            "description",
            Text(words="text", most=4000, is_lines=True),
            "What it proves, and what a failure means.",
            example="The clock is right to a second.",
        ),
        setting(
            Case,
            "priority",
            Whole(least=0, most=LEAST_PRIORITY),
            "How much hangs on it. 0: where it fails, nothing else means anything; 1: most machines rely on it; "
            "2: some do; 3: few do, or it takes long; 4: a figure only, or a rarity.",
        ),
        setting(
            Case,
            "rule",
            Text(words="text", most=1000, is_lines=True),
            "The rule or source that it follows: a standard, a manual page, a promise of the kernel, a known failure.",
            example="systemd-timesyncd.service(8)",
        ),
        setting(
            Case,
            "mend",
            Text(words="text", most=2000, is_lines=True),
            "What to do where it fails. It is told with the failure.",
            example="Enable systemd-timesyncd.service in the image.",
        ),
        setting(
            Case,
            "run",
            SHELL_OR_ARGUMENTS,
            "What to execute in the machine: text is run by `sh -c`, a list without a shell. The working directory is "
            "the suite's folder in the machine.",
            example="./clock",
        ),
        setting(Case, "timeout", TIMEOUT, "After this time its whole process tree is ended.", example="2m"),
        setting(Case, "requires", Requirements(), "What the profile must give.", example={"disks": 1}),
        setting(
            Case,
            "expects",
            ListOf(kind=Choice(of=Expectation), most=len(Expectation), is_unique=True),
            "What the case may do to its machine without failing by that.",
            example=["reboot"],
        ),
        setting(Case, "risk", Choice(of=Risk), "`crash`: the machine may die, so nothing runs ahead of its result."),
        setting(Case, "dirty", Flag(), "It leaves the machine changed, so that the next case needs a fresh one."),
    ),
)

SUITE: Final = Table(
    title="suite file",
    description="A lisa-ci suite: cases and how to run them.",
    one_of=(("driver", "scenario"),),
    settings=(
        Setting(
            name="schema",
            kind=Whole(least=SCHEMA, most=SCHEMA),
            description="Version of this format.",
            is_required=True,
            example=SCHEMA,
        ),
        Setting(
            name="name",
            kind=Id(),
            description="Names the suite in results and on the command line.",
            is_required=True,
            example="my-suite",
        ),
        setting(
            Suite,
            "description",
            Text(words="text", most=4000, is_lines=True),
            "What the suite proves.",
            example="Checks of our own services.",
        ),
        setting(
            Suite,
            "driver",
            Text(words="a driver", pattern="[a-z0-9_-]+", most=50),
            "How cases tell their outcome: `shell` (exit 0 passed, 77 skipped, else failed), or one of "
            "docs/drivers.md: `tap`, `kselftest`, `ktap`, `ltp`, `gtest`, `junit`.",
            example="shell",
        ),
        setting(
            Suite,
            "scenario",
            Text(words="a scenario", pattern="[a-z0-9_-]+", most=50),
            "Test driven from the host, instead of `driver`.",
            example="reboot",
        ),
        setting(
            Suite, "requires", Requirements(), "What the profile must give for the whole suite.", example={"cores": 2}
        ),
        setting(Suite, "timeout", TIMEOUT, "For each case that has none of its own.", example="60s"),
        setting(
            Suite,
            "environment",
            ENVIRONMENT,
            "Environment variables of its cases.",
            example={"LC_ALL": "C"},
        ),
        setting(
            Suite,
            "isolation",
            Choice(of=Isolation),
            "When the machine goes back to its state after preparation: `case`: before every case; `dirty`: after a "
            "case that left processes, mounts, modules, files or a tainted kernel; `crash`: only when it was lost.",
        ),
        setting(Suite, "cases", ListOf(kind=CASE, least=1, most=10_000), "The cases, in the order they run in."),
        setting(
            Suite,
            "listing",
            SHELL_OR_ARGUMENTS,
            "Command in the machine that tells the cases, instead of `cases`.",
            example=["./list-cases"],
        ),
        setting(
            Suite,
            "prepare",
            SHELL_OR_ARGUMENTS,
            "Command in the machine before the listing and the cases: unpacks, builds, loads. Its failure is that of "
            "the machine, not of a case. What it changes is there in every case, also after a restore.",
            example=["./prepare"],
        ),
        setting(
            Suite,
            "fetch",
            FETCH,
            "Files from the network that lie in the suite's folder in the machine, each pinned by its SHA-256.",
        ),
        setting(Suite, "packages", PACKAGES, "Packages that the cases use, by package manager."),
    ),
)
