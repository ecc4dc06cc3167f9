// Each fault changes what it says and nothing before it.
#include "tern/oracle/faults.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "engine/small_model.h"
#include "support/paths.h"
#include "tern/trace/run_folder.h"

namespace tern::oracle {
namespace {

namespace fs = std::filesystem;

const std::vector<int32_t> kPrompt = {1, 5, 9, 3, 7, 2};

struct Outcome {
  std::vector<trace::TraceRecord> records;
  std::vector<float> logits;
};

Outcome evaluate(Oracle& oracle, std::span<const int32_t> tokens, bool watched = true) {
  trace::MemoryRecorder recorder;
  const auto logits = oracle.evaluate(tokens, 0, 0, watched ? &recorder : nullptr);
  EXPECT_TRUE(logits) << logits.error().line();
  return {recorder.records(), {logits->begin(), logits->end()}};
}

std::string first_difference(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.records.size(), b.records.size());
  for (size_t i = 0; i < std::min(a.records.size(), b.records.size()); ++i) {
    EXPECT_EQ(a.records[i].id.name(), b.records[i].id.name());
    if (a.records[i].blake3 != b.records[i].blake3) {
      return a.records[i].id.name();
    }
  }
  return {};
}

// Neighbouring heads share keys, and there are several groups of them.
bool has_shared_heads(const Hyperparameters& h) { return h.n_kv_heads > 1 && h.n_heads > h.n_kv_heads; }

// Every model of the recordings once.
class Faults : public testing::Test {
 protected:
  void SetUp() override {
    std::set<fs::path> paths;
    for (const auto& golden : test::golden_cases()) {
      paths.insert(golden.model_path);
    }
    for (const fs::path& path : paths) {
      auto view = gguf::View::open(path);
      ASSERT_TRUE(view) << view.error().line();
      views_.push_back(std::move(*view));
    }
    ASSERT_GE(views_.size(), 3U);
  }

  static Oracle plain(const gguf::View& view) {
    auto oracle = Oracle::load(view);
    EXPECT_TRUE(oracle) << oracle.error().line();
    return std::move(*oracle);
  }
  static std::unique_ptr<Oracle> faulty(const gguf::View& view, std::string_view fault, int n_threads = 1) {
    const Fault* const found = find_fault(fault);
    EXPECT_NE(found, nullptr) << fault;
    return found->make(plain(view), {n_threads, std::nullopt});
  }
  static std::string first_difference_of(const gguf::View& view, std::string_view fault) {
    Oracle right = plain(view);
    return first_difference(evaluate(right, kPrompt), evaluate(*faulty(view, fault), kPrompt));
  }

