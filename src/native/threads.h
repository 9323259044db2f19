// The same function on several threads.
#pragma once

#include <cstddef>
#include <future>
#include <vector>

namespace grainhash {

constexpr std::size_t kMaxThreads = 1024;

// The results of `run(0)` to `run(n - 1)`, each on a thread of its own, the first on the caller's.
//
// A future's destructor waits for its thread and `get` throws what the thread threw, so that no
// failure, not even to start a thread, leaves one running.
template <class Run>
auto on_threads(std::size_t n, const Run& run) {
  using Result = decltype(run(std::size_t{0}));
  std::vector<std::future<Result>> others;
  for (std::size_t i = 1; i < n; ++i) others.push_back(std::async(std::launch::async, [&run, i] { return run(i); }));
  std::vector<Result> results;
  results.push_back(run(0));
  for (auto& other : others) results.push_back(other.get());
  return results;
}

}  // namespace grainhash
