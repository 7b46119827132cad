// io_uring.
#include "lisa.h"

#include <linux/io_uring.h>
#include <sys/mman.h>

static char buffer[4096] __attribute__((aligned(8)));

struct ring {
  int file;
  struct io_uring_params parameters;
  char *submissions, *completions;
  struct io_uring_sqe *entries;
};

static bool rings_are_off(void) {
  long level = 0;
  return setting("/proc/sys/kernel/io_uring_disabled", &level) && (level == 2 || (level == 1 && geteuid()));
}

static struct ring make_ring(void) {
  if (rings_are_off()) skip("kernel.io_uring_disabled forbids it");
  struct ring ring = {.parameters = {0}};
  ring.file = (int)tool(sys(io_uring_setup, 4, &ring.parameters));
  const struct io_uring_params *p = &ring.parameters;
  size_t in = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
  size_t out = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
  ring.submissions = mmap(NULL, in, PROT_READ | PROT_WRITE, MAP_SHARED, ring.file, (off_t)IORING_OFF_SQ_RING);
  ring.completions = mmap(NULL, out, PROT_READ | PROT_WRITE, MAP_SHARED, ring.file, (off_t)IORING_OFF_CQ_RING);
  ring.entries = mmap(NULL, p->sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring.file,
                      (off_t)IORING_OFF_SQES);
  if (ring.submissions == MAP_FAILED || ring.completions == MAP_FAILED || ring.entries == MAP_FAILED)
    fail("the ring cannot be mapped: %s", error_name(errno));
  return ring;
}

static int submit(struct ring *ring, struct io_uring_sqe entry) { // the result of the one request
  const struct io_uring_params *p = &ring->parameters;
  uint32_t *tail = (uint32_t *)(void *)(ring->submissions + p->sq_off.tail);
  uint32_t mask = *(uint32_t *)(void *)(ring->submissions + p->sq_off.ring_mask);
  uint32_t *array = (uint32_t *)(void *)(ring->submissions + p->sq_off.array);
  entry.user_data = 4711;
  ring->entries[*tail & mask] = entry;
  array[*tail & mask] = *tail & mask;
  __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
  equal(sys(io_uring_enter, ring->file, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0), 1);
  uint32_t *head = (uint32_t *)(void *)(ring->completions + p->cq_off.head);
  uint32_t end = __atomic_load_n((uint32_t *)(void *)(ring->completions + p->cq_off.tail), __ATOMIC_ACQUIRE);
  uint32_t out_mask = *(uint32_t *)(void *)(ring->completions + p->cq_off.ring_mask);
  hold(end != *head, "no completion");
  struct io_uring_cqe *all = (struct io_uring_cqe *)(void *)(ring->completions + p->cq_off.cqes);
  struct io_uring_cqe got = all[*head & out_mask];
  __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
  equal(got.user_data, 4711);
  return got.res;
}

// ---- setup ---------------------------------------------------------------------------------------------------------

static void setup_makes(void) {
  if (rings_are_off()) skip("kernel.io_uring_disabled forbids it");
  struct io_uring_params parameters = {0};
  int file = (int)work(sys(io_uring_setup, 3, &parameters));
  equal(parameters.sq_entries, 4); // the next power of two
  equal(parameters.cq_entries, 8);
  hold(parameters.features & IORING_FEAT_NODROP, "features %#x", parameters.features);
  equal(tool(sys(fcntl, file, F_GETFD)), FD_CLOEXEC);
}

static void setup_refused(void) {
  if (rings_are_off()) skip("kernel.io_uring_disabled forbids it");
  struct io_uring_params parameters = {0};
  refuse(EINVAL, sys(io_uring_setup, 0, &parameters));
  refuse(EINVAL, sys(io_uring_setup, 1 << 20, &parameters));
  refuse(EFAULT, sys(io_uring_setup, 1, 8L));
  parameters.flags = 1U << 31;
  refuse(EINVAL, sys(io_uring_setup, 1, &parameters));
  parameters = (struct io_uring_params){.resv = {1}};
  refuse(EINVAL, sys(io_uring_setup, 1, &parameters));
  parameters = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE, .cq_entries = 0};
  refuse(EINVAL, sys(io_uring_setup, 1, &parameters));
  parameters = (struct io_uring_params){.flags = IORING_SETUP_SQ_AFF};
  refuse(EINVAL, sys(io_uring_setup, 1, &parameters)); // needs a thread to bind
}

static void setup_forbidden(void) {
  struct io_uring_params parameters = {0};
  long got = sys(io_uring_setup, 1, &parameters);
  if (rings_are_off())
    refuse(EPERM, got);
  else
    work(got);
}

static const struct check setup_checks[] = {
    {.what = "makes a ring, rounded up", .run = setup_makes},
    {.what = "sizes, flags and reserved fields that are wrong", .run = setup_refused},
    {.what = "nobody makes one, as kernel.io_uring_disabled says", .run = setup_forbidden, .who = NOBODY},
};

// ---- enter ---------------------------------------------------------------------------------------------------------

static void enter_runs(void) {
  struct ring ring = make_ring();
  equal(submit(&ring, (struct io_uring_sqe){.opcode = IORING_OP_NOP}), 0);
}

