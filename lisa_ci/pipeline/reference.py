"""The tables as JSON Schema for programs and as Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from lisa_ci.model import Arch, Azure, Confidential, Disk, Firmware, Profile
from lisa_ci.pipeline.profiles import Measured, azure_catalogue, catalogue, measured
from lisa_ci.pipeline.reading import Kind, Schema
from lisa_ci.pipeline.settings import PIPELINE
from lisa_ci.pipeline.suite_settings import CAPABILITIES, SUITE, Requirements
from lisa_ci.pipeline.tables import ABSENT, Either, ListOf, MapOf, Setting, Table, plain_json

TABLES: Final = {"pipeline": PIPELINE, "suite": SUITE}
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_GENERATED: Final = (
    "<!-- Generated from the table of settings; do not edit. Fresh: lisa-ci schema {} --markdown -->\n\n"
)


def schema_json(name: str) -> str:
    """The JSON Schema (Draft 2020-12) of ``pipeline`` or ``suite``, indented."""
    table = TABLES[name]
    schema: Schema = {"$schema": _DRAFT, "title": f"lisa-ci {table.title}", **table.schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def markdown(name: str) -> str:
    """The reference page of ``pipeline``, ``suite`` or ``profiles``."""
    return _GENERATED.format(name) + (_profiles_page() if name == "profiles" else _keys_page(name))


def pages() -> Mapping[str, str]:
    """Every generated page: path in the repository -> text."""
    return {
        "docs/pipeline.md": markdown("pipeline"),
        "docs/suite-file.md": markdown("suite"),
        "docs/profiles.md": markdown("profiles"),
    }


# ---- pages of keys -------------------------------------------------------------------------------------------------

_INTRODUCTION: Final = {
    "pipeline": """# The pipeline file, `lisa-ci.yml`

```yaml
name: my-distro
image:
  path: build/*.qcow2
profiles:
  - bios
  - {name: uefi-nvme, from: uefi, disks: [{size_mib: 2048, bus: nvme}]}
suites:
  - boot
  - suite: userland
    shards: 2
    skip:
      locale-*: this image ships no locales
  - ./tests/my-suite
```

`lisa-ci check` reads it and tells every mistake with file, line and column. `lisa-ci schema > lisa-ci.schema.json`
prints its JSON Schema; editors use it by a first line `# yaml-language-server: $schema=lisa-ci.schema.json`. There is
no interpolation: what is written is what is meant.

Values are strict. Text that YAML takes for something else (`no`, `1.10`, `2024-01-01`) needs quotes, so that no
spelling is lost. Whole numbers are plain decimal digits, flags are `true` or `false`, durations are `30s`, `5m`,
`1h30m`, days are `2027-06-30`, in quotes or not. An id is also a folder, an artifact and a check: a-z, 0-9, `.`, `_`,
`-`, a letter or digit first and last. Anchors, aliases and merge keys (`<<`) work; the file is UTF-8, at most 512 KiB,
and one document.
""",
    "suite": """# The suite file, `suite.yaml`

A suite is a folder: `suite.yaml`, and beside it whatever its cases execute. `lisa-ci suite lint FOLDER` checks it;
`lisa-ci schema suite` prints its JSON Schema. Values are as strict as in the [pipeline file](pipeline.md).

```yaml
schema: 1
name: my-suite
description: Checks of our own services.
driver: shell
requires:
  memory_mib: 1024
cases:
  - id: web-server-answers
    description: The web server answers on port 80 of the machine itself.
    run: curl -fsS http://localhost/
    timeout: 30s
  - id: data-disk-can-be-formatted
    run: [./format, /dev/disk/by-id/virtio-lisa-ci-0]
    requires: {disk_virtio: 1}
```

