/* Slices that take too long, and ml_interrupt.
**
** A hook is set late, when it is known that something is wrong: a hook that is always
** there makes Lua half as fast (which is what the counted meter does). It fires between
** two instructions of a Lua function. Then the task is suspended, or an error is raised:
** first once, and what `<close>` does gets a grace; after that at each instruction. The
** engine's own pcall, xpcall and coroutines let that error pass; C code that keeps it,
** such as load, only puts it off to the end of the grace.
**
** A thread that is left with a hook behind loses it when the hook next fires.
*/
#include <string.h>
#include <time.h>

#include "core.h"

/* Instructions between two looks at the clock. */
#define COUNT 1000
#define SLICE_LEAST 100     /* us */
#define SLICE_DEFAULT 10000 /* us */
/* The clock is read every so many slices, or so often (ns): in between the watchdog knows
** well enough when a slice began. */
#define STRIDE_MOST 64
#define SHORT 20000
/* Slices that a task may go on for where it cannot be suspended. */
#define PATIENCE 10

static void hook(lua_State *L, lua_Debug *ar);

static lua_State *hot(const ml_meter *m) {
  return atomic_load_explicit(&m->hot, memory_order_relaxed);
}

static uint64_t serial(const ml_meter *m) {
  return atomic_load_explicit(&m->serial, memory_order_relaxed);
}

/* The hook of a thread when nothing is wrong. */
static void rest(const ml_meter *m, lua_State *L) {
  if (m->counted)
    lua_sethook(L, hook, LUA_MASKCOUNT, COUNT);
  else
    lua_sethook(L, NULL, 0, 0);
}

/* Each switch of threads begins to count anew: the clock is looked at here, too. */
void ml__meter_arm(ml_engine *e, lua_State *L) {
  ml_meter *m = &e->meter;
  if (m->phase == ML_M_GRACE && uv_hrtime() >= m->until) m->phase = ML_M_DEAD;
  if (m->phase >= ML_M_GRACE) e->active = NULL; /* awaits end here */
  lua_sethook(L, hook, LUA_MASKCOUNT, m->phase == ML_M_GRACE ? COUNT : 1);
}

void ml__meter_settle(ml_engine *e, lua_State *L) {
  ml_meter *m = &e->meter;
  m->phase = ML_M_FREE;
  m->killed = 0;
  m->armed = 0;
  m->preempting = false;
  if (lua_checkstack(L, 1)) {
    lua_pushboolean(L, 0);
    ml__ref_set(L, ML_R_KILL);
  }
  rest(m, L);
  rest(m, e->L);
}

/* ---- stopping ---- */

static void set_due(ml_meter *m, bool kill) {
  m->since = uv_hrtime();
  m->killed = kill;
  m->phase = ML_M_DUE;
  m->armed = 1;
}

void ml__meter_due(ml_engine *e, bool kill) {
  ml_meter *m = &e->meter;
  lua_State *L = hot(m);
  if (L == NULL) return;
  if (m->phase == ML_M_FREE)
    set_due(m, kill);
  else if (m->phase == ML_M_DUE && kill)
    m->killed = 1;
  lua_sethook(L, hook, LUA_MASKCOUNT, 1);
}

static void push_error(lua_State *L, const ml_meter *m) {
  luaL_checkstack(L, 6, "error object");
  luaL_where(L, 0);
  if (lua_rawlen(L, -1) == 0) {
    lua_pop(L, 1);
    luaL_where(L, 1);
  }
  if (m->killed)
    ml__error_new(L, "Terminated", "%sthe host has stopped the script", lua_tostring(L, -1));
  else
    ml__error_new(L, "TimeSliceError",
                  "%sthe script ran for longer than its time slice (%f ms) without an await",
                  lua_tostring(L, -1), (double)m->slice_ns / 1e6);
  lua_remove(L, -2);
}

int ml__meter_raise(lua_State *L) {
  ml_engine *e = ml__engine(L);
  ml_meter *m = &e->meter;
  if (m->phase < ML_M_GRACE) {
    if (m->killed)
      m->kills++;
    else
      m->overruns++;
    m->phase = ML_M_GRACE;
    m->until = uv_hrtime() + m->slice_ns;
  }
  ml__meter_arm(e, L);
  luaL_checkstack(L, 2, "error object");
  if (ml__ref_get(L, ML_R_KILL) != LUA_TTABLE) {
    lua_pop(L, 1);
    push_error(L, m);
    lua_pushvalue(L, -1);
    ml__ref_set(L, ML_R_KILL);
  }
  return lua_error(L);
}

