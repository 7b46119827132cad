#include <gtest/gtest.h>
#include <stdlib.h>
#include <stdio.h>
TEST(Open, Works) { EXPECT_EQ(1, 1); }
TEST(Open, Prints) { printf("no end of line"); fflush(stdout); }
TEST(Open, Skips) { GTEST_SKIP() << "needs a device"; }
#ifdef BAD
TEST(Open, Fails) { EXPECT_EQ(1, 2) << "why"; EXPECT_TRUE(false); }
#endif
TEST(Open, DISABLED_Later) { FAIL(); }
class P : public ::testing::TestWithParam<int> {};
TEST_P(P, Fits) { EXPECT_LT(GetParam(), LIMIT); }
INSTANTIATE_TEST_SUITE_P(All, P, ::testing::Values(1, 2, 3));
template <typename T> class Typed : public ::testing::Test {};
using Types = ::testing::Types<int, char>;
TYPED_TEST_SUITE(Typed, Types);
TYPED_TEST(Typed, Small) { EXPECT_LE(sizeof(TypeParam), 8u); }
#ifdef CRASH
TEST(Zed, Crashes) { fflush(stdout); abort(); }
TEST(Zed, Exits) { exit(0); }
#endif
TEST(Death, Dies) { EXPECT_DEATH({ fprintf(stderr, "bye\n"); abort(); }, "bye"); }
