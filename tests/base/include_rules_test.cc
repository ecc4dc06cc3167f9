// src/tern/rooms.txt is the one list of rooms and arrows. CMake links by it; the picture in docs/architecture.md must
// be it; and every #include must follow an arrow of it, since linking alone does not see a header that is only used for
// a constant.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "support/paths.h"

namespace tern {
namespace {

using Arrows = std::map<std::string, std::set<std::string>>;

struct Rooms {
  Arrows arrows;
  std::set<std::string> above_all;  // rooms whose arrow is "all above": no arrow of theirs has to be used
};

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::filesystem::path source_root() { return test::source_dir() / "src" / "tern"; }

Rooms rooms() {
  static const std::regex row(R"(^([a-z_]+)/ .* -> (.*)$)");
  Rooms rooms;
  std::istringstream lines(text_of(source_root() / "rooms.txt"));
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(std::regex_match(line, match, row)) << line;
    const std::string room = match[1], targets = match[2];
    std::set<std::string> arrows;
    if (targets == "all above") {
      for (const auto& [above, ignored] : rooms.arrows) arrows.insert(above);
      rooms.above_all.insert(room);
    } else if (targets != "(libraries)") {
      std::istringstream words(targets);
      for (std::string word; words >> word;) {
        EXPECT_TRUE(rooms.arrows.contains(word)) << room << "/ -> " << word << " does not lead to a room above it";
        arrows.insert(word);
      }
    }
    rooms.arrows[room] = std::move(arrows);
  }
  return rooms;
}

// `visit(room, line, file)` for each line of the sources.
template <class Visit>
void for_each_line(const Visit& visit) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(source_root())) {
    const std::string extension = entry.path().extension();
    const std::string room = *entry.path().lexically_relative(source_root()).begin();
    if (extension == ".h" || extension == ".cc") {
      std::istringstream lines(text_of(entry.path()));
      for (std::string line; std::getline(lines, line);) {
        visit(room, line, entry.path());
      }
    }
  }
}

Arrows arrows_of_includes() {
  static const std::regex include(R"re(^\s*#include "tern/([a-z_]+)/)re");
  Arrows arrows;
  for_each_line([&](const std::string& room, const std::string& line, const std::filesystem::path&) {
    std::smatch match;
    if (std::regex_search(line, match, include) && match[1] != room) {
      arrows[room].insert(match[1]);
    }
  });
  return arrows;
}

TEST(Rooms, EveryIncludeFollowsAnArrowAndEveryArrowIsUsed) {
  const auto [allowed, above_all] = rooms();
  const Arrows used = arrows_of_includes();
  ASSERT_GT(allowed.size(), 15U);
  for (const auto& [room, targets] : used) {
    ASSERT_TRUE(allowed.contains(room)) << room << "/ is not in rooms.txt";
    for (const std::string& target : targets) {
      EXPECT_TRUE(allowed.at(room).contains(target)) << room << "/ includes " << target << "/ without an arrow";
    }
  }
  for (const auto& [room, targets] : allowed) {
    for (const std::string& target : above_all.contains(room) ? std::set<std::string>() : targets) {
      EXPECT_TRUE(used.contains(room) && used.at(room).contains(target))
          << "no include of " << room << "/ uses its arrow to " << target;
    }
  }
}

// A name of another room may arrive by a header of a third one, which no #include shows.
TEST(Rooms, EveryNameOfAnotherRoomFollowsAnArrow) {
  static const std::regex word(R"(\b([a-z_]+)::)");
  const Arrows allowed = rooms().arrows;
  size_t n_names = 0;
  for_each_line([&](const std::string& room, const std::string& line, const std::filesystem::path& file) {
    const std::string code = line.substr(0, line.find("//"));
    for (std::sregex_iterator it(code.begin(), code.end(), word), end; it != end; ++it) {
      const std::string target = (*it)[1];
      if (target != room && allowed.contains(target)) {
        ++n_names;
        EXPECT_TRUE(allowed.at(room).contains(target)) << file << " names " << target << ":: without an arrow";
      }
    }
  });
  EXPECT_GT(n_names, 1000U);
}

TEST(Rooms, ThePictureInTheArchitectureDocumentIsTheList) {
  const std::string document = text_of(test::source_dir() / "docs" / "architecture.md");
  EXPECT_NE(document.find("```\n" + text_of(source_root() / "rooms.txt") + "```\n"), std::string::npos)
      << "docs/architecture.md does not show src/tern/rooms.txt";
}

}  // namespace
}  // namespace tern
