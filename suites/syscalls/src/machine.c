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

static bool read_options(int file) { // by plain reads: what is judged later is not needed here
  static char text[1 << 20];
  size_t length = 0;
  ssize_t got;
  while ((got = read(file, text + length, sizeof text - 1 - length)) > 0) length += (size_t)got;
  close(file);
  text[length] = 0;
  options = realloc(options, length + 2);
  if (!options) abort();
  used = 1;
  options[0] = '\n';
  for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
    if (strncmp(line, "CONFIG_", 7)) continue;
    memcpy(options + used, line, (size_t)(end + 1 - line));
    used += (size_t)(end + 1 - line);
  }
  options[used] = 0;
  return knows_config();
}

static bool read_file(const char *name) {
  int file = open(name, O_RDONLY | O_CLOEXEC);
  return file >= 0 && read_options(file);
}

static bool read_packed(const char *name) { // by gzip, which every system has
  int ends[2];
  if (access(name, R_OK) || pipe(ends)) return false;
  pid_t process = fork();
  if (process == 0) {
    dup2(ends[1], 1);
    close(ends[0]);
    close(ends[1]);
    execlp("gzip", "gzip", "-dc", name, (char *)NULL);
    execlp("zcat", "zcat", name, (char *)NULL);
    _exit(127);
  }
  close(ends[1]);
  bool is_read = read_options(ends[0]);
  if (process > 0) waitpid(process, NULL, 0);
  return is_read && process > 0;
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
  return used > 1000; // less is no kernel's configuration
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
