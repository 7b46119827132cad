/*
 * The device /dev/sev-guest of a machine that is none: loaded before a program (LD_PRELOAD), it answers the two requests
 * for a report as the kernel does (include/uapi/linux/sev-guest.h), with files for the answer.
 *
 * SEV_ASKED: the 64 bytes that the request must carry. SEV_REPORT: the report. SEV_TABLE: the table of certificates;
 * without it the extended request is refused, as on hosts that deliver none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message { uint8_t version; uint64_t request, response, status; };
struct request { uint8_t data[64]; uint32_t vmpl; uint8_t reserved[28]; };
struct extended { struct request inner; uint64_t address; uint32_t length; };

static size_t from(const char *variable, void *target, size_t limit)
{
	const char *name = getenv(variable);
	FILE *file = name ? fopen(name, "rb") : NULL;
	size_t size = file ? fread(target, 1, limit, file) : 0;

	if (file)
		fclose(file);
	return size;
}

int ioctl(int descriptor, unsigned long number, ...)
{
	va_list more;
	va_start(more, number);
	void *argument = va_arg(more, void *);
	va_end(more);

	if (number != 0xC0205300ul && number != 0xC0205302ul) {
		int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
		return real(descriptor, number, argument);
	}
	struct message *message = argument;
	struct request *request = (struct request *)message->request;
	uint8_t *answer = (uint8_t *)message->response, asked[64];
	static const uint8_t zero[28];

	if (message->version != 1 || from("SEV_ASKED", asked, 64) != 64 || memcmp(asked, request->data, 64) ||
	    request->vmpl || memcmp(request->reserved, zero, 28)) {
		errno = EINVAL;
		return -1;
	}
	if (number == 0xC0205302ul) {
		struct extended *extended = (struct extended *)request;
		if (!getenv("SEV_TABLE") || extended->length % 4096) {
			errno = EIO;
			return -1;
		}
		from("SEV_TABLE", (void *)extended->address, extended->length);
	}
	uint32_t size = from("SEV_REPORT", answer + 32, 3968);
	memcpy(answer + 4, &size, 4);
	return 0;
}
