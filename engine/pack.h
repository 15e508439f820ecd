/* Values as bytes, for other states: what pack.c writes and unpack.c reads.
**
** A message is a header, the number of values, the values, then the bodies of
** the objects in them. A table or function is written as a tag where it is first
** met, which gives it the next number; later places refer to that number. Its
** body (fields, upvalues) follows in the order of numbers. So neither side
** recurses, however deep tables nest, and cycles and shared parts cost nothing.
*/
#ifndef ML_PACK_H
#define ML_PACK_H

#include <string.h>

#include "core.h"

enum {
  ML_PACK_CODE = 1 /* functions, modules by name, metatables: for states that trust each other */
};

/* Functions that a sender and its receivers share, by number (from 1 on). */
typedef struct ml_codebook {
  /* Keeps a copy. 0: no room. */
  uint32_t (*keep)(void *ud, const void *p, size_t n);
  /* What has been kept, or NULL. */
  const void *(*find)(void *ud, uint32_t id, size_t *n);
  void *ud;
} ml_codebook;

typedef struct ml_packing {
  unsigned flags;
  const char *what;        /* what the values are called in errors: "argument"; NULL: "value" */
  int unnamed;             /* so many come before the first of them: a function */
  const ml_codebook *book; /* or NULL */
  int known;               /* with a codebook: index of a table, empty at first and of weak keys */
} ml_packing;

/* Packs the n values from index `first` on, appends to out. 0; or -1, and out as
** it was: on top is the text that says what cannot be copied and where it is.
** Raises memory errors; out keeps what it has. */
int ml__pack(lua_State *L, int first, int n, const ml_packing *how, ml_buf *out);
/* Pushes what was packed and returns how many values. Raises ValueError if the
** bytes are not whole and right. Without ML_PACK_CODE they may be anything. */
int ml__unpack(lua_State *L, const void *p, size_t n, const ml_packing *how);

/* plain.c: the common small messages. None of these raises. */
typedef struct ml_lastkept {
  const void *function; /* lua_topointer of one that has no upvalues and is kept alive; or NULL */
  uint32_t id;          /* its number */
} ml_lastkept;
/* Packs the n values into out if they are plain and fit into `room` bytes: nil, booleans, numbers,
** short strings, functions that the codebook with the table at `known` (0: none) has, or that
** are `last` (may be NULL). Bytes written, or 0: ml__pack must do it. */
size_t ml__pack_plain(lua_State *L, int first, int n, int known, const ml_lastkept *last, char *out,
                      size_t room);
/* Pushes what was packed, if that is at most `max` values that take no memory: none, numbers,
** booleans, functions that are in the table at `known` (0: none). How many; or -1: ml__unpack
** must do it. */
int ml__unpack_plain(lua_State *L, const void *p, size_t n, int known, int max);
/* The number of the function at idx in the codebook with the table at `known`; 0: it has none,
** or its upvalues are others by now. */
uint32_t ml__kept(lua_State *L, int idx, int known);

/* ---- the format ---- */

#define PACK_MAGIC "\x9Bml"
#define PACK_VERSION 1
#define PACK_HEADER 5 /* magic, version, flags */

enum {
  PT_NIL,
  PT_FALSE,
  PT_TRUE,
  PT_INT,      /* zigzag varint */
  PT_FLOAT,    /* 8 bytes, little endian */
  PT_STRING,   /* varint n, bytes */
  PT_REF,      /* varint: number of an object */
  PT_TABLE,    /* varint: length hint; a new object */
  PT_NULL,     /* the light userdata NULL */
  PT_CLASS,    /* an error class of the engine's: name */
  PT_SUBCLASS, /* a script's error class: id or "", name, base; a new object */
  /* with ML_PACK_CODE only, from here on */
  PT_GLOBALS,
  PT_MODULE,       /* name */
  PT_NAMED,        /* module, field: a function */
  PT_FUNCTION,     /* 0, bytecode; or the number in the codebook; a new object */
  PT_KEPT,         /* varint: a whole function of the codebook */
  PT_SELF,         /* in a kept function: itself */
  PT_ASYNC,        /* a coroutine function: its function */
  PT_SHARED,       /* a table with an identity: id, length hint; a new object */
  PT_JOIN,         /* for an upvalue: object, upvalue: the same variable */
  PT_END,          /* of a table's pairs */
  PT_META,         /* in a body: the metatable follows */
  PT_SHORT = 0x40, /* + length: a string of up to 63 bytes */
  PT_SMALL = 0x80  /* + n: an integer of 0 to 127 */
};

#define PACK_NUMBER 11 /* bytes of the longest number: a tag and a varint */

/* Writes a varint, of at most 10 bytes; how many. */
static inline size_t ml__put_varint(char *p, uint64_t v) {
  size_t n = 0;
  for (; v >= 0x80; v >>= 7) p[n++] = (char)(v | 0x80);
  p[n++] = (char)v;
  return n;
}

/* Behind the varint at p, which ends before `end`; NULL: it does not, or is too long. */
static inline const unsigned char *ml__get_varint(const unsigned char *p, const unsigned char *end,
                                                  uint64_t *v) {
  *v = 0;
  for (int shift = 0; p < end && shift < 64; shift += 7) {
    *v |= (uint64_t)(*p & 0x7f) << shift;
    if (*p++ < 0x80) return p;
  }
  return NULL;
}

/* The varint of PT_INT stands for this. */
static inline lua_Integer ml__unzigzag(uint64_t v) {
  return (lua_Integer)((v >> 1) ^ (v & 1 ? ~UINT64_C(0) : 0));
}

/* The 8 bytes of PT_FLOAT stand for this. */
static inline double ml__get_float(const unsigned char *p) {
  uint64_t bits = 0;
  double d;
  for (int i = 0; i < 8; i++) bits |= (uint64_t)p[i] << (8 * i);
  memcpy(&d, &bits, sizeof d);
  return d;
}

/* Writes the number at idx and its tag, at most PACK_NUMBER bytes; how many. */
static inline size_t ml__put_number(lua_State *L, int idx, char *p) {
  double d;
  uint64_t v;
  if (lua_isinteger(L, idx)) {
    v = (uint64_t)lua_tointeger(L, idx);
    if (v < 128) {
      p[0] = (char)(PT_SMALL + v);
      return 1;
    }
    p[0] = PT_INT;
    return 1 + ml__put_varint(p + 1, (v << 1) ^ (v >> 63 ? ~UINT64_C(0) : 0));
  }
  d = lua_tonumber(L, idx);
  memcpy(&v, &d, sizeof v);
  p[0] = PT_FLOAT;
  for (int i = 0; i < 8; i++) p[1 + i] = (char)(v >> (8 * i));
  return 9;
}

#define PACK_ID 16         /* bytes of an identity */
#define PACK_MAX_CHAIN 100 /* classes derived from one another */

/* names.c: what states know each other's values by. */

/* Pushes module and field of the function at idx and returns true, if the state at
** the other end can find it by them. */
bool ml__name_of_function(lua_State *L, int idx);
/* Pushes the name of the module at idx (package.loaded[name]) and returns true. */
bool ml__name_of_module(lua_State *L, int idx);
/* Pushes the function; raises if there is none. */
void ml__named_function(lua_State *L, const char *module, const char *field);
/* Pushes the identity of the table at idx, made if it has none. */
void ml__identity(lua_State *L, int idx);
/* Pushes the table that has the identity on top (popped), or nil. */
void ml__identified(lua_State *L);
/* The table on top gets the identity at id. */
void ml__identify(lua_State *L, int id);

#endif
