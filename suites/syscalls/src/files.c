// What files hold, and what is known about them.
#include "lisa.h"

#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#define RWF_HIPRI_ 1
#define RWF_DSYNC_ 2
#define RWF_NOWAIT_ 8
#define RWF_APPEND_ 16
#define RWF_NOAPPEND_ 32
#define STATX_MNT_ID_ 0x1000U
#define STATX_MNT_ID_UNIQUE_ 0x4000U

// struct statx of the kernel, as far as we look; the rest is what it may grow into
struct facts {
  uint32_t mask, block_size;
  uint64_t attributes;
  uint32_t links, user, group;
  uint16_t mode, spare;
  uint64_t inode, size, blocks, attributes_mask;
  uint64_t times[8];
  uint32_t device[4];
  uint64_t mount;
  uint64_t more[13];
};
_Static_assert(sizeof(struct facts) == 256, "struct statx has 256 bytes");

// ---- statx ---------------------------------------------------------------------------------------------------------

static void statx_tells(void) {
  struct facts facts;
  int file = memory_file("twelve bytes");
  work(sys(statx, file, "", AT_EMPTY_PATH, 0x7ffU, &facts));
  equal(facts.mask & 0x7ffU, 0x7ff);
  equal(facts.size, 12);
  equal(facts.mode, S_IFREG | 0600);
  equal(facts.links, 0);
  equal(facts.user, geteuid());
}

static void statx_mount(void) {
  struct facts facts;
  work(sys(statx, AT_FDCWD, "/", 0, STATX_MNT_ID_, &facts));
  hold(facts.mask & STATX_MNT_ID_, "no mount id in the answer");
  hold(facts.mount > 0, "the mount id is 0");
}

static void statx_unique_mount(void) {
  struct facts facts;
  work(sys(statx, AT_FDCWD, "/", 0, STATX_MNT_ID_UNIQUE_, &facts));
  hold(facts.mask & STATX_MNT_ID_UNIQUE_, "no unique mount id in the answer");
  hold(facts.mount > 1ULL << 31, "a unique mount id is above 2^31, not %llu", (unsigned long long)facts.mount);
}

static void statx_link(void) {
  struct facts facts;
  int at = scratch();
  work(symlinkat("nowhere", at, "link") ? -errno : 0);
  refuse(ENOENT, sys(statx, at, "link", 0, 0x7ffU, &facts));
  work(sys(statx, at, "link", AT_SYMLINK_NOFOLLOW, 0x7ffU, &facts));
  equal(facts.mode & S_IFMT, S_IFLNK);
  equal(facts.size, 7);
}

static char buffer[4096] __attribute__((aligned(8)));

static const struct check statx_checks[] = {
    {.what = "tells size, mode, links and owner", .run = statx_tells},
    {.what = "STATX_MNT_ID tells the mount", .run = statx_mount, .since = KERNEL(5, 8)},
    {.what = "STATX_MNT_ID_UNIQUE tells one that is never used again", .run = statx_unique_mount, .since = KERNEL(6, 8)},
    {.what = "AT_SYMLINK_NOFOLLOW looks at the link", .run = statx_link},
    {GIVES("a reserved bit of the mask", EINVAL, statx, AT_FDCWD, "/", 0, 0x80000000U, buffer)},
    {GIVES("both ways to synchronise at once", EINVAL, statx, AT_FDCWD, "/", 0x6000, 0, buffer)},
    {GIVES("an unknown flag", EINVAL, statx, AT_FDCWD, "/", 1, 0, buffer)},
    {GIVES("a bad address for the answer", EFAULT, statx, AT_FDCWD, "/", 0, 0x7ffU, 8)},
    {GIVES("a folder is needed", EBADF, statx, -1, "x", 0, 0x7ffU, buffer)},
    {GIVES("a missing file", ENOENT, statx, AT_FDCWD, "/nowhere/at/all", 0, 0x7ffU, buffer)},
};

// ---- copy_file_range, fallocate, splice ----------------------------------------------------------------------------

static void copies(void) {
  char got[16] = "";
  loff_t from = 2;
  int one = memory_file("0123456789"), two = memory_file("");
  equal(sys(copy_file_range, one, &from, two, NULL, 5, 0), 5);
  equal(from, 7);
  equal(pread(two, got, sizeof got, 0), 5);
  hold(!strcmp(got, "23456"), "the copy is '%s'", got);
  equal(lseek(one, 0, SEEK_CUR), 0);
}

