// lisa-syscalls: checks that the running kernel keeps the contracts of its system calls. TAP on standard output.
//
//   lisa-syscalls list                      id, first kernel, option, manual page, number of checks
//   lisa-syscalls [--config FILE] run ID    one case: its checks are the test lines
//   lisa-syscalls [--config FILE] all       every case: the checks nested below one test line for each
//
// Exit status: 0 no check failed, 1 some did, 2 usage.
#include "lisa.h"

static const struct chapter *const chapters[] = {
    &numbers, &descriptors, &files, &events, &processes, &memory, &futexes, &namespaces,
    &mounts, &rings, &security, &tracing, &clocks, &ipc, &refusals,
};

static const char *indent = "";
static int printed;

static const char *name_of(long number) {
  static const struct {
    long number;
    const char *name;
  } names[] = {
#define NUMBER(name, x86_64, aarch64) {NR_##name, #name},
#include "numbers.h"
#undef NUMBER
  };
  for (size_t i = 0; i < COUNT(names); i++)
    if (names[i].number == number) return names[i].name;
  return "?";
}

static void line(enum verdict verdict, const char *what, const char *text) {
  printf("%s%sok %d - %s", indent, verdict == FAILED ? "not " : "", ++printed, what);
  printf(verdict == SKIPPED ? " # SKIP %s\n" : "\n", text);
  if (verdict == FAILED && *text) printf("%s  ---\n%s  message: '%s'\n%s  ...\n", indent, indent, text, indent);
  fflush(stdout);
}

// ---- is the call there? --------------------------------------------------------------------------------------------

static const long *probe_arguments;
static long probe_number;

static void probe(void) {
  const long *a = probe_arguments;
  if (raw(probe_number, a[0], a[1], a[2], a[3], a[4], a[5]) == -ENOSYS) fail("ENOSYS");
}

static bool answers(const struct test_case *one) {
  static const long nothing[] = {-1, -1, -1, -1, -1, -1};
  char text[256];
  struct check check = {.what = "probe", .run = probe};
  probe_arguments = one->probe ? one->probe : nothing;
  probe_number = one->number;
  int verdict = run_check(&check, one, text, sizeof text);
  return !(verdict == FAILED && strstr(text, "ENOSYS ("));
}

enum presence { THERE, LACKING, REFUSED, UNKNOWN };

// What the kernel owes: decided from its version, its configuration and its settings, then held against what it does.
static enum presence presence(const struct test_case *one, char *text, size_t size) {
  bool is_there = answers(one);
  char why[200];
  bool is_configured_out = one->config && knows_config() && !is_configured(one->config);
  bool is_off = !is_configured_out && one->is_off && one->is_off(why, sizeof why);
  if (is_configured_out) snprintf(why, sizeof why, "%s is not set", one->config);
  if (is_configured_out || is_off) {
    if (!is_there) {
      snprintf(text, size, "%s", why);
      return REFUSED;
    }
    snprintf(text, size, "the kernel answers, though %s", why);
    return LACKING;
  }
  if (is_there) return THERE;
  if (one->config && !knows_config()) {
    snprintf(text, size, "ENOSYS, and the kernel's configuration is unknown (%s)", one->config);
    return UNKNOWN;
  }
  snprintf(text, size, "ENOSYS, though kernel %s has it%s%s", kernel_release(), one->config ? " and sets " : "",
           one->config ? one->config : "");
  return LACKING;
}

// ---- cases ---------------------------------------------------------------------------------------------------------

