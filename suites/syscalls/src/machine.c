// What is known of the machine before any check: the kernel's version, its configuration, who we are.
#include "lisa.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define LINE 4096

static struct utsname names;
static char *options; // "\nCONFIG_X=y\nCONFIG_Y=m\n"
static size_t used;

static const struct utsname *machine(void) {
  if (!names.release[0] && uname(&names)) strcpy(names.release, "0.0");
  return &names;
}

const char *kernel_release(void) {
  return machine()->release;
}

int kernel_version(void) {
  int major = 0, minor = 0;
  if (sscanf(machine()->release, "%d.%d", &major, &minor) < 1) return 0;
  return KERNEL(major, minor);
}

// ---- configuration -------------------------------------------------------------------------------------------------

static bool read_options(FILE *stream) {
  char line[LINE];
  while (fgets(line, sizeof line, stream)) {
    if (strncmp(line, "CONFIG_", 7)) continue;
    size_t length = strlen(line);
    char *grown = realloc(options, used + length + 2);
    if (!grown) abort();
    if (!used) grown[used++] = '\n';
    options = grown;
    memcpy(options + used, line, length + 1);
    used += length;
  }
  return used > 1000; // less is no kernel's configuration
}

static bool read_file(const char *name) {
  FILE *stream = fopen(name, "re");
  bool is_read = stream && read_options(stream);
  if (stream) fclose(stream);
  return is_read;
}

static bool read_packed(const char *name) { // by gzip, which every system has
  int ends[2];
  if (access(name, R_OK) || pipe2(ends, O_CLOEXEC)) return false;
  pid_t process = fork();
  if (process == 0) {
    dup2(ends[1], 1);
    execlp("gzip", "gzip", "-dc", name, (char *)NULL);
    execlp("zcat", "zcat", name, (char *)NULL);
    _exit(127);
  }
  close(ends[1]);
  FILE *stream = fdopen(ends[0], "r");
  bool is_read = process > 0 && stream && read_options(stream);
  if (stream) fclose(stream);
  if (process > 0) waitpid(process, NULL, 0);
  return is_read;
}

void read_config(const char *file) {
  char name[300];
  free(options);
  options = NULL;
  used = 0;
  if (file) {
    if (!read_file(file)) {
      fprintf(stderr, "lisa-syscalls: %s is no kernel configuration\n", file);
      exit(2);
    }
    return;
  }
  if (read_packed("/proc/config.gz")) return;
  static const char *const places[] = {"/boot/config-%s", "/lib/modules/%s/config", "/usr/lib/modules/%s/config",
                                       "/lib/modules/%s/build/.config"};
  for (size_t i = 0; i < COUNT(places); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(name, sizeof name, places[i], kernel_release());
#pragma GCC diagnostic pop
    if (read_file(name)) return;
  }
  used = 0;
}

bool knows_config(void) {
  return used > 1000;
}

bool is_configured(const char *option) {
  char wanted[128];
  snprintf(wanted, sizeof wanted, "\n%s=", option);
  const char *found = knows_config() ? strstr(options, wanted) : NULL;
  return found && (found[strlen(wanted)] == 'y' || found[strlen(wanted)] == 'm');
}

// ---- who and where -------------------------------------------------------------------------------------------------

static bool first_line(const char *file, char *line, int size) {
  FILE *stream = fopen(file, "re");
  bool is_read = stream && fgets(line, size, stream);
  if (stream) fclose(stream);
  return is_read;
}

bool is_root(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {{0}};
  char line[64];
  unsigned inside, outside, count;
  if (geteuid() || sys(capget, &header, data)) return false;
  if (first_line("/proc/self/uid_map", line, sizeof line) && // root of a user namespace is not root of the machine
      (sscanf(line, "%u %u %u", &inside, &outside, &count) != 3 || inside || outside || count != ~0U))
    return false;
  static const int needed[] = {CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID, CAP_SYS_PTRACE, CAP_DAC_OVERRIDE,
                               CAP_DAC_READ_SEARCH, CAP_SYS_CHROOT, CAP_KILL, CAP_SYS_BOOT, CAP_FOWNER, CAP_CHOWN};
  for (size_t i = 0; i < COUNT(needed); i++)
    if (!(data[needed[i] / 32].effective & (1U << needed[i] % 32))) return false;
  return true;
}

bool setting(const char *file, long *value) {
  char line[64];
  if (!first_line(file, line, sizeof line)) return false;
  *value = line[0] == 'Y' ? 1 : line[0] == 'N' ? 0 : strtol(line, NULL, 10);
  return true;
}

bool file_holds(const char *file, const char *word) {
  char line[LINE];
  return first_line(file, line, sizeof line) && strstr(line, word);
}
