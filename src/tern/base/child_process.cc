#include "tern/base/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "tern/base/check.h"

namespace tern {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

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

// As execvp() looks a program up; done before fork(), since the search is not async-signal-safe.
Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    return name;
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
  while (!name.empty()) {
    const size_t colon = rest.find(':');
    const fs::path folder = rest.substr(0, colon).empty() ? "." : rest.substr(0, colon);
    const std::string candidate = (folder / name).string();
    if (::access(candidate.c_str(), X_OK) == 0 && !fs::is_directory(candidate)) {
      return candidate;
    }
    if (colon == std::string_view::npos) {
      break;
    }
    rest.remove_prefix(colon + 1);
  }
  return fail(ErrorCode::kEngine, name, "cannot be started: no such program in PATH");
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!changes.contains(std::string(text.substr(0, text.find('='))))) {
      merged.emplace_back(text);
    }
  }
  for (const auto& [name, value] : changes) {
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

// Everything that the new process needs between fork() and exec, made before fork(): after it, only async-signal-safe
// calls are allowed.
struct Launch {
  std::string program;
  std::vector<std::string> argv_storage, environment_storage;
  std::vector<char*> argv, environment;
  std::string working_dir;
  int null_fd = -1;
  int output_fd = -1;
  int error_fd = -1;
  pid_t parent = 0;
};

[[noreturn]] void become_child(const Launch& launch) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launch.parent) {
    ::_exit(127);  // the parent died before the line above took effect
  }
  struct sigaction defaults = {};
  defaults.sa_handler = SIG_DFL;
  for (const int number : {SIGINT, SIGTERM, SIGQUIT, SIGPIPE, SIGCHLD, SIGHUP}) {
    ::sigaction(number, &defaults, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const bool prepared = ::dup2(launch.null_fd, STDIN_FILENO) >= 0 && ::dup2(launch.output_fd, STDOUT_FILENO) >= 0 &&
                        ::dup2(launch.output_fd, STDERR_FILENO) >= 0 &&
                        (launch.working_dir.empty() || ::chdir(launch.working_dir.c_str()) == 0);
  if (prepared) {
    ::execve(launch.program.c_str(), launch.argv.data(), launch.environment.data());
  }
  const int error_number = errno;
  [[maybe_unused]] const ssize_t ignored = ::write(launch.error_fd, &error_number, sizeof(error_number));
  ::_exit(127);
}

struct Started {
  pid_t pid = -1;
  Fd output;  // non-blocking read end of stdout and stderr
};

Result<Started> start(const ChildCommand& command) {
  const std::string& name = command.argv.front();
  Launch launch;
  TERN_ASSIGN_OR_RETURN(launch.program, find_program(name));
  launch.argv_storage = command.argv;
  launch.argv = pointers_to(launch.argv_storage);
  launch.environment_storage = merged_environment(command.environment);
  launch.environment = pointers_to(launch.environment_storage);
  launch.working_dir = command.working_dir.string();
  launch.parent = ::getpid();
  TERN_ASSIGN_OR_RETURN(Pipe output, make_pipe(name));
  TERN_ASSIGN_OR_RETURN(Pipe failure, make_pipe(name));
  const Fd null_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  launch.null_fd = null_fd.get();
  launch.output_fd = output.write_end.get();
  launch.error_fd = failure.write_end.get();

  const pid_t pid = ::fork();
  if (pid < 0) {
    return fail(ErrorCode::kEngine, name, fmt::format("cannot be started: {}", ::strerror(errno)));
  }
  if (pid == 0) {
    become_child(launch);
  }
  ::setpgid(pid, pid);  // in both processes: whoever comes first, the group exists when we need it
  output.write_end.reset();
  failure.write_end.reset();
  int error_number = 0;
  ssize_t n = 0;
  do {
    n = ::read(failure.read_end.get(), &error_number, sizeof(error_number));
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof(error_number))) {
    ::waitpid(pid, nullptr, 0);
    return fail(ErrorCode::kEngine, name, fmt::format("cannot be started: {}", ::strerror(error_number)));
  }
  ::fcntl(output.read_end.get(), F_SETFL, O_NONBLOCK);
  return Started{pid, std::move(output.read_end)};
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

// Reads what is there, at most 1 MiB so that a flood cannot keep us from the clock. False at the end of the output.
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

// True once the child has ended. It stays a zombie, so that its process group id cannot be taken over by others yet.
bool has_ended(pid_t pid) {
  siginfo_t info = {};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

// Waits for the child's end, passing its output on and enforcing deadline and interruption.
void supervise(const ChildCommand& command, const Started& child, Clock::time_point start_time, OutputSink& sink,
               ChildResult& result) {
  constexpr int kPollMs = 20;
  constexpr double kTickSeconds = 0.1;
  std::optional<Clock::time_point> terminated;
  bool killed = false;
  bool output_open = true;
  double next_tick_s = kTickSeconds;
  while (!has_ended(child.pid)) {
    pollfd waiting{output_open ? child.output.get() : -1, POLLIN, 0};
    ::poll(&waiting, 1, kPollMs);
    if (output_open) {
      output_open = drain(child.output.get(), sink);
    }
    const double elapsed_s = seconds_since(start_time);
    if (command.on_tick && elapsed_s >= next_tick_s) {
      command.on_tick(elapsed_s);
      next_tick_s = elapsed_s + kTickSeconds;
    }
    if (!terminated) {
      result.interrupted = command.interrupt != nullptr && command.interrupt->signal() != 0;
      result.timed_out = !result.interrupted && elapsed_s >= command.timeout_s;
      if (result.interrupted || result.timed_out) {
        if (command.before_ending) {
          command.before_ending();
        }
        terminated = Clock::now();
        ::kill(-child.pid, SIGTERM);
      }
    } else if (!killed && seconds_since(*terminated) >= command.grace_s) {
      killed = true;
      ::kill(-child.pid, SIGKILL);
    }
  }
}

}  // namespace

Result<ChildResult> run_child(const ChildCommand& command) {
  TERN_CHECK(!command.argv.empty());
  TERN_ASSIGN_OR_RETURN(OutputSink sink, OutputSink::create(command.output_path, command.max_output_bytes));
  ChildResult result;
  const Clock::time_point start_time = Clock::now();
  TERN_ASSIGN_OR_RETURN(const Started child, start(command));
  supervise(command, child, start_time, sink, result);
  result.wall_s = seconds_since(start_time);

  ::kill(-child.pid, SIGKILL);  // descendants that outlived it
  int status = 0;
  rusage usage = {};
  while (::wait4(child.pid, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  // A descendant that left the group may hold the pipe open for ever: what has been written so far is enough.
  for (int round = 0; round < 64; ++round) {
    const uint64_t before = sink.total();
    if (!drain(child.output.get(), sink) || sink.total() == before) {
      break;
    }
  }
  if (WIFEXITED(status)) {
    result.exit_code = WEXITSTATUS(status);
  } else if (WIFSIGNALED(status)) {
    result.signal = WTERMSIG(status);
  }
  result.peak_rss_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  result.output_bytes = sink.total();
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