static void copies_no_more_than_there_is(void) {
  loff_t behind = 100;
  equal(sys(copy_file_range, memory_file("abc"), &behind, memory_file(""), NULL, 5, 0), 0);
}

static void copy_refused(void) {
  int one = memory_file("0123456789"), ends[2];
  loff_t from = 0, into = 2;
  refuse(EINVAL, sys(copy_file_range, one, NULL, memory_file(""), NULL, 5, 1)); // a flag
  refuse(EINVAL, sys(copy_file_range, one, &from, one, &into, 5, 0));          // onto itself
  refuse(EBADF, sys(copy_file_range, one, NULL, open("/proc/self/exe", O_RDONLY), NULL, 5, 0));
  refuse(EISDIR, sys(copy_file_range, scratch(), NULL, one, NULL, 5, 0));
  tool(sys(pipe2, ends, 0));
  refuse(EINVAL, sys(copy_file_range, ends[0], NULL, one, NULL, 5, 0));
}

static const struct check copy_checks[] = {
    {.what = "copies a range and moves the offset given", .run = copies},
    {.what = "copies nothing from behind the end", .run = copies_no_more_than_there_is},
    {.what = "flags, overlap, read-only targets, folders and pipes", .run = copy_refused},
};

static void fallocate_refused(void) {
  int file = memory_file("abc"), ends[2];
  refuse(EINVAL, sys(fallocate, file, 0, 0, 0));
  refuse(EINVAL, sys(fallocate, file, 0, -1L, 10));
  refuse(EOPNOTSUPP, sys(fallocate, file, 2, 0, 10)); // FALLOC_FL_PUNCH_HOLE without FALLOC_FL_KEEP_SIZE
  refuse(EOPNOTSUPP, sys(fallocate, file, 0x4000, 0, 10));
  refuse(EBADF, sys(fallocate, open("/proc/self/exe", O_RDONLY), 0, 0, 10));
  tool(sys(pipe2, ends, 0));
  refuse(ESPIPE, sys(fallocate, ends[1], 0, 0, 10));
}

static void fallocate_grows(void) {
  int file = (int)tool(sys(memfd_create, "x", 0)); // every kernel's tmpfs can do it; the file system of /tmp may not
  work(sys(fallocate, file, 0, 0, 10000));
  equal(lseek(file, 0, SEEK_END), 10000);
  equal(pwrite(file, "x", 1, 5000), 1);
  work(sys(fallocate, file, 3, 0, 8192)); // a hole
  char got;
  equal(pread(file, &got, 1, 5000), 1);
  equal(got, 0);
  equal(lseek(file, 0, SEEK_END), 10000);
}

static const struct check fallocate_checks[] = {
    {.what = "grows a file and punches holes", .run = fallocate_grows},
    {.what = "empty ranges, unknown modes, read-only files and pipes", .run = fallocate_refused},
};

static void splices(void) {
  int in[2], out[2];
  char got[8] = "";
  tool(sys(pipe2, in, 0));
  tool(sys(pipe2, out, 0));
  equal(write(in[1], "abcd", 4), 4);
  equal(sys(tee, in[0], out[1], 2, 0), 2); // both stay
  equal(sys(splice, in[0], NULL, out[1], NULL, 4, 0), 4);
  equal(read(out[0], got, sizeof got), 6);
  hold(!strcmp(got, "ababcd"), "the pipe holds '%s'", got);
}

static void splice_refused(void) {
  int ends[2];
  loff_t at = 0;
  tool(sys(pipe2, ends, O_NONBLOCK));
  int file = memory_file("abc");
  refuse(EINVAL, sys(splice, file, NULL, file, NULL, 3, 0)); // one end must be a pipe
  refuse(EINVAL, sys(splice, ends[0], NULL, ends[1], NULL, 3, 0));
  refuse(ESPIPE, sys(splice, ends[0], &at, file, NULL, 3, 0));
  refuse(EINVAL, sys(splice, file, NULL, ends[1], NULL, 3, 1 << 20));
  refuse(EAGAIN, sys(splice, ends[0], NULL, file, NULL, 3, 2)); // SPLICE_F_NONBLOCK
  refuse(EBADF, sys(splice, -1, NULL, ends[1], NULL, 3, 0));
}

static const struct check splice_checks[] = {
    {.what = "moves between pipes, tee copies", .run = splices},
    {.what = "what is no pipe, offsets into pipes, unknown flags", .run = splice_refused},
};

