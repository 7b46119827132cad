// Waiting on a word of memory, and what threads register with the kernel.
#include "lisa.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

static uint32_t *shared_word(void) {
  uint32_t *word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (word == MAP_FAILED) skip("no memory");
  return word;
}

static struct timespec soon(int clock) {
  struct timespec at;
  clock_gettime(clock, &at);
  at.tv_nsec += 5000000;
  if (at.tv_nsec >= 1000000000) at.tv_sec++, at.tv_nsec -= 1000000000;
  return at;
}

static long futex(void *word, int operation, long value, const void *timeout, void *second, long third) {
  return sys(futex, word, operation, value, timeout, second, third);
}

// ---- futex ---------------------------------------------------------------------------------------------------------

static void futex_wakes(void) {
  uint32_t *word = shared_word();
  pid_t process = child();
  if (process == 0) _exit(futex(word, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 ? 0 : 1);
  long woken = 0;
  for (int i = 0; i < 1000 && !woken; i++) {
    woken = work(futex(word, FUTEX_WAKE, 1, NULL, NULL, 0));
    nap(1);
  }
  equal(woken, 1);
  equal(reap(process), 0);
}

static void futex_waits(void) {
  uint32_t word = 1;
  struct timespec span = {.tv_nsec = 2000000}, bad = {.tv_nsec = -1};
  refuse(EAGAIN, futex(&word, FUTEX_WAIT, 2, NULL, NULL, 0));
  refuse(ETIMEDOUT, futex(&word, FUTEX_WAIT, 1, &span, NULL, 0));
  refuse(EINVAL, futex(&word, FUTEX_WAIT, 1, &bad, NULL, 0));
  refuse(EINVAL, futex((char *)&word + 1, FUTEX_WAIT, 1, &span, NULL, 0));
  refuse(EINVAL, futex(&word, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0)); // waits for no bit
  refuse(EFAULT, futex((void *)8, FUTEX_WAIT, 1, &span, NULL, 0));
  refuse(ENOSYS, futex(&word, 99, 1, NULL, NULL, 0));
}

static void futex_requeues(void) {
  uint32_t *words = shared_word();
  pid_t process = child();
  if (process == 0) _exit(futex(&words[0], FUTEX_WAIT, 0, NULL, NULL, 0) == 0 ? 0 : 1);
  refuse(EAGAIN, futex(&words[0], FUTEX_CMP_REQUEUE, 0, (void *)1, &words[1], 5)); // word 0 is not 5
  long moved = 0;
  for (int i = 0; i < 1000 && !moved; i++) {
    moved = work(futex(&words[0], FUTEX_CMP_REQUEUE, 0, (void *)1, &words[1], 0));
    nap(1);
  }
  equal(moved, 1);
  equal(futex(&words[0], FUTEX_WAKE, 1, NULL, NULL, 0), 0);
  equal(futex(&words[1], FUTEX_WAKE, 1, NULL, NULL, 0), 1);
  equal(reap(process), 0);
}

static void futex_priority(void) {
  uint32_t word = 0;
  refuse(EPERM, futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)); // not its owner
  work(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
  equal(word, getpid());
  refuse(EDEADLK, futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
  work(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
  equal(word, 0);
}

static const struct check futex_checks[] = {
    {.what = "wakes who waits", .run = futex_wakes},
    {.what = "another value, timeouts, odd addresses, no bits, unknown operations", .run = futex_waits},
    {.what = "FUTEX_CMP_REQUEUE moves who waits", .run = futex_requeues},
    {.what = "locks that lend priority", .run = futex_priority, .config = "CONFIG_FUTEX_PI"},
};

// ---- futex_waitv ---------------------------------------------------------------------------------------------------

struct waiter { // struct futex_waitv
  uint64_t value, word;
  uint32_t flags, reserved;
};
#define BITS_32 2U

static struct waiter waiter(uint32_t *word, uint32_t value) {
  return (struct waiter){.value = value, .word = (uintptr_t)word, .flags = BITS_32};
}

static void waitv_wakes(void) {
  uint32_t *words = shared_word();
  pid_t process = child();
  if (process == 0) {
    struct waiter two[] = {waiter(&words[0], 0), waiter(&words[1], 0)};
    _exit((int)sys(futex_waitv, two, 2, 0, NULL, 0) + 10);
  }
  long woken = 0;
  for (int i = 0; i < 1000 && !woken; i++) {
    woken = tool(futex(&words[1], FUTEX_WAKE, 1, NULL, NULL, 0));
    nap(1);
  }
  equal(woken, 1);
  equal(reap(process), 11); // the second one woke it
}

static void waitv_waits(void) {
  uint32_t words[2] = {0, 0};
  struct waiter two[] = {waiter(&words[0], 0), waiter(&words[1], 0)};
  struct timespec at = soon(CLOCK_MONOTONIC);
  refuse(ETIMEDOUT, sys(futex_waitv, two, 2, 0, &at, CLOCK_MONOTONIC));
  two[1].value = 7;
  refuse(EAGAIN, sys(futex_waitv, two, 2, 0, NULL, 0));
}

static void waitv_refused(void) {
  uint32_t word = 0;
  struct waiter one = waiter(&word, 0);
  struct timespec at = soon(CLOCK_MONOTONIC);
  refuse(EINVAL, sys(futex_waitv, &one, 0, 0, NULL, 0));
  refuse(EINVAL, sys(futex_waitv, &one, 129, 0, NULL, 0));
  refuse(EINVAL, sys(futex_waitv, &one, 1, 1, NULL, 0));
  refuse(EINVAL, sys(futex_waitv, &one, 1, 0, &at, 99));
  refuse(EINVAL, sys(futex_waitv, NULL, 1, 0, NULL, 0));
  one.reserved = 1;
  refuse(EINVAL, sys(futex_waitv, &one, 1, 0, NULL, 0));
  one.reserved = 0;
  one.flags = BITS_32 | 1U << 20;
  refuse(EINVAL, sys(futex_waitv, &one, 1, 0, NULL, 0));
}

static const struct check waitv_checks[] = {
    {.what = "tells which word woke it", .run = waitv_wakes},
    {.what = "timeouts, another value", .run = waitv_waits},
    {.what = "none, too many, unknown flags and clocks, reserved fields", .run = waitv_refused},
};

static void futex2_round(void) {
  uint32_t *word = shared_word();
  pid_t process = child();
  if (process == 0) _exit(sys(futex_wait, word, 0, 0xffffffffUL, BITS_32, NULL, 0) == 0 ? 0 : 1);
  long woken = 0;
  for (int i = 0; i < 1000 && !woken; i++) {
    woken = work(sys(futex_wake, word, 0xffffffffUL, 1, BITS_32));
    nap(1);
  }
  equal(woken, 1);
  equal(reap(process), 0);
}

static void futex2_refused(void) {
  uint32_t word = 0;
  refuse(EINVAL, sys(futex_wake, &word, 0xffffffffUL, 1, 1UL << 20));
  refuse(EINVAL, sys(futex_wake, &word, 1UL << 40, 1, BITS_32)); // more bits than the word has
  refuse(EAGAIN, sys(futex_wait, &word, 5, 0xffffffffUL, BITS_32, NULL, 0));
  refuse(EINVAL, sys(futex_wait, &word, 0, 0, BITS_32, NULL, 0));
  refuse(EINVAL, sys(futex_requeue, NULL, 0, 0, 0));
}

static const struct check futex2_checks[] = {
    {.what = "futex_wake wakes who is in futex_wait", .run = futex2_round},
    {.what = "unknown flags, bits beyond the word, another value", .run = futex2_refused},
};

// ---- what threads register -----------------------------------------------------------------------------------------

static void robust_owner_died(void) {
  struct {
    struct robust_list_head head;
    struct robust_list link;
    uint32_t word;
  } *mutex = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t process = child();
  if (process == 0) {
    mutex->head.list.next = &mutex->link;
    mutex->link.next = &mutex->head.list;
    mutex->head.futex_offset = (long)((char *)&mutex->word - (char *)&mutex->link);
    mutex->word = (uint32_t)getpid();
    _exit(sys(set_robust_list, &mutex->head, sizeof mutex->head) == 0 ? 0 : 1);
  }
  equal(reap(process), 0);
  equal(mutex->word & FUTEX_OWNER_DIED, FUTEX_OWNER_DIED);
}

static void robust_denied(void) {
  void *head;
  size_t size;
  refuse(EPERM, sys(get_robust_list, 1, &head, &size));
}

static char buffer[64];

static const struct check robust_checks[] = {
    {.what = "a dead owner's lock is marked", .run = robust_owner_died},
    {.what = "nobody reads root's list", .run = robust_denied, .who = NOBODY},
    {GIVES("a wrong size", EINVAL, set_robust_list, buffer, 8)},
    {GIVES("no such process", ESRCH, get_robust_list, 0x7ffffff0, buffer, buffer)},
};

static struct { // struct rseq in its first version
  uint32_t cpu_id_start, cpu_id;
  uint64_t critical;
  uint32_t flags, rest[11];
} area __attribute__((aligned(64)));

static volatile long steps[6];

// The C library may have registered the program's own; a process that shares its memory starts without one.
static int register_own(void *unused) {
  (void)unused;
  steps[0] = sys(rseq, &area, 32, 1, 0x53053053); // an unknown flag
  steps[1] = sys(rseq, (char *)&area + 4, 32, 0, 0x53053053);
  steps[2] = sys(rseq, &area, 32, 0, 0x53053053);
  steps[3] = sys(rseq, &area, 32, 0, 0x53053053);
  steps[4] = sys(rseq, &area, 32, 1, 1); // unregister, with another signature
  int cpu = (int)area.cpu_id;
  steps[5] = sys(rseq, &area, 32, 1, 0x53053053);
  _exit(cpu < 4096 ? 0 : 1);
}

static void rseq_registers(void) {
  static char stack[65536] __attribute__((aligned(16)));
  pid_t process = clone(register_own, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
  hold(process > 0, "cannot make a process that shares memory");
  int status = reap(process);
  refuse(EINVAL, steps[0]);
  refuse(EINVAL, steps[1]);
  work(steps[2]);
  refuse(EBUSY, steps[3]);
  refuse(EPERM, steps[4]);
  work(steps[5]);
  equal(status, 0); // the processor's number was filled in
}

static const struct check rseq_checks[] = {
    {.what = "registers once, tells the processor, unregisters by its signature", .run = rseq_registers},
    {GIVES("an unknown flag", EINVAL, rseq, 0, 32, 1 << 10, 0)},
};

static const long no_operation[] = {0, FUTEX_WAKE, 0, 0, 0, 0};

static const struct test_case cases[] = {
    {.id = "futex", .manual = "futex(2)", .number = NR_futex, .config = "CONFIG_FUTEX", .probe = no_operation, CHECKS(futex_checks)},
    {.id = "futex_waitv", .manual = "futex_waitv(2)", .number = NR_futex_waitv, .since = KERNEL(5, 16), .config = "CONFIG_FUTEX", CHECKS(waitv_checks)},
    {.id = "futex_wait", .manual = "futex(7)", .number = NR_futex_wait, .since = KERNEL(6, 7), .config = "CONFIG_FUTEX", CHECKS(futex2_checks)},
    {.id = "set_robust_list", .manual = "get_robust_list(2)", .number = NR_set_robust_list, .config = "CONFIG_FUTEX", CHECKS(robust_checks)},
    {.id = "rseq", .manual = "rseq(2)", .number = NR_rseq, .since = KERNEL(4, 18), .config = "CONFIG_RSEQ", CHECKS(rseq_checks)},
};
const struct chapter futexes = {cases, COUNT(cases)};
