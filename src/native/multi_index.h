// Multi-index hashing: exact search that reads only codes which agree with the query in some part.
//
// M. Norouzi, A. Punjani, D. J. Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012.
// The bits of a code are cut into m substrings, each with a table from its value to the codes that have it,
// their bucket. A code that is m * r + a bits or less from the query must be within r bits of it in one of
// the substrings 0 to a, or within r - 1 bits in one of the others: more everywhere would add up to more.
// So a search looks up buckets by growing radius, table after table, and after each table knows all codes
// up to a distance one bit larger.
//
// Not in the paper: beside the position of a code its bucket has a tag of up to 32 more of its bits, which
// tells nearly always that a code is too far away, without reading it. Reading a code is a wait for memory,
// and reading tags is not, as those of a bucket lie side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "collection.h"
#include "scan.h"

namespace grainhash {

constexpr unsigned kMaxKeyBits = 28;

// Estimated nanoseconds of one thread for a query: to begin with, for each bucket looked up, for each
// candidate in it, and for each of these that is read. A look-up is a wait for memory, for a line of
// `starts` and one or two of `entries`; to read a code is one as well. Look-ups and candidates follow from
// searches in 1e7 uniform codes of 64 bits with 3 and 4 tables, reads from the time such a wait takes
// where many are under way; the first is a round number.
constexpr double kQueryNs = 2000;
constexpr double kLookupNs = 26;
constexpr double kCandidateNs = 4;
constexpr double kReadNs = 14;

// Tags of codes that are not near differ in half of their bits. So while codes that differ in as many besides
// the key may still matter, tags turn few away, and all candidates count as read.
constexpr std::size_t kTagTells = 16;

// What a query may cost, in budgets, while there is hope for it.
constexpr double kPatience = 10;

inline double multi_index_cost(double lookups, double candidates, double reads) {
  return kQueryNs + lookups * kLookupNs + candidates * kCandidateNs + reads * kReadNs;
}

// Some consecutive bits of a code, read as a number whose highest bit is the first of them.
struct Substring {
  std::size_t byte;   // they lie in the `width` bytes from here
  std::size_t width;  // 8, or that of the whole code where that is less
  unsigned shift;     // bits of those bytes that come after them
  unsigned n_bits;

  std::size_t n_values() const { return std::size_t{1} << n_bits; }
  std::uint32_t of(const std::uint8_t* code) const {
    const std::uint64_t word = width == 8 ? load_eight(code + byte) : load(code + byte, width);
    return static_cast<std::uint32_t>(word >> shift) & static_cast<std::uint32_t>(n_values() - 1);
  }

 private:
  static std::uint64_t load(const std::uint8_t* bytes, std::size_t n) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < n; ++i) word = word << 8 | bytes[i];
    return word;
  }

  // Written out so that compilers see one load and a swap of bytes.
  static std::uint64_t load_eight(const std::uint8_t* b) {
    return std::uint64_t{b[0]} << 56 | std::uint64_t{b[1]} << 48 | std::uint64_t{b[2]} << 40 |
           std::uint64_t{b[3]} << 32 | std::uint64_t{b[4]} << 24 | std::uint64_t{b[5]} << 16 |
           std::uint64_t{b[6]} << 8 | std::uint64_t{b[7]};
  }
};

// What a table sorts codes by, and the tags in its buckets: the bits after the key, or those before it
// where they are more. The two never overlap.
struct TableBits {
  Substring key;
  Substring tag;
};

// Cuts codes of `n_bytes` bytes at `bounds`. Throws std::invalid_argument unless these ascend from 0 to the
// number of bits in steps of 1 to kMaxKeyBits.
std::vector<TableBits> cut(const std::int64_t* bounds, std::size_t n_bounds, std::size_t n_bytes);

// How many bucket starts there are: for each table one more than keys.
std::size_t n_starts(const std::vector<TableBits>& tables);

// Sorts `n_codes` < 2**32 codes into buckets. `starts` has room for `n_starts`, `entries` for `n_codes` a
// table: the bucket of `key` are those from starts[key] to before starts[key + 1]. An entry is a tag in the
// upper 32 bits and a position in the lower; positions ascend in a bucket.
void build_tables(const std::uint8_t* codes, std::size_t n_codes, std::size_t n_bytes,
                  const std::vector<TableBits>& tables, std::uint32_t* starts, std::uint64_t* entries,
                  std::size_t n_threads);

// A view of tables, which may come from a damaged file: what they hold is checked when it is read.
struct Tables {
  std::vector<TableBits> bits;
  const std::uint32_t* starts;   // `n_starts(bits)`
  const std::uint64_t* entries;  // n_codes a table
};

struct TableAnswers {
  std::size_t k;  // results of each query of `multi_index_knn`
  Found found;
  std::vector<std::uint8_t> finished;  // of each query: whether what is found for it means anything
};

// Finds the `k` items nearest to each query, or all of them if there are fewer.
//
// `budget` is in estimated nanoseconds that a query may waste on average, if in the end it is given up. A
// query goes on, to at most kPatience budgets, as long as that holds with it, or it is known to end by then:
// the k-th best of the codes found so far bounds the radius, hence the look-ups. Each that ends well is
// taken to have spared the caller more than kPatience budgets, and lets others waste as much. A query is
// given up before the look-ups or buckets that would be too much are read.
TableAnswers multi_index_knn(const Collection& collection, const Tables& tables,
                             const std::uint8_t* queries, std::size_t n_queries, std::size_t k,
                             double budget, std::size_t n_threads);

// Finds the items at most `radius` bits from each query.
TableAnswers multi_index_range(const Collection& collection, const Tables& tables,
                               const std::uint8_t* queries, std::size_t n_queries, std::size_t radius,
                               double budget, std::size_t n_threads);

}  // namespace grainhash
