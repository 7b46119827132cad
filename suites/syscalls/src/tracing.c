// Programs in the kernel, and counters.
#include "lisa.h"

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>

static char buffer[4096] __attribute__((aligned(8)));

// ---- bpf -----------------------------------------------------------------------------------------------------------

static long bpf(int command, union bpf_attr *attributes, unsigned size) {
  return sys(bpf, command, attributes, size);
}

static long make_map(void) {
  union bpf_attr a;
  memset(&a, 0, sizeof a);
  a.map_type = BPF_MAP_TYPE_HASH;
  a.key_size = 4;
  a.value_size = 8;
  a.max_entries = 2;
  return bpf(BPF_MAP_CREATE, &a, 48);
}

static void bpf_maps(void) {
  int map = (int)work(make_map());
  uint32_t key = 7;
  uint64_t value = 9, got = 0;
  union bpf_attr a;
  memset(&a, 0, sizeof a);
  a.map_fd = (uint32_t)map;
  a.key = (uintptr_t)&key;
  a.value = (uintptr_t)&got;
  refuse(ENOENT, bpf(BPF_MAP_LOOKUP_ELEM, &a, 32));
  a.value = (uintptr_t)&value;
  work(bpf(BPF_MAP_UPDATE_ELEM, &a, 32));
  a.flags = BPF_NOEXIST;
  refuse(EEXIST, bpf(BPF_MAP_UPDATE_ELEM, &a, 32));
  a.flags = 0;
  key = 8;
  work(bpf(BPF_MAP_UPDATE_ELEM, &a, 32));
  key = 9;
  refuse(E2BIG, bpf(BPF_MAP_UPDATE_ELEM, &a, 32)); // it holds two
  key = 7;
  a.value = (uintptr_t)&got;
  work(bpf(BPF_MAP_LOOKUP_ELEM, &a, 32));
  equal(got, 9);
}

static long load(const struct bpf_insn *steps, unsigned count) {
  union bpf_attr a;
  memset(&a, 0, sizeof a);
  a.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  a.insns = (uintptr_t)steps;
  a.insn_cnt = count;
  a.license = (uintptr_t)"GPL";
  return bpf(BPF_PROG_LOAD, &a, 48);
}

static void bpf_verifies(void) {
  struct bpf_insn good[] = {{.code = 0xb7, .dst_reg = 0, .imm = 0}, {.code = 0x95}};     // r0 = 0; exit
  struct bpf_insn unset[] = {{.code = 0x95}};                                            // exit without r0
  struct bpf_insn wild[] = {{.code = 0xb7, .dst_reg = 1, .imm = 0}, {.code = 0x79, .dst_reg = 0, .src_reg = 1}, {.code = 0x95}};
  work(load(good, 2));
  refuse(EACCES, load(unset, 1));
  refuse(EACCES, load(wild, 3)); // reads through a number
  refuse_by(EINVAL, E2BIG, load(good, 0));
}

static void bpf_refused(void) {
  union bpf_attr a;
  memset(&a, 0, sizeof a);
  refuse(EINVAL, bpf(9999, &a, sizeof a));
  refuse(EINVAL, bpf(BPF_MAP_CREATE, &a, sizeof a)); // no type, no size
  memset(buffer, 1, sizeof buffer);
  refuse(E2BIG, sys(bpf, BPF_MAP_CREATE, buffer, 4096));
  refuse(EFAULT, sys(bpf, BPF_MAP_CREATE, 8L, 48));
}

static void bpf_denied(void) {
  long level = 0;
  bool is_known = setting("/proc/sys/kernel/unprivileged_bpf_disabled", &level);
  if (!is_known) skip("no /proc/sys/kernel/unprivileged_bpf_disabled");
  long got = make_map();
  if (level)
    refuse(EPERM, got);
  else
    work(got);
}

static const struct check bpf_checks[] = {
    {.what = "a map keeps what is put in, to its limit", .run = bpf_maps, .who = ROOT},
    {.what = "the verifier takes a good program and no other", .run = bpf_verifies, .who = ROOT, .config = "CONFIG_NET"},
    {.what = "unknown commands, wrong sizes", .run = bpf_refused, .who = ROOT},
    {.what = "nobody makes maps, as kernel.unprivileged_bpf_disabled says", .run = bpf_denied, .who = NOBODY},
};

