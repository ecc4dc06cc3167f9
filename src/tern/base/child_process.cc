#include "tern/base/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "tern/base/check.h"
#include "tern/base/child_guardian.h"
#include "tern/base/stopwatch.h"

namespace tern {
namespace fs = std::filesystem;
namespace {

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  void reset() {
    if (fd_ >= 0) {
      ::close(fd_);
      fd_ = -1;
    }
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Pipe {
  Fd read_end, write_end;
};

Result<Pipe> make_pipe(const std::string& where) {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) {
    return fail(ErrorCode::kEngine, where, fmt::format("cannot be started: {}", ::strerror(errno)));
  }
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

bool matches(std::string_view name, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [name](const std::string& pattern) {
    return pattern.ends_with('*') ? name.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1))
                                  : name == pattern;
  });
}

std::vector<std::string> environment_for(const ChildCommand& command) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    if (!command.environment.contains(std::string(name)) && !matches(name, command.unset_environment)) {
      merged.emplace_back(text);
    }
  }
  for (const auto& [name, value] : command.environment) {
    merged.push_back(name + "=" + value);
  }
  return merged;
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

// fork() with all signals blocked in the new process.
pid_t fork_with_signals_blocked() {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid != 0) {
    const int error_number = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error_number;
  }
  return pid;
}

struct Started {
  pid_t guardian = -1;
  Fd output;  // non-blocking read end of stdout and stderr
  Fd report;  // of the guardian's
};

// The guardian has killed the rest when it ends. Where our process ignores SIGCHLD, there is nothing left to wait for.
void wait_for(pid_t guardian) {
  while (::waitpid(guardian, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<Started> start(const ChildCommand& command) {
  const std::string& name = command.argv.front();
  ChildLaunch launch;
  launch.program = name;
  if (name.find('/') == std::string::npos) {  // else it may be relative to the child's working directory
    TERN_ASSIGN_OR_RETURN(launch.program, find_program(name));
  }
  launch.argv_storage = command.argv;
  launch.argv = pointers_to(launch.argv_storage);
  launch.environment_storage = environment_for(command);
  launch.environment = pointers_to(launch.environment_storage);
  launch.working_dir = command.working_dir.string();
  launch.parent = ::getpid();
  TERN_ASSIGN_OR_RETURN(Pipe output, make_pipe(name));
  TERN_ASSIGN_OR_RETURN(Pipe failure, make_pipe(name));
  TERN_ASSIGN_OR_RETURN(Pipe report, make_pipe(name));
  const Fd null_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  launch.null_fd = null_fd.get();
  launch.output_fd = output.write_end.get();
  launch.failure_fd = failure.write_end.get();
  launch.report_fd = report.write_end.get();

  const pid_t guardian = fork_with_signals_blocked();
  if (guardian < 0) {
    return fail(ErrorCode::kEngine, name, fmt::format("cannot be started: {}", ::strerror(errno)));
  }
  if (guardian == 0) {
    guard_child(launch);
  }
  output.write_end.reset();
  failure.write_end.reset();
  report.write_end.reset();
  int error_number = 0;
  ssize_t n = 0;
  do {
    n = ::read(failure.read_end.get(), &error_number, sizeof(error_number));
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof(error_number))) {
    wait_for(guardian);
    return fail(ErrorCode::kEngine, name, fmt::format("cannot be started: {}", ::strerror(error_number)));
  }
  ::fcntl(output.read_end.get(), F_SETFL, O_NONBLOCK);
  return Started{guardian, std::move(output.read_end), std::move(report.read_end)};
}

// Where the child's output goes: the file up to its limit, and the tail of all of it.
class OutputSink {
 public:
  static Result<OutputSink> create(const fs::path& path, uint64_t max_bytes) {
    OutputSink sink;
    sink.room_ = max_bytes;
    if (!path.empty()) {
      sink.file_ = Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
      if (sink.file_.get() < 0) {
        return fail(ErrorCode::kIo, path.string(), fmt::format("cannot be created: {}", ::strerror(errno)));
      }
    }
    return sink;
  }

  void take(std::string_view bytes) {
    total_ += bytes.size();
    const std::string_view kept = bytes.substr(0, std::min<uint64_t>(bytes.size(), room_));
    write(kept);
    room_ -= kept.size();
    if (kept.size() < bytes.size() && !std::exchange(cut_, true)) {
      write("\n[the output went on; it was cut here]\n");
    }
    tail_.append(bytes);
    if (tail_.size() > 2 * kTailBytes) {
      tail_.erase(0, tail_.size() - kTailBytes);
    }
  }

  uint64_t total() const { return total_; }
  int write_error() const { return write_error_; }
  std::string tail() const { return tail_.substr(tail_.size() - std::min(tail_.size(), kTailBytes)); }

 private:
  static constexpr size_t kTailBytes = 4096;

  void write(std::string_view bytes) {
    while (file_.get() >= 0 && write_error_ == 0 && !bytes.empty()) {
      const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
      if (n >= 0) {
        bytes.remove_prefix(static_cast<size_t>(n));
      } else if (errno != EINTR) {
        write_error_ = errno;
      }
    }
  }

  Fd file_;
  uint64_t room_ = 0;
  uint64_t total_ = 0;
  bool cut_ = false;
  int write_error_ = 0;
  std::string tail_;
};

// Reads what is there, at most 1 MiB, so that a flood does not delay the deadline. False at the end of the output.
bool drain(int fd, OutputSink& sink) {
  std::array<char, 65536> buffer;
  for (int round = 0; round < 16; ++round) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n > 0) {
      sink.take(std::string_view(buffer.data(), static_cast<size_t>(n)));
    } else if (n == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
  }
  return true;
}

// Waits for the child's end, passing its output on and enforcing deadline and interruption.
void supervise(const ChildCommand& command, const Started& child, const Stopwatch& stopwatch, OutputSink& sink,
               ChildResult& result) {
  constexpr int kPollMs = 20;
  constexpr double kTickSeconds = 0.1;
  std::optional<Stopwatch> since_asked;
  bool killed = false;
  bool output_open = true;
  double next_tick_s = kTickSeconds;
  for (;;) {
    std::array<pollfd, 2> waiting = {
        {{child.report.get(), POLLIN, 0}, {output_open ? child.output.get() : -1, POLLIN, 0}}};
    if (::poll(waiting.data(), waiting.size(), kPollMs) > 0 && waiting[0].revents != 0) {
      return;
    }
    if (output_open) {
      output_open = drain(child.output.get(), sink);
    }
    const double elapsed_s = stopwatch.seconds();
    const bool tick = elapsed_s >= next_tick_s;
    if (tick) {
      next_tick_s = elapsed_s + kTickSeconds;
    }
    if (tick && command.on_tick) {
      command.on_tick(elapsed_s);
    }
    if (!since_asked) {
      result.interrupted = command.interrupt != nullptr && command.interrupt->signal() != 0;
      result.timed_out = !result.interrupted && elapsed_s >= command.timeout_s;
      result.did_enough = tick && !result.interrupted && !result.timed_out && command.enough && command.enough();
      if (result.interrupted || result.timed_out || result.did_enough) {
        if (command.before_ending) {
          command.before_ending();
        }
        since_asked.emplace();
        ::kill(child.guardian, kAskChildToEnd);
      }
    } else if (!killed && since_asked->seconds() >= command.grace_s) {
      killed = true;
      ::kill(child.guardian, kEndAll);
    }
  }
}

// A guardian that was itself killed reports nothing, and the kernel has killed the child with it.
ChildReport read_report(const Fd& pipe) {
  ChildReport report;
  ssize_t n = 0;
  do {
    n = ::read(pipe.get(), &report, sizeof(report));
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof(report)) ? report : ChildReport{SIGKILL, 0};
}

}  // namespace

