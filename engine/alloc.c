/* The engine's allocator: what Lua's many small blocks come from.
**
** Blocks of up to ML_SMALL bytes are cut from chunks and kept in one free list
** per size class; Lua tells the size at each free, so blocks carry no header.
** Larger blocks go to the host's allocator (malloc by default). A few of the size
** that streams read are kept: malloc returns such pages to the system, and
** fetching them again costs more than reading into them. One engine, one
** thread: no locks. Chunks are given back when the engine is closed.
**
** A coroutine that is collected without having been awaited must be reported.
** Finalizers would cost several times the coroutine itself; instead coroutines
** live in chunks of their own, and the free list's entry looks at the state of
** what it gets back.
**
** A string buffer is a block with room for a string's head in front: filled from
** a socket or file, it becomes the Lua string itself. To that end Lua is told
** to make a string of the bytes where they are, and its allocation is answered
** with the very block, so that it copies the bytes onto themselves: nothing.
**
** With AddressSanitizer free blocks are poisoned. Built with ML_NO_ARENA every
** block comes straight from the host's allocator, behind a head that holds its
** size: each allocation can then be made to fail, and ASan sees each block.
**
** A state that is the host's keeps its allocator. Ours is put before it, which changes no
** block: it counts, and looks at coroutines when they are freed.
*/
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define WATCHED 1024 /* a coroutine larger than that is not watched */

#ifndef ML_NO_ARENA

#if defined(__SANITIZE_ADDRESS__)
#define ML_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ML_ASAN 1
#endif
#endif
#ifdef ML_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, n) __asan_poison_memory_region(p, n)
#define unpoison(p, n) __asan_unpoison_memory_region(p, n)
#else
#define poison(p, n) ((void)0)
#define unpoison(p, n) ((void)0)
#endif

#define ML_GRAIN 8 /* what Lua's objects need to be aligned to */
#define ML_SMALL 1024
#define ML_CLASSES (ML_SMALL / ML_GRAIN)
#define ML_CHUNK (16 * 1024)
#define SPAN_LEAST 4 /* chunks of the first span; later ones have up to SPAN_MOST */
#define SPAN_MOST 64

typedef struct block {
  struct block *next;
} block;

/* Chunks are aligned to their size, so that a block finds its chunk by masking. */
typedef struct chunk {
  bool coroutines;
} chunk;
#define CHUNK_HEAD 16

/* What chunks are carved from. */
typedef struct span {
  struct span *next;
  size_t size;
} span;

typedef struct arena {
  block *free[ML_CLASSES + 1];
  char *bump, *end; /* what is left of the newest chunk */
  char *rest,
      *rest_end; /* and of one before it, in which a large block had no room: for small ones */
} arena;

/* Blocks from KEEP_LEAST to KEEP_MOST bytes come in whole pages; when freed, some
** are kept. */
#define KEEP_LEAST (16 * 1024)
#define KEEP_MOST (256 * 1024)
#define KEEP_BLOCKS 100
#define PAGE 4096

#endif

struct ml_allocator {
  /* a state that is the host's has its own allocator under ml__alloc_attached */
  lua_Alloc state_host;
  void *state_ud;
  size_t state_used;
  const void *last; /* the state's last block */
  void (*gone)(void *ud);
  void *(*host)(void *ud, void *p, size_t osize, size_t nsize);
  void *ud;
  ml_region *region; /* of an engine with a seed, or NULL */
  void (*lost)(void *ud, const ml_object *co);
  void *lost_ud;
  size_t used, limit; /* limit 0: none */
  int expecting;      /* 1: the next userdata is a coroutine; 2: and was refused once */
#ifndef ML_NO_ARENA
  span *spans;
  size_t nchunks;          /* in all spans */
  char *fresh, *fresh_end; /* aligned chunks not yet given to an arena */
  arena plain, coroutines;
  struct {
    void *p;
    size_t size;
  } kept[KEEP_BLOCKS];
  int nkept;
  size_t string_head; /* bytes of a long string in front of its text; 0: not known */
  void *last_string;  /* while that is found out: the block of the last one */
  void *offer;        /* the block that the next string is to have, or NULL */
  size_t offer_size;  /* as the host knows it */
#endif
};

