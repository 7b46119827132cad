from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.model import (
    Access,
    Arch,
    Become,
    Bus,
    Disk,
    Endpoint,
    Firmware,
    ImageFormat,
    ImageSource,
    Kernel,
    Nic,
    Pipeline,
    Profile,
    ReleaseSettings,
    Timeouts,
    WayIn,
)
from lisa_ci.pipeline import load_pipeline, parse_pipeline
from lisa_ci.pipeline.reading import MAX_PROBLEMS
from tests.doubles.pipelines import (
    HOST_KEY,
    KNOWN,
    LEAST_PIPELINE,
    THREE_CASES,
    WHOLE_PIPELINE,
    problems_of,
    write_suite,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_suite(tmp_path / "suites/mine", THREE_CASES)
    return tmp_path


def load(text: str, folder: Path) -> Pipeline:
    return parse_pipeline(text.encode(), "lisa-ci.yml", folder, KNOWN)


def test_every_key_arrives_in_the_pipeline(folder: Path) -> None:
    found = load(WHOLE_PIPELINE, folder)
    assert found.name == "My Distro"
    assert found.image == ImageSource(
        url="https://images.example.org/d.qcow2",
        sha256="ab" * 32,
        format=ImageFormat.QCOW2,
        arch=Arch.X86_64,
        firmware=(Firmware.UEFI,),
    )
    assert found.kernel == Kernel(
        image="bzImage", modules="mods", initrd="initrd.img", command_line="root=LABEL=r ro", vmlinux="vmlinux"
    )
    assert found.access == Access(user="debian", become=Become.SUDO, way_in=WayIn.KEY, key="id")
    assert found.timeouts == Timeouts(boot=timedelta(seconds=90), case=timedelta(minutes=2), leg=timedelta(minutes=90))
    assert found.release == ReleaseSettings(name="my-distro", version="13.1", formats=(ImageFormat.QCOW2,))
    assert found.allow_empty
    selection = found.suites[0]
    assert (selection.shards, selection.profiles, selection.only) == (2, ("b*", "mine"), ("net-*", "clock"))
    assert (selection.skip, selection.required) == ({"clock": "no clock here"}, False)
    assert selection.suite.name == "mine"


def test_a_kernel_comes_whole_or_file_by_file(folder: Path) -> None:
    line = next(line for line in WHOLE_PIPELINE.splitlines() if line.startswith("kernel:"))
    delivered = load(WHOLE_PIPELINE.replace(line, "kernel: {from: build, command_line: quiet}"), folder).kernel
    assert delivered == Kernel(source="build", command_line="quiet")
    assert delivered.path == "build"
    told = problems_of(WHOLE_PIPELINE.replace(line, "kernel: {from: build, modules: mods, vmlinux: v}"), folder)
    assert [problem.partition("error: ")[2].partition(";")[0] for problem in told] == [
        "'kernel' has 'modules' but not 'image'",
        "'kernel' has 'vmlinux' but not 'image'",
    ]
    [missing] = problems_of(WHOLE_PIPELINE.replace(line, "kernel: {initrd: x}"), folder)
    assert "'kernel' lacks 'from' or 'image'" in missing


def test_profiles_are_composed_from_the_catalogue_and_from_earlier_ones(folder: Path) -> None:
    bios, mine, more, running = load(WHOLE_PIPELINE, folder).profiles
    assert (bios.name, bios.firmware) == ("bios", Firmware.BIOS)
    assert mine == Profile(
        name="mine",
        description="Mine",
        firmware=Firmware.UEFI,
        cores=3,
        memory_mib=1024,
        disks=(Disk(size_mib=100, bus=Bus.NVME), Disk()),
        nics=(Nic(model="e1000e", outbound=True),),
        runs_on="self-hosted",
    )
    assert (more.name, more.memory_mib, more.disks) == ("more", 4096, mine.disks)
    assert running.endpoint == Endpoint(host="192.0.2.1", port=2222, host_key=HOST_KEY)


def test_what_is_left_out_is_the_models_default(folder: Path) -> None:
    found = load(LEAST_PIPELINE, folder)
    assert (found.access, found.timeouts, found.release) == (Access(), Timeouts(), ReleaseSettings())
    assert (found.kernel, found.allow_empty, found.suites[0].shards) == (None, False, 1)


def test_paths_in_a_pipeline_are_seen_from_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lisa-ci.yml").write_text(LEAST_PIPELINE)
    monkeypatch.chdir(folder.parent)
    found = load_pipeline(folder / "lisa-ci.yml", KNOWN)
    assert found.folder == folder.name
    assert found.suites[0].suite.folder == f"{folder.name}/suites/mine"
    monkeypatch.chdir("/")
    other = load_pipeline(folder / "lisa-ci.yml", KNOWN)
    assert other.suites[0].suite.digest == found.suites[0].suite.digest


def test_a_pipeline_of_machines_that_already_run_needs_no_image(folder: Path) -> None:
    text = (
        "name: n\naccess: {way_in: key, key: id}\nsuites: [./suites/mine]\n"
        f"profiles: [{{name: a, platform: ssh, endpoint: {{host: h, host_key: {HOST_KEY}}}}}]\n"
    )
    assert load(text, folder).image is None


def test_all_mistakes_of_all_files_come_at_once_those_of_the_pipeline_file_first(folder: Path) -> None:
    (folder / "suites/mine/suite.yaml").write_text("schema: 1\nname: mine\ndriver: shel\ncases: [{id: a, run: x}]\n")
    text = "name: n\nimage: {path: i}\nprofiles: [boos]\nsuites:\n  - suite: ./suites/mine\n    shard: 2\nallow: 1\n"
    told = problems_of(text, folder)
    assert told == [
        "lisa-ci.yml:3:12: error: unknown profile 'boos'; did you mean 'bios'?",
        "lisa-ci.yml:6:5: error: unknown key 'shard'; did you mean 'shards'?",
        "lisa-ci.yml:7:1: error: unknown key 'allow'; did you mean 'allow_empty'?",
        f"{folder}/suites/mine/suite.yaml:3:9: error: unknown driver 'shel'; did you mean 'shell'?",
    ]


def test_the_mistakes_of_one_file_are_limited_in_number(folder: Path) -> None:
    text = LEAST_PIPELINE + "".join(f"q{number}: 1\n" for number in range(5000))
    told = problems_of(text, folder)
    assert len(told) == MAX_PROBLEMS + 1
    assert told[-1] == "lisa-ci.yml: error: 4900 more mistakes"


@pytest.mark.parametrize("text", ["[]", "a", "~", "- a\n- b\n", "42"])
def test_a_file_that_is_no_mapping_is_one_mistake(text: str, folder: Path) -> None:
    told = problems_of(text, folder)
    assert len(told) == 1
    assert "lisa-ci.yml:1:1: error: 'pipeline' must be a mapping, not " in told[0]


def test_an_empty_file_points_to_init(folder: Path) -> None:
    assert problems_of("", folder) == [
        "lisa-ci.yml:1:1: error: the file is empty; 'lisa-ci init' writes one to start from"
    ]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, str])
