// What must be refused: to nobody what is root's, to everybody what is gone or makes no sense.
//
// Nothing here does harm where a kernel fails to refuse: what is asked for is wrong in a second way as well, changes
// nothing, or ends with the check.
#include "lisa.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

static char buffer[4096] __attribute__((aligned(8)));
static const char nothing[] = "";

// ---- modules and kernels -------------------------------------------------------------------------------------------

static const struct check module_checks[] = {
    {GIVES("init_module", EPERM, init_module, buffer, 16, nothing), .who = NOBODY},
    {GIVES("finit_module", EPERM, finit_module, 0, nothing, 0), .who = NOBODY},
    {GIVES("delete_module", EPERM, delete_module, "lisa_no_such_module", O_NONBLOCK), .who = NOBODY},
    {GIVES("finit_module of no descriptor", EBADF, finit_module, -1, nothing, 0), .who = ROOT, .other_error = EPERM},
    {GIVES("finit_module with an unknown flag", EINVAL, finit_module, -1, nothing, 1 << 20), .who = ROOT, .other_error = EPERM},
    {GIVES("init_module of what is no module", ENOEXEC, init_module, buffer, 16, nothing), .who = ROOT, .other_error = EPERM},
};

static const struct check kexec_checks[] = {
    // Never without a segment: that would throw away a kernel that waits for a crash.
    {GIVES("kexec_load", EPERM, kexec_load, 0, 1000, 0, 0x8000), .who = NOBODY},
    {GIVES("kexec_load with unknown flags and too many segments", EINVAL, kexec_load, 0, 1000, 0, 0x8000), .who = ROOT, .other_error = EPERM},
};

static const struct check kexec_file_checks[] = {
    {GIVES("kexec_file_load", EPERM, kexec_file_load, -1, -1, 0, 0, 0), .who = NOBODY},
    {GIVES("kexec_file_load with unknown flags", EINVAL, kexec_file_load, -1, -1, 0, 0, 1 << 20), .who = ROOT, .other_error = EPERM},
};

static const struct check reboot_checks[] = {
    {GIVES("nobody, with magic numbers that are wrong", EPERM, reboot, 1, 2, 3, 0), .who = NOBODY},
    {GIVES("root, with magic numbers that are wrong", EINVAL, reboot, 1, 2, 3, 0), .who = ROOT},
    {GIVES("root, with the second magic number wrong", EINVAL, reboot, 0xfee1deadUL, 2, 3, 0), .who = ROOT},
};

static const struct check swap_checks[] = {
    {GIVES("swapon", EPERM, swapon, "/nowhere/at/all", 0), .who = NOBODY},
    {GIVES("swapoff", EPERM, swapoff, "/nowhere/at/all"), .who = NOBODY},
    {GIVES("swapon with an unknown flag", EINVAL, swapon, "/nowhere/at/all", 1 << 30), .who = ROOT},
    {GIVES("swapon of a missing file", ENOENT, swapon, "/nowhere/at/all", 0), .who = ROOT},
};

// ---- what is the machine's -----------------------------------------------------------------------------------------

static void log_denied(void) {
  long restricted = 0;
  setting("/proc/sys/kernel/dmesg_restrict", &restricted);
  long got = sys(syslog, 3, buffer, 10); // SYSLOG_ACTION_READ_ALL
  if (restricted)
    refuse(EPERM, got);
  else
    hold(got >= 0 || got == -EPERM, "gives %s", error_name(got)); // CONFIG_SECURITY_DMESG_RESTRICT in older kernels
  refuse(EPERM, sys(syslog, 8, NULL, 99)); // the console's level, to one that there is not
}

static void file_denied(const char *name, int how) {
  long got = sys(openat, AT_FDCWD, name, how, 0);
  if (got == -ENOENT) return; // the safest way to refuse
  hold(got == -EACCES || got == -EPERM, "%s %s for user %d", name, got < 0 ? error_name(got) : "opens", (int)geteuid());
}

static void devices_denied(void) {
  static const char *const names[] = {"/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore", "/dev/cpu/0/msr",
                                      "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/mapper/control", "/dev/loop-control",
                                      "/dev/snapshot", "/dev/watchdog", "/dev/input/event0", "/dev/tty1", "/dev/uinput"};
  for (size_t i = 0; i < COUNT(names); i++) file_denied(names[i], O_RDONLY);
}

static void proc_denied(void) {
  static const char *const read_only[] = {"/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/stack", "/proc/1/syscall",
                                          "/proc/kmsg", "/proc/vmallocinfo", "/proc/slabinfo"};
  static const char *const writable[] = {"/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern",
                                         "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/panic",
                                         "/proc/sys/fs/protected_symlinks", "/proc/1/oom_score_adj", "/sys/power/state",
                                         "/sys/kernel/uevent_helper"};
  for (size_t i = 0; i < COUNT(read_only); i++) {
    int file = open(read_only[i], O_RDONLY); // some are refused when they are read
    if (file < 0) continue;
    hold(read(file, buffer, sizeof buffer) <= 0, "%s can be read by user %d", read_only[i], (int)geteuid());
    close(file);
  }
  for (size_t i = 0; i < COUNT(writable); i++) file_denied(writable[i], O_WRONLY);
}

