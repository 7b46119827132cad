// Runs one check in a child of its own, and the tools that checks share.
#include "lisa.h"

#include <dirent.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LIMIT_SECONDS 10 // for one check; none of them waits for more than a fraction of a second

static struct report {
  volatile int verdict; // enum verdict
  char text[480];
} *report; // shared with the child

static char folder[200];
static bool has_folder;

long raw(long number, long a, long b, long c, long d, long e, long f) {
  long got = syscall(number, a, b, c, d, e, f);
  return got == -1 ? -errno : got;
}

// ---- judging -------------------------------------------------------------------------------------------------------

const char *error_name(long error) {
  static const struct {
    int error;
    const char *name;
  } names[] = {
#define E_(name) {name, #name}
      E_(EPERM), E_(ENOENT), E_(ESRCH), E_(EINTR), E_(EIO), E_(ENXIO), E_(E2BIG), E_(ENOEXEC), E_(EBADF), E_(ECHILD),
      E_(EAGAIN), E_(ENOMEM), E_(EACCES), E_(EFAULT), E_(ENOTBLK), E_(EBUSY), E_(EEXIST), E_(EXDEV), E_(ENODEV),
      E_(ENOTDIR), E_(EISDIR), E_(EINVAL), E_(ENFILE), E_(EMFILE), E_(ENOTTY), E_(ETXTBSY), E_(EFBIG), E_(ENOSPC),
      E_(ESPIPE), E_(EROFS), E_(EMLINK), E_(EPIPE), E_(EDOM), E_(ERANGE), E_(EDEADLK), E_(ENAMETOOLONG), E_(ENOLCK),
      E_(ENOSYS), E_(ENOTEMPTY), E_(ELOOP), E_(ENOMSG), E_(EIDRM), E_(ENODATA), E_(ETIME), E_(EOVERFLOW), E_(EBADFD),
      E_(EUSERS), E_(ENOTSOCK), E_(EDESTADDRREQ), E_(EMSGSIZE), E_(EPROTOTYPE), E_(ENOPROTOOPT), E_(EPROTONOSUPPORT),
      E_(ESOCKTNOSUPPORT), E_(EOPNOTSUPP), E_(EAFNOSUPPORT), E_(EADDRINUSE), E_(EADDRNOTAVAIL), E_(ENOTCONN),
      E_(ETIMEDOUT), E_(ECONNREFUSED), E_(EALREADY), E_(EINPROGRESS), E_(ESTALE), E_(EDQUOT), E_(ENOKEY),
      E_(EKEYEXPIRED), E_(EKEYREVOKED), E_(EKEYREJECTED), E_(EOWNERDEAD), E_(ECANCELED), E_(EISCONN),
#undef E_
  };
  static char number[32];
  if (error < 0) error = -error;
  for (size_t i = 0; i < COUNT(names); i++)
    if (names[i].error == error) return names[i].name;
  snprintf(number, sizeof number, "error %ld", error);
  return number;
}

static _Noreturn void end(enum verdict verdict, const char *text) {
  snprintf(report->text, sizeof report->text, "%s", text);
  report->verdict = verdict;
  _exit(0);
}

void fail_at(const char *file, int line, const char *format, ...) {
  char text[400], whole[480];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  const char *name = strrchr(file, '/');
  snprintf(whole, sizeof whole, "%s (%s:%d)", text, name ? name + 1 : file, line);
  end(FAILED, whole);
}

void skip(const char *format, ...) {
  char text[400];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  end(SKIPPED, text);
}

void want_error(const char *file, int line, const char *what, long got, long wanted, long other) {
  if (got == -wanted || (other && got == -other)) return;
  if (got < 0) fail_at(file, line, "%s gives %s, not %s", what, error_name(got), error_name(wanted));
  fail_at(file, line, "%s works (%ld), it must give %s", what, got, error_name(wanted));
}

long want_success(const char *file, int line, const char *what, long got) {
  if (got < 0) fail_at(file, line, "%s gives %s", what, error_name(got));
  return got;
}

long set_up(const char *what, long got) {
  if (got < 0) skip("%s gives %s, and this check needs it", what, error_name(got));
  return got;
}

// ---- one check -----------------------------------------------------------------------------------------------------

static void remove_tree(const char *path) {
  DIR *stream = opendir(path);
  struct dirent *entry;
  while (stream && (entry = readdir(stream))) {
    char name[PATH_MAX];
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
    if (unlink(name) && (errno == EISDIR || errno == EPERM)) remove_tree(name);
  }
  if (stream) closedir(stream);
  rmdir(path);
}

static void make_folder(void) {
  const char *place = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%.150s/lisa-syscalls-XXXXXX", place && *place ? place : "/tmp");
  has_folder = mkdtemp(folder) && !chmod(folder, 0777);
}

// A call that wrongly gives 0 instead of a descriptor must not make a check work on the terminal or on /dev/null.
static void harmless_descriptors(void) {
  int ends[2], own = -1;
  char name[300];
  snprintf(name, sizeof name, "%s/standard", folder);
  if (has_folder) own = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (own >= 0)
    unlink(name);
  else
    own = pipe(ends) ? -1 : ends[0];
  for (int standard = 0; standard < 3; standard++)
    if (own < 0 || dup2(own, standard) < 0) close(standard);
  if (own > 2) close(own);
}