static void *host_malloc(void *ud, void *p, size_t osize, size_t nsize) {
  (void)ud;
  (void)osize;
  if (nsize == 0) {
    free(p);
    return NULL;
  }
  return realloc(p, nsize);
}

ml_allocator *ml__alloc_new(const ml_config *c, void (*lost)(void *ud, const ml_object *co),
                            void *ud) {
  void *(*host)(void *, void *, size_t, size_t) = c->alloc ? c->alloc : host_malloc;
  void *host_ud = c->alloc_ud;
  ml_region *region = NULL;
  ml_allocator *a;
  if (c->seed != 0 && c->alloc == NULL) {
    host_ud = region = ml__region_new();
    host = ml__region_alloc;
    if (region == NULL) return NULL;
  }
  a = host(host_ud, NULL, 0, sizeof *a);
  if (a == NULL) {
    ml__region_free(region);
    return NULL;
  }
  memset(a, 0, sizeof *a);
  a->region = region;
  a->host = host;
  a->ud = host_ud;
  a->lost = lost;
  a->lost_ud = ud;
  return a;
}

void ml__alloc_set_ud(ml_allocator *a, void *ud) { a->lost_ud = ud; }
void *ml__alloc_ud(const ml_allocator *a) { return a->lost_ud; }
void ml__alloc_main_block(ml_allocator *a, const void *p) { a->last = p; }

void ml__alloc_free(ml_allocator *a) {
  if (a == NULL) return;
  if (a->region != NULL) { /* with all that is in it */
    ml__region_free(a->region);
    return;
  }
#ifndef ML_NO_ARENA
  while (a->nkept > 0) {
    a->nkept--;
    unpoison(a->kept[a->nkept].p, a->kept[a->nkept].size);
    a->host(a->ud, a->kept[a->nkept].p, a->kept[a->nkept].size, 0);
  }
  for (span *s = a->spans, *next; s != NULL; s = next) {
    next = s->next;
    unpoison(s, s->size);
    a->host(a->ud, s, s->size, 0);
  }
#endif
  a->host(a->ud, a, sizeof *a, 0);
}

size_t ml__alloc_used(const ml_allocator *a) { return a->used + a->state_used; }
void ml__alloc_limit(ml_allocator *a, size_t limit) { a->limit = limit; }

/* May the allocator grow by so much? */
static inline bool allowed(const ml_allocator *a, size_t more) {
  if (a->limit == 0) return true;
  size_t used = a->used + a->state_used;
  return used <= a->limit && more <= a->limit - used;
}

void ml__alloc_expect_coroutine(ml_allocator *a) { a->expecting = 1; }

/* ---- in a state that is the host's ---- */

void ml__alloc_adopt(ml_allocator *a, lua_Alloc host, void *ud, size_t used, const void *last,
                     void (*gone)(void *ud)) {
  a->state_host = host;
  a->state_ud = ud;
  a->state_used = used;
  a->last = last;
  a->gone = gone;
}

void ml__alloc_disown(ml_allocator *a, lua_State *L) {
  lua_setallocf(L, a->state_host, a->state_ud);
  a->state_used = 0;
}

