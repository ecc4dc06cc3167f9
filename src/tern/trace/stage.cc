#include "tern/trace/stage.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <mutex>
#include <set>
#include <tuple>

#include "tern/base/check.h"

namespace tern::trace {
namespace {

// Larger numbers than any real run has; keeps hostile names from overflowing.
constexpr int kMaxNumber = 1 << 28;

// Takes "<letters><number>/" off the front of `name`; leaves `name` alone and returns nullopt if it is not there.
std::optional<int> take_numbered_prefix(std::string_view& name, std::string_view letters) {
  if (!name.starts_with(letters)) {
    return std::nullopt;
  }
  const char* const begin = name.data() + letters.size();
  const char* const end = name.data() + name.size();
  int number = -1;
  const auto [after, error] = std::from_chars(begin, end, number);
  const bool canonical = error == std::errc() && after != end && *after == '/' && number >= 0 && number <= kMaxNumber &&
                         (*begin != '0' || after == begin + 1);
  if (!canonical) {
    return std::nullopt;
  }
  name.remove_prefix(static_cast<size_t>(after + 1 - name.data()));
  return number;
}

bool is_in_layer(const StageRow& row) { return row.place == StagePlace::kInLayer; }

// The rows of names that are not in the table, one set for each place. They are never removed: stages point to them.
class Interned {
 public:
  const StageRow* row_of(std::string_view name, bool in_layer) {
    const std::lock_guard lock(mutex_);
    std::set<Row, std::less<>>& rows = rows_[in_layer ? 1 : 0];
    auto it = rows.find(name);
    if (it == rows.end()) {
      it = rows.emplace(name, in_layer ? StagePlace::kInLayer : StagePlace::kUnknown).first;
    }
    return &it->row;
  }

 private:
  struct Row {
    Row(std::string_view text, StagePlace place) : name(text), row{.name = name, .place = place} {}
    Row(const Row&) = delete;
    Row& operator=(const Row&) = delete;
    std::string name;
    StageRow row;
    bool operator<(const Row& other) const { return name < other.name; }
    friend bool operator<(const Row& a, std::string_view b) { return a.name < b; }
    friend bool operator<(std::string_view a, const Row& b) { return a < b.name; }
  };
  std::mutex mutex_;
  std::set<Row, std::less<>> rows_[2];
};

Interned& interned() {
  static Interned rows;
  return rows;
}

// Embeddings come before all layers, output_norm and logits behind them; unknown stages outside of the layers follow.
StagePlace place_of(const TensorId& id) { return id.layer >= 0 ? StagePlace::kInLayer : id.stage.row().place; }

// Control characters of ASCII and of Latin-1 (U+0080 to U+009F), and U+FFFE and U+FFFF, which XML does not have.
bool has_control_characters(std::string_view name) {
  for (size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<unsigned char>(name[i]);
    const auto next = static_cast<unsigned char>(i + 1 < name.size() ? name[i + 1] : '\0');
    if (byte < 0x20 || byte == 0x7F || (byte == 0xC2 && next < 0xA0) || name.substr(i).starts_with("\xEF\xBF\xBE") ||
        name.substr(i).starts_with("\xEF\xBF\xBF")) {
      return true;
    }
  }
  return false;
}

bool is_valid_part(std::string_view part) { return !part.empty() && part != "." && part != ".."; }

bool is_valid_name(std::string_view name) {
  if (name.size() > TensorId::kMaxName || name.find('\\') != std::string_view::npos || has_control_characters(name)) {
    return false;
  }
  while (true) {
    const size_t slash = name.find('/');
    if (!is_valid_part(name.substr(0, slash))) {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    name.remove_prefix(slash + 1);
  }
}

}  // namespace

Stage Stage::named(std::string_view name, bool in_layer) {
  for (const StageRow& row : kStageTable) {
    if (row.name == name && is_in_layer(row) == in_layer) {
      return Stage(row);
    }
  }
  return Stage(*interned().row_of(name, in_layer));
}

std::strong_ordering Stage::operator<=>(const Stage& other) const {
  if (row_ == other.row_) {
    return std::strong_ordering::equal;
  }
  if (is_known() != other.is_known()) {
    return is_known() ? std::strong_ordering::less : std::strong_ordering::greater;
  }
  if (is_known()) {
    return row_ - kStageTable.data() <=> other.row_ - kStageTable.data();
  }
  return std::tuple(name(), row_->place) <=> std::tuple(other.name(), other.row_->place);
}

std::optional<Stage> input_of(Stage stage, bool has_sub_norms) {
  const StageRow* row = &stage.row();
  do {
    const auto* const before = std::find_if(kStageTable.begin(), kStageTable.end(),
                                            [&](const StageRow& known) { return known.name == row->follows; });
    if (before == kStageTable.end()) {
      return std::nullopt;
    }
    row = before;
  } while (row->only_with_sub_norms && !has_sub_norms);
  return Stage(*row);
}

std::vector<Stage> stages_with_weights(const std::function<bool(std::string_view)>& has_weight) {
  std::vector<Stage> stages;
  for (const StageRow& row : kStageTable) {
    if (row.weight.empty() || has_weight(row.weight)) {
      stages.emplace_back(row);
    }
  }
  return stages;
}

std::string TensorId::name() const {
  TERN_CHECK(!stage.is_known() || is_in_layer(stage.row()) == (layer >= 0));
  std::string out;
  if (seq > 0) {
    out += "t" + std::to_string(seq) + "/";
  }
  if (ubatch > 0) {
    out += "u" + std::to_string(ubatch) + "/";
  }
  if (layer >= 0) {
    out += "blk" + std::to_string(layer) + "/";
  }
  return out.append(stage.name());
}

std::optional<TensorId> TensorId::parse(std::string_view name) {
  if (!is_valid_name(name)) {
    return std::nullopt;
  }
  TensorId id;
  id.seq = take_numbered_prefix(name, "t").value_or(0);
  id.ubatch = take_numbered_prefix(name, "u").value_or(0);
  id.layer = take_numbered_prefix(name, "blk").value_or(-1);
  id.stage = Stage::named(name, id.layer >= 0);
  return id;
}

std::strong_ordering TensorId::operator<=>(const TensorId& other) const {
  const auto key = [](const TensorId& id) { return std::tuple(id.seq, id.ubatch, place_of(id), id.layer, id.stage); };
  return key(*this) <=> key(other);
}

}  // namespace tern::trace
