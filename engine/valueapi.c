/* What hosts do with values: global names, tables, functions that they hold.
**
** Tables are read and written raw: no metamethod runs, so no script does. Every function
** runs on the thread that runs the engine, under lua_pcall.
*/
#include <string.h>

#include "core.h"

typedef struct value_arg {
  const char *name;
  const ml_value *table, *key, *in;
  ml_value *out, *outkey;
  const ml_value *argv;
  size_t n;
  size_t len;
  int found;
} value_arg;

static int call(ml_engine *e, lua_CFunction f, value_arg *a) {
  int rc;
  if (e == NULL) return ML_EINVAL;
  if (e->collecting) return ML_EBUSY;
  if (e->closing > 1) return ML_ECLOSED;
  rc = ml__protected(e, ml__state(e), f, a, 0, ML_EINVAL);
  return rc < 0 ? rc : a->found;
}

/* ---- global names ---- */

/* Pushes the table that holds the last part of the dotted name, and that part; false, having
** pushed what is no table instead: then *p is the part that is none. */
static bool walk(lua_State *L, const char *name, bool make, const char **part, size_t *n) {
  const char *p = name, *dot;
  lua_pushglobaltable(L);
  while ((dot = strchr(p, '.')) != NULL) {
    *part = p;
    *n = (size_t)(dot - p);
    lua_pushlstring(L, p, *n);
    if (lua_rawget(L, -2) == LUA_TNIL && make) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushlstring(L, p, *n);
      lua_pushvalue(L, -2);
      lua_rawset(L, -4);
    }
    lua_remove(L, -2);
    if (!lua_istable(L, -1)) return false;
    p = dot + 1;
  }
  lua_pushstring(L, p);
  return true;
}

/* [value_arg] */
static int get_global(lua_State *L) {
  value_arg *a = lua_touserdata(L, 1);
  const char *part;
  size_t n;
  if (!walk(L, a->name, false, &part, &n)) return 0;
  lua_rawget(L, -2);
  ml__value_take(L, -1, a->out);
  return 0;
}

void ml__global_set(lua_State *L, const char *name) {
  const char *part = "";
  size_t n = 0;
  int value = lua_gettop(L);
  if (!walk(L, name, true, &part, &n)) {
    lua_pushlstring(L, part, n);
    ml__error(L, "ValueError", "'%s' cannot be defined: '%s' is no table", name,
              lua_tostring(L, -1));
  }
  lua_pushvalue(L, value);
  lua_rawset(L, -3);
  lua_settop(L, value - 1);
}

/* [value_arg] */
static int set_global(lua_State *L) {
  const value_arg *a = lua_touserdata(L, 1);
  ml__value_push(L, a->in);
  ml__global_set(L, a->name);
  return 0;
}

int ml_get(ml_engine *e, const char *name, ml_value *out) {
  value_arg a = {.name = name, .out = out};
  if (out != NULL) memset(out, 0, sizeof *out);
  if (name == NULL || out == NULL || !ml__name_ok(name)) return ML_EINVAL;
  return call(e, get_global, &a);
}

int ml_set(ml_engine *e, const char *name, const ml_value *v) {
  value_arg a = {.name = name, .in = v};
  if (name == NULL || v == NULL || !ml__name_ok(name)) return ML_EINVAL;
  return call(e, set_global, &a);
}

/* ---- tables ---- */

static int new_table(lua_State *L) {
  value_arg *a = lua_touserdata(L, 1);
  lua_newtable(L);
  ml__value_take(L, -1, a->out);
  return 0;
}

/* Pushes the table that the host means, if it still holds it. */
static void push_table(lua_State *L, const ml_value *t) {
  ml__value_push(L, t);
  if (!lua_istable(L, -1))
    ml__error(L, "ValueError", "a table of this engine's is expected (was the value given back?)");
}

static int get_field(lua_State *L) {
  value_arg *a = lua_touserdata(L, 1);
  push_table(L, a->table);
  if (a->key != NULL)
    ml__value_push(L, a->key);
  else
    lua_pushstring(L, a->name);
  lua_rawget(L, -2);
  ml__value_take(L, -1, a->out);
  return 0;
}

static int set_field(lua_State *L) {
  const value_arg *a = lua_touserdata(L, 1);
  push_table(L, a->table);
  if (a->key != NULL)
    ml__value_push(L, a->key);
  else
    lua_pushstring(L, a->name);
  if (lua_isnil(L, -1) || (lua_isnumber(L, -1) && lua_tonumber(L, -1) != lua_tonumber(L, -1)))
    return ml__error(L, "ValueError", "%s cannot be a key", luaL_tolstring(L, -1, NULL));
  ml__value_push(L, a->in);
  lua_rawset(L, -3);
  return 0;
}

static int length(lua_State *L) {
  value_arg *a = lua_touserdata(L, 1);
  push_table(L, a->table);
  a->len = lua_rawlen(L, -1);
  return 0;
}

