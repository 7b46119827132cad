// Making processes, holding them, waiting for them.
#include "lisa.h"

#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define CLONE_CLEAR_SIGHAND_ 0x100000000ULL
#define CLONE_INTO_CGROUP_ 0x200000000ULL

struct arguments { // struct clone_args
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static long clone_by(struct arguments *arguments, size_t size) {
  return sys(clone3, arguments, size);
}

// ---- clone3 --------------------------------------------------------------------------------------------------------

static void clone3_makes(void) {
  struct arguments arguments = {.exit_signal = SIGCHLD};
  long process = work(clone_by(&arguments, 64)); // the size of its first version
  if (process == 0) _exit(7);
  equal(reap((pid_t)process), 7);
}

static void clone3_pidfd(void) {
  int held = -1, known = 0;
  struct arguments arguments = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID,
                                .pidfd = (uintptr_t)&held,
                                .parent_tid = (uintptr_t)&known,
                                .exit_signal = SIGCHLD};
  long process = work(clone_by(&arguments, 64));
  if (process == 0) _exit(0);
  equal(known, process);
  equal(tool(sys(fcntl, held, F_GETFD)), FD_CLOEXEC);
  struct pollfd wanted = {.fd = held, .events = POLLIN};
  equal(poll(&wanted, 1, 2000), 1);
  equal(reap((pid_t)process), 0);
}

static void on_signal(int number) {
  (void)number;
}

static void clone3_handlers(void) {
  signal(SIGUSR1, on_signal);
  struct arguments arguments = {.flags = CLONE_CLEAR_SIGHAND_, .exit_signal = SIGCHLD};
  long process = work(clone_by(&arguments, 64));
  if (process == 0) {
    struct sigaction now;
    _exit(sigaction(SIGUSR1, NULL, &now) || now.sa_handler != SIG_DFL);
  }
  equal(reap((pid_t)process), 0);
}

static void clone3_number(void) { // the first process of a new namespace is 1, the next may be told
  leave(CLONE_NEWPID, "pid_for_children");
  struct arguments arguments = {.exit_signal = SIGCHLD};
  long first = tool(clone_by(&arguments, 64));
  if (first == 0) {
    pid_t number = 77;
    struct arguments told = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&number, .set_tid_size = 1};
    long second = clone_by(&told, 80);
    if (second == 0) _exit(getpid() == 77 ? 0 : 1);
    _exit(second != 77 ? 2 : reap((pid_t)second));
  }
  equal(reap((pid_t)first), 0);
}

static void clone3_sizes(void) {
  struct {
    struct arguments first;
    uint64_t more;
  } wide = {.first = {.exit_signal = SIGCHLD}, .more = 1};
  refuse(EINVAL, clone_by(&wide.first, 56));
  refuse(E2BIG, clone_by(&wide.first, sizeof wide));
  refuse(E2BIG, clone_by(&wide.first, 1 << 20));
  refuse(EFAULT, sys(clone3, 8L, 64));
}

static void clone3_strict(void) {
  static const struct {
    const char *what;
    struct arguments arguments;
  } wrong[] = {
      {"an unknown flag", {.flags = 1ULL << 40, .exit_signal = SIGCHLD}},
      {"a signal beyond 64", {.exit_signal = 65}},
      {"CLONE_DETACHED", {.flags = CLONE_DETACHED, .exit_signal = SIGCHLD}},
      {"a signal in the flags", {.flags = SIGCHLD}},
      {"CLONE_SIGHAND without CLONE_VM", {.flags = CLONE_SIGHAND, .exit_signal = SIGCHLD}},
      {"CLONE_THREAD without CLONE_SIGHAND", {.flags = CLONE_THREAD}},
      {"CLONE_FS with CLONE_NEWNS", {.flags = CLONE_FS | CLONE_NEWNS, .exit_signal = SIGCHLD}},
      {"CLONE_SIGHAND with CLONE_CLEAR_SIGHAND", {.flags = CLONE_VM | CLONE_SIGHAND | CLONE_CLEAR_SIGHAND_, .exit_signal = SIGCHLD}},
      {"a stack without a size", {.exit_signal = SIGCHLD, .stack = 4096}},
      {"a size without a stack", {.exit_signal = SIGCHLD, .stack_size = 4096}},
      {"a thread with a signal at its end", {.flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, .exit_signal = SIGCHLD}},
  };
  for (size_t i = 0; i < COUNT(wrong); i++) {
    struct arguments arguments = wrong[i].arguments;
    long got = clone_by(&arguments, 64);
    if (got == 0) _exit(0);
    hold(got == -EINVAL, "%s gives %s, not EINVAL", wrong[i].what, got < 0 ? error_name(got) : "a process");
  }
}

