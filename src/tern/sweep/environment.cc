#include "tern/sweep/environment.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <charconv>
#include <cmath>
#include <ctime>
#include <string_view>
#include <thread>

#include "tern/base/environment.h"
#include "tern/base/file.h"

namespace tern::sweep {
namespace {

template <class Number>
Result<Number> number_from(const char* option, const char* option_name, const char* variable, const char* variable_name,
                           Number low, Number high, Number otherwise, const char* unit) {
  const char* text = option != nullptr ? option : variable;
  if (text == nullptr || *text == '\0') {
    return otherwise;
  }
  Number value{};
  const std::string_view view = text;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size() || !(value >= low && value <= high)) {
    return fail(ErrorCode::kUsage, option != nullptr ? option_name : variable_name,
                fmt::format("'{}' is not {}", printable(view, 40), unit));
  }
  return value;
}

std::string cpu_name() {
  const auto info = read_file("/proc/cpuinfo", uint64_t{16} << 20);
  const std::string_view text = info ? std::string_view(*info) : std::string_view();
  const size_t key = text.find("model name");
  const size_t colon = key == std::string_view::npos ? key : text.find(": ", key);
  if (colon == std::string_view::npos) {
    return "unknown";
  }
  return std::string(text.substr(colon + 2, text.find('\n', colon) - colon - 2));
}

std::string compiler_name() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

}  // namespace

Result<int> thread_count(const char* option, const char* environment) {
  return number_from<int>(option, "--threads", environment, "RAYON_NUM_THREADS", 1, 1024, 4,
                          "a number of threads from 1 to 1024");
}

Result<double> timeout_seconds(const char* option, const char* environment) {
  constexpr double kLongest = 30.0 * 24 * 3600;
  return number_from<double>(option, "--timeout", environment, "CROSSVAL_TIMEOUT_SECS", 1e-3, kLongest, 180.0,
                             "a number of seconds above 0 (at most 30 days)");
}

std::map<std::string, std::string> describe_environment(int threads, double timeout_s) {
  std::map<std::string, std::string> out = {
      {"BITNET_DETERMINISTIC", "1"},
      {"BITNET_SEED", "42"},
      {"RAYON_NUM_THREADS", std::to_string(threads)},
      {"CROSSVAL_TIMEOUT_SECS", fmt::format("{}", timeout_s)},
      {"cpu", cpu_name()},
      {"logical_cpus", std::to_string(std::thread::hardware_concurrency())},
      {"compiler", compiler_name()},
  };
  for (const char* name : {"BITNET_CPP_DIR", "TERN_ISA"}) {
    if (const char* value = environment_variable(name)) {
      out[name] = value;
    }
  }
  utsname system = {};
  if (::uname(&system) == 0) {
    out["os"] = fmt::format("{} {} {}", system.sysname, system.release, system.machine);
  }
  return out;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  ::gmtime_r(&now, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace tern::sweep
