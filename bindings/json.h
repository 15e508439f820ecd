/* What the parts of module json share: how strings are scanned and numbers are read and
** written. json_decode.c reads, json_encode.c writes (json_text.c), json.c is the module.
*/
#ifndef ML_JSON_H
#define ML_JSON_H

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "core.h"

/* Upvalues of json's functions. */
enum {
  ML_JSON_ERROR = 1,
  ML_JSON_NULL,
  ML_JSON_ARRAY,
  ML_JSON_OBJECT,
  ML_JSON_BUFFER,
  ML_JSON_UPVALUES = 5
};

/* Containers in containers, unless another number is asked for; and the most that can be. */
#define ML_JSON_DEPTH 512
#define ML_JSON_MAX_DEPTH 100000

int ml__json_decode(lua_State *L);
int ml__json_encode(lua_State *L);
/* The option max_depth of the table at index 2. */
int ml__json_depth(lua_State *L, const char *fname);

/* json_number.c */
/* The double nearest to mantissa * 10^exponent, whose text is at s; *exact is unused when the
** mantissa is not all of the digits (`cut`). */
double ml__json_todouble(const char *s, uint64_t mantissa, int exponent, bool cut);
/* Writes the shortest text that is read as this double again, as a float; it is finite. Returns
** its length, at most ML_JSON_NUMBER. */
#define ML_JSON_NUMBER 32
int ml__json_fromdouble(char *out, double d);
int ml__json_frominteger(char *out, lua_Integer i);

/* json_text.c: a text that grows. What is written to it may raise a memory error. */
typedef struct ml_jsontext {
  lua_State *L;
  char *buf;
  size_t len, size;
  int slot;   /* on the stack: nil, or the block that buf is in */
  bool ascii; /* all else is escaped */
  char small[2048];
} ml_jsontext;

void ml__jsontext_init(ml_jsontext *t, lua_State *L, int slot);
void ml__jsontext_grow(ml_jsontext *t, size_t n);
/* Writes the string in quotes. 0, or which byte of it, from 1, is no UTF-8. */
size_t ml__jsontext_string(ml_jsontext *t, const char *s, size_t n);
void ml__jsontext_push(ml_jsontext *t); /* as a string, and gives the block up */
/* The finalizer of the block. */
int ml__json_buffer_gc(lua_State *L);

/* Where the next n bytes go. */
static inline char *ml__jsontext_room(ml_jsontext *t, size_t n) {
  if (t->size - t->len < n) ml__jsontext_grow(t, n);
  return t->buf + t->len;
}

static inline void ml__jsontext_put(ml_jsontext *t, const char *s, size_t n) {
  memcpy(ml__jsontext_room(t, n), s, n);
  t->len += n;
}

/* The first byte in [p, end) that is no plain ASCII of a string: a quote, a backslash, a control
** character, a byte of 128 and more; or end. *end may be read. */
static inline const char *ml__json_plain(const char *p, const char *end) {
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(' ');
  for (; end - p >= 15; p += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash));
    int mask = _mm_movemask_epi8(_mm_or_si128(hit, _mm_cmplt_epi8(v, space)));
    if (mask != 0) {
      p += __builtin_ctz((unsigned)mask);
      return p < end ? p : end;
    }
  }
#endif
  for (; p < end; p++) {
    unsigned char c = (unsigned char)*p;
    if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') break;
  }
  return p < end ? p : end;
}

/* The length of the UTF-8 sequence at p, of 2 to 4 bytes; 0 if it is none (RFC 3629). */
static inline int ml__json_utf8(const char *s, const char *end) {
  const unsigned char *p = (const unsigned char *)s;
  size_t n = (size_t)(end - s);
  if (p[0] < 0xC2 || p[0] > 0xF4 || n < 2 || (p[1] & 0xC0) != 0x80) return 0;
  if (p[0] < 0xE0) return 2;
  if (n < 3 || (p[2] & 0xC0) != 0x80) return 0;
  if (p[0] < 0xF0) {
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F)) return 0;
    return 3;
  }
  if (n < 4 || (p[3] & 0xC0) != 0x80) return 0;
  if ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F)) return 0;
  return 4;
}

#endif