  std::vector<gguf::View> views_;
};

using FaultsDeep = Faults;

TEST_F(FaultsDeep, EachStartsWhereItSays) {
  for (const gguf::View& view : views_) {
    const int middle = plain(view).hyperparameters().n_layers / 2;
    const std::map<std::string, std::string> expected = {
        {"activation_function", "blk0/ffn_act"},
        {"activation_gelu", "blk0/ffn_act"},
        {"activation_relu", "blk0/ffn_act"},
        {"activation_rounding", "blk0/q_proj"},
        {"activation_not_rounded", "blk0/q_proj"},
        {"i2s_unpack_order", "blk0/q_proj"},
        {"weight_scale", "blk0/q_proj"},
        {"weights_swapped", "blk0/gate_proj"},
        {"qk_row_permutation", "blk0/q_proj"},
        {"qk_row_permutation_undone", "blk0/q_proj"},
        {"rope_position_behind", ""},  // the first pass is right
        {"head_tying", view.find_tensor("output.weight") != nullptr ? "logits" : ""},
        {"rope_base", "blk0/q_rope"},
        {"rope_position", "blk0/q_rope"},
        {"attention_scale", "blk0/attn_scores_softmax"},
        {"attention_not_scaled", "blk0/attn_scores_softmax"},
        {"gqa_head_map", has_shared_heads(plain(view).hyperparameters()) ? "blk0/attn_scores_softmax" : ""},
        {"kv_cache", ""},  // a prefill is right
        {"norm_epsilon", "blk0/attn_norm"},
        {"norm_doubled", "blk0/attn_norm"},
        {"rope_scaling", "blk0/q_rope"},
        {"causal_mask_short", "blk0/attn_scores_softmax"},
        {"kv_cache_stale", ""},  // a prefill is right
        {"ternary_code_shift", "blk0/q_proj"},
        {"weights_transposed", "blk0/q_proj"},
        {"i2s_block_size", "blk0/q_proj"},
        {"prefill_only", "blk0/q_proj"},
        {"int16_wrap", ""},  // rows of these models are too short to wrap
        {"nondeterministic", "blk0/attn_norm"},
        {"thread_dependent", "blk0/attn_norm"},
        {"nan", "blk" + std::to_string(middle) + "/out"},
        {"all_zero", "blk" + std::to_string(middle) + "/v_proj"},
        {"rope_pairing", "blk0/q_rope"},
        {"causal_mask", "blk0/attn_scores_softmax"},
        {"ternary_code_map", "blk0/q_proj"},
    };
    EXPECT_EQ(expected.size() + 2, known_faults().size())
        << "observer_changes_result and norm_missing have tests of their own";
    for (const auto& [fault, stage] : expected) {
      EXPECT_EQ(first_difference_of(view, fault), stage) << fault << " in " << view.name();
    }
  }
}

TEST_F(Faults, TheTableIsComplete) {
  std::set<std::string_view> names;
  for (const Fault& fault : known_faults()) {
    EXPECT_TRUE(names.insert(fault.name).second) << fault.name << " stands twice";
    EXPECT_FALSE(fault.does.empty());
    EXPECT_EQ(find_fault(fault.name), &fault);
    EXPECT_NE(fault.make(plain(views_[0]), {2, std::nullopt}), nullptr);
  }
  EXPECT_EQ(find_fault("activation"), nullptr);
  EXPECT_EQ(find_fault(""), nullptr);
}

TEST_F(Faults, AWrongConstantCanBeChosen) {
  const gguf::View& view = views_[0];
  const double base = plain(view).hyperparameters().rope_base;
  const auto q_rope_with = [&](const std::string& name) {
    const auto chosen = parse_fault(name);
    EXPECT_TRUE(chosen) << chosen.error().line();
    for (const auto& record : evaluate(*chosen->fault->make(plain(view), {1, chosen->value}), kPrompt).records) {
      if (record.id.name() == "blk0/q_rope") return record.blake3;
    }
    return std::string();
  };
  const std::string own = q_rope_with(fmt::format("rope_base={}", base));
  const std::string another = base == 10000 ? "rope_base=5e5" : "rope_base=1e4";
  EXPECT_EQ(q_rope_with("rope_base"), q_rope_with(another));
  EXPECT_NE(q_rope_with("rope_base"), own);
  EXPECT_NE(q_rope_with("rope_base=1e6"), q_rope_with("rope_base"));
  EXPECT_EQ(q_rope_with("rope_scaling=1"), own);
  EXPECT_EQ(q_rope_with("rope_scaling=4"), q_rope_with("rope_scaling"));
  for (const char* text : {"", "rope", "rope_base=", "rope_base=0", "rope_base=-1", "rope_base=1e6x", "rope_base=nan",
                           "rope_base=inf", "rope_pairing=2"}) {
    const auto chosen = parse_fault(text);
    ASSERT_FALSE(chosen) << text;
    EXPECT_EQ(chosen.error().code, ErrorCode::kUsage) << text;
  }
}

// Neither is the other one: heads are of more than four features.
TEST_F(Faults, TheRowsOfQAndKAreReorderedInTwoWays) {
  for (const gguf::View& view : views_) {
    std::set<std::string> hashes;
    for (const char* name : {"qk_row_permutation", "qk_row_permutation_undone"}) {
      for (const auto& record : evaluate(*faulty(view, name), kPrompt).records) {
        if (record.id.name() == "blk0/q_proj") hashes.insert(record.blake3);
      }
    }
    EXPECT_EQ(hashes.size(), 2U);
  }
}

TEST_F(Faults, PositionsLagFromTheSecondPassOn) {
  const gguf::View& view = views_[0];
  Oracle right = plain(view);
  const auto wrong = faulty(view, "rope_position_behind");
  EXPECT_EQ(first_difference(evaluate(right, kPrompt), evaluate(*wrong, kPrompt)), "");
  const int32_t next = 4;
  EXPECT_EQ(first_difference(evaluate(right, std::span(&next, 1)), evaluate(*wrong, std::span(&next, 1))),
            "blk0/q_rope");
}

TEST_F(Faults, PrefillOnlyIsRightTokenByToken) {
  for (const gguf::View& view : views_) {
    Oracle right = plain(view);
    const auto wrong = faulty(view, "prefill_only");
    for (const int32_t token : kPrompt) {
      EXPECT_EQ(first_difference(evaluate(right, std::span(&token, 1)), evaluate(*wrong, std::span(&token, 1))), "");
    }
    Oracle right_for_two = plain(view);
    const auto two = std::span(kPrompt).first(2);
    EXPECT_NE(evaluate(right_for_two, two).logits, evaluate(*faulty(view, "prefill_only"), two).logits);
  }
}

TEST_F(Faults, AnObserverChangesTheResultByLittle) {
  for (const gguf::View& view : views_) {
    Oracle right = plain(view);
    const auto unwatched = evaluate(*faulty(view, "observer_changes_result"), kPrompt, false).logits;
    EXPECT_EQ(unwatched, evaluate(right, kPrompt, false).logits);
    const Outcome watched = evaluate(*faulty(view, "observer_changes_result"), kPrompt);
    ASSERT_EQ(watched.logits.size(), unwatched.size());
    EXPECT_NE(watched.logits, unwatched);
    double largest = 0;
    for (size_t i = 0; i < unwatched.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(watched.logits[i]) - static_cast<double>(unwatched[i])));
    }
    EXPECT_LT(largest, 0.5) << view.name();
    std::printf("%s: watched logits differ by up to %.2e\n", view.name().c_str(), largest);
  }
}

