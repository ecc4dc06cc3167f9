#include "tern/bisect/hybrid_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/gguf/writer.h"
#include "tern/synth/synthetic_model.h"

namespace tern::bisect {
namespace {

namespace fs = std::filesystem;
using gguf::Header;
using gguf::View;
using Kind = ModelChange::Kind;

class HybridModel : public testing::Test {
 protected:
  // One row of four floats for each tensor.
  View file(const std::string& name, Header header, const std::vector<std::pair<std::string, float>>& tensors) {
    const fs::path path = folder_.path() / name;
    for (const auto& [tensor, value] : tensors) {
      header.add_tensor(tensor, {4}, quant::kF32);
    }
    auto writer = gguf::Writer::create(path, header);
    EXPECT_TRUE(writer);
    for (const auto& [tensor, value] : tensors) {
      const std::vector<float> row(4, value);
      EXPECT_TRUE(writer->append(std::as_bytes(std::span(row))));
    }
    EXPECT_TRUE(writer->commit());
    auto view = View::open(path);
    EXPECT_TRUE(view) << view.error().line();
    return std::move(*view);
  }
  View hybrid(const View& good, const View& bad, const std::vector<ModelChange>& changes) {
    const fs::path path = folder_.path() / "hybrid.gguf";
    EXPECT_TRUE(write_hybrid(path, good, bad, changes));
    auto view = View::open(path);
    EXPECT_TRUE(view) << view.error().line();
    return std::move(*view);
  }
  static std::string described(const std::vector<ModelChange>& changes) {
    std::string out;
    for (const ModelChange& change : changes) {
      out += (change.kind == Kind::kTensor ? "tensor " : "key ") + change.name + ": " + change.what + "\n";
    }
    return out;
  }

  test::TemporaryFolder folder_;
};

TEST_F(HybridModel, TakesWhatIsNamedAndNothingElse) {
  Header one, two;
  one.add("same", uint32_t{7});
  one.add("value", 0.5F);
  one.add("type", uint8_t{1});
  one.add("gone", std::string("text"));
  two.add("same", uint32_t{7});
  two.add("value", 0.25F);
  two.add("type", uint16_t{1});
  two.add("new", std::vector<std::string>{"a", "b"});
  const View good = file("good.gguf", one, {{"a", 1}, {"b", 2}, {"c", 3}});
  const View bad = file("bad.gguf", two, {{"d", 4}, {"b", 20}, {"a", 1}});
  const auto changes = model_changes(good, bad);
  ASSERT_TRUE(changes);
  EXPECT_EQ(described(*changes),
            "key value: value\nkey type: type\nkey gone: only in the good model\nkey new: only in the bad model\n"
            "tensor b: values\ntensor c: only in the good model\ntensor d: only in the bad model\n");

  EXPECT_TRUE(model_changes(good, hybrid(good, bad, {}))->empty());
  EXPECT_TRUE(model_changes(bad, hybrid(good, bad, *changes))->empty());
  for (const ModelChange& change : *changes) {
    const View one_changed = hybrid(good, bad, {change});
    EXPECT_EQ(described(*model_changes(good, one_changed)), described({change}));
  }
}

TEST_F(HybridModel, EveryTypeOfMetadataIsCopied) {
  Header header;
  header.add("u8", uint8_t{255});
  header.add("i8", int8_t{-128});
  header.add("u16", uint16_t{65535});
  header.add("i16", int16_t{-32768});
  header.add("u32", uint32_t{4294967295U});
  header.add("i32", int32_t{-7});
  header.add("f32", 0.1F);
  header.add("bool", true);
  header.add("string", std::string("grüß"));
  header.add("u64", ~uint64_t{0});
  header.add("i64", int64_t{-7});
  header.add("f64", 0.1);
  header.add("u8s", std::vector<uint8_t>{1, 255});
  header.add("i16s", std::vector<int16_t>{-1, 5});
  header.add("f32s", std::vector<float>{0.1F, 2});
  header.add("bools", std::vector<bool>{true, false, true});
  header.add("strings", std::vector<std::string>{"", "x"});
  header.add("none", std::vector<uint32_t>{});
  const View good = file("good.gguf", header, {{"a", 1}});
  const View copy = hybrid(good, good, {});
  ASSERT_EQ(copy.metadata().size(), good.metadata().size());
  EXPECT_EQ(described(*model_changes(good, copy)), "");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(copy.bytes().data()), copy.bytes().size()),
            std::string(reinterpret_cast<const char*>(good.bytes().data()), good.bytes().size()));
}

TEST_F(HybridModel, LayoutsThatNoFileCanHoldTogetherAreRefused) {
  synth::SyntheticOptions options;
  options.shape = *synth::synthetic_shape("tiny");
  ASSERT_TRUE(synth::write_synthetic_model(folder_.path() / "one.gguf", options));
  options.weights = &quant::kI2sQk256;
  ASSERT_TRUE(synth::write_synthetic_model(folder_.path() / "two.gguf", options));
  const auto changes =
      model_changes(*View::open(folder_.path() / "one.gguf"), *View::open(folder_.path() / "two.gguf"));
  ASSERT_FALSE(changes);
  EXPECT_THAT(changes.error().what, testing::HasSubstr("another layout"));
}

}  // namespace
}  // namespace tern::bisect
