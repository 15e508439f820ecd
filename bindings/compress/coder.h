/* What compressors and decompressors share, whatever their library: the object, its
** memory, and the loop that feeds it and gathers what it gives.
**
** A coder's memory comes from the engine's allocator, so that memory_limit counts it; it is
** given back at the end of the stream, at `close`, or by the collector, whichever is first.
** Owner: the script. Thread: the engine's. None of it waits: large inputs are worked on in
** pieces, in Lua (stdlib/compression.lua).
*/
#ifndef ML_CODER_H
#define ML_CODER_H

#include "core.h"

typedef struct ml_coder ml_coder;

/* Input that is left, and room for output. */
typedef struct ml_span {
  const uint8_t *in;
  size_t nin;
  uint8_t *out;
  size_t nout;
} ml_span;

/* What a step answers. */
enum {
  ML_CODE_MORE,  /* the input is used up, and all of the output given that there is now */
  ML_CODE_FULL,  /* there may be more output: more room is needed */
  ML_CODE_END,   /* of the stream; input may be left */
  ML_CODE_FAILED /* the codec knows why */
};

typedef struct ml_codec {
  const char *name;  /* of its error class in the registry */
  const char *doing; /* "compressing" */
  int (*step)(ml_coder *c, ml_span *s, int mode);
  /* Pushes what is wrong; "not enough memory" is raised by the caller. */
  bool (*why)(lua_State *L, ml_coder *c); /* false: no memory */
  void (*end)(ml_coder *c);               /* frees the library's state */
} ml_codec;

/* Memory of an engine's coders. */
typedef struct ml_coderheap {
  ml_engine *engine;
  size_t used, mark; /* bytes; from `mark` on garbage is collected before more is taken */
} ml_coderheap;

enum { ML_CODER_OPEN, ML_CODER_ENDED, ML_CODER_BROKEN, ML_CODER_CLOSED }; /* obj.state */

/* First in a codec's own struct. User values of decompressors: 1: input that was not taken
** for want of room, 2: what came after the end. */
struct ml_coder {
  ml_object obj;
  const ml_codec *codec;
  ml_coderheap *heap;
  int status; /* the library's, of a failure */
};

ml_coderheap *ml__coderheap(lua_State *L);
/* As C libraries want them: `heap` is an ml_coderheap. */
void *ml__coder_alloc(void *heap, size_t n);
void ml__coder_free(void *heap, void *p);

/* Pushes a new coder of `size` bytes; the caller makes the library's state then. */
void *ml__coder_new(lua_State *L, ml_objtype type, const ml_codec *codec, size_t size);
ml_coder *ml__checkcoder(lua_State *L, ml_objtype type);
/* Bytes from index 2 on: (data [, first [, last]]) as in string.sub. Pushes what comes of them. */
int ml__coder_feed(lua_State *L, ml_coder *c, int mode);
/* The same without input. */
int ml__coder_flush(lua_State *L, ml_coder *c, int mode);
/* (data [, max_length]): at most so many bytes, 0: no limit. what: for messages. */
int ml__coder_decode(lua_State *L, ml_coder *c, const char *what);
/* Raises the codec's error with the text on top (popped). */
int ml__coder_error(lua_State *L, const char *codec);
/* Raises the codec's error about its status. */
int ml__coder_failed(lua_State *L, ml_coder *c);
/* Its memory is given back; nothing can be done with it any more. */
void ml__coder_close(ml_coder *c, int state);
int ml__coder_gc(lua_State *L); /* also `close` and `<close>` */
/* Makes the type, and sets its methods as field `name` of the table on top; `fields` looks up what is no method (NULL: nothing is). */
void ml__coder_type(lua_State *L, ml_objtype type, const char *name, const luaL_Reg *methods,
                    lua_CFunction fields);
/* unconsumed_tail, unused_data, eof: a `fields`. Upvalue 1: the methods. */
int ml__coder_fields(lua_State *L);
/* Makes the error class of the codec and sets it as field `error` of the table on top. */
void ml__coder_errors(lua_State *L, const char *codec, const char *classname);
/* An integer of the table at idx (may be nil), within bounds. */
int ml__coder_option(lua_State *L, int idx, const char *key, int def, int least, int most,
                     const char *fname);

#endif
