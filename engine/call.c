/* Host functions: what scripts call and C answers, at once or later.
**
** A call that is answered later is an operation for the script, and for the host
** an ml_call, which lives outside the Lua heap until the host has finished it:
** from whatever thread, after the task was cancelled, after the engine was closed.
** What threads share is the gate: it tells under its lock whether there is still
** a loop to post to. It lives as long as a call or the engine.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

typedef struct host_op host_op;

#define RETIRED 256

typedef struct ml_gate ml_gate;
struct ml_gate {
  pthread_mutex_t lock;
  atomic_int refs; /* of the calls, and of the loop while it is open */
  ml_evloop *loop; /* NULL: closed; under the lock */
  ml_closer closer;
  /* the engine's thread's: */
  ml_link calls;             /* not finished or not taken yet */
  ml_call *retired[RETIRED]; /* the last ones: so that finishing twice is told, not fatal */
  unsigned nretired;
  ml_call *spare[RETIRED]; /* to be used again */
  unsigned nspare;
};

struct ml_call {
  ml_job job; /* posted by finish */
  ml_engine *e;
  lua_State *L; /* while its function runs: where its arguments and results are */
  int nargs, nresults;
  int skip;   /* of a method: what comes before its arguments */
  void *self; /* its object */
  bool why;   /* engine->why says what is wrong */
  /* of calls that are answered later */
  ml_gate *gate;
  ml_link link; /* in gate->calls */
  host_op *op;  /* NULL: nobody waits for it any more */
  int pin;      /* of op, which holds the arguments */
  ml_cancel_fn on_cancel;
  void *cancel_ud;
  bool finished; /* under the gate's lock */
  int err;
  ml_value *values; /* with the strings behind them: in room, or malloc'd */
  size_t n;
  union {
    ml_value first;
    char bytes[96];
  } room;
};

/* User values: 1: the definition, then the arguments. */
struct host_op {
  ml_op op; /* obj.n: number of arguments */
  ml_call *call;
};

typedef ml_hostfn definition;

/* ---- arguments and results ---- */

int ml_argc(const ml_call *c) { return c != NULL ? c->nargs : ML_EINVAL; }
ml_engine *ml_call_engine(const ml_call *c) { return c != NULL ? c->e : NULL; }

/* [ml_value]: the argument at index 2, for the host */
static int take_other(lua_State *L) {
  ml__value_take(L, 2, lua_touserdata(L, 1));
  return 0;
}

void *ml_self(const ml_call *c) { return c != NULL ? c->self : NULL; }

int ml__arg_push(ml_call *c, int i, lua_State **to) {
  lua_State *L = c->L;
  if (L == NULL) { /* one that is answered later: does anybody wait for it? */
    if (c->op == NULL) return ML_ECLOSED;
    L = ml__state(c->e);
  }
  if (!lua_checkstack(L, 8)) return ML_ENOMEM;
  *to = L;
  if (i >= c->nargs)
    lua_pushnil(L);
  else if (c->op != NULL) {
    ml__pushpinned(L, c->pin);
    lua_getiuservalue(L, -1, i + c->skip + 2);
    lua_remove(L, -2);
  } else
    lua_pushvalue(L, i + c->skip + 1);
  return 0;
}

int ml__arg_wrong(ml_call *c, int i, const char *expected, const char *got) {
  snprintf(c->e->why, sizeof c->e->why, "argument %d: %s expected, got %s", i + 1, expected, got);
  c->why = true;
  return ML_ETYPE;
}

