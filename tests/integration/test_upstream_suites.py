"""The suites of upstream tests: what they find, list and run, on small trees laid out as upstream lays them out.

Their executables run here as in a machine, by every shell that a machine may have.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import files, process, registry
from lisa_ci.drivers.kselftest import KselftestDriver
from lisa_ci.drivers.ktap import KtapDriver
from lisa_ci.drivers.ltp import LtpDriver
from lisa_ci.execution.leg import run_leg
from lisa_ci.model import (
    Access,
    Case,
    Completed,
    Leg,
    Outcome,
    Plan,
    Profile,
    ReleaseSettings,
    Result,
    Subject,
    Suite,
    Task,
    Timeouts,
)
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.protocols import Driver
from tests.doubles.local_machine import LocalMachine, LocalPlatform

ROOT = files.shipped("suites")
TIMEOUT = timedelta(seconds=60)
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "ash"]}


def program(path: Path, text: str, *, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A kselftest tree as ``make install`` leaves it."""
    root = tmp_path / "kselftest"
    program(root / "size" / "get_size", "#!/bin/sh\necho 'TAP version 13\n1..1\nok 1 get runtime memory use'\n")
    program(root / "timers" / "slow", '#!/bin/sh\necho "$BASE_DIR $PWD $*"\nexit 4\n')
    program(root / "timers" / "settings", "# why\ntimeout=210\n", mode=0o644)
    program(root / "net" / "forwarding" / "bridge.sh", "#!/bin/sh\necho no; exit 1\n", mode=0o644)
    program(root / "net" / "config", "CONFIG_NET=y\nCONFIG_LISA_CI_MISSING=m\nCONFIG_HZ=250\n", mode=0o644)
    program(root / "net" / "sub" / "deep", '#!/bin/sh\nbasename "$PWD"\n')
    listed = "size:get_size\ntimers:slow\nnet:sub/deep\nnet/forwarding:bridge.sh\nnet:gone\n"
    program(root / "kselftest-list.txt", listed, mode=0o644)
    return root


@pytest.fixture
def ltp(tmp_path: Path) -> Path:
    """An LTP as ``make install`` leaves it."""
    root = tmp_path / "opt" / "ltp"
    said = "a.c:1: TPASS: $LTPROOT $TMPDIR $LTP_TIMEOUT_MUL $1"
    program(root / "testcases" / "bin" / "abs01", f'#!/bin/sh\necho "{said}"\n')
    program(root / "testcases" / "bin" / "cat01", "#!/bin/sh\ncat >&2\nexit 32\n")
    program(root / "runtest" / "math", "#DESCRIPTION:Math\nabs01 abs01 -n 5\n\nabs01_2 X=two; abs01 $X\n", mode=0o644)
    program(root / "runtest" / "io", "cat01 echo a.c:2: TCONF: none here | cat01\n", mode=0o644)
    program(root / "scenario_groups" / "some", "# files\nmath\nio\n", mode=0o644)
    return root


UML = """\
#!/bin/sh
# A user-mode kernel: lists its tests, or prints the document of the suite that kunit.filter_glob names.
for word; do
  case $word in
    kunit.action=list) exec cat {listing} ;;
    kunit.filter_glob=*) suite=${{word#*=}} ;;
  esac
done
echo 'KTAP version 1'
echo '1..1'
sed -n "/# Subtest: $suite"'$/,/^ok [0-9]* '"$suite"'$/p' {output} |
  sed -e '1i\\    KTAP version 1' -e 's/^ok [0-9]* /ok 1 /'
"""


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> list[str]:
    return SHELLS[str(request.param)]


def placed(name: str, tmp_path: Path) -> Path:
    """The suite's folder as it lies in a machine."""
    return Path(shutil.copytree(ROOT / name, tmp_path / "suites" / name))