static void clone3_group(void) {
  struct arguments arguments = {.flags = CLONE_INTO_CGROUP_, .exit_signal = SIGCHLD, .cgroup = 5000};
  long got = clone_by(&arguments, sizeof arguments);
  if (got == 0) _exit(0);
  refuse(EBADF, got);
}

static void clone3_denied(void) {
  pid_t number = 77;
  struct arguments told = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&number, .set_tid_size = 1};
  long got = clone_by(&told, 80);
  if (got == 0) _exit(0);
  refuse(EPERM, got);
  struct arguments space = {.flags = CLONE_NEWNET, .exit_signal = SIGCHLD};
  got = clone_by(&space, 64);
  if (got == 0) _exit(0);
  refuse_by(EPERM, EINVAL, got);
}

static const struct check clone3_checks[] = {
    {.what = "makes a process", .run = clone3_makes},
    {.what = "CLONE_PIDFD gives a descriptor of it", .run = clone3_pidfd},
    {.what = "CLONE_CLEAR_SIGHAND resets handlers", .run = clone3_handlers, .since = KERNEL(5, 5)},
    {.what = "set_tid chooses the number", .run = clone3_number, .who = ROOT, .since = KERNEL(5, 5), .config = "CONFIG_PID_NS"},
    {.what = "its structure may grow with zeros alone", .run = clone3_sizes},
    {.what = "flags that do not go together", .run = clone3_strict},
    {.what = "CLONE_INTO_CGROUP wants a descriptor", .run = clone3_group, .since = KERNEL(5, 7), .config = "CONFIG_CGROUPS"},
    {.what = "nobody chooses numbers or makes network namespaces", .run = clone3_denied, .who = NOBODY, .since = KERNEL(5, 5)},
};

// ---- pidfds --------------------------------------------------------------------------------------------------------

static void pidfd_polls(void) {
  pid_t process = child();
  if (process == 0) {
    nap(5);
    _exit(9);
  }
  int held = (int)work(sys(pidfd_open, process, 0));
  equal(tool(sys(fcntl, held, F_GETFD)), FD_CLOEXEC);
  struct pollfd wanted = {.fd = held, .events = POLLIN};
  equal(poll(&wanted, 1, 2000), 1);
  equal(reap(process), 9);
}

static void pidfd_gone(void) {
  pid_t process = child();
  if (process == 0) _exit(0);
  reap(process);
  refuse(ESRCH, sys(pidfd_open, process, 0));
}

static void pidfd_nonblocking(void) {
  pid_t process = child();
  if (process == 0) pause();
  int held = (int)work(sys(pidfd_open, process, O_NONBLOCK));
  siginfo_t facts;
  long got = sys(waitid, P_PIDFD, held, &facts, WEXITED, NULL);
  refuse(EAGAIN, got == -ENOSYS ? tool(got) : got);
  let_go(process);
}

static const struct check pidfd_open_checks[] = {
    {.what = "is readable when the process ends", .run = pidfd_polls},
    {.what = "a process that is gone", .run = pidfd_gone},
    {.what = "PIDFD_NONBLOCK does not wait", .run = pidfd_nonblocking, .since = KERNEL(5, 10)},
    {GIVES("process 0", EINVAL, pidfd_open, 0, 0)},
    {GIVES("process -1", EINVAL, pidfd_open, -1, 0)},
    {GIVES("an unknown flag", EINVAL, pidfd_open, 1, 1 << 20)},
};

static int held_child(pid_t *process) {
  *process = child();
  if (*process == 0)
    for (;;) pause();
  return (int)tool(sys(pidfd_open, *process, 0));
}

