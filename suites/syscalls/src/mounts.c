// Mounting by descriptors, and looking at mounts. All of it in a mount namespace that ends with the check.
#include "lisa.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define FSOPEN_CLOEXEC_ 1U
#define FLAG_ 0
#define STRING_ 1
#define CREATE_ 6
#define MOVE_FROM_EMPTY_ 4U
#define OPEN_TREE_CLONE_ 1U
#define ATTR_RDONLY_ 1ULL
#define ATTR_NOSUID_ 2ULL

static char buffer[4096] __attribute__((aligned(8)));

static int new_tmpfs(void) { // a mount of its own that hangs nowhere yet
  int context = (int)tool(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC_));
  tool(sys(fsconfig, context, STRING_, "size", "1048576", 0));
  tool(sys(fsconfig, context, CREATE_, NULL, NULL, 0));
  return (int)tool(sys(fsmount, context, 1, 0));
}

static const char *place(void) {
  static char name[300];
  int at = scratch();
  snprintf(name, sizeof name, "%s/mount", scratch_path());
  if (mkdirat(at, "mount", 0755) && errno != EEXIST) skip("cannot make a folder");
  return name;
}

static int attached_tmpfs(void) {
  own_mounts();
  int mount = new_tmpfs();
  tool(sys(move_mount, mount, "", AT_FDCWD, place(), MOVE_FROM_EMPTY_));
  return mount;
}

// ---- fsopen, fsconfig, fsmount, move_mount -------------------------------------------------------------------------

static void fsopen_context(void) {
  int context = (int)work(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC_));
  equal(tool(sys(fcntl, context, F_GETFD)), FD_CLOEXEC);
  refuse(ENODATA, sys(read, context, buffer, sizeof buffer)); // no message so far
}

static const struct check fsopen_checks[] = {
    {.what = "opens a context for a file system", .run = fsopen_context, .who = ROOT, .config = "CONFIG_TMPFS"},
    {GIVES("an unknown file system", ENODEV, fsopen, "no-such-fs", 0), .who = ROOT},
    {GIVES("an unknown flag", EINVAL, fsopen, "tmpfs", 2), .who = ROOT},
    {GIVES("a bad address", EFAULT, fsopen, 8, 0), .who = ROOT},
    {GIVES("nobody mounts", EPERM, fsopen, "tmpfs", 0), .who = NOBODY},
};

static void fsconfig_sets(void) {
  int context = (int)tool(sys(fsopen, "tmpfs", 0));
  work(sys(fsconfig, context, STRING_, "size", "1048576", 0));
  work(sys(fsconfig, context, FLAG_, "ro", NULL, 0));
  refuse(EINVAL, sys(fsconfig, context, STRING_, "no-such-option", "x", 0));
  hold(sys(read, context, buffer, sizeof buffer) > 0, "no message about the unknown option");
  refuse(EINVAL, sys(fsconfig, context, STRING_, "size", "nonsense", 0));
  refuse(EINVAL, sys(fsconfig, context, STRING_, NULL, "x", 0));
  refuse(EINVAL, sys(fsconfig, context, FLAG_, "ro", "x", 0)); // a flag has no value
  work(sys(fsconfig, context, CREATE_, NULL, NULL, 0));
  refuse(EBUSY, sys(fsconfig, context, CREATE_, NULL, NULL, 0));
}

static void fsconfig_other_files(void) {
  refuse(EINVAL, sys(fsconfig, open("/dev/null", O_RDONLY), CREATE_, NULL, NULL, 0));
  refuse(EINVAL, sys(fsconfig, -1, CREATE_, NULL, NULL, 0));
  refuse(EOPNOTSUPP, sys(fsconfig, 0, 99, NULL, NULL, 0));
}

static const struct check fsconfig_checks[] = {
    {.what = "takes options, names unknown ones, creates once", .run = fsconfig_sets, .who = ROOT, .config = "CONFIG_TMPFS"},
    {.what = "other files and unknown commands", .run = fsconfig_other_files},
};