bool ml__meter_passes(lua_State *L, int idx) {
  ml_meter *m = &ml__engine(L)->meter;
  bool same;
  if (m->phase < ML_M_GRACE) return false;
  if (m->phase == ML_M_GRACE && uv_hrtime() >= m->until) m->phase = ML_M_DEAD;
  if (m->phase == ML_M_DEAD || !lua_checkstack(L, 1)) return true;
  idx = lua_absindex(L, idx);
  ml__ref_get(L, ML_R_KILL);
  same = lua_rawequal(L, -1, idx);
  lua_pop(L, 1);
  return same;
}

void ml__meter_outcome(lua_State *L) {
  if (ml__engine(L)->meter.phase < ML_M_GRACE || !lua_checkstack(L, 1)) return;
  if (ml__ref_get(L, ML_R_KILL) == LUA_TTABLE)
    lua_replace(L, -2);
  else
    lua_pop(L, 1);
}

/* ---- the hook ---- */

/* Suspends the running task where it is, if Lua can and it may be. */
static bool preempt(lua_State *L, ml_engine *e) {
  ml_meter *m = &e->meter;
  ml_fiber *t = e->task;
  if (t == NULL || L != e->active || !lua_isyieldable(L)) return false;
  if ((t->fut.obj.flags & ML_FF_CRITICAL) || e->closing) return false;
  ml__meter_settle(e, L);
  ml__meter_next(e);
  if (t->fut.obj.flags & ML_FF_MUST_CANCEL) ml__task_raise_cancel(L, t);
  m->preemptions++;
  m->preempting = L != t->thread;
  t->waiting = NULL;
  t->parked = L;
  ml__ready(t->fut.loop, &t->job);
  lua_yield(L, 0);
  return true;
}

/* The library's own Lua code: what it changes is shared by tasks. */
static bool in_library(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "S", ar);
  return strncmp(ar->short_src, "moonloop/", 9) == 0;
}

static uint64_t cpu_time(void) {
  struct timespec t;
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0) return 0;
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Counted: is it over? The slice begins with its first look at the clock. */
static bool slice_over(ml_meter *m) {
  uint64_t now = uv_hrtime();
  if (m->since_serial != serial(m)) {
    m->since_serial = serial(m);
    m->since = now;
    m->since_cpu = cpu_time();
  }
  if (now - m->since < m->slice_ns) return false;
  return now - m->since >= ML_REAL_SLICES * m->slice_ns || cpu_time() - m->since_cpu >= m->slice_ns;
}

/* Nothing was wrong until now: is it? */
static bool becomes_due(ml_meter *m) {
  bool kill = m->kill_serial == serial(m);
  if (!kill && !(m->counted && slice_over(m))) return false;
  set_due(m, kill);
  return true;
}

static void hook(lua_State *L, lua_Debug *ar) {
  ml_engine *e = ml__engine(L);
  ml_meter *m = &e->meter;
  uint64_t late;
  if (hot(m) == NULL || (m->phase == ML_M_FREE && !becomes_due(m))) {
    m->armed = 0;
    if (!m->counted || lua_gethookcount(L) != COUNT) rest(m, L);
    return;
  }
  if (m->phase == ML_M_DUE && !m->killed) {
    late = uv_hrtime() - m->since;
    if (m->preempt) {
      if (preempt(L, e)) return;
      if (late < (PATIENCE - 1) * m->slice_ns && !e->closing) {
        lua_sethook(L, hook, LUA_MASKCOUNT, COUNT);
        return;
      }
    } else if (late < m->slice_ns && in_library(L, ar))
      return;
  }
  if (m->phase == ML_M_GRACE && uv_hrtime() < m->until) return;
  ml__meter_raise(L);
}

void ml__meter_check(lua_State *L) {
  ml_meter *m = &ml__engine(L)->meter;
  if (hot(m) == NULL || (m->phase == ML_M_FREE && !becomes_due(m))) return;
  if (m->phase == ML_M_DUE && m->preempt && !m->killed &&
      uv_hrtime() - m->since < (PATIENCE - 1) * m->slice_ns)
    return;
  if (m->phase == ML_M_GRACE && uv_hrtime() < m->until) return;
  ml__meter_raise(L);
}

/* Only a hook suspends a Lua function; all else waits in a C function. */
bool ml__meter_preempted(lua_State *co) {
  lua_Debug ar;
  if (lua_status(co) != LUA_YIELD || !lua_getstack(co, 0, &ar)) return false;
  lua_getinfo(co, "S", &ar);
  return strcmp(ar.what, "C") != 0;
}

/* ---- the watchdog's part ---- */

