"""The modules of a kernel as ``depmod`` describes them: which files a driver needs, in the order of loading."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from lisa_ci import files
from lisa_ci.errors import PipelineError

INDEX_LIMIT: Final = 64 << 20
SUFFIXES: Final = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")
_DEEPEST: Final = 64
_WORD: Final = re.compile(r"[ \t]+")


def module_name(path: str) -> str:
    """``kernel/lib/crc-t10dif.ko.xz`` -> ``crc_t10dif``: files and people write '-' and '_' for the same module."""
    return PurePosixPath(path).name.partition(".")[0].replace("-", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleIndex:
    """What lib/modules/RELEASE holds. ``needs``: path -> the paths it needs; ``paths``: name -> path.

    ``aliases`` are (glob, name), ``earlier``: name -> what is to be loaded before it where that is there.
    """

    needs: Mapping[str, tuple[str, ...]]
    built_in: frozenset[str] = frozenset()
    aliases: tuple[tuple[str, str], ...] = ()
    earlier: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def paths(self) -> Mapping[str, str]:
        return {module_name(path): path for path in self.needs}

    def load_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Paths of the modules ``names`` and all they need, each after what it needs; a name without a file is none.

        PipelineError where modules need each other in a circle.
        """
        paths, ordered = self.paths, dict[str, None]()
        for name in names:
            self._visit(name.replace("-", "_"), paths, ordered, ())
        return tuple(ordered)

    def _visit(self, name: str, paths: Mapping[str, str], ordered: dict[str, None], above: tuple[str, ...]) -> None:
        path = paths.get(name)
        if path is None or path in ordered:
            return
        if name in above or len(above) > _DEEPEST:
            raise PipelineError(
                f"the kernel's modules need each other in a circle: {' -> '.join((*above[-5:], name))}",
                hint="run depmod again, or leave its files out: they are made here then",
            )
        here = (*above, name)
        for wish in self.earlier.get(name, ()):
            for found in self._named(wish, paths):
                if found not in here:  # a wish, unlike a need, may point back
                    self._visit(found, paths, ordered, here)
        for needed in reversed(self.needs[path]):  # depmod lists the nearest first
            self._visit(module_name(needed), paths, ordered, here)
        ordered[path] = None

    def _named(self, wish: str, paths: Mapping[str, str]) -> Iterator[str]:
        if wish.replace("-", "_") in paths:
            yield wish.replace("-", "_")
        yield from (name for glob, name in self.aliases if fnmatch.fnmatchcase(wish, glob))


def read_index(folder: Path) -> ModuleIndex:
    """The index of ``folder`` (lib/modules/RELEASE), where depmod has left its files. DataError for odd files."""
    return ModuleIndex(
        needs=dict(_needs(_lines(folder / "modules.dep"))),
        built_in=frozenset(module_name(line) for line in _lines(folder / "modules.builtin")),
        aliases=tuple(_aliases(_lines(folder / "modules.alias"))),
        earlier=dict(_earlier(_lines(folder / "modules.softdep"))),
    )


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return files.read_bounded(path, INDEX_LIMIT).decode(errors="replace").splitlines()


def _needs(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for line in lines:
        path, colon, needed = line.partition(":")
        if colon and is_inside(path):
            yield path, tuple(word for word in needed.split() if is_inside(word))


def is_inside(path: str) -> bool:
    """True for a module's path below its folder: no other file of this host is ever packed."""
    parts = PurePosixPath(path).parts
    return path.endswith(SUFFIXES) and not path.startswith("/") and ".." not in parts


def _aliases(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Only those that other modules ask for by name (``crc32c``, ``crypto-*``): hardware has a bus before its ':'."""
    for line in lines:
        words = _WORD.split(line)
        if len(words) == 3 and words[0] == "alias" and ":" not in words[1]:
            yield words[1], words[2].replace("-", "_")


def _earlier(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """``softdep NAME pre: A B post: C``."""
    for line in lines:
        words = _WORD.split(line.strip())
        if len(words) > 2 and words[0] == "softdep":
            before = " ".join(words[2:]).partition("post:")[0]
            yield words[1].replace("-", "_"), tuple(before.replace("pre:", " ").split())