/* Is it a coroutine that is freed? Its last word points to the object inside, which begins
** with what nothing else begins with. The word is cleared, so that no other block that comes
** to lie there is taken for one. */
static void look_at_freed(ml_allocator *a, char *p, size_t size) {
  const ml_object *co;
  uintptr_t at;
  if (size < sizeof(ml_coroutine) || size > WATCHED || size % sizeof(void *) != 0) return;
  memcpy(&at, p + size - sizeof at, sizeof at);
  if (at < (uintptr_t)p || at > (uintptr_t)p + size - sizeof *co || at % sizeof(void *) != 0)
    return;
  co = (const ml_object *)(const void *)(p + (at - (uintptr_t)p));
  if (co->magic != &ml__magic || (co->type != ML_T_COROUTINE && co->type != ML_T_OP)) return;
  memset(p + size - sizeof at, 0, sizeof at);
  if (co->state == ML_CO_NEW) a->lost(a->lost_ud, co);
}

void *ml__alloc_attached(void *ud, void *p, size_t osize, size_t nsize) {
  ml_allocator *a = ud;
  size_t had = p != NULL ? osize : 0;
  const ml_engine *e = a->lost_ud;
  void *q;
  if (p != NULL && nsize == 0) {
    bool last = p == a->last;
    look_at_freed(a, p, osize);
    a->state_used -= osize < a->state_used ? osize : a->state_used;
    a->state_host(a->state_ud, p, osize, 0);
    if (last) a->gone(a->lost_ud);
    return NULL;
  }
  /* the limit is for what the engine runs: what the host does meanwhile cannot take an error */
  if (nsize > had && e->running != NULL && !allowed(a, nsize - had)) return NULL;
  q = a->state_host(a->state_ud, p, osize, nsize);
  if (q == NULL) return NULL;
  a->state_used += nsize;
  a->state_used -= had < a->state_used ? had : a->state_used;
  return q;
}

/* No memory. Lua collects garbage then and asks again, once: after that the coroutine that was
** expected has failed, and the next userdata is another. */
static __attribute__((noinline)) void *refused(ml_allocator *a, void *p, size_t kind) {
  if (p == NULL && kind == LUA_TUSERDATA && a->expecting != 0)
    a->expecting = (a->expecting + 1) % 3;
  return NULL;
}

#ifdef ML_NO_ARENA

typedef union head {
  struct {
    size_t size; /* of the whole block, as the host knows it */
    bool coroutine;
  } s;
  max_align_t align;
} head;

void *ml__alloc(void *ud, void *p, size_t osize, size_t nsize) {
  ml_allocator *a = ud;
  head *h = p != NULL ? (head *)p - 1 : NULL, *q;
  if (nsize == 0) {
    if (h == NULL) return NULL;
    if (h->s.coroutine) {
      const ml_object *co = *(ml_object *const *)(const void *)((char *)p + osize - sizeof(void *));
      /* NULL: freed before it was filled in */
      if (co != NULL && co->state == ML_CO_NEW) a->lost(a->lost_ud, co);
    }
    a->used -= h->s.size - sizeof *h;
    if (p == a->last) memset(p, 0, LUA_EXTRASPACE);
    a->host(a->ud, h, h->s.size, 0);
    return NULL;
  }
  if (!allowed(a, p == NULL ? nsize : nsize > osize ? nsize - osize : 0))
    return refused(a, p, osize);
  q = a->host(a->ud, h, h != NULL ? h->s.size : 0, nsize + sizeof *h);
  /* Lua takes it that shrinking never fails */
  if (q == NULL) return p != NULL && nsize <= osize ? p : refused(a, p, osize);
  if (p == NULL) { /* osize is then the kind of the object */
    q->s.coroutine = a->expecting && osize == LUA_TUSERDATA;
    if (q->s.coroutine) {
      a->expecting = 0;
      *(void **)(void *)((char *)(q + 1) + nsize - sizeof(void *)) = NULL;
    }
    a->used += nsize;
  } else
    a->used += nsize - (q->s.size - sizeof *q);
  q->s.size = nsize + sizeof *q;
  return q + 1;
}

