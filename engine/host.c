/* What a host does with scripts: loading them as tasks, or calling functions of theirs;
** results and errors that cross into C. Main programs are in program.c.
*/
#include <stdlib.h>
#include <string.h>

#include "core.h"

struct ml_task {
  ml_engine *e; /* NULL once the engine is closed */
  ml_task *next, *prev;
  int pin;
  ml_job job; /* in the future's callbacks until it is done */
  ml_done_fn fn;
  void *ud;
  int status;
  ml_value *values;
  size_t n;
  char **strings; /* what the values point to */
  ml_error error;
  char *message, *traceback;
};

struct ml_lasterror {
  ml_error error;
  char *message, *traceback;
  int exit_status;
};

static char *copy(const char *s, size_t n) {
  char *p = malloc(n + 1);
  if (p != NULL) {
    memcpy(p, s, n);
    p[n] = '\0';
  }
  return p;
}

/* ---- errors ---- */

/* The error at index 1: its text and traceback go to *message, *traceback. */
static int describe_error(lua_State *L) {
  char **out = lua_touserdata(L, 2);
  size_t n;
  const char *s = ml__errtext(L, 1, &n);
  out[0] = copy(s, n);
  ml__traceback_of(L, 1);
  if (lua_type(L, -1) == LUA_TSTRING) {
    ml__push_subexceptions(L, 1);
    lua_concat(L, 2);
  }
  s = lua_tolstring(L, -1, &n);
  out[1] = copy(s != NULL ? s : "", s != NULL ? n : 0);
  return 0;
}

int ml__error_code(lua_State *L, int idx, int code) {
  if (ml__isinstance(L, idx, "TimeSliceError") || ml__isinstance(L, idx, "LimitError"))
    return ML_ELIMIT;
  return ml__isinstance(L, idx, "Terminated") ? ML_EKILLED : code;
}

/* Takes the error on top of L (popped). */
static void take_error(lua_State *L, ml_error *err, char **message, char **traceback, int code) {
  char *out[2] = {NULL, NULL};
  free(*message);
  free(*traceback);
  if (lua_checkstack(L, 6)) {
    lua_pushvalue(L, -1);
    code = ml__error_code(L, lua_gettop(L), code);
    lua_pushcfunction(L, describe_error);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, out);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
    if (out[0] == NULL && lua_type(L, -1) == LUA_TSTRING) /* a debug hook failed, say */
      out[0] = copy(lua_tostring(L, -1), lua_rawlen(L, -1));
  }
  lua_pop(L, 1);
  *message = out[0];
  *traceback = out[1];
  err->code = code;
  err->message = out[0] != NULL ? out[0] : "not enough memory";
  err->traceback = out[1] != NULL ? out[1] : "";
}

static int exit_status_of(lua_State *L) {
  if (ml__isinstance(L, 1, "KeyboardInterrupt"))
    lua_pushinteger(L, 130);
  else if (ml__isinstance(L, 1, "SystemExit")) {
    if (lua_getfield(L, 1, "code") == LUA_TNIL) {
      lua_pop(L, 1);
      lua_getfield(L, 1, "message");
    }
    if (lua_isinteger(L, -1))
      lua_pushinteger(L, lua_tointeger(L, -1) & 255);
    else
      lua_pushinteger(L,
                      lua_isnil(L, -1) || (lua_isboolean(L, -1) && lua_toboolean(L, -1)) ? 0 : 1);
  } else
    lua_pushinteger(L, 1);
  return 1;
}

/* Records the error on top of L (popped) as the engine's last one. */
int ml__set_last_error(ml_engine *e, lua_State *L, int code) {
  ml_metered was;
  if (e->last_error == NULL) {
    e->last_error = calloc(1, sizeof *e->last_error);
    if (e->last_error == NULL) {
      lua_pop(L, 1);
      return ML_ENOMEM;
    }
  }
  e->last_error->exit_status = 1;
  was = ml__meter_open(e, L); /* `__tostring` is the script's */
  if (lua_checkstack(L, 4)) {
    lua_pushcfunction(L, exit_status_of);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) e->last_error->exit_status = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  take_error(L, &e->last_error->error, &e->last_error->message, &e->last_error->traceback, code);
  ml__meter_close(e, L, was);
  return e->last_error->error.code;
}

