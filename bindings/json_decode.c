/* json.decode: a text, read in one pass. What a container will have is collected on the Lua
** stack, so that its table is made in its final size; a long array, or object, goes to its table in
** pieces. Short strings that come again (keys, mostly) are found in a small cache instead of in
** Lua's table of strings. Containers are entries of a list, not calls: depth costs no C stack.
*/
#include "json.h"

#include <math.h>

/* Values of one container that wait on the stack, at most. */
#define PENDING 1024
#define FRAMES 32
/* Strings in the cache, of keys and of values each. A power of two. */
#define CACHE_BITS 6
#define CACHE (1 << CACHE_BITS)
/* Steps between two looks at the meter. */
#define CHECK 4096

typedef struct json_level {
  int base;          /* where its table is, or will be, on the stack */
  bool object, made; /* made: the table is there, and has the first `n` values */
  lua_Integer n;
} json_level;

typedef struct json_seen {
  uint64_t lo, hi; /* its bytes */
  int n;           /* its length and 1; 0: nothing */
} json_seen;

typedef struct json_decoder {
  lua_State *L;
  const char *text, *end;
  json_level *levels;
  int depth, capacity, max_depth;
  int top;    /* values on the stack */
  int space;  /* that it has room for */
  int cache;  /* the first slot of the cache on the stack; 0: none */
  int frames; /* the slot of a larger list of levels */
  int steps;
  bool big_error;
  json_level first[FRAMES];
  json_seen seen[2 * CACHE];
} json_decoder;

/* ---- errors ---- */

/* Raises a JSONDecodeError: what was wrong at p. */
static const char *fail(json_decoder *d, const char *p, const char *what) {
  lua_State *L = d->L;
  lua_Integer line = 1, column = 1, pos = p - d->text + 1;
  for (const char *c = d->text; c < p; c++) {
    if (*c == '\n') {
      line++;
      column = 1;
    } else if (((unsigned char)*c & 0xC0) != 0x80) {
      column++;
    }
  }
  luaL_checkstack(L, 8, NULL);
  lua_createtable(L, 0, 5);
  lua_pushfstring(L, "%s: line %I column %I (byte %I)", what, (LUAI_UACINT)line,
                  (LUAI_UACINT)column, (LUAI_UACINT)pos);
  lua_setfield(L, -2, "message");
  lua_pushstring(L, what);
  lua_setfield(L, -2, "msg");
  lua_pushinteger(L, pos);
  lua_setfield(L, -2, "pos");
  lua_pushinteger(L, line);
  lua_setfield(L, -2, "lineno");
  lua_pushinteger(L, column);
  lua_setfield(L, -2, "colno");
  lua_pushvalue(L, lua_upvalueindex(ML_JSON_ERROR));
  lua_setmetatable(L, -2);
  lua_error(L);
  return NULL;
}

/* ---- strings ---- */

static void append_utf8(char **out, unsigned c) {
  char *o = *out;
  if (c < 0x80) {
    *o++ = (char)c;
  } else if (c < 0x800) {
    *o++ = (char)(0xC0 | c >> 6);
    *o++ = (char)(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    *o++ = (char)(0xE0 | c >> 12);
    *o++ = (char)(0x80 | (c >> 6 & 0x3F));
    *o++ = (char)(0x80 | (c & 0x3F));
  } else {
    *o++ = (char)(0xF0 | c >> 18);
    *o++ = (char)(0x80 | (c >> 12 & 0x3F));
    *o++ = (char)(0x80 | (c >> 6 & 0x3F));
    *o++ = (char)(0x80 | (c & 0x3F));
  }
  *out = o;
}

/* The four hexadecimal digits at p, or -1. */
static int hex4(const char *p, const char *end) {
  int v = 0;
  if (end - p < 4) return -1;
  for (int i = 0; i < 4; i++) {
    int c = (unsigned char)p[i];
    if (c >= '0' && c <= '9')
      c -= '0';
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
      c = (c | 0x20) - 'a' + 10;
    else
      return -1;
    v = v << 4 | c;
  }
  return v;
}

/* The escape at p, a backslash: its character goes to *out. Returns what is behind it. */
static const char *escape(json_decoder *d, const char *p, char **out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  const char *at = p[1] == '\0' ? NULL : strchr(from, p[1]);
  int c, low;
  if (at != NULL) {
    *(*out)++ = to[at - from];
    return p + 2;
  }
  if (p[1] != 'u') return fail(d, p, "Invalid \\escape");
  c = hex4(p + 2, d->end);
  if (c < 0) return fail(d, p, "Invalid \\uXXXX escape");
  if (c < 0xD800 || c > 0xDFFF) {
    append_utf8(out, (unsigned)c);
    return p + 6;
  }
  low = c < 0xDC00 && d->end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, d->end) : -1;
  if (low < 0xDC00 || low > 0xDFFF) return fail(d, p, "Lone surrogate");
  append_utf8(out, 0x10000 + (((unsigned)c & 0x3FF) << 10) + ((unsigned)low & 0x3FF));
  return p + 12;
}

