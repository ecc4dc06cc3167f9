#include "tern/base/interrupt.h"

#include <signal.h>

#include <atomic>

#include "tern/base/check.h"

namespace tern {
namespace {

std::atomic<int> caught_signal{0};
std::atomic<bool> installed{false};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only use lock-free atomics");
struct sigaction previous_int;
struct sigaction previous_term;

extern "C" void remember_signal(int number) {
  int none = 0;
  caught_signal.compare_exchange_strong(none, number);
}

}  // namespace

Interrupt::Interrupt() {
  TERN_CHECK(!installed.exchange(true));
  caught_signal = 0;
  struct sigaction action = {};
  action.sa_handler = remember_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: poll() must return so that the flag is looked at
  ::sigaction(SIGINT, &action, &previous_int);
  ::sigaction(SIGTERM, &action, &previous_term);
}

Interrupt::~Interrupt() {
  ::sigaction(SIGINT, &previous_int, nullptr);
  ::sigaction(SIGTERM, &previous_term, nullptr);
  installed = false;
}

int Interrupt::signal() const { return caught_signal; }

}  // namespace tern
