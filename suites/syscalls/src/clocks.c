// Clocks, timers, random numbers. No clock is ever set: nobody asks, and for the time that it is.
#include "lisa.h"

#include <sys/random.h>
#include <sys/time.h>
#include <sys/timex.h>

static char buffer[4096] __attribute__((aligned(8)));

static long long nanoseconds(int clock) {
  struct timespec now;
  work(sys(clock_gettime, clock, &now));
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void clocks_run(void) {
  static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_REALTIME, CLOCK_TAI};
  for (size_t i = 0; i < COUNT(clocks); i++) {
    long long before = nanoseconds(clocks[i]);
    nap(2);
    long long span = nanoseconds(clocks[i]) - before;
    hold(span >= 1000000, "clock %d went on by %lld ns in 2 ms", clocks[i], span);
  }
  hold(nanoseconds(CLOCK_BOOTTIME) >= nanoseconds(CLOCK_MONOTONIC) - 1000000000LL, "boot time is behind monotonic time");
}

static void library_agrees(void) { // the library's clock comes without a system call, from the kernel's page
  struct timespec there;
  long long before = nanoseconds(CLOCK_MONOTONIC);
  work(clock_gettime(CLOCK_MONOTONIC, &there) ? -errno : 0);
  long long here = there.tv_sec * 1000000000LL + there.tv_nsec, after = nanoseconds(CLOCK_MONOTONIC);
  hold(before <= here && here <= after, "%lld is not between %lld and %lld", here, before, after);
}

static const struct check gettime_checks[] = {
    {.what = "clocks go forward", .run = clocks_run},
    {.what = "the kernel and its page for programs agree", .run = library_agrees},
    {GIVES("an unknown clock", EINVAL, clock_gettime, 99, buffer)},
    {GIVES("a bad address", EFAULT, clock_gettime, CLOCK_MONOTONIC, 8)},
    {GIVES("the clock of no process", EINVAL, clock_gettime, (int)(~0x7ffffff0U << 3 | 2), buffer)},
};

static void sleeps_until(void) {
  struct timespec at, past = {.tv_nsec = 1};
  clock_gettime(CLOCK_MONOTONIC, &at);
  work(sys(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &past, NULL));
  at.tv_nsec += 3000000;
  if (at.tv_nsec >= 1000000000) at.tv_sec++, at.tv_nsec -= 1000000000;
  work(sys(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL));
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  hold(now.tv_sec > at.tv_sec || (now.tv_sec == at.tv_sec && now.tv_nsec >= at.tv_nsec), "woke too early");
}

static void ring_once(int number) {
  (void)number;
}

static void sleep_interrupted(void) {
  struct sigaction action = {.sa_handler = ring_once};
  struct itimerval soon = {.it_value = {.tv_usec = 5000}};
  struct timespec span = {.tv_sec = 5}, left = {0};
  sigaction(SIGALRM, &action, NULL);
  tool(sys(setitimer, ITIMER_REAL, &soon, NULL));
  refuse(EINTR, sys(clock_nanosleep, CLOCK_MONOTONIC, 0, &span, &left));
  hold(left.tv_sec == 4, "%lld s are said to be left of 5", (long long)left.tv_sec);
}

static const struct timespec too_many = {.tv_nsec = 1000000000};

static const struct check nanosleep_checks[] = {
    {.what = "TIMER_ABSTIME waits until, and not for", .run = sleeps_until},
    {.what = "a signal ends it, and the rest is told", .run = sleep_interrupted},
    {GIVES("nanoseconds beyond a second", EINVAL, clock_nanosleep, CLOCK_MONOTONIC, 0, &too_many, 0)},
    {GIVES("an unknown clock", EINVAL, clock_nanosleep, 99, 0, &too_many, 0)},
    {GIVES("the thread's own clock", EOPNOTSUPP, clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &too_many, 0)},
};

static void timer_fires(void) {
  struct itimerspec spec = {.it_value = {.tv_nsec = 2000000}};
  uint64_t mask = 1ULL << (SIGUSR1 - 1);
  struct timespec limit = {.tv_sec = 2};
  siginfo_t facts;
  int timer = -1;
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  event.sigev_value.sival_int = 7;
  work(sys(rt_sigprocmask, SIG_BLOCK, &mask, NULL, 8));
  work(sys(timer_create, CLOCK_MONOTONIC, &event, &timer));
  work(sys(timer_settime, timer, 0, &spec, NULL));
  equal(sys(rt_sigtimedwait, &mask, &facts, &limit, 8), SIGUSR1);
  equal(facts.si_code, SI_TIMER);
  equal(facts.si_value.sival_int, 7);
  equal(sys(timer_getoverrun, timer), 0);
  work(sys(timer_delete, timer));
  refuse(EINVAL, sys(timer_delete, timer));
}

