// Descriptors that tell of events: eventfd, timerfd, signalfd, epoll, inotify, fanotify.
#include "lisa.h"

#include <linux/fanotify.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

static char buffer[4096] __attribute__((aligned(8)));

// ---- eventfd2 ------------------------------------------------------------------------------------------------------

static void eventfd_counts(void) {
  uint64_t value = 3;
  int file = (int)work(sys(eventfd2, 4, 04000)); // EFD_NONBLOCK
  equal(write(file, &value, 8), 8);
  equal(read(file, &value, 8), 8);
  equal(value, 7);
  refuse(EAGAIN, sys(read, file, &value, 8));
}

static void eventfd_semaphore(void) {
  uint64_t value;
  int file = (int)work(sys(eventfd2, 2, 1 | 04000));
  for (int i = 0; i < 2; i++) {
    equal(read(file, &value, 8), 8);
    equal(value, 1);
  }
  refuse(EAGAIN, sys(read, file, &value, 8));
}

static void eventfd_refused(void) {
  uint64_t all = ~0ULL;
  int file = (int)work(sys(eventfd2, 0, 04000));
  refuse(EINVAL, sys(write, file, &all, 8));
  refuse(EINVAL, sys(read, file, &all, 4));
  all--;
  equal(write(file, &all, 8), 8);
  all = 1;
  refuse(EAGAIN, sys(write, file, &all, 8));
}

static const struct check eventfd_checks[] = {
    {.what = "adds what is written and gives it at once", .run = eventfd_counts},
    {.what = "EFD_SEMAPHORE gives one at a time", .run = eventfd_semaphore},
    {.what = "the largest value, short reads, overflow", .run = eventfd_refused},
    {GIVES("an unknown flag", EINVAL, eventfd2, 0, 1 << 20)},
};

// ---- timerfd -------------------------------------------------------------------------------------------------------

static void timerfd_expires(void) {
  struct itimerspec spec = {.it_value = {.tv_nsec = 2000000}, .it_interval = {.tv_nsec = 2000000}}, left;
  uint64_t count = 0;
  int file = (int)work(sys(timerfd_create, CLOCK_MONOTONIC, 0));
  work(sys(timerfd_settime, file, 0, &spec, NULL));
  equal(read(file, &count, 8), 8);
  hold(count >= 1, "%llu expirations", (unsigned long long)count);
  nap(10);
  equal(read(file, &count, 8), 8);
  hold(count >= 3, "%llu expirations in 10 ms of 2", (unsigned long long)count);
  work(sys(timerfd_gettime, file, &left));
  equal(left.it_interval.tv_nsec, 2000000);
}

static void timerfd_in_the_past(void) {
  struct itimerspec spec = {.it_value = {.tv_nsec = 1}};
  uint64_t count = 0;
  int file = (int)work(sys(timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK));
  refuse(EAGAIN, sys(read, file, &count, 8));
  work(sys(timerfd_settime, file, TFD_TIMER_ABSTIME, &spec, NULL));
  nap(5);
  equal(read(file, &count, 8), 8);
  equal(count, 1);
}

static void timerfd_refused(void) {
  struct itimerspec spec = {.it_value = {.tv_nsec = 1000000000}};
  int file = (int)work(sys(timerfd_create, CLOCK_MONOTONIC, 0));
  refuse(EINVAL, sys(timerfd_settime, file, 0, &spec, NULL));
  spec.it_value.tv_nsec = 1;
  refuse(EINVAL, sys(timerfd_settime, file, 1 << 10, &spec, NULL));
  refuse(EINVAL, sys(timerfd_settime, open("/dev/null", O_RDONLY), 0, &spec, NULL));
  refuse(EFAULT, sys(timerfd_settime, file, 0, 8L, NULL));
}

static const struct check timerfd_checks[] = {
    {.what = "counts expirations", .run = timerfd_expires},
    {.what = "a time in the past expires at once", .run = timerfd_in_the_past},
    {.what = "nanoseconds beyond a second, unknown flags, other files", .run = timerfd_refused},
    {GIVES("an unknown clock", EINVAL, timerfd_create, 99, 0)},
    {GIVES("a clock that only measures", EINVAL, timerfd_create, CLOCK_PROCESS_CPUTIME_ID, 0)},
    {GIVES("an unknown flag", EINVAL, timerfd_create, CLOCK_MONOTONIC, 1)},
    {GIVES("nobody wakes the machine", EPERM, timerfd_create, CLOCK_BOOTTIME_ALARM, 0), .who = NOBODY},
};