def said(shell: list[str], folder: Path, *words: str, environment: Mapping[str, str]) -> Completed:
    finished = process.run([*shell, str(folder / words[0]), *words[1:]], timeout=TIMEOUT, environment=environment)
    return Completed(exit=finished.exit, output=finished.stdout + finished.stderr)


def environment(**more: str) -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", **more}


def ran(driver: Driver, shell: list[str], folder: Path, case: Case, settings: Mapping[str, str]) -> Result:
    run, *words = driver.command(case).arguments
    assert run == "./run"
    return driver.interpret(case, said(shell, folder, "run", *words, environment=settings))


def found(driver: Driver, name: str, shell: list[str], folder: Path, settings: Mapping[str, str]) -> dict[str, Case]:
    listing = said(shell, folder, "list", environment=settings)
    assert listing.exit == 0, listing.output
    suite = Suite(name=name, folder=str(folder), digest="d", driver=name, listing=("./list",))
    return {case.id: case for case in driver.discover(suite, listing.output)}


# ---- kselftest -----------------------------------------------------------------------------------------------------


def test_kselftest_lists_its_tree_with_times_and_missing_options(shell: list[str], tree: Path, tmp_path: Path) -> None:
    folder, driver = placed("kselftest", tmp_path), KselftestDriver()
    config = tmp_path / "config"
    config.write_text("CONFIG_NET=y\nCONFIG_HZ=100\n# CONFIG_LISA_CI_MISSING is not set\n")
    lister = folder / "list"
    lister.write_text(lister.read_text().replace('"/boot/config-$(uname -r)"', f'"{config}"'))
    cases = found(driver, "kselftest", shell, folder, environment(KSELFTEST_DIR=str(tree)))
    assert list(cases) == ["size.get_size", "timers.slow", "net.sub-deep", "net-forwarding.bridge.sh", "net.gone"]
    default, slow = cases["size.get_size"].timeout, cases["timers.slow"].timeout
    assert default is not None
    assert slow is not None
    assert slow / default == 210 / 45  # both longer by the same factor on a slow machine
    assert cases["net.gone"].requires == {"CONFIG_LISA_CI_MISSING": "y"}
    assert cases["net-forwarding.bridge.sh"].requires == {}


def test_kselftest_runs_each_program_in_its_folder_as_upstream_does(
    shell: list[str], tree: Path, tmp_path: Path
) -> None:
    folder, driver = placed("kselftest", tmp_path), KselftestDriver()
    settings = environment(KSELFTEST_DIR=str(tree), KSELFTEST_SLOW_ARGS="-n 5")
    cases = found(driver, "kselftest", shell, folder, settings)
    results = {name: ran(driver, shell, folder, case, settings) for name, case in cases.items()}
    assert {name: result.outcome.value for name, result in results.items()} == {
        "size.get_size": "passed",
        "timers.slow": "skipped",
        "net.sub-deep": "passed",
        "net-forwarding.bridge.sh": "failed",  # not executable, run by its interpreter
        "net.gone": "skipped" if cases["net.gone"].requires else "failed",
    }
    assert results["timers.slow"].message == f"{tree} {tree}/timers -n 5"
    assert results["net-forwarding.bridge.sh"].message == "exit 1: no"
    assert "net/gone is missing" in results["net.gone"].message


def test_kselftest_unpacks_a_tar_file_beside_it_once(shell: list[str], tree: Path, tmp_path: Path) -> None:
    folder, driver = placed("kselftest", tmp_path), KselftestDriver()
    process.check(["tar", "-c", "-z", "-f", folder / "kselftest.tar.gz", "-C", tree.parent, tree.name], timeout=TIMEOUT)
    cases = found(driver, "kselftest", shell, folder, environment())
    (folder / "kselftest.tar.gz").unlink()
    assert ran(driver, shell, folder, cases["size.get_size"], environment()).outcome is Outcome.PASSED


