/* The format of packed values: what pack.c writes and unpack.c reads.
**
** A message is a header, the number of values, the values, then the bodies of
** the objects in them. A table or function is written as a tag where it is first
** met, which gives it the next number; later places refer to that number. Its
** body (fields, upvalues) follows in the order of numbers. So neither side
** recurses, however deep tables nest, and cycles and shared parts cost nothing.
*/
#ifndef ML_PACK_H
#define ML_PACK_H

#include "core.h"

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
