/* The engine: making and closing, and what an embedder asks of it as a whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lualib.h>

#include "mark.h"
#include "sandbox.h"
#include "translate.h"

void ml_config_init_size(ml_config *c, size_t size) {
  if (c == NULL || size < sizeof c->size) return;
  memset(c, 0, size);
  c->size = size;
}

void(ml_config_init)(ml_config *c) { ml_config_init_size(c, sizeof *c); }

bool ml__struct_read(void *to, size_t known, const void *from, size_t least) {
  const char *bytes = from;
  size_t given;
  memcpy(&given, from, sizeof given);
  if (given < least || given > 4096) return false;
  for (size_t i = known; i < given; i++)
    if (bytes[i] != 0) return false;
  memset(to, 0, known);
  memcpy(to, from, given < known ? given : known);
  memcpy(to, &known, sizeof known);
  return true;
}

static bool config_read(ml_config *to, const ml_config *c) {
  return ml__struct_read(to, sizeof *to, c, offsetof(ml_config, memory_limit));
}

const char *ml_lua_version(void) { return LUA_RELEASE; }

int ml_version(void) {
  return ML_VERSION_MAJOR * 10000 + ML_VERSION_MINOR * 100 + ML_VERSION_PATCH;
}

const char *ml_strerror(int err) {
  switch (err) {
  case 0: return "success";
  case ML_EINVAL: return "invalid argument";
  case ML_ENOMEM: return "not enough memory";
  case ML_ESYNTAX: return "the script does not compile";
  case ML_ESCRIPT: return "the script raised an error";
  case ML_EBUSY: return "the engine is running a script";
  case ML_ECLOSED: return "the engine is closed";
  case ML_EPENDING: return "the task is not done";
  case ML_ESTUCK: return "tasks are left that nothing can wake";
  case ML_ELIMIT: return "a limit was reached";
  case ML_EKILLED: return "the host has stopped the script";
  case ML_ETYPE: return "an argument has the wrong type";
  case ML_EVERSION: return "the state is of another version of Lua";
  default: break;
  }
#define X(name, text) \
  if (err == UV_##name) return text;
  UV_ERRNO_MAP(X)
#undef X
  return "unknown error";
}

/* To the log, or to who asked for it (gate.c). No Lua here. */
static void tell(ml_engine *e, const char *what, const char *name, const char *where) {
  const char *open = where != NULL ? " (" : "", *shut = where != NULL ? ")" : "";
  size_t left = ML_LOST_SIZE - e->nlost;
  int n;
  if (where == NULL) where = "";
  if (e->lost == NULL) {
    ml__log(e, "warning: coroutine '%s%s'%s%s%s was never awaited", what, name, open, where, shut);
    return;
  }
  n = snprintf(e->lost + e->nlost, left, "coroutine '%s%s'%s%s%s was never awaited\n", what, name,
               open, where, shut);
  if (n > 0 && (size_t)n < left) e->nlost += (size_t)n; /* what does not fit is not told */
}

static void tell_of_lost(ml_engine *e, const ml_object *co) {
  const ml_codeinfo *i;
  if (co->type == ML_T_OP) {
    tell(e, "", ((const ml_op *)co)->cls->name, NULL);
    return;
  }
  i = ((const ml_coroutine *)co)->info;
  if (i == NULL) return;
  if (i->name != NULL && strncmp(i->where, "moonloop/", 9) == 0) /* where it stands helps nobody */
    tell(e, "", i->name, NULL);
  else if (i->name != NULL)
    tell(e, "", i->name, i->where);
  else
    tell(e, "function at ", i->where, NULL);
}

/* Called by the allocator while a block is freed: no Lua here. */
static void coroutine_lost(void *ud, const ml_object *co) {
  ml_engine *e = ud;
  e->collecting = true;
  tell_of_lost(e, co);
  e->collecting = false;
}

static void warn(void *ud, const char *msg, int tocont) {
  ml_engine *e = ud;
  size_t n = strlen(msg), have = strlen(e->warning);
  if (!tocont && have == 0 && msg[0] == '@') { /* control messages */
    if (strcmp(msg, "@off") == 0 || strcmp(msg, "@on") == 0) e->warn_off = msg[2] == 'f';
    return;
  }
  if (n > sizeof e->warning - 1 - have) n = sizeof e->warning - 1 - have;
  memcpy(e->warning + have, msg, n);
  e->warning[have + n] = '\0';
  if (tocont) return;
  if (!ml__gc_doubt(e, e->warning) && !e->warn_off) ml__log(e, "Lua warning: %s", e->warning);
  e->warning[0] = '\0';
}

