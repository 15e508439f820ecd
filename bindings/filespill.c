/* Bytes that a file takes without their becoming strings: those of a reader come to stand in a
** block of the file's, and a thread writes that while the next ones come into another.
**
** Two blocks, f->in and f->out, change places when one is spilled. Nobody waits for the thread
** but the next _spill, or what else is done to the file.
*/
#include <stdlib.h>
#include <string.h>

#include "file.h"

#define BLOCK (512 * 1024)
#define LEAST (64 * 1024) /* a reader is not asked for less */

bool ml__file_intake(ml_file *f) {
  char *p;
  if (f->in.cap >= BLOCK || f->in.len > 0) return true;
  p = malloc(BLOCK);
  if (p == NULL) return false;
  free(f->in.base);
  f->in.base = p;
  f->in.cap = BLOCK;
  return true;
}

/* One that is closed has no room either: _spill says why. */
static char *room(ml_intake *in, size_t *n) {
  ml_file *f = ((ml_fileobject *)in)->f;
  size_t most = 0;
  if (f != NULL && !f->closing && ml__file_intake(f)) most = f->in.cap - f->in.len;
  most = most < LEAST ? 0 : most - 1;
  if (*n > most) *n = most;
  return most > 0 ? f->in.base + f->in.len : NULL;
}

static void add(ml_intake *in, size_t n) { ((ml_fileobject *)in)->f->in.len += n; }

void ml__file_prepare(ml_fileobject *o) {
  o->intake.room = room;
  o->intake.add = add;
}

/* file:_receive(reader, n) -> awaitable of how many bytes of the reader have been put aside to be
** written; nil: it is at its end; 0: there is no room, before file:_spill() */
static int f_receive(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 3);
  ml__checkobject(L, 1, ML_T_FILE);
  luaL_argcheck(L, n > 0, 3, "a number of bytes expected");
  ml__reader_into(L, 2, 1, (size_t)n);
  return 1;
}

/* file:_add(data, from) -> how many bytes of a string, from an offset on, have been put aside; 0:
** there is no room */
static int f_add(lua_State *L) {
  ml_file *f = ((ml_fileobject *)ml__checkobject(L, 1, ML_T_FILE))->f;
  size_t len, most = 0;
  const char *p = luaL_checklstring(L, 2, &len);
  lua_Integer from = luaL_checkinteger(L, 3);
  luaL_argcheck(L, from >= 0 && (size_t)from <= len, 3, "an offset in the string expected");
  if (f != NULL && !f->closing && ml__file_intake(f)) most = f->in.cap - f->in.len;
  len -= (size_t)from;
  if (len > most) len = most;
  if (len > 0) memcpy(f->in.base + f->in.len, p + from, len);
  if (len > 0) f->in.len += len;
  lua_pushinteger(L, (lua_Integer)len);
  return 1;
}

const luaL_Reg ml__file_spilling[] = {{"_receive", f_receive}, {"_add", f_add}, {NULL, NULL}};