int ml__protected(ml_engine *e, lua_State *L, lua_CFunction f, void *arg, int nresults, int code) {
  int st;
  ml_metered was;
  if (!lua_checkstack(L, 8)) return ML_ENOMEM;
  was = ml__meter_open(e, L); /* it may run scripts: metamethods, finalizers */
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, arg);
  st = lua_pcall(L, 1, nresults, 0);
  ml__meter_close(e, L, was);
  return st == LUA_OK ? 0 : ml__set_last_error(e, L, st == LUA_ERRMEM ? ML_ENOMEM : code);
}

const ml_error *ml_last_error(ml_engine *e, int *exit_status) {
  const struct ml_lasterror *last = e != NULL ? e->last_error : NULL;
  if (exit_status != NULL) *exit_status = last != NULL ? last->exit_status : 1;
  return last != NULL ? &last->error : NULL;
}

int ml__host_pending_error(lua_State *L) {
  ml__ref_get(L, ML_R_PENDINGERR);
  ml__set_last_error(ml__engine(L), L, ML_ESCRIPT);
  lua_pushnil(L);
  ml__ref_set(L, ML_R_PENDINGERR);
  return 0;
}

int ml__host_report_stuck(lua_State *L) {
  ml__loop_report_stuck(L, lua_touserdata(L, 1));
  return 0;
}

/* ---- scripts as tasks ---- */

typedef struct spawn_arg {
  ml_engine *e;
  ml_task *ref;
} spawn_arg;

static void host_done(ml_evloop *l, ml_job *j);

/* [spawn_arg, function]: makes the task */
static int spawn(lua_State *L) {
  spawn_arg *a = lua_touserdata(L, 1);
  ml_evloop *l = ml__engine_loop(a->e);
  ml_fiber *t;
  if (l == NULL) return luaL_error(L, "not enough memory");
  t = ml__task_new(L, 2, l);
  t->fut.obj.flags |= ML_FF_HOST;
  if (a->ref != NULL) {
    a->ref->pin = ml__pin(L, -1);
    ml__list_append(&t->fut.callbacks, &a->ref->job.link);
  }
  ml__ready(l, &t->job);
  return 0;
}

/* Makes a task of the coroutine or function on top of L (popped). */
static int start_task(ml_engine *e, lua_State *L, ml_task **out) {
  spawn_arg a = {e, NULL};
  ml_metered was;
  int st;
  if (out != NULL) {
    a.ref = calloc(1, sizeof *a.ref);
    if (a.ref == NULL) {
      lua_pop(L, 1);
      return ML_ENOMEM;
    }
    a.ref->job.run = host_done;
    ml__list_init(&a.ref->job.link);
    a.ref->e = e;
  }
  lua_pushcfunction(L, spawn);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, &a);
  lua_insert(L, -2);
  was = ml__meter_open(e, L);
  st = lua_pcall(L, 2, 0, 0);
  ml__meter_close(e, L, was);
  if (st != LUA_OK) {
    if (a.ref != NULL) {
      ml__list_remove(&a.ref->job.link);
      free(a.ref);
    }
    return ml__set_last_error(e, L, ml__error_code(L, lua_gettop(L), ML_ENOMEM));
  }
  if (out == NULL) return 0;
  a.ref->next = e->host_tasks;
  if (e->host_tasks != NULL) e->host_tasks->prev = a.ref;
  e->host_tasks = a.ref;
  *out = a.ref;
  return 0;
}

int ml_load(ml_engine *e, const char *name, const char *src, size_t n, ml_task **out) {
  lua_State *L;
  int rc;
  if (out != NULL) *out = NULL;
  if (e == NULL || src == NULL || name == NULL) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  L = ml__state(e);
  rc = ml__load_chunk(e, L, name, src, n);
  return rc < 0 ? rc : start_task(e, L, out);
}

typedef struct call_arg {
  const char *fn; /* NULL: value */
  const ml_value *value;
  const ml_value *argv;
  size_t n;
} call_arg;

/* Pushes what has that dotted name, or what is no table on the way to it. */
static void push_named(lua_State *L, const char *name) {
  const char *p = name, *dot;
  lua_pushglobaltable(L);
  do {
    dot = strchr(p, '.');
    lua_pushlstring(L, p, dot != NULL ? (size_t)(dot - p) : strlen(p));
    if (!lua_istable(L, -2)) break;
    lua_gettable(L, -2);
    lua_remove(L, -2);
    p = dot != NULL ? dot + 1 : p;
  } while (dot != NULL);
}

