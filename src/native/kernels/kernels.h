// The innermost loops of a scan, once for each instruction set, and the choice between them.
//
// Every kernel computes the same numbers. They differ in how many codes they take at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace grainhash {

// Where codes lie: `n` of them, `stride` bytes apart, of which the first `n_bytes` are compared.
struct Rows {
  const std::uint8_t* codes;
  std::size_t n;
  std::size_t stride;
  std::size_t n_bytes;
};

// Some codes of a block that are nearer to a query than its limit: bit `b` of word `w` stands for the
// code at `first + b * n_words + w` of the block. Bits past the end of the block mean nothing.
struct BlockHit {
  std::size_t query;
  std::size_t first;
  std::uint64_t words[8];
};

// Many queries against blocks of codes. What it keeps lies in one piece of memory, aligned to 64
// bytes, which belongs to the caller and to one thread.
struct BatchKernel {
  std::size_t block;         // codes in a block, at most
  std::size_t n_words;       // of a hit
  std::size_t hits_a_query;  // of a block, at most
  std::size_t worth_from;    // so many queries or more

  std::size_t (*memory_bytes)(std::size_t n_queries, std::size_t n_bytes);
  void (*prepare)(void* memory, const std::uint8_t* queries, std::size_t n_queries, std::size_t n_bytes);

  // Asks for codes nearer than `limit`, which is at least 0. Codes at distance 0 may be hits at any limit.
  void (*set_limit)(void* memory, std::size_t query, std::int32_t limit);

  // Compares a block with all queries and returns how many hits there are; those of one query come by
  // ascending position. `n_after` codes follow the block in memory and are fetched ahead.
  std::size_t (*below)(void* memory, const Rows& rows, std::size_t n_after, BlockHit* hits);
};

struct Kernels {
  const char* name;

  // The least distance from `query` to `n >= 1` codes.
  std::int32_t (*least)(const std::uint8_t* query, const Rows& rows);

  // All of them.
  void (*distances)(const std::uint8_t* query, const Rows& rows, std::int32_t* out);

  // Those to the codes at some positions, which are below `rows.n`.
  void (*distances_at)(const std::uint8_t* query, const Rows& rows, const std::uint32_t* positions, std::size_t n,
                       std::int32_t* out);

  // Of each code the nearest of `n_centres >= 1` codes that lie without gaps, the first of equals, and how far.
  void (*nearest)(const Rows& rows, const std::uint8_t* centres, std::size_t n_centres, std::int32_t* labels,
                  std::int32_t* out);

  // Of `n` entries of a multi-index, each a tag in the upper 32 bits and a position in the lower, writes the
  // positions of those whose tags differ from `tag` in at most `most` bits, and returns how many there are.
  std::size_t (*near_tags)(const std::uint64_t* entries, std::size_t n, std::uint32_t tag, std::uint32_t most,
                           std::uint32_t* out);

  // For each code the sum of `weights`, one a bit, zeros up to whole words of 32, over the bits that differ from
  // `query`. Null where tables are faster.
  void (*weighted)(const std::uint8_t* query, const std::int32_t* weights, const Rows& rows, std::int32_t* out);

  // The fastest for codes of that width.
  const BatchKernel& (*batch)(std::size_t n_bytes);
};

// Those that this processor runs, the fastest first.
const std::vector<const Kernels*>& all_kernels();

// The one in use: the fastest, unless another was asked for.
const Kernels& kernels();

// Returns whether there is one of that name. For tests; not while a search runs.
bool use_kernels(const std::string& name);

}  // namespace grainhash
