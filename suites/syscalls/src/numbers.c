// Numbers: those that nobody has, and those whose calls are gone, are refused by ENOSYS.
#include "lisa.h"

static bool is_taken(long number) {
  static const long taken[] = {
#define NUMBER(name, x86_64, aarch64) NR_##name,
#include "numbers.h"
#undef NUMBER
  };
  for (size_t i = 0; i < COUNT(taken); i++)
    if (taken[i] == number) return true;
  return false;
}

static void no_call(long number) {
  long got = raw(number, -1, -1, -1, -1, -1, -1);
  hold(got == -ENOSYS, "number %ld gives %s, not ENOSYS", number, got < 0 ? error_name(got) : "a value");
}

static void beyond_the_end(void) {
  no_call(600); // far behind the newest
  no_call(1023);
  no_call(4096);
  no_call(0x7fffffff);
  no_call(-1);
  no_call(-4096);
}

static void holes(void) {
  // 335 and 336 of x86_64 were given to uretprobe and uprobe; the rest of the gap before 424 stays free on both.
  int count = 0;
  for (long number = 340; number < 424; number++)
    if (!is_taken(number)) no_call(number), count++;
#if defined(__aarch64__)
  for (long number = 244; number < 260; number++) no_call(number), count++;
#endif
  hold(count > 50, "only %d numbers are free", count);
}

static const struct check free_checks[] = {
    {.what = "beyond the end of the table", .run = beyond_the_end},
    {.what = "in the holes of the table", .run = holes},
};

// ---- calls that are gone -------------------------------------------------------------------------------------------

#define GONE(name) GIVES(#name, ENOSYS, name, -1, -1, -1, -1, -1, -1)

static const struct check gone_checks[] = {
#if defined(__x86_64__)
    {GONE(create_module)},
    {GONE(get_kernel_syms)},
    {GONE(query_module)},
    {GONE(getpmsg)},
    {GONE(putpmsg)},
    {GONE(afs_syscall)},
    {GONE(tuxcall)},
    {GONE(security)},
    {GONE(vserver)},
    {GONE(epoll_ctl_old)},
    {GONE(epoll_wait_old)},
    {GONE(set_thread_area)},
    {GONE(get_thread_area)},
    {GONE(uselib)}, // CONFIG_USELIB is for programs of i386 alone
    {GONE(_sysctl), .since = KERNEL(5, 5)},
#endif
    {GONE(nfsservctl)},
    {GONE(lookup_dcookie), .since = KERNEL(6, 7)},
};

#if defined(__x86_64__)
static void x32_refused(void) {
  if (!knows_config()) skip("the kernel's configuration is unknown, and this needs CONFIG_X86_X32_ABI");
  long got = raw(0x40000000 + NR_getppid, 0, 0, 0, 0, 0, 0);
  if (is_configured("CONFIG_X86_X32_ABI") || is_configured("CONFIG_X86_X32"))
    hold(got > 0 || got == -ENOSYS, "getppid gives %ld", got); // ENOSYS: without syscall.x32=y
  else
    refuse(ENOSYS, got);
}

static void descriptor_table(void) { // an unknown function of it, or no such call at all: the same answer
  long got = sys(modify_ldt, 99, NULL, 0);
  hold((int)got == -ENOSYS, "gives %ld", got); // the call has always returned an int, zero-extended
}

static const struct check x86_checks[] = {
    {.what = "numbers of x32, as CONFIG_X86_X32_ABI says", .run = x32_refused},
    {.what = "an unknown function of modify_ldt", .run = descriptor_table},
};
#endif

// ---- the calls that every kernel has -------------------------------------------------------------------------------

static void plain(void) { // each number does what its name says, seen by an effect that no other call has
  int ends[2];
  char byte = 'x', name[256];
  equal(sys(getpid), getpid());
  equal(sys(getppid), getppid());
  equal(sys(getuid), getuid());
  equal(sys(getegid), getegid());
  sys(umask, 0125);
  equal(sys(umask, 022), 0125);
  tool(sys(pipe2, ends, 0));
  equal(sys(write, ends[1], &byte, 1), 1);
  equal(sys(read, ends[0], &byte, 1), 1);
  work(sys(close, ends[0]));
  refuse(EBADF, sys(close, ends[0]));
  hold(sys(getcwd, name, sizeof name) > 1, "no working directory");
  hold(name[0] == '/' || name[0] == '(', "the working directory is '%s'", name);
  work(sys(sched_yield));
  equal(sys(lseek, ends[1], 0, 0), -ESPIPE);
  refuse(ENOTTY, sys(ioctl, ends[1], 0x5401, name)); // TCGETS
  refuse(ENOENT, sys(openat, AT_FDCWD, "/nowhere/at/all", O_RDONLY, 0));
  equal(sys(brk, 0) > 0, 1);
}

static const struct check plain_checks[] = {
    {.what = "numbers of everyday calls do what their names say", .run = plain},
};

static const struct test_case cases[] = {
    {.id = "numbers-everyday", .manual = "syscalls(2)", .number = NONE, CHECKS(plain_checks)},
    {.id = "numbers-free", .manual = "syscalls(2)", .number = NONE, CHECKS(free_checks)},
    {.id = "numbers-gone", .manual = "unimplemented(2)", .number = NONE, CHECKS(gone_checks)},
#if defined(__x86_64__)
    {.id = "numbers-x86", .manual = "syscalls(2), modify_ldt(2)", .number = NONE, CHECKS(x86_checks)},
#else
    {.id = "numbers-x86", .manual = "syscalls(2), modify_ldt(2)", .number = -1},
#endif
};
const struct chapter numbers = {cases, COUNT(cases)};