def test_what_is_no_file_is_told_without_waiting_for_it(tmp_path: Path, make: object) -> None:
    path = tmp_path / "lisa-ci.yml"
    make(path)  # type: ignore[operator]
    with pytest.raises(PipelineError) as caught:
        load_pipeline(path, KNOWN)
    assert str(caught.value.problems[0]).startswith(f"{path}: error: ")


def test_a_file_name_that_no_system_takes_is_told(tmp_path: Path) -> None:
    with pytest.raises(PipelineError):
        load_pipeline(tmp_path / "a\0b", KNOWN)


def replaced(old: str, new: str) -> str:
    assert old in WHOLE_PIPELINE
    return WHOLE_PIPELINE.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "name: My Distro",
            "name: no",
            "1:7: error: 'name' must be a name, but YAML reads 'no' as true or false; put it",
        ),
        ("name: My Distro", "name: 2024-01-01", 'as a date; put it in quotes: "2024-01-01"'),
        ("name: My Distro", "name: .nan", "'name' must be a name, but YAML reads '.nan' as a number"),
        ("name: My Distro", 'name: "a\\nb"', "'name' must not hold a line break"),
        ("name: My Distro", 'name: "a\\e[31mb"', "'name' must not hold control character U+001B"),
        ("name: My Distro", 'name: "\\ud800"', "'name' must not hold control character U+D800"),
        ("name: My Distro", f"name: {'x' * 101}", "'name' is 101 characters long; use 1 to 100 characters"),
        ("name: My Distro", "name: ''", "'name' is empty"),
        ("name: My Distro", "name:", "'name' must be a name, not nothing; give it a value or remove it"),
        ("name: My Distro", "nam: My Distro", "unknown key 'nam'; did you mean 'name'?"),
        ("  format: qcow2", "  arch: aarch64", "6:3: error: key 'arch' is given twice; the first is in line 5"),
        ("  sha256: " + "ab" * 32 + "\n", "", "3:3: error: 'image' has 'url' but not 'sha256'"),
        ("ab" * 32, "ab", "'sha256' must be 64 hexadecimal digits, not 'ab'"),
        ("  format", "  path: x\n  format", "3:3: error: 'image' has both 'path' and 'url'; keep one"),
        ("https://images", "http://images", "only https is fetched (http only from this host itself)"),
        ("https://images", "ftp://images", "'url' must be an https:// address, not 'ftp://"),
        ("https://images", "https://me:secret@images", "it carries a user name or password"),
        ("https://images.example.org", "https://[::1", "is not fetched: it is not a URL"),
        ("format: qcow2", "format: iso", "'format' must be one of raw, qcow2, vhd, vhdx, vmdk, not 'iso'"),
        ("firmware: [uefi]", "firmware: []", "'firmware' has 0 entries; give 1 to 2"),
        ("firmware: [uefi]", "firmware: uefi", "'firmware' must be a list, not 'uefi'; start each entry with '- '"),
        ("firmware: [uefi]", "firmware: [uefi, uefi]", "'uefi' is in 'firmware' twice"),
        ("modules: mods, ", "modules: mods, from: x.deb, ", "'kernel' has both 'from' and 'image'; keep one"),
        ("root=LABEL=r ro", "root=é", "'command_line' must be a kernel command line, not 'root=é'"),
        ("user: debian", "user: 'x; reboot'", "'user' must be a user name, not 'x; reboot'"),
        ("user: debian", "user: -oProxyCommand=x", "'user' must be a user name"),
        ("way_in: key, key: id", "way_in: key", "'way_in: key' needs a key"),
        ("way_in: key, ", "", "'access' has 'key' but not 'way_in'"),
        ("become: sudo, way_in: key, key: id", "way_in: auto", "profile 'bare-metal' already runs, and lets no key of"),
        ("- bios\n", "- boos\n", "unknown profile 'boos'; did you mean 'bios'?"),
        ("- bios\n", "- bios\n  - bios\n", "12:5: error: profile 'bios' is given twice; the first is in line 11"),
        ("name: more", "name: mine", "profile 'mine' is given twice; the first is in line 12"),
        (
            "name: more",
            "name: mine.2of4",
            "'name' must not be 'mine.2of4'; an ending like '.1of4' names a part of a leg",
        ),
        ("name: more", "name: a..b", "'name' must be an id, not 'a..b'; did you mean 'a.b'?"),
        ("name: more", "name: ../../x", "'name' must be an id, not '../../x'; did you mean 'x'?"),
        ("name: more", "name: '***'", "'name' must be an id, not '***'; an id has 1 to 100 of"),
        ("from: mine", "from: later", "unknown profile 'later'"),
        ("from: mine", "from: more", "unknown profile 'more'"),
        ("platform: ssh", "platform: sssh", "unknown platform 'sssh'; did you mean 'ssh'?"),
        ("platform: ssh", "platform: qemu", "platform 'qemu' takes no endpoint"),
        (
            f"\n    endpoint: {{host: 192.0.2.1, port: 2222, host_key: {HOST_KEY}}}",
            "",
            "platform 'ssh' needs an endpoint",
        ),
        ("192.0.2.1", "root@192.0.2.1", "'host' must be a host name or address, not 'root@192.0.2.1'"),
        ("192.0.2.1", "-oProxyCommand", "'host' must be a host name or address"),
        (f", host_key: {HOST_KEY}", "", "'endpoint' lacks the key 'host_key'"),
        (HOST_KEY, "SHA256:abc", "'host_key' must be a public key 'TYPE BASE64'"),
        (
            "cores: 3",
            "cores: 010",
            "'cores' must be a whole number from 1 to 1024, not '010'; write plain decimal digits",
        ),
        ("cores: 3", "cores: 1:30", "not '1:30'; write plain decimal digits"),
        ("cores: 3", "cores: '3'", "not '3'; remove the quotes"),
        ("cores: 3", "cores: 0", "'cores' must be a whole number from 1 to 1024, not '0'"),
        ("cores: 3", "cores: 2.0", "'cores' must be a whole number from 1 to 1024, not '2.0'"),
        ("cores: 3", "cores: " + "9" * 5000, "'cores' must be a whole number from 1 to 1024, not '99999"),
        ("cores: 3", "cores: [3]", "'cores' must be a whole number from 1 to 1024, not a list"),
        ("bus: nvme", "bus: ide", "'bus' must be one of virtio, scsi, nvme, sata, not 'ide'"),
        ("outbound: true", "outbound: on", "'outbound' must be true or false, not 'on'; write true"),
        ("outbound: true", "outbound: 'false'", "'outbound' must be true or false, not 'false'; write false"),
        ("runs_on: self-hosted", "runs_on: '${{ x }}'", "'runs_on' must be a runner label"),
        ("suite: ./suites/mine", "suite: ./suites/gone", "there is no suite in './suites/gone'"),
        ("suite: ./suites/mine", "suite: boott", "unknown suite 'boott'"),
        ("shards: 2", "shards: 257", "'shards' must be a whole number from 1 to 256, not '257'"),
        ("[b*, mine]", "[b*, min]", "'min' matches no profile; did you mean 'mine'?"),
        ("[b*, mine]", "[]", "'profiles' has 0 entries"),
        ("[b*, mine]", "['$(x)']", "'profiles' must be a name or a glob (*, ?, [...]), not '$(x)'"),
        (
            "only: [net-*, clock]",
            "only: [network-*]",
            "'network-*' matches no case; there are: net-dns, net-link, clock",
        ),
        (
            "skip: {clock: no clock here}",
            "skip: [clock]",
            "'skip' must be a mapping, not a list; write 'KEY: VALUE' lines",
        ),
        ("skip: {clock: no clock here}", "skip: {clock: }", "'clock' must be a reason, in words, not nothing"),
        ("skip: {clock: no clock here}", "skip: {Clock: x}", "'key of skip' must be a name or a glob"),
        ("boot: 90s", "boot: 90", "'boot' must be a duration from 1s to 6h, not '90'; add a unit: 90s, 90m or 90h"),
        (
            "boot: 90s",
            "boot: 1:30",
            "'boot' must be a duration from 1s to 6h, not '1:30'; write it as 30s, 5m or 1h30m",
        ),
        ("boot: 90s", "boot: 0s", "'boot' must be a duration from 1s to 6h, not '0s'"),
        ("boot: 90s", "boot: 30s1m", "not '30s1m'"),
        ("boot: 90s", "boot: ''", "'boot' must be a duration from 1s to 6h, not ''"),
        ("boot: 90s", "boot: 999999h", "'boot' must be a duration from 1s to 6h, not '999999h'"),
        ('version: "13.1"', "version: 13.10", "'version' must be a version, but YAML reads '13.10' as a number"),
        ('version: "13.1"', "version: ../x", "'version' must be a version, not '../x'"),
        ("formats: [qcow2]", "formats: [vmdk]", "'formats' must be one of vhd, qcow2, not 'vmdk'"),
        ("allow_empty: true", "allow_empty: yes", "'allow_empty' must be true or false, not 'yes'; write true"),
        ("allow_empty: true", "allow_empty: TRUE", "'allow_empty' must be true or false, not 'TRUE'; write true"),
    ],
)
def test_a_mistake_is_told_with_value_and_hint(folder: Path, old: str, new: str, message: str) -> None:
    told = problems_of(replaced(old, new), folder)
    assert any(message in one for one in told), told
    assert len(told) == 1, told


