/* A disk that fails: preloaded into a program, it breaks one of the calls that change files below a folder.
 *
 * BAD_DISK_UNDER  the folder (absolute)
 * BAD_DISK_AT     the number of the call, from 1; 0 breaks none
 * BAD_DISK_HOW    EIO: this call fails;  ENOSPC: this and every later write fails;  KILL: the program dies before it;
 *                 TORN: half of a write is done, then the program dies
 * BAD_DISK_COUNT  a file that gets the number of calls when the program ends
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls, at = -1;
static const char *under, *how;
static int is_full;

static void setup(void) {
	const char *number = getenv("BAD_DISK_AT");
	under = getenv("BAD_DISK_UNDER");
	how = getenv("BAD_DISK_HOW");
	at = number ? atol(number) : 0;
}

__attribute__((destructor)) static void tell(void) {
	const char *name = getenv("BAD_DISK_COUNT");
	FILE *file = name ? fopen(name, "w") : NULL;
	if (file) {
		fprintf(file, "%ld\n", calls);
		fclose(file);
	}
}

static int is_ours(const char *path) {
	char full[PATH_MAX];
	if (!under || !path)
		return 0;
	if (path[0] != '/') {
		if (!getcwd(full, sizeof full - 1))
			return 0;
		strncat(full, "/", sizeof full - strlen(full) - 1);
		strncat(full, path, sizeof full - strlen(full) - 1);
		path = full;
	}
	return strncmp(path, under, strlen(under)) == 0;
}

static int is_our_file(int descriptor) {
	char link[64], path[PATH_MAX];
	ssize_t size;
	snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
	size = readlink(link, path, sizeof path - 1);
	if (size < 0)
		return 0;
	path[size] = 0;
	return is_ours(path);
}

/* What happens to a call: 0 goes on, else it fails with this error. `takes_space`: a full disk refuses it. */
static int fate(int takes_space, int *is_torn) {
	int number;
	pthread_mutex_lock(&lock);
	if (at < 0)
		setup();
	number = ++calls == at;
	pthread_mutex_unlock(&lock);
	if (number && how && !strcmp(how, "KILL"))
		kill(getpid(), SIGKILL);
	if (number && how && !strcmp(how, "TORN")) {
		if (is_torn)
			*is_torn = 1;
		else
			kill(getpid(), SIGKILL);
	}
	if (number && how && !strcmp(how, "EIO"))
		return EIO;
	if (number && how && !strcmp(how, "ENOSPC"))
		is_full = 1;
	return is_full && takes_space ? ENOSPC : 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define BREAK(is_it, takes_space)                                                                                      \
	do {                                                                                                           \
		int error;                                                                                             \
		if (at < 0)                                                                                            \
			setup();                                                                                       \
		if ((is_it) && (error = fate(takes_space, NULL))) {                                                    \
			errno = error;                                                                                 \
			return -1;                                                                                     \
		}                                                                                                      \
	} while (0)
#define CHANGES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))

ssize_t write(int descriptor, const void *data, size_t size) {
	int error, is_torn = 0;
	if (at < 0)
		setup();
	if (under && is_our_file(descriptor)) {
		if ((error = fate(1, &is_torn))) {
			errno = error;
			return -1;
		}
		if (is_torn) {
			REAL(write)(descriptor, data, size / 2);
			kill(getpid(), SIGKILL);
		}
	}
	return REAL(write)(descriptor, data, size);
}

int fsync(int descriptor) {
	BREAK(under && is_our_file(descriptor), 0);
	return REAL(fsync)(descriptor);
}

int fdatasync(int descriptor) {
	BREAK(under && is_our_file(descriptor), 0);
	return REAL(fdatasync)(descriptor);
}

int rename(const char *from, const char *to) {
	BREAK(is_ours(to), 0);
	return REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
	BREAK(is_ours(path), 1);
	return REAL(mkdir)(path, mode);
}

#define OPEN(name)                                                                                                     \
	int name(const char *path, int flags, ...) {                                                                   \
		mode_t mode = 0;                                                                                       \
		if (flags & O_CREAT) {                                                                                 \
			va_list rest;                                                                                  \
			va_start(rest, flags);                                                                         \
			mode = va_arg(rest, mode_t);                                                                   \
			va_end(rest);                                                                                  \
		}                                                                                                      \
		BREAK(CHANGES(flags) && is_ours(path), (flags & O_CREAT) != 0);                                        \
		return REAL(name)(path, flags, mode);                                                                  \
	}
OPEN(open)
OPEN(open64)
