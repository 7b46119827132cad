// Descriptors and how files are opened.
#include "lisa.h"

#include <linux/openat2.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif
#define CLOSE_RANGE_UNSHARE_ (1U << 1)
#define CLOSE_RANGE_CLOEXEC_ (1U << 2)

static bool is_open(int descriptor) {
  long got = sys(fcntl, descriptor, F_GETFD);
  return got == -EBADF ? false : tool(got) >= 0;
}

// ---- close_range ---------------------------------------------------------------------------------------------------

static void three_at_100(void) {
  for (int at = 100; at < 103; at++) work(dup2(0, at) >= 0 ? 0 : -errno);
}

static void close_range_closes(void) {
  int null = open("/dev/null", O_RDONLY);
  dup2(null, 0);
  three_at_100();
  work(sys(close_range, 100, 101, 0));
  hold(!is_open(100) && !is_open(101), "a descriptor of the range is still open");
  hold(is_open(102), "a descriptor behind the range was closed");
}

static void close_range_marks(void) {
  int null = open("/dev/null", O_RDONLY);
  dup2(null, 0);
  three_at_100();
  work(sys(close_range, 101, ~0U, CLOSE_RANGE_CLOEXEC_));
  equal(tool(sys(fcntl, 100, F_GETFD)), 0);
  equal(tool(sys(fcntl, 101, F_GETFD)), FD_CLOEXEC);
  equal(tool(sys(fcntl, 102, F_GETFD)), FD_CLOEXEC);
}

static int close_all(void *unused) {
  (void)unused;
  _exit(sys(close_range, 100, ~0U, CLOSE_RANGE_UNSHARE_) == 0 && !is_open(100) ? 0 : 1);
}