/* Writes the string that begins at p, its first escape at q, without escapes. */
static char *unescape(json_decoder *d, const char *p, const char *q, char *out) {
  for (;;) {
    memcpy(out, p, (size_t)(q - p));
    out += q - p;
    if (*q == '"') return out;
    p = escape(d, q, &out);
    for (q = p; *q != '"' && *q != '\\';) q++;
  }
}

/* The end of the string that begins at p: its quote. *escaped is its first backslash, if any. */
static const char *string_end(json_decoder *d, const char *p, const char **escaped) {
  const char *start = p;
  for (;;) {
    p = ml__json_plain(p, d->end);
    if (p == d->end) return fail(d, start - 1, "Unterminated string starting at");
    if (*p == '"') return p;
    if (*p == '\\') {
      if (*escaped == NULL) *escaped = p;
      if (d->end - p < 2) return fail(d, start - 1, "Unterminated string starting at");
      p += 2;
      if ((unsigned char)p[-1] >= 0x80 || (unsigned char)p[-1] < 0x20)
        return fail(d, p - 2, "Invalid \\escape");
    } else if ((unsigned char)*p >= 0x80) {
      int n = ml__json_utf8(p, d->end);
      if (n == 0) return fail(d, p, "Invalid UTF-8");
      p += n;
    } else {
      return fail(d, p, "Invalid control character");
    }
  }
}

static inline uint64_t load8(const char *p) {
  uint64_t u;
  memcpy(&u, p, 8);
  return u;
}

/* Pushes the n bytes at p, for which the part of the cache that begins at `part` may know the
** string already. Eight bytes at p may be read. */
static void push_cached(json_decoder *d, const char *p, size_t n, int part) {
  lua_State *L = d->L;
  uint64_t lo = load8(p), hi = 0;
  json_seen *s;
  int i;
  if (n < 8)
    lo = n == 0 ? 0 : lo << 8 * (8 - n);
  else
    hi = load8(p + n - 8);
  i = part + (int)(((lo ^ (hi * 31)) * 0x9E3779B97F4A7C15u) >> (64 - CACHE_BITS));
  s = &d->seen[i];
  if (s->lo == lo && s->hi == hi && s->n == (int)n + 1) {
    lua_pushvalue(L, d->cache + i);
    return;
  }
  lua_pushlstring(L, p, n);
  lua_copy(L, -1, d->cache + i);
  s->lo = lo;
  s->hi = hi;
  s->n = (int)n + 1;
}

/* Pushes the string whose first byte is at p. Returns what is behind its quote. */
static const char *string(json_decoder *d, const char *p, int part) {
  const char *escaped = NULL, *end = string_end(d, p, &escaped);
  size_t n = (size_t)(end - p);
  char small[256];
  if (escaped == NULL) {
    if (n <= 16 && d->cache != 0 && d->end - p >= 8)
      push_cached(d, p, n, part);
    else
      lua_pushlstring(d->L, p, n);
  } else if (n <= sizeof small) {
    char *out = unescape(d, p, escaped, small);
    lua_pushlstring(d->L, small, (size_t)(out - small));
  } else {
    luaL_Buffer b;
    char *buf = luaL_buffinitsize(d->L, &b, n), *out = unescape(d, p, escaped, buf);
    luaL_pushresultsize(&b, (size_t)(out - buf));
  }
  return end + 1;
}

/* ---- numbers ---- */

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The exponent whose "e" is at p. Returns what is behind it. */
static const char *exponent_part(json_decoder *d, const char *p, int64_t *exponent) {
  bool minus = p[1] == '-';
  int64_t e = 0;
  p += minus || p[1] == '+' ? 2 : 1;
  if (!is_digit(*p)) return fail(d, p, "Expecting a digit");
  for (; is_digit(*p); p++)
    if (e < 1000000) e = e * 10 + (*p - '0');
  *exponent += minus ? -e : e;
  return p;
}

