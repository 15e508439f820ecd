/* A source as it is written anew by translate.c: copied as far as it is read, but for what is put
** in and left out. Each line stays where it is. Without memory the text is cut off, and `failed`.
*/
#ifndef ML_REWRITE_H
#define ML_REWRITE_H

#include "translate.h"

typedef struct ml_rewrite {
  ml_translation *out;
  const char *s; /* the source */
  size_t n;
  size_t copied; /* of the source, to the output */
  bool failed;   /* no memory */
} ml_rewrite;

/* Room for `need` elements of `size` bytes in the list, of which there is room for *cap. */
bool ml__rewrite_grow(ml_rewrite *w, void **list, size_t *cap, size_t need, size_t size);
void ml__rewrite_add(ml_rewrite *w, const char *s, size_t n);
void ml__rewrite_put(ml_rewrite *w, const char *s);
void ml__rewrite_copy(ml_rewrite *w, size_t to); /* the source up to there */
void ml__rewrite_skip(ml_rewrite *w, size_t to); /* leaves it out, but for its lines */

static inline bool ml__is_newline(char c) { return c == '\n' || c == '\r'; }

#endif