static int on_panic(lua_State *L) {
  /* cannot be: every entry point is protected */
  ml__log(ml__engine(L), "moonloop: unprotected error: %s",
          lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?");
  return 0;
}

/* Weak tables in places of the registry: they share a metatable. */
static void new_weak(lua_State *L, const char *mode, const int *refs, size_t n) {
  lua_createtable(L, 0, 1);
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "__mode");
  for (size_t i = 0; i < n; i++) {
    lua_newtable(L);
    lua_pushvalue(L, -2);
    lua_setmetatable(L, -2);
    ml__ref_set(L, refs[i]);
  }
  lua_pop(L, 1);
}

static int core_open(lua_State *L) {
  ml__ref_get(L, ML_R_CORE);
  return 1;
}

int ml__engine_install(lua_State *L) {
  ml__ref_get(L, ML_R_CORE);
  ml__open_protected(L);
  ml__open_chunks(L);
  ml__open_loader(L);
  ml__open_guard(L);
  ml__open_sandbox(L);
  lua_getfield(L, -1, "async");
  lua_setglobal(L, "async");
  lua_getfield(L, -1, "await");
  lua_setglobal(L, "await");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, core_open);
  lua_setfield(L, -2, "asyncio.core");
  ml__open_limits(L);
  ml__open_metered(L);
  return 0;
}

int ml__engine_open(lua_State *L) {
  ml_engine *e = ml__engine(L);
  bool own = e->attachment == NULL, collects = lua_gc(L, LUA_GCISRUNNING);
  lua_gc(L, LUA_GCSTOP);
  for (int i = LUA_RIDX_LAST + 1; i < ML_R_TYPES + ML_T_USER; i++) { /* see ml_ref */
    if (i == ML_R_ATTACHED && !own) continue;
    lua_pushinteger(L, 0);
    ml__ref_set(L, i);
  }
  if (own) {
    ml__strbuf_init(L, e->alloc);
    luaL_openlibs(L);
    if (e->config.seed != 0) ml__seed_random(L);
    lua_settop(L, 0);
  }
  lua_newtable(L);
  ml__ref_set(L, ML_R_THREADS);
  lua_newtable(L);
  ml__ref_set(L, ML_R_TASKS);
  lua_newtable(L);
  ml__ref_set(L, ML_R_PINS);
  lua_newtable(L);
  ml__ref_set(L, ML_R_LOOPS);
  lua_newtable(L);
  ml__ref_set(L, ML_R_MODULES);
  static const int weak_keys[] = {ML_R_CONTEXTS, ML_R_EXTRAS, ML_R_TRACEBACKS, ML_R_EXPOSED,
                                  ML_R_ASYNCFNS};
  static const int weak_values[] = {ML_R_REPORTS, ML_R_QUEUEMETAS};
  new_weak(L, "k", weak_keys, sizeof weak_keys / sizeof *weak_keys);
  new_weak(L, "v", weak_values, sizeof weak_values / sizeof *weak_values);
  static const int empty[] = {ML_R_LASTERR, ML_R_LASTTB, ML_R_PENDINGERR,
                              ML_R_MAINCTX, ML_R_SIGINT, ML_R_KILL};
  for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
    lua_pushboolean(L, 0);
    ml__ref_set(L, empty[i]);
  }
  lua_createtable(L, 0, 96);
  ml__open_errors(L);
  ml__open_tracebacks(L);
  ml__open_mark(L);
  ml__open_reports(L);
  ml__open_futures(L);
  ml__open_tasks(L);
  ml__open_coroutines(L);
  ml__open_await(L);
  ml__open_gather(L);
  ml__open_handles(L);
  ml__open_sync(L);
  ml__open_queues(L);
  ml__open_loops(L);
  ml__open_reload(L);
  ml__open_frames(L);
  ml__ref_set(L, ML_R_CORE);
  ml__engine_install(L);
  if (collects) lua_gc(L, LUA_GCRESTART);
  if (own) {
    lua_setwarnf(L, warn, e);
    ml__gc_watch(L);
  }
  return 0;
}