static void kernel_addresses_hidden(void) {
  long level = 0;
  if (!setting("/proc/sys/kernel/kptr_restrict", &level)) skip("no kernel.kptr_restrict");
  FILE *stream = fopen("/proc/kallsyms", "re");
  unsigned long address;
  if (!stream) return; // not even that
  for (int i = 0; i < 2000 && fscanf(stream, "%lx %*[^\n]", &address) == 1; i++)
    hold(!address, "an address of the kernel is shown to user %d", (int)geteuid());
  fclose(stream);
}

static void names_denied(void) {
  struct utsname now;
  work(uname(&now) ? -errno : 0);
  refuse(EPERM, sys(sethostname, now.nodename, strlen(now.nodename))); // to what they are
  refuse(EPERM, sys(setdomainname, now.domainname, strlen(now.domainname)));
}

static const struct check machine_checks[] = {
    {.what = "the log is read as kernel.dmesg_restrict says, the console is not set", .run = log_denied, .who = NOBODY, .config = "CONFIG_PRINTK"},
    {.what = "devices that reach memory and disks", .run = devices_denied, .who = NOBODY},
    {.what = "files of /proc and /sys that are root's", .run = proc_denied, .who = NOBODY},
    {.what = "addresses in /proc/kallsyms", .run = kernel_addresses_hidden, .who = NOBODY, .config = "CONFIG_KALLSYMS"},
    {.what = "the machine's names", .run = names_denied, .who = NOBODY},
    {GIVES("acct", EPERM, acct, "/nowhere/at/all"), .who = NOBODY, .config = "CONFIG_BSD_PROCESS_ACCT"},
    {GIVES("quotactl of a device", EPERM, quotactl, 0x800002 << 8, "/nowhere/at/all", 0, 0), .who = NOBODY, .other_error = ENOENT, .config = "CONFIG_QUOTACTL"},
    {GIVES("vhangup", EPERM, vhangup), .who = NOBODY},
#if defined(__x86_64__)
    {GIVES("iopl", EPERM, iopl, 3), .who = NOBODY, .config = "CONFIG_X86_IOPL_IOPERM"},
    {GIVES("ioperm", EPERM, ioperm, 0x80, 1, 1), .who = NOBODY, .config = "CONFIG_X86_IOPL_IOPERM"},
    {GIVES("iopl beyond 3", EINVAL, iopl, 4), .config = "CONFIG_X86_IOPL_IOPERM"},
#endif
};

// ---- files ---------------------------------------------------------------------------------------------------------

static void foreign_files(void) {
  int at = scratch();
  close(openat(at, "roots", O_CREAT | O_WRONLY, 0644));
  work(mkdirat(at, "folder", 0755) ? -errno : 0);
  become_nobody();
  refuse(EACCES, sys(openat, at, "roots", O_WRONLY, 0));
  refuse(EPERM, sys(fchownat, at, "roots", USER_ID, USER_ID, 0));
  refuse(EPERM, sys(fchmodat, at, "roots", 0777));
  const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
  refuse(EPERM, sys(utimensat, at, "roots", times, 0));
  refuse(EACCES, sys(openat, at, "folder/new", O_CREAT | O_WRONLY, 0600));
  refuse(EACCES, sys(truncate, "/etc/passwd", 1L << 62)); // a length that no file may have
}

static void own_files(void) {
  int at = scratch();
  int file = openat(at, "own", O_CREAT | O_RDWR, 0600);
  refuse(EPERM, sys(fchownat, at, "own", 0, 0, 0)); // given away
  refuse(EPERM, sys(mknodat, at, "device", S_IFBLK | 0600, makedev(7, 250)));
  refuse(EPERM, sys(mknodat, at, "device", S_IFCHR | 0600, makedev(1, 1)));
  work(sys(mknodat, at, "fifo", S_IFIFO | 0600, 0));
  refuse(EPERM, sys(fchown, file, 0, -1));
  work(sys(fchmod, file, 04700)); // setuid to itself is allowed
}

static void sticky_folder(void) {
  int at = scratch();
  work(mkdirat(at, "sticky", 0777) || fchmodat(at, "sticky", 01777, 0) ? -errno : 0);
  close(openat(at, "sticky/roots", O_CREAT | O_WRONLY, 0666));
  become_nobody();
  refuse(EPERM, sys(unlinkat, at, "sticky/roots", 0));
  refuse(EPERM, sys(renameat, at, "sticky/roots", at, "sticky/mine"));
}