void ml__strbuf_init(lua_State *L, ml_allocator *a) {
  (void)L;
  (void)a;
}
char *ml__strbuf_new(ml_allocator *a, size_t cap) { return ml__alloc(a, NULL, 0, cap + 1); }
void ml__strbuf_free(ml_allocator *a, char *p, size_t cap) {
  if (p != NULL) ml__alloc(a, p, cap + 1, 0);
}
bool ml__strbuf_push(lua_State *L, char *p, size_t cap, size_t n) {
  (void)cap;
  lua_pushlstring(L, p, n);
  return false;
}
bool ml__strbuf_adopt(lua_State *L, char *p, size_t cap, size_t n) {
  (void)cap;
  lua_pushlstring(L, p + ML_STRING_HEAD, n);
  return false;
}

#else

/* The size that the host's allocator is asked for. */
static size_t large_size(size_t n) {
  return n >= KEEP_LEAST && n <= KEEP_MOST ? (n + PAGE - 1) & ~(size_t)(PAGE - 1) : n;
}

static void *large_new(ml_allocator *a, size_t n) {
  size_t size = large_size(n);
  for (int i = a->nkept - 1; i >= 0; i--)
    if (a->kept[i].size == size) {
      void *p = a->kept[i].p;
      a->kept[i] = a->kept[--a->nkept];
      unpoison(p, size);
      return p;
    }
  return a->host(a->ud, NULL, 0, size);
}

static void large_free(ml_allocator *a, void *p, size_t n) {
  size_t size = large_size(n);
  if (n >= KEEP_LEAST && n <= KEEP_MOST && a->nkept < KEEP_BLOCKS) {
    a->kept[a->nkept].p = p;
    a->kept[a->nkept++].size = size;
    poison(p, size);
  } else
    a->host(a->ud, p, size, 0);
}

/* The rest of the arena's chunk is too small for what is wanted. Of two rests the larger one is
** kept, the other becomes a free block. */
static void spare_rest(arena *r) {
  size_t cl = (size_t)(r->end - r->bump) / ML_GRAIN,
         kept = (size_t)(r->rest_end - r->rest) / ML_GRAIN;
  block *b = (block *)(void *)r->bump;
  if (cl > kept) {
    b = (block *)(void *)r->rest;
    r->rest = r->bump;
    r->rest_end = r->end;
    cl = kept;
  }
  if (cl == 0) return;
  unpoison(b, sizeof *b);
  b->next = r->free[cl];
  r->free[cl] = b;
  poison(b, sizeof *b);
}

/* Gives the arena a new chunk. */
static bool arena_grow(ml_allocator *a, arena *r) {
  chunk *c;
  if (a->fresh == a->fresh_end) { /* half as many again as there are */
    size_t n = a->nchunks == 0              ? SPAN_LEAST
               : a->nchunks < 2 * SPAN_MOST ? (a->nchunks + 1) / 2
                                            : SPAN_MOST;
    size_t size = (n + 1) * ML_CHUNK;
    span *s = a->host(a->ud, NULL, 0, size);
    if (s == NULL) return false;
    s->next = a->spans;
    s->size = size;
    a->spans = s;
    a->fresh = (char *)(((uintptr_t)(s + 1) + ML_CHUNK - 1) & ~(uintptr_t)(ML_CHUNK - 1));
    a->fresh_end = a->fresh + n * ML_CHUNK;
    if (a->fresh_end > (char *)s + size) a->fresh_end -= ML_CHUNK;
    a->nchunks += n;
  }
  if (r->end != NULL) spare_rest(r);
  c = (chunk *)(void *)a->fresh;
  a->fresh += ML_CHUNK;
  c->coroutines = r == &a->coroutines;
  r->bump = (char *)c + CHUNK_HEAD;
  r->end = (char *)c + ML_CHUNK;
  poison(r->bump, ML_CHUNK - CHUNK_HEAD);
  return true;
}