static void fsmount_mounts(void) {
  own_mounts();
  int context = (int)tool(sys(fsopen, "tmpfs", 0));
  refuse(EINVAL, sys(fsmount, context, 0, 0)); // not created yet
  tool(sys(fsconfig, context, CREATE_, NULL, NULL, 0));
  refuse(EINVAL, sys(fsmount, context, 2, 0));
  refuse(EINVAL, sys(fsmount, context, 0, 1 << 20));
  int mount = (int)work(sys(fsmount, context, 1, ATTR_NOSUID_));
  struct statfs facts;
  work(fstatfs(mount, &facts) ? -errno : 0);
  equal(facts.f_type, 0x01021994); // TMPFS_MAGIC
  int file = openat(mount, "inside", O_CREAT | O_RDWR, 0600);
  hold(file >= 0, "no file can be made in it: %s", error_name(errno));
}

static const struct check fsmount_checks[] = {
    {.what = "makes a mount that hangs nowhere", .run = fsmount_mounts, .who = ROOT, .config = "CONFIG_TMPFS"},
    {GIVES("nobody mounts", EPERM, fsmount, 0, 0, 0), .who = NOBODY},
    {GIVES("no descriptor", EBADF, fsmount, -1, 0, 0), .who = ROOT},
    {GIVES("no context", EINVAL, fsmount, 0, 0, 0), .who = ROOT},
};

static void move_attaches(void) {
  own_mounts();
  int mount = new_tmpfs();
  struct statfs facts;
  work(sys(move_mount, mount, "", AT_FDCWD, place(), MOVE_FROM_EMPTY_));
  work(statfs(place(), &facts) ? -errno : 0);
  equal(facts.f_type, 0x01021994);
  refuse(EINVAL, sys(move_mount, AT_FDCWD, place(), AT_FDCWD, "/", 1U << 20));
  refuse(ENOENT, sys(move_mount, mount, "", AT_FDCWD, "/nowhere/at/all", MOVE_FROM_EMPTY_));
  refuse(ENOENT, sys(move_mount, mount, "", AT_FDCWD, place(), 0)); // an empty name, and no flag for it
}

static void move_into_itself(void) {
  int mount = attached_tmpfs();
  work(mkdirat(mount, "below", 0755) ? -errno : 0);
  char below[400];
  snprintf(below, sizeof below, "%s/below", place());
  refuse(ELOOP, sys(move_mount, mount, "", AT_FDCWD, below, MOVE_FROM_EMPTY_));
}

static const struct check move_checks[] = {
    {.what = "attaches a mount", .run = move_attaches, .who = ROOT, .config = "CONFIG_TMPFS"},
    {.what = "a mount into itself", .run = move_into_itself, .who = ROOT, .config = "CONFIG_TMPFS"},
    {GIVES("nobody moves mounts", EPERM, move_mount, AT_FDCWD, "/dev/null", AT_FDCWD, "/dev/null", 0), .who = NOBODY},
};

// ---- open_tree, mount_setattr, fspick ------------------------------------------------------------------------------

static void open_tree_clones(void) {
  int mount = attached_tmpfs();
  close(openat(mount, "inside", O_CREAT | O_WRONLY, 0600));
  int copy = (int)work(sys(open_tree, AT_FDCWD, place(), OPEN_TREE_CLONE_ | O_CLOEXEC));
  equal(tool(sys(fcntl, copy, F_GETFD)), FD_CLOEXEC);
  work(sys(faccessat, copy, "inside", F_OK));
  int same = (int)work(sys(open_tree, AT_FDCWD, place(), 0));
  work(sys(faccessat, same, "inside", F_OK));
}