// ---- perf_event_open -----------------------------------------------------------------------------------------------

static struct perf_event_attr software(uint64_t what) {
  struct perf_event_attr wanted;
  memset(&wanted, 0, sizeof wanted);
  wanted.type = PERF_TYPE_SOFTWARE;
  wanted.size = sizeof wanted;
  wanted.config = what;
  return wanted;
}

static void perf_counts(void) {
  struct perf_event_attr wanted = software(PERF_COUNT_SW_PAGE_FAULTS);
  int counter = (int)work(sys(perf_event_open, &wanted, 0, -1, -1, 8)); // PERF_FLAG_FD_CLOEXEC
  equal(tool(sys(fcntl, counter, F_GETFD)), FD_CLOEXEC);
  uint64_t before = 0, after = 0;
  equal(read(counter, &before, 8), 8);
  volatile char *memory = pages(16);
  for (size_t i = 0; i < 16; i++) memory[i * PAGE] = 1;
  equal(read(counter, &after, 8), 8);
  hold(after > before, "no page fault was counted: %llu, %llu", (unsigned long long)before, (unsigned long long)after);
}

static void perf_refused(void) {
  struct perf_event_attr wanted = software(9999);
  hold(sys(perf_event_open, &wanted, 0, -1, -1, 0) < 0, "an unknown event is counted");
  wanted = software(PERF_COUNT_SW_PAGE_FAULTS);
  refuse(EINVAL, sys(perf_event_open, &wanted, 0, -1, -1, 1 << 20));
  refuse(EINVAL, sys(perf_event_open, &wanted, -1, -1, -1, 0)); // neither a process nor a processor
  refuse(ESRCH, sys(perf_event_open, &wanted, 0x7ffffff0, -1, -1, 0));
  refuse(EBADF, sys(perf_event_open, &wanted, 0, -1, 5000, 0));
  wanted.type = 0x7fffffff;
  refuse(ENOENT, sys(perf_event_open, &wanted, 0, -1, -1, 0));
  wanted.type = PERF_TYPE_SOFTWARE;
  wanted.size = 32; // less than its first version
  refuse(E2BIG, sys(perf_event_open, &wanted, 0, -1, -1, 0));
  hold(wanted.size >= 64, "the size that the kernel wants was not told");
}

static void perf_denied(void) {
  long level = 2;
  setting("/proc/sys/kernel/perf_event_paranoid", &level);
  struct perf_event_attr wanted = software(PERF_COUNT_SW_PAGE_FAULTS);
  long other = sys(perf_event_open, &wanted, 1, -1, -1, 0); // root's process
  refuse_by(EACCES, EPERM, other);
  long of_kernel = sys(perf_event_open, &wanted, 0, -1, -1, 0);
  if (level >= 2)
    refuse_by(EACCES, EPERM, of_kernel);
  else
    work(of_kernel);
  wanted.exclude_kernel = 1;
  wanted.exclude_hv = 1;
  long of_program = sys(perf_event_open, &wanted, 0, -1, -1, 0);
  if (level > 2) // a level that distributions add
    refuse_by(EACCES, EPERM, of_program);
  else
    work(of_program);
  long everywhere = sys(perf_event_open, &wanted, -1, 0, -1, 0);
  if (level >= 1)
    refuse_by(EACCES, EPERM, everywhere);
  else
    work(everywhere);
}

static const struct check perf_checks[] = {
    {.what = "counts page faults", .run = perf_counts, .who = ROOT},
    {.what = "unknown events and flags, wrong sizes, nobody to watch", .run = perf_refused, .who = ROOT},
    {.what = "nobody counts more than kernel.perf_event_paranoid allows", .run = perf_denied, .who = NOBODY},
};

static const struct test_case cases[] = {
    {.id = "bpf", .manual = "bpf(2)", .number = NR_bpf, .since = KERNEL(4, 4), .config = "CONFIG_BPF_SYSCALL", CHECKS(bpf_checks)},
    {.id = "perf_event_open", .manual = "perf_event_open(2)", .number = NR_perf_event_open, .config = "CONFIG_PERF_EVENTS", CHECKS(perf_checks)},
};
const struct chapter tracing = {cases, COUNT(cases)};
