/* Engines that run alike: what else would differ between two runs of the same program.
**
** Lua orders a table's string keys by hashes with a seed that it takes from the clock and
** from addresses, and keys that are objects by their addresses. An engine with a seed of
** its own (ml_config.seed) has neither: its state is given the seed before the first
** string is made, and its blocks lie in a region of their own, at the same offsets from
** a multiple of 4 GiB in each run (Lua looks at the lower 32 bits), and at the same
** address if that is free. Owner: the allocator, on the engine's thread.
*/
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <lualib.h>

#include "core.h"

/* ---- the region ---- */

#define ALIGNED ((size_t)1 << 32)
#define WANTED ((uintptr_t)0x5eed00000000) /* where the region lies if nothing else does */
#define LARGEST ((size_t)64 << 30)         /* of addresses; memory is taken as it is used */
#define LEAST ((size_t)1 << 30)
#define STEP ((size_t)1 << 20)
#define RETURNED ((size_t)1 << 18) /* free blocks from that size on give their pages back */
#define CLASSES 160

typedef struct free_block {
  struct free_block *next;
} free_block;

struct ml_region {
  char *map; /* what was mapped */
  size_t mapped;
  char *next, *ready, *end; /* unused from next on; accessible up to ready */
  free_block *free[CLASSES];
};

/* Blocks come in sizes of four steps to a doubling. */
static int class_of(size_t n, size_t *size) {
  int shift = 0;
  n = (n + 15) / 16;
  while (n > 8) {
    n = (n + 1) / 2;
    shift++;
  }
  *size = n << shift << 4;
  return shift == 0 ? (int)n : 8 + (shift - 1) * 4 + (int)(n - 4);
}

ml_region *ml__region_new(void) {
  ml_region *r = NULL;
  char *p = MAP_FAILED, *base;
  size_t size, mapped = 0;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  for (size = LARGEST; size >= LEAST && p == MAP_FAILED; size /= 4) {
    p = mmap((void *)WANTED, mapped = size, PROT_NONE, flags, -1, 0);
    if (p != MAP_FAILED && (uintptr_t)p % ALIGNED != 0) { /* somebody is there */
      munmap(p, size);
      p = mmap(NULL, mapped = size + ALIGNED, PROT_NONE, flags, -1, 0);
    }
  }
  if (p == MAP_FAILED) return NULL;
  base = p + (ALIGNED - (uintptr_t)p % ALIGNED) % ALIGNED;
  if (mprotect(base, STEP, PROT_READ | PROT_WRITE) != 0) {
    munmap(p, mapped);
    return NULL;
  }
  r = (ml_region *)(void *)base;
  memset(r, 0, sizeof *r);
  r->map = p;
  r->mapped = mapped;
  r->ready = base + STEP;
  r->end = p + mapped;
  r->next = base + (sizeof *r + 4095) / 4096 * 4096;
  return r;
}

void ml__region_free(ml_region *r) {
  if (r != NULL) munmap(r->map, r->mapped);
}

static void *region_take(ml_region *r, size_t n) {
  size_t size;
  int cl = class_of(n, &size);
  free_block *b = r->free[cl];
  char *p = r->next;
  if (b != NULL) {
    r->free[cl] = b->next;
    return b;
  }
  if (size > (size_t)(r->end - p)) return NULL;
  if (size > (size_t)(r->ready - p)) {
    size_t more = (size - (size_t)(r->ready - p) + STEP - 1) / STEP * STEP;
    if (more > (size_t)(r->end - r->ready)) more = (size_t)(r->end - r->ready);
    if (mprotect(r->ready, more, PROT_READ | PROT_WRITE) != 0) return NULL;
    r->ready += more;
  }
  r->next += size;
  return p;
}

static void region_give(ml_region *r, void *p, size_t n) {
  size_t size;
  int cl = class_of(n, &size);
  free_block *b = p;
  if (size >= RETURNED) {
    uintptr_t from = ((uintptr_t)p + 8191) / 4096 * 4096;
    uintptr_t to = ((uintptr_t)p + size) / 4096 * 4096;
    madvise((void *)from, to - from, MADV_DONTNEED); // NOLINT(performance-no-int-to-ptr)
  }
  b->next = r->free[cl];
  r->free[cl] = b;
}

