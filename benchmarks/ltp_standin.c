/* A test as LTP's library runs one, for machines where LTP itself cannot be had: the same steps (read the kernel's config,
 * make a folder, run the checks in a child with a time limit, sum up) and the same lines. It is no part of LTP, and has
 * none of its code. Called as callN it checks the error contract of a few system calls, another few for another N; an
 * argument is how many milliseconds it waits besides, as a test does that takes that long. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static int *counts; /* passed, failed; shared with the child */

static void told(const char *name, int line, int got, int wanted)
{
	int good = got == wanted;

	counts[good ? 0 : 1]++;
	printf("%s.c:%d: %s: %s (%d)\n", name, line, good ? "TPASS" : "TFAIL", strerror(got), got);
}

#define REFUSED(call, wanted) told(name, __LINE__, ({ errno = 0; (void)!(call); errno; }), wanted)

static void checks(const char *name, int number)
{
	char path[5000];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	switch (number % 5) {
	case 0:
		REFUSED(close(-1), EBADF);
		REFUSED(dup2(-1, 5), EBADF);
		REFUSED(lseek(0, 0, 99), isatty(0) ? ESPIPE : EINVAL);
		break;
	case 1:
		REFUSED(open("absent", O_RDONLY), ENOENT);
		REFUSED(open(path, O_RDONLY), ENAMETOOLONG);
		REFUSED(open(".", O_WRONLY), EISDIR);
		break;
	case 2:
		REFUSED(mkdir(".", 0700), EEXIST);
		REFUSED(rmdir("absent"), ENOENT);
		REFUSED(chdir("/dev/null"), ENOTDIR);
		break;
	case 3:
		REFUSED(kill(getpid(), 999), EINVAL);
		REFUSED(waitpid(getpid(), NULL, 0), ECHILD);
		REFUSED(setpgid(-1, 0), EINVAL);
		break;
	default:
		REFUSED(socket(-1, 0, 0), EAFNOSUPPORT);
		REFUSED(listen(0, 1), ENOTSOCK);
		REFUSED(munmap((void *)1, 4096), EINVAL);
	}
}

static int options_of_the_kernel(const char *release)
{
	char path[200], line[4096];
	int found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/boot/config-%s", release);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		found += !strncmp(line, "CONFIG_", 7);
	if (file)
		fclose(file);
	return found;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/'), *base = getenv("TMPDIR");
	char folder[4096];
	struct utsname host;
	struct statfs about;
	int number, status;
	pid_t child;

	name = name ? name + 1 : argv[0];
	number = atoi(name + strcspn(name, "0123456789"));
	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED || uname(&host))
		return 2;
	snprintf(folder, sizeof(folder), "%s/LTP_%.3sXXXXXX", base ? base : "/tmp", name);
	if (!mkdtemp(folder) || chdir(folder) || statfs(".", &about)) {
		printf("%s.c:%d: TBROK: no folder below TMPDIR\n", name, __LINE__);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0); /* LTP writes each line at once */
	printf("tst_tmpdir.c:308: TINFO: Using %s as tmpdir (file system %lx)\n", folder, (long)about.f_type);
	printf("tst_test.c:2051: TINFO: Tested kernel: %s %s %s\n", host.release, host.version, host.machine);
	printf("tst_kconfig.c:90: TINFO: %d options of the kernel's config\n", options_of_the_kernel(host.release));
	printf("tst_test.c:1876: TINFO: Overall timeout per run is 0h 00m 30s\n");
	child = fork();
	if (!child) {
		setpgid(0, 0);
		alarm(30);
		checks(name, number);
		if (argc > 1)
			usleep(1000 * atoi(argv[1]));
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		return 2;
	if (chdir("/") || rmdir(folder))
		return 2;
	printf("\nSummary:\npassed   %d\nfailed   %d\nbroken   0\nskipped  0\nwarnings 0\n", counts[0], counts[1]);
	return counts[1] ? 1 : 0;
}
