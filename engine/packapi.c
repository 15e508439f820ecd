/* ml_pack and ml_unpack: values between engines for hosts. What is no plain value of C
** is a pin: ml_value_free gives it back.
*/
#include <string.h>

#include "core.h"

static const ml_packing plain = {0};

static lua_State *state_of(const ml_engine *e) { return e->running != NULL ? e->running->L : e->L; }

/* Pushes the value; ref is a pin of {value, text}. */
static void push(lua_State *L, const ml_value *v) {
  switch (v->type) {
  case ML_BOOL: lua_pushboolean(L, v->u.b); break;
  case ML_INT: lua_pushinteger(L, v->u.i); break;
  case ML_FLOAT: lua_pushnumber(L, v->u.n); break;
  case ML_STRING: lua_pushlstring(L, v->u.str.s, v->u.str.len); break;
  case ML_OTHER:
    ml__pushpinned(L, v->u.str.ref);
    if (lua_istable(L, -1)) lua_rawgeti(L, -1, 1);
    break;
  default: lua_pushnil(L);
  }
}

/* [value] -> what tostring says of it */
static int tostring(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* The value at idx for the host. */
static void take(lua_State *L, int idx, ml_value *v) {
  switch (lua_type(L, idx)) {
  case LUA_TNIL: v->type = ML_NIL; return;
  case LUA_TBOOLEAN:
    v->type = ML_BOOL;
    v->u.b = lua_toboolean(L, idx);
    return;
  case LUA_TNUMBER:
    v->type = lua_isinteger(L, idx) ? ML_INT : ML_FLOAT;
    if (v->type == ML_INT)
      v->u.i = lua_tointeger(L, idx);
    else
      v->u.n = lua_tonumber(L, idx);
    return;
  default: break;
  }
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -2, 1);
  lua_pushcfunction(L, tostring);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING) { /* __tostring failed */
    lua_pop(L, 1);
    lua_pushstring(L, luaL_typename(L, idx));
  }
  v->u.str.s = lua_tolstring(L, -1, &v->u.str.len);
  lua_rawseti(L, -2, 2);
  v->u.str.ref = ml__pin(L, -1);
  v->type = lua_type(L, idx) == LUA_TSTRING ? ML_STRING : ML_OTHER;
}

typedef struct pack_arg {
  const ml_value *in;
  ml_value *out;
  ml_buf *buf;
  const void *p;
  size_t n;
} pack_arg;

/* [pack_arg] */
static int do_pack(lua_State *L) {
  pack_arg *a = lua_touserdata(L, 1);
  push(L, a->in);
  if (ml__pack(L, lua_gettop(L), 1, &plain, a->buf) == 0) return 0;
  return ml__error(L, "TypeError", "cannot copy %s", lua_tostring(L, -1));
}

/* [pack_arg] */
static int do_unpack(lua_State *L) {
  pack_arg *a = lua_touserdata(L, 1);
  int n = ml__unpack(L, a->p, a->n, &plain);
  if (n != 1) return ml__error(L, "ValueError", "%d packed values, not one", n);
  take(L, lua_gettop(L), a->out);
  return 0;
}

static int call(ml_engine *e, lua_CFunction f, pack_arg *a) {
  lua_State *L = state_of(e);
  int st;
  if (!lua_checkstack(L, 8)) return ML_ENOMEM;
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, a);
  st = lua_pcall(L, 1, 0, 0);
  if (st == LUA_OK) return 0;
  return ml__set_last_error(e, L, st == LUA_ERRMEM ? ML_ENOMEM : ML_EINVAL);
}

int ml_pack(ml_engine *e, const ml_value *v, ml_buf *out) {
  pack_arg a = {.in = v, .buf = out};
  size_t len = out != NULL ? out->len : 0;
  int rc;
  if (e == NULL || v == NULL || out == NULL) return ML_EINVAL;
  if (e->closing) return ML_ECLOSED;
  rc = call(e, do_pack, &a);
  if (rc < 0) out->len = len;
  return rc;
}

int ml_unpack(ml_engine *e, const void *p, size_t n, ml_value *out) {
  pack_arg a = {.out = out, .p = p, .n = n};
  if (out != NULL) memset(out, 0, sizeof *out);
  if (e == NULL || p == NULL || out == NULL) return ML_EINVAL;
  if (e->closing) return ML_ECLOSED;
  return call(e, do_unpack, &a);
}

void ml_value_free(ml_engine *e, ml_value *v) {
  if (e == NULL || v == NULL) return;
  if ((v->type == ML_OTHER || v->type == ML_STRING) && e->L != NULL)
    ml__unpin(state_of(e), v->u.str.ref);
  memset(v, 0, sizeof *v);
}