int ml__engine_new(const ml_config *c, ml_engine **out) {
  ml_engine *e;
  ml_allocator *a;
  ml_config config;
  ml_config_init(&config);
  if (c != NULL && !config_read(&config, c)) return ML_EINVAL;
  if ((unsigned)config.clock > ML_CLOCK_HOST) return ML_EINVAL;
  a = ml__alloc_new(&config, coroutine_lost, NULL);
  if (a == NULL) return ML_ENOMEM;
  e = ml__alloc(a, NULL, 0, sizeof *e);
  if (e == NULL) {
    ml__alloc_free(a);
    return ML_ENOMEM;
  }
  memset(e, 0, sizeof *e);
  ml__alloc_set_ud(a, e);
  e->alloc = a;
  e->config = config;
  e->host_mode = 1;
  e->output_of = &e->output;
  if (config.shuffle != 0) e->rng = config.shuffle * 2 + 1;
  ml__list_init(&e->loops);
  ml__list_init(&e->reports);
  ml__list_init(&e->unwound);
  *out = e;
  return 0;
}

int ml_new(const ml_config *c, ml_engine **out) {
  ml_config config;
  ml_sandbox *s = NULL;
  int rc;
  if (out == NULL) return ML_EINVAL;
  *out = NULL;
  ml_config_init(&config);
  if (c != NULL && !config_read(&config, c)) return ML_EINVAL;
  rc = ml__sandbox_new(&config, &s);
  if (rc == 0) rc = ml__new_in(c, s, out);
  ml__sandbox_unref(s);
  return rc;
}

int ml__new_in(const ml_config *c, ml_sandbox *s, ml_engine **out) {
  ml_engine *e = NULL;
  uint64_t at;
  int rc = ml__engine_new(c, &e);
  if (rc < 0) return rc;
  e->sandbox = ml__sandbox_ref(s);
  e->config.allow = NULL; /* the host's, and read */
  rc = ML_ENOMEM;
  e->L = e->config.seed != 0 ? ml__seeded_state(ml__alloc, e->alloc, e->config.seed, &rc)
                             : lua_newstate(ml__alloc, e->alloc);
  if (e->L == NULL) {
    ml__engine_free(e);
    return rc;
  }
  at = (uintptr_t)e; /* else it is found by the allocator */
  *(uintptr_t *)lua_getextraspace(e->L) = at >> ML_TAG_SHIFT == 0 ? (uintptr_t)(at ^ ML_TAG) : 0;
  ml__alloc_main_block(e->alloc, lua_getextraspace(e->L));
  lua_atpanic(e->L, on_panic);
  lua_pushcfunction(e->L, ml__engine_open);
  if (lua_pcall(e->L, 0, 0, 0) != LUA_OK) {
    ml_close(e, 0);
    return ML_ENOMEM;
  }
  rc = ml__meter_init(e);
  if (rc < 0) {
    ml_close(e, 0);
    return rc;
  }
  if (e->config.memory_limit != 0 && ml__alloc_used(e->alloc) >= e->config.memory_limit) {
    ml_close(e, 0);
    return ML_ELIMIT;
  }
  ml__alloc_limit(e->alloc, e->config.memory_limit);
  *out = e;
  return 0;
}

size_t ml_memory(const ml_engine *e) { return e != NULL ? ml__alloc_used(e->alloc) : 0; }
void *ml_userdata(ml_engine *e) { return e != NULL ? e->config.ud : NULL; }
lua_State *ml_lua(ml_engine *e) { return e != NULL ? e->L : NULL; }

ml_evloop *ml__engine_loop(ml_engine *e) {
  if (e->current == NULL || e->current->closed) e->current = ml__loop_new(e, e->config.clock);
  return e->current;
}

uv_loop_t *ml_loop(ml_engine *e) {
  ml_evloop *l = e != NULL ? ml__engine_loop(e) : NULL;
  return l != NULL ? ml__loop_uv(l) : NULL;
}

/* ---- closing ---- */

static int cancel_all(lua_State *L) {
  ml_evloop *l = lua_touserdata(L, 1);
  lua_settop(L, 1);
  for (ml_link *k = l->tasks.next, *next; k != &l->tasks; k = next) {
    next = k->next;
    ml__task_push(L, ml__containerof(k, ml_fiber, all));
    if (ml__isfuture(ml__toobject(L, 2))) {
      lua_pushnil(L);
      ml__future_cancel(L, 2);
    }
    lua_settop(L, 1);
  }
  return 0;
}