// ---- signalfd4 -----------------------------------------------------------------------------------------------------

static void signalfd_reads(void) {
  uint64_t mask = 1ULL << (SIGUSR1 - 1);
  struct signalfd_siginfo got;
  work(sys(rt_sigprocmask, SIG_BLOCK, &mask, NULL, 8));
  int file = (int)work(sys(signalfd4, -1, &mask, 8, SFD_NONBLOCK));
  refuse(EAGAIN, sys(read, file, &got, sizeof got));
  raise(SIGUSR1);
  equal(read(file, &got, sizeof got), sizeof got);
  equal(got.ssi_signo, SIGUSR1);
  equal(got.ssi_pid, getpid());
  refuse(EINVAL, sys(read, file, &got, 8));
}

static void signalfd_refused(void) {
  uint64_t mask = 1;
  refuse(EINVAL, sys(signalfd4, -1, &mask, 4, 0));
  refuse(EINVAL, sys(signalfd4, -1, &mask, 8, 1));
  refuse(EINVAL, sys(signalfd4, open("/dev/null", O_RDONLY), &mask, 8, 0));
  refuse(EBADF, sys(signalfd4, 5000, &mask, 8, 0));
  refuse(EFAULT, sys(signalfd4, -1, 8L, 8, 0));
}

static const struct check signalfd_checks[] = {
    {.what = "reads a pending signal", .run = signalfd_reads},
    {.what = "wrong sizes, unknown flags, other files", .run = signalfd_refused},
};

// ---- epoll ---------------------------------------------------------------------------------------------------------

static void epoll_tells(void) {
  int ends[2];
  struct epoll_event want = {.events = EPOLLIN, .data = {.u64 = 7}}, got[2];
  tool(sys(pipe2, ends, 0));
  int set = (int)work(sys(epoll_create1, EPOLL_CLOEXEC));
  work(sys(epoll_ctl, set, EPOLL_CTL_ADD, ends[0], &want));
  equal(sys(epoll_pwait, set, got, 2, 0, NULL, 8), 0);
  equal(write(ends[1], "x", 1), 1);
  equal(sys(epoll_pwait, set, got, 2, 1000, NULL, 8), 1);
  equal(got[0].data.u64, 7);
  equal(got[0].events, EPOLLIN);
}

static void epoll_once(void) {
  int ends[2];
  struct epoll_event want = {.events = EPOLLIN | EPOLLONESHOT}, got;
  tool(sys(pipe2, ends, 0));
  equal(write(ends[1], "x", 1), 1);
  int set = (int)work(sys(epoll_create1, 0));
  work(sys(epoll_ctl, set, EPOLL_CTL_ADD, ends[0], &want));
  equal(sys(epoll_pwait, set, &got, 1, 0, NULL, 8), 1);
  equal(sys(epoll_pwait, set, &got, 1, 0, NULL, 8), 0);
}

static void epoll_refused(void) {
  int ends[2];
  struct epoll_event want = {.events = EPOLLIN};
  tool(sys(pipe2, ends, 0));
  int set = (int)work(sys(epoll_create1, 0)), other = (int)work(sys(epoll_create1, 0));
  refuse(EINVAL, sys(epoll_ctl, set, EPOLL_CTL_ADD, set, &want));
  work(sys(epoll_ctl, set, EPOLL_CTL_ADD, ends[0], &want));
  refuse(EEXIST, sys(epoll_ctl, set, EPOLL_CTL_ADD, ends[0], &want));
  refuse(ENOENT, sys(epoll_ctl, set, EPOLL_CTL_DEL, ends[1], NULL));
  refuse(EINVAL, sys(epoll_ctl, set, 99, ends[1], &want));
  refuse(EPERM, sys(epoll_ctl, set, EPOLL_CTL_ADD, memory_file(""), &want)); // a file is always ready
  work(sys(epoll_ctl, set, EPOLL_CTL_ADD, other, &want));
  refuse(ELOOP, sys(epoll_ctl, other, EPOLL_CTL_ADD, set, &want));
  want.events = EPOLLIN | EPOLLEXCLUSIVE;
  refuse(EINVAL, sys(epoll_ctl, set, EPOLL_CTL_MOD, ends[0], &want));
}