static int next_pair(lua_State *L) {
  value_arg *a = lua_touserdata(L, 1);
  ml_value key, value;
  push_table(L, a->table);
  ml__value_push(L, a->outkey);
  memset(&key, 0, sizeof key);
  memset(&value, 0, sizeof value);
  a->found = lua_next(L, -2);
  if (a->found) {
    ml__value_take(L, -2, &key);
    ml__value_take(L, -1, &value);
  }
  ml__value_unpin(L, a->outkey);
  *a->outkey = key;
  *a->out = value;
  return 0;
}

static bool is_table(const ml_value *t) { return t != NULL && t->type == ML_TABLE; }

int ml_table_new(ml_engine *e, ml_value *out) {
  value_arg a = {.out = out};
  if (out == NULL) return ML_EINVAL;
  memset(out, 0, sizeof *out);
  return call(e, new_table, &a);
}

int ml_table_get(ml_engine *e, const ml_value *t, const ml_value *key, ml_value *out) {
  value_arg a = {.table = t, .key = key, .out = out};
  if (out != NULL) memset(out, 0, sizeof *out);
  if (!is_table(t) || key == NULL || out == NULL) return ML_EINVAL;
  return call(e, get_field, &a);
}

int ml_table_field(ml_engine *e, const ml_value *t, const char *name, ml_value *out) {
  value_arg a = {.table = t, .name = name, .out = out};
  if (out != NULL) memset(out, 0, sizeof *out);
  if (!is_table(t) || name == NULL || out == NULL) return ML_EINVAL;
  return call(e, get_field, &a);
}

int ml_table_set(ml_engine *e, const ml_value *t, const ml_value *key, const ml_value *v) {
  value_arg a = {.table = t, .key = key, .in = v};
  if (!is_table(t) || key == NULL || v == NULL) return ML_EINVAL;
  return call(e, set_field, &a);
}

int ml_table_set_field(ml_engine *e, const ml_value *t, const char *name, const ml_value *v) {
  value_arg a = {.table = t, .name = name, .in = v};
  if (!is_table(t) || name == NULL || v == NULL) return ML_EINVAL;
  return call(e, set_field, &a);
}

int ml_table_len(ml_engine *e, const ml_value *t, size_t *n) {
  value_arg a = {.table = t};
  int rc;
  if (n != NULL) *n = 0;
  if (!is_table(t) || n == NULL) return ML_EINVAL;
  rc = call(e, length, &a);
  *n = a.len;
  return rc;
}

int ml_table_next(ml_engine *e, const ml_value *t, ml_value *key, ml_value *value) {
  value_arg a = {.table = t, .outkey = key, .out = value};
  if (value != NULL) memset(value, 0, sizeof *value);
  if (!is_table(t) || key == NULL || value == NULL) return ML_EINVAL;
  return call(e, next_pair, &a);
}

static int to_string(lua_State *L) {
  value_arg *a = lua_touserdata(L, 1);
  size_t n;
  ml__value_push(L, a->in);
  ml__value_text(L, -1, &n);
  ml__value_take(L, -1, a->out);
  return 0;
}

int ml_tostring(ml_engine *e, const ml_value *v, ml_value *out) {
  value_arg a = {.in = v, .out = out};
  if (out != NULL) memset(out, 0, sizeof *out);
  if (v == NULL || out == NULL) return ML_EINVAL;
  return call(e, to_string, &a);
}

/* ---- functions ---- */

/* [value_arg] calls it, and takes as many results as there is room for */
static int call_function(lua_State *L) {
  value_arg *a = lua_touserdata(L, 1);
  int n;
  luaL_checkstack(L, (int)a->n + 8, "too many arguments");
  ml__value_push(L, a->in);
  for (size_t i = 0; i < a->n; i++) ml__value_push(L, &a->argv[i]);
  lua_call(L, (int)a->n, LUA_MULTRET);
  n = lua_gettop(L) - 1;
  luaL_checkstack(L, 8, "results");
  for (int i = 0; i < n && (size_t)i < a->len; i++) {
    ml__value_take(L, 2 + i, &a->out[i]);
    a->found++;
  }
  return 0;
}

int ml_call_value(ml_engine *e, const ml_value *fn, const ml_value *argv, size_t n, ml_value *out,
                  size_t nout) {
  value_arg a = {.in = fn, .argv = argv, .n = n, .out = out, .len = nout};
  ml_metered was;
  lua_State *L;
  int rc;
  if (out != NULL) memset(out, 0, nout * sizeof *out);
  if (e == NULL || fn == NULL || fn->type != ML_FUNCTION || (argv == NULL && n > 0) || n > 200 ||
      (out == NULL && nout > 0))
    return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  L = ml__state(e);
  if (!lua_checkstack(L, 8)) return ML_ENOMEM;
  was = ml__meter_open(e, L);
  lua_pushcfunction(L, call_function);
  lua_pushlightuserdata(L, &a);
  rc = lua_pcall(L, 1, 0, 0);
  ml__meter_close(e, L, was);
  if (rc == LUA_OK) return a.found;
  rc = ml__set_last_error(e, L, rc == LUA_ERRMEM ? ML_ENOMEM : ML_ESCRIPT);
  for (int i = 0; i < a.found; i++) ml_value_free(e, &out[i]);
  return rc;
}