// ---- preadv2, pwritev2 ---------------------------------------------------------------------------------------------

static void reads_here(void) {
  char got[4] = "";
  struct iovec into = {got, 3};
  int file = memory_file("abcdef");
  equal(sys(preadv2, file, &into, 1, 1, 0, 0), 3);
  hold(!strcmp(got, "bcd"), "read '%s'", got);
  equal(lseek(file, 0, SEEK_CUR), 0);
  equal(sys(preadv2, file, &into, 1, -1L, -1L, 0), 3); // at the file's own offset
  hold(!strcmp(got, "abc"), "read '%s'", got);
  equal(lseek(file, 0, SEEK_CUR), 3);
}

static void reads_refused(void) {
  char got[4];
  struct iovec into = {got, 3};
  int file = memory_file("abcdef"), ends[2];
  refuse(EOPNOTSUPP, sys(preadv2, file, &into, 1, 0, 0, 1 << 20));
  refuse(EINVAL, sys(preadv2, file, &into, 1, -2L, -1L, 0));
  refuse(EINVAL, sys(preadv2, file, &into, 1025, 0, 0, 0));
  refuse(EFAULT, sys(preadv2, file, 8L, 1, 0, 0, 0));
  tool(sys(pipe2, ends, 0));
  refuse(ESPIPE, sys(preadv2, ends[0], &into, 1, 0, 0, 0));
  // Before 6.4 a pipe does not know RWF_NOWAIT.
  refuse_by(EAGAIN, kernel_version() < KERNEL(6, 4) ? EOPNOTSUPP : 0, sys(preadv2, ends[0], &into, 1, -1L, -1L, RWF_NOWAIT_));
}

static void writes_here(void) {
  char got[16] = "";
  struct iovec from = {(char *)"XY", 2};
  int file = memory_file("abcdef");
  equal(sys(pwritev2, file, &from, 1, 1, 0, RWF_DSYNC_), 2);
  equal(sys(pwritev2, file, &from, 1, 0, 0, RWF_APPEND_), 2);
  equal(pread(file, got, sizeof got, 0), 8);
  hold(!strcmp(got, "aXYdefXY"), "the file holds '%s'", got);
}

static void writes_not_at_the_end(void) {
  char got[16] = "";
  struct iovec from = {(char *)"XY", 2};
  int at = scratch();
  int file = openat(at, "log", O_CREAT | O_RDWR | O_APPEND, 0600);
  equal(write(file, "abcd", 4), 4);
  equal(sys(pwritev2, file, &from, 1, 0, 0, RWF_NOAPPEND_), 2);
  equal(pread(file, got, sizeof got, 0), 4);
  hold(!strcmp(got, "XYcd"), "the file holds '%s'", got);
  refuse(EINVAL, sys(pwritev2, file, &from, 1, 0, 0, RWF_APPEND_ | RWF_NOAPPEND_));
}

static void writes_refused(void) {
  struct iovec from = {(char *)"XY", 2};
  refuse(EOPNOTSUPP, sys(pwritev2, memory_file(""), &from, 1, 0, 0, 1 << 20));
  refuse(EBADF, sys(pwritev2, open("/proc/self/exe", O_RDONLY), &from, 1, 0, 0, 0));
}

static const struct check preadv2_checks[] = {
    {.what = "reads at an offset, or at the file's own", .run = reads_here},
    {.what = "unknown flags, bad offsets, pipes", .run = reads_refused, .since = KERNEL(5, 0)},
};
static const struct check pwritev2_checks[] = {
    {.what = "writes at an offset, RWF_APPEND at the end", .run = writes_here, .since = KERNEL(4, 16)},
    {.what = "RWF_NOAPPEND writes where told", .run = writes_not_at_the_end, .since = KERNEL(6, 9)},
    {.what = "unknown flags, read-only files", .run = writes_refused},
};

// ---- renameat2, handles, extended attributes -----------------------------------------------------------------------

static int two_files(void) {
  int at = scratch(), one = openat(at, "a", O_CREAT | O_WRONLY, 0600), two = openat(at, "b", O_CREAT | O_WRONLY, 0600);
  if (write(one, "a", 1) != 1 || write(two, "bb", 2) != 2) fail("cannot write two files");
  close(one);
  close(two);
  return at;
}

static long size_of(int at, const char *name) {
  struct stat facts;
  return fstatat(at, name, &facts, 0) ? -errno : facts.st_size;
}

