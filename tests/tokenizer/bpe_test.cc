// The queue-driven merging against the plain definition: while any neighbours can be joined, join the lowest-ranked,
// leftmost pair.
#include "tern/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tern/tokenizer/text/unicode.h"

namespace tern::tokenizer {
namespace {

struct RandomBpe {
  Vocabulary vocabulary;
  Bpe bpe;
  std::map<std::pair<int32_t, int32_t>, std::pair<uint32_t, int32_t>> merges;
};

// Single bytes and random joins of tokens over a three-letter alphabet. Ways that lead to the same spelling are left
// out: there the real programs deviate from the plain definition (see Bpe::still_holds).
RandomBpe random_bpe(std::mt19937& random) {
  RandomBpe made;
  std::vector<std::string> tokens;
  const auto add = [&](const std::string& spelled) {
    EXPECT_TRUE(made.vocabulary.add(static_cast<int64_t>(tokens.size()), spelled, Vocabulary::kModel,
                                    [] { return std::string(); }));
    tokens.push_back(spelled);
  };
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelled;
    append_spelling_of_bytes(std::string(1, static_cast<char>(byte)), spelled);
    add(spelled);
  }
  uint32_t rank = 0;
  for (int i = 0; i < 40; ++i) {
    const auto pick = [&] {
      const size_t index = random() % (3 + tokens.size() - 256);
      return static_cast<int32_t>(index < 3 ? 'a' + index : 253 + index);
    };
    const int32_t left = pick();
    const int32_t right = pick();
    const std::string joined = tokens[static_cast<size_t>(left)] + tokens[static_cast<size_t>(right)];
    if (made.vocabulary.find(joined)) {
      continue;
    }
    add(joined);
    EXPECT_EQ(made.bpe.add_merge(made.vocabulary, rank, tokens[static_cast<size_t>(left)],
                                 tokens[static_cast<size_t>(right)]),
              Bpe::MergeOutcome::kAdded);
    made.merges[{left, right}] = {rank++, static_cast<int32_t>(tokens.size() - 1)};
  }
  made.bpe.set_byte_tokens(made.vocabulary);
  return made;
}

std::vector<int32_t> by_definition(const RandomBpe& bpe, const std::string& text) {
  std::vector<int32_t> ids(text.begin(), text.end());
  for (;;) {
    size_t best = ids.size();
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto merge = bpe.merges.find({ids[i], ids[i + 1]});
      if (merge != bpe.merges.end() &&
          (best == ids.size() || merge->second.first < bpe.merges.at({ids[best], ids[best + 1]}).first)) {
        best = i;
      }
    }
    if (best == ids.size()) {
      return ids;
    }
    ids[best] = bpe.merges.at({ids[best], ids[best + 1]}).second;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

TEST(Bpe, EqualsTheDefinition) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const RandomBpe bpe = random_bpe(random);
    for (int i = 0; i < 20; ++i) {
      std::string text(random() % 40, ' ');
      for (char& c : text) {
        c = static_cast<char>('a' + random() % 3);
      }
      std::vector<int32_t> ids;
      ASSERT_TRUE(bpe.bpe.encode(bpe.vocabulary, text, ids));
      ASSERT_EQ(ids, by_definition(bpe, text)) << text;
    }
  }
}

TEST(Bpe, MergesAreToldApart) {
  Vocabulary vocabulary;
  const auto nowhere = [] { return std::string(); };
  ASSERT_TRUE(vocabulary.add(0, "a", Vocabulary::kModel, nowhere));
  ASSERT_TRUE(vocabulary.add(1, "aa", Vocabulary::kModel, nowhere));
  Bpe bpe;
  EXPECT_EQ(bpe.add_merge(vocabulary, 0, "a", "a"), Bpe::MergeOutcome::kAdded);
  EXPECT_EQ(bpe.add_merge(vocabulary, 1, "a", "a"), Bpe::MergeOutcome::kListedTwice);
  EXPECT_EQ(bpe.add_merge(vocabulary, 2, "a", "b"), Bpe::MergeOutcome::kUnusable);
  EXPECT_EQ(bpe.add_merge(vocabulary, 3, "aa", "a"), Bpe::MergeOutcome::kNoJoinedToken);
}

TEST(MergeTable, GrowsAndFindsAll) {
  MergeTable table;
  for (int32_t i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(table.add(i % 100, i / 100, {static_cast<uint32_t>(i), i}));
  }
  EXPECT_FALSE(table.add(5, 7, {1, 1}));
  EXPECT_EQ(table.size(), 10'000u);
  for (int32_t i = 0; i < 10'000; ++i) {
    const auto* merge = table.find(i % 100, i / 100);
    ASSERT_NE(merge, nullptr);
    EXPECT_EQ(merge->joined, i);
  }
  EXPECT_EQ(table.find(100, 0), nullptr);
}

}  // namespace
}  // namespace tern::tokenizer