/* Pushes what has a fraction or an exponent, or is too large for an integer: it begins at
** `start`, its integer part ends at p and is m. */
static const char *number_float(json_decoder *d, const char *start, const char *p, uint64_t m) {
  const char *digits = start + (*start == '-');
  int64_t exponent = 0;
  bool cut = p - digits > 19; /* m is not all of its digits */
  double v;
  if (*p == '.') {
    const char *fraction = ++p;
    for (; is_digit(*p); p++) m = m * 10 + (uint64_t)(*p - '0');
    if (p == fraction) return fail(d, p, "Expecting a digit");
    exponent = fraction - p;
    cut = p - digits > 20;
  }
  if (*p == 'e' || *p == 'E') p = exponent_part(d, p, &exponent);
  if (m == 0 && !cut) {
    v = *start == '-' ? -0.0 : 0.0;
  } else {
    if (exponent < -100000 || exponent > 100000) cut = true;
    v = ml__json_todouble(start, m, cut ? 0 : (int)exponent, cut);
  }
  if (isinf(v)) return fail(d, start, "Number out of range");
  lua_pushnumber(d->L, v);
  return p;
}

static const char *number(json_decoder *d, const char *p) {
  const char *start = p, *digits;
  bool minus = *p == '-';
  uint64_t m = 0;
  p += minus;
  digits = p;
  if (*p == '0')
    p++;
  else if (is_digit(*p))
    for (; is_digit(*p); p++) m = m * 10 + (uint64_t)(*p - '0');
  else
    return fail(d, minus ? p : start, minus ? "Expecting a digit" : "Expecting value");
  if (*p == '.' || *p == 'e' || *p == 'E') return number_float(d, start, p, m);
  if (p - digits <= 18 || (p - digits == 19 && m <= (uint64_t)INT64_MAX + minus)) {
    lua_pushinteger(d->L, (lua_Integer)(minus ? 0 - m : m));
    return p;
  }
  if (d->big_error) return fail(d, start, "Integer out of range");
  return number_float(d, start, p, m);
}

/* ---- containers ---- */

static inline const char *skip(const char *p) {
  while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r') p++;
  return p;
}

/* Room on the stack for a key and a value, and what it takes to store them. */
static void more_space(json_decoder *d) {
  int more = d->space / 2 + 64;
  luaL_checkstack(d->L, more + 16, "the JSON text");
  d->space += more;
}

static void open_level(json_decoder *d, const char *p, bool object) {
  json_level *l;
  if (d->depth == d->max_depth) fail(d, p, "Too deep");
  if (d->depth == d->capacity) {
    json_level *larger = lua_newuserdatauv(d->L, 2 * sizeof *l * (size_t)d->capacity, 0);
    memcpy(larger, d->levels, sizeof *l * (size_t)d->capacity);
    lua_replace(d->L, d->frames);
    d->levels = larger;
    d->capacity *= 2;
  }
  lua_pushnil(d->L); /* the table's place */
  l = &d->levels[d->depth++];
  l->base = ++d->top;
  l->object = object;
  l->made = false;
  l->n = 0;
}

/* Moves what waits of the level to its table. */
static void store(json_decoder *d, json_level *l) {
  lua_State *L = d->L;
  int base = l->base, n = d->top - base;
  if (!l->made) {
    lua_createtable(L, l->object ? 0 : n, l->object ? n / 2 : 0);
    lua_replace(L, base);
    l->made = true;
    if (!l->object) { /* all room is there: from the last to the first */
      for (int i = n; i > 0; i--) lua_rawseti(L, base, i);
      l->n = n;
      d->top = base;
      return;
    }
  }
  if (l->object) { /* in order: of two with one name the last stays */
    for (int i = base + 1; i < d->top; i += 2) {
      lua_pushvalue(L, i);
      lua_pushvalue(L, i + 1);
      lua_rawset(L, base);
    }
  } else {
    for (int i = 1; i <= n; i++) {
      lua_pushvalue(L, base + i);
      lua_rawseti(L, base, ++l->n);
    }
  }
  lua_settop(L, base);
  d->top = base;
}

static void close_level(json_decoder *d) {
  json_level *l = &d->levels[--d->depth];
  if (d->top > l->base) {
    store(d, l);
  } else if (!l->made) { /* empty: it says what it was */
    lua_createtable(d->L, 0, 0);
    lua_pushvalue(d->L, lua_upvalueindex(l->object ? ML_JSON_OBJECT : ML_JSON_ARRAY));
    lua_setmetatable(d->L, -2);
    lua_replace(d->L, l->base);
  }
}