static void new_file_in_root(void) {
  long got = sys(openat, AT_FDCWD, "/lisa-syscalls", O_CREAT | O_WRONLY | O_EXCL, 0600);
  if (got >= 0) unlink("/lisa-syscalls");
  refuse_by(EACCES, EROFS, got);
}

static const struct check file_checks[] = {
    {.what = "files of root's", .run = foreign_files, .who = ROOT},
    {.what = "files are not given away, devices not made", .run = own_files, .who = NOBODY},
    {.what = "files of others in a sticky folder", .run = sticky_folder, .who = ROOT},
    {GIVES("chroot", EPERM, chroot, "/tmp"), .who = NOBODY},
    {.what = "a new file in /", .run = new_file_in_root, .who = NOBODY},
    {GIVES("open_by_handle_at of no handle", EPERM, open_by_handle_at, AT_FDCWD, buffer, 0), .who = NOBODY, .other_error = EINVAL, .config = "CONFIG_FHANDLE"},
};

// ---- identities ----------------------------------------------------------------------------------------------------

static void identities(void) {
  gid_t group = 0;
  refuse(EPERM, sys(setresuid, 0, 0, 0));
  refuse(EPERM, sys(setresgid, 0, 0, 0));
  refuse(EPERM, sys(setuid, 0));
  refuse(EPERM, sys(setgid, 0));
  refuse(EPERM, sys(setreuid, -1, 0));
  refuse(EPERM, sys(setgroups, 1, &group));
  sys(setfsuid, 0); // tells the old one, and changes nothing
  equal(sys(setfsuid, -1), geteuid());
}

static void capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2];
  work(sys(capget, &header, data));
  equal(data[0].effective, 0);
  equal(data[1].effective, 0);
  data[0].effective = data[0].permitted = 1U << CAP_SYS_BOOT;
  refuse(EPERM, sys(capset, &header, data));
  refuse(EPERM, sys(prctl, PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0));
  refuse(EPERM, sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_BOOT, 0, 0));
  header.version = 0x12345678;
  refuse(EINVAL, sys(capget, &header, data));
  equal(header.version, _LINUX_CAPABILITY_VERSION_3); // the version that the kernel wants
}

static void no_new_privileges_stay(void) {
  work(sys(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  refuse(EINVAL, sys(prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  equal(sys(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
  refuse(EINVAL, sys(prctl, 0x7fff, 0, 0, 0, 0));
}

static void first_process(void) { // each value is set to what it is
  static unsigned long processors[128];
  long nice = work(sys(getpriority, PRIO_PROCESS, 1)), size = work(sys(sched_getaffinity, 1, sizeof processors, processors));
  refuse(EPERM, sys(setpriority, PRIO_PROCESS, 1, 20 - nice));
  refuse(EPERM, sys(sched_setaffinity, 1, size, processors));
}

static const struct check identity_checks[] = {
    {.what = "users, groups", .run = identities, .who = NOBODY},
    {.what = "capabilities are gone and do not come back", .run = capabilities, .who = NOBODY},
    {.what = "PR_SET_NO_NEW_PRIVS is for ever", .run = no_new_privileges_stay},
    {GIVES("setpriority above the limit", EACCES, setpriority, PRIO_PROCESS, 0, -19), .who = NOBODY, .other_error = EPERM},
    {.what = "scheduling of process 1", .run = first_process, .who = NOBODY},
    {GIVES("ioprio_set of process 1", EPERM, ioprio_set, 1, 1, 0), .who = NOBODY, .config = "CONFIG_BLOCK"},
    {GIVES("migrate_pages of process 1", EPERM, migrate_pages, 1, 1, (unsigned long[1]){1}, (unsigned long[1]){1}), .who = NOBODY, .config = "CONFIG_NUMA"},
};

static const struct test_case cases[] = {
    {.id = "modules-refused", .manual = "init_module(2)", .number = NR_init_module, .config = "CONFIG_MODULES", CHECKS(module_checks)},
    {.id = "kexec-refused", .manual = "kexec_load(2)", .number = NR_kexec_load, .config = "CONFIG_KEXEC", CHECKS(kexec_checks)},
    {.id = "kexec-file-refused", .manual = "kexec_load(2)", .number = NR_kexec_file_load, .config = "CONFIG_KEXEC_FILE", CHECKS(kexec_file_checks)},
    {.id = "reboot-refused", .manual = "reboot(2)", .number = NR_reboot, CHECKS(reboot_checks)},
    {.id = "swap-refused", .manual = "swapon(2)", .number = NR_swapon, .config = "CONFIG_SWAP", CHECKS(swap_checks)},
    {.id = "machine-refused", .manual = "capabilities(7)", .number = NONE, CHECKS(machine_checks)},
    {.id = "files-refused", .manual = "path_resolution(7), credentials(7)", .number = NONE, CHECKS(file_checks)},
    {.id = "identities-refused", .manual = "credentials(7), capabilities(7)", .number = NONE, CHECKS(identity_checks)},
};
const struct chapter refusals = {cases, COUNT(cases)};