Result<std::string> find_program(const std::string& name) {
  const auto may_run = [](const std::string& path) {
    std::error_code error;
    return ::access(path.c_str(), X_OK) == 0 && !fs::is_directory(path, error);
  };
  if (name.find('/') != std::string::npos) {
    if (may_run(name)) {
      return name;
    }
    return fail(ErrorCode::kEngine, name, "cannot be started: is no program");
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
  while (!name.empty()) {
    const size_t colon = rest.find(':');
    const fs::path folder = rest.substr(0, colon).empty() ? "." : rest.substr(0, colon);
    std::string candidate = (folder / name).string();
    if (may_run(candidate)) {
      return candidate;
    }
    if (colon == std::string_view::npos) {
      break;
    }
    rest.remove_prefix(colon + 1);
  }
  return fail(ErrorCode::kEngine, name, "cannot be started: no such program in PATH");
}

Result<ChildResult> run_child(const ChildCommand& command) {
  TERN_CHECK(!command.argv.empty());
  TERN_ASSIGN_OR_RETURN(OutputSink sink, OutputSink::create(command.output_path, command.max_output_bytes));
  ChildResult result;
  const Stopwatch stopwatch;
  TERN_ASSIGN_OR_RETURN(const Started child, start(command));
  supervise(command, child, stopwatch, sink, result);
  result.wall_s = stopwatch.seconds();

  const ChildReport report = read_report(child.report);
  wait_for(child.guardian);
  // A descendant that could not be killed may hold the pipe open for ever: what has been written so far is enough.
  for (int round = 0; round < 64; ++round) {
    const uint64_t before = sink.total();
    if (!drain(child.output.get(), sink) || sink.total() == before) {
      break;
    }
  }
  if (WIFEXITED(report.status)) {
    result.exit_code = WEXITSTATUS(report.status);
  } else if (WIFSIGNALED(report.status)) {
    result.signal = WTERMSIG(report.status);
  }
  result.peak_rss_bytes = static_cast<uint64_t>(report.peak_rss_kib) * 1024;
  result.output_tail = sink.tail();
  if (sink.write_error() != 0) {
    return fail(ErrorCode::kIo, command.output_path.string(),
                fmt::format("cannot be written: {}", ::strerror(sink.write_error())));
  }
  return result;
}

std::string signal_name(int number) {
  const char* abbreviation = ::sigabbrev_np(number);
  return abbreviation == nullptr ? fmt::format("signal {}", number) : fmt::format("SIG{}", abbreviation);
}

}  // namespace tern
