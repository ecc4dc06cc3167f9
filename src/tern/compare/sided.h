// A value for each side of a comparison, and what the sides are called. Every room from compare/ up uses it, so that
// neither a side's name nor its files' prefix is spelled a second time.
#pragma once

#include <array>
#include <string_view>

namespace tern::compare {

// The subject is the engine being validated, the reference what it is compared with.
enum class Side { kSubject, kReference };

inline constexpr std::array kSides = {Side::kSubject, Side::kReference};

constexpr Side other(Side side) { return side == Side::kSubject ? Side::kReference : Side::kSubject; }

// "subject", "reference"
constexpr std::string_view side_name(Side side) { return side == Side::kSubject ? "subject" : "reference"; }

// The prefix of a side's files in a sweep's output: "rs", "cpp" (docs/cross-validation.md, "What is written").
constexpr std::string_view file_prefix(Side side) { return side == Side::kSubject ? "rs" : "cpp"; }

template <class T>
struct Sided {
  T subject{}, reference{};

  constexpr T& at(Side side) { return side == Side::kSubject ? subject : reference; }
  constexpr const T& at(Side side) const { return side == Side::kSubject ? subject : reference; }

  // Of the two values, with their sides: for (const auto& [side, value] : sided.both()).
  struct Entry {
    Side side;
    const T& value;
  };
  constexpr std::array<Entry, 2> both() const {
    return {Entry{Side::kSubject, subject}, {Side::kReference, reference}};
  }

  friend bool operator==(const Sided&, const Sided&) = default;
};

}  // namespace tern::compare
