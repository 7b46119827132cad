"""Where the packages of the demo's image come from: the mirrors this host is set up to use, else Debian's own.

Pure: text of apt's own files in, text for mmdebstrap out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ARCHIVE: Final = "http://deb.debian.org/debian"
SECURITY: Final = "http://deb.debian.org/debian-security"
_SETTING: Final = re.compile(r'Acquire::[A-Za-z0-9:._-]+ "[^"\n]*";')
_OPTIONS: Final = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One entry of apt's sources: a mirror, what it offers, and the keyring it is checked against ('' = apt's own)."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stanza:
    fields: dict[str, str] = field(default_factory=dict)

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(self.fields.get(name, "").split())


def parse_list(text: str) -> Iterator[Source]:
    """The ``deb`` lines of a ``.list`` file. What does not read as one is not ours to judge, and is left out."""
    for line in text.splitlines():
        plain = line.split("#", 1)[0].strip()
        options = _OPTIONS.search(plain)
        words = _OPTIONS.sub(" ", plain, count=1).split()
        if len(words) < 4 or words[0] != "deb":
            continue
        signed = [word for word in (options[1].split() if options else []) if word.startswith("signed-by=")]
        yield Source(
            uri=words[1].rstrip("/"),
            suite=words[2],
            components=tuple(words[3:]),
            signed_by=signed[0].partition("=")[2] if signed else "",
        )


def parse_deb822(text: str) -> Iterator[Source]:
    """The enabled ``deb`` stanzas of a ``.sources`` file. A key written into the file counts as apt's own."""
    for stanza in _stanzas(text):
        if "deb" not in stanza.words("types") or stanza.fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        signed = stanza.words("signed-by")
        for uri in stanza.words("uris"):
            for suite in stanza.words("suites"):
                yield Source(
                    uri=uri.rstrip("/"),
                    suite=suite,
                    components=stanza.words("components"),
                    signed_by=signed[0] if len(signed) == 1 and signed[0].startswith("/") else "",
                )


def _stanzas(text: str) -> Iterator[_Stanza]:
    stanza, name = _Stanza(), ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza.fields:
                yield stanza
            stanza, name = _Stanza(), ""
        elif line[0] in " \t":
            if name:
                stanza.fields[name] += " " + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            stanza.fields[name] = value.strip()


def choose(
    suite: str, *, host_suite: str, sources: Iterable[Source], mirror: str = "", keyring: str = ""
) -> Sequence[Source]:
    """The entries for an image of ``suite``.

    ``mirror`` (an URL) wins. Else, on a Debian host (``host_suite`` is its codename, else ''), the mirrors of the
    host's own release and security updates. Else Debian's. ``keyring`` stands in where an entry names none.
    """
    own = [source for source in sources if host_suite and "main" in source.components]
    archive = next((source for source in own if source.suite == host_suite), None)
    security = next((source for source in own if source.suite == f"{host_suite}-security"), None)
    if mirror:
        archive, security = Source(uri=mirror.rstrip("/"), suite=suite, components=("main",)), None
    elif archive is None:
        archive = Source(uri=ARCHIVE, suite=suite, components=("main",))
        security = Source(uri=SECURITY, suite=suite, components=("main",))
    chosen = [(archive, suite)]
    if not mirror and suite != "sid":
        chosen.append((archive, f"{suite}-updates"))
    if security is not None and suite != "sid":
        chosen.append((security, f"{suite}-security"))
    return [
        Source(uri=source.uri, suite=name, components=("main",), signed_by=source.signed_by or keyring)
        for source, name in chosen
    ]


def to_list(sources: Iterable[Source]) -> str:
    """One ``deb`` line an entry."""
    lines = []
    for source in sources:
        options = f"[signed-by={source.signed_by}] " if source.signed_by else ""
        lines.append(f"deb {options}{source.uri} {source.suite} {' '.join(source.components)}\n")
    return "".join(lines)


def apt_settings(dump: str) -> str:
    """How this host reaches its mirrors (proxies, certificates, date checks), from ``apt-config dump``.

    Only plain ``Acquire::`` settings are taken: they say how to fetch, nothing about what to run.
    """
    return "".join(f"{line}\n" for line in dump.splitlines() if _SETTING.fullmatch(line.strip()))


def host_suite(os_release: Mapping[str, str]) -> str:
    """The host's codename where the host is Debian itself, else ''."""
    return os_release.get("VERSION_CODENAME", "") if os_release.get("ID") == "debian" else ""
