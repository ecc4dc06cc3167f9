#include "tern/tokenizer/tokenizer.h"

#include <algorithm>
#include <fstream>

#include "tern/base/mapped_file.h"
#include "tern/tokenizer/definition.h"
#include "tern/tokenizer/text/unicode.h"

namespace tern::tokenizer {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;
constexpr size_t kMaxTextBytes = size_t{1} << 30;  // positions within a piece are 32-bit

bool starts_as_gguf(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic(4, '\0');
  return file.read(magic.data(), 4) && magic == "GGUF";
}

}  // namespace

struct Tokenizer::Impl {
  Definition definition;

  // `take_token(id)` for each token that stands in the text, `take_piece(piece)` for each piece between them.
  template <class TakeToken, class TakePiece>
  Status cut(std::string_view text, const TakeToken& take_token, const TakePiece& take_piece) const {
    TERN_ASSIGN_OR_RETURN(const auto segments, definition.added_tokens.split_raw(text));
    for (const Segment& segment : segments) {
      if (segment.id) {
        take_token(*segment.id);
      } else {
        TERN_RETURN_IF_ERROR(cut_segment(segment.text, take_token, take_piece));
      }
    }
    return {};
  }

  template <class TakeToken, class TakePiece>
  Status cut_segment(std::string_view text, const TakeToken& take_token, const TakePiece& take_piece) const {
    std::string normalized;
    if (!definition.normalizer.empty()) {
      TERN_ASSIGN_OR_RETURN(normalized, definition.normalizer.apply(text));
      text = normalized;
    }
    TERN_ASSIGN_OR_RETURN(const auto segments, definition.added_tokens.split_normalized(text));
    for (const Segment& segment : segments) {
      if (segment.id) {
        take_token(*segment.id);
        continue;
      }
      TERN_ASSIGN_OR_RETURN(const Pieces cut_pieces, definition.pre_tokenizer.split(segment.text));
      for (const std::string_view piece : cut_pieces.views) {
        TERN_RETURN_IF_ERROR(take_piece(piece));
      }
    }
    return {};
  }

  Status encode_text(std::string_view text, std::vector<int32_t>& ids) const {
    return cut(
        text, [&](int32_t id) { ids.push_back(id); },
        [&](std::string_view piece) { return definition.token_model->encode(definition.vocabulary, piece, ids); });
  }

  Status pieces_of(std::string_view text, std::vector<Piece>& pieces) const {
    return cut(
        text,
        [&](int32_t id) {
          pieces.push_back({std::string(definition.vocabulary.spelling(id)), {id}, true});
        },
        [&](std::string_view piece) {
          pieces.push_back({std::string(piece), {}, false});
          return definition.token_model->encode(definition.vocabulary, piece, pieces.back().ids);
        });
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::open(const std::filesystem::path& path) {
  if (starts_as_gguf(path)) {
    TERN_ASSIGN_OR_RETURN(const auto view, gguf::View::open(path));
    return from_gguf(view);
  }
  TERN_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > kMaxFileBytes) {
    return invalid_input(
        path.string(), "is larger than the " + std::to_string(kMaxFileBytes) + " bytes that a tokenizer.json may have");
  }
  return from_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
}

Result<Tokenizer> Tokenizer::from_json(std::string_view json, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(Definition definition, load_json(json, where));
  return from_definition(std::move(definition));
}

Result<Tokenizer> Tokenizer::from_gguf(const gguf::View& view) {
  TERN_ASSIGN_OR_RETURN(Definition definition, load_gguf(view));
  return from_definition(std::move(definition));
}

Tokenizer Tokenizer::from_definition(Definition definition) {
  auto& ends = definition.end_of_text;
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  auto impl = std::make_unique<Impl>();
  impl->definition = std::move(definition);
  return Tokenizer(std::move(impl));
}

namespace {

Status check_text(std::string_view text) {
  if (const auto offset = first_invalid_utf8(text)) {
    return invalid_input("text @ byte " + std::to_string(*offset), "is not valid UTF-8");
  }
  if (text.size() > kMaxTextBytes) {
    return invalid_input("text",
                         "has " + std::to_string(text.size()) + " bytes, more than " + std::to_string(kMaxTextBytes));
  }
  return {};
}

}  // namespace

Result<std::vector<Tokenizer::Piece>> Tokenizer::pieces(std::string_view text) const {
  TERN_RETURN_IF_ERROR(check_text(text));
  std::vector<Piece> pieces;
  TERN_RETURN_IF_ERROR(impl_->pieces_of(text, pieces));
  return pieces;
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, bool add_special) const {
  TERN_RETURN_IF_ERROR(check_text(text));
  const Definition& definition = impl_->definition;
  std::vector<int32_t> ids;
  if (add_special) {
    ids = definition.prefix;
  }
  TERN_RETURN_IF_ERROR(impl_->encode_text(text, ids));
  if (add_special) {
    ids.insert(ids.end(), definition.suffix.begin(), definition.suffix.end());
  }
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids, bool with_special) const {
  const Definition& definition = impl_->definition;
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!definition.vocabulary.has(ids[i])) {
      return invalid_input(definition.where, "token id " + std::to_string(ids[i]) + " (number " + std::to_string(i) +
                                                 " of those to decode) is not in the vocabulary of " +
                                                 std::to_string(vocab_size()));
    }
    if (is_special(ids[i]) && !with_special) {
      continue;
    }
    definition.token_model->append_text(definition.vocabulary, ids[i], text);
  }
  return text;
}

int32_t Tokenizer::vocab_size() const { return impl_->definition.vocabulary.size(); }

std::optional<int32_t> Tokenizer::bos() const {
  const auto& prefix = impl_->definition.prefix;
  return prefix.empty() ? std::nullopt : std::optional(prefix.front());
}

std::span<const int32_t> Tokenizer::suffix() const { return impl_->definition.suffix; }

const std::optional<std::string>& Tokenizer::pre_tokenizer_name() const { return impl_->definition.pre_tokenizer_name; }

std::optional<int32_t> Tokenizer::declared_bos() const { return impl_->definition.declared_bos; }

std::span<const int32_t> Tokenizer::end_of_text() const { return impl_->definition.end_of_text; }

bool Tokenizer::is_special(int32_t id) const {
  const Vocabulary& vocabulary = impl_->definition.vocabulary;
  return vocabulary.has(id) && (vocabulary.flags(id) & Vocabulary::kSpecial) != 0;
}

std::optional<std::string_view> Tokenizer::token(int32_t id) const {
  const Vocabulary& vocabulary = impl_->definition.vocabulary;
  return vocabulary.has(id) ? std::optional(vocabulary.spelling(id)) : std::nullopt;
}

std::span<const std::string> Tokenizer::warnings() const { return impl_->definition.warnings; }
std::string_view Tokenizer::kind() const { return impl_->definition.kind; }
const std::string& Tokenizer::sha256() const { return impl_->definition.sha256; }
const std::string& Tokenizer::where() const { return impl_->definition.where; }

}  // namespace tern::tokenizer
