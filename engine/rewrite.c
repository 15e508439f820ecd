/* A source as it is written anew: see rewrite.h. */
#include "rewrite.h"

#include <string.h>

bool ml__rewrite_grow(ml_rewrite *w, void **list, size_t *cap, size_t need, size_t size) {
  size_t now = *cap, then = now == 0 ? 16 : now;
  void *q;
  if (need <= now) return true;
  while (then < need) then *= 2;
  q = ml__alloc(w->out->alloc, *list, now * size, then * size);
  if (q == NULL) {
    w->failed = true;
    return false;
  }
  *list = q;
  *cap = then;
  return true;
}

void ml__rewrite_add(ml_rewrite *w, const char *s, size_t n) {
  ml_translation *t = w->out;
  if (!ml__rewrite_grow(w, (void **)(void *)&t->text, &t->cap, t->n + n + 1, 1)) return;
  if (n > 0) memcpy(t->text + t->n, s, n);
  t->n += n;
}

void ml__rewrite_put(ml_rewrite *w, const char *s) { ml__rewrite_add(w, s, strlen(s)); }

void ml__rewrite_copy(ml_rewrite *w, size_t to) {
  if (to <= w->copied) return;
  ml__rewrite_add(w, w->s + w->copied, to - w->copied);
  w->copied = to;
}

/* "\r\n" and "\n\r" are one line, as in Lua. */
void ml__rewrite_skip(ml_rewrite *w, size_t to) {
  for (size_t i = w->copied; i < to; i++) {
    if (!ml__is_newline(w->s[i])) continue;
    ml__rewrite_add(w, "\n", 1);
    if (i + 1 < to && ml__is_newline(w->s[i + 1]) && w->s[i + 1] != w->s[i]) i++;
  }
  if (to <= w->copied) return;
  if (to < w->n && w->s[to] == '\r') ml__rewrite_add(w, " ", 1); /* "\n\r" would be one line */
  w->copied = to;
}
