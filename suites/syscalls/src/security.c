// Filters, sandboxes and keys.
#include "lisa.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static char buffer[4096] __attribute__((aligned(8)));

#if defined(__x86_64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define OUR_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

// ---- seccomp -------------------------------------------------------------------------------------------------------

static long filter(unsigned flags, uint32_t number, uint32_t action) { // "action" for one system call, the rest goes on
  struct sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {COUNT(steps), steps};
  return sys(seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void no_new_privileges(void) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) skip("PR_SET_NO_NEW_PRIVS: %s", error_name(errno));
}

static void seccomp_error(void) {
  no_new_privileges();
  work(filter(0, NR_getpriority, SECCOMP_RET_ERRNO | 77));
  equal(sys(getpriority, 0, 0), -77);
  work(sys(getppid));
}

static void seccomp_kills(void) {
  no_new_privileges();
  pid_t process = child();
  if (process == 0) {
    filter(0, NR_getpriority, SECCOMP_RET_KILL_PROCESS);
    sys(getpriority, 0, 0);
    _exit(0);
  }
  equal(reap(process), -SIGSYS);
}

static void seccomp_strict(void) {
  pid_t process = child();
  if (process == 0) {
    if (sys(seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL)) _exit(1);
    sys(getppid);
    _exit(2);
  }
  int status = reap(process);
  if (status == 1 && prctl(PR_GET_SECCOMP)) skip("a filter is active already, and rules the strict mode out");
  equal(status, -SIGKILL);
}