static const struct check open_tree_checks[] = {
    {.what = "OPEN_TREE_CLONE copies a mount", .run = open_tree_clones, .who = ROOT, .config = "CONFIG_TMPFS"},
    {GIVES("an unknown flag", EINVAL, open_tree, AT_FDCWD, "/", 1U << 20)},
    {GIVES("AT_RECURSIVE without OPEN_TREE_CLONE", EINVAL, open_tree, AT_FDCWD, "/", 0x8000)},
    {GIVES("a missing file", ENOENT, open_tree, AT_FDCWD, "/nowhere/at/all", 0)},
    {GIVES("nobody copies mounts", EPERM, open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE_), .who = NOBODY},
    {GIVES("nobody may hold a place", 0, open_tree, AT_FDCWD, "/", 0), .who = NOBODY},
};

struct mount_attributes { // struct mount_attr
  uint64_t set, clear, propagation, namespace;
};

static void setattr_read_only(void) {
  int mount = attached_tmpfs();
  struct mount_attributes wanted = {.set = ATTR_RDONLY_};
  work(sys(mount_setattr, mount, "", AT_EMPTY_PATH, &wanted, sizeof wanted));
  refuse(EROFS, sys(openat, mount, "new", O_CREAT | O_WRONLY, 0600));
  wanted = (struct mount_attributes){.clear = ATTR_RDONLY_};
  work(sys(mount_setattr, mount, "", AT_EMPTY_PATH, &wanted, sizeof wanted));
  work(sys(openat, mount, "new", O_CREAT | O_WRONLY, 0600));
}

static void setattr_refused(void) {
  struct {
    struct mount_attributes first;
    uint64_t more;
  } wide = {.first = {.set = ATTR_RDONLY_}, .more = 1};
  int mount = attached_tmpfs();
  refuse(EINVAL, sys(mount_setattr, mount, "", AT_EMPTY_PATH, &wide, 24));
  refuse(E2BIG, sys(mount_setattr, mount, "", AT_EMPTY_PATH, &wide, sizeof wide));
  struct mount_attributes wanted = {.set = 1ULL << 40};
  refuse(EINVAL, sys(mount_setattr, mount, "", AT_EMPTY_PATH, &wanted, sizeof wanted));
  wanted = (struct mount_attributes){.propagation = MS_SHARED | MS_SLAVE};
  refuse(EINVAL, sys(mount_setattr, mount, "", AT_EMPTY_PATH, &wanted, sizeof wanted));
  wanted = (struct mount_attributes){.set = ATTR_RDONLY_};
  refuse(EINVAL, sys(mount_setattr, mount, "", 1U << 20, &wanted, sizeof wanted));
  work(mkdirat(mount, "below", 0755) ? -errno : 0);
  refuse(EINVAL, sys(mount_setattr, mount, "below", 0, &wanted, sizeof wanted)); // a folder is no mount
}

static const struct check setattr_checks[] = {
    {.what = "a mount becomes read-only and writable again", .run = setattr_read_only, .who = ROOT, .config = "CONFIG_TMPFS"},
    {.what = "sizes, unknown attributes and flags, two propagations, plain folders", .run = setattr_refused, .who = ROOT, .config = "CONFIG_TMPFS"},
    {GIVES("nobody changes mounts", EPERM, mount_setattr, AT_FDCWD, "/dev/null", 0, (uint64_t[4]){1}, 32), .who = NOBODY},
};

static void fspick_picks(void) {
  int mount = attached_tmpfs();
  int context = (int)work(sys(fspick, mount, "", 9)); // FSPICK_CLOEXEC | FSPICK_EMPTY_PATH
  equal(tool(sys(fcntl, context, F_GETFD)), FD_CLOEXEC);
  work(mkdirat(mount, "below", 0755) ? -errno : 0);
  refuse(EINVAL, sys(fspick, mount, "below", 0));
}

static const struct check fspick_checks[] = {
    {.what = "picks a mounted file system", .run = fspick_picks, .who = ROOT, .config = "CONFIG_TMPFS"},
    {GIVES("an unknown flag", EINVAL, fspick, AT_FDCWD, "/", 1U << 20), .who = ROOT},
    {GIVES("nobody reconfigures", EPERM, fspick, AT_FDCWD, "/", 0), .who = NOBODY},
};