/* As lua_Alloc, but osize is right for NULL, too. */
void *ml__region_alloc(void *ud, void *p, size_t osize, size_t nsize) {
  ml_region *r = ud;
  size_t a, b;
  void *q;
  if (p == NULL) return nsize == 0 ? NULL : region_take(r, nsize);
  if (nsize == 0) {
    region_give(r, p, osize);
    return NULL;
  }
  if (class_of(osize, &a) == class_of(nsize, &b)) return p;
  q = region_take(r, nsize);
  if (q == NULL)
    return nsize < osize ? p : NULL; /* it would be given back as a smaller one: lost */
  memcpy(q, p, osize < nsize ? osize : nsize);
  region_give(r, p, osize);
  return q;
}

/* ---- the state's seed ---- */

/* What the first strings of a state are hashed with lies somewhere in the block that is
** allocated first, and is set before the second one. */
typedef struct probe {
  lua_Alloc alloc;
  void *ud;
  char *block;
  size_t size;
  size_t at;
  unsigned seed;
  bool set, done;
} probe;

static void *probe_alloc(void *ud, void *p, size_t osize, size_t nsize) {
  probe *s = ud;
  void *q;
  if (s->set && !s->done && s->block != NULL) {
    memcpy(s->block + s->at, &s->seed, sizeof s->seed);
    s->done = true;
  }
  q = s->alloc(s->ud, p, osize, nsize);
  if (s->block == NULL) {
    s->block = q;
    s->size = nsize;
  }
  return q;
}

static void *plain_alloc(void *ud, void *p, size_t osize, size_t nsize) {
  (void)ud, (void)osize;
  if (nsize != 0) return realloc(p, nsize);
  free(p);
  return NULL;
}

/* In front of a short string's text: its hash, and a pointer. */
static unsigned hash_of(lua_State *L, const char *s) {
  unsigned h;
  lua_pushstring(L, s);
  memcpy(&h, lua_tostring(L, -1) - sizeof(void *) - sizeof h, sizeof h);
  lua_pop(L, 1);
  return h;
}

/* The seed is the hash of nothing; the hash of a text proves it. */
static int read_seed(lua_State *L) {
  static const char text[] = "moonloop";
  unsigned *out = lua_touserdata(L, 1), h;
  *out = hash_of(L, "");
  h = *out ^ (unsigned)(sizeof text - 1);
  for (size_t l = sizeof text - 1; l > 0; l--)
    h ^= (h << 5) + (h >> 2) + (unsigned char)text[l - 1];
  lua_pushboolean(L, h == hash_of(L, text));
  return 1;
}

static bool seed_of(lua_State *L, unsigned *seed) {
  bool ok;
  lua_pushcfunction(L, read_seed);
  lua_pushlightuserdata(L, seed);
  ok = lua_pcall(L, 1, 1, 0) == LUA_OK && lua_toboolean(L, -1);
  lua_pop(L, 1);
  return ok;
}

/* Where in the first block a state has its seed; from `at` on. 0: nowhere. */
static size_t find_seed(size_t at) {
  probe s = {.alloc = plain_alloc};
  unsigned seed, word;
  size_t found = 0;
  lua_State *L = lua_newstate(probe_alloc, &s);
  if (L == NULL) return 0;
  if (seed_of(L, &seed)) {
    for (; found == 0 && at + sizeof word <= s.size; at += sizeof word) {
      memcpy(&word, s.block + at, sizeof word);
      if (word == seed) found = at;
    }
  }
  lua_close(L);
  return found;
}

lua_State *ml__seeded_state(lua_Alloc alloc, void *ud, uint64_t seed, int *err) {
  probe s = {.alloc = alloc, .ud = ud, .seed = (unsigned)(seed ^ seed >> 32), .set = true};
  unsigned got;
  lua_State *L;
  *err = UV_ENOSYS;
  s.at = find_seed(sizeof(unsigned));
  if (s.at == 0 || find_seed(s.at) != s.at) return NULL;
  *err = ML_ENOMEM;
  L = lua_newstate(probe_alloc, &s);
  if (L == NULL) return NULL;
  lua_setallocf(L, alloc, ud);
  if (seed_of(L, &got) && got == s.seed) return L;
  *err = UV_ENOSYS;
  lua_close(L);
  return NULL;
}

/* Random numbers of scripts, too. */
int ml__seed_random(lua_State *L) {
  if (lua_getglobal(L, LUA_MATHLIBNAME) != LUA_TTABLE) return 0;
  lua_getfield(L, -1, "randomseed");
  lua_pushinteger(L, (lua_Integer)ml__engine(L)->config.seed);
  lua_call(L, 1, 0);
  return 0;
}