static void rename_keeps(void) {
  int at = two_files();
  refuse(EEXIST, sys(renameat2, at, "a", at, "b", 1));
  work(sys(renameat2, at, "a", at, "c", 1));
  equal(size_of(at, "c"), 1);
}

static void rename_exchanges(void) {
  int at = two_files();
  long got = sys(renameat2, at, "a", at, "b", 2);
  if (got == -EINVAL) skip("the file system of /tmp cannot exchange files");
  work(got);
  equal(size_of(at, "a"), 2);
  equal(size_of(at, "b"), 1);
  refuse(ENOENT, sys(renameat2, at, "a", at, "none", 2));
}

static void rename_refused(void) {
  int at = two_files();
  refuse(EINVAL, sys(renameat2, at, "a", at, "b", 3)); // keep and exchange
  refuse(EINVAL, sys(renameat2, at, "a", at, "b", 1 << 20));
  work(mkdirat(at, "folder", 0700) ? -errno : 0);
  refuse(EISDIR, sys(renameat2, at, "a", at, "folder", 0));
  refuse(EINVAL, sys(renameat2, at, "folder", at, "folder/inside", 0));
}

static const struct check renameat2_checks[] = {
    {.what = "RENAME_NOREPLACE keeps what is there", .run = rename_keeps},
    {.what = "RENAME_EXCHANGE swaps", .run = rename_exchanges},
    {.what = "unknown flags, a file onto a folder, a folder into itself", .run = rename_refused},
};

struct handle {
  unsigned bytes;
  int type;
  unsigned char data[128];
};

static void handle_round_trip(void) {
  struct handle handle = {.bytes = sizeof handle.data};
  struct stat one, two;
  int mount, at = two_files();
  long got = sys(name_to_handle_at, at, "a", &handle, &mount, 0);
  if (got == -EOPNOTSUPP) skip("the file system of /tmp has no handles");
  work(got);
  int file = (int)work(sys(open_by_handle_at, at, &handle, O_RDONLY));
  work(fstat(file, &one) ? -errno : 0);
  work(fstatat(at, "a", &two, 0) ? -errno : 0);
  equal(one.st_ino, two.st_ino);
}

static void handle_size(void) {
  struct handle handle = {.bytes = 0};
  int mount;
  long got = sys(name_to_handle_at, AT_FDCWD, "/proc/self/exe", &handle, &mount, AT_SYMLINK_FOLLOW);
  if (got == -EOPNOTSUPP) skip("this file system has no handles");
  refuse(EOVERFLOW, got);
  hold(handle.bytes > 0 && handle.bytes <= 128, "wants %u bytes", handle.bytes);
  handle.bytes = 129; // MAX_HANDLE_SZ is 128
  refuse(EINVAL, sys(name_to_handle_at, AT_FDCWD, "/", &handle, &mount, 0));
}

static void handle_refused(void) {
  struct handle handle = {.bytes = 8, .type = 1};
  refuse_by(EPERM, EOPNOTSUPP, sys(open_by_handle_at, AT_FDCWD, &handle, O_RDONLY));
}

static const struct check handle_checks[] = {
    {.what = "a handle leads back to its file", .run = handle_round_trip, .who = ROOT},
    {.what = "tells how long a handle is", .run = handle_size},
    {.what = "nobody opens by handle", .run = handle_refused, .who = NOBODY},
    {GIVES("an unknown flag", EINVAL, name_to_handle_at, AT_FDCWD, "/", buffer, buffer, 0x80)},
    {GIVES("a bad address", EFAULT, name_to_handle_at, AT_FDCWD, "/", 8, 8, 0)},
};

static void attributes(void) {
  char got[16] = "";
  int file = memory_file("");
  long first = sys(fsetxattr, file, "trusted.lisa", "one", 3, 1); // XATTR_CREATE
  if (first == -EOPNOTSUPP) skip("the file system of /tmp has no extended attributes");
  work(first);
  refuse(EEXIST, sys(fsetxattr, file, "trusted.lisa", "two", 3, 1));
  refuse(ENODATA, sys(fsetxattr, file, "trusted.other", "two", 3, 2)); // XATTR_REPLACE
  refuse(ERANGE, sys(fgetxattr, file, "trusted.lisa", got, 2));
  equal(sys(fgetxattr, file, "trusted.lisa", got, sizeof got), 3);
  work(sys(fremovexattr, file, "trusted.lisa"));
  refuse(ENODATA, sys(fgetxattr, file, "trusted.lisa", got, sizeof got));
}