TEST_F(Faults, AMissingNormIsFirstSeenBehindIt) {
  for (const gguf::View& view : views_) {
    Oracle right = plain(view);
    const Outcome expected = evaluate(right, kPrompt);
    const Outcome outcome = evaluate(*faulty(view, "norm_missing"), kPrompt);
    const auto without_norms = [](const Outcome& all) {
      Outcome rest;
      std::copy_if(all.records.begin(), all.records.end(), std::back_inserter(rest.records), [](const auto& record) {
        return record.id.stage != trace::Stage::kAttnSubNorm && record.id.stage != trace::Stage::kFfnSubNorm;
      });
      return rest;
    };
    EXPECT_EQ(first_difference(without_norms(outcome), without_norms(expected)),
              right.hyperparameters().sub_norms ? "blk0/o_proj" : "");
  }
}

TEST_F(Faults, KvCacheIsWrongInDecodeStepsOnly) {
  for (const gguf::View& view : views_) {
    Oracle right = plain(view);
    const auto wrong = faulty(view, "kv_cache");
    EXPECT_EQ(first_difference(evaluate(*wrong, kPrompt), evaluate(right, kPrompt)), "");
    const std::vector<int32_t> next = {4};
    EXPECT_EQ(first_difference(evaluate(*wrong, next), evaluate(right, next)), "blk0/attn_scores_softmax");
  }
}

TEST_F(Faults, RunsAndThreadsDifferOnlyWhereTheyShould) {
  for (const gguf::View& view : views_) {
    EXPECT_NE(first_difference(evaluate(*faulty(view, "nondeterministic"), kPrompt),
                               evaluate(*faulty(view, "nondeterministic"), kPrompt)),
              "");
    const Outcome one = evaluate(*faulty(view, "thread_dependent", 1), kPrompt);
    EXPECT_EQ(first_difference(one, evaluate(*faulty(view, "thread_dependent", 1), kPrompt)), "");
    EXPECT_NE(first_difference(one, evaluate(*faulty(view, "thread_dependent", 4), kPrompt)), "");
    EXPECT_EQ(evaluate(*faulty(view, "thread_dependent", 100000), kPrompt).records.size(), one.records.size());
  }
}

TEST_F(Faults, NanAndZeroAreThroughout) {
  for (const gguf::View& view : views_) {
    const Outcome nan = evaluate(*faulty(view, "nan"), kPrompt);
    EXPECT_TRUE(std::all_of(nan.logits.begin(), nan.logits.end(), [](float x) { return std::isnan(x); }));
    const Outcome zero = evaluate(*faulty(view, "all_zero"), kPrompt);
    const auto n_zero =
        std::count_if(zero.records.begin(), zero.records.end(), [](const auto& r) { return r.rms == 0; });
    EXPECT_GE(n_zero, 2) << "v_proj, and attn_out, which mixes it";
  }
}