def test_a_key_is_only_for_its_way_in(folder: Path) -> None:
    told = problems_of(LEAST_PIPELINE + "access: {way_in: auto, key: id}\n", folder)
    assert told == ["lisa-ci.yml:5:29: error: 'key' is only for 'way_in: key'; a key of its own is made for each leg"]


def test_the_image_may_be_missing_only_where_nothing_boots(folder: Path) -> None:
    told = problems_of(LEAST_PIPELINE.replace("image: {path: i.raw}\n", ""), folder)
    message = "'pipeline' lacks the key 'image', which profile 'bios' boots; add 'image:' with 'path' or 'url'"
    assert told == [f"lisa-ci.yml:1:1: error: {message}"]


def test_a_wrong_image_is_not_also_called_missing(folder: Path) -> None:
    assert len(problems_of(LEAST_PIPELINE.replace("{path: i.raw}", "i.raw"), folder)) == 1


def test_a_wrong_profile_does_not_make_the_globs_that_mean_it_wrong(folder: Path) -> None:
    told = problems_of(replaced("cores: 3", "cores: x"), folder)
    assert len(told) == 1


def test_http_is_taken_from_this_machine_itself(folder: Path) -> None:
    found = load(replaced("https://images.example.org", "http://127.0.0.1:8000"), folder)
    assert found.image is not None