static void pidfd_signals(void) {
  pid_t process;
  int held = held_child(&process);
  work(sys(pidfd_send_signal, held, 0, NULL, 0));
  work(sys(pidfd_send_signal, held, SIGTERM, NULL, 0));
  equal(reap(process), -SIGTERM);
  refuse(ESRCH, sys(pidfd_send_signal, held, 0, NULL, 0));
}

static void pidfd_signal_refused(void) {
  pid_t process;
  int held = held_child(&process);
  siginfo_t facts = {.si_signo = SIGUSR2, .si_code = SI_QUEUE};
  refuse(EINVAL, sys(pidfd_send_signal, held, 99, NULL, 0));
  refuse(EINVAL, sys(pidfd_send_signal, held, SIGUSR1, &facts, 0)); // two signals
  refuse(EINVAL, sys(pidfd_send_signal, held, 0, NULL, 1U << 20));
  refuse(EBADF, sys(pidfd_send_signal, open("/dev/null", O_RDONLY), 0, NULL, 0));
  facts = (siginfo_t){.si_signo = SIGUSR1, .si_code = SI_USER};
  refuse(EPERM, sys(pidfd_send_signal, held, SIGUSR1, &facts, 0)); // it looks like the kernel's own
  let_go(process);
}

static void pidfd_signal_denied(void) {
  int held = (int)tool(sys(pidfd_open, 1, 0));
  become_nobody();
  refuse(EPERM, sys(pidfd_send_signal, held, 0, NULL, 0));
}

static const struct check pidfd_signal_checks[] = {
    {.what = "sends a signal, and none to who is gone", .run = pidfd_signals},
    {.what = "unknown signals and flags, other files, forged senders", .run = pidfd_signal_refused},
    {.what = "nobody signals a process of root's", .run = pidfd_signal_denied, .who = ROOT},
};

static void pidfd_copies(void) {
  int file = memory_file("from the child");
  pid_t process = child();
  if (process == 0) {
    dup2(file, 123);
    for (;;) pause();
  }
  int held = (int)tool(sys(pidfd_open, process, 0)), copy = -EBADF;
  for (int i = 0; i < 200 && copy == -EBADF; i++) {
    copy = (int)sys(pidfd_getfd, held, 123, 0);
    if (copy == -EBADF) nap(2);
  }
  char got[32] = "";
  work(copy);
  equal(tool(sys(fcntl, copy, F_GETFD)), FD_CLOEXEC);
  equal(pread(copy, got, sizeof got, 0), 14);
  refuse(EBADF, sys(pidfd_getfd, held, 5000, 0));
  refuse(EINVAL, sys(pidfd_getfd, held, 123, 1));
  let_go(process);
  refuse(ESRCH, sys(pidfd_getfd, held, 123, 0));
}

static void pidfd_copy_denied(void) {
  int held = (int)tool(sys(pidfd_open, 1, 0));
  become_nobody();
  refuse(EPERM, sys(pidfd_getfd, held, 0, 0));
}

static const struct check pidfd_getfd_checks[] = {
    {.what = "copies a descriptor of another process", .run = pidfd_copies},
    {.what = "nobody copies from root's", .run = pidfd_copy_denied, .who = ROOT},
    {GIVES("no pidfd", EBADF, pidfd_getfd, 0, 0, 0)},
};

// ---- process_madvise, process_mrelease -----------------------------------------------------------------------------

static void advise_child(void) {
  pid_t process;
  void *memory = pages(2);
  memset(memory, 1, 2 * PAGE);
  int held = held_child(&process);
  struct iovec range = {memory, 2 * PAGE};
  equal(sys(process_madvise, held, &range, 1, MADV_COLD, 0), 2 * PAGE);
  refuse(EINVAL, sys(process_madvise, held, &range, 1, MADV_COLD, 1));
  refuse(EINVAL, sys(process_madvise, held, &range, 1, 9999, 0));
  refuse(EINVAL, sys(process_madvise, held, &range, 1, MADV_DONTNEED, 0)); // destroys, so not for others
  refuse(EBADF, sys(process_madvise, open("/dev/null", O_RDONLY), &range, 1, MADV_COLD, 0));
  let_go(process);
}