/* The arena's next block, when there is no free one of its class. */
static __attribute__((noinline)) void *small_cut(ml_allocator *a, arena *r, size_t size) {
  size_t room = (size + ML_GRAIN - 1) / ML_GRAIN * ML_GRAIN;
  char *p;
  if ((size_t)(r->rest_end - r->rest) >= room) {
    p = r->rest;
    r->rest += room;
  } else {
    if ((size_t)(r->end - r->bump) < room && !arena_grow(a, r)) return NULL;
    p = r->bump;
    r->bump += room;
  }
  unpoison(p, room);
  return p;
}

static inline void *small_new(ml_allocator *a, arena *r, size_t size) {
  size_t cl = (size + ML_GRAIN - 1) / ML_GRAIN;
  block *b = r->free[cl];
  if (b == NULL) return small_cut(a, r, size);
  unpoison(b, cl * ML_GRAIN);
  r->free[cl] = b->next;
  return b;
}

static inline void small_keep(arena *r, void *p, size_t size) {
  size_t cl = (size + ML_GRAIN - 1) / ML_GRAIN;
  block *b = p;
  b->next = r->free[cl];
  r->free[cl] = b;
  poison(b, cl * ML_GRAIN);
}

static inline bool in_coroutines(const void *p) {
  return ((const chunk *)((uintptr_t)p & ~(uintptr_t)(ML_CHUNK - 1)))->coroutines;
}

static __attribute__((noinline)) void *plain_cut(ml_allocator *a, size_t size) {
  void *p = small_cut(a, &a->plain, size);
  if (p != NULL) a->used += size;
  return p;
}

static __attribute__((noinline)) void *coroutine_new(ml_allocator *a, size_t size) {
  char *p = small_new(a, &a->coroutines, size);
  a->expecting = 0;
  if (p == NULL) return NULL;
  *(void **)(void *)(p + size - sizeof(void *)) = NULL;
  a->used += size;
  return p;
}

static __attribute__((noinline)) void *coroutine_free(ml_allocator *a, char *p, size_t size) {
  const ml_object *co = *(ml_object *const *)(const void *)(p + size - sizeof(void *));
  /* NULL: freed before it was filled in */
  if (co != NULL && co->state == ML_CO_NEW) a->lost(a->lost_ud, co);
  small_keep(&a->coroutines, p, size);
  a->used -= size;
  return NULL;
}

/* A string is about to be allocated: is it the one that has its block already? */
static void *take_offer(ml_allocator *a, size_t nsize) {
  void *p = a->offer;
  if (large_size(nsize) != a->offer_size) return NULL;
  a->offer = NULL;
  return p;
}

/* What is neither a new small block nor the freeing of one. */
static __attribute__((noinline)) void *alloc_rest(ml_allocator *a, void *p, size_t osize,
                                                  size_t nsize) {
  void *q;
  if (p == NULL) {
    if (nsize == 0) return NULL;
    if (!allowed(a, nsize)) return refused(a, p, osize);
    if (osize == LUA_TUSERDATA) a->expecting = 0; /* a coroutine as large as that is not watched */
    q = osize == LUA_TSTRING && a->offer != NULL ? take_offer(a, nsize) : NULL;
    if (q == NULL) q = large_new(a, nsize);
    if (osize == LUA_TSTRING) a->last_string = q;
    if (q != NULL) a->used += nsize;
    return q;
  }
  if (nsize == 0) {
    if (p == a->last) memset(p, 0, LUA_EXTRASPACE);
    large_free(a, p, osize);
    a->used -= osize;
    return NULL;
  }
  if (nsize > osize && !allowed(a, nsize - osize)) return NULL;
  if (osize > ML_SMALL && nsize > ML_SMALL)
    q = large_size(osize) == large_size(nsize)
            ? p
            : a->host(a->ud, p, large_size(osize), large_size(nsize));
  else if (osize <= ML_SMALL &&
           (osize + ML_GRAIN - 1) / ML_GRAIN == (nsize + ML_GRAIN - 1) / ML_GRAIN)
    q = p;
  else {
    q = nsize <= ML_SMALL ? small_new(a, &a->plain, nsize) : large_new(a, nsize);
    if (q == NULL) {
      /* Lua takes it that shrinking never fails */
      if (nsize < osize && osize <= ML_SMALL) return p;
      return NULL;
    }
    memcpy(q, p, osize < nsize ? osize : nsize);
    if (osize <= ML_SMALL)
      small_keep(&a->plain, p, osize);
    else
      large_free(a, p, osize);
  }
  if (q != NULL) a->used += nsize - osize;
  return q;
}