int ml_arg(ml_call *c, int i, ml_value *out) {
  lua_State *L;
  int rc = 0;
  if (out != NULL) memset(out, 0, sizeof *out);
  if (c == NULL || out == NULL || i < 0) return ML_EINVAL;
  if (i >= c->nargs) return ML_EINVAL;
  rc = ml__arg_push(c, i, &L);
  if (rc < 0) return rc;
  if (!ml__value_plain(L, lua_gettop(L), out)) {
    ml_metered was = ml__meter_open(c->e, L); /* `__tostring` is the script's */
    lua_pushcfunction(L, take_other);
    lua_pushlightuserdata(L, out);
    lua_pushvalue(L, -3);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
      lua_pop(L, 1);
      memset(out, 0, sizeof *out);
      rc = ML_ENOMEM;
    }
    ml__meter_close(c->e, L, was);
  }
  lua_pop(L, 1);
  return rc;
}

/* [ml_value...] as one light pointer and a count -> the values */
static int push_values(lua_State *L) {
  const ml_value *v = lua_touserdata(L, 1);
  int n = (int)lua_tointeger(L, 2);
  luaL_checkstack(L, n + 2, "too many results");
  for (int i = 0; i < n; i++) ml__value_push(L, &v[i]);
  return n;
}

#define MAX_RESULTS 10000

int ml_return(ml_call *c, const ml_value *v, size_t n) {
  lua_State *L = c != NULL ? c->L : NULL;
  if (L == NULL || c->gate != NULL || (v == NULL && n > 0) || n > MAX_RESULTS) return ML_EINVAL;
  if (!lua_checkstack(L, (int)n + 8)) return ML_ENOMEM;
  lua_settop(L, c->skip + c->nargs); /* the last answer counts */
  c->nresults = 0;
  lua_pushcfunction(L, push_values);
  lua_pushlightuserdata(L, (void *)v);
  lua_pushinteger(L, (lua_Integer)n);
  if (lua_pcall(L, 2, LUA_MULTRET, 0) != LUA_OK) {
    lua_pop(L, 1);
    return ML_ENOMEM;
  }
  c->nresults = (int)n;
  return 0;
}

/* Raises the error of a host function: its code, and the text that it gave, or nil, on
** top of the stack (popped). */
static int raise_code(lua_State *L, const char *name, int err) {
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : ml_strerror(err);
  if (err <= ML_EINVAL && err > ML_EINVAL - 100)
    return ml__error(L,
                     err == ML_EINVAL  ? "ValueError"
                     : err == ML_ETYPE ? "TypeError"
                                       : "RuntimeError",
                     "%s: %s", name, text);
  lua_pushfstring(L, "%s: %s", name, text);
  ml__error_uv(L, err, "%s", name);
  lua_insert(L, -2);
  lua_setfield(L, -2, "message");
  return lua_error(L);
}

/* ---- answered at once ---- */

/* A host whose engine was closed, though its state goes on, is not called. */
static void check_open(lua_State *L, const ml_engine *e, const definition *d) {
  if (e->attachment != NULL && e->closing > 1)
    ml__error(L, "RuntimeError", "%s: the engine is closed", d->name);
}

int ml__host_call(lua_State *L, const definition *d, void *self, int skip) {
  ml_call c = {.e = ml__engine(L), .L = L, .self = self, .skip = skip};
  int rc;
  c.nargs = lua_gettop(L) - skip;
  check_open(L, c.e, d);
  rc = d->fn(&c, d->ud);
  if (rc >= 0) return c.nresults;
  if (c.nresults == 0) lua_pushstring(L, c.why ? c.e->why : NULL);
  return raise_code(L, d->name, rc);
}

static int call_now(lua_State *L) {
  return ml__host_call(L, lua_touserdata(L, lua_upvalueindex(1)), NULL, 0);
}

/* ---- answered later ---- */

static void gate_unref(ml_gate *g) {
  if (atomic_fetch_sub(&g->refs, 1) > 1) return;
  for (unsigned i = 0; i < RETIRED; i++) free(g->retired[i]);
  while (g->nspare > 0) free(g->spare[--g->nspare]);
  pthread_mutex_destroy(&g->lock);
  free(g);
}

static void free_values(ml_call *c) {
  if (c->values != &c->room.first) free(c->values);
  c->values = NULL;
}

