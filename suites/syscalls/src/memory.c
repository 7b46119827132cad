// Memory: mappings, locks, advice, and memory files.
#include "lisa.h"

#include <setjmp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define MAP_DROPPABLE_ 8
#define MADV_POPULATE_READ_ 22
#define F_SEAL_FUTURE_WRITE_ 16
#define F_SEAL_EXEC_ 32
#define MFD_NOEXEC_SEAL_ 8U
#define MFD_EXEC_ 16U
#define NO_MAPPING 0x10000UL // below any mapping, above mmap_min_addr

// ---- mmap, mremap --------------------------------------------------------------------------------------------------

static long map(void *at, size_t length, long protection, long flags, int file) {
  return sys(mmap, at, length, protection, flags, file, 0);
}

static void mmap_no_replace(void) {
  char *taken = pages(2);
  refuse(EEXIST, map(taken, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1));
  work(sys(munmap, taken + PAGE, PAGE));
  equal(map(taken + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1), (uintptr_t)(taken + PAGE));
}

static void mmap_refused(void) {
  int file = memory_file("x");
  int read_only = open("/proc/self/exe", O_RDONLY);
  refuse(EINVAL, map(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1));
  refuse(EINVAL, map(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1)); // neither shared nor private
  refuse(EBADF, map(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1));
  refuse(EACCES, map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, read_only));
  refuse(ENODEV, map(NULL, PAGE, PROT_READ, MAP_PRIVATE, scratch()));
  refuse(EINVAL, map((void *)(NO_MAPPING + 1), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1));
  refuse(ENOMEM, map(NULL, 1UL << 62, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1));
  refuse(EOPNOTSUPP, map(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 1 << 23, file));
}