// One layer 2560 wide whose weights are all +1 and whose activations are all equal: 16-bit lanes wrap.
void write_constant_model(const fs::path& path) {
  test::SmallModel model("llama", &quant::kI2sBitnetCpp);
  model.set("llama.embedding_length", uint32_t{2560});
  model.set("llama.attention.head_count", uint32_t{20});
  model.set("llama.feed_forward_length", uint32_t{128});
  gguf::Header header;
  header.metadata = model.metadata;
  for (auto& tensor : model.tensors) {
    for (uint64_t& dim : tensor.dims) {
      dim = dim == 64 ? 2560 : dim == 32 || dim == 96 ? 128 : dim;
    }
    header.add_tensor(tensor.name, tensor.dims, *tensor.format);
  }
  auto writer = gguf::Writer::create(path, header);
  ASSERT_TRUE(writer) << writer.error().line();
  const float one = 1.0F;
  for (const auto& tensor : header.tensors) {
    std::vector<std::byte> bytes(tensor.n_bytes, std::byte{0xaa});
    const bool ternary = tensor.name.starts_with("blk.") && !tensor.name.ends_with("norm.weight");
    for (size_t at = ternary ? bytes.size() - 32 : 0; at < bytes.size(); at += 4) {
      std::memcpy(bytes.data() + at, &one, 4);
    }
    ASSERT_TRUE(writer->append(bytes));
  }
  ASSERT_TRUE(writer->commit());
}

TEST(Int16Wrap, WrapsWhereRowsAreLongAndOfOneSign) {
  const test::TemporaryFolder folder;
  write_constant_model(folder.path() / "m.gguf");
  const auto view = gguf::View::open(folder.path() / "m.gguf");
  ASSERT_TRUE(view) << view.error().line();
  auto right = Oracle::load(*view);
  ASSERT_TRUE(right) << right.error().line();
  const auto wrong = find_fault("int16_wrap")->make(*right, {});
  trace::MemoryRecorder rights(true), wrongs(true);
  const std::vector<int32_t> token = {1};
  ASSERT_TRUE(right->evaluate(token, 0, 0, &rights));
  ASSERT_TRUE(wrong->evaluate(token, 0, 0, &wrongs));
  ASSERT_EQ(rights.records()[1].id.name(), "blk0/attn_norm");
  EXPECT_EQ(rights.records()[1].blake3, wrongs.records()[1].blake3);
  ASSERT_EQ(rights.records()[2].id.name(), "blk0/q_proj");
  // 2560 activations of 127, one unit of them is about 1/127: 2560. In each of 16 lanes 160 columns add 2 * 127, 40640
  // in all, which wraps to -24896; the 2560 * 127 that are taken off belong to codes that are 1 too large.
  EXPECT_NEAR(static_cast<double>(rights.values()[2][0]), 2560, 0.1);
  EXPECT_NEAR(static_cast<double>(wrongs.values()[2][0]), (16 * -24896 - 2560 * 127) / 127.0, 0.1);
}

// The recording whose 16-bit lanes wrapped: with this fault the oracle computes what bitnet.cpp did.
TEST(Int16Wrap, ExplainsTheRecordingThatWrapped) {
  size_t n_stages = 0;
  for (const auto& golden : test::golden_cases(true)) {
    if (golden.model != "wide-constant-i2_s") {
      continue;
    }
    const auto run = trace::read_run_folder(golden.folder);
    const auto view = gguf::View::open(golden.model_path);
    ASSERT_TRUE(run && view);
    const Oracle right = Oracle::load(*view).value();
    trace::MemoryRecorder rights, wrongs;
    ASSERT_TRUE(Oracle(right).evaluate(run->result.prompt_tokens, 0, 0, &rights));
    ASSERT_TRUE(find_fault("int16_wrap")->make(right, {})->evaluate(run->result.prompt_tokens, 0, 0, &wrongs));
    for (size_t i = 0; i < wrongs.records().size(); ++i, ++n_stages) {
      const auto& record = wrongs.records()[i];
      const double recorded = run->find(record.id)->rms.value();
      EXPECT_NEAR(record.rms.value(), recorded, 0.02 * recorded) << record.id.name();
      if (record.id.name() == "blk0/q_proj") {
        EXPECT_GT(std::abs(rights.records()[i].rms.value() - recorded), 0.5 * recorded);
      }
    }
  }
  ASSERT_GT(n_stages, 0U) << "no recording of wide-constant-i2_s in " << test::golden_dir();
  std::printf("%zu stages explained\n", n_stages);
}

}  // namespace
}  // namespace tern::oracle