/* [call_arg] -> the coroutine of the call */
static int prepare_call(lua_State *L) {
  const call_arg *a = lua_touserdata(L, 1);
  luaL_checkstack(L, (int)a->n + 8, "too many arguments");
  if (a->fn != NULL)
    push_named(L, a->fn);
  else
    ml__value_push(L, a->value);
  lua_settop(L, 2);
  if (!lua_isfunction(L, 2))
    return ml__error(L, "TypeError", "there is no function '%s' (a %s value)", a->fn,
                     luaL_typename(L, 2));
  if (!ml__asyncfunction(L, 2)) ml__async(L);
  for (size_t i = 0; i < a->n; i++) ml__value_push(L, &a->argv[i]);
  lua_call(L, (int)a->n, 1);
  return 1;
}

static int spawn_call(ml_engine *e, call_arg *a, ml_task **out) {
  lua_State *L;
  int rc;
  if ((a->argv == NULL && a->n > 0) || a->n > 200) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  L = ml__state(e);
  rc = ml__protected(e, L, prepare_call, a, 1, ML_EINVAL);
  return rc < 0 ? rc : start_task(e, L, out);
}

int ml_spawn(ml_engine *e, const char *fn, const ml_value *argv, size_t n, ml_task **out) {
  call_arg a = {fn, NULL, argv, n};
  if (out != NULL) *out = NULL;
  return e == NULL || fn == NULL ? ML_EINVAL : spawn_call(e, &a, out);
}

int ml_spawn_value(ml_engine *e, const ml_value *fn, const ml_value *argv, size_t n,
                   ml_task **out) {
  call_arg a = {NULL, fn, argv, n};
  if (out != NULL) *out = NULL;
  if (e == NULL || fn == NULL || fn->type != ML_FUNCTION) return ML_EINVAL;
  return spawn_call(e, &a, out);
}

int ml_load_file(ml_engine *e, const char *path, ml_task **out) {
  char *src, *name;
  size_t n;
  int rc;
  if (out != NULL) *out = NULL;
  if (e == NULL || path == NULL) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  rc = ml__read_whole(e, path, &src, &n);
  if (rc < 0) return rc;
  name = malloc(strlen(path) + 2);
  if (name == NULL) {
    free(src);
    return ML_ENOMEM;
  }
  name[0] = '@';
  strcpy(name + 1, path);
  rc = ml_load(e, name, src, n, out);
  free(name);
  free(src);
  return rc;
}

/* [ml_task, future]: copies the outcome into the reference */
static int take_outcome(lua_State *L) {
  ml_task *t = lua_touserdata(L, 1);
  ml_future *f = lua_touserdata(L, 2);
  int n = ml__future_results(L, 2);
  if (n < 0) {
    t->status = f->obj.state == ML_F_CANCELLED ? ML_CANCELLED : ML_FAILED;
    take_error(L, &t->error, &t->message, &t->traceback,
               t->status == ML_CANCELLED ? UV_ECANCELED : ML_ESCRIPT);
    return 0;
  }
  luaL_checkstack(L, 8, "results");
  t->values = calloc((size_t)n + 1, sizeof *t->values);
  t->strings = calloc((size_t)n + 1, sizeof *t->strings);
  if (t->values == NULL || t->strings == NULL) return 0; /* failed, as it says */
  t->status = ML_DONE;
  for (int i = 0; i < n; i++) {
    int idx = 3 + i;
    ml_value *v = &t->values[i];
    if (lua_type(L, idx) == LUA_TSTRING)
      ml__value_plain(L, idx, v);
    else
      ml__value_take(L, idx, v);
    if (v->type == ML_STRING || v->type == ML_OTHER) { /* the text outlives the engine */
      t->strings[i] = copy(v->u.str.s, v->u.str.len);
      if (t->strings[i] == NULL) v->u.str.len = 0;
      v->u.str.s = t->strings[i] != NULL ? t->strings[i] : "";
    }
    t->n++;
  }
  return 0;
}

