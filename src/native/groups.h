// What k-majority repeats: the nearest of some centres for each code, and the ones of each bit in each group.
#pragma once

#include <cstddef>
#include <cstdint>

namespace grainhash {

struct Centres {
  const std::uint8_t* codes;  // `n >= 1` of them, without gaps
  std::size_t n;
};

// Writes the nearest centre of each of `n` codes, the first of equals, and how many bits it is away.
void nearest_centres(const std::uint8_t* codes, std::size_t n, std::size_t n_bytes, const Centres& centres,
                     std::int32_t* labels, std::int32_t* distances, std::size_t n_threads);

// Adds to `ones`, `(n_groups, n_bytes * 8)`, how many codes of each group have each bit; bit 0 is the highest of
// byte 0. Labels must be below `n_groups`; a code with a negative one is of no group.
void count_bits(const std::uint8_t* codes, std::size_t n, std::size_t n_bytes, const std::int32_t* labels,
                std::size_t n_groups, std::int64_t* ones, std::size_t n_threads);

}  // namespace grainhash