static void seccomp_actions(void) {
  uint32_t action = SECCOMP_RET_ERRNO;
  work(sys(seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
  action = 0x12340000;
  refuse(EOPNOTSUPP, sys(seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
}

static void seccomp_refused(void) {
  refuse(EINVAL, sys(seccomp, 99, 0, NULL));
  refuse(EINVAL, sys(seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL));
  no_new_privileges();
  struct sock_filter endless[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
  struct sock_fprog program = {1, endless};
  refuse(EINVAL, sys(seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)); // it never returns
  program.len = 0;
  refuse(EINVAL, sys(seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
  refuse(EFAULT, sys(seccomp, SECCOMP_SET_MODE_FILTER, 0, 8L));
  refuse(EINVAL, filter(1U << 20, NR_getpriority, SECCOMP_RET_ALLOW));
}

static void seccomp_denied(void) {
  refuse(EACCES, filter(0, NR_getpriority, SECCOMP_RET_ERRNO | 77)); // without no_new_privs
}

static void seccomp_notifies(void) {
  struct seccomp_notif asked;
  struct seccomp_notif_resp answer;
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) skip("no socket pair");
  pid_t process = child();
  if (process == 0) { // its listener is handed over by number: the parent copies it
    no_new_privileges();
    int number = (int)filter(SECCOMP_FILTER_FLAG_NEW_LISTENER, NR_getpriority, SECCOMP_RET_USER_NOTIF);
    if (write(pair[1], &number, sizeof number) != sizeof number) _exit(1);
    _exit(sys(getpriority, 0, 0) == 33 ? 0 : 2);
  }
  int number = -1;
  equal(read(pair[0], &number, sizeof number), sizeof number);
  work(number);
  int held = (int)tool(sys(pidfd_open, process, 0));
  int listener = (int)tool(sys(pidfd_getfd, held, number, 0));
  memset(&asked, 0, sizeof asked);
  work(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) ? -errno : 0);
  equal(asked.pid, process);
  equal(asked.data.nr, NR_getpriority);
  equal(asked.data.arch, OUR_ARCHITECTURE);
  memset(&answer, 0, sizeof answer);
  answer.id = asked.id;
  answer.val = 33;
  work(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) ? -errno : 0);
  equal(reap(process), 0);
  refuse(ENOENT, ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) ? -errno : 0);
}

static void seccomp_sizes(void) {
  struct seccomp_notif_sizes sizes = {0};
  work(sys(seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
  hold(sizes.seccomp_notif >= 80 && sizes.seccomp_notif_resp >= 24 && sizes.seccomp_data == 64, "%d %d %d",
       sizes.seccomp_notif, sizes.seccomp_notif_resp, sizes.seccomp_data);
}

#define FILTER .config = "CONFIG_SECCOMP_FILTER"
static const struct check seccomp_checks[] = {
    {.what = "a filter answers with its errno", .run = seccomp_error, FILTER},
    {.what = "a filter kills with SIGSYS", .run = seccomp_kills, FILTER, .since = KERNEL(4, 14)},
    {.what = "the strict mode kills", .run = seccomp_strict},
    {.what = "tells which actions it has", .run = seccomp_actions, FILTER, .since = KERNEL(4, 14)},
    {.what = "programs without end, unknown operations and flags", .run = seccomp_refused, FILTER},
    {.what = "nobody filters without PR_SET_NO_NEW_PRIVS", .run = seccomp_denied, FILTER, .who = NOBODY},
    {.what = "a listener answers for the kernel", .run = seccomp_notifies, FILTER, .since = KERNEL(5, 6)},
    {.what = "tells the sizes of its structures", .run = seccomp_sizes, FILTER, .since = KERNEL(5, 0)},
};

// ---- landlock ------------------------------------------------------------------------------------------------------

#define READ_FILE_ 4ULL
struct beneath { // struct landlock_path_beneath_attr
  uint64_t allowed;
  int32_t parent;
} __attribute__((packed));

static long landlock_abi(void) {
  return sys(landlock_create_ruleset, NULL, 0, 1);
}

static void need_landlock(void) {
  if (landlock_abi() == -EOPNOTSUPP) skip("landlock is not in the lsm= of this boot");
}

static int reading_rules(void) {
  need_landlock();
  uint64_t handled = READ_FILE_;
  return (int)tool(sys(landlock_create_ruleset, &handled, 8, 0));
}

static void landlock_version(void) {
  need_landlock();
  static const struct {
    int since, least;
  } steps[] = {{KERNEL(5, 13), 1}, {KERNEL(5, 19), 2}, {KERNEL(6, 2), 3}, {KERNEL(6, 7), 4}, {KERNEL(6, 10), 5}, {KERNEL(6, 12), 6}};
  long abi = work(landlock_abi());
  for (size_t i = 0; i < COUNT(steps); i++)
    hold(kernel_version() < steps[i].since || abi >= steps[i].least, "version %ld of the interface in kernel %s", abi, kernel_release());
}

static void landlock_rules_refused(void) {
  need_landlock();
  uint64_t handled[2] = {READ_FILE_, 0};
  int rules = (int)work(sys(landlock_create_ruleset, handled, 8, 0));
  equal(tool(sys(fcntl, rules, F_GETFD)), FD_CLOEXEC);
  refuse(EINVAL, sys(landlock_create_ruleset, handled, 8, 1U << 20));
  refuse(EINVAL, sys(landlock_create_ruleset, handled, 4, 0));
  refuse(E2BIG, sys(landlock_create_ruleset, handled, 1 << 20, 0));
  refuse(EFAULT, sys(landlock_create_ruleset, 8L, 8, 0));
  handled[0] = 1ULL << 60;
  refuse(EINVAL, sys(landlock_create_ruleset, handled, 8, 0));
  handled[0] = 0;
  refuse(ENOMSG, sys(landlock_create_ruleset, handled, 8, 0));
}

static const struct check ruleset_checks[] = {
    {.what = "tells a version that fits the kernel", .run = landlock_version},
    {.what = "empty and unknown rights, sizes, flags", .run = landlock_rules_refused},
};

static void landlock_adds(void) {
  int rules = reading_rules();
  struct beneath rule = {.allowed = READ_FILE_, .parent = open("/proc", O_PATH)};
  work(sys(landlock_add_rule, rules, 1, &rule, 0));
  refuse(EINVAL, sys(landlock_add_rule, rules, 1, &rule, 1));
  refuse(EINVAL, sys(landlock_add_rule, rules, 99, &rule, 0));
  refuse(EBADF, sys(landlock_add_rule, -1, 1, &rule, 0));
  refuse_by(EBADFD, EBADF, sys(landlock_add_rule, rule.parent, 1, &rule, 0)); // EBADF: it is an O_PATH descriptor
  rule.allowed = 2; // a right that the rules do not handle
  refuse(EINVAL, sys(landlock_add_rule, rules, 1, &rule, 0));
  rule.allowed = 0;
  refuse(ENOMSG, sys(landlock_add_rule, rules, 1, &rule, 0));
  rule = (struct beneath){.allowed = READ_FILE_, .parent = rules};
  refuse(EBADFD, sys(landlock_add_rule, rules, 1, &rule, 0));
}

static const struct check rule_checks[] = {
    {.what = "adds a rule; refuses rights that are not handled, and what is no folder", .run = landlock_adds},
};

static void landlock_restricts(void) {
  int rules = reading_rules();
  struct beneath rule = {.allowed = READ_FILE_, .parent = open("/proc", O_PATH)};
  tool(sys(landlock_add_rule, rules, 1, &rule, 0));
  no_new_privileges();
  work(sys(landlock_restrict_self, rules, 0));
  work(sys(openat, AT_FDCWD, "/proc/self/status", O_RDONLY, 0));
  refuse(EACCES, sys(openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0));
  pid_t process = child();
  if (process == 0) _exit(sys(openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0) == -EACCES ? 0 : 1);
  equal(reap(process), 0);
}

static void landlock_denied(void) {
  refuse(EPERM, sys(landlock_restrict_self, reading_rules(), 0)); // without no_new_privs
}

static void landlock_restrict_refused(void) {
  int rules = reading_rules();
  no_new_privileges();
  refuse(EINVAL, sys(landlock_restrict_self, rules, 1U << 20));
  refuse(EBADF, sys(landlock_restrict_self, -1, 0));
  refuse(EBADFD, sys(landlock_restrict_self, open("/dev/null", O_RDONLY), 0));
}

static const struct check restrict_checks[] = {
    {.what = "what no rule allows is denied, to children as well", .run = landlock_restricts},
    {.what = "nobody restricts itself without PR_SET_NO_NEW_PRIVS", .run = landlock_denied, .who = NOBODY},
    {.what = "unknown flags, other files", .run = landlock_restrict_refused},
};

// ---- lsm_* ---------------------------------------------------------------------------------------------------------

static void lsm_lists(void) {
  uint64_t ids[32];
  uint32_t size = sizeof ids;
  long count = work(sys(lsm_list_modules, ids, &size, 0));
  hold(count >= 1, "no module at all, not even capability");
  equal(size, count * 8);
  bool has_capability = false;
  for (long i = 0; i < count && i < 32; i++) has_capability |= ids[i] == 100; // LSM_ID_CAPABILITY
  hold(has_capability, "the module for capabilities is not among %ld", count);
  size = 4;
  refuse(E2BIG, sys(lsm_list_modules, ids, &size, 0));
  equal(size, count * 8);
  refuse(EINVAL, sys(lsm_list_modules, ids, &size, 1));
  refuse(EFAULT, sys(lsm_list_modules, ids, 8L, 0));
}

static void lsm_attributes(void) {
  uint32_t size = sizeof buffer;
  long got = sys(lsm_get_self_attr, 100, buffer, &size, 0); // LSM_ATTR_CURRENT
  hold(got > 0 || got == -EOPNOTSUPP, "gives %s", error_name(got)); // no module with labels
  refuse(EINVAL, sys(lsm_get_self_attr, 0, buffer, &size, 0));
  refuse(EINVAL, sys(lsm_get_self_attr, 100, buffer, NULL, 0));
  refuse(EINVAL, sys(lsm_get_self_attr, 100, buffer, &size, 1U << 20));
  refuse(EINVAL, sys(lsm_set_self_attr, 100, buffer, 8, 1));
}

static const struct check lsm_list_checks[] = {{.what = "lists modules, tells the size it needs", .run = lsm_lists}};
static const struct check lsm_self_checks[] = {{.what = "tells labels where a module has them, refuses the rest", .run = lsm_attributes}};

// ---- keys ----------------------------------------------------------------------------------------------------------

#define PROCESS_RING (-2L)

static void keys_round(void) {
  char got[16] = "";
  long key = work(sys(add_key, "user", "lisa-ci", "secret", 6, PROCESS_RING));
  equal(sys(keyctl, 11, key, got, sizeof got), 6); // KEYCTL_READ
  hold(!strcmp(got, "secret"), "the key holds '%s'", got);
  equal(sys(keyctl, 10, PROCESS_RING, "user", "lisa-ci", 0), key); // KEYCTL_SEARCH
  work(sys(keyctl, 3, key)); // KEYCTL_REVOKE
  refuse(EKEYREVOKED, sys(keyctl, 11, key, got, sizeof got));
  equal(sys(add_key, "keyring", "lisa-ci", NULL, 0, PROCESS_RING) > 0, 1);
}

static void keys_private(void) {
  long key = work(sys(add_key, "user", "lisa-ci", "secret", 6, PROCESS_RING));
  work(sys(keyctl, 5, key, 0x3f000000)); // KEYCTL_SETPERM: for its possessor alone
  char got[16];
  pid_t process = child();
  if (process == 0) { // another user, without our keyring
    become_nobody();
    _exit(sys(keyctl, 11, key, got, sizeof got) == -EACCES ? 0 : 1);
  }
  equal(reap(process), 0);
}

static const struct check key_checks[] = {
    {.what = "add, read, find, revoke", .run = keys_round},
    {.what = "a key is its owner's", .run = keys_private, .who = ROOT},
    {GIVES("an unknown type", ENODEV, add_key, "no-such-type", "x", "x", 1, PROCESS_RING)},
    {GIVES("a type of the kernel's own", EPERM, add_key, ".x", "x", "x", 1, PROCESS_RING)},
    {GIVES("an unknown keyring", EINVAL, add_key, "user", "x", "x", 1, -99L)},
    {GIVES("no key", ENOKEY, request_key, "user", "lisa-ci-none", 0, 0)},
    {GIVES("an unknown operation", EOPNOTSUPP, keyctl, 9999, 0, 0, 0, 0)},
};

static const long no_action[] = {-1, -1, 0, 0, 0, 0};

#define LANDLOCK .since = KERNEL(5, 13), .config = "CONFIG_SECURITY_LANDLOCK"
static const struct test_case cases[] = {
    {.id = "seccomp", .manual = "seccomp(2), seccomp_unotify(2)", .number = NR_seccomp, .since = KERNEL(3, 17), .config = "CONFIG_SECCOMP", .probe = no_action, CHECKS(seccomp_checks)},
    {.id = "landlock_create_ruleset", .manual = "landlock_create_ruleset(2)", .number = NR_landlock_create_ruleset, LANDLOCK, CHECKS(ruleset_checks)},
    {.id = "landlock_add_rule", .manual = "landlock_add_rule(2)", .number = NR_landlock_add_rule, LANDLOCK, CHECKS(rule_checks)},
    {.id = "landlock_restrict_self", .manual = "landlock_restrict_self(2)", .number = NR_landlock_restrict_self, LANDLOCK, CHECKS(restrict_checks)},
    {.id = "lsm_list_modules", .manual = "lsm_list_modules(2)", .number = NR_lsm_list_modules, .since = KERNEL(6, 8), .config = "CONFIG_SECURITY", CHECKS(lsm_list_checks)},
    {.id = "lsm_get_self_attr", .manual = "lsm_get_self_attr(2)", .number = NR_lsm_get_self_attr, .since = KERNEL(6, 8), .config = "CONFIG_SECURITY", CHECKS(lsm_self_checks)},
    {.id = "keyctl", .manual = "keyctl(2), add_key(2), request_key(2)", .number = NR_keyctl, .config = "CONFIG_KEYS", CHECKS(key_checks)},
};
const struct chapter security = {cases, COUNT(cases)};