static void attributes_refused(void) {
  int file = memory_file("");
  refuse(EINVAL, sys(fsetxattr, file, "user.lisa", "x", 1, 4));
  refuse(ERANGE, sys(fsetxattr, file, "", "x", 1, 0));
  refuse(E2BIG, sys(fsetxattr, file, "user.lisa", "x", 65537, 0));
  refuse(EOPNOTSUPP, sys(fsetxattr, file, "nonsense.lisa", "x", 1, 0));
}

static void attributes_of_root(void) {
  refuse(EPERM, sys(fsetxattr, memory_file(""), "trusted.lisa", "x", 1, 0));
}

static const struct check xattr_checks[] = {
    {.what = "create, replace, read, remove", .run = attributes, .who = ROOT},
    {.what = "unknown flags and name spaces, empty names, long values", .run = attributes_refused},
    {.what = "trusted attributes are root's", .run = attributes_of_root, .who = NOBODY},
};

struct attribute {
  uint64_t value;
  uint32_t size, flags;
};

static void attributes_at(void) {
  char got[16] = "";
  int at = two_files();
  struct attribute one = {.value = (uintptr_t)"one", .size = 3};
  long set = sys(setxattrat, at, "a", 0, "trusted.lisa", &one, sizeof one);
  if (set == -EOPNOTSUPP) skip("the file system of /tmp has no extended attributes");
  work(set);
  one = (struct attribute){.value = (uintptr_t)got, .size = sizeof got};
  equal(sys(getxattrat, at, "a", 0, "trusted.lisa", &one, sizeof one), 3);
  hold(!strcmp(got, "one"), "the attribute is '%s'", got);
  work(sys(listxattrat, at, "a", 0, NULL, 0));
  work(sys(removexattrat, at, "a", 0, "trusted.lisa"));
  refuse(ENODATA, sys(getxattrat, at, "a", 0, "trusted.lisa", &one, sizeof one));
}

static const struct check setxattrat_checks[] = {
    {.what = "set, get, list and remove below a folder", .run = attributes_at, .who = ROOT},
    {GIVES("a structure too small", EINVAL, setxattrat, AT_FDCWD, "/tmp", 0, "user.x", buffer, 8)},
    {GIVES("an unknown flag", EINVAL, setxattrat, AT_FDCWD, "/tmp", 1, "user.x", buffer, 16)},
    {GIVES("a structure larger than a page", E2BIG, setxattrat, AT_FDCWD, "/tmp", 0, "user.x", buffer, 1 << 20)},
};

// ---- cachestat, sync, fadvise --------------------------------------------------------------------------------------

static void cachestat_counts(void) {
  uint64_t range[2] = {0, 0}, counts[5] = {0};
  char block[8192];
  memset(block, 'x', sizeof block);
  int file = memory_file("");
  equal(write(file, block, sizeof block), sizeof block);
  work(sys(cachestat, file, range, counts, 0));
  hold(counts[0] >= 1, "a file just written has %llu pages in the cache", (unsigned long long)counts[0]);
}

static void cachestat_refused(void) {
  uint64_t range[2] = {0, 0}, counts[5];
  int file = memory_file("x");
  refuse(EINVAL, sys(cachestat, file, range, counts, 1));
  refuse(EFAULT, sys(cachestat, file, 8L, counts, 0));
  refuse(EFAULT, sys(cachestat, file, range, 8L, 0));
  refuse(EBADF, sys(cachestat, -1, range, counts, 0));
}

static const struct check cachestat_checks[] = {
    {.what = "counts pages of a file just written", .run = cachestat_counts},
    {.what = "unknown flags, bad addresses, no descriptor", .run = cachestat_refused},
};

static void advise_pipe(void) {
  int ends[2];
  tool(sys(pipe2, ends, 0));
  refuse(ESPIPE, sys(fadvise64, ends[0], 0, 0, 0));
}

static void advise(void) {
  int file = memory_file("abc");
  for (int advice = 0; advice < 6; advice++) work(sys(fadvise64, file, 0, 0, advice));
  refuse(EINVAL, sys(fadvise64, file, 0, 0, 99));
}

static const struct check fadvise_checks[] = {
    {.what = "every advice is taken, an unknown one is not", .run = advise},
    {.what = "a pipe takes no advice", .run = advise_pipe},
    {GIVES("no descriptor", EBADF, fadvise64, -1, 0, 0, 0)},
};