void ml__meter_stamp(ml_meter *m) {
  struct ml_stamp *s = &m->stamp;
  uint64_t now, elapsed;
  if (m->dog == NULL) return;
  now = uv_hrtime();
  elapsed = now - atomic_load_explicit(&s->at, memory_order_relaxed);
  if (elapsed >= ML_METER_STALE)
    s->stride = 1;
  else if (elapsed < SHORT && s->stride < STRIDE_MOST)
    s->stride *= 2;
  /* who reads what follows sees this too; no fence, which ThreadSanitizer does not know */
  atomic_store_explicit(&s->serial, 0, memory_order_relaxed);
  atomic_store_explicit(&s->at, now, memory_order_release);
  if (now - s->cpu_at >= ML_METER_STALE) {
    s->cpu_at = now;
    atomic_store_explicit(&s->cpu, cpu_time(), memory_order_release);
  }
  atomic_store_explicit(&s->serial, serial(m), memory_order_release);
  atomic_store_explicit(&s->in, s->stride, memory_order_relaxed);
}

/* ---- the host's part ---- */

ml_metered ml__meter_open(ml_engine *e, lua_State *L) {
  ml_metered was = {NULL, false};
  if (e->meter.dog != NULL) {
    was.watched = ml__dog_on(e->meter.dog);
    if (!was.watched) ml__meter_paused(e);
  }
  was.prev = ml__meter_begin(e, L);
  return was;
}

void ml__meter_close(ml_engine *e, lua_State *L, ml_metered was) {
  ml__meter_end(e, L, was.prev);
  if (e->meter.dog != NULL && !was.watched) ml__dog_off(e->meter.dog);
}

int ml__meter_init(ml_engine *e) {
  const ml_config *c = &e->config;
  ml_meter *m = &e->meter;
  atomic_init(&m->serial, 1);
  m->stamp.stride = 1;
  if ((unsigned)c->meter > ML_METER_COUNTED || (unsigned)c->overrun > ML_OVERRUN_PREEMPT)
    return ML_EINVAL;
  if (c->slice_us != 0 && (c->slice_us < SLICE_LEAST || c->slice_us > UINT64_C(1) << 40))
    return ML_EINVAL;
  m->slice_ns = (c->slice_us != 0 ? c->slice_us : SLICE_DEFAULT) * 1000;
  m->counted = c->meter == ML_METER_COUNTED;
  m->preempt = c->meter != ML_METER_OFF && c->overrun == ML_OVERRUN_PREEMPT;
  if (m->counted) rest(m, e->L);
  return c->meter == ML_METER_WATCHDOG ? ml__dog_new(e, c->meter_signal, &m->dog) : 0;
}

/* ---- interrupting ---- */

/* A script is interrupted between two instructions by a hook, which a signal
** handler may set (as lua.c does). */
static void interrupt_hook(lua_State *L, lua_Debug *ar) {
  ml_engine *e = ml__engine(L);
  (void)ar;
  rest(&e->meter, L);
  e->sigints = 0;
  ml__push_interrupt(L);
  lua_error(L);
}

int ml__push_interrupt(lua_State *L) {
  ml__error_new(L, "KeyboardInterrupt", NULL);
  return 1;
}

void ml__interrupt_now(ml_engine *e) {
  lua_State *L = hot(&e->meter);
  if (L == NULL) L = e->L;
  lua_sethook(L, interrupt_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static int ask(ml_engine *e) {
  ml_evloop *l = e->live;
  /* no loop runs (the main chunk computes), or it is the second one: now. A hook is set as lua.c
  ** does: safe from a signal handler on the engine's thread, nearly so from another thread. */
  if (++e->sigints > 1 || l == NULL || e->interrupted) {
    if (e->meter.dog != NULL)
      ml__dog_poke(e->meter.dog, true);
    else
      ml__interrupt_now(e);
  }
  if (l != NULL) {
    e->interrupted = 1;
    ml__loop_wake(l);
  }
  return 0;
}

static int kill_running(ml_engine *e) {
  ml_meter *m = &e->meter;
  lua_State *L;
  m->kill_serial = m->serial;
  L = m->hot;
  if (L == NULL) return 0;
  if (m->dog != NULL) {
    ml__dog_poke(m->dog, false);
  } else if (!m->counted) { /* as above */
    m->armed = 1;
    lua_sethook(L, hook, LUA_MASKCOUNT, 1);
  }
  return 1;
}

int ml_interrupt(ml_engine *e, int how) {
  if (e == NULL || (how != ML_INTERRUPT_ASK && how != ML_INTERRUPT_KILL)) return ML_EINVAL;
  return how == ML_INTERRUPT_KILL ? kill_running(e) : ask(e);
}