// ---- mount, umount2, pivot_root, chroot ----------------------------------------------------------------------------

static void mount_mounts(void) {
  own_mounts();
  work(sys(mount, "none", place(), "tmpfs", MS_NOSUID, "size=1m"));
  int file = openat(AT_FDCWD, place(), O_RDONLY | O_DIRECTORY);
  refuse(EBUSY, sys(umount2, place(), 0)); // a file of it is open
  work(sys(umount2, place(), MNT_DETACH));
  close(file);
  refuse(EINVAL, sys(umount2, place(), 0)); // not mounted any more
}

static void mount_refused(void) {
  own_mounts();
  refuse(ENODEV, sys(mount, "none", place(), "no-such-fs", 0, NULL));
  refuse(ENOENT, sys(mount, "none", "/nowhere/at/all", "tmpfs", 0, NULL));
  refuse(ENOTDIR, sys(mount, "none", "/proc/self/status", "tmpfs", 0, NULL));
  refuse(EINVAL, sys(mount, "none", place(), "tmpfs", 0, "no-such-option=1"));
  refuse(EINVAL, sys(umount2, "/", 1 << 20));
}

static void bind_read_only(void) {
  own_mounts();
  work(sys(mount, place(), place(), NULL, MS_BIND, NULL));
  work(sys(mount, NULL, place(), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
  int at = openat(AT_FDCWD, place(), O_RDONLY | O_DIRECTORY);
  refuse(EROFS, sys(openat, at, "new", O_CREAT | O_WRONLY, 0600));
}

static const struct check mount_checks[] = {
    {.what = "mounts, is busy while a file is open, detaches", .run = mount_mounts, .who = ROOT, .config = "CONFIG_TMPFS"},
    {.what = "unknown file systems, places and options", .run = mount_refused, .who = ROOT, .config = "CONFIG_TMPFS"},
    {.what = "a read-only bind mount refuses writes", .run = bind_read_only, .who = ROOT},
    {GIVES("nobody mounts", EPERM, mount, "none", "/dev/null", "tmpfs", 0, 0), .who = NOBODY},
    {GIVES("nobody unmounts", EPERM, umount2, "/dev/null", 0), .who = NOBODY},
    {GIVES("nobody pivots", EPERM, pivot_root, "/tmp", "/tmp"), .who = NOBODY},
};

// ---- statmount, listmount ------------------------------------------------------------------------------------------

struct mount_request { // struct mnt_id_req, first version
  uint32_t size, spare;
  uint64_t mount, parameter;
};

static uint64_t root_mount(void) {
  uint64_t facts[32];
  tool(sys(statx, AT_FDCWD, "/", 0, 0x4000U, facts)); // STATX_MNT_ID_UNIQUE
  return facts[18];
}

static void statmount_tells(void) {
  struct mount_request request = {.size = 24, .mount = root_mount(), .parameter = 2}; // STATMOUNT_MNT_BASIC
  uint64_t facts[64] = {0};
  work(sys(statmount, &request, facts, sizeof facts, 0));
  hold(facts[1] & 2, "the answer lacks what was asked for");
  request.parameter = 32; // STATMOUNT_FS_TYPE: text behind the structure
  refuse(EOVERFLOW, sys(statmount, &request, facts, 8, 0));
}

static void statmount_refused(void) {
  struct mount_request request = {.size = 24, .mount = root_mount(), .parameter = 2};
  refuse(EINVAL, sys(statmount, &request, buffer, sizeof buffer, 1U << 20));
  request.size = 16;
  refuse(EINVAL, sys(statmount, &request, buffer, sizeof buffer, 0));
  request.size = 1 << 20;
  refuse(E2BIG, sys(statmount, &request, buffer, sizeof buffer, 0));
  request = (struct mount_request){.size = 24, .mount = 1ULL << 60, .parameter = 2};
  refuse(ENOENT, sys(statmount, &request, buffer, sizeof buffer, 0));
}

static const struct check statmount_checks[] = {
    {.what = "tells of the root mount", .run = statmount_tells},
    {.what = "flags, sizes and mounts that are none", .run = statmount_refused},
};

static void listmount_lists(void) {
  struct mount_request request = {.size = 24, .mount = ~0ULL}; // LSMT_ROOT
  uint64_t all[512] = {0};
  long count = work(sys(listmount, &request, all, 512, 0));
  hold(count >= 1, "no mount at all");
  own_mounts();
  tool(sys(mount, "none", place(), "tmpfs", 0, NULL));
  long more = work(sys(listmount, &request, all, 512, 0));
  hold(more >= 512 || more == count + 1, "%ld mounts before a mount, %ld after", count, more);
}

static void listmount_refused(void) {
  struct mount_request request = {.size = 24, .mount = ~0ULL};
  refuse(EINVAL, sys(listmount, &request, buffer, 10, 1U << 20));
  request.size = 16;
  refuse(EINVAL, sys(listmount, &request, buffer, 10, 0));
  request = (struct mount_request){.size = 24, .mount = 1ULL << 60};
  refuse(ENOENT, sys(listmount, &request, buffer, 10, 0));
}

static const struct check listmount_checks[] = {
    {.what = "a new mount is in the list", .run = listmount_lists, .who = ROOT},
    {.what = "flags, sizes and mounts that are none", .run = listmount_refused},
};

static void quota_of_no_file(void) {
  refuse(EBADF, sys(quotactl_fd, -1, 0x80000000U | 7 << 8, 0, buffer));
}

static const struct check quotactl_checks[] = {
    {.what = "no descriptor", .run = quota_of_no_file},
    {GIVES("an unknown kind of quota", EINVAL, quotactl_fd, 0, 99, 0, buffer)},
};

static const struct test_case cases[] = {
    {.id = "fsopen", .manual = "fsopen(2)", .number = NR_fsopen, .since = KERNEL(5, 2), CHECKS(fsopen_checks)},
    {.id = "fsconfig", .manual = "fsconfig(2)", .number = NR_fsconfig, .since = KERNEL(5, 2), CHECKS(fsconfig_checks)},
    {.id = "fsmount", .manual = "fsmount(2)", .number = NR_fsmount, .since = KERNEL(5, 2), CHECKS(fsmount_checks)},
    {.id = "move_mount", .manual = "move_mount(2)", .number = NR_move_mount, .since = KERNEL(5, 2), CHECKS(move_checks)},
    {.id = "open_tree", .manual = "open_tree(2)", .number = NR_open_tree, .since = KERNEL(5, 2), CHECKS(open_tree_checks)},
    {.id = "mount_setattr", .manual = "mount_setattr(2)", .number = NR_mount_setattr, .since = KERNEL(5, 12), CHECKS(setattr_checks)},
    {.id = "fspick", .manual = "fspick(2)", .number = NR_fspick, .since = KERNEL(5, 2), CHECKS(fspick_checks)},
    {.id = "mount", .manual = "mount(2), umount(2), pivot_root(2)", .number = NR_mount, CHECKS(mount_checks)},
    {.id = "statmount", .manual = "statmount(2)", .number = NR_statmount, .since = KERNEL(6, 8), CHECKS(statmount_checks)},
    {.id = "listmount", .manual = "listmount(2)", .number = NR_listmount, .since = KERNEL(6, 8), CHECKS(listmount_checks)},
    {.id = "quotactl_fd", .manual = "quotactl(2)", .number = NR_quotactl_fd, .since = KERNEL(5, 14), .config = "CONFIG_QUOTACTL", CHECKS(quotactl_checks)},
};
const struct chapter mounts = {cases, COUNT(cases)};