static void sync_range(void) {
  int file = memory_file("abc"), ends[2];
  work(sys(sync_file_range, file, 0, 0, 7));
  refuse(EINVAL, sys(sync_file_range, file, 0, 0, 8));
  refuse(EINVAL, sys(sync_file_range, file, -1L, 5, 0));
  tool(sys(pipe2, ends, 0));
  refuse(ESPIPE, sys(sync_file_range, ends[0], 0, 0, 0));
}

static const struct check sync_checks[] = {
    {.what = "every flag is taken, unknown ones and pipes are not", .run = sync_range},
    {GIVES("no descriptor", EBADF, sync_file_range, -1, 0, 0, 0)},
};

struct file_attributes {
  uint64_t flags;
  uint32_t extent_size, extents, project, copy_extent_size;
};

static void file_attributes_read(void) {
  struct file_attributes facts = {.flags = ~0ULL};
  int at = two_files();
  long got = sys(file_getattr, at, "a", &facts, sizeof facts, 0);
  if (got == -EOPNOTSUPP) skip("the file system of /tmp has no inode flags");
  work(got);
  hold(facts.flags != ~0ULL, "nothing was filled in");
}

static void file_attributes_refused(void) {
  struct file_attributes facts = {0};
  int at = two_files();
  refuse(EINVAL, sys(file_getattr, at, "a", &facts, sizeof facts, 1));
  refuse(EINVAL, sys(file_getattr, at, "a", &facts, sizeof facts - 8, 0));
  refuse(E2BIG, sys(file_getattr, at, "a", &facts, 1 << 20, 0));
  refuse(EINVAL, sys(file_setattr, at, "a", &facts, sizeof facts, 1));
}

static const struct check file_getattr_checks[] = {
    {.what = "reads the flags of an inode", .run = file_attributes_read},
    {.what = "unknown flags and wrong sizes", .run = file_attributes_refused},
};

static const struct test_case cases[] = {
    {.id = "statx", .manual = "statx(2)", .number = NR_statx, .since = KERNEL(4, 11), CHECKS(statx_checks)},
    {.id = "copy_file_range", .manual = "copy_file_range(2)", .number = NR_copy_file_range, .since = KERNEL(5, 3), CHECKS(copy_checks)},
    {.id = "fallocate", .manual = "fallocate(2)", .number = NR_fallocate, CHECKS(fallocate_checks)},
    {.id = "splice", .manual = "splice(2)", .number = NR_splice, CHECKS(splice_checks)},
    {.id = "preadv2", .manual = "preadv2(2)", .number = NR_preadv2, .since = KERNEL(4, 6), CHECKS(preadv2_checks)},
    {.id = "pwritev2", .manual = "pwritev2(2)", .number = NR_pwritev2, .since = KERNEL(4, 6), CHECKS(pwritev2_checks)},
    {.id = "renameat2", .manual = "renameat2(2)", .number = NR_renameat2, .since = KERNEL(3, 15), CHECKS(renameat2_checks)},
    {.id = "name_to_handle_at", .manual = "open_by_handle_at(2)", .number = NR_name_to_handle_at, .config = "CONFIG_FHANDLE", CHECKS(handle_checks)},
    {.id = "fsetxattr", .manual = "setxattr(2)", .number = NR_fsetxattr, CHECKS(xattr_checks)},
    {.id = "setxattrat", .manual = "setxattrat(2)", .number = NR_setxattrat, .since = KERNEL(6, 13), CHECKS(setxattrat_checks)},
    {.id = "cachestat", .manual = "cachestat(2)", .number = NR_cachestat, .since = KERNEL(6, 5), .config = "CONFIG_CACHESTAT_SYSCALL", CHECKS(cachestat_checks)},
    {.id = "fadvise64", .manual = "posix_fadvise(2)", .number = NR_fadvise64, .config = "CONFIG_ADVISE_SYSCALLS", CHECKS(fadvise_checks)},
    {.id = "sync_file_range", .manual = "sync_file_range(2)", .number = NR_sync_file_range, CHECKS(sync_checks)},
    {.id = "file_getattr", .manual = "file_getattr(2)", .number = NR_file_getattr, .since = KERNEL(6, 17), CHECKS(file_getattr_checks)},
};
const struct chapter files = {cases, COUNT(cases)};