/* On the engine's thread: the call is over. */
static void retire(ml_call *c) {
  ml_gate *g = c->gate;
  ml_call *old = g->retired[g->nretired % RETIRED];
  ml__list_remove(&c->link);
  free_values(c);
  g->retired[g->nretired++ % RETIRED] = c;
  if (old != NULL && g->nspare < RETIRED)
    g->spare[g->nspare++] = old;
  else
    free(old);
  gate_unref(g);
}

/* Nobody waits for the call any more; the host still finishes it. */
static void detach(ml_call *c, lua_State *L) {
  c->op->call = NULL;
  c->op = NULL;
  ml__unpin(L, c->pin);
  c->gate->loop->holds--;
}

/* The loop is being closed: calls that are finished but not taken are freed, others
** when they are finished. */
static void close_gate(lua_State *L, ml_closer *closer) {
  ml_gate *g = ml__containerof(closer, ml_gate, closer);
  ml_evloop *l = g->loop;
  while (!ml__list_empty(&g->calls)) {
    ml_call *c = ml__containerof(g->calls.next, ml_call, link);
    bool finished;
    ml__list_remove(&c->link);
    if (c->op != NULL) detach(c, L);
    pthread_mutex_lock(&g->lock);
    finished = c->finished;
    c->e = NULL;
    pthread_mutex_unlock(&g->lock);
    if (!finished) continue;
    ml__loop_unpost(l, &c->job);
    retire(c);
  }
  pthread_mutex_lock(&g->lock);
  g->loop = NULL;
  pthread_mutex_unlock(&g->lock);
  l->gate = NULL;
  gate_unref(g);
}

static ml_gate *gate_of(ml_evloop *l) {
  ml_gate *g = l->gate;
  if (g != NULL) return g;
  if (l->closed || ml__loop_uv(l) == NULL) return NULL;
  g = calloc(1, sizeof *g);
  if (g == NULL || pthread_mutex_init(&g->lock, NULL) != 0) {
    free(g);
    return NULL;
  }
  g->refs = 1;
  g->loop = l;
  ml__list_init(&g->calls);
  g->closer.close = close_gate;
  ml__list_append(&l->closers, &g->closer.link);
  l->gate = g;
  return g;
}

/* The host has finished it. */
static void run_finished(ml_evloop *l, ml_job *j) {
  ml_call *c = ml__containerof(j, ml_call, job);
  (void)l;
  if (c->op != NULL) {
    ml__op_wake(&c->op->op);
    return;
  }
  retire(c);
}

static ml_call *call_new(ml_evloop *l, host_op *op) {
  ml_gate *g = gate_of(l);
  ml_call *c;
  if (g == NULL) return NULL;
  c = g->nspare > 0 ? g->spare[--g->nspare] : malloc(sizeof *c);
  if (c == NULL) return NULL;
  memset(c, 0, offsetof(ml_call, room));
  c->job.run = run_finished;
  ml__list_init(&c->job.link);
  c->e = l->engine;
  c->nargs = (int)op->op.obj.n;
  c->gate = g;
  atomic_fetch_add(&g->refs, 1);
  ml__list_append(&g->calls, &c->link);
  c->op = op;
  op->call = c;
  return c;
}

static bool is_finished(ml_call *c) {
  bool finished;
  pthread_mutex_lock(&c->gate->lock);
  finished = c->finished;
  pthread_mutex_unlock(&c->gate->lock);
  return finished;
}

