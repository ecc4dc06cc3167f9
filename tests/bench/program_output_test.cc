#include "program_output.h"

#include <gtest/gtest.h>

#include "captured_outputs.h"

namespace tern::bench {
namespace {

TEST(LlamaBenchOutput, BitnetCppOf2024) {
  const auto tests = read_llama_bench(captured::kBitnetCpp, "bitnet.cpp");
  ASSERT_TRUE(tests) << tests.error().line();
  ASSERT_EQ(tests->size(), 2U);
  const auto prefill = find_test(*tests, 128, 0, 0, "bitnet.cpp");
  ASSERT_TRUE(prefill);
  EXPECT_EQ(prefill->seconds, (std::vector<double>{1084516179 * 1e-9, 1087858918 * 1e-9}));
  EXPECT_NEAR(128 / prefill->median_s(), 117.8436, 1e-3);
  const auto decode = find_test(*tests, 0, 32, 0, "bitnet.cpp");
  ASSERT_TRUE(decode);
  EXPECT_NEAR(32 / decode->median_s(), 28.7655, 1e-3);
}

TEST(LlamaBenchOutput, IkLlamaCppTimesTheDecodeOfAPairAlone) {
  const auto tests = read_llama_bench(captured::kIkLlamaCpp, "ik_llama.cpp");
  ASSERT_TRUE(tests) << tests.error().line();
  const auto pair = find_test(*tests, 64, 8, 0, "ik_llama.cpp");
  ASSERT_TRUE(pair);
  EXPECT_NEAR(8 / pair->median_s(), 22.6305, 1e-3);
}

TEST(LlamaBenchOutput, LlamaCppOfTodayHasADepthAndTalksBefore) {
  const auto tests = read_llama_bench(captured::kLlamaCpp, "llama.cpp");
  ASSERT_TRUE(tests) << tests.error().line();
  ASSERT_TRUE(find_test(*tests, 128, 0, 0, "llama.cpp"));
  EXPECT_FALSE(find_test(*tests, 128, 0, 2048, "llama.cpp"));
}

TEST(LlamaBenchOutput, TheTestAskedForHasToBeThereOnce) {
  const auto tests = read_llama_bench(captured::kBitnetCpp, "bitnet.cpp");
  ASSERT_TRUE(tests);
  const auto missing = find_test(*tests, 129, 0, 0, "bitnet.cpp");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(missing.error().line().find("bitnet.cpp"), std::string::npos);
  auto twice = *tests;
  twice.push_back(twice[0]);
  EXPECT_FALSE(find_test(twice, 128, 0, 0, "bitnet.cpp"));
}

TEST(LlamaBenchOutput, WithNoTestThereIsNothingToFind) {
  for (const char* output : {"", "llama-bench: command not found\n", "[\n]\n", "{\"n_prompt\": 128}\n"}) {
    const auto tests = read_llama_bench(output, "peer");
    ASSERT_TRUE(tests) << output;
    EXPECT_TRUE(tests->empty()) << output;
  }
}

TEST(LlamaBenchOutput, MalformedOutputIsAnError) {
  const std::string whole = captured::kBitnetCpp;
  const char* const bad[] = {
      "{\"n_prompt\": 1, \"n_gen\": 0, \"samples_ns\": [ ]}",
      "{\"n_prompt\": 1, \"n_gen\": 0, \"samples_ns\": [ 0 ]}",
      "{\"n_prompt\": 1, \"n_gen\": 0, \"samples_ns\": [ -5 ]}",
      "{\"n_prompt\": 1, \"n_gen\": 0, \"samples_ns\": [ 1e300 ]}",
      "{\"n_prompt\": 1, \"n_gen\": 0, \"samples_ns\": [ \"12\" ]}",
      "{\"n_prompt\": 1, \"n_gen\": 0, \"samples_ns\": 12}",
      "{\"n_prompt\": -1, \"n_gen\": 0, \"samples_ns\": [ 5 ]}",
      "{\"n_prompt\": 1.5, \"n_gen\": 0, \"samples_ns\": [ 5 ]}",
      "{\"n_prompt\": 99999999999999999999, \"n_gen\": 0, \"samples_ns\": [ 5 ]}",
      "{\"n_gen\": 0, \"samples_ns\": [ 5 ]}",
      "{\"n_prompt\": 1, \"n_gen\": 0, \"n_depth\": \"deep\", \"samples_ns\": [ 5 ]}",
      "{ not JSON }",
      "{\"a\": \"no end}",
      "{",
  };
  for (const char* output : bad) {
    const auto tests = read_llama_bench(output, "peer");
    ASSERT_FALSE(tests) << output;
    EXPECT_EQ(tests.error().code, ErrorCode::kInvalidInput);
    EXPECT_TRUE(tests.error().line().starts_with("peer")) << tests.error().line();
  }
  EXPECT_FALSE(read_llama_bench(whole.substr(0, whole.size() / 4), "peer"));
}

TEST(JsonObjects, AreFoundBetweenLinesOfOtherText) {
  const auto objects =
      json_objects_in("warning: {\"not\": 1}\n  {\"a\": \"}{\\\"\"}, {\"same line\": 2}\n{\"b\": {}}", "p");
  ASSERT_TRUE(objects) << objects.error().line();
  ASSERT_EQ(objects->size(), 2U);
  EXPECT_EQ((*objects)[0]["a"], "}{\"");
  EXPECT_TRUE((*objects)[1].contains("b"));
}

TEST(JsonObjects, AFloodIsRefused) {
  std::string flood;
  for (int i = 0; i < 1001; ++i) flood += "{}\n";
  EXPECT_FALSE(json_objects_in(flood, "p"));
}

TEST(DepthOptionInHelp, IsWhatTheProgramOffers) {
  EXPECT_EQ(depth_option_in_help("  -pg <pp,tg>     (default: )\n  -d, --n-depth <n>     (default: 0)\n"),
            DepthOption::kDepth);
  EXPECT_EQ(depth_option_in_help("  -pg <pp,tg>     (default: )\n  -gp <pp,tg>     (default: )\n"),
            DepthOption::kPrefilledPair);
  EXPECT_EQ(depth_option_in_help("  -pg <pp,tg>     (default: )\n"), DepthOption::kNone);
}

TEST(BatchedBenchOutput, HoldsTheDecodeAlone) {
  const auto speed = read_batched_bench(captured::kBatchedBench, 64, 8, "bitnet.cpp");
  ASSERT_TRUE(speed) << speed.error().line();
  EXPECT_NEAR(*speed, 27.343, 1e-3);
  EXPECT_FALSE(read_batched_bench(captured::kBatchedBench, 2048, 8, "bitnet.cpp"));
  EXPECT_FALSE(read_batched_bench(captured::kBatchedBench, 64, 32, "bitnet.cpp"));
  EXPECT_FALSE(read_batched_bench("llama-batched-bench: out of memory", 64, 8, "bitnet.cpp"));
  EXPECT_FALSE(read_batched_bench(R"({"pp": 64, "tg": 8, "pl": 1, "speed_tg": 1, "t_tg": 0})", 64, 8, "bitnet.cpp"));
}

TEST(TernBenchOutput, Both) {
  const auto figures = read_tern_bench(
      R"({"prefill":{"n":128,"tokens_per_s":214.9},"decode":{"n":32,"tokens_per_s":25.5,"depth":1},"load_s":0.1})",
      "tern");
  ASSERT_TRUE(figures) << figures.error().line();
  EXPECT_DOUBLE_EQ(figures->prefill_tokens_per_s, 214.9);
  EXPECT_DOUBLE_EQ(figures->decode_tokens_per_s, 25.5);
  const auto copied =
      read_tern_bench(R"({"prefill":{"tokens_per_s":1},"decode":{"tokens_per_s":1},"head_copy_s":0.25})", "tern");
  ASSERT_TRUE(copied);
  EXPECT_DOUBLE_EQ(copied->head_copy_s, 0.25);
  EXPECT_FALSE(
      read_tern_bench(R"({"prefill":{"tokens_per_s":1},"decode":{"tokens_per_s":1},"head_copy_s":-1})", "tern"));
  EXPECT_FALSE(read_tern_bench("", "tern"));
  EXPECT_FALSE(read_tern_bench(R"({"prefill":{"tokens_per_s":1}})", "tern"));
  EXPECT_FALSE(read_tern_bench(R"({"prefill":{"tokens_per_s":null},"decode":{"tokens_per_s":1}})", "tern"));
  EXPECT_FALSE(read_tern_bench(R"({"prefill":7,"decode":{"tokens_per_s":1}})", "tern"));
}

TEST(GemmProgramOutput, AverageInMilliseconds) {
  const auto milliseconds = read_gemm_program(captured::kGemmProgram, "gemm");
  ASSERT_TRUE(milliseconds) << milliseconds.error().line();
  EXPECT_DOUBLE_EQ(*milliseconds, 3.489);
  for (const char* output : {"", "Average time", "Average time  :", "Average time  : fast", "Average time  : 3.4 us",
                             "Average time  : -1 ms", "Average time  : 0.000 ms", "Average time  : nan ms",
                             "Average time  : inf ms", "Average time\n : 3.4 ms"}) {
    EXPECT_FALSE(read_gemm_program(output, "gemm")) << output;
  }
}

TEST(GoogleBenchmarkReport, OneBenchmarkInAnyUnit) {
  const auto report = [](const char* unit) {
    return std::string(R"({"context": {}, "benchmarks": [{"name": "a", "real_time": 2.5, "time_unit": ")") + unit +
           "\"}]}";
  };
  EXPECT_DOUBLE_EQ(read_google_benchmark(report("ms"), "b").value(), 2.5);
  EXPECT_DOUBLE_EQ(read_google_benchmark(report("us"), "b").value(), 2.5e-3);
  EXPECT_DOUBLE_EQ(read_google_benchmark(report("ns"), "b").value(), 2.5e-6);
  EXPECT_FALSE(read_google_benchmark(report("fortnight"), "b"));
  EXPECT_FALSE(read_google_benchmark(R"({"benchmarks": []})", "b"));
  EXPECT_FALSE(read_google_benchmark(R"({"benchmarks": [1]})", "b"));
  EXPECT_FALSE(read_google_benchmark("", "b"));
}

TEST(ContractResult, TimingAndCounts) {
  const auto timing = read_contract_result(
      R"({"prompt_tokens":[1,2,3],"generated_tokens":[4,5],"timing":{"load_s":1,"prefill_s":0.5,"decode_s":0.25}})",
      "r");
  ASSERT_TRUE(timing) << timing.error().line();
  EXPECT_EQ(timing->n_prompt, 3);
  EXPECT_EQ(timing->n_generated, 2);
  EXPECT_DOUBLE_EQ(timing->prefill_s, 0.5);
  EXPECT_DOUBLE_EQ(timing->decode_s, 0.25);
  EXPECT_FALSE(read_contract_result(R"({"prompt_tokens":[1],"generated_tokens":[4],"timing":{}})", "r"));
  EXPECT_FALSE(read_contract_result(R"({"prompt_tokens":[1],"generated_tokens":[4]})", "r"));
  EXPECT_FALSE(read_contract_result("[]", "r"));
}

TEST(Median, MiddleOrMeanOfTheMiddleTwo) {
  EXPECT_DOUBLE_EQ(median({3}), 3);
  EXPECT_DOUBLE_EQ(median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({4, 1, 2, 3}), 2.5);
}

}  // namespace
}  // namespace tern::bench