static const struct check process_madvise_checks[] = {
    {.what = "advises, and refuses what destroys", .run = advise_child, .who = ROOT, .config = "CONFIG_SWAP"},
    {GIVES("no descriptor", EBADF, process_madvise, -1, 0, 0, 20, 0)},
};

static void mrelease(void) {
  pid_t process;
  int held = held_child(&process);
  refuse(EINVAL, sys(process_mrelease, held, 0)); // it is not dying
  refuse(EINVAL, sys(process_mrelease, held, 1));
  sys(tgkill, process, process, SIGKILL);
  long got = sys(process_mrelease, held, 0);
  hold(got == 0 || got == -ESRCH, "after SIGKILL: %s", error_name(got));
  reap(process);
  refuse(ESRCH, sys(process_mrelease, held, 0));
}

static const struct check mrelease_checks[] = {
    {.what = "releases memory of the dying alone", .run = mrelease},
    {GIVES("no pidfd", EBADF, process_mrelease, 0, 0)},
};

// ---- memory of others ----------------------------------------------------------------------------------------------

static void vm_reads(void) {
  static char text[16] = "of the parent";
  char got[16] = "";
  pid_t process = child();
  if (process == 0)
    for (;;) pause();
  strcpy(text, "changed");
  struct iovec here = {got, sizeof got}, there = {text, sizeof text};
  equal(sys(process_vm_readv, process, &here, 1, &there, 1, 0), sizeof got);
  hold(!strcmp(got, "of the parent"), "read '%s'", got);
  equal(sys(process_vm_writev, process, &there, 1, &there, 1, 0), sizeof text);
  equal(sys(process_vm_readv, process, &here, 1, &there, 1, 0), sizeof got);
  hold(!strcmp(got, "changed"), "read '%s' after writing", got);
  refuse(EINVAL, sys(process_vm_readv, process, &here, 1, &there, 1, 1));
  there.iov_base = (void *)8;
  refuse(EFAULT, sys(process_vm_readv, process, &here, 1, &there, 1, 0));
  let_go(process);
  there.iov_base = text;
  refuse(ESRCH, sys(process_vm_readv, process, &here, 1, &there, 1, 0));
}

static void vm_denied(void) {
  char got[16];
  struct iovec here = {got, sizeof got}, there = {(void *)8, sizeof got}; // where no memory is
  refuse(EPERM, sys(process_vm_readv, 1, &here, 1, &there, 1, 0));
  refuse(EPERM, sys(process_vm_writev, 1, &here, 1, &there, 1, 0));
}

static const struct check vm_checks[] = {
    {.what = "reads and writes memory of a child", .run = vm_reads},
    {.what = "nobody reads or writes root's memory", .run = vm_denied, .who = NOBODY},
};

static void kcmp_compares(void) {
  pid_t me = getpid();
  int one = open("/dev/null", O_RDONLY), same = dup(one), other = open("/dev/null", O_RDONLY);
  equal(sys(kcmp, me, me, 0, one, same), 0); // KCMP_FILE
  long order = work(sys(kcmp, me, me, 0, one, other));
  hold(order == 1 || order == 2, "two files compare as %ld", order);
  equal(sys(kcmp, me, me, 0, other, one), 3 - order);
  equal(sys(kcmp, me, me, 1, 0, 0), 0); // KCMP_VM
  refuse(EINVAL, sys(kcmp, me, me, 99, 0, 0));
  refuse(EBADF, sys(kcmp, me, me, 0, one, 5000));
}

static const struct check kcmp_checks[] = {
    {.what = "tells whether two descriptors are one file", .run = kcmp_compares},
    {GIVES("nobody compares root's", EPERM, kcmp, 1, 1, 0, 0, 0), .who = NOBODY},
    {GIVES("no such process", ESRCH, kcmp, 0x7ffffff0, 0x7ffffff0, 0, 0, 0)},
};

// ---- ptrace --------------------------------------------------------------------------------------------------------