static void mremap_moves(void) {
  char *old = pages(1);
  old[0] = 'x';
  char *moved = (char *)work(sys(mremap, old, PAGE, 3 * PAGE, MREMAP_MAYMOVE));
  equal(moved[0], 'x');
  refuse(EINVAL, sys(mremap, moved, PAGE, PAGE, 1 << 20));
  refuse(EINVAL, sys(mremap, moved + 1, PAGE, PAGE, 0));
  refuse(EINVAL, sys(mremap, moved, PAGE, 0, MREMAP_MAYMOVE));
  work(sys(munmap, moved, 3 * PAGE));
  refuse(EFAULT, sys(mremap, moved, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
}

static void mremap_leaves(void) {
  char *old = pages(1);
  old[0] = 'x';
  char *moved = (char *)work(sys(mremap, old, PAGE, PAGE, MREMAP_MAYMOVE | 4)); // MREMAP_DONTUNMAP
  equal(moved[0], 'x');
  equal(old[0], 0);
}

static const struct check mmap_checks[] = {
    {.what = "MAP_FIXED_NOREPLACE keeps what is there", .run = mmap_no_replace, .since = KERNEL(4, 17)},
    {.what = "lengths, files and flags that cannot be mapped", .run = mmap_refused, .since = KERNEL(4, 15)},
    {.what = "mremap moves, and refuses what is not mapped", .run = mremap_moves},
    {.what = "MREMAP_DONTUNMAP leaves the old range empty", .run = mremap_leaves, .since = KERNEL(5, 7)},
    {GIVES("munmap of no length", EINVAL, munmap, NO_MAPPING, 0)},
    {GIVES("munmap of half a page's address", EINVAL, munmap, NO_MAPPING + 1, 4096)},
    {GIVES("mprotect of what is not mapped", ENOMEM, mprotect, NO_MAPPING, 4096, PROT_READ)},
};

static jmp_buf back;

static void leap(int number) {
  (void)number;
  siglongjmp(back, 1);
}

static bool faults(volatile char *address, bool by_writing) {
  signal(SIGSEGV, leap);
  signal(SIGBUS, leap);
  if (sigsetjmp(back, 1)) return true;
  if (by_writing)
    *address = 1;
  else
    (void)*address;
  return false;
}

static void mprotect_holds(void) {
  char *memory = pages(2);
  work(sys(mprotect, memory, PAGE, PROT_READ));
  hold(faults(memory, true), "a read-only page was written to");
  hold(!faults(memory, false), "a readable page cannot be read");
  work(sys(mprotect, memory, PAGE, PROT_NONE));
  hold(faults(memory, false), "a page without rights was read");
  refuse(EINVAL, sys(mprotect, memory + 1, PAGE, PROT_READ));
  refuse(EINVAL, sys(mprotect, memory, PAGE, 1 << 20));
}

static const struct check mprotect_checks[] = {
    {.what = "rights hold, unknown ones are refused", .run = mprotect_holds},
};

// ---- madvise, mlock2 -----------------------------------------------------------------------------------------------

static void madvise_drops(void) {
  char *memory = pages(2);
  memory[0] = 'x';
  work(sys(madvise, memory, PAGE, MADV_DONTNEED));
  equal(memory[0], 0);
}

static void madvise_refused(void) {
  char *memory = pages(2);
  refuse(EINVAL, sys(madvise, memory, PAGE, 9999));
  refuse(EINVAL, sys(madvise, memory + 1, PAGE, MADV_DONTNEED));
  work(sys(munmap, memory, PAGE));
  refuse(ENOMEM, sys(madvise, memory, 2 * PAGE, MADV_DONTNEED));
}

static void madvise_populates(void) {
  char *memory = pages(2);
  unsigned char resident[2];
  work(sys(madvise, memory, 2 * PAGE, MADV_POPULATE_READ_ + 1)); // for writing
  work(sys(mincore, memory, 2 * PAGE, resident));
  equal(resident[0] & resident[1] & 1, 1);
}

static void madvise_wipes(void) {
  char *memory = pages(1);
  memory[0] = 'x';
  work(sys(madvise, memory, PAGE, MADV_WIPEONFORK));
  pid_t process = child();
  if (process == 0) _exit(memory[0]);
  equal(reap(process), 0);
  equal(memory[0], 'x');
}

static const struct check madvise_checks[] = {
    {.what = "MADV_DONTNEED gives zeros", .run = madvise_drops},
    {.what = "unknown advice, odd addresses, holes", .run = madvise_refused},
    {.what = "MADV_POPULATE_WRITE brings pages in", .run = madvise_populates, .since = KERNEL(5, 14)},
    {.what = "MADV_WIPEONFORK gives a child zeros", .run = madvise_wipes, .since = KERNEL(4, 14)},
};

static void mlock_locks(void) {
  char *memory = pages(2);
  unsigned char resident[2] = {9, 9};
  long got = sys(mlock2, memory, 2 * PAGE, 0);
  if (got == -ENOMEM || got == -EPERM) skip("no page may be locked here");
  work(got);
  work(sys(mincore, memory, 2 * PAGE, resident));
  equal(resident[0] & resident[1] & 1, 1);
  work(sys(munlock, memory, 2 * PAGE));
  char *lazy = pages(2);
  work(sys(mlock2, lazy, 2 * PAGE, MLOCK_ONFAULT));
}

static void mlock_denied(void) {
  uint64_t none[2] = {0, 0};
  char *memory = pages(1);
  tool(sys(prlimit64, 0, RLIMIT_MEMLOCK, none, NULL));
  refuse(EPERM, sys(mlock2, memory, PAGE, 0));
  refuse(EPERM, sys(mlockall, 1));
}

static const struct check mlock_checks[] = {
    {.what = "locks, MLOCK_ONFAULT later", .run = mlock_locks},
    {.what = "nobody locks without a limit that allows it", .run = mlock_denied, .who = NOBODY},
    {GIVES("an unknown flag", EINVAL, mlock2, NO_MAPPING, 4096, 2)},
    {GIVES("what is not mapped", ENOMEM, mlock2, NO_MAPPING, 4096, 0), .who = ROOT},
    {GIVES("mlockall without a flag", EINVAL, mlockall, 0)},
};

// ---- memory files --------------------------------------------------------------------------------------------------

static long no_program_level(void) { // 0 where the kernel knows no such setting
  long level = 0;
  setting("/proc/sys/vm/memfd_noexec", &level);
  return level;
}

static unsigned agreed(unsigned flags) { // with what vm.memfd_noexec demands
  return no_program_level() == 2 ? flags | MFD_NOEXEC_SEAL_ : flags;
}

static int sealable(void) {
  int file = (int)work(sys(memfd_create, "sealed", agreed(MFD_ALLOW_SEALING | MFD_CLOEXEC)));
  work(sys(ftruncate, file, 4096));
  return file;
}

static void memfd_flags(void) {
  equal(tool(sys(fcntl, sealable(), F_GETFD)), FD_CLOEXEC);
  if (no_program_level()) skip("vm.memfd_noexec lets every memory file be sealed");
  int plain = (int)work(sys(memfd_create, "plain", 0));
  equal(sys(fcntl, plain, F_GET_SEALS) & F_SEAL_SEAL, F_SEAL_SEAL);
  refuse(EPERM, sys(fcntl, plain, F_ADD_SEALS, F_SEAL_WRITE));
}

static void memfd_seals(void) {
  int file = sealable();
  work(sys(fcntl, file, F_ADD_SEALS, F_SEAL_SHRINK));
  refuse(EPERM, sys(ftruncate, file, 1));
  work(sys(fcntl, file, F_ADD_SEALS, F_SEAL_GROW));
  refuse(EPERM, sys(ftruncate, file, 8192));
  refuse(EPERM, sys(pwrite64, file, "x", 1, 8192));
  work(sys(fcntl, file, F_ADD_SEALS, F_SEAL_WRITE));
  refuse(EPERM, sys(pwrite64, file, "x", 1, 0));
  refuse(EPERM, sys(mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  work(sys(fcntl, file, F_ADD_SEALS, F_SEAL_SEAL));
  refuse(EPERM, sys(fcntl, file, F_ADD_SEALS, F_SEAL_WRITE));
  equal(sys(fcntl, file, F_GET_SEALS) & 15, 15);
}

static void memfd_busy(void) {
  int file = sealable();
  work(sys(mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  refuse(EBUSY, sys(fcntl, file, F_ADD_SEALS, F_SEAL_WRITE));
}

static void memfd_future(void) {
  int file = sealable();
  char *memory = (char *)work(sys(mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  work(sys(fcntl, file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE_));
  memory[0] = 'x'; // what was mapped before goes on
  refuse(EPERM, sys(pwrite64, file, "x", 1, 0));
}

static void memfd_no_program(void) {
  int file = (int)work(sys(memfd_create, "data", MFD_NOEXEC_SEAL_));
  struct stat facts;
  work(fstat(file, &facts) ? -errno : 0);
  equal(facts.st_mode & 0111, 0);
  refuse(EPERM, sys(fchmod, file, 0755));
  equal(sys(fcntl, file, F_GET_SEALS) & F_SEAL_EXEC_, F_SEAL_EXEC_);
  if (no_program_level() == 2) refuse(EACCES, sys(memfd_create, "program", MFD_EXEC_));
}

static char long_name[251];

static void memfd_name(void) {
  memset(long_name, 'x', 250);
  refuse(EINVAL, sys(memfd_create, long_name, agreed(0)));
  long_name[249] = 0;
  work(sys(memfd_create, long_name, agreed(0)));
}

static void memfd_nowhere(void) { refuse(EFAULT, sys(memfd_create, 8, agreed(0))); }

static const struct check memfd_checks[] = {
    {.what = "without MFD_ALLOW_SEALING nothing is sealed", .run = memfd_flags},
    {.what = "each seal holds", .run = memfd_seals},
    {.what = "no write seal while it is mapped", .run = memfd_busy},
    {.what = "F_SEAL_FUTURE_WRITE leaves old mappings", .run = memfd_future, .since = KERNEL(5, 1)},
    {.what = "MFD_NOEXEC_SEAL makes no program", .run = memfd_no_program, .since = KERNEL(6, 3)},
    {.what = "a name has at most 249 bytes", .run = memfd_name},
    {GIVES("an unknown flag", EINVAL, memfd_create, "x", 1U << 10)},
    {.what = "a bad address", .run = memfd_nowhere},
};

static bool secrets_are_off(char *why, size_t size) {
  long on;
  if (setting("/sys/module/secretmem/parameters/enable", &on)) {
    snprintf(why, size, "secretmem.enable is off");
    return !on;
  }
  snprintf(why, size, "secretmem.enable is off by default before 6.5");
  return kernel_version() < KERNEL(6, 5) && !file_holds("/proc/cmdline", "secretmem.enable");
}

static char *secret(void) {
  int file = (int)work(sys(memfd_secret, 0));
  work(sys(ftruncate, file, PAGE));
  refuse(EINVAL, sys(mmap, NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0));
  char *memory = (char *)sys(mmap, NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if ((long)memory == -EAGAIN) skip("RLIMIT_MEMLOCK leaves no room");
  work((long)memory);
  strcpy(memory, "secret");
  return memory;
}

static void secret_hidden(void) {
  char got[8] = "", *memory = secret();
  struct iovec here = {got, 6}, there = {memory, 6};
  long reached = sys(process_vm_readv, getpid(), &here, 1, &there, 1, 0);
  refuse(EFAULT, reached == -ENOSYS ? tool(reached) : reached);
  int ends[2];
  tool(sys(pipe2, ends, 0));
  hold(!strcmp(memory, "secret"), "its owner reads '%s'", memory);
}

static void secret_refused(void) {
  int file = (int)work(sys(memfd_secret, O_CLOEXEC));
  equal(tool(sys(fcntl, file, F_GETFD)), FD_CLOEXEC);
  char byte;
  refuse(EINVAL, sys(read, file, &byte, 1));
  work(sys(ftruncate, file, PAGE));
  refuse(EINVAL, sys(ftruncate, file, 2 * PAGE)); // its size is set once
}

static const struct check secret_checks[] = {
    {.what = "its memory is for its owner alone", .run = secret_hidden},
    {.what = "it is mapped, not read, and sized once", .run = secret_refused},
    {GIVES("an unknown flag", EINVAL, memfd_secret, 1)},
};

// ---- mseal, shadow stacks, protection keys -------------------------------------------------------------------------

static void mseal_seals(void) {
  char *memory = pages(2);
  work(sys(mseal, memory, PAGE, 0));
  refuse(EPERM, sys(munmap, memory, PAGE));
  refuse(EPERM, sys(mprotect, memory, PAGE, PROT_READ));
  refuse(EPERM, sys(mremap, memory, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
  refuse(EPERM, map(memory, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1));
  memory[0] = 'x'; // its content is not sealed
  work(sys(mseal, memory, PAGE, 0));
  work(sys(munmap, memory + PAGE, PAGE));
}

static void mseal_refused(void) {
  char *memory = pages(2);
  refuse(EINVAL, sys(mseal, memory, PAGE, 1));
  refuse(EINVAL, sys(mseal, memory + 1, PAGE, 0));
  work(sys(munmap, memory + PAGE, PAGE));
  refuse(ENOMEM, sys(mseal, memory, 2 * PAGE, 0));
  work(sys(munmap, memory, PAGE)); // the call that failed sealed nothing
}

static const struct check mseal_checks[] = {
    {.what = "sealed memory stays as it is", .run = mseal_seals},
    {.what = "flags, odd addresses, holes", .run = mseal_refused},
};

static void shadow_stack(void) {
  long got = sys(map_shadow_stack, 0, 2 * PAGE, 1UL << 40);
  if (got == -EOPNOTSUPP) return; // the processor has none, and the kernel says so
  refuse(EINVAL, got);
  long stack = work(sys(map_shadow_stack, 0, 2 * PAGE, 0));
  hold(faults((char *)stack, true), "a shadow stack was written to as if it were memory");
  refuse(ENOSPC, sys(map_shadow_stack, 0, 4, 1)); // no room for the token
}

static const struct check shadow_checks[] = {
    {.what = "makes one, or says that the processor cannot", .run = shadow_stack},
};

#if defined(__x86_64__)
#define SHADOW_OPTION "CONFIG_X86_USER_SHADOW_STACK"
#define SHADOW_SINCE KERNEL(6, 6)
#else
#define SHADOW_OPTION "CONFIG_ARM64_GCS"
#define SHADOW_SINCE KERNEL(6, 13)
#endif

static bool processor_has_keys(void) {
  FILE *stream = fopen("/proc/cpuinfo", "re");
  char line[8192];
  bool found = false;
  while (stream && !found && fgets(line, sizeof line, stream)) found = strstr(line, " ospke") || strstr(line, " poe");
  if (stream) fclose(stream);
  return found;
}

static void pkeys(void) {
  refuse(EINVAL, sys(pkey_alloc, 1, 0));
  refuse(EINVAL, sys(pkey_alloc, 0, 1 << 10));
  char *memory = pages(1);
  work(sys(pkey_mprotect, memory, PAGE, PROT_READ, -1)); // no key: as mprotect
  hold(faults(memory, true), "pkey_mprotect without a key changed nothing");
  long key = sys(pkey_alloc, 0, 0);
  if (!processor_has_keys()) {
    refuse_by(ENOSPC, EINVAL, key);
    return;
  }
  work(key);
  work(sys(pkey_mprotect, memory, PAGE, PROT_READ, key));
  work(sys(pkey_free, key));
  refuse(EINVAL, sys(pkey_free, key));
}

static const struct check pkey_checks[] = {
    {.what = "keys are given, used and freed", .run = pkeys},
};

// ---- userfaultfd ---------------------------------------------------------------------------------------------------

static void userfault_serves(void) {
  struct { // struct uffdio_api
    uint64_t api, features, ioctls;
  } hello = {.api = 0xaa};
  int file = (int)work(sys(userfaultfd, O_CLOEXEC | O_NONBLOCK));
  work(ioctl(file, _IOWR(0xaa, 0x3f, hello), &hello) ? -errno : 0);
  hold(hello.ioctls & 1, "no UFFDIO_REGISTER");
  char *memory = pages(1), *source = pages(1);
  source[0] = 'x';
  struct {
    uint64_t start, length, mode, ioctls;
  } range = {.start = (uintptr_t)memory, .length = PAGE, .mode = 1};
  work(ioctl(file, _IOWR(0xaa, 0, range), &range) ? -errno : 0);
  struct {
    uint64_t to, from, length, mode;
    int64_t copied;
  } copy = {.to = (uintptr_t)memory, .from = (uintptr_t)source, .length = PAGE};
  work(ioctl(file, _IOWR(0xaa, 3, copy), &copy) ? -errno : 0);
  equal(copy.copied, PAGE);
  equal(memory[0], 'x');
  refuse(EEXIST, ioctl(file, _IOWR(0xaa, 3, copy), &copy) ? -errno : 0);
}

static void userfault_bad_api(void) {
  struct {
    uint64_t api, features, ioctls;
  } hello = {.api = 0xab};
  int file = (int)work(sys(userfaultfd, O_CLOEXEC));
  refuse(EINVAL, ioctl(file, _IOWR(0xaa, 0x3f, hello), &hello) ? -errno : 0);
}

static void userfault_denied(void) {
  long open_to_all = 0;
  if (setting("/proc/sys/vm/unprivileged_userfaultfd", &open_to_all) && open_to_all)
    work(sys(userfaultfd, O_CLOEXEC));
  else
    refuse(EPERM, sys(userfaultfd, O_CLOEXEC));
}

static const struct check userfault_checks[] = {
    {.what = "fills a page that is missing", .run = userfault_serves, .who = ROOT},
    {.what = "another version of its protocol", .run = userfault_bad_api, .who = ROOT},
    {.what = "nobody handles faults of the kernel, but by vm.unprivileged_userfaultfd", .run = userfault_denied, .who = NOBODY, .since = KERNEL(5, 11)},
    {GIVES("nobody handles faults of programs", 0, userfaultfd, 1), .who = NOBODY, .since = KERNEL(5, 11)},
    {GIVES("an unknown flag", EINVAL, userfaultfd, 1 << 10), .who = ROOT},
};

// ---- policies of NUMA ----------------------------------------------------------------------------------------------

static void policies(void) {
  unsigned long nodes = 1;
  char *memory = pages(2);
  work(sys(mbind, memory, 2 * PAGE, 2, &nodes, 2, 0)); // MPOL_BIND to node 0
  int mode = -1;
  work(sys(get_mempolicy, &mode, NULL, 0, memory, 2)); // MPOL_F_ADDR
  equal(mode, 2);
  refuse(EINVAL, sys(set_mempolicy, 99, NULL, 0));
  refuse(EINVAL, sys(mbind, memory, PAGE, 2, NULL, 0, 0)); // binds to nothing
  refuse(EINVAL, sys(mbind, memory + 1, PAGE, 2, &nodes, 2, 0));
  work(sys(set_mempolicy, 0, NULL, 0));
}

static void home_node(void) {
  unsigned long nodes = 1;
  char *memory = pages(2);
  tool(sys(mbind, memory, 2 * PAGE, 2, &nodes, 2, 0));
  work(sys(set_mempolicy_home_node, memory, 2 * PAGE, 0, 0));
  refuse(EINVAL, sys(set_mempolicy_home_node, memory, 2 * PAGE, 0, 1));
  refuse(EINVAL, sys(set_mempolicy_home_node, memory, 2 * PAGE, 1 << 20, 0));
  refuse(EINVAL, sys(set_mempolicy_home_node, memory + 1, PAGE, 0, 0));
}

static const struct check policy_checks[] = {{.what = "bind to a node, ask, refuse", .run = policies}};
static const struct check home_checks[] = {{.what = "a home for a policy; flags, nodes and addresses that are none", .run = home_node}};

static const long no_flags[] = {0, 0, -1, -1, -1, -1}; // mlockall-like calls would do something for -1
static const long nothing_mapped[] = {0, 0, 0, 0, -1, -1};

static const struct test_case cases[] = {
    {.id = "mmap", .manual = "mmap(2)", .number = NR_mmap, CHECKS(mmap_checks)},
    {.id = "mprotect", .manual = "mprotect(2)", .number = NR_mprotect, .probe = no_flags, CHECKS(mprotect_checks)},
    {.id = "madvise", .manual = "madvise(2)", .number = NR_madvise, .probe = nothing_mapped, .config = "CONFIG_ADVISE_SYSCALLS", CHECKS(madvise_checks)},
    {.id = "mlock2", .manual = "mlock2(2)", .number = NR_mlock2, .since = KERNEL(4, 4), CHECKS(mlock_checks)},
    {.id = "memfd_create", .manual = "memfd_create(2)", .number = NR_memfd_create, .since = KERNEL(3, 17), .config = "CONFIG_MEMFD_CREATE", CHECKS(memfd_checks)},
    {.id = "memfd_secret", .manual = "memfd_secret(2)", .number = NR_memfd_secret, .since = KERNEL(5, 14), .config = "CONFIG_SECRETMEM", .is_off = secrets_are_off, CHECKS(secret_checks)},
    {.id = "mseal", .manual = "mseal(2)", .number = NR_mseal, .since = KERNEL(6, 10), .config = "CONFIG_64BIT", CHECKS(mseal_checks)},
    {.id = "map_shadow_stack", .manual = "map_shadow_stack(2)", .number = NR_map_shadow_stack, .since = SHADOW_SINCE, .config = SHADOW_OPTION, CHECKS(shadow_checks)},
    {.id = "pkey_alloc", .manual = "pkeys(7)", .number = NR_pkey_alloc, .since = KERNEL(4, 9), .config = "CONFIG_ARCH_HAS_PKEYS", CHECKS(pkey_checks)},
    {.id = "userfaultfd", .manual = "userfaultfd(2)", .number = NR_userfaultfd, .since = KERNEL(4, 3), .config = "CONFIG_USERFAULTFD", CHECKS(userfault_checks)},
    {.id = "mbind", .manual = "mbind(2)", .number = NR_mbind, .config = "CONFIG_NUMA", CHECKS(policy_checks)},
    {.id = "set_mempolicy_home_node", .manual = "set_mempolicy_home_node(2)", .number = NR_set_mempolicy_home_node, .since = KERNEL(5, 17), .config = "CONFIG_NUMA", CHECKS(home_checks)},
};
const struct chapter memory = {cases, COUNT(cases)};
