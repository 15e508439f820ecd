/* The keywords async and await, written as plain Lua. See translate.c. */
#ifndef ML_TRANSLATE_H
#define ML_TRANSLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core.h"

/* A call that is a statement: what may have been meant to be awaited. */
typedef struct ml_callstat {
  size_t at, end; /* of what is called, in the text */
  bool known;     /* its name is that of an async function of the text */
} ml_callstat;

typedef struct ml_translation {
  ml_allocator *alloc;
  /* filled by ml__translate */
  char *text; /* NULL: the source stays as it is */
  size_t n, cap;
  ml_callstat *calls; /* with want_calls */
  size_t ncalls, capcalls;
  bool want_calls;
} ml_translation;

/* 0, or ML_ENOMEM. What the translation holds is freed by ml__translation_free, always. */
int ml__translate(ml_translation *t, const char *source, size_t n);
void ml__translation_free(ml_translation *t);

/* chunks.c. luaL_loadbufferx for source that may have the keywords. */
int ml__loadbuffer(lua_State *L, const char *source, size_t n, const char *chunkname,
                   const char *mode);

/* Pushes a file of the io library that is not open; then ml__file_opened makes it f. */
luaL_Stream *ml__push_file(lua_State *L);
void ml__file_opened(luaL_Stream *p, FILE *f);
/* Closes the file on top and puts what it had in its place, as luaL_loadfilex reads it: without a
** byte order mark and a first line "#...". False: it cannot be read, errno says why. */
bool ml__file_source(lua_State *L);
void ml__open_chunks(lua_State *L);

#endif