static int shut(lua_State *L) {
  ml__loop_shut(L, lua_touserdata(L, 1));
  return 0;
}

static int flush_reports(lua_State *L) {
  ml__reports_flush(L, NULL);
  return 0;
}

static void call_c(lua_State *L, lua_CFunction f, void *p) {
  ml_engine *e = ml__engine(L);
  ml_metered was;
  if (!lua_checkstack(L, 4)) return;
  was = ml__meter_open(e, L);
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, p);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  ml__meter_close(e, L, was);
}

/* A script that the host runs itself, by lua_pcall on the engine's state. */
static bool host_runs_script(const ml_engine *e) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(e->L, level, &ar); level++)
    if (lua_getinfo(e->L, "S", &ar) && ar.what[0] != 'C') return true;
  return false;
}

bool ml__busy(const ml_engine *e) {
  return e->running != NULL || e->task != NULL || e->in_main || e->closing || e->collecting ||
         atomic_load_explicit(&e->meter.hot, memory_order_relaxed) != NULL || host_runs_script(e);
}

/* Rounds that a closing engine still runs for what is ready when the grace is over: a script may
** be ready for ever. */
#define LATE_ROUNDS 1000
#define LATE_NS UINT64_C(1000000000) /* and no longer than that */

static bool is_shut(const ml_evloop *l) {
  return l->closed && ml__list_empty(&l->closers) && !l->uv_ready;
}

static int close_loop(lua_State *L) {
  ml__loop_close(L, lua_touserdata(L, 1));
  return 0;
}

/* Closes the loop, also one that a script has closed as far as memory went. */
static void shut_loop(ml_engine *e, ml_evloop *l) {
  for (int i = 0; i < 3 && !is_shut(l); i++) call_c(e->L, close_loop, l);
  if (!is_shut(l)) ml__loop_close(e->L, l);
}

/* Runs what cancelled tasks still do until `end`; what is ready then has LATE_ROUNDS more, job by
** job: one round may be as long as a script likes. */
static void clean_up(ml_engine *e, ml_evloop *l, uint64_t end) {
  int late = 0, rc;
  uint64_t now = uv_hrtime();
  do {
    bool is_late = now >= end;
    if (is_late && ml__list_empty(&l->batch)) late++;
    l->frames.pending = true;
    rc = ml__loop_run(e->L, l, true, is_late ? 1 : end);
    l->raise = false;
    if (rc == ML_RUN_IDLE || l->ntasks == 0 || !ml__loop_alive(l)) break;
    now = uv_hrtime();
    if (!ml__list_empty(&l->ready) || !ml__list_empty(&l->batch)) continue;
    if (now >= end) break;
    uv_sleep(1);
  } while (now < end || (late < LATE_ROUNDS && now < end + LATE_NS));
}

void ml__engine_shut(ml_engine *e, int grace_ms) {
  uint64_t end = uv_hrtime() + (uint64_t)(grace_ms > 0 ? grace_ms : 0) * 1000000u;
  if (e->inspect_end != NULL) e->inspect_end(e);
  e->closing = 1;
  for (ml_link *k = e->loops.next; k != &e->loops; k = k->next) {
    ml_evloop *l = ml__containerof(k, ml_evloop, link);
    if (is_shut(l)) continue;
    if (l->ntasks > 0 && !l->closed) {
      call_c(e->L, cancel_all, l);
      clean_up(e, l, end);
    }
    call_c(e->L, shut, l);
    shut_loop(e, l);
  }
  call_c(e->L, flush_reports, NULL);
  ml_flush(e);
  ml_restore_terminal(e);
  ml__host_close(e);
  e->closing = 2; /* finalizers of scripts run from now on: no more loops */
  for (ml_link *k = e->loops.next; k != &e->loops; k = k->next) { /* made by what ran meanwhile */
    ml_evloop *l = ml__containerof(k, ml_evloop, link);
    if (!is_shut(l)) shut_loop(e, l);
  }
}