static void enter_writes(void) {
  struct ring ring = make_ring();
  char text[] = "written", got[16] = "";
  int file = memory_file("");
  struct io_uring_sqe entry = {.opcode = IORING_OP_WRITE, .fd = file, .addr = (uintptr_t)text, .len = 7};
  equal(submit(&ring, entry), 7);
  equal(pread(file, got, sizeof got, 0), 7);
  hold(!strcmp(got, text), "the file holds '%s'", got);
  entry.fd = -1;
  equal(submit(&ring, entry), -EBADF);
}

static void enter_unknown(void) {
  struct ring ring = make_ring();
  equal(submit(&ring, (struct io_uring_sqe){.opcode = 250}), -EINVAL);
}

static void enter_refused(void) {
  struct ring ring = make_ring();
  refuse(EOPNOTSUPP, sys(io_uring_enter, open("/dev/null", O_RDONLY), 1, 0, 0, NULL, 0));
  refuse(EBADF, sys(io_uring_enter, -1, 1, 0, 0, NULL, 0));
  refuse(EINVAL, sys(io_uring_enter, ring.file, 0, 0, 1U << 30, NULL, 0));
}

static const struct check enter_checks[] = {
    {.what = "a request that does nothing completes", .run = enter_runs},
    {.what = "a write writes, a bad descriptor completes with EBADF", .run = enter_writes, .since = KERNEL(5, 6)},
    {.what = "an unknown request completes with EINVAL", .run = enter_unknown},
    {.what = "other files and unknown flags", .run = enter_refused},
};

// ---- register ------------------------------------------------------------------------------------------------------

static void register_probe(void) {
  struct ring ring = make_ring();
  struct io_uring_probe *probe = (struct io_uring_probe *)(void *)buffer;
  memset(buffer, 0, sizeof buffer);
  work(sys(io_uring_register, ring.file, IORING_REGISTER_PROBE, probe, 200));
  hold(probe->last_op >= IORING_OP_WRITE, "the last operation is %d", probe->last_op);
  hold(probe->ops[IORING_OP_NOP].flags & IO_URING_OP_SUPPORTED, "a request that does nothing is not supported");
  refuse(EINVAL, sys(io_uring_register, ring.file, IORING_REGISTER_PROBE, probe, 200)); // it must be zero
}

static void register_files(void) {
  struct ring ring = make_ring();
  tool(sys(io_uring_enter, ring.file, 0, 0, 0, NULL, 0));
  int file = memory_file("");
  work(sys(io_uring_register, ring.file, IORING_REGISTER_FILES, &file, 1));
  refuse(EBUSY, sys(io_uring_register, ring.file, IORING_REGISTER_FILES, &file, 1));
  char text[] = "x";
  struct io_uring_sqe entry = {
      .opcode = IORING_OP_WRITE, .flags = IOSQE_FIXED_FILE, .fd = 0, .addr = (uintptr_t)text, .len = 1};
  equal(submit(&ring, entry), 1);
  work(sys(io_uring_register, ring.file, IORING_UNREGISTER_FILES, NULL, 0));
  refuse(ENXIO, sys(io_uring_register, ring.file, IORING_UNREGISTER_FILES, NULL, 0));
}

static void register_refused(void) {
  struct ring ring = make_ring();
  int bad = 5000;
  refuse(EINVAL, sys(io_uring_register, ring.file, 200, NULL, 0));
  refuse(EBADF, sys(io_uring_register, ring.file, IORING_REGISTER_FILES, &bad, 1));
  refuse(EBADF, sys(io_uring_register, 5000, IORING_REGISTER_FILES, &bad, 1));
  refuse(EOPNOTSUPP, sys(io_uring_register, open("/dev/null", O_RDONLY), IORING_REGISTER_FILES, &bad, 1));
}

static void register_restricts(void) {
  if (rings_are_off()) skip("kernel.io_uring_disabled forbids it");
  tool(sys(io_uring_enter, make_ring().file, 0, 0, 0, NULL, 0));
  struct io_uring_params parameters = {.flags = IORING_SETUP_R_DISABLED};
  int file = (int)tool(sys(io_uring_setup, 4, &parameters));
  refuse(EBADFD, sys(io_uring_enter, file, 0, 0, 0, NULL, 0)); // not enabled yet
  work(sys(io_uring_register, file, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
  equal(sys(io_uring_enter, file, 0, 0, 0, NULL, 0), 0);
}

static const struct check register_checks[] = {
    {.what = "IORING_REGISTER_PROBE tells what is supported", .run = register_probe, .since = KERNEL(5, 6)},
    {.what = "files are registered once and used by number", .run = register_files, .since = KERNEL(5, 6)},
    {.what = "unknown operations, bad descriptors, other files", .run = register_refused},
    {.what = "a ring that starts disabled runs once it is enabled", .run = register_restricts, .since = KERNEL(5, 10)},
};

#define OPTION .since = KERNEL(5, 1), .config = "CONFIG_IO_URING"
static const struct test_case cases[] = {
    {.id = "io_uring_setup", .manual = "io_uring_setup(2)", .number = NR_io_uring_setup, OPTION, CHECKS(setup_checks)},
    {.id = "io_uring_enter", .manual = "io_uring_enter(2)", .number = NR_io_uring_enter, OPTION, CHECKS(enter_checks)},
    {.id = "io_uring_register", .manual = "io_uring_register(2)", .number = NR_io_uring_register, OPTION, CHECKS(register_checks)},
};
const struct chapter rings = {cases, COUNT(cases)};
