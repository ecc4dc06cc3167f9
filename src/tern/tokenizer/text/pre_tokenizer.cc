#include "tern/tokenizer/text/pre_tokenizer.h"

#include <algorithm>

namespace tern::tokenizer {
namespace {

struct Part {
  Match range;
  bool is_delimiter = false;
};

// Matches and the gaps between them; together they cover the text.
std::vector<Part> cover(size_t text_size, const std::vector<Match>& matches, bool invert) {
  std::vector<Part> parts;
  size_t covered = 0;
  for (const Match& match : matches) {
    if (covered < match.begin) {
      parts.push_back({{covered, match.begin}, invert});
    }
    parts.push_back({match, !invert});
    covered = match.end;
  }
  if (covered < text_size) {
    parts.push_back({{covered, text_size}, invert});
  }
  return parts;
}

void append_contiguous(const std::vector<Part>& parts, std::vector<Match>& ranges) {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0 && parts[i].is_delimiter == parts[i - 1].is_delimiter) {
      ranges.back().end = parts[i].range.end;
    } else {
      ranges.push_back(parts[i].range);
    }
  }
}

// A delimiter joins the part before it, unless that is a delimiter too.
void append_merged_with_previous(const std::vector<Part>& parts, std::vector<Match>& ranges) {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0 && parts[i].is_delimiter && !parts[i - 1].is_delimiter) {
      ranges.back().end = parts[i].range.end;
    } else {
      ranges.push_back(parts[i].range);
    }
  }
}

void append_merged_with_next(const std::vector<Part>& parts, std::vector<Match>& ranges) {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0 && !parts[i].is_delimiter && parts[i - 1].is_delimiter) {
      ranges.back().end = parts[i].range.end;
    } else {
      ranges.push_back(parts[i].range);
    }
  }
}

// The rules of NormalizedString::split in the Hugging Face tokenizers library.
std::vector<Match> ranges_of(const std::vector<Part>& parts, SplitBehavior behavior) {
  std::vector<Match> ranges;
  ranges.reserve(parts.size());
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Part& part : parts) ranges.push_back(part.range);
      break;
    case SplitBehavior::kRemoved:
      for (const Part& part : parts) {
        if (!part.is_delimiter) ranges.push_back(part.range);
      }
      break;
    case SplitBehavior::kContiguous:
      append_contiguous(parts, ranges);
      break;
    case SplitBehavior::kMergedWithPrevious:
      append_merged_with_previous(parts, ranges);
      break;
    case SplitBehavior::kMergedWithNext:
      append_merged_with_next(parts, ranges);
      break;
  }
  return ranges;
}

}  // namespace

std::optional<SplitBehavior> split_behavior(std::string_view name) {
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return std::nullopt;
}

Result<Pieces> PreTokenizer::split(std::string_view text) const {
  Pieces pieces;
  pieces.views.push_back(text);
  std::vector<Match> matches;
  for (const auto& step : steps_) {
    std::vector<std::string_view> views;
    for (const std::string_view piece : pieces.views) {
      if (const auto* pattern_split = std::get_if<Split>(&step)) {
        TERN_RETURN_IF_ERROR(pattern_split->pattern.find_all(piece, matches));
        const auto parts = cover(piece.size(), matches, pattern_split->invert);
        for (const Match& range : ranges_of(parts, pattern_split->behavior)) {
          if (range.begin < range.end) {
            views.push_back(piece.substr(range.begin, range.end - range.begin));
          }
        }
      } else if (piece.front() != ' ') {
        views.push_back(pieces.storage.emplace_back(' ' + std::string(piece)));
      } else {
        views.push_back(piece);
      }
    }
    pieces.views = std::move(views);
  }
  return pieces;
}

}  // namespace tern::tokenizer
