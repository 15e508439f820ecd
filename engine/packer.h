/* What pack.c works on, and what it tells where a value is by (packplace.c): those two alone. */
#ifndef ML_PACKER_H
#define ML_PACKER_H

#include "pack.h"

/* What leads from what holds a value to it. */
typedef enum { SEG_ROOT, SEG_FIELD, SEG_KEY, SEG_META, SEG_UPVALUE } ml_packseg;

typedef struct ml_packer {
  lua_State *L;
  const ml_packing *how;
  ml_buf *out;
  size_t start;     /* of the message in out */
  int seen;         /* index: object -> number, variable -> number and upvalue; or nil */
  int queue;        /* index: number -> object; or nil */
  int trail;        /* index: 2 * number - 1: who holds it, 2 * number: by what; or nil */
  lua_Integer nobj; /* numbers given */
  lua_Integer cur;  /* whose body is written; 0: the values themselves */
  ml_packseg seg;   /* where in it */
  int key;          /* root: which; field: index of its key; upvalue: which */
  bool explain;
  bool metatable;  /* the next table is one */
  int depth;       /* functions kept inside one another */
  const char *bad; /* what cannot be copied */
} ml_packer;

/* Pushes the current place as text; that of a field begins with "." or "[". */
void ml__pack_segment(ml_packer *P);
/* Pushes "argument 1: field 'a.b[3]' (thread)". */
void ml__pack_place(ml_packer *P);

#endif
