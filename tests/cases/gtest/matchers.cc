// Checks of system calls in the way of gVisor's syscall tests: a matcher for each call, many tests run by a filter or shard.
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

MATCHER(Succeeds, "is a call that succeeds") {
  if (arg >= 0) return true;
  *result_listener << "with errno " << strerrorname_np(errno) << " (" << strerror(errno) << ")";
  return false;
}
MATCHER_P(FailsWith, wanted, "is a call that fails with errno " + std::to_string(wanted)) {
  *result_listener << "with errno " << errno;
  return arg == -1 && errno == wanted;
}
TEST(OpenTest, OfNothing) { EXPECT_THAT(open("/nowhere", O_RDONLY), FailsWith(ENOENT)); }
TEST(OpenTest, OfNull) { EXPECT_THAT(open("/nowhere/null", O_RDONLY), Succeeds()) << "the device of nothing"; }
TEST(ForkTest, ChildDies) {
  const pid_t child = fork();
  if (child == 0) _exit(139);
  int status = 0;
  ASSERT_THAT(waitpid(child, &status, 0), Succeeds());
  EXPECT_THAT(WEXITSTATUS(status), ::testing::AllOf(::testing::Ge(0), ::testing::Lt(128)));
}
TEST(MemoryTest, NeedsAccount) { GTEST_SKIP() << "only in a sandbox"; }