static void close_range_unshares(void) {
  int null = open("/dev/null", O_RDONLY);
  dup2(null, 0);
  three_at_100();
  static char stack[65536] __attribute__((aligned(16)));
  pid_t process = clone(close_all, stack + sizeof stack, CLONE_FILES | CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
  hold(process > 0, "cannot make a process that shares its descriptors");
  equal(reap(process), 0);
  hold(is_open(100), "the other process lost its descriptor");
}

static const struct check close_range_checks[] = {
    {.what = "closes the range and nothing else", .run = close_range_closes},
    {.what = "CLOSE_RANGE_CLOEXEC only marks", .run = close_range_marks, .since = KERNEL(5, 11)},
    {.what = "CLOSE_RANGE_UNSHARE leaves the other process alone", .run = close_range_unshares},
    {GIVES("a range without an open descriptor is no error", 0, close_range, 5000, 6000, 0)},
    {GIVES("a range that ends before it starts", EINVAL, close_range, 200, 100, 0)},
    {GIVES("an unknown flag", EINVAL, close_range, 5000, 6000, 1U << 20)},
};

// ---- openat2 -------------------------------------------------------------------------------------------------------

static long open2(int at, const char *name, uint64_t flags, uint64_t resolve) {
  struct open_how how = {.flags = flags, .resolve = resolve};
  return sys(openat2, at, name, &how, sizeof how);
}

static int furnished(void) { // a folder with in/file, in/link -> file, in/up -> .., in/root -> /
  int at = scratch();
  if (mkdirat(at, "in", 0755)) fail("cannot make a folder");
  int in = openat(at, "in", O_RDONLY | O_DIRECTORY);
  close(openat(in, "file", O_CREAT | O_WRONLY, 0644));
  if (symlinkat("file", in, "link") || symlinkat("..", in, "up") || symlinkat("/etc", in, "root"))
    fail("cannot make links");
  return in;
}

static void openat2_opens(void) {
  int file = (int)work(open2(furnished(), "link", O_RDONLY | O_CLOEXEC, 0));
  equal(tool(sys(fcntl, file, F_GETFD)), FD_CLOEXEC);
}

static void openat2_no_symlinks(void) {
  int in = furnished();
  refuse(ELOOP, open2(in, "link", O_RDONLY, RESOLVE_NO_SYMLINKS));
  work(open2(in, "file", O_RDONLY, RESOLVE_NO_SYMLINKS));
}

static void openat2_beneath(void) {
  int in = furnished();
  refuse(EXDEV, open2(in, "..", O_RDONLY, RESOLVE_BENEATH));
  refuse(EXDEV, open2(in, "up", O_RDONLY, RESOLVE_BENEATH));
  refuse(EXDEV, open2(in, "/etc", O_RDONLY, RESOLVE_BENEATH));
  refuse(EXDEV, open2(in, "root", O_RDONLY, RESOLVE_BENEATH));
  work(open2(in, "link", O_RDONLY, RESOLVE_BENEATH));
}

static void openat2_in_root(void) {
  int in = furnished();
  refuse(ENOENT, open2(in, "/etc", O_RDONLY, RESOLVE_IN_ROOT));
  refuse(ENOENT, open2(in, "root", O_RDONLY, RESOLVE_IN_ROOT));
  work(open2(in, "/../../file", O_RDONLY, RESOLVE_IN_ROOT));
}

static void openat2_no_magic(void) {
  refuse(ELOOP, open2(AT_FDCWD, "/proc/self/exe", O_RDONLY, RESOLVE_NO_MAGICLINKS));
  work(open2(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0));
}

static void openat2_no_crossing(void) {
  refuse(EXDEV, open2(AT_FDCWD, "/proc/self/status", O_RDONLY, RESOLVE_NO_XDEV));
}

static void openat2_cached(void) {
  int in = furnished();
  refuse(EAGAIN, open2(in, "file", O_RDWR | O_TRUNC, RESOLVE_CACHED));
  work(open2(in, "file", O_RDONLY, RESOLVE_CACHED));
}

static void openat2_sizes(void) {
  struct {
    struct open_how how;
    uint64_t more;
  } wide = {.how = {.flags = O_RDONLY}};
  refuse(EINVAL, sys(openat2, AT_FDCWD, "/", &wide, sizeof wide.how - 1));
  work(sys(openat2, AT_FDCWD, "/", &wide, sizeof wide));
  wide.more = 1;
  refuse(E2BIG, sys(openat2, AT_FDCWD, "/", &wide, sizeof wide));
  refuse(EFAULT, sys(openat2, AT_FDCWD, "/", -1L, sizeof wide.how));
}

static void openat2_strict(void) {
  struct open_how how = {.flags = O_RDONLY, .mode = 0600};
  refuse(EINVAL, sys(openat2, AT_FDCWD, "/", &how, sizeof how)); // a mode, and nothing is created
  how = (struct open_how){.flags = O_CREAT | O_RDWR, .mode = 010000};
  refuse(EINVAL, sys(openat2, AT_FDCWD, "/tmp/x", &how, sizeof how));
  refuse(EINVAL, open2(AT_FDCWD, "/", 1ULL << 40, 0));
  refuse(EINVAL, open2(AT_FDCWD, "/", O_RDONLY, 1ULL << 40));
  refuse(EINVAL, open2(AT_FDCWD, "/", O_PATH | O_RDWR, 0));
  refuse(EINVAL, open2(AT_FDCWD, "/", O_RDONLY, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
}

static void openat2_denied(void) {
  int in = furnished(); // as nobody, so the folder is ours
  work(fchmodat(in, "file", 0, 0) ? -errno : 0);
  refuse(EACCES, open2(in, "file", O_RDONLY, 0));
}

static const struct check openat2_checks[] = {
    {.what = "opens, with the flags asked for", .run = openat2_opens},
    {.what = "RESOLVE_NO_SYMLINKS refuses links alone", .run = openat2_no_symlinks},
    {.what = "RESOLVE_BENEATH refuses each way out", .run = openat2_beneath},
    {.what = "RESOLVE_IN_ROOT makes the folder the root", .run = openat2_in_root},
    {.what = "RESOLVE_NO_MAGICLINKS refuses /proc/self/exe", .run = openat2_no_magic},
    {.what = "RESOLVE_NO_XDEV stays in its mount", .run = openat2_no_crossing},
    {.what = "RESOLVE_CACHED does not wait", .run = openat2_cached, .since = KERNEL(5, 12)},
    {.what = "its structure may be longer when the rest is zero", .run = openat2_sizes},
    {.what = "what it does not know is an error", .run = openat2_strict},
    {.what = "permissions hold", .run = openat2_denied, .who = NOBODY},
};

// ---- dup3, pipe2, eventfd-like flags -------------------------------------------------------------------------------

static void dup3_duplicates(void) {
  int file = open("/dev/null", O_RDONLY);
  equal(sys(dup3, file, 100, O_CLOEXEC), 100);
  equal(tool(sys(fcntl, 100, F_GETFD)), FD_CLOEXEC);
}

static void dup3_itself(void) {
  int file = open("/dev/null", O_RDONLY);
  refuse(EINVAL, sys(dup3, file, file, 0));
}

static const struct check dup3_checks[] = {
    {.what = "duplicates, with O_CLOEXEC", .run = dup3_duplicates},
    {.what = "a descriptor onto itself", .run = dup3_itself},
    {GIVES("an unknown flag", EINVAL, dup3, 0, 100, O_NONBLOCK)},
    {GIVES("no descriptor", EBADF, dup3, -1, 100, 0)},
    {GIVES("a number that no descriptor can have", EBADF, dup3, 1, 1 << 30, 0)},
};

static void pipe2_flags(void) {
  int ends[2];
  work(sys(pipe2, ends, O_CLOEXEC | O_NONBLOCK));
  equal(tool(sys(fcntl, ends[0], F_GETFD)), FD_CLOEXEC);
  char byte;
  refuse(EAGAIN, sys(read, ends[0], &byte, 1));
}

static void pipe2_packets(void) {
  int ends[2];
  char both[8];
  work(sys(pipe2, ends, O_DIRECT));
  equal(sys(write, ends[1], "ab", 2), 2);
  equal(sys(write, ends[1], "cd", 2), 2);
  equal(sys(read, ends[0], both, sizeof both), 2); // one packet, not two
}

static void pipe2_broken(void) {
  int ends[2];
  signal(SIGPIPE, SIG_IGN);
  work(sys(pipe2, ends, 0));
  close(ends[0]);
  refuse(EPIPE, sys(write, ends[1], "a", 1));
}

static const struct check pipe2_checks[] = {
    {.what = "O_CLOEXEC and O_NONBLOCK hold", .run = pipe2_flags},
    {.what = "O_DIRECT keeps packets apart", .run = pipe2_packets},
    {.what = "writing without a reader", .run = pipe2_broken},
    {GIVES("an unknown flag", EINVAL, pipe2, 0, O_APPEND)},
    {GIVES("a bad address", EFAULT, pipe2, 8, 0)},
};

// ---- faccessat2 ----------------------------------------------------------------------------------------------------

static void faccessat2_links(void) {
  int at = scratch();
  work(symlinkat("nowhere", at, "link") ? -errno : 0);
  refuse(ENOENT, sys(faccessat2, at, "link", F_OK, 0));
  work(sys(faccessat2, at, "link", F_OK, AT_SYMLINK_NOFOLLOW));
}

static void faccessat2_empty(void) {
  int at = scratch();
  work(sys(faccessat2, at, "", F_OK, AT_EMPTY_PATH));
  refuse(ENOENT, sys(faccessat2, at, "", F_OK, 0));
}

static void faccessat2_effective(void) { // real user nobody, effective user root
  int at = scratch();
  close(openat(at, "mine", O_CREAT | O_WRONLY, 0600));
  work(setresuid(USER_ID, 0, 0) ? -errno : 0);
  refuse(EACCES, sys(faccessat2, at, "mine", R_OK, 0));
  work(sys(faccessat2, at, "mine", R_OK, AT_EACCESS));
}

static const struct check faccessat2_checks[] = {
    {.what = "AT_SYMLINK_NOFOLLOW looks at the link", .run = faccessat2_links},
    {.what = "AT_EMPTY_PATH looks at the descriptor", .run = faccessat2_empty},
    {.what = "AT_EACCESS asks for the effective user", .run = faccessat2_effective, .who = ROOT},
    {GIVES("an unknown mode", EINVAL, faccessat2, AT_FDCWD, "/", 8, 0)},
    {GIVES("an unknown flag", EINVAL, faccessat2, AT_FDCWD, "/", 0, 1)},
    {GIVES("a root file for nobody", EACCES, faccessat2, AT_FDCWD, "/proc/1/mem", W_OK, 0), .who = NOBODY},
    {GIVES("a folder is needed", EBADF, faccessat2, -1, "x", 0, 0)},
};

// ---- fchmodat2 -----------------------------------------------------------------------------------------------------

static int mode_of(int at, const char *name) {
  struct stat facts;
  if (fstatat(at, name, &facts, AT_SYMLINK_NOFOLLOW)) fail("cannot look at %s", name);
  return (int)(facts.st_mode & 07777);
}

static void fchmodat2_changes(void) {
  int in = furnished();
  work(sys(fchmodat2, in, "file", 0604, 0));
  equal(mode_of(in, "file"), 0604);
  work(sys(fchmodat2, in, "file", 0640, AT_SYMLINK_NOFOLLOW));
  equal(mode_of(in, "file"), 0640);
}

static void fchmodat2_link(void) {
  refuse(EOPNOTSUPP, sys(fchmodat2, furnished(), "link", 0600, AT_SYMLINK_NOFOLLOW));
}

static void fchmodat2_empty(void) {
  int in = furnished();
  int file = openat(in, "file", O_PATH);
  work(sys(fchmodat2, file, "", 0611, AT_EMPTY_PATH));
  equal(mode_of(in, "file"), 0611);
}

static void fchmodat2_denied(void) {
  int in = furnished();
  become_nobody();
  refuse(EPERM, sys(fchmodat2, in, "file", 0777, 0));
}

static const struct check fchmodat2_checks[] = {
    {.what = "changes the mode", .run = fchmodat2_changes},
    {.what = "a link has no mode", .run = fchmodat2_link},
    {.what = "AT_EMPTY_PATH takes the descriptor", .run = fchmodat2_empty},
    {.what = "another's file", .run = fchmodat2_denied, .who = ROOT},
    {GIVES("an unknown flag", EINVAL, fchmodat2, AT_FDCWD, "/tmp", 0755, 1)},
    {GIVES("a missing file", ENOENT, fchmodat2, AT_FDCWD, "/nowhere/at/all", 0755, 0)},
};

// ---- fcntl ---------------------------------------------------------------------------------------------------------

static void fcntl_duplicates(void) {
  int file = open("/dev/null", O_RDONLY);
  int copy = (int)work(sys(fcntl, file, F_DUPFD_CLOEXEC, 200));
  hold(copy >= 200, "the copy is %d", copy);
  equal(sys(fcntl, copy, F_GETFD), FD_CLOEXEC);
}

static void fcntl_own_locks(void) { // locks of the open file, not of the process
  int at = scratch();
  int one = openat(at, "locked", O_CREAT | O_RDWR, 0600), two = openat(at, "locked", O_RDWR);
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  work(sys(fcntl, one, F_OFD_SETLK, &whole));
  refuse(EAGAIN, sys(fcntl, two, F_OFD_SETLK, &whole));
  whole.l_pid = 1;
  refuse(EINVAL, sys(fcntl, two, F_OFD_SETLK, &whole));
}

static void fcntl_pipe_size(void) {
  int ends[2];
  tool(sys(pipe2, ends, 0));
  equal(sys(fcntl, ends[0], F_SETPIPE_SZ, 65536 * 2), 65536 * 2);
  equal(sys(fcntl, ends[0], F_GETPIPE_SZ), 65536 * 2);
}

static void fcntl_seal_of_a_plain_file(void) {
  refuse(EINVAL, sys(fcntl, open("/dev/null", O_RDWR), F_ADD_SEALS, F_SEAL_SEAL));
}

static const struct check fcntl_checks[] = {
    {.what = "F_DUPFD_CLOEXEC marks and starts where told", .run = fcntl_duplicates},
    {.what = "F_OFD_SETLK locks belong to the open file", .run = fcntl_own_locks, .config = "CONFIG_FILE_LOCKING"},
    {.what = "F_SETPIPE_SZ changes a pipe", .run = fcntl_pipe_size},
    {.what = "F_ADD_SEALS wants a memory file", .run = fcntl_seal_of_a_plain_file},
    {GIVES("an unknown command", EINVAL, fcntl, 1, 0x7fff, 0)},
    {GIVES("no descriptor", EBADF, fcntl, -1, F_GETFD, 0)},
};

static const struct test_case cases[] = {
    {.id = "close_range", .manual = "close_range(2)", .number = NR_close_range, .since = KERNEL(5, 9), CHECKS(close_range_checks)},
    {.id = "openat2", .manual = "openat2(2)", .number = NR_openat2, .since = KERNEL(5, 6), CHECKS(openat2_checks)},
    {.id = "dup3", .manual = "dup3(2)", .number = NR_dup3, CHECKS(dup3_checks)},
    {.id = "pipe2", .manual = "pipe2(2)", .number = NR_pipe2, CHECKS(pipe2_checks)},
    {.id = "faccessat2", .manual = "faccessat2(2)", .number = NR_faccessat2, .since = KERNEL(5, 8), CHECKS(faccessat2_checks)},
    {.id = "fchmodat2", .manual = "chmod(2)", .number = NR_fchmodat2, .since = KERNEL(6, 6), CHECKS(fchmodat2_checks)},
    {.id = "fcntl", .manual = "fcntl(2)", .number = NR_fcntl, CHECKS(fcntl_checks)},
};
const struct chapter descriptors = {cases, COUNT(cases)};