The folder is copied into the machine as it is. A suite has either a `driver` and then `cases` or `listing`, or it has a
`scenario` and `cases`.
""",
}


def _keys_page(name: str) -> str:
    parts = [_INTRODUCTION[name], *(_section(table, path) for table, path in _tables(TABLES[name], ""))]
    if name == "suite":
        parts.append(_capabilities_section())
    return "\n".join(parts)


def _tables(table: Table, path: str) -> Iterator[tuple[Table, str]]:
    """The table and those inside it, each with the path of keys that leads there."""
    yield table, path
    for setting in table.settings:
        inner, suffix = _inner(setting.kind)
        if inner is not None:
            yield from _tables(inner, f"{path}.{setting.name}{suffix}".removeprefix("."))


def _inner(kind: Kind) -> tuple[Table | None, str]:
    match kind:
        case Table():
            return kind, ""
        case ListOf():
            return _inner(kind.kind)[0], "[]"
        case Either():
            return _inner(kind.long)
        case _:
            return None, ""


def _section(table: Table, path: str) -> str:
    rules = [f"Exactly one of {', '.join(f'`{name}`' for name in names)}." for names in table.one_of]
    rules += [f"`{name}` needs `{needed}`." for name, needed in table.needs.items()]
    lines = [
        f"## `{path}`" if path else "## The file",
        "",
        " ".join([table.description, *rules]),
        "",
        "| Key | Value | Default | What it says |",
        "|---|---|---|---|",
        *(_row(setting) for setting in table.settings),
        "",
    ]
    examples = [setting for setting in table.settings if setting.example is not ABSENT]
    if examples:
        text = yaml.safe_dump({item.name: plain_json(item.example) for item in examples}, sort_keys=False, width=100)
        lines += ["Examples, key by key:", "", "```yaml", text.rstrip(), "```", ""]
    return "\n".join(lines)


def _row(setting: Setting) -> str:
    default = "**required**" if setting.is_required else "-" if setting.default is ABSENT else _value(setting.default)
    words = _words(setting.kind).replace("|", "\\|")
    return f"| `{setting.name}` | {words} | {default} | {setting.description} |"


def _words(kind: Kind) -> str:
    match kind:
        case ListOf(kind=Table() | Either() as item):
            return f"a list, each {_words(item)}"
        case Table():
            return "a mapping, see below"
        case Either(long=Table()):
            return f"{kind.words}, see below"
        case MapOf() | Requirements():
            return kind.words
        case _:
            return kind.words


def _value(value: object) -> str:
    plain: Any = plain_json(value)
    return f"`{json.dumps(plain)}`" if not isinstance(plain, str) else f"`{plain}`"


def _capabilities_section() -> str:
    rows = [f"| `{name}` | {kind.words} |" for name, kind in CAPABILITIES.items()]
    head = (
        "## Capabilities\n\nWhat `requires` may ask for. A number asks for at least that many, anything else for that"
    )
    tail = "value; a list asks for one of its members. The control NIC counts as one of `nics`.\n"
    return "\n".join([head, tail, "| Capability | Value |", "|---|---|", *rows, ""])


# ---- the page of profiles ------------------------------------------------------------------------------------------


_PROFILES_HEAD: Final = """# Hardware profiles

These come with lisa-ci; write their names under `profiles` in the [pipeline file](pipeline.md), or build on them with
`from`: `{name: mine, from: uefi, tpm: true, disks: [{bus: nvme, namespaces: 2}]}`. Suites do not name profiles, they
ask for capabilities (`requires` in the [suite file](suite-file.md)).

| Profile | What it is for | Firmware | Cores | Memory | Data disks | NICs | And |
|---|---|---|---|---|---|---|---|
"""
_PROFILES_HOST: Final = """
NICs are those beside the control NIC. Data disks have the serials `lisa-ci-0`, `lisa-ci-1` and so on, in the order of
the table; the namespaces of an NVMe disk share one. NICs have the addresses `52:54:00:6c:63:01` and so on.

## What they need, and what they can do

Every profile needs QEMU and its own memory; `lisa-ci doctor --for qemu` looks for the programs.
A machine that can be snapshot goes back to its state within seconds; another one is made anew. Boot: from QEMU's start
to the login of the demo's image, measured {on}.

| Profile | Needs of the host | Snapshot | Boot |
|---|---|---|---|
"""
_PROFILES_TAIL: Final = """
## What a profile claims is checked

After the login, and before a case is believed, the machine is asked for its hardware: architecture, firmware,
processors, memory, disks by serial number, size and bus, namespaces, queues, virtual functions, NICs by address and
model, NUMA nodes, TPM, Secure Boot, slots for hot-plug, links and machines, GPUs, FPGAs, InfiniBand's verbs, SEV-SNP or
TDX. What is not there makes the claim false, and nothing is known about the image then: a case that asked for it is
ERRORED.

- **A device without a driver is there.** That it does not work is the image's failure, which cases find.
- **Memory** may be less by a sixteenth, and by 64 MiB at least, which firmware keeps; by a quarter where the kernel
  does not pass on the firmware's memory map (then its own share is missing as well).
- **Counts** are "at least"; firmware, architecture, TPM and Secure Boot are "equal".
- **A machine that already runs** (platform `ssh`) has serial numbers and addresses of its own, so that there counts,
  buses and sizes are compared; one disk is taken for its own.
- Not checked: `platform` and `outbound`. No machine can tell them about itself.

## What there is no profile for

- **microvm**: no PCI, no SMBIOS, so that half of the ways in are gone, and it boots slower under emulation.
- **Secure Boot with the demo's image**: its boot loader is not signed. It is refused, and the leg says
  `Access Denied: Secure Boot`. Images with shim and a signed GRUB boot.
