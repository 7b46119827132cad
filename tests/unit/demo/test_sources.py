"""Where the demo's packages come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.demo import sources
from lisa_ci.demo.sources import Source

LIST = """\
# deb http://off.example.org/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://mirror.example.org/debian/ bookworm main contrib # near
deb-src http://mirror.example.org/debian bookworm main
deb http://mirror.example.org/security bookworm-security main
deb http://tools.example.org/apt stable
"""
DEB822 = """\
# comment
Types: deb deb-src
URIs: https://one.example.org/debian/
Suites: bookworm
  bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://off.example.org/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: https://inline.example.org/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_only_deb_lines_of_a_list_file_are_read() -> None:
    assert list(sources.parse_list(LIST)) == [
        Source(
            uri="http://mirror.example.org/debian",
            suite="bookworm",
            components=("main", "contrib"),
            signed_by="/usr/share/keyrings/a.gpg",
        ),
        Source(uri="http://mirror.example.org/security", suite="bookworm-security", components=("main",)),
    ]


def test_a_stanza_gives_one_entry_for_each_suite_and_disabled_ones_none() -> None:
    found = list(sources.parse_deb822(DEB822))
    assert [(source.uri, source.suite) for source in found] == [
        ("https://one.example.org/debian", "bookworm"),
        ("https://one.example.org/debian", "bookworm-updates"),
        ("https://inline.example.org/debian", "trixie"),
    ]
    assert found[0].signed_by == KEYRING


def test_a_key_inside_a_sources_file_is_not_taken_for_a_path() -> None:
    assert list(sources.parse_deb822(DEB822))[-1].signed_by == ""


def test_a_debian_host_lends_its_mirrors() -> None:
    chosen = sources.choose("bookworm", host_suite="bookworm", sources=sources.parse_list(LIST), keyring=KEYRING)
    assert sources.to_list(chosen) == (
        "deb [signed-by=/usr/share/keyrings/a.gpg] http://mirror.example.org/debian bookworm main\n"
        "deb [signed-by=/usr/share/keyrings/a.gpg] http://mirror.example.org/debian bookworm-updates main\n"
        f"deb [signed-by={KEYRING}] http://mirror.example.org/security bookworm-security main\n"
    )


def test_the_mirrors_of_a_host_serve_another_suite_as_well() -> None:
    chosen = sources.choose("trixie", host_suite="bookworm", sources=sources.parse_list(LIST))
    assert [(source.uri, source.suite) for source in chosen] == [
        ("http://mirror.example.org/debian", "trixie"),
        ("http://mirror.example.org/debian", "trixie-updates"),
        ("http://mirror.example.org/security", "trixie-security"),
    ]


@pytest.mark.parametrize("host_suite", ["", "noble"])
def test_any_other_host_uses_the_mirrors_of_debian(host_suite: str) -> None:
    ubuntu = [Source(uri="http://archive.example.org/ubuntu", suite="noble-other", components=("main",))]
    chosen = sources.choose("bookworm", host_suite=host_suite, sources=ubuntu, keyring=KEYRING)
    assert {source.uri for source in chosen} == {sources.ARCHIVE, sources.SECURITY}
    assert {source.signed_by for source in chosen} == {KEYRING}


def test_a_mirror_that_is_named_is_the_only_one_used() -> None:
    chosen = sources.choose(
        "bookworm", host_suite="bookworm", sources=sources.parse_list(LIST), mirror="http://mine.example.org/debian/"
    )
    assert sources.to_list(chosen) == "deb http://mine.example.org/debian bookworm main\n"


def test_sid_has_neither_updates_nor_security() -> None:
    assert [source.suite for source in sources.choose("sid", host_suite="", sources=[])] == ["sid"]


def test_only_settings_of_how_to_fetch_are_taken_over() -> None:
    dump = (
        'Acquire "";\nAcquire::http::Proxy "http://proxy.example.org:3128";\n'
        'APT::Update::Post-Invoke:: "rm -rf /";\nAcquire::x "a"; DPkg::Pre-Invoke:: "evil";\n'
        'Acquire::Check-Valid-Until "false";\n'
    )
    assert sources.apt_settings(dump) == (
        'Acquire::http::Proxy "http://proxy.example.org:3128";\nAcquire::Check-Valid-Until "false";\n'
    )


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"ID": "debian", "VERSION_CODENAME": "bookworm"}, "bookworm"),
        ({"ID": "ubuntu", "VERSION_CODENAME": "noble"}, ""),
        ({"ID": "debian"}, ""),
    ],
)
def test_only_debian_itself_counts_as_a_debian_host(release: dict[str, str], expected: str) -> None:
    assert sources.host_suite(release) == expected


@given(st.text())
def test_any_text_reads_as_sources_without_an_error(text: str) -> None:
    for source in [*sources.parse_list(text), *sources.parse_deb822(text)]:
        assert "\n" not in source.uri + source.suite + source.signed_by


@given(st.text(alphabet=st.sampled_from(list("Acquire::xy \"\\;\n'"))))
def test_any_dump_gives_only_whole_acquire_lines(text: str) -> None:
    assert all(line.startswith("Acquire::") and line.endswith('";') for line in sources.apt_settings(text).splitlines())
