/* The text that json.encode writes: where its bytes are, and strings with what must be escaped in
** them. A short text is on the C stack, a longer one in a block that a userdata owns: an error, also
** of a script's `__json`, leaves nothing behind.
*/
#include "json.h"

typedef struct json_block {
  ml_allocator *alloc;
  char *p;
  size_t size;
} json_block;

/* ---- the text ---- */

void ml__jsontext_init(ml_jsontext *t, lua_State *L, int slot) {
  t->L = L;
  t->buf = t->small;
  t->len = 0;
  t->size = sizeof t->small;
  t->slot = slot;
  t->ascii = false;
}

int ml__json_buffer_gc(lua_State *L) {
  json_block *b = lua_touserdata(L, 1);
  ml__strbuf_free(b->alloc, b->p, b->size);
  b->p = NULL;
  return 0;
}

void ml__jsontext_grow(ml_jsontext *t, size_t n) {
  lua_State *L = t->L;
  json_block *b = lua_touserdata(L, t->slot);
  size_t size = 2 * t->size + n;
  char *p;
  if (b == NULL) {
    b = lua_newuserdatauv(L, sizeof *b, 0);
    memset(b, 0, sizeof *b);
    b->alloc = ml__engine(L)->alloc;
    lua_pushvalue(L, lua_upvalueindex(ML_JSON_BUFFER));
    lua_setmetatable(L, -2);
    lua_replace(L, t->slot);
  }
  p = ml__strbuf_new(b->alloc, size);
  if (p == NULL) luaL_error(L, "not enough memory");
  memcpy(p, t->buf, t->len);
  ml__strbuf_free(b->alloc, b->p, b->size);
  b->p = t->buf = p;
  b->size = t->size = size;
}

void ml__jsontext_push(ml_jsontext *t) {
  json_block *b = lua_touserdata(t->L, t->slot);
  if (b == NULL) {
    lua_pushlstring(t->L, t->buf, t->len);
    return;
  }
  if (!ml__strbuf_push(t->L, b->p, b->size, t->len)) ml__strbuf_free(b->alloc, b->p, b->size);
  b->p = NULL;
}

/* ---- strings ---- */

static char *unicode_escape(char *out, unsigned c) {
  static const char hex[] = "0123456789abcdef";
  *out++ = '\\';
  *out++ = 'u';
  for (int shift = 12; shift >= 0; shift -= 4) *out++ = hex[c >> shift & 15];
  return out;
}

/* Writes the character at s that is not plain. Returns what is behind it; NULL: it is no UTF-8. */
static const char *special(ml_jsontext *t, const char *s, const char *end) {
  static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
  unsigned c = (unsigned char)*s;
  char *out = ml__jsontext_room(t, 12);
  const char *at;
  int n = 1;
  if (c >= 0x80) {
    n = ml__json_utf8(s, end);
    if (n == 0) return NULL;
  }
  if (n > 1 && !t->ascii) {
    memcpy(out, s, (size_t)n);
    out += n;
  } else if (n > 1) {
    c &= 0xFFu >> (n + 1);
    for (int i = 1; i < n; i++) c = c << 6 | ((unsigned char)s[i] & 0x3F);
    if (c >= 0x10000) {
      out = unicode_escape(out, 0xD800 + ((c - 0x10000) >> 10));
      c = 0xDC00 + (c & 0x3FF);
    }
    out = unicode_escape(out, c);
  } else if (c != 0 && (at = strchr(from, (int)c)) != NULL) {
    *out++ = '\\';
    *out++ = to[at - from];
  } else {
    out = unicode_escape(out, c);
  }
  t->len = (size_t)(out - t->buf);
  return s + n;
}

/* The rest of a string, whose first byte that is not plain is at s. 0, or where it is no UTF-8. */
static size_t rest(ml_jsontext *t, const char *start, const char *s, const char *end) {
  while (s < end) {
    const char *behind = special(t, s, end), *next;
    if (behind == NULL) return (size_t)(s - start) + 1;
    next = ml__json_plain(behind, end);
    ml__jsontext_put(t, behind, (size_t)(next - behind));
    s = next;
  }
  return 0;
}

static inline void copy(char *out, const char *s, size_t n) {
  if (n > 16) {
    memcpy(out, s, n);
  } else if (n >= 8) {
    char a[8], b[8];
    memcpy(a, s, 8);
    memcpy(b, s + n - 8, 8);
    memcpy(out, a, 8);
    memcpy(out + n - 8, b, 8);
  } else if (n >= 4) {
    char a[4], b[4];
    memcpy(a, s, 4);
    memcpy(b, s + n - 4, 4);
    memcpy(out, a, 4);
    memcpy(out + n - 4, b, 4);
  } else {
    for (size_t i = 0; i < n; i++) out[i] = s[i];
  }
}

/* The first of the n bytes at out that is not plain, or n. 15 bytes behind them may be read. */
static inline size_t plain(const char *out, size_t n) {
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(' ');
  for (size_t i = 0; i < n; i += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(out + i));
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash));
    unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(hit, _mm_cmplt_epi8(v, space)));
    if (n - i < 16) mask &= (1u << (n - i)) - 1;
    if (mask != 0) return i + (size_t)__builtin_ctz(mask);
  }
  return n;
#else
  return (size_t)(ml__json_plain(out, out + n) - out);
#endif
}

/* Copied as if it were plain, which it mostly is. */
size_t ml__jsontext_string(ml_jsontext *t, const char *s, size_t n) {
  char *out = ml__jsontext_room(t, n + 20);
  size_t good, bad;
  *out++ = '"';
  copy(out, s, n);
  good = plain(out, n);
  if (good == n) {
    out[n] = '"';
    t->len += n + 2;
    return 0;
  }
  t->len += good + 1;
  bad = rest(t, s, s + good, s + n);
  if (bad == 0) ml__jsontext_put(t, "\"", 1);
  return bad;
}
