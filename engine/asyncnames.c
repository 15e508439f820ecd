/* The names of a source's async functions: see asyncnames.h. */
#include "asyncnames.h"

#include <string.h>

struct ml_asyncname {
  size_t at;
  unsigned n, hash;
  bool live; /* false: removed */
};

#define FIRST_CAP 64

/* Seeded, so that no source can be made whose names fall into one place. */
static unsigned hash_of(const ml_asyncnames *set, ml_token k) {
  unsigned h = set->seed;
  for (size_t i = k.at; i < k.end; i++)
    h = (h ^ (unsigned char)set->text[i]) * 16777619u + (h >> 15);
  return h ^ h >> 16;
}

/* The place of a name: where it is, or would be. */
static ml_asyncname *place_of(const ml_asyncnames *set, ml_asyncname *list, size_t cap, size_t at,
                              size_t n, unsigned hash) {
  size_t i = hash & (cap - 1);
  while (list[i].n != 0 && (list[i].hash != hash || list[i].n != n ||
                            memcmp(set->text + list[i].at, set->text + at, n) != 0))
    i = (i + 1) & (cap - 1);
  return &list[i];
}

static ml_asyncname *find(const ml_asyncnames *set, ml_token k) {
  ml_asyncname *f;
  if (set->n == 0) return NULL;
  f = place_of(set, set->list, set->cap, k.at, k.end - k.at, hash_of(set, k));
  return f->n != 0 ? f : NULL;
}

static bool grow(ml_asyncnames *set) {
  size_t cap = set->cap == 0 ? FIRST_CAP : set->cap * 2;
  ml_asyncname *list = ml__alloc(set->alloc, NULL, 0, cap * sizeof *list);
  if (list == NULL) return false;
  memset(list, 0, cap * sizeof *list);
  for (size_t i = 0; i < set->cap; i++) {
    const ml_asyncname *f = &set->list[i];
    if (f->n != 0) *place_of(set, list, cap, f->at, f->n, f->hash) = *f;
  }
  ml__asyncnames_free(set);
  set->list = list;
  set->cap = cap;
  return true;
}

void ml__asyncnames_init(ml_asyncnames *set, ml_allocator *alloc, const char *text) {
  *set = (ml_asyncnames){.alloc = alloc, .text = text};
  set->seed = (unsigned)((uintptr_t)text >> 4 ^ (uintptr_t)set) ^ (unsigned)uv_hrtime();
}

void ml__asyncnames_free(ml_asyncnames *set) {
  if (set->list != NULL) ml__alloc(set->alloc, set->list, set->cap * sizeof *set->list, 0);
  set->list = NULL;
}

bool ml__asyncnames_add(ml_asyncnames *set, ml_token name) {
  size_t n = name.end - name.at;
  unsigned hash = hash_of(set, name);
  ml_asyncname *f;
  if (2 * set->n >= set->cap && !grow(set)) return false;
  f = place_of(set, set->list, set->cap, name.at, n, hash);
  if (f->n == 0) set->n++;
  *f = (ml_asyncname){name.at, (unsigned)n, hash, true};
  return true;
}

void ml__asyncnames_remove(ml_asyncnames *set, ml_token name) {
  ml_asyncname *f = find(set, name);
  if (f != NULL) f->live = false;
}

bool ml__asyncnames_has(const ml_asyncnames *set, ml_token name) {
  const ml_asyncname *f = find(set, name);
  return f != NULL && f->live;
}