/* The common cases call nothing that they come back from: so they save no registers. */
void *ml__alloc(void *ud, void *p, size_t osize, size_t nsize) {
  ml_allocator *a = ud;
  if (p == NULL && nsize - 1 < ML_SMALL) { /* osize is then the kind of the object */
    size_t cl = (nsize + ML_GRAIN - 1) / ML_GRAIN;
    block *b = a->plain.free[cl];
    if (!allowed(a, nsize)) return refused(a, p, osize);
    if (a->expecting && osize == LUA_TUSERDATA) return coroutine_new(a, nsize);
    if (b == NULL) return plain_cut(a, nsize);
    unpoison(b, cl * ML_GRAIN);
    a->plain.free[cl] = b->next;
    a->used += nsize;
    return b;
  }
  if (nsize == 0 && p != NULL && osize <= ML_SMALL) {
    if (in_coroutines(p)) return coroutine_free(a, p, osize);
    small_keep(&a->plain, p, osize);
    a->used -= osize;
    return NULL;
  }
  return alloc_rest(a, p, osize, nsize);
}

/* ---- string buffers ---- */

void ml__strbuf_init(lua_State *L, ml_allocator *a) {
  char text[2 * ML_SMALL];
  const char *s;
  memset(text, ' ', sizeof text);
  s = lua_pushlstring(L, text, sizeof text);
  if (a->last_string != NULL && s > (char *)a->last_string)
    a->string_head = (size_t)(s - (char *)a->last_string);
  if (a->string_head > 64) a->string_head = 0;
  lua_pop(L, 1);
}

/* The size of the block behind a buffer. */
static size_t strbuf_size(const ml_allocator *a, size_t cap) { return a->string_head + cap + 1; }

char *ml__strbuf_new(ml_allocator *a, size_t cap) {
  char *p = ml__alloc(a, NULL, 0, strbuf_size(a, cap));
  return p == NULL ? NULL : p + a->string_head;
}

void ml__strbuf_free(ml_allocator *a, char *p, size_t cap) {
  if (p != NULL) ml__alloc(a, p - a->string_head, strbuf_size(a, cap), 0);
}

bool ml__strbuf_push(lua_State *L, char *p, size_t cap, size_t n) {
  ml_allocator *a = ml__engine(L)->alloc;
  size_t size = strbuf_size(a, cap);
  bool taken;
  if (a->string_head == 0 || strbuf_size(a, n) <= ML_SMALL ||
      large_size(strbuf_size(a, n)) != large_size(size)) {
    lua_pushlstring(L, p, n);
    return false;
  }
  a->offer = p - a->string_head;
  a->offer_size = large_size(size);
  lua_pushlstring(L, p, n);
  taken = a->offer == NULL;
  a->offer = NULL;
  if (taken) a->used -= size; /* counted once more, as a string */
  return taken;
}

bool ml__strbuf_adopt(lua_State *L, char *p, size_t cap, size_t n) {
  ml_allocator *a = ml__engine(L)->alloc;
  size_t size = ML_STRING_HEAD + n + 1;
  bool taken = false;
  if (a->host == host_malloc && a->string_head == ML_STRING_HEAD && size > ML_SMALL &&
      large_size(size) <= cap) {
    a->offer = p;
    a->offer_size = large_size(size);
    taken = true;
  }
  lua_pushlstring(L, p + ML_STRING_HEAD, n);
  taken = taken && a->offer == NULL;
  a->offer = NULL;
  return taken;
}

#endif
