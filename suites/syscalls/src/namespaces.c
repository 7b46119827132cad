// Namespaces: leaving them, entering them.
#include "lisa.h"

#include <sched.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static long id_of(const char *kind) {
  char name[64], text[64];
  snprintf(name, sizeof name, "/proc/self/ns/%s", kind);
  ssize_t length = readlink(name, text, sizeof text - 1);
  if (length < 0) skip("no %s", name);
  text[length] = 0;
  const char *number = strchr(text, '[');
  return number ? strtol(number + 1, NULL, 10) : 0;
}

static void leaves(long flag, const char *kind) {
  long before = id_of(kind);
  work(sys(unshare, flag));
  hold(id_of(kind) != before, "still in the old %s namespace", kind);
}

static void unshare_uts(void) {
  char before[65], after[65];
  gethostname(before, sizeof before);
  pid_t process = child();
  if (process == 0) {
    leaves(CLONE_NEWUTS, "uts");
    if (sys(sethostname, "lisa-inside", 11)) fail("cannot set the name inside");
    gethostname(after, sizeof after);
    _exit(strcmp(after, "lisa-inside") != 0);
  }
  equal(reap(process), 0);
  gethostname(after, sizeof after);
  hold(!strcmp(before, after), "the name outside became '%s'", after);
}

static void unshare_mounts(void) {
  leaves(CLONE_NEWNS, "mnt");
}
static void unshare_ipc(void) {
  leaves(CLONE_NEWIPC, "ipc");
}
static void unshare_cgroup(void) {
  leaves(CLONE_NEWCGROUP, "cgroup");
}

static void unshare_net(void) {
  leaves(CLONE_NEWNET, "net");
  FILE *stream = fopen("/proc/self/net/dev", "re");
  char line[512];
  bool has_loopback = false;
  while (stream && fgets(line, sizeof line, stream)) {
    has_loopback |= strstr(line, " lo:") != NULL;
    hold(!strstr(line, "eth") && !strstr(line, "enp"), "a card of the machine is inside: %.20s", line);
  }
  if (stream) fclose(stream);
  hold(has_loopback, "no loopback");
}

static void unshare_pid(void) {
  work(sys(unshare, CLONE_NEWPID));
  pid_t process = child();
  if (process == 0) _exit(getpid());
  equal(reap(process), 1);
}

static void unshare_time(void) {
  work(sys(unshare, CLONE_NEWTIME));
  int file = open("/proc/self/timens_offsets", O_WRONLY);
  hold(file >= 0, "no /proc/self/timens_offsets");
  hold(write(file, "monotonic 100000000 0\n", 22) == 22, "the offset is refused: %s", error_name(errno));
  pid_t process = child();
  if (process == 0) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    _exit(now.tv_sec < 100000000);
  }
  equal(reap(process), 0);
}

