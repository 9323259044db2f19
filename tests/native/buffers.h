// Random numbers, and arrays that end exactly where they say.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <new>
#include <random>

namespace grainhash {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t bits() { return engine_(); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(engine_() % n); }
  std::size_t between(std::size_t least, std::size_t most) { return least + below(most - least + 1); }
  bool chance(double probability) { return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability; }

  template <class T>
  T one_of(std::initializer_list<T> choices) {
    return choices.begin()[below(choices.size())];
  }

 private:
  std::mt19937_64 engine_;
};

// An array without a byte to spare: on the heap, where AddressSanitizer watches what is around it, or
// with a page beside it that nobody may touch. The page also stops what that sanitizer does not see,
// such as gathers and loads of tiles.
template <class T>
class Buffer {
 public:
  Buffer(Random& random, std::size_t n) : n_(n) {
    const std::size_t n_bytes = n * sizeof(T);
    const bool on_heap = alignof(T) <= alignof(std::max_align_t) && random.chance(0.5);
    if (on_heap) {
      const std::size_t shift = random.below(64 / alignof(T)) * alignof(T);
      owner_.reset(std::malloc(shift + n_bytes + !n_bytes), std::free);
      data_ = reinterpret_cast<T*>(static_cast<unsigned char*>(owner_.get()) + shift);
    } else {
      data_ = reinterpret_cast<T*>(between_guards(n_bytes, random.chance(0.8)));
    }
  }

  std::size_t size() const { return n_; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T* begin() { return data_; }
  T* end() { return data_ + n_; }
  T& operator[](std::size_t i) { return data_[i]; }

 private:
  // Memory that touches the page after it, or else the one before.
  unsigned char* between_guards(std::size_t n_bytes, bool at_end) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t inside = (n_bytes + page - 1) / page * page;
    const std::size_t whole = inside + 2 * page;
    void* memory = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    owner_.reset(memory, [whole](void* mapped) { munmap(mapped, whole); });
    unsigned char* first = static_cast<unsigned char*>(memory) + page;
    if (inside && mprotect(first, inside, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    return at_end ? first + inside - n_bytes : first;
  }

  std::size_t n_;
  std::shared_ptr<void> owner_;
  T* data_;
};

}  // namespace grainhash
