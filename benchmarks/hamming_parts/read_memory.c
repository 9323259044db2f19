// Reads memory as fast as a processor can, and does next to nothing else: the bound of any search
// that looks at every code once. Two orders of reading; which one is faster depends on the machine.
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t block __attribute__((vector_size(64), aligned(1), may_alias));

enum { REGISTERS = 16, STREAMS = 4, PAGE = 4096, MAX_THREADS = 64 };

static uint64_t fold(const block* blocks, int n) {
  uint64_t all = 0;
  for (int i = 0; i < n; i++)
    for (int word = 0; word < 8; word++) all |= blocks[i][word];
  return all;
}

// From the first byte to the last.
static uint64_t in_order(const unsigned char* bytes, size_t n) {
  block seen[REGISTERS] = {{0}};
  for (size_t at = 0; at + sizeof seen <= n; at += sizeof seen)
    for (int i = 0; i < REGISTERS; i++) seen[i] |= *(const block*)(bytes + at + i * sizeof(block));
  return fold(seen, REGISTERS);
}

// Four places at once, each a quarter of the way apart: more of the processor's prefetchers at work.
static uint64_t in_streams(const unsigned char* bytes, size_t n) {
  block seen[STREAMS] = {{0}};
  const size_t apart = n / STREAMS / PAGE * PAGE;
  for (size_t at = 0; at < apart; at += sizeof(block))
    for (int i = 0; i < STREAMS; i++) seen[i] |= *(const block*)(bytes + i * apart + at);
  return fold(seen, STREAMS) | in_order(bytes + STREAMS * apart, n - STREAMS * apart);
}

struct part {
  const unsigned char* bytes;
  size_t n;
  int streams;
  uint64_t seen;
};

static void* run(void* argument) {
  struct part* part = argument;
  part->seen = (part->streams ? in_streams : in_order)(part->bytes, part->n);
  return NULL;
}

// Reads `n` bytes on so many threads and returns the OR of what was read.
uint64_t read_memory(const unsigned char* bytes, size_t n, int streams, int n_threads) {
  struct part parts[MAX_THREADS];
  pthread_t threads[MAX_THREADS];
  int started[MAX_THREADS] = {0};
  if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
  const size_t share = n / n_threads / PAGE * PAGE;
  for (int i = 0; i < n_threads; i++) {
    parts[i] = (struct part){bytes + i * share, i + 1 < n_threads ? share : n - i * share, streams, 0};
    if (i) started[i] = !pthread_create(&threads[i], NULL, run, &parts[i]);
  }
  for (int i = 0; i < n_threads; i++)
    if (!started[i]) run(&parts[i]);
  uint64_t seen = 0;
  for (int i = 0; i < n_threads; i++) {
    if (started[i]) pthread_join(threads[i], NULL);
    seen |= parts[i].seen;
  }
  return seen;
}