@pytest.mark.parametrize("name", ["kselftest", "ltp"])
def test_a_machine_without_the_tests_says_where_they_were_looked_for(
    name: str, shell: list[str], tmp_path: Path
) -> None:
    completed = said(shell, placed(name, tmp_path), "list", environment=environment())
    assert completed.exit == 1
    assert b"/opt/" in completed.output


# ---- LTP -----------------------------------------------------------------------------------------------------------


def test_ltp_lists_files_and_groups_and_runs_commands_in_its_environment(
    shell: list[str], ltp: Path, tmp_path: Path
) -> None:
    folder, driver = placed("ltp", tmp_path), LtpDriver()
    settings = environment(LTPROOT=str(ltp), LTP_RUNTEST="some math")
    cases = found(driver, "ltp", shell, folder, settings)
    assert list(cases) == ["abs01", "abs01_2", "cat01"]
    results = {name: ran(driver, shell, folder, case, settings) for name, case in cases.items()}
    assert {name: result.outcome.value for name, result in results.items()} == {
        "abs01": "passed",
        "abs01_2": "passed",
        "cat01": "skipped",
    }
    root, place, factor, last = results["abs01_2"].children[0].name.split()
    assert (root, place, last) == (str(ltp), "/var/tmp", "two")
    assert 1 <= int(factor) <= 20


def test_ltp_takes_the_time_factor_and_the_folder_that_it_is_given(shell: list[str], ltp: Path, tmp_path: Path) -> None:
    folder, driver = placed("ltp", tmp_path), LtpDriver()
    settings = environment(LTPROOT=str(ltp), LTP_RUNTEST="math", LTP_TIMEOUT_MUL="7", TMPDIR=str(tmp_path))
    result = ran(driver, shell, folder, found(driver, "ltp", shell, folder, settings)["abs01"], settings)
    assert result.children[0].name == f"{ltp} {tmp_path} 7 -n"


def test_an_unknown_runtest_file_is_no_empty_list(shell: list[str], ltp: Path, tmp_path: Path) -> None:
    settings = environment(LTPROOT=str(ltp), LTP_RUNTEST="math no-such")
    assert said(shell, placed("ltp", tmp_path), "list", environment=settings).exit == 1


# ---- KUnit ---------------------------------------------------------------------------------------------------------


def test_kunit_runs_each_suite_of_a_user_mode_kernel_beside_it(shell: list[str], tmp_path: Path) -> None:
    """The kernel is one that prints what a real one printed; the suites are those that kunit.py lists."""
    folder, driver = placed("kunit", tmp_path), KtapDriver()
    captured = Path(__file__).parents[1] / "cases/kunit"
    listing, output = captured / "uml-6.1-list.log", captured / "uml-6.1.log"
    program(folder / "linux", UML.format(listing=listing, output=output))
    cases = {
        name: case for name, case in found(driver, "kunit", shell, folder, environment()).items() if "uml." in name
    }
    assert len(cases) == 27
    assert {"uml.kunit-try-catch-test", "uml.sysctl_test", "uml.time_test_cases"} < cases.keys()
    assert driver.command(cases["uml.cpumask"]).arguments == ("sh", "-c", "./run uml cpumask")
    completed = said(shell, folder, "run", "uml", "cpumask", environment=environment())
    result = driver.interpret(cases["uml.cpumask"], completed)
    assert result.outcome is Outcome.PASSED
    assert [len(suite.children) for suite in result.children] == [6]


BOOT_LOG = """\
[    0.000000] Linux version 6.1.0 (root@host) #1
[    1.500000] usb 1-1: new device
[    1.600000] KTAP version 1
[    1.600001] 1..1
[    1.600002]     KTAP version 1
[    1.600003]     # Subtest: resource
[    1.600004]     1..2
[    1.600005]     ok 1 union
[    1.600006] clocksource: tsc
[    1.600007]     not ok 2 intersection
[    1.600008] not ok 1 resource
[    1.700000] Run /sbin/init as init process
[    2.000000]     # Subtest: of a module
"""