static void host_done(ml_evloop *l, ml_job *j) {
  ml_task *t = ml__containerof(j, ml_task, job);
  lua_State *L = l->L;
  t->status = ML_FAILED;
  t->error.code = ML_ENOMEM;
  t->error.message = "not enough memory";
  t->error.traceback = "";
  if (lua_checkstack(L, 8)) {
    lua_pushcfunction(L, take_outcome);
    lua_pushlightuserdata(L, t);
    ml__pushpinned(L, t->pin);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
      t->status = ML_FAILED;
      lua_pop(L, 1);
    }
  }
  ml__unpin(L, t->pin);
  t->pin = 0;
  if (t->fn != NULL) t->fn(t, t->ud);
}

int ml_task_status(const ml_task *t) { return t != NULL ? t->status : ML_EINVAL; }

int ml_task_result(ml_task *t, const ml_value **v, size_t *n) {
  if (v != NULL) *v = NULL;
  if (n != NULL) *n = 0;
  if (t == NULL) return ML_EINVAL;
  if (t->status == ML_PENDING) return ML_EPENDING;
  if (t->status != ML_DONE) return t->error.code;
  if (v != NULL) *v = t->values;
  if (n != NULL) *n = t->n;
  return 0;
}

const ml_error *ml_task_error(ml_task *t) {
  return t != NULL && (t->status == ML_FAILED || t->status == ML_CANCELLED) ? &t->error : NULL;
}

int ml_task_on_done(ml_task *t, ml_done_fn fn, void *ud) {
  if (t == NULL) return ML_EINVAL;
  if (t->status != ML_PENDING) {
    if (fn != NULL) fn(t, ud);
    return 0;
  }
  t->fn = fn;
  t->ud = ud;
  return 0;
}

static int cancel_protected(lua_State *L) {
  ml_task *t = lua_touserdata(L, 1);
  const char *why = lua_touserdata(L, 2);
  ml__pushpinned(L, t->pin);
  if (why != NULL)
    lua_pushstring(L, why);
  else
    lua_pushnil(L);
  lua_pushboolean(L, ml__future_cancel(L, 3));
  return 1;
}

int ml_task_cancel(ml_task *t, const char *why) {
  ml_metered was;
  lua_State *L;
  int rc;
  if (t == NULL) return ML_EINVAL;
  if (t->e == NULL) return ML_ECLOSED;
  if (t->e->collecting) return ML_EBUSY;
  if (t->status != ML_PENDING) return 0;
  L = ml__state(t->e);
  if (!lua_checkstack(L, 4)) return ML_ENOMEM;
  was = ml__meter_open(t->e, L); /* the host is told: see ml_call_on_cancel */
  lua_pushcfunction(L, cancel_protected);
  lua_pushlightuserdata(L, t);
  lua_pushlightuserdata(L, (void *)why);
  rc = lua_pcall(L, 2, 1, 0) == LUA_OK ? lua_toboolean(L, -1) : ML_ENOMEM;
  lua_pop(L, 1);
  ml__meter_close(ml__engine(L), L, was);
  return rc;
}

static void detach(ml_task *t) {
  ml__list_remove(&t->job.link);
  if (t->prev != NULL)
    t->prev->next = t->next;
  else
    t->e->host_tasks = t->next; // NOLINT(clang-analyzer-core*): only while attached
  if (t->next != NULL) t->next->prev = t->prev;
  t->e = NULL;
}

void ml_task_release(ml_task *t) {
  if (t == NULL) return;
  if (t->e != NULL) {
    ml__unpin(ml__state(t->e), t->pin);
    for (size_t i = 0; i < t->n; i++) ml__value_unpin(ml__state(t->e), &t->values[i]);
    detach(t);
  }
  for (size_t i = 0; i < t->n; i++) free(t->strings[i]);
  free(t->strings);
  free(t->values);
  free(t->message);
  free(t->traceback);
  free(t);
}

void ml__host_close(ml_engine *e) {
  while (e->host_tasks != NULL) {
    ml_task *t = e->host_tasks;
    detach(t);
    if (t->status == ML_PENDING) {
      t->status = ML_CANCELLED;
      t->error.code = ML_ECLOSED;
      t->error.message = "the engine was closed";
      t->error.traceback = "";
    }
  }
  if (e->last_error != NULL) {
    free(e->last_error->message);
    free(e->last_error->traceback);
    free(e->last_error);
    e->last_error = NULL;
  }
}