void ml__engine_free(ml_engine *e) {
  ml_allocator *a = e->alloc;
  e->L = NULL;
  if (e->meter.dog != NULL) ml__dog_free(e->meter.dog);
  while (!ml__list_empty(&e->loops))
    ml__loop_destroy(ml__containerof(e->loops.next, ml_evloop, link));
  ml__codeinfo_free(e);
  ml__known_free(e);
  ml__alloc(a, e->lost, ML_LOST_SIZE, 0);
  ml__sandbox_unref(e->sandbox);
  ml__alloc(a, e->slots, (size_t)e->maxslots * sizeof *e->slots, 0);
  ml__alloc(a, e->freethreads, (size_t)e->maxfree * ml__freethread_size, 0);
  ml__alloc(a, e->free_pins, (size_t)e->maxpins * sizeof *e->free_pins, 0);
  ml__alloc(a, e, sizeof *e, 0);
  ml__alloc_free(a);
}

int ml_close(ml_engine *e, int grace_ms) {
  if (e == NULL) return 0;
  if (e->attachment != NULL && e->closing) return ML_ECLOSED;
  if (ml__busy(e)) return ML_EBUSY;
  ml__gc_settle(e, e->L);
  ml__engine_shut(e, grace_ms);
  if (e->attachment != NULL) {
    ml__attach_leave(e);
    return 0;
  }
  lua_close(e->L);
  ml__engine_free(e);
  return 0;
}

int ml_flush(ml_engine *e) {
  if (e == NULL) return ML_EINVAL;
  if (e->round_over != NULL) e->round_over(e);
  return e->flush_output != NULL ? e->flush_output(e) : 0;
}

int ml_restore_terminal(ml_engine *e) {
  void (*restore)(ml_engine *) = e != NULL ? e->restore_terminal : NULL;
  const char *path = e != NULL ? e->inspect_path : NULL;
  if (e == NULL) return ML_EINVAL;
  if (restore != NULL) restore(e);
  if (path != NULL) unlink(path);
  return 0;
}

/* ---- driving ---- */

int ml_run(ml_engine *e) {
  ml_evloop *l;
  int rc;
  if (e == NULL) return ML_EINVAL;
  if (ml__busy(e)) return ML_EBUSY;
  l = ml__engine_loop(e);
  if (l == NULL) return ML_ENOMEM;
  do {
    rc = ml__loop_run(e->L, l, false, 0);
    if (rc == ML_RUN_RAISE) {
      call_c(e->L, ml__host_pending_error, NULL);
      return ML_ESCRIPT;
    }
  } while (rc == ML_RUN_STOPPED);
  call_c(e->L, flush_reports, NULL);
  if (l->ntasks > 0) {
    call_c(e->L, ml__host_report_stuck, l);
    return ML_ESTUCK;
  }
  return 0;
}

#define BUDGET_MOST (UINT64_C(1) << 50) /* us, which is for ever */

int ml_step(ml_engine *e, uint64_t budget_us) {
  ml_evloop *l;
  int rc;
  if (e == NULL) return ML_EINVAL;
  if (ml__busy(e)) return ML_EBUSY;
  l = ml__engine_loop(e);
  if (l == NULL) return ML_ENOMEM;
  if (!l->frames.polled && !l->frames.hosted) l->frames.pending = true;
  if (budget_us > BUDGET_MOST) budget_us = BUDGET_MOST;
  rc = ml__loop_run(e->L, l, true, budget_us > 0 ? uv_hrtime() + budget_us * 1000u : 0);
  if (rc == ML_RUN_RAISE) {
    call_c(e->L, ml__host_pending_error, NULL);
    return ML_ESCRIPT;
  }
  return !ml__list_empty(&l->ready) || !ml__list_empty(&l->batch);
}

int ml_poll_info(ml_engine *e, int *fd, int *timeout_ms) {
  ml_evloop *l;
  if (e == NULL || fd == NULL || timeout_ms == NULL) return ML_EINVAL;
  if (ml__busy(e)) return ML_EBUSY;
  l = ml__engine_loop(e);
  return l != NULL ? ml__loop_poll_info(l, fd, timeout_ms) : ML_ENOMEM;
}

int ml_alive(ml_engine *e) {
  ml_evloop *l;
  if (e == NULL) return ML_EINVAL;
  l = ml__engine_loop(e);
  return l != NULL && (ml__loop_alive(l) || l->ntasks > 0);
}

int ml_wakeup(ml_engine *e) {
  ml_evloop *l;
  if (e == NULL) return ML_EINVAL;
  l = e->live;
  if (l != NULL) ml__loop_wake(l);
  return 0;
}