static void ptrace_seizes(void) {
  pid_t process;
  process = child();
  if (process == 0)
    for (;;) pause();
  int status;
  work(sys(ptrace, PTRACE_SEIZE, process, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
  work(sys(ptrace, PTRACE_INTERRUPT, process, 0, 0));
  equal(waitpid(process, &status, 0), process);
  hold(WIFSTOPPED(status), "it did not stop");
  errno = 0;
  refuse(EPERM, sys(ptrace, PTRACE_SEIZE, process, 0, 0)); // it has a tracer
  refuse(EIO, sys(ptrace, 0x7fff, process, 0, 0));
  work(sys(ptrace, PTRACE_DETACH, process, 0, 0));
  refuse(ESRCH, sys(ptrace, PTRACE_DETACH, process, 0, 0));
  let_go(process);
}

static void ptrace_sees_calls(void) {
  pid_t process = child();
  if (process == 0) {
    sys(ptrace, PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    raw(NR_dup3, 1, 1, 0, 0, 0, 0);
    _exit(0);
  }
  int status;
  uint64_t facts[16];
  equal(waitpid(process, &status, 0), process);
  work(sys(ptrace, PTRACE_SETOPTIONS, process, 0, PTRACE_O_TRACESYSGOOD));
  for (int i = 0; i < 200; i++) {
    work(sys(ptrace, PTRACE_SYSCALL, process, 0, 0));
    equal(waitpid(process, &status, 0), process);
    hold(WIFSTOPPED(status), "it ended before the call was seen");
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) continue;
    hold(sys(ptrace, 0x420e, process, sizeof facts, facts) > 0, "PTRACE_GET_SYSCALL_INFO"); // entry: number is word 3
    if ((facts[0] & 0xff) == 1 && facts[3] == NR_dup3) {
      let_go(process);
      return;
    }
  }
  fail("dup3 was never seen");
}

static const struct check ptrace_checks[] = {
    {.what = "seizes, stops and lets go", .run = ptrace_seizes},
    {.what = "PTRACE_GET_SYSCALL_INFO tells the number of a call", .run = ptrace_sees_calls, .since = KERNEL(5, 3)},
    {GIVES("nobody traces process 1", EPERM, ptrace, PTRACE_SEIZE, 1, 0, 0), .who = NOBODY},
    {GIVES("no such process", ESRCH, ptrace, PTRACE_ATTACH, 0x7ffffff0, 0, 0)},
};

// ---- limits and scheduling -----------------------------------------------------------------------------------------

static void prlimit_sets(void) {
  uint64_t now[2], small[2] = {50, 60};
  work(sys(prlimit64, 0, RLIMIT_NOFILE, small, NULL));
  work(sys(prlimit64, 0, RLIMIT_NOFILE, NULL, now));
  equal(now[0], 50);
  equal(now[1], 60);
  long copy = 0;
  for (int i = 0; i < 60 && copy >= 0; i++) copy = sys(dup, 1);
  refuse(EMFILE, copy);
  small[0] = 61;
  refuse(EINVAL, sys(prlimit64, 0, RLIMIT_NOFILE, small, NULL)); // soft above hard
}

static void prlimit_denied(void) {
  uint64_t limits[2];
  work(sys(prlimit64, 0, RLIMIT_CORE, NULL, limits));
  limits[0] = 0, limits[1] = 1;
  work(sys(prlimit64, 0, RLIMIT_CORE, limits, NULL));
  limits[1] = 2;
  refuse(EPERM, sys(prlimit64, 0, RLIMIT_CORE, limits, NULL));
  refuse(EPERM, sys(prlimit64, 1, RLIMIT_CORE, NULL, limits));
}

static const struct check prlimit_checks[] = {
    {.what = "sets and tells limits", .run = prlimit_sets},
    {.what = "nobody raises a hard limit or sees root's", .run = prlimit_denied, .who = NOBODY},
    {GIVES("an unknown resource", EINVAL, prlimit64, 0, 99, 0, 0)},
    {GIVES("no such process", ESRCH, prlimit64, 0x7ffffff0, 0, 0, 0)},
};

struct scheduling { // struct sched_attr
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t least, most;
};

static void scheduling_sets(void) {
  struct scheduling now = {0}, wanted = {.size = 48, .policy = SCHED_BATCH, .nice = 5};
  work(sys(sched_setattr, 0, &wanted, 0));
  work(sys(sched_getattr, 0, &now, sizeof now, 0));
  equal(now.policy, SCHED_BATCH);
  equal(now.nice, 5);
  hold(now.size >= 48, "the kernel's structure has %u bytes", now.size);
}

static void scheduling_refused(void) {
  struct scheduling wanted = {.size = 48, .policy = 77};
  refuse(EINVAL, sys(sched_setattr, 0, &wanted, 0));
  wanted.policy = SCHED_BATCH;
  refuse(EINVAL, sys(sched_setattr, 0, &wanted, 1));
  wanted.flags = 1ULL << 40;
  refuse(EINVAL, sys(sched_setattr, 0, &wanted, 0));
  wanted = (struct scheduling){.size = 16};
  refuse(E2BIG, sys(sched_setattr, 0, &wanted, 0));
  hold(wanted.size >= 48, "the size that the kernel wants was not told");
  refuse(EINVAL, sys(sched_getattr, 0, &wanted, 40, 0)); // less than the first version
  wanted = (struct scheduling){.size = 48, .policy = SCHED_FIFO};
  refuse(EINVAL, sys(sched_setattr, 0, &wanted, 0)); // needs a priority
}

static void scheduling_denied(void) {
  struct scheduling wanted = {.size = 48, .policy = SCHED_FIFO, .priority = 1};
  uint64_t none[2] = {0, 0};
  tool(sys(prlimit64, 0, RLIMIT_NICE, none, NULL));
  tool(sys(prlimit64, 0, RLIMIT_RTPRIO, none, NULL));
  refuse(EPERM, sys(sched_setattr, 0, &wanted, 0));
  wanted = (struct scheduling){.size = 48, .nice = -5};
  refuse(EPERM, sys(sched_setattr, 0, &wanted, 0));
}

static const struct check scheduling_checks[] = {
    {.what = "sets policy and niceness", .run = scheduling_sets},
    {.what = "unknown policies and flags, wrong sizes", .run = scheduling_refused},
    {.what = "nobody becomes real-time or less nice", .run = scheduling_denied, .who = NOBODY},
    {GIVES("no such process", ESRCH, sched_getattr, 0x7ffffff0, (long[16]){0}, 48, 0)},
};

// ---- waitid, membarrier, execveat ----------------------------------------------------------------------------------

static void waitid_keeps(void) {
  siginfo_t facts = {0};
  pid_t process = child();
  if (process == 0) _exit(4);
  work(sys(waitid, P_PID, process, &facts, WEXITED | WNOWAIT, NULL));
  equal(facts.si_status, 4);
  work(sys(waitid, P_PID, process, &facts, WEXITED, NULL));
  refuse(ECHILD, sys(waitid, P_PID, process, &facts, WEXITED, NULL));
}

static void waitid_by_pidfd(void) {
  siginfo_t facts = {0};
  pid_t process = child();
  if (process == 0) _exit(5);
  int held = (int)tool(sys(pidfd_open, process, 0));
  work(sys(waitid, P_PIDFD, held, &facts, WEXITED, NULL));
  equal(facts.si_pid, process);
  equal(facts.si_status, 5);
}

static const struct check waitid_checks[] = {
    {.what = "WNOWAIT leaves the child to be waited for", .run = waitid_keeps},
    {.what = "P_PIDFD waits for whom it holds", .run = waitid_by_pidfd, .since = KERNEL(5, 4)},
    {GIVES("no option", EINVAL, waitid, P_ALL, 0, 0, 0, 0)},
    {GIVES("an unknown kind", EINVAL, waitid, 99, 0, 0, WEXITED, 0)},
    {GIVES("no child", ECHILD, waitid, P_ALL, 0, 0, WEXITED, 0)},
};

static void membarrier_registers(void) {
  long given = work(sys(membarrier, 0, 0)); // MEMBARRIER_CMD_QUERY
  hold(given & 8, "no private expedited command among %#lx", given);
  refuse(EPERM, sys(membarrier, 8, 0)); // before it is registered
  work(sys(membarrier, 16, 0));
  work(sys(membarrier, 8, 0));
}

static const struct check membarrier_checks[] = {
    {.what = "a private barrier works once it is registered", .run = membarrier_registers, .since = KERNEL(4, 14)},
    {GIVES("an unknown flag", EINVAL, membarrier, 0, 1 << 20)},
    {GIVES("an unknown command", EINVAL, membarrier, 1 << 30, 0)},
};

static void execveat_empty(void) {
  int file = open("/proc/self/exe", O_PATH | O_CLOEXEC);
  pid_t process = child();
  if (process == 0) {
    char *words[] = {(char *)"lisa-syscalls", (char *)"nonsense", NULL}, *none[] = {NULL};
    close(2);
    open("/dev/null", O_WRONLY);
    sys(execveat, file, "", words, none, AT_EMPTY_PATH);
    _exit(99);
  }
  equal(reap(process), 2); // our own usage message
}

static void execveat_refused(void) {
  char *words[] = {(char *)"x", NULL}, *none[] = {NULL};
  int at = scratch();
  close(openat(at, "text", O_CREAT | O_WRONLY, 0600));
  refuse(EACCES, sys(execveat, at, "text", words, none, 0));
  work(fchmodat(at, "text", 0700, 0) ? -errno : 0);
  refuse_by(ENOEXEC, EACCES, sys(execveat, at, "text", words, none, 0)); // EACCES: /tmp is mounted noexec
  work(symlinkat("text", at, "link") ? -errno : 0);
  refuse(ELOOP, sys(execveat, at, "link", words, none, AT_SYMLINK_NOFOLLOW));
  refuse(EINVAL, sys(execveat, at, "text", words, none, 1));
  refuse(ENOENT, sys(execveat, at, "none", words, none, 0));
  refuse(EACCES, sys(execveat, at, "", words, none, AT_EMPTY_PATH)); // a folder
}

static const struct check execveat_checks[] = {
    {.what = "AT_EMPTY_PATH runs the descriptor", .run = execveat_empty},
    {.what = "what cannot be run", .run = execveat_refused},
};

static const struct test_case cases[] = {
    {.id = "clone3", .manual = "clone3(2)", .number = NR_clone3, .since = KERNEL(5, 3), CHECKS(clone3_checks)},
    {.id = "pidfd_open", .manual = "pidfd_open(2)", .number = NR_pidfd_open, .since = KERNEL(5, 3), CHECKS(pidfd_open_checks)},
    {.id = "pidfd_send_signal", .manual = "pidfd_send_signal(2)", .number = NR_pidfd_send_signal, .since = KERNEL(5, 1), CHECKS(pidfd_signal_checks)},
    {.id = "pidfd_getfd", .manual = "pidfd_getfd(2)", .number = NR_pidfd_getfd, .since = KERNEL(5, 6), CHECKS(pidfd_getfd_checks)},
    {.id = "process_madvise", .manual = "process_madvise(2)", .number = NR_process_madvise, .since = KERNEL(5, 10), .config = "CONFIG_ADVISE_SYSCALLS", CHECKS(process_madvise_checks)},
    {.id = "process_mrelease", .manual = "process_mrelease(2)", .number = NR_process_mrelease, .since = KERNEL(5, 15), .config = "CONFIG_MMU", CHECKS(mrelease_checks)},
    {.id = "process_vm_readv", .manual = "process_vm_readv(2)", .number = NR_process_vm_readv, .config = "CONFIG_CROSS_MEMORY_ATTACH", CHECKS(vm_checks)},
    {.id = "kcmp", .manual = "kcmp(2)", .number = NR_kcmp, .config = "CONFIG_KCMP", CHECKS(kcmp_checks)},
    {.id = "ptrace", .manual = "ptrace(2)", .number = NR_ptrace, CHECKS(ptrace_checks)},
    {.id = "prlimit64", .manual = "prlimit(2)", .number = NR_prlimit64, CHECKS(prlimit_checks)},
    {.id = "sched_setattr", .manual = "sched_setattr(2)", .number = NR_sched_setattr, .since = KERNEL(3, 14), CHECKS(scheduling_checks)},
    {.id = "waitid", .manual = "waitid(2)", .number = NR_waitid, CHECKS(waitid_checks)},
    {.id = "membarrier", .manual = "membarrier(2)", .number = NR_membarrier, .since = KERNEL(4, 3), .config = "CONFIG_MEMBARRIER", CHECKS(membarrier_checks)},
    {.id = "execveat", .manual = "execveat(2)", .number = NR_execveat, .since = KERNEL(3, 19), CHECKS(execveat_checks)},
};
const struct chapter processes = {cases, COUNT(cases)};