static enum verdict run_case(const struct test_case *one, char *reason, size_t size) {
  char text[512];
  int failed = 0, passed = 0;
  printed = 0;
  if (one->number == -1) {
    snprintf(reason, size, "this architecture does not have it");
  } else if (one->since && kernel_version() < one->since) {
    snprintf(reason, size, "kernel %s is older than %d.%d", kernel_release(), one->since / 1000, one->since % 1000);
  } else {
    reason[0] = 0;
  }
  if (reason[0]) {
    printf("%s1..0 # SKIP %s\n", indent, reason);
    return SKIPPED;
  }
  bool has_probe = one->number != NONE;
  printf("%s1..%zu\n", indent, one->count + has_probe);
  enum presence found = THERE;
  if (has_probe) {
    char name[128];
    found = presence(one, text, sizeof text);
    snprintf(name, sizeof name, found == REFUSED ? "%s is refused by ENOSYS" : "the kernel has %s", name_of(one->number));
    line(found == LACKING ? FAILED : found == UNKNOWN ? SKIPPED : PASSED, name, found == THERE ? "" : text);
    failed += found == LACKING;
    passed += found == THERE || found == REFUSED;
    snprintf(reason, size, "%s", text);
  }
  for (size_t i = 0; i < one->count; i++) {
    const struct check *check = &one->checks[i];
    int verdict = SKIPPED;
    if (found == THERE) verdict = run_check(check, one, text, sizeof text);
    line(verdict, check->what, text);
    failed += verdict == FAILED;
    passed += verdict == PASSED;
    if (verdict == SKIPPED && !passed) snprintf(reason, size, "%s", text);
  }
  return failed ? FAILED : passed ? PASSED : SKIPPED;
}

static void list(void) {
  for (size_t c = 0; c < COUNT(chapters); c++)
    for (size_t i = 0; i < chapters[c]->count; i++) {
      const struct test_case *one = &chapters[c]->cases[i];
      char since[16] = "-";
      if (one->since) snprintf(since, sizeof since, "%d.%d", one->since / 1000, one->since % 1000);
      printf("%s\t%s\t%s\t%s\t%zu\n", one->id, since, one->config ? one->config : "-", one->manual,
             one->count + (one->number != NONE));
    }
}

static const struct test_case *find(const char *id) {
  for (size_t c = 0; c < COUNT(chapters); c++)
    for (size_t i = 0; i < chapters[c]->count; i++)
      if (!strcmp(chapters[c]->cases[i].id, id)) return &chapters[c]->cases[i];
  return NULL;
}

static int all(void) {
  int count = 0, failed = 0, number = 0;
  char reason[512];
  for (size_t c = 0; c < COUNT(chapters); c++) count += (int)chapters[c]->count;
  printf("1..%d\n", count);
  for (size_t c = 0; c < COUNT(chapters); c++)
    for (size_t i = 0; i < chapters[c]->count; i++) {
      const struct test_case *one = &chapters[c]->cases[i];
      printf("# Subtest: %s\n", one->id);
      indent = "    ";
      enum verdict verdict = run_case(one, reason, sizeof reason);
      indent = "";
      printed = number++;
      line(verdict, one->id, verdict == SKIPPED ? reason : "");
      failed += verdict == FAILED;
    }
  return failed != 0;
}

static void say_machine(void) {
  printf("TAP version 13\n# kernel %s, configuration %s, user %d%s\n", kernel_release(),
         knows_config() ? "known" : "unknown", (int)geteuid(), is_root() ? " with all capabilities" : "");
  FILE *stream = fopen("/proc/self/status", "re");
  char text[256];
  while (stream && fgets(text, sizeof text, stream))
    if (!strncmp(text, "Seccomp:\t", 9) && text[9] != '0') printf("# a seccomp filter is active: refusals may be its own\n");
  if (stream) fclose(stream);
}

static int usage(void) {
  fputs("usage: lisa-syscalls list | [--config FILE] run ID | [--config FILE] all\n", stderr);
  return 2;
}

int main(int count, char **words) {
  const char *config = NULL;
  if (count > 2 && !strcmp(words[1], "--config")) {
    config = words[2];
    count -= 2;
    words += 2;
  }
  if (count == 2 && !strcmp(words[1], "list")) {
    list();
    return 0;
  }
  bool is_all = count == 2 && !strcmp(words[1], "all");
  if (!is_all && !(count == 3 && !strcmp(words[1], "run"))) return usage();
  const struct test_case *one = is_all ? NULL : find(words[2]);
  if (!is_all && !one) {
    fprintf(stderr, "lisa-syscalls: there is no case '%s'\n", words[2]);
    return 2;
  }
  read_config(config);
  say_machine();
  char reason[512];
  return is_all ? all() : run_case(one, reason, sizeof reason) == FAILED;
}