static void unshare_user(void) {
  long most = 1, allowed = 1, restricted = 0;
  if (setting("/proc/sys/user/max_user_namespaces", &most) && !most) skip("user.max_user_namespaces is 0");
  if (setting("/proc/sys/kernel/unprivileged_userns_clone", &allowed) && !allowed)
    skip("kernel.unprivileged_userns_clone is 0");
  if (setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", &restricted) && restricted)
    skip("kernel.apparmor_restrict_unprivileged_userns is set");
  char name[65] = "";
  gethostname(name, sizeof name);
  refuse(EPERM, sys(sethostname, name, strlen(name))); // to what it is
  work(sys(unshare, CLONE_NEWUSER | CLONE_NEWUTS));
  work(sys(sethostname, "x", 1)); // all capabilities, in there
  refuse_by(EPERM, EINVAL, sys(setresuid, 0, 0, 0)); // user 0 is not mapped
}

static const struct check unshare_checks[] = {
    {.what = "CLONE_NEWUTS keeps a name inside", .run = unshare_uts, .who = ROOT, .config = "CONFIG_UTS_NS"},
    {.what = "CLONE_NEWNS", .run = unshare_mounts, .who = ROOT},
    {.what = "CLONE_NEWIPC", .run = unshare_ipc, .who = ROOT, .config = "CONFIG_IPC_NS"},
    {.what = "CLONE_NEWCGROUP", .run = unshare_cgroup, .who = ROOT, .since = KERNEL(4, 6), .config = "CONFIG_CGROUPS"},
    {.what = "CLONE_NEWNET starts with a loopback", .run = unshare_net, .who = ROOT, .config = "CONFIG_NET_NS"},
    {.what = "CLONE_NEWPID makes the next child number 1", .run = unshare_pid, .who = ROOT, .config = "CONFIG_PID_NS"},
    {.what = "CLONE_NEWTIME shifts the clock of children", .run = unshare_time, .who = ROOT, .since = KERNEL(5, 6), .config = "CONFIG_TIME_NS"},
    {.what = "nobody has capabilities in a user namespace alone", .run = unshare_user, .who = NOBODY, .config = "CONFIG_USER_NS"},
    {GIVES("an unknown flag", EINVAL, unshare, CLONE_PTRACE)},
    {GIVES("nobody leaves the host's names", EPERM, unshare, CLONE_NEWUTS), .who = NOBODY, .config = "CONFIG_UTS_NS"},
    {GIVES("nobody leaves the mounts", EPERM, unshare, CLONE_NEWNS), .who = NOBODY},
    {GIVES("nobody leaves the network", EPERM, unshare, CLONE_NEWNET), .who = NOBODY, .config = "CONFIG_NET_NS"},
};

// ---- setns ---------------------------------------------------------------------------------------------------------

static void setns_returns(void) {
  long before = id_of("uts");
  int old = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
  leave(CLONE_NEWUTS, "uts");
  work(sys(setns, old, CLONE_NEWUTS));
  equal(id_of("uts"), before);
  refuse(EINVAL, sys(setns, old, CLONE_NEWNET)); // it is of another kind
}

static void setns_by_process(void) {
  leave(CLONE_NEWUTS, "uts"); // so that the child can as well
  pid_t process = child();
  if (process == 0) {
    leave(CLONE_NEWUTS, "uts");
    sys(sethostname, "lisa-other", 10);
    for (;;) pause();
  }
  int held = (int)tool(sys(pidfd_open, process, 0));
  char name[65] = "";
  for (int i = 0; i < 500 && strcmp(name, "lisa-other"); i++) {
    work(sys(setns, held, CLONE_NEWUTS));
    gethostname(name, sizeof name);
    nap(1);
  }
  hold(!strcmp(name, "lisa-other"), "the name is '%s'", name);
  let_go(process);
  refuse(ESRCH, sys(setns, held, CLONE_NEWUTS));
}

static void setns_other_files(void) {
  refuse(EINVAL, sys(setns, open("/dev/null", O_RDONLY), 0));
  refuse(EBADF, sys(setns, -1, 0));
}

static void setns_denied(void) {
  refuse(EPERM, sys(setns, open("/proc/self/ns/uts", O_RDONLY), CLONE_NEWUTS));
  refuse(EPERM, sys(setns, open("/proc/self/ns/mnt", O_RDONLY), CLONE_NEWNS));
}

static const struct check setns_checks[] = {
    {.what = "goes back to where it was", .run = setns_returns, .who = ROOT, .config = "CONFIG_UTS_NS"},
    {.what = "enters by a pidfd", .run = setns_by_process, .who = ROOT, .since = KERNEL(5, 8), .config = "CONFIG_UTS_NS"},
    {.what = "what is no namespace", .run = setns_other_files},
    {.what = "nobody enters, not even where it is", .run = setns_denied, .who = NOBODY, .config = "CONFIG_UTS_NS"},
};

static const struct test_case cases[] = {
    {.id = "unshare", .manual = "unshare(2)", .number = NR_unshare, CHECKS(unshare_checks)},
    {.id = "setns", .manual = "setns(2)", .number = NR_setns, CHECKS(setns_checks)},
};
const struct chapter namespaces = {cases, COUNT(cases)};