static _Noreturn void in_child(const struct check *check) {
  setsid();
  harmless_descriptors();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  alarm(LIMIT_SECONDS);
  if (check->who == NOBODY) become_nobody();
  if (check->run) {
    check->run();
  } else {
    const long *a = check->arguments;
    long got = raw(check->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    const char *suffix = got < 0 ? error_name(got) : "no error";
    if (check->error ? got != -check->error && !(check->other_error && got == -check->other_error) : got < 0) {
      char text[200];
      snprintf(text, sizeof text, "gives %s, not %s", suffix, check->error ? error_name(check->error) : "a value");
      end(FAILED, text);
    }
  }
  end(PASSED, "");
}

static const char *reason_to_skip(const struct check *check, char *text, size_t size) {
  int version = kernel_version();
  if (check->since && version < check->since)
    snprintf(text, size, "kernel %s is older than %d.%d", kernel_release(), check->since / 1000, check->since % 1000);
  else if (check->until && version >= check->until)
    snprintf(text, size, "kernel %s has another contract, since %d.%d", kernel_release(), check->until / 1000,
             check->until % 1000);
  else if (check->config && knows_config() && !is_configured(check->config))
    snprintf(text, size, "%s is not set", check->config);
  else if (check->config && !knows_config())
    snprintf(text, size, "the kernel's configuration is unknown, and this needs %s", check->config);
  else if (check->who == ROOT && !is_root())
    snprintf(text, size, "needs root with all capabilities");
  else
    return NULL;
  return text;
}

int run_check(const struct check *check, const struct test_case *of, char *text, size_t size) {
  (void)of;
  text[0] = 0;
  if (reason_to_skip(check, text, size)) return SKIPPED;
  if (!report) {
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) abort();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  report->verdict = -1;
  report->text[0] = 0;
  make_folder();
  fflush(NULL);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigprocmask(SIG_BLOCK, &mask, NULL);
  pid_t process = fork();
  if (process == 0) {
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
    in_child(check);
  }
  int status = 0;
  bool is_over = process < 0, is_late = false;
  time_t start = time(NULL);
  while (!is_over) {
    pid_t ended = waitpid(process, &status, WNOHANG);
    is_over = ended == process || (ended < 0 && errno != EINTR);
    if (is_over) break;
    struct timespec second = {.tv_sec = 1};
    sigtimedwait(&mask, NULL, &second); // a child has ended, or a second went by
    if (time(NULL) - start > LIMIT_SECONDS + 2) {
      is_late = true;
      kill(process, SIGKILL);
    }
  }
  if (process > 0) kill(-process, SIGKILL); // whatever the check left running
  while (waitpid(-1, NULL, WNOHANG) > 0) continue;
  if (has_folder) remove_tree(folder);
  if (process < 0) {
    snprintf(text, size, "cannot fork: %s", error_name(errno));
    return FAILED;
  }
  if (is_late || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)) {
    snprintf(text, size, "not over after %d s", LIMIT_SECONDS);
    return FAILED;
  }
  if (report->verdict >= 0) {
    snprintf(text, size, "%s", report->text);
    return report->verdict;
  }
  if (WIFSIGNALED(status))
    snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
  else
    snprintf(text, size, "ended by itself with exit %d before its verdict", WEXITSTATUS(status));
  return FAILED;
}

// ---- tools ---------------------------------------------------------------------------------------------------------

void become_nobody(void) {
  if (geteuid()) return; // already somebody else
  if (setgroups(0, NULL) || setresgid(USER_ID, USER_ID, USER_ID) || setresuid(USER_ID, USER_ID, USER_ID))
    skip("cannot become user %d: %s", USER_ID, error_name(errno));
  prctl(PR_SET_DUMPABLE, 1); // as after a login; without it /proc/self is root's
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

pid_t child(void) {
  pid_t process = fork();
  if (process < 0) skip("cannot fork: %s", error_name(errno));
  if (process == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LIMIT_SECONDS);
  }
  return process;
}

int reap(pid_t process) {
  int status;
  while (waitpid(process, &status, __WALL) < 0)
    if (errno != EINTR) return -1000;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void let_go(pid_t process) {
  sys(tgkill, process, process, SIGKILL); // kill() is judged by a case
  reap(process);
}

const char *scratch_path(void) {
  if (!has_folder) skip("cannot make a folder in $TMPDIR or /tmp");
  return folder;
}

int scratch(void) {
  int descriptor = open(scratch_path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) skip("cannot open %s: %s", folder, error_name(errno));
  return descriptor;
}

int memory_file(const char *content) {
  char name[300];
  static int number;
  snprintf(name, sizeof name, "%s/unnamed-%d-%d", scratch_path(), getpid(), number++);
  int file = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0 || unlink(name)) skip("cannot make a file in %s: %s", folder, error_name(errno));
  size_t length = strlen(content);
  if (write(file, content, length) != (ssize_t)length || lseek(file, 0, SEEK_SET)) skip("cannot write to a file");
  return file;
}

void leave(long flag, const char *kind) {
  char name[64], before[64] = "", after[64] = "";
  snprintf(name, sizeof name, "/proc/self/ns/%s", kind);
  if (readlink(name, before, sizeof before - 1) < 0) skip("no %s", name);
  tool(sys(unshare, flag));
  if (readlink(name, after, sizeof after - 1) < 0 || !strcmp(before, after))
    skip("unshare works and changes nothing, and this check needs it");
}

void own_mounts(void) {
  leave(CLONE_NEWNS, "mnt");
  tool(sys(mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

void *pages(size_t count) {
  void *start = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) skip("no memory");
  return start;
}

void nap(long milliseconds) {
  poll(NULL, 0, (int)milliseconds); // no call that a case judges
}
