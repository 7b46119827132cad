"""What ``fetch:`` of a suite may say: files from the network that lie beside ``suite.yaml`` in the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lisa_ci import download
from lisa_ci.model import Download
from lisa_ci.pipeline.document import shown
from lisa_ci.pipeline.kinds import Text
from lisa_ci.pipeline.reading import Found, Reading
from lisa_ci.pipeline.tables import ListOf, Setting, Table

DOWNLOAD: Final = Table(
    title="file to fetch",
    description="A file that the host fetches before it makes a machine, and puts beside the suite's own files there. "
    "It is kept in the cache; a machine needs no network for it.",
    settings=(
        Setting(
            name="name",
            kind=Text(words="a file name", pattern=r"[A-Za-z0-9][A-Za-z0-9._+-]*", most=100),
            description="What it is called in the suite's folder in the machine. None of the suite's own files.",
            is_required=True,
            example="ltp-full.tar.xz",
        ),
        Setting(
            name="url",
            kind=Text(words="an https:// address", pattern=r"https?://[!-~]+", most=2000, hint="write https://..."),
            description="Where it is: https, or http from this machine itself.",
            is_required=True,
            example="https://example.org/ltp-full.tar.xz",
        ),
        Setting(
            name="sha256",
            kind=Text(words="64 hexadecimal digits", pattern="[0-9a-fA-F]{64}", hint="sha256sum FILE prints them"),
            description="SHA-256 of the file. Another one is never used.",
            is_required=True,
            example="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
    ),
)
FETCH: Final = ListOf(kind=DOWNLOAD, least=1, most=20)


def build_downloads(entries: Found | None, folder: Path, reading: Reading) -> tuple[Download, ...]:
    """The files of a list for the suite in ``folder``; what may not be fetched, or would hide a file, is a mistake."""
    built: dict[str, Download] = {}
    for entry in entries.value if entries else ():
        name, url = entry.get("name"), entry.get("url")
        if url and (problem := download.problem(url.value)):
            message = f"'url' {shown(url.value)} is not fetched: {problem}"
            reading.report(message, url.location, "write https://HOST/PATH")
        if name and name.value in built:
            reading.report(f"file {shown(name.value)} is given twice", name.location, "keep one")
        elif name and (folder / name.value).exists():
            hint = "give it another name"
            reading.report(f"the suite has a file {shown(name.value)} of its own", name.location, hint)
        if name and entry.is_whole:
            values = entry.plain()
            built.setdefault(name.value, Download(**{**values, "sha256": values["sha256"].lower()}))
    return tuple(built.values())