"""


_AZURE_HEAD: Final = """
## On Azure

Machines of Azure, docs/azure.md. Sizes are tried in this order, in the regions of the profile (`azure.regions`), and no
other size stands in for one of them; `lisa-ci azure sizes --profile NAME` says which serves, and why others do not.
Cores and memory are the least that is promised.

| Profile | What it is for | Sizes | Firmware | Cores | Memory | Data disks | NICs | And |
|---|---|---|---|---|---|---|---|---|
"""


def _profiles_page() -> str:
    profiles, figures = catalogue().values(), measured()
    rows = [_profile_row(profile) for profile in profiles]
    needs = [_host_row(profile, figures) for profile in profiles]
    return "\n".join(
        [
            _PROFILES_HEAD + "\n".join(rows),
            _PROFILES_HOST.format(on=figures.on) + "\n".join(needs),
            _AZURE_HEAD + "\n".join(map(_azure_row, azure_catalogue().values())),
            _PROFILES_TAIL,
        ]
    )


def _azure_row(profile: Profile) -> str:
    azure = profile.azure or Azure()
    disks = ", ".join(f"{disk.bus.value} {disk.size_mib} MiB" for disk in profile.disks)
    local = f"{azure.local_nvme} local NVMe" if azure.local_nvme else ""
    nics = ", ".join("link" if nic.link else f"{nic.queues} queues" for nic in profile.nics) or "-"
    more = [
        f"{profile.machines} machines" if profile.machines > 1 else "",
        "arm64" if profile.arch is Arch.AARCH64 else "",
        f"{profile.gpus} GPU" + ("s" if profile.gpus > 1 else "") if profile.gpus else "",
        f"{profile.fpgas} FPGA" if profile.fpgas else "",
        "InfiniBand" if profile.rdma else "",
        "Secure Boot" if profile.secure_boot else "",
        "TPM 2.0" if profile.tpm else "",
        profile.confidential.value if profile.confidential is not Confidential.NONE else "",
        "spot" if azure.spot else "",
    ]
    cells = (
        f"`{profile.name}`",
        profile.description,
        ", ".join(f"`{size.removeprefix('Standard_')}`" for size in azure.sizes),
        profile.firmware.value,
        str(profile.cores),
        f"{profile.memory_mib // 1024} GiB",
        ", ".join(filter(None, (disks, local))) or "-",
        nics,
        ", ".join(filter(None, more)) or "-",
    )
    return f"| {' | '.join(cells)} |"


def _profile_row(profile: Profile) -> str:
    disks = ", ".join(map(_disk_words, profile.disks)) or "-"
    nics = ", ".join(nic.model + (f" ({nic.queues} queues)" if nic.queues > 1 else "") for nic in profile.nics) or "-"
    more = [
        *([f"{profile.numa_nodes} NUMA nodes"] if profile.numa_nodes > 1 else []),
        *(["Secure Boot"] if profile.secure_boot else []),
        *(["TPM 2.0"] if profile.tpm else []),
        *(["hot-plug"] if profile.hotplug else []),
        *([profile.arch.value] if profile.arch is not Arch.X86_64 else []),
    ]
    cells = (f"`{profile.name}`", profile.description, profile.firmware.value, str(profile.cores))
    return f"| {' | '.join(cells)} | {profile.memory_mib} MiB | {disks} | {nics} | {', '.join(more) or '-'} |"


def _disk_words(disk: Disk) -> str:
    size = f"{disk.namespaces} x {disk.size_mib}" if disk.namespaces > 1 else str(disk.size_mib)
    facts = ", ".join(f"{count} {what}" for count, what in ((disk.queues, "queues"), (disk.vfs, "VFs")) if count)
    shown = f" ({facts})" if facts else ""
    return f"{disk.bus.value} {size} MiB{shown}"


def _host_row(profile: Profile, figures: Measured) -> str:
    firmware = "OVMF with Secure Boot" if profile.secure_boot else "OVMF" if profile.firmware is Firmware.UEFI else ""
    firmware = "QEMU for aarch64, AAVMF" if profile.arch is Arch.AARCH64 else firmware
    tap = "/dev/net/tun and user namespaces" if any(nic.queues > 1 for nic in profile.nics) else ""
    needs = ", ".join(filter(None, (firmware, "swtpm" if profile.tpm else "", tap))) or "-"
    reason = figures.no_snapshot.get(profile.name)
    snapshot = f"no: QEMU cannot keep the state of {reason}" if reason else "yes"
    seconds = figures.boot_seconds.get(profile.name)
    return f"| `{profile.name}` | {needs} | {snapshot} | {f'{seconds} s' if seconds else '-'} |"