@pytest.mark.parametrize("shell", ["bash", "dash"], indirect=True)  # busybox takes its own dmesg for any other
def test_kunit_reads_the_log_where_there_is_no_debugfs_of_it(shell: list[str], tmp_path: Path) -> None:
    folder, driver = placed("kunit", tmp_path), KtapDriver()
    program(tmp_path / "tools/dmesg", f"#!/bin/sh\ncat <<'end'\n{BOOT_LOG}end\n")
    settings = {"PATH": f"{tmp_path}/tools:{environment()['PATH']}"}
    cases = found(driver, "kunit", shell, folder, settings)
    assert driver.command(cases["builtin.log"]).arguments == ("sh", "-c", "./run log")
    result = driver.interpret(cases["builtin.log"], said(shell, folder, "run", "log", environment=settings))
    assert (result.outcome, [suite.name for suite in result.children]) == (Outcome.FAILED, ["resource"])
    assert [test.outcome.value for test in result.children[0].children] == ["passed", "failed"]


def test_a_user_mode_kernel_that_tells_of_no_tests_is_no_empty_list(shell: list[str], tmp_path: Path) -> None:
    folder = placed("kunit", tmp_path)
    program(folder / "linux", "#!/bin/sh\necho 'Kernel panic - not syncing: no memory'\nexit 134\n")
    completed = said(shell, folder, "list", environment=environment())
    assert completed.exit == 1
    assert b"no memory" in completed.output


def test_shellcheck_has_nothing_to_say() -> None:
    paths = [ROOT / name / file for name in ("kselftest", "ltp") for file in ("prepare", "list", "run")]
    paths += [ROOT / "kunit" / file for file in ("list", "run", "uml")]
    process.check(["shellcheck", *paths], timeout=TIMEOUT)


# ---- the whole way -------------------------------------------------------------------------------------------------


def test_a_leg_lists_runs_and_judges_both_suites(tree: Path, ltp: Path, tmp_path: Path) -> None:
    settings = {"kselftest": {"KSELFTEST_DIR": str(tree)}, "ltp": {"LTPROOT": str(ltp), "LTP_RUNTEST": "some"}}
    suites = {
        name: replace(load_suite(placed(name, tmp_path), registry.known()), environment=given)
        for name, given in settings.items()
    }
    leg = Leg(id="leg", profile=Profile(name="small"), tasks=tuple(Task(suite=name) for name in suites))
    plan = Plan(
        name="p",
        subject=Subject(),
        access=Access(),
        timeouts=Timeouts(),
        release=ReleaseSettings(),
        suites=(),
        legs=(leg,),
    )
    run_leg(
        plan,
        "digest",
        leg,
        platform=LocalPlatform(LocalMachine()),
        driver=registry.driver,
        scenario=registry.scenario,
        suites=suites,
        out=tmp_path / "out",
        emit=lambda _: None,
    )
    results = {result.key: result for result in files.read_journal(tmp_path / "out" / "leg" / "journal.ndjson")}
    assert {key: result.outcome.value for key, result in results.items()} == {
        "kselftest#size.get_size": "passed",
        "kselftest#timers.slow": "skipped",
        "kselftest#net.sub-deep": "passed",
        "kselftest#net-forwarding.bridge.sh": "failed",
        "kselftest#net.gone": results["kselftest#net.gone"].outcome.value,  # as this host's kernel was built
        "ltp#abs01": "passed",
        "ltp#abs01_2": "passed",
        "ltp#cat01": "skipped",
    }
    assert results["kselftest#net-forwarding.bridge.sh"].file == "tools/testing/selftests/net/forwarding/bridge.sh"
    assert [child.name for child in results["kselftest#size.get_size"].children] == ["get runtime memory use"]
    assert results["ltp#cat01"].message == "none here"