static const struct check epoll_checks[] = {
    {.what = "tells what is ready", .run = epoll_tells},
    {.what = "EPOLLONESHOT tells once", .run = epoll_once},
    {.what = "itself, twice, circles, plain files", .run = epoll_refused},
    {GIVES("an unknown flag", EINVAL, epoll_create1, 1)},
};

static void pwait2_nanoseconds(void) {
  struct epoll_event got;
  struct timespec span = {.tv_nsec = 3000000}, before, after;
  int set = (int)tool(sys(epoll_create1, 0));
  clock_gettime(CLOCK_MONOTONIC, &before);
  equal(sys(epoll_pwait2, set, &got, 1, &span, NULL, 8), 0);
  clock_gettime(CLOCK_MONOTONIC, &after);
  long long waited = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
  hold(waited >= 3000000, "waited only %lld ns of 3000000", waited);
}

static void pwait2_refused(void) {
  struct epoll_event got;
  struct timespec zero = {0}, bad = {.tv_nsec = 1000000000};
  int set = (int)tool(sys(epoll_create1, 0));
  refuse(EINVAL, sys(epoll_pwait2, set, &got, 0, &zero, NULL, 8));
  refuse(EINVAL, sys(epoll_pwait2, set, &got, 1, &bad, NULL, 8));
  refuse(EINVAL, sys(epoll_pwait2, open("/dev/null", O_RDONLY), &got, 1, &zero, NULL, 8));
  refuse(EBADF, sys(epoll_pwait2, -1, &got, 1, &zero, NULL, 8));
  refuse(EINVAL, sys(epoll_pwait2, set, &got, 1, &zero, buffer, 4)); // the size of a signal mask
  refuse(EFAULT, sys(epoll_pwait2, set, &got, 1, 8L, NULL, 8));
}

static const struct check pwait2_checks[] = {
    {.what = "waits for nanoseconds", .run = pwait2_nanoseconds},
    {.what = "no room, bad times, other files, wrong sizes", .run = pwait2_refused},
};

// ---- inotify -------------------------------------------------------------------------------------------------------

static void inotify_tells(void) {
  int file = (int)work(sys(inotify_init1, IN_NONBLOCK));
  int watch = (int)work(sys(inotify_add_watch, file, scratch_path(), IN_CREATE | IN_DELETE));
  int at = scratch();
  close(openat(at, "new", O_CREAT | O_WRONLY, 0600));
  hold(read(file, buffer, sizeof buffer) > 0, "no event");
  const struct inotify_event *event = (const struct inotify_event *)(const void *)buffer;
  equal(event->wd, watch);
  equal(event->mask, IN_CREATE);
  hold(!strcmp(event->name, "new"), "the event names '%s'", event->name);
  work(sys(inotify_rm_watch, file, watch));
  refuse(EINVAL, sys(inotify_rm_watch, file, watch));
}

static void inotify_refused(void) {
  int file = (int)work(sys(inotify_init1, 0));
  refuse(ENOENT, sys(inotify_add_watch, file, "/nowhere/at/all", IN_CREATE));
  refuse(EINVAL, sys(inotify_add_watch, file, "/tmp", 0));
  refuse(ENOTDIR, sys(inotify_add_watch, file, "/proc/self/exe", IN_CREATE | IN_ONLYDIR));
  refuse(EINVAL, sys(inotify_add_watch, open("/dev/null", O_RDONLY), "/tmp", IN_CREATE));
  refuse(EBADF, sys(inotify_add_watch, -1, "/tmp", IN_CREATE));
}

static void inotify_new_only(void) {
  int file = (int)work(sys(inotify_init1, 0));
  work(sys(inotify_add_watch, file, scratch_path(), IN_CREATE | IN_MASK_CREATE));
  refuse(EEXIST, sys(inotify_add_watch, file, scratch_path(), IN_CREATE | IN_MASK_CREATE));
}

static void inotify_denied(void) {
  int file = (int)work(sys(inotify_init1, 0)), at = scratch();
  work(mkdirat(at, "closed", 0) ? -errno : 0);
  char name[256];
  snprintf(name, sizeof name, "%s/closed", scratch_path());
  refuse(EACCES, sys(inotify_add_watch, file, name, IN_CREATE));
}

