// What every check is written in.
//
// A case is a list of checks; each check runs in a child of its own, with a time limit, and becomes one line of TAP. A
// check passes by returning. Calls go through sys(), which returns what the kernel returned: a value, or -errno.
#ifndef LISA_H
#define LISA_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum number {
#define NUMBER(name, x86_64, aarch64) X86_64_##name = x86_64, AARCH64_##name = aarch64,
#include "numbers.h"
#undef NUMBER
#if defined(__x86_64__)
#define NUMBER(name, x86_64, aarch64) NR_##name = x86_64,
#elif defined(__aarch64__)
#define NUMBER(name, x86_64, aarch64) NR_##name = aarch64,
#else
#error "the suite knows the numbers of x86_64 and of aarch64 alone"
#endif
#include "numbers.h"
#undef NUMBER
};

#define KERNEL(major, minor) ((major) * 1000 + (minor))
#define USER_ID 65534 // whom an unprivileged check runs as: "nobody" wherever there is one
#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

enum who {
  ANYBODY, // as the program runs
  ROOT,    // skipped where the program does not run with all capabilities that count
  NOBODY,  // as USER_ID, without groups and capabilities
};

struct check {
  const char *what;     // the line of TAP
  void (*run)(void);    // the check; none: call "number" with "arguments" and want "error"
  long number;          //
  long arguments[6];    //
  int error;            // the errno; 0: the call works
  int other_error;      // as good as the first, where kernels or settings differ; 0: none
  enum who who;         //
  int since, until;     // KERNEL(): the first version with this contract, the first without; 0: no limit
  const char *config;   // the option this check needs beyond the case's; NULL: none
};

struct test_case {
  const char *id;
  const char *manual;         // the page that states the contract
  long number;                // the system call the case is about; NONE: several, or none
  int since;                  // KERNEL() that introduced it
  const char *config;         // without this option the call must be refused by ENOSYS; NULL: every kernel has it
  bool (*is_off)(char *why, size_t size); // ENOSYS by a setting of the machine; NULL: there is no such setting
  const long *probe;          // harmless arguments that tell whether the call is there; NULL: six times -1
  const struct check *checks;
  size_t count;
};

#define NONE (-2L)
#define COUNT(list) (sizeof(list) / sizeof *(list))
#define CHECKS(list) .checks = (list), .count = COUNT(list)

// ---- system calls --------------------------------------------------------------------------------------------------

long raw(long number, long a, long b, long c, long d, long e, long f); // a value, or -errno

#define PICK_(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define L_(x) ((long)(x))
#define LONGS_0() 0, 0, 0, 0, 0, 0
#define LONGS_1(a) L_(a), 0, 0, 0, 0, 0
#define LONGS_2(a, b) L_(a), L_(b), 0, 0, 0, 0
#define LONGS_3(a, b, c) L_(a), L_(b), L_(c), 0, 0, 0
#define LONGS_4(a, b, c, d) L_(a), L_(b), L_(c), L_(d), 0, 0
#define LONGS_5(a, b, c, d, e) L_(a), L_(b), L_(c), L_(d), L_(e), 0
#define LONGS_6(a, b, c, d, e, f) L_(a), L_(b), L_(c), L_(d), L_(e), L_(f)
#define LONGS_(...) PICK_(0, ##__VA_ARGS__, LONGS_6, LONGS_5, LONGS_4, LONGS_3, LONGS_2, LONGS_1, LONGS_0)(__VA_ARGS__)
#define CALL_(number, ...) raw(number, __VA_ARGS__)
#define sys(name, ...) CALL_(NR_##name, LONGS_(__VA_ARGS__))

// A check that is one call: GIVES("what", EINVAL, name, arguments...), with further fields after a dot.
#define GIVES(text, wanted, name, ...) .what = (text), .error = (wanted), .number = NR_##name, .arguments = {LONGS_(__VA_ARGS__)}

// ---- judging -------------------------------------------------------------------------------------------------------

const char *error_name(long error); // "EINVAL"; takes -errno as well

_Noreturn void fail_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void skip(const char *format, ...) __attribute__((format(printf, 1, 2))); // this check does not apply here
void want_error(const char *file, int line, const char *what, long got, long wanted, long other);
long want_success(const char *file, int line, const char *what, long got);
long set_up(const char *what, long got);

#define fail(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define refuse(wanted, call) want_error(__FILE__, __LINE__, #call, (call), (wanted), 0)
#define refuse_by(wanted, other, call) want_error(__FILE__, __LINE__, #call, (call), (wanted), (other))
#define work(call) want_success(__FILE__, __LINE__, #call, (call)) // the value, which is at least 0
#define tool(call) set_up(#call, (call)) // a call that another case judges: without it, this check is skipped
#define hold(condition, ...) \
  do { \
    if (!(condition)) fail_at(__FILE__, __LINE__, __VA_ARGS__); \
  } while (0)
#define equal(got, wanted) \
  do { \
    long long got_ = (long long)(got), wanted_ = (long long)(wanted); \
    if (got_ != wanted_) fail_at(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, wanted_); \
  } while (0)

// ---- the machine ---------------------------------------------------------------------------------------------------

int kernel_version(void);                        // KERNEL()
const char *kernel_release(void);                // as uname -r says
bool knows_config(void);                         // is the running kernel's configuration known?
bool is_configured(const char *option);          // "CONFIG_X" is y or m
void read_config(const char *file);              // NULL: from where the kernel or the distribution keeps it
bool is_root(void);                              // user 0 with the capabilities that the checks need
bool setting(const char *file, long *value);     // a number in /proc or /sys
bool file_holds(const char *file, const char *word);

// ---- tools of checks -----------------------------------------------------------------------------------------------

void become_nobody(void);                  // for the rest of the check
pid_t child(void);                         // fork(); the child ends with its parent and runs until it is told
void let_go(pid_t process);                // ends it and reaps it
int reap(pid_t process);                   // waits; its exit status, or -signal
int scratch(void);                         // descriptor of an empty folder; everybody may write there
const char *scratch_path(void);            // its name
int memory_file(const char *content);      // a file without a name, at its start
void leave(long flag, const char *kind);   // for a new namespace; skips where that changes nothing
void own_mounts(void);                     // a mount namespace of this check's own; skips where that cannot be had
void *pages(size_t count);                 // anonymous memory, readable and writable
void nap(long milliseconds);
int run_check(const struct check *check, const struct test_case *of, char *text, size_t size); // enum verdict

enum verdict { PASSED, FAILED, SKIPPED };

// ---- all cases -----------------------------------------------------------------------------------------------------

struct chapter {
  const struct test_case *cases;
  size_t count;
};
extern const struct chapter numbers, descriptors, files, events, processes, memory, futexes, namespaces, mounts, rings,
    security, tracing, clocks, ipc, refusals;

#endif
