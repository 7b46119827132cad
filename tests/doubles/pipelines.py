"""Pipelines in memory: known names, suites in a folder, and a subject that no file stands behind."""

from __future__ import annotations

from pathlib import Path

from lisa_ci.errors import PipelineError
from lisa_ci.model import (
    Access,
    Case,
    Image,
    ImageFormat,
    ImageSource,
    Pipeline,
    Profile,
    ReleaseSettings,
    Subject,
    Suite,
    SuiteSelection,
    Timeouts,
)
from lisa_ci.pipeline import Known, parse_pipeline

KNOWN = Known(
    platforms=frozenset({"qemu", "ssh"}), drivers=frozenset({"shell", "tap"}), scenarios=frozenset({"reboot"})
)
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5rLkxKVPKmkYJ0jMGJvmDvXyyhiFSz6YvcYFOWDhVu"
IMAGE = Image(path="image.qcow2", format=ImageFormat.QCOW2, disk_digest="d" * 64, size_bytes=1 << 20)
SUBJECT = Subject(image=IMAGE)


THREE_CASES = """\
schema: 1
name: mine
driver: shell
cases:
  - {id: net-dns, run: "true"}
  - {id: net-link, run: "true"}
  - {id: clock, run: "true"}
"""
WHOLE_PIPELINE = f"""\
name: My Distro
image:
  url: https://images.example.org/d.qcow2
  sha256: {"ab" * 32}
  format: qcow2
  arch: x86_64
  firmware: [uefi]
kernel: {{image: bzImage, modules: mods, initrd: initrd.img, command_line: "root=LABEL=r ro", vmlinux: vmlinux}}
access: {{user: debian, become: sudo, way_in: key, key: id}}
profiles:
  - bios
  - name: mine
    from: uefi
    description: Mine
    cores: 3
    disks: [{{size_mib: 100, bus: nvme}}, {{}}]
    nics: [{{model: e1000e, outbound: true}}]
    runs_on: self-hosted
  - {{name: more, from: mine, memory_mib: 4096}}
  - name: bare-metal
    platform: ssh
    endpoint: {{host: 192.0.2.1, port: 2222, host_key: {HOST_KEY}}}
suites:
  - suite: ./suites/mine
    shards: 2
    profiles: [b*, mine]
    only: [net-*, clock]
    skip: {{clock: no clock here}}
    required: false
timeouts: {{boot: 90s, case: 2m, leg: 1h30m}}
release: {{name: my-distro, version: "13.1", formats: [qcow2]}}
allow_empty: true
"""
LEAST_PIPELINE = "name: n\nimage: {path: i.raw}\nprofiles: [bios]\nsuites: [./suites/mine]\n"
WHOLE_SUITE = """\
schema: 1
name: mine
description: |
  Two lines
  of text.
driver: shell
requires: {cores: 2, firmware: [bios, uefi], outbound: true, platform: qemu}
timeout: 60s
environment: {LC_ALL: C, EMPTY: "", NO: "no"}
cases:
  - id: first
    title: The first
    description: Proves something.
    run: |
      set -e
      ./first
    timeout: 2m
    requires: {disk_nvme: 1}
    expects: [reboot, splat]
    risk: crash
  - {id: second, run: [./second, "", -x]}
"""
LEAST_SUITE = "schema: 1\nname: mine\ndriver: shell\ncases: [{id: a, run: x}]\n"


def write_suite(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "suite.yaml").write_text(text)
    return folder


def problems_of(text: str | bytes, folder: Path) -> list[str]:
    """The messages about a pipeline file; AssertionError where it has no mistake."""
    try:
        parse_pipeline(text if isinstance(text, bytes) else text.encode(), "lisa-ci.yml", folder, KNOWN)
    except PipelineError as error:
        return [str(problem) for problem in error.problems]
    raise AssertionError("no mistake was found")


def suite(name: str, *cases: Case | str, **values: object) -> Suite:
    """A suite with these cases; with none at all, the machine lists them."""
    made = tuple(case if isinstance(case, Case) else Case(suite=name, id=case, run=("true",)) for case in cases)
    defaults: dict[str, object] = {"folder": f"own/{name}", "digest": "0" * 64, "driver": "shell"}
    return Suite(name=name, cases=made or None, **{**defaults, **values})  # type: ignore[arg-type]


def pipeline(profiles: list[Profile], selections: list[SuiteSelection], **values: object) -> Pipeline:
    defaults: dict[str, object] = {
        "file": "lisa-ci.yml",
        "folder": ".",
        "name": "distro",
        "image": ImageSource(path="image.qcow2"),
        "kernel": None,
        "access": Access(),
        "timeouts": Timeouts(),
        "release": ReleaseSettings(),
    }
    return Pipeline(profiles=tuple(profiles), suites=tuple(selections), **{**defaults, **values})  # type: ignore[arg-type]
