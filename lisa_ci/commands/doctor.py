"""``lisa-ci doctor``: what this host lacks, why it is needed, and how to get it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from lisa_ci import host, process
from lisa_ci.commands._doctor_azure import azure
from lisa_ci.console import Console
from lisa_ci.demo import image, rootfs
from lisa_ci.errors import ProvisioningError
from lisa_ci.host import Tool, Use
from lisa_ci.platforms.qemu.acceleration import Accelerator, find_acceleration

USES: Final = {
    "demo": (Use.QEMU, Use.RELEASE, Use.DEMO),
    "qemu": (Use.QEMU, Use.TPM),
    "release": (Use.RELEASE,),
    "shell": (Use.QEMU, Use.SHELL, Use.TPM),
}
_EMULATOR: Final = "qemu-system-x86_64"
_MACHINE_MIB: Final = 1300  # one machine of the demo, with QEMU around it
_OUTPUT_MIB: Final = 1600  # two containers of the demo's disk, and their published copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor. ``is_note``: worth knowing, nothing to repair before the work can start."""

    name: str
    text: str
    is_ok: bool
    is_note: bool = False


@click.command
@click.argument("what", required=False, type=click.Choice(["azure"]))
@click.option(
    "--for", "purpose", type=click.Choice(list(USES)), default="demo", show_default=True, help="What shall work here."
)
@click.option("--install", is_flag=True, help="Install what is missing, after saying what and why.")
@click.option("--yes", is_flag=True, help="Do not ask before installing. Without a terminal nothing is asked.")
@click.option("--environment", default="", help="azure: the GitHub environment whose subject is printed.")
@click.option("--region", default="", help="azure: the region whose sizes and quota are asked for.")
@click.pass_obj
def command(
    console: Console, what: str | None, purpose: str, install: bool, yes: bool, environment: str, region: str
) -> None:
    """Say what this host lacks, why it is needed, and which package has it.

    With 'azure': who lisa-ci is there, the federated credential and the role to enter, and each permission tried,
    without creating anything.

    Exit 0: all that is needed is there. Exit 4: something is missing, and each piece is named.
    """
    if what == "azure":
        azure(console, environment_name=environment, region=region)
        return
    missing = missing_tools(purpose)
    if install and missing:
        _install(console, missing, is_asking=not yes and _is_person_there())
    findings = examine(purpose)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.is_ok else "note   " if finding.is_note else "MISSING"
        click.echo(f"{mark} {finding.name:<{width}}  {finding.text}")
    require(purpose, findings)


def missing_tools(purpose: str) -> Sequence[Tool]:
    return [tool for tool in host.tools(USES[purpose]) if host.find(tool.name) is None]


def examine(purpose: str) -> Sequence[Finding]:
    """Everything that decides whether ``purpose`` works on this host; nothing is changed."""
    findings = [_tool_finding(tool) for tool in host.tools(USES[purpose])]
    if Use.QEMU in USES[purpose] and process.find(_EMULATOR):
        findings.append(_acceleration())
        findings.append(_memory(_MACHINE_MIB, "one machine"))
    if purpose == "demo":
        findings += _demo_findings()
    return findings


def require(purpose: str, findings: Iterable[Finding]) -> None:
    """ProvisioningError that names everything missing; nothing where all is there."""
    bad = [finding for finding in findings if not finding.is_ok and not finding.is_note]
    if bad:
        tools = [tool.name for tool in missing_tools(purpose)]
        hint = host.install_hint(tools) if tools else "; ".join(finding.text for finding in bad)
        raise ProvisioningError(f"not ready for {purpose}: {', '.join(finding.name for finding in bad)}", hint=hint)


def _tool_finding(tool: Tool) -> Finding:
    found = host.find(tool.name)
    if found is not None:
        return Finding(name=tool.name, text=str(found), is_ok=True)
    manager = host.package_tool()
    package = host.packages([tool.name], manager) if manager else ()
    where = f"package {package[0]}" if package else "no package known for this host"
    return Finding(name=tool.name, text=f"{tool.why} ({where})", is_ok=False)


def _acceleration() -> Finding:
    emulator = process.find(_EMULATOR) or _EMULATOR
    found = find_acceleration(emulator, lambda _event: None)
    if found.accelerator is Accelerator.KVM:
        return Finding(name="acceleration", text="KVM works", is_ok=True)
    hint = f"; {found.hint}" if found.hint else ""
    text = f"emulation, about ten times slower: {found.reason}{hint}"
    return Finding(name="acceleration", text=text, is_ok=False, is_note=True)


def _memory(needed_mib: int, what: str) -> Finding:
    free = rootfs.available_memory_mib()
    return Finding(name="memory", text=f"{free} MiB available, {what} takes {needed_mib}", is_ok=free >= needed_mib)


def _demo_findings() -> list[Finding]:
    folders = {"cache": (image.cache_folder(), image.DISK_MIB), "disk": (Path.cwd(), _OUTPUT_MIB)}
    findings = [_space(name, folder, needed) for name, (folder, needed) in folders.items()]
    if all(process.find(program) for program in ("unshare", "setpriv")):
        problems = rootfs.problems()
        text = "; ".join(problems) or "the demo's image can be built here"
        findings.append(Finding(name="image build", text=text, is_ok=not problems))
    return findings


def _space(name: str, folder: Path, needed_mib: int) -> Finding:
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(existing).free >> 20
    is_ok = free >= needed_mib and os.access(existing, os.W_OK)
    text = f"{free} MiB free in {folder}, up to {needed_mib} are used"
    return Finding(name=name, text=text if os.access(existing, os.W_OK) else f"{folder} cannot be written", is_ok=is_ok)


def _is_person_there() -> bool:
    return sys.stdin.isatty()


def _install(console: Console, missing: Sequence[Tool], *, is_asking: bool) -> None:
    """Say what and why, ask where a person is there to answer, then run the package manager of this host."""
    names = [tool.name for tool in missing]
    commands = host.install_commands(names)
    if not commands:
        raise ProvisioningError("no package manager that lisa-ci knows is here", hint=host.install_hint(names))
    for tool in missing:
        console.say(f"{tool.name}: {tool.why}")
    for line in commands:
        console.say(f"will run: {shlex.join(line)}")
    if is_asking:
        click.confirm("Go on?", abort=True, err=True)
    for line in commands:
        if code := process.attach(line):
            raise ProvisioningError(f"'{shlex.join(line)}' failed with exit code {code}")
