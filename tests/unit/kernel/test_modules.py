from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.kernel.modules import ModuleIndex, module_name, read_index

DEP = """\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko
kernel/lib/crc16.ko:
kernel/fs/mbcache.ko:
kernel/fs/jbd2/jbd2.ko:
kernel/arch/x86/crypto/crc32c-intel.ko:
/etc/shadow.ko:
kernel/../../../etc/x.ko:
kernel/evil.ko: ../../../etc/shadow.ko
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "modules.dep").write_text(DEP)
    (tmp_path / "modules.alias").write_text(
        "# Aliases\nalias pci:v00001AF4d* virtio_pci\nalias crc32c crc32c_intel\nalias crypto-crc32* crc32c_intel\n"
    )
    (tmp_path / "modules.softdep").write_text(
        "softdep ext4 pre: crc32c post: nothing\nsoftdep crc32c_intel pre: ext4\n"
    )
    (tmp_path / "modules.builtin").write_text("kernel/drivers/block/loop.ko\n")
    return tmp_path


def names(order: tuple[str, ...]) -> list[str]:
    return [module_name(path) for path in order]


def test_a_module_is_loaded_after_all_it_needs(folder: Path) -> None:
    assert names(read_index(folder).load_order(["virtio_pci"])) == ["virtio", "virtio_ring", "virtio_pci"]


def test_what_a_module_wishes_for_by_an_alias_comes_before_it(folder: Path) -> None:
    order = names(read_index(folder).load_order(["ext4", "virtio"]))
    assert order.index("crc32c_intel") < order.index("ext4")
    assert order[-1] == "virtio"


def test_a_name_without_a_file_is_none_and_dashes_do_not_count(folder: Path) -> None:
    index = read_index(folder)
    assert index.load_order(["loop", "gone"]) == ()
    assert names(index.load_order(["crc32c-intel"]))[-1] == "crc32c_intel"
    assert index.built_in == {"loop"}


def test_no_path_leads_out_of_the_folder(folder: Path) -> None:
    index = read_index(folder)
    assert index.load_order(["shadow", "x"]) == ()
    assert index.load_order(["evil"]) == ("kernel/evil.ko",)


def test_modules_that_need_each_other_are_told() -> None:
    index = ModuleIndex(needs={"a.ko": ("b.ko",), "b.ko": ("a.ko",)})
    with pytest.raises(PipelineError, match="in a circle: a -> b -> a"):
        index.load_order(["a"])


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef")), max_size=6))
def test_an_order_holds_or_there_is_a_circle(graph: dict[str, set[str]]) -> None:
    index = ModuleIndex(needs={f"{name}.ko": tuple(f"{one}.ko" for one in sorted(to)) for name, to in graph.items()})
    try:
        order = names(index.load_order(sorted(graph)))
    except PipelineError:
        return
    assert sorted(order) == sorted(graph)
    for name, needed in graph.items():
        assert all(order.index(one) < order.index(name) for one in needed if one in graph)