static const char *literal(json_decoder *d, const char *p) {
  size_t n = (size_t)(d->end - p);
  if (n >= 4 && memcmp(p, "true", 4) == 0) {
    lua_pushboolean(d->L, 1);
    return p + 4;
  }
  if (n >= 5 && memcmp(p, "false", 5) == 0) {
    lua_pushboolean(d->L, 0);
    return p + 5;
  }
  if (n >= 4 && memcmp(p, "null", 4) == 0) {
    lua_pushvalue(d->L, lua_upvalueindex(ML_JSON_NULL));
    return p + 4;
  }
  return fail(d, p, "Expecting value");
}

/* The key of an object's next value and its colon. */
static const char *key(json_decoder *d, const char *p) {
  if (*p != '"') return fail(d, p, "Expecting property name enclosed in double quotes");
  if (d->top + 4 > d->space) more_space(d);
  p = skip(string(d, p + 1, 0));
  d->top++;
  if (*p != ':') return fail(d, p, "Expecting ':' delimiter");
  return skip(p + 1);
}

/* What follows a value: closes containers, up to a comma that another value follows, or to the
** end of the text. */
static const char *after(json_decoder *d, const char *p) {
  for (;;) {
    json_level *l;
    p = skip(p);
    if (d->depth == 0) return p;
    l = &d->levels[d->depth - 1];
    if (*p == ',') {
      if (d->top - l->base >= PENDING) store(d, l);
      p = skip(p + 1);
      return l->object ? key(d, p) : p;
    }
    if (*p != (l->object ? '}' : ']')) return fail(d, p, "Expecting ',' delimiter");
    close_level(d);
    p++;
  }
}

/* Reads one value, which stays on the stack. Returns what is behind it. */
static const char *value(json_decoder *d, const char *p) {
  do {
    if (d->top + 4 > d->space) more_space(d);
    if (++d->steps % CHECK == 0) ml__meter_check(d->L);
    if (*p == '"') {
      p = string(d, p + 1, CACHE);
    } else if (*p == '{' || *p == '[') {
      bool object = *p == '{';
      open_level(d, p, object);
      p = skip(p + 1);
      if (*p != (object ? '}' : ']')) {
        if (object) p = key(d, p);
        continue;
      }
      close_level(d);
      d->top--; /* counted below */
      p++;
    } else if (*p == '-' || is_digit(*p)) {
      p = number(d, p);
    } else {
      p = literal(d, p);
    }
    d->top++;
    p = after(d, p);
  } while (d->depth > 0);
  return p;
}

/* ---- json.decode ---- */

static void options(json_decoder *d) {
  static const char *const keys[] = {"max_depth", "big_integers", NULL};
  lua_State *L = d->L;
  const char *big;
  ml__checkoptions(L, 2, keys, "decode");
  d->max_depth = ml__json_depth(L, "decode");
  if (lua_getfield(L, 2, "big_integers") == LUA_TNIL) return;
  big = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  d->big_error = strcmp(big, "error") == 0;
  if (!d->big_error && strcmp(big, "float") != 0)
    ml__misuse(L, "ValueError", "decode: big_integers must be 'float' or 'error'");
}

/* decode(text, options) -> value */
int ml__json_decode(lua_State *L) {
  json_decoder d;
  const char *p;
  size_t n;
  int slots;
  if (lua_type(L, 1) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "decode: a string was expected, got %s", luaL_typename(L, 1));
  d.L = L;
  d.text = lua_tolstring(L, 1, &n);
  d.end = d.text + n;
  d.levels = d.first;
  d.capacity = FRAMES;
  d.depth = d.steps = 0;
  d.max_depth = ML_JSON_DEPTH;
  d.big_error = false;
  if (!lua_isnoneornil(L, 2)) options(&d);
  slots = n < 512 ? 0 : 2 * CACHE;
  luaL_checkstack(L, slots + 80, "the JSON text");
  lua_settop(L, 3);
  d.frames = 3;
  d.cache = slots == 0 ? 0 : 4;
  if (slots > 0) {
    memset(d.seen, 0, sizeof d.seen);
    lua_settop(L, 3 + slots);
  }
  d.top = 3 + slots;
  d.space = d.top + 64;
  if (n >= 3 && memcmp(d.text, "\xEF\xBB\xBF", 3) == 0)
    fail(&d, d.text, "Unexpected byte order mark");
  p = value(&d, skip(d.text));
  if (p != d.end) fail(&d, p, "Extra data");
  return 1;
}
