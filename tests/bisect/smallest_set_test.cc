#include "tern/bisect/smallest_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace tern::bisect {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Changes = std::vector<size_t>;

bool has_all(const Changes& changes, const Changes& wanted) {
  return std::includes(changes.begin(), changes.end(), wanted.begin(), wanted.end());
}

// Counts its calls, and checks that no set is tested twice.
struct Counted {
  std::function<Outcome(const Changes&)> test;
  std::set<Changes> asked = {};

  Changes find(size_t n) {
    const auto found = smallest_bad_set(n, [this](const Changes& changes) -> Result<Outcome> {
      EXPECT_TRUE(asked.insert(changes).second) << "asked twice";
      EXPECT_TRUE(std::is_sorted(changes.begin(), changes.end()));
      return test(changes);
    });
    EXPECT_TRUE(found);
    return found.value_or(Changes());
  }
};

Outcome bad_if(bool bad) { return bad ? Outcome::kBad : Outcome::kGood; }

TEST(SmallestSet, OneCulpritIsFoundByHalving) {
  for (const size_t n : {1U, 2U, 3U, 7U, 300U}) {
    for (const size_t culprit : {size_t{0}, n / 2, n - 1}) {
      Counted search{[&](const Changes& changes) { return bad_if(has_all(changes, {culprit})); }};
      EXPECT_THAT(search.find(n), ElementsAre(culprit));
      EXPECT_LE(search.asked.size(), 20U) << n;
    }
  }
}

TEST(SmallestSet, CulpritsThatNeedEachOtherAreFoundTogether) {
  Counted pair{[](const Changes& changes) { return bad_if(has_all(changes, {2, 90})); }};
  EXPECT_THAT(pair.find(100), ElementsAre(2, 90));
  Counted three{[](const Changes& changes) { return bad_if(has_all(changes, {0, 13, 29})); }};
  EXPECT_THAT(three.find(30), ElementsAre(0, 13, 29));
  Counted all{[](const Changes& changes) { return bad_if(changes.size() == 5); }};
  EXPECT_THAT(all.find(5), ElementsAre(0, 1, 2, 3, 4));
}

// Either of two is enough: one is the answer, not both.
TEST(SmallestSet, NothingThatCouldBeLeftOutStays) {
  Counted search{[](const Changes& changes) { return bad_if(has_all(changes, {3}) || has_all(changes, {11})); }};
  EXPECT_EQ(search.find(16).size(), 1U);
}

// 4 cannot be tested without 5.
TEST(SmallestSet, WhatCannotBeTestedIsNoAnswer) {
  Counted search{[](const Changes& changes) {
    return has_all(changes, {4}) && !has_all(changes, {5}) ? Outcome::kUntestable : bad_if(has_all(changes, {4}));
  }};
  EXPECT_THAT(search.find(12), ElementsAre(4, 5));
}

TEST(SmallestSet, AnErrorEndsTheSearch) {
  size_t n_asked = 0;
  const auto found = smallest_bad_set(8, [&](const Changes&) -> Result<Outcome> {
    ++n_asked;
    return fail(ErrorCode::kIo, "disk", "full");
  });
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().where, "disk");
  EXPECT_EQ(n_asked, 1U);
}

}  // namespace
}  // namespace tern::bisect