static const struct check inotify_checks[] = {
    {.what = "tells of a new file by name", .run = inotify_tells},
    {.what = "missing files, empty masks, other descriptors", .run = inotify_refused},
    {.what = "IN_MASK_CREATE refuses a second watch", .run = inotify_new_only, .since = KERNEL(4, 19)},
    {.what = "what nobody may read, nobody may watch", .run = inotify_denied, .who = NOBODY},
    {GIVES("an unknown flag", EINVAL, inotify_init1, 1)},
};

// ---- fanotify ------------------------------------------------------------------------------------------------------

static void fanotify_tells(void) {
  int file = (int)work(sys(fanotify_init, FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY));
  int at = scratch();
  close(openat(at, "watched", O_CREAT | O_WRONLY, 0600));
  work(sys(fanotify_mark, file, FAN_MARK_ADD, (uint64_t)FAN_OPEN, at, "watched"));
  close(openat(at, "watched", O_RDONLY));
  hold(read(file, buffer, sizeof buffer) >= (ssize_t)sizeof(struct fanotify_event_metadata), "no event");
  const struct fanotify_event_metadata *event = (const struct fanotify_event_metadata *)(const void *)buffer;
  equal(event->vers, FANOTIFY_METADATA_VERSION);
  equal(event->mask, FAN_OPEN);
  equal(event->pid, getpid());
}

static void fanotify_refused(void) {
  int file = (int)work(sys(fanotify_init, FAN_CLASS_NOTIF, O_RDONLY));
  refuse(EINVAL, sys(fanotify_mark, file, FAN_MARK_ADD, 0UL, AT_FDCWD, "/tmp"));
  refuse(EINVAL, sys(fanotify_mark, file, 0, (uint64_t)FAN_OPEN, AT_FDCWD, "/tmp"));
  refuse(EINVAL, sys(fanotify_mark, file, FAN_MARK_ADD, 1ULL << 40, AT_FDCWD, "/tmp"));
  refuse(ENOENT, sys(fanotify_mark, file, FAN_MARK_ADD, (uint64_t)FAN_OPEN, AT_FDCWD, "/nowhere/at/all"));
  refuse(EINVAL, sys(fanotify_mark, open("/dev/null", O_RDONLY), FAN_MARK_ADD, (uint64_t)FAN_OPEN, AT_FDCWD, "/tmp"));
}

static const struct check fanotify_checks[] = {
    {.what = "tells of an open file", .run = fanotify_tells, .who = ROOT},
    {.what = "empty masks, no command, unknown events, other files", .run = fanotify_refused, .who = ROOT},
    {GIVES("an unknown flag", EINVAL, fanotify_init, 1U << 30, O_RDONLY), .who = ROOT},
    {GIVES("nobody sees everybody's files", EPERM, fanotify_init, 0, O_RDONLY), .who = NOBODY},
    {GIVES("nobody decides about opens", EPERM, fanotify_init, FAN_CLASS_CONTENT | FAN_REPORT_FID, O_RDONLY), .who = NOBODY},
    {GIVES("nobody may watch by file id", 0, fanotify_init, FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY), .who = NOBODY, .since = KERNEL(5, 13)},
};

static const struct test_case cases[] = {
    {.id = "eventfd2", .manual = "eventfd(2)", .number = NR_eventfd2, .config = "CONFIG_EVENTFD", CHECKS(eventfd_checks)},
    {.id = "timerfd_create", .manual = "timerfd_create(2)", .number = NR_timerfd_create, .config = "CONFIG_TIMERFD", CHECKS(timerfd_checks)},
    {.id = "signalfd4", .manual = "signalfd(2)", .number = NR_signalfd4, .config = "CONFIG_SIGNALFD", CHECKS(signalfd_checks)},
    {.id = "epoll_create1", .manual = "epoll_create1(2), epoll_ctl(2)", .number = NR_epoll_create1, .config = "CONFIG_EPOLL", CHECKS(epoll_checks)},
    {.id = "epoll_pwait2", .manual = "epoll_pwait2(2)", .number = NR_epoll_pwait2, .since = KERNEL(5, 11), .config = "CONFIG_EPOLL", CHECKS(pwait2_checks)},
    {.id = "inotify_init1", .manual = "inotify(7)", .number = NR_inotify_init1, .config = "CONFIG_INOTIFY_USER", CHECKS(inotify_checks)},
    {.id = "fanotify_init", .manual = "fanotify(7)", .number = NR_fanotify_init, .config = "CONFIG_FANOTIFY", CHECKS(fanotify_checks)},
};
const struct chapter events = {cases, COUNT(cases)};