def test_a_suite_selected_twice_is_a_mistake(folder: Path) -> None:
    told = problems_of(LEAST_PIPELINE.replace("[./suites/mine]", "[./suites/mine, ./suites/../suites/mine]"), folder)
    assert told == [
        "lisa-ci.yml:4:25: error: suite 'mine' is given twice; one entry per suite; 'profiles' takes several globs"
    ]


def test_long_and_strange_values_are_cut_and_escaped_in_messages(folder: Path) -> None:
    told = problems_of(LEAST_PIPELINE + f'"q{"x" * 9000}\\r\\n::error::": 1\n', folder)
    assert len(told) == 1
    assert len(told[0]) < 300
    assert "\n" not in told[0]


def test_what_a_pipeline_fetches_for_a_suite_is_its_selection_s(folder: Path) -> None:
    entry = "{name: big.tar, url: 'https://example.org/big.tar', sha256: " + "ab" * 32 + "}"
    text = LEAST_PIPELINE.replace("[./suites/mine]", f"[{{suite: ./suites/mine, fetch: [{entry}]}}]")
    assert text != LEAST_PIPELINE
    [selection] = parse_pipeline(text.encode(), "lisa-ci.yml", folder, KNOWN).suites
    assert [one.name for one in selection.fetch] == ["big.tar"]