static int op_begin(lua_State *L, ml_op *o) {
  host_op *op = (host_op *)o;
  const definition *d;
  ml_evloop *l = ml__engine(L)->running;
  ml_call *c;
  void *self = NULL;
  bool why;
  int pin, rc;
  lua_getiuservalue(L, 1, 1);
  d = lua_touserdata(L, -1);
  check_open(L, l->engine, d);
  if (d->cls != NULL) { /* it was an object when the method was called */
    lua_getiuservalue(L, 1, 2);
    self = ml__object_check(L, -1, d);
  }
  pin = ml__pin(L, 1);
  c = call_new(l, op);
  if (c == NULL) {
    ml__unpin(L, pin);
    return luaL_error(L, "not enough memory");
  }
  c->pin = pin;
  l->holds++;
  if (d->cls != NULL) {
    c->skip = 1;
    c->nargs--;
    c->self = self;
  }
  rc = d->fn(c, d->ud);
  if (rc >= 0 || is_finished(c)) return ML_PARK;
  why = c->why;
  detach(c, L); /* it has not begun, and will not be finished */
  c->finished = true;
  retire(c);
  lua_pushstring(L, why ? ml__engine(L)->why : NULL);
  return raise_code(L, d->name, rc);
}

/* [ml_call] -> its results */
static int push_results(lua_State *L) {
  const ml_call *c = lua_touserdata(L, 1);
  lua_settop(L, 0);
  luaL_checkstack(L, (int)c->n + 8, "too many results");
  for (size_t i = 0; i < c->n; i++) ml__value_push(L, &c->values[i]);
  return (int)c->n;
}

/* Pushes the results. LUA_OK, or an error that is on top, but for LUA_ERRMEM. */
static int take_results(lua_State *L, ml_call *c) {
  bool plain = c->n <= 8;
  for (size_t i = 0; plain && i < c->n; i++) plain = c->values[i].type < ML_STRING;
  if (!lua_checkstack(L, 16)) return LUA_ERRMEM;
  if (plain) {
    for (size_t i = 0; i < c->n; i++) ml__value_push(L, &c->values[i]);
    return LUA_OK;
  }
  lua_pushcfunction(L, push_results);
  lua_pushlightuserdata(L, c);
  return lua_pcall(L, 1, LUA_MULTRET, 0);
}

static int op_wake(lua_State *L, ml_op *o) {
  host_op *op = (host_op *)o;
  ml_call *c = op->call;
  int n, err, taken;
  if (c == NULL) return 0; /* cancelled */
  if (o->obj.state == ML_OP_CANCELLED && !(o->obj.flags & ML_OPF_WOKEN)) return 0;
  taken = take_results(L, c);
  n = (int)c->n;
  err = c->err;
  detach(c, L);
  retire(c);
  if (taken == LUA_ERRMEM) return luaL_error(L, "not enough memory");
  if (taken != LUA_OK) return lua_error(L);
  if (err >= 0) return n;
  if (n == 0) lua_pushnil(L);
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, 1);
  const definition *d = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return raise_code(L, d->name, err);
}

static void op_cancel(ml_op *o) {
  host_op *op = (host_op *)o;
  ml_call *c = op->call;
  if (c == NULL) return;
  detach(c, ml__state(c->e));
  if (c->on_cancel != NULL && !is_finished(c)) c->on_cancel(c, c->cancel_ud);
}

static const ml_opclass host_class = {"host call", op_begin, op_wake, op_cancel};

static int call_later(lua_State *L) {
  int n = lua_gettop(L);
  host_op *op;
  const definition *d = lua_touserdata(L, lua_upvalueindex(1));
  if (d->cls != NULL) ml__object_check(L, 1, d);
  luaL_argcheck(L, n < 250, 250, "too many arguments of a host function");
  op = ml__op_new(L, &host_class, sizeof *op, n + 1);
  op->op.obj.n = (uint32_t)n;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setiuservalue(L, -2, 1);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, i);
    lua_setiuservalue(L, -2, i + 1);
  }
  return 1;
}

int ml_call_on_cancel(ml_call *c, ml_cancel_fn fn, void *ud) {
  if (c == NULL || c->gate == NULL || c->op == NULL) return ML_EINVAL;
  c->on_cancel = fn;
  c->cancel_ud = ud;
  return 0;
}

