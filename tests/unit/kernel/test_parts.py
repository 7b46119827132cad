"""A delivery becomes one layout, whatever it came in, and its digest says whether it is the planned one."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.kernel import parts
from lisa_ci.kernel.parts import delivery_digest, lay_out
from tests.unit.kernel.kernels import RELEASE, bzimage
from tests.unit.kernel.test_archives import deb, rpm, tar


@pytest.fixture(autouse=True)
def _no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISA_CI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parts, "_index", lambda _folder: None)


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


INSTALLED = {
    f"boot/vmlinuz-{RELEASE}": bzimage(),
    f"boot/config-{RELEASE}": b"CONFIG_NET=y\n",
    f"boot/System.map-{RELEASE}": b"map",
    f"lib/modules/{RELEASE}/kernel/a.ko": b"a",
    f"lib/modules/{RELEASE}/kernel/b/c.ko.xz": b"c",
    f"lib/modules/{RELEASE}/modules.order": b"kernel/a.ko\n",
}
FEDORA = {
    f"lib/modules/{RELEASE}/vmlinuz": bzimage(),
    f"lib/modules/{RELEASE}/config": b"CONFIG_NET=y\n",
    f"lib/modules/{RELEASE}/System.map": b"map",
    f"lib/modules/{RELEASE}/kernel/a.ko": b"a",
    f"lib/modules/{RELEASE}/kernel/b/c.ko.xz": b"c",
    f"lib/modules/{RELEASE}/modules.order": b"kernel/a.ko\n",
}
BUILT = {
    "arch/x86/boot/bzImage": bzimage(),
    ".config": b"CONFIG_NET=y\n",
    "System.map": b"map",
    "vmlinux": b"\x7fELF",
    "modules.order": b"kernel/a.ko\nb/c.o\n",
    "a.ko": b"a",
    "b/c.ko": b"c",
    "b/left-over-of-another-config.ko": b"old",
}


def laid_out(source: Path) -> dict[str, bytes]:
    found = lay_out(source, delivery_digest(source))
    assert found.release == RELEASE
    folder = found.image.parent
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def modules(layout: dict[str, bytes]) -> dict[str, bytes]:
    start = f"modules/lib/modules/{RELEASE}/"
    return {name.removeprefix(start): data for name, data in layout.items() if name.startswith(start)}


@pytest.mark.parametrize("files", [INSTALLED, FEDORA], ids=["boot and lib", "all in lib/modules"])
@pytest.mark.parametrize("form", ["folder", "tar", "tar with a folder around", "deb", "rpm"])
def test_every_form_gives_the_same_layout(files: dict[str, bytes], form: str, tmp_path: Path) -> None:
    source = tmp_path / "delivery"
    match form:
        case "folder":
            fill(source, files)
        case "tar":
            source.write_bytes(tar(files))
        case "tar with a folder around":
            source.write_bytes(tar({f"top/{name}": data for name, data in files.items()}))
        case "deb":
            source.write_bytes(deb({f"./{name}": data for name, data in files.items()}))
        case "rpm":
            source.write_bytes(rpm({f"./{name}": data for name, data in files.items()}))
    layout = laid_out(source)
    assert layout["vmlinuz"] == bzimage()
    assert layout["config"] == b"CONFIG_NET=y\n"
    assert layout["System.map"] == b"map"
    assert modules(layout) == {
        "kernel/a.ko": b"a",
        "kernel/b/c.ko.xz": b"c",
        "modules.order": b"kernel/a.ko\n",
        "config": b"CONFIG_NET=y\n",
        "System.map": b"map",
    }


def test_a_build_tree_gives_the_modules_of_its_last_build(tmp_path: Path) -> None:
    layout = laid_out(fill(tmp_path / "tree", BUILT))
    assert {name for name in modules(layout) if name.endswith(".ko")} == {"kernel/a.ko", "kernel/b/c.ko"}
    assert layout["vmlinux"] == b"\x7fELF"


def test_a_module_of_the_tree_s_own_folder_kernel_is_found(tmp_path: Path) -> None:
    """kernel/time/time_test.ko lies there; kernel/a.ko is what older kernels wrote of a.ko."""
    order = {"modules.order": b"kernel/a.ko\nkernel/time/time_test.ko\n", "kernel/time/time_test.ko": b"t"}
    layout = laid_out(fill(tmp_path / "tree", {**BUILT, **order}))
    assert {name for name in modules(layout) if name.endswith(".ko")} == {
        "kernel/a.ko",
        "kernel/kernel/time/time_test.ko",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"boot/vmlinuz-{RELEASE}": None}, "there is no kernel"),
        ({"boot/vmlinuz-2": bzimage("2 (x) #1 y")}, f"holds 2 kernels: 2, {RELEASE}"),
    ],
)
def test_a_delivery_of_no_or_two_kernels_is_told(change: dict[str, bytes | None], message: str, tmp_path: Path) -> None:
    files = {name: data for name, data in {**INSTALLED, **change}.items() if data is not None}
    for source in (fill(tmp_path / "folder", files), tmp_path / "tar"):
        if not source.exists():
            source.write_bytes(tar(files))
        with pytest.raises(PipelineError, match=message):
            lay_out(source, delivery_digest(source))
    assert not list((tmp_path / "cache/kernels").glob("*")), "nothing half is left"


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (b"kernel/gone.ko\n", "lacks gone.ko, which its modules.order names"),
        (b"../../etc/x.ko\n", "outside of its tree"),
    ],
)
def test_a_build_that_did_not_end_is_told(order: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=message):
        delivery_digest(fill(tmp_path / "tree", {**BUILT, "modules.order": order}))


def test_a_delivery_that_is_nothing_of_all_this_is_told(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"there is no .*gone"):
        delivery_digest(tmp_path / "gone")
    (tmp_path / "file").write_bytes(b"hello")
    with pytest.raises(PipelineError, match="no folder, tar file, Debian package or RPM"):
        lay_out(tmp_path / "file", delivery_digest(tmp_path / "file"))


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    source = fill(tmp_path / "folder", INSTALLED)
    (tmp_path / "secret.ko").write_bytes(b"secret")
    (source / f"lib/modules/{RELEASE}/kernel/link.ko").symlink_to(tmp_path / "secret.ko")
    (source / f"lib/modules/{RELEASE}/build").symlink_to(tmp_path)
    assert b"secret" not in laid_out(source).values()


def test_the_digest_follows_the_files_and_not_their_dates_or_modes(tmp_path: Path) -> None:
    source = fill(tmp_path / "folder", INSTALLED)
    first = delivery_digest(source)
    copied = Path(shutil.copytree(source, tmp_path / "copy"))
    (copied / f"boot/vmlinuz-{RELEASE}").chmod(0o755)
    assert delivery_digest(copied) == first
    (copied / f"lib/modules/{RELEASE}/kernel/a.ko").write_bytes(b"b")
    assert delivery_digest(copied) != first


def test_the_cache_keeps_what_was_used_last_and_what_is_in_use(tmp_path: Path) -> None:
    ages = {"a-1": 7200, "b-1": 7100, "c-1": 60, "d-1": 50, "e-1": 40, "f-1": 30}
    for name, age in ages.items():
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / "modules-x.ext4").write_bytes(b"")
    parts.used(tmp_path / "f-1")
    assert {path.name for path in tmp_path.iterdir()} == {"c-1", "d-1", "e-1", "f-1", "modules-x.ext4"}
    os.utime(tmp_path / "c-1", (time.time() - 7200,) * 2)
    parts.used(tmp_path / "c-1")
    assert (tmp_path / "c-1").is_dir()


class TestModulesFromOutside:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return fill(tmp_path / "folder", INSTALLED)

    def test_they_lie_in_updates_and_count_in_the_digest(self, source: Path, tmp_path: Path) -> None:
        data = b"..\0vermagic=" + RELEASE.encode() + b" SMP mod_unload \0.."
        extra = fill(tmp_path / "extra", {"deep/mine.ko": data})
        digest = delivery_digest(source, extra)
        assert digest != delivery_digest(source)
        found = lay_out(source, digest, extra)
        assert found.module_folder is not None
        assert (found.module_folder / "updates/mine.ko").read_bytes() == data

    def test_the_kernel_itself_is_laid_out_once_and_stays_as_it_is(self, source: Path, tmp_path: Path) -> None:
        data = b"..\0vermagic=" + RELEASE.encode() + b" SMP\0"
        for number in range(2):
            extra = fill(tmp_path / f"extra{number}", {"mine.ko": data + bytes([number])})
            lay_out(source, delivery_digest(source, extra), extra)
        plain = lay_out(source, delivery_digest(source))
        assert plain.module_folder is not None
        assert not (plain.module_folder / "updates").exists()
        assert (plain.module_folder / "kernel/a.ko").stat().st_nlink == 3
        assert (plain.module_folder / "modules.order").stat().st_nlink == 1

    def test_one_for_another_kernel_is_told(self, source: Path, tmp_path: Path) -> None:
        extra = fill(tmp_path / "extra", {"mine.ko": b"\0vermagic=6.1.0-56-amd64 SMP\0"})
        message = f"built for 6.1.0-56-amd64, and the kernel under test is {RELEASE}"
        with pytest.raises(PipelineError, match=message):
            lay_out(source, delivery_digest(source, extra), extra)

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"a.txt": b""}, "there is no module"),
            ({"a/x.ko": b"", "b/x.ko": b""}, "have one name"),
        ],
    )
    def test_none_and_two_of_one_name_are_told(
        self, source: Path, files: dict[str, bytes], message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(PipelineError, match=message):
            delivery_digest(source, fill(tmp_path / "extra", files))
        with pytest.raises(PipelineError, match="there is no folder"):
            delivery_digest(source, tmp_path / "gone")