static void timer_refused(void) {
  int timer;
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = 99;
  refuse(EINVAL, sys(timer_create, CLOCK_MONOTONIC, &event, &timer));
  event.sigev_signo = SIGUSR1;
  event.sigev_notify = 77;
  refuse(EINVAL, sys(timer_create, CLOCK_MONOTONIC, &event, &timer));
  refuse(EINVAL, sys(timer_create, 99, NULL, &timer));
  refuse(EINVAL, sys(timer_settime, 12345, 0, &too_many, NULL));
}

static const struct check timer_checks[] = {
    {.what = "fires its signal with its value", .run = timer_fires},
    {.what = "unknown signals, ways and clocks", .run = timer_refused},
};

// ---- setting clocks ------------------------------------------------------------------------------------------------

static void adjust_reads(void) {
  struct timex facts;
  memset(&facts, 0, sizeof facts);
  hold(sys(clock_adjtime, CLOCK_REALTIME, &facts) >= 0, "the clock's state cannot be read");
  hold(facts.tick >= 9000 && facts.tick <= 11000, "a tick is %ld us", (long)facts.tick);
}

static void adjust_denied(void) {
  struct timex facts;
  memset(&facts, 0, sizeof facts);
  tool(sys(clock_adjtime, CLOCK_REALTIME, &facts));
  facts.modes = ADJ_FREQUENCY; // to what it is
  refuse(EPERM, sys(clock_adjtime, CLOCK_REALTIME, &facts));
  refuse(EPERM, sys(adjtimex, &facts));
}

static void set_denied(void) { // to what it is
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  struct timeval coarse = {.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  refuse(EPERM, sys(clock_settime, CLOCK_REALTIME, &now));
  refuse(EPERM, sys(settimeofday, &coarse, NULL));
}

static const struct check settime_checks[] = {
    {.what = "the clock's state can be read", .run = adjust_reads},
    {.what = "nobody adjusts the clock", .run = adjust_denied, .who = NOBODY},
    {.what = "nobody sets the clock", .run = set_denied, .who = NOBODY},
    {GIVES("a clock that cannot be set", EINVAL, clock_settime, CLOCK_MONOTONIC, &too_many), .who = NOBODY},
    {GIVES("nanoseconds beyond a second", EINVAL, clock_settime, CLOCK_REALTIME, &too_many), .who = NOBODY},
};

// ---- getrandom -----------------------------------------------------------------------------------------------------

static void random_differs(void) {
  unsigned char one[64] = {0}, two[64] = {0};
  equal(sys(getrandom, one, sizeof one, 0), sizeof one);
  equal(sys(getrandom, two, sizeof two, 1), sizeof two); // GRND_NONBLOCK
  hold(memcmp(one, two, sizeof one), "the same 64 bytes twice");
  unsigned char none[64] = {0};
  hold(memcmp(one, none, sizeof one), "64 zeros");
}

static void random_of_a_child(void) { // two processes never see the same
  unsigned char mine[32], theirs[32];
  int ends[2];
  tool(sys(pipe2, ends, 0));
  pid_t process = child();
  if (process == 0) {
    sys(getrandom, theirs, sizeof theirs, 0);
    _exit(write(ends[1], theirs, sizeof theirs) != sizeof theirs);
  }
  work(sys(getrandom, mine, sizeof mine, 0));
  equal(read(ends[0], theirs, sizeof theirs), sizeof theirs);
  reap(process);
  hold(memcmp(mine, theirs, sizeof mine), "parent and child got the same 32 bytes");
}

static const struct check random_checks[] = {
    {.what = "gives other bytes each time", .run = random_differs},
    {.what = "gives a child other bytes", .run = random_of_a_child},
    {GIVES("GRND_INSECURE never waits", 0, getrandom, buffer, 16, 4), .since = KERNEL(5, 6)},
    {GIVES("GRND_RANDOM and GRND_INSECURE at once", EINVAL, getrandom, buffer, 16, 6), .since = KERNEL(5, 6)},
    {GIVES("an unknown flag", EINVAL, getrandom, buffer, 16, 1 << 10)},
    {GIVES("a bad address", EFAULT, getrandom, 8, 16, 0)},
};

static const struct test_case cases[] = {
    {.id = "clock_gettime", .manual = "clock_gettime(2)", .number = NR_clock_gettime, CHECKS(gettime_checks)},
    {.id = "clock_nanosleep", .manual = "clock_nanosleep(2)", .number = NR_clock_nanosleep, CHECKS(nanosleep_checks)},
    {.id = "timer_create", .manual = "timer_create(2)", .number = NR_timer_create, .config = "CONFIG_POSIX_TIMERS", CHECKS(timer_checks)},
    {.id = "clock_settime", .manual = "clock_settime(2), clock_adjtime(2)", .number = NR_clock_settime, CHECKS(settime_checks)},
    {.id = "getrandom", .manual = "getrandom(2)", .number = NR_getrandom, .since = KERNEL(3, 17), CHECKS(random_checks)},
};
const struct chapter clocks = {cases, COUNT(cases)};