/* How many bytes a copy of the values and their strings takes. */
static size_t copy_size(const ml_value *v, size_t n) {
  size_t size = n * sizeof *v;
  for (size_t i = 0; i < n; i++)
    if (v[i].type == ML_STRING) size += v[i].u.str.len + 1;
  return size;
}

static void copy_values(ml_value *copy, const ml_value *v, size_t n) {
  char *p = (char *)(copy + n);
  for (size_t i = 0; i < n; i++) {
    copy[i] = v[i];
    if (v[i].type != ML_STRING) continue;
    if (v[i].u.str.len > 0) memcpy(p, v[i].u.str.s, v[i].u.str.len);
    p[v[i].u.str.len] = '\0';
    copy[i].u.str.s = p;
    p += v[i].u.str.len + 1;
  }
}

int ml_call_finish(ml_call *c, int err, const ml_value *v, size_t n) {
  ml_value *values = NULL;
  ml_gate *g;
  size_t size;
  int rc = 0;
  if (c == NULL || c->gate == NULL || (v == NULL && n > 0) || n > MAX_RESULTS) return ML_EINVAL;
  size = copy_size(v, n);
  if (size > sizeof c->room) {
    values = malloc(size);
    if (values == NULL) return ML_ENOMEM;
    copy_values(values, v, n);
  }
  g = c->gate;
  pthread_mutex_lock(&g->lock);
  if (c->finished) {
    rc = ML_EINVAL;
  } else {
    c->finished = true;
    c->err = err;
    c->n = n;
    c->values = values != NULL ? values : &c->room.first;
    if (values == NULL) copy_values(c->values, v, n);
    values = NULL;
    if (g->loop != NULL && c->e != NULL)
      ml__loop_post(g->loop, &c->job);
    else
      rc = ML_ECLOSED;
  }
  pthread_mutex_unlock(&g->lock);
  free(values);
  if (rc == ML_ECLOSED) { /* nobody else knows of it */
    free_values(c);
    free(c);
    gate_unref(g);
  }
  return rc;
}

/* ---- defining ---- */

typedef struct define_arg {
  const char *name;
  ml_fn fn;
  void *ud;
  bool async;
} define_arg;

void ml__push_hostfn(lua_State *L, const char *name, ml_fn fn, void *ud, ml_classdef *cls) {
  definition *d = lua_newuserdatauv(L, sizeof *d + strlen(name), 0);
  d->fn = fn;
  d->ud = ud;
  d->cls = cls;
  strcpy(d->name, name);
}

void ml__push_later(lua_State *L) { lua_pushcclosure(L, call_later, 1); }

/* [define_arg]: sets a global, or a field of tables that are made at need */
static int define(lua_State *L) {
  const define_arg *a = lua_touserdata(L, 1);
  ml__push_hostfn(L, a->name, a->fn, a->ud, NULL);
  lua_pushcclosure(L, a->async ? call_later : call_now, 1);
  ml__global_set(L, a->name);
  return 0;
}

/* Names as in Lua, with dots between. */
bool ml__name_ok(const char *s) {
  bool begin = true;
  for (; *s != '\0'; s++) {
    bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_';
    if (*s == '.' ? begin : !(letter || (!begin && *s >= '0' && *s <= '9'))) return false;
    begin = *s == '.';
  }
  return !begin;
}

static int def(ml_engine *e, const char *name, ml_fn fn, void *ud, bool async) {
  define_arg a = {name, fn, ud, async};
  if (e == NULL || name == NULL || fn == NULL || !ml__name_ok(name)) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  return ml__protected(e, ml__state(e), define, &a, 0, ML_EINVAL);
}

int ml_def(ml_engine *e, const char *name, ml_fn fn, void *ud) {
  return def(e, name, fn, ud, false);
}
int ml_def_async(ml_engine *e, const char *name, ml_async_fn fn, void *ud) {
  return def(e, name, fn, ud, true);
}
