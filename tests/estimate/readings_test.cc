// Weights of a product that are others, down to their coordinates; other readings of their bytes; activations that are
// rounded otherwise.
#include <gtest/gtest.h>

#include <numeric>

#include "estimate/altered_projection.h"

namespace tern::estimate {
namespace {

TEST_F(EstimateProjection, AWeightDownToItsCoordinates) {
  const double s = scale(kDown.weight);
  const auto flipped = [s](double weight) { return weight > 0 ? -s : weight + s; };
  // Many features behind a ReLU are zero for all tokens, and a weight that meets nothing but zeros shows nowhere.
  const Matrix x = run_.values(kDown.input);
  std::vector<std::pair<double, size_t>> busiest;
  for (size_t c = 0; c < x.n_features; ++c) {
    double sum = 0;
    for (size_t t = 0; t < x.n_tokens; ++t) {
      sum += std::abs(x.row(t)[c]);
    }
    busiest.emplace_back(-sum, c);
  }
  std::sort(busiest.begin(), busiest.end());
  const size_t a = busiest[3].second, b = busiest[7].second;

  const Proposal one = found(
      kDown, product(kDown, 127, [&](size_t r, size_t c, double w) { return r == 77 && c == a ? flipped(w) : w; }));
  EXPECT_EQ(one.id, "weight_value");
  EXPECT_EQ(one.parameters["row"], 77);
  EXPECT_EQ(one.parameters["rows"], Json({77}));
  EXPECT_EQ(one.parameters["column"], a);
  const double was = run_.steps().weight_row(tensor(kDown.weight), 77)[a];
  EXPECT_NEAR(one.parameters["delta"].get<double>(), flipped(was) - was, 0.02 * s);

  const Proposal two = found(kDown, product(kDown, 127, [&](size_t r, size_t c, double w) {
                               return r == 5 && (c == a || c == b) ? flipped(w) : w;
                             }));
  EXPECT_EQ(two.id, "weight_value");
  ASSERT_TRUE(two.parameters.contains("weights")) << two.parameters;
  EXPECT_EQ(two.parameters["weights"].size(), 2U) << two.parameters;
  EXPECT_EQ(two.parameters["rows"], Json({5}));

  const Proposal apart = found(kDown, product(kDown, 127, [&](size_t r, size_t c, double w) {
                                 return (r == 81 && c == a) || (r == 9 && c == b) ? flipped(w) : w;
                               }));
  EXPECT_EQ(apart.id, "weight_value");
  EXPECT_EQ(apart.parameters["rows"], Json({9, 81}));
}

using Places = std::vector<std::pair<size_t, size_t>>;

Places places_in(const Json& parameters) {
  Places places;
  for (const Json& weight : parameters.value("weights", Json::array())) {
    places.emplace_back(weight["row"], weight["column"]);
  }
  std::sort(places.begin(), places.end());
  return places;
}

EstimateProjection::Weights with_other_codes(const Places& places, double scale) {
  return [places, scale](size_t r, size_t c, double w) {
    const bool is_changed = std::find(places.begin(), places.end(), std::pair(r, c)) != places.end();
    return !is_changed ? w : w > 0 ? -scale : w + scale;
  };
}

TEST_F(EstimateProjection, FiveWeightsDownToTheirCoordinates) {
  const Places places = {{3, 17}, {3, 200}, {90, 5}, {500, 77}, {700, 255}};
  const Proposal proposal = found(kUp, product(kUp, 127, with_other_codes(places, scale(kUp.weight))));
  EXPECT_EQ(proposal.id, "weight_value");
  EXPECT_EQ(places_in(proposal.parameters), places) << proposal.parameters;
  EXPECT_EQ(proposal.parameters["rows"], Json({3, 90, 500, 700}));
}

// So many unknown columns of one row take more tokens.
class EstimateProjectionOfALongPrompt : public EstimateProjection {
 protected:
  EstimateProjectionOfALongPrompt()
      : EstimateProjection({1,   5,  900, 33, 1207, 64,  5,  18,  411, 77, 1500, 2,   9, 310, 21, 7,
                            640, 55, 12,  83, 1999, 101, 45, 702, 3,   66, 1340, 250, 8, 19,  77, 512}) {}
};

TEST_F(EstimateProjectionOfALongPrompt, FiveWeightsOfOneRow) {
  const Places places = {{90, 3}, {90, 41}, {90, 77}, {90, 130}, {90, 222}};
  const Proposal proposal = found(kUp, product(kUp, 127, with_other_codes(places, scale(kUp.weight))));
  EXPECT_EQ(proposal.id, "weight_value");
  EXPECT_EQ(places_in(proposal.parameters), places) << proposal.parameters;
}

TEST_F(EstimateProjection, RowsAndColumnsChangePlaces) {
  for (const Site& site : {kQuery, kUp}) {  // square, and not
    const gguf::Tensor& weight = tensor(site.weight);
    std::vector<double> all;
    for (size_t r = 0; r < weight.n_rows(); ++r) {
      const auto row = run_.steps().weight_row(weight, r);
      all.insert(all.end(), row.begin(), row.end());
    }
    const Proposal proposal =
        found(site, product(site, 127, [&](size_t r, size_t c, double) { return all[c * weight.n_rows() + r]; }));
    EXPECT_EQ(proposal.id, "weights_transposed") << site.stage;
  }
}

TEST_F(EstimateProjection, AnotherReadingOfTheBytes) {
  const gguf::Tensor& weight = tensor(kUp.weight);
  const double s = scale(kUp.weight);
  const auto code = [&](size_t row, size_t byte, size_t shift) {
    const auto value = std::to_integer<unsigned>(weight.data[row * weight.n_cols() / 4 + byte]);
    return static_cast<double>(value >> shift & 3U) - 1;
  };
  const Proposal blocks = found(kUp, product(kUp, 127, [&](size_t r, size_t c, double) {
                                  return s * code(r, c / 64 * 16 + c % 16, 6 - 2 * (c % 64 / 16));
                                }));
  EXPECT_EQ(blocks.id, "i2s_block_size");
  EXPECT_EQ(blocks.parameters.value("block", 0), 64);
  const Proposal order =
      found(kUp, product(kUp, 127, [&](size_t r, size_t c, double) { return s * code(r, c / 4, 2 * (c % 4)); }));
  EXPECT_EQ(order.id, "i2s_unpack_order");
  const Proposal codes = found(kUp, product(kUp, 127, [&](size_t, size_t, double w) {
                                 return w < 0 ? -1.3 * s : w > 0 ? 0.7 * s : 0.2 * s;
                               }));
  EXPECT_EQ(codes.id, "ternary_code_map");
  const auto values = codes.parameters.value("values", std::vector<double>());
  ASSERT_EQ(values.size(), 3U);
  EXPECT_NEAR(values[0], -1.3, 0.01);
  EXPECT_NEAR(values[1], 0.2, 0.01);
  EXPECT_NEAR(values[2], 0.7, 0.01);
}

// Each with values and by RMS alone, where it is one reading among others that give this RMS.
TEST_F(EstimateProjection, ReadingsInBothViews) {
  const gguf::Tensor& weight = tensor(kUp.weight);
  const double s = scale(kUp.weight);
  const auto read = [&](size_t row, size_t column, size_t block, const std::vector<size_t>& pairs) {
    const size_t quarter = block / 4, in_block = column % block;
    const size_t byte = row * weight.n_cols() / 4 + column / block * quarter + in_block % quarter;
    const auto bits = std::to_integer<unsigned>(weight.data[byte]) >> (6 - 2 * pairs[in_block / quarter]);
    return s * (static_cast<double>(bits & 3U) - 1);
  };
  const auto expect = [&](const Matrix& y, const std::string& id, const std::string& key, const Json& value,
                          bool by_rms) {
    const Proposal proposal = found(kUp, y);
    EXPECT_EQ(proposal.id, id);
    EXPECT_EQ(proposal.parameters.value(key, Json()), value) << proposal.parameters;
    const auto hold = that_hold(run_.facts(kUp.stage, y, false), estimate_projection);
    EXPECT_EQ(by_rms, std::any_of(hold.begin(), hold.end(),
                                  [&](const Proposal& one) {
                                    return one.id == id && one.parameters.value(key, Json()) == value;
                                  }))
        << id << value << test::listed(hold);
  };
  for (const size_t block : {32U, 256U}) {
    expect(product(kUp, 127, [&](size_t r, size_t c, double) { return read(r, c, block, {0, 1, 2, 3}); }),
           "i2s_block_size", "block", block, true);
  }
  expect(product(kUp, 127, [&](size_t r, size_t c, double) { return read(r, c, 128, {3, 2, 1, 0}); }),
         "i2s_unpack_order", "first", "lowest bits", true);
  expect(product(kUp, 127, [&](size_t r, size_t c, double) { return read(r, c, 128, {1, 0, 3, 2}); }),
         "i2s_unpack_order", "pairs", {1, 0, 3, 2}, false);
  expect(product(kUp, 127, [&](size_t r, size_t c, double) { return read(r, c, 4, {0, 1, 2, 3}); }), "i2s_unpack_order",
         "first", "top bits", true);
  const std::vector<std::vector<double>> maps = {{0, 1, 2},   {0, 1, -1}, {1, -1, 0},
                                                 {-2, -1, 1}, {0, -1, 1}, {-1, 1, 0}};
  for (const std::vector<double>& map : maps) {
    expect(product(kUp, 127,
                   [&](size_t, size_t, double w) {
                     return s * map[w < 0 ? 0 : w > 0 ? 2 : 1];
                   }),
           "ternary_code_map", "values", map, true);
  }
  // 1, 0, -1 is the sign.
  EXPECT_EQ(found(kUp, product(kUp, 127, [&](size_t, size_t, double w) { return -w; })).id, "weight_sign");
  std::vector<std::vector<double>> rows;
  for (size_t r = 0; r < tensor(kQuery.weight).n_rows(); ++r) {
    rows.push_back(run_.steps().weight_row(tensor(kQuery.weight), r));
  }
  const Matrix transposed = product(kQuery, 127, [&](size_t r, size_t c, double) { return rows[c][r]; });
  EXPECT_EQ(found(kQuery, transposed).id, "weights_transposed");
  const auto hold = that_hold(run_.facts(kQuery.stage, transposed, false), estimate_projection);
  EXPECT_NE(test::find(hold, "weights_transposed"), nullptr) << test::listed(hold);
}

TEST_F(EstimateProjection, ActivationsRoundedOtherwise) {
  const auto same = [](size_t, size_t, double w) { return w; };
  const Proposal coarse = found(kUp, product(kUp, 63, same));
  EXPECT_EQ(coarse.id, "activation_rounding");
  EXPECT_EQ(coarse.parameters.value("levels", 0), 63) << coarse.parameters;
  EXPECT_EQ(found(kUp, product(kUp, 0, same)).parameters.value("rounding", ""), "none");

  // Cut off, by a division as by a multiplication: the largest value becomes 127 or 126.
  for (const bool divides : {false, true}) {
    Matrix x = run_.values(kUp.input);
    for (size_t t = 0; t < x.n_tokens; ++t) {
      double largest = 0;
      for (const double value : x.row(t)) {
        largest = std::max(largest, std::abs(value));
      }
      for (double& value : x.row(t)) {
        value = std::trunc(divides ? value / (largest / 127) : value * (127 / largest)) * (largest / 127);
      }
    }
    Matrix y(x.n_tokens, tensor(kUp.weight).n_rows());
    for (size_t r = 0; r < y.n_features; ++r) {
      const auto row = run_.steps().weight_row(tensor(kUp.weight), r);
      for (size_t t = 0; t < x.n_tokens; ++t) {
        y.row(t)[r] = std::inner_product(row.begin(), row.end(), x.row(t).begin(), 0.0);
      }
    }
    EXPECT_EQ(found(kUp, y).parameters.value("rounding", ""), "truncated");
  }
}

// A reading without a number predicts the RMS.
TEST_F(EstimateProjection, ReadingsFromRmsAlone) {
  const gguf::Tensor& weight = tensor(kUp.weight);
  const double s = scale(kUp.weight);
  const auto in_blocks_of_64 = [&](size_t row, size_t c, double) {
    const std::byte byte = weight.data[row * weight.n_cols() / 4 + c / 64 * 16 + c % 16];
    return s * (static_cast<double>(std::to_integer<unsigned>(byte) >> (6 - 2 * (c % 64 / 16)) & 3U) - 1);
  };
  const auto hold = [&](const Matrix& is) { return that_hold(run_.facts(kUp.stage, is, false), estimate_projection); };
  const auto blocks = hold(product(kUp, 127, in_blocks_of_64));
  const Proposal* const found = test::find(blocks, "i2s_block_size");
  ASSERT_NE(found, nullptr) << test::listed(blocks);
  EXPECT_EQ(found->parameters.value("block", 0), 64);
  const auto codes = hold(product(kUp, 127, [&](size_t, size_t, double w) { return w + s; }));
  const Proposal* const shifted = test::find(codes, "ternary_code_map");
  ASSERT_NE(shifted, nullptr) << test::listed(codes);
  EXPECT_EQ(shifted->parameters.value("values", std::vector<double>()), (std::vector<double>{0, 1, 2}));
  const auto not_rounded = hold(product(kUp, 0, [](size_t, size_t, double w) { return w; }));
  EXPECT_NE(test::find(not_rounded, "activation_rounding"), nullptr) << test::listed(not_rounded);
}

}  // namespace
}  // namespace tern::estimate
