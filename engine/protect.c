/* pcall, xpcall and coroutine.*, so that await works inside them.
**
** pcall does not swallow the running task's own cancellation: it is the
** `except Exception` of Lua. asyncio.catch is the `except BaseException`.
**
** A user's coroutine that awaits yields ml__park to whoever resumed it; the
** engine's resume and wrap pass that on, down to the loop, and on waking go
** back up. What a script yields itself never looks like ml__park.
*/
#include <string.h>

#include "core.h"

/* Is the error at idx the cancellation that was delivered to the running task? */
static bool own_cancel(lua_State *L, int idx) {
  ml_fiber *t = ml__engine(L)->task;
  bool own;
  if (t == NULL || lua_type(L, idx) != LUA_TTABLE) return false;
  idx = lua_absindex(L, idx);
  if (!lua_checkstack(L, 4) || lua_rawgetp(L, idx, &ml__magic) != LUA_TNUMBER) {
    lua_pop(L, 1);
    return false;
  }
  own = lua_tointeger(L, -1) == (lua_Integer)t->id;
  lua_pop(L, 1);
  return own && ml__isinstance(L, idx, "CancelledError");
}

/* Is it what ends a slice that was too long? */
static inline bool stopped(lua_State *L, int idx) {
  return ml__engine(L)->meter.phase >= ML_M_GRACE && ml__meter_passes(L, idx);
}

static uint16_t depth_enter(lua_State *L) {
  ml_fiber *t = ml__engine(L)->task;
  return t != NULL ? t->depth++ : 0;
}

static void depth_leave(lua_State *L, lua_KContext depth) {
  ml_fiber *t = ml__engine(L)->task;
  if (t != NULL && t->depth > (uint16_t)depth) t->depth = (uint16_t)depth;
}

/* ---- pcall, xpcall, catch ---- */

/* Under a limit of memory, what a failed call had taken is collected at once: buffers that
** grow do not ask the collector for help. */
static void relieve(lua_State *L, int status) {
  const ml_engine *e = ml__engine(L);
  size_t limit = e->config.memory_limit;
  if (limit == 0 || ml__alloc_used(e->alloc) < limit / 4 * 3) return;
  if (status == LUA_ERRMEM ||
      (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "not enough memory") == 0))
    lua_gc(L, LUA_GCCOLLECT);
}

/* Stack: [true, results] or [..., error]. The flag in ctx: catch everything. */
#define CATCH_ALL ((lua_KContext)1 << 20)

static int pcall_k(lua_State *L, int status, lua_KContext ctx) {
  depth_leave(L, ctx & 0xffff);
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L);
  if (stopped(L, -1)) return lua_error(L);
  if (!(ctx & CATCH_ALL) && own_cancel(L, -1)) return lua_error(L);
  relieve(L, status);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

static int do_pcall(lua_State *L, lua_KContext flags) {
  lua_KContext ctx;
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  ctx = flags | depth_enter(L);
  return pcall_k(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, ctx, pcall_k), ctx);
}

static int base_pcall(lua_State *L) { return do_pcall(L, 0); }
static int core_catch(lua_State *L) { return do_pcall(L, CATCH_ALL); }

/* xpcall(f, msgh, ...): stack [f, msgh, true, f, args] */
static int xpcall_k(lua_State *L, int status, lua_KContext ctx) {
  depth_leave(L, ctx & 0xffff);
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - 2;
  relieve(L, status);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

/* The handler of an xpcall: not asked about the task's own cancellation, which
** could not be raised again from what it returns. Upvalue 1: the user's. */
static int xpcall_msgh(lua_State *L) {
  if (stopped(L, 1) || own_cancel(L, 1)) {
    lua_settop(L, 1);
    return 1;
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int xpcall_own_k(lua_State *L, int status, lua_KContext ctx) {
  if (status != LUA_OK && status != LUA_YIELD && (stopped(L, -1) || own_cancel(L, -1)))
    return lua_error(L);
  return xpcall_k(L, status, ctx);
}

static int base_xpcall(lua_State *L) {
  int n = lua_gettop(L);
  lua_KContext ctx;
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, xpcall_msgh, 1);
  lua_replace(L, 2);
  lua_pushboolean(L, 1);
  lua_pushvalue(L, 1);
  lua_rotate(L, 3, 2);
  ctx = depth_enter(L);
  return xpcall_own_k(L, lua_pcallk(L, n - 2, LUA_MULTRET, 2, ctx, xpcall_own_k), ctx);
}

/* ---- coroutines ---- */

static lua_State *getco(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  return co;
}

enum { CO_RESUME, CO_WRAP };

/* Is co suspended in an await, or a task's own thread (which scripts can only have
** from coroutine.running)? Only the loop resumes those. */
static bool is_the_loops(lua_State *L, lua_State *co) {
  bool is;
  if (ml__isparked(co)) return true;
  if (ml__engine(L)->meter.preempt && ml__meter_preempted(co)) return true;
  if (!ml__engine(L)->exposed || co == L) return false;
  lua_checkstack(L, 3);
  ml__ref_get(L, ML_R_EXPOSED);
  lua_pushthread(co);
  lua_xmove(co, L, 1);
  is = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return is;
}

/* As deep as calls of C functions may nest, which Lua 5.4.4 does not count here. */
#define MAX_RESETS 200

/* lua_resetthread: what `<close>` does in co counts, too. */
static int reset(ml_engine *e, lua_State *co) {
  lua_State *prev = ml__meter_enter(e, co);
  int st;
  e->resets++;
  st = lua_resetthread(co);
  e->resets--;
  ml__meter_leave(e, prev);
  return st;
}

/* Hands the error on top of co over to L, as resume or wrap gives it. */
static int give_error(lua_State *L, lua_State *co, int kind) {
  int st = lua_status(co);
  if (kind == CO_RESUME) {
    if (co != L && st != LUA_OK && st != LUA_YIELD && (stopped(co, -1) || own_cancel(co, -1))) {
      reset(ml__engine(L), co); /* the task's own cancellation passes, as through pcall */
      lua_xmove(co, L, 1);
      return lua_error(L);
    }
    lua_pushboolean(L, 0);
    if (co == L) /* it resumed itself */
      lua_insert(L, -2);
    else
      lua_xmove(co, L, 1);
    return 2;
  }
  if (st != LUA_OK && st != LUA_YIELD) { /* error in the coroutine: close it */
    st = reset(ml__engine(L), co);
    lua_xmove(co, L, 1); /* the error, maybe another one from a __close */
  } else
    lua_xmove(co, L, 1);
  if (st != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) { /* as luaB_auxwrap */
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

/* Like give_error, of a coroutine that cannot go on though it did not fail: closes it. */
static int abandon(lua_State *L, lua_State *co, int kind) {
  if (kind == CO_RESUME) lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  reset(ml__engine(L), co);
  lua_settop(co, 0);
  return kind == CO_RESUME ? 2 : lua_error(L);
}

static int resume_k(lua_State *L, int status, lua_KContext ctx);

/* Resumes co with narg arguments that lie on it, until it yields to the script,
** returns or fails. Frame of L: index 1 is co for CO_RESUME. */
static int resume_on(lua_State *L, lua_State *co, int narg, int kind, bool woken) {
  ml_engine *e = ml__engine(L);
  lua_State *active = e->active, *hot;
  uint16_t depth = depth_enter(L);
  int nres = 0, st;
  if (active == L && lua_isyieldable(L)) e->active = co; /* else an await in it is an error */
  hot = ml__meter_enter(e, co);
  st = lua_resume(co, L, narg, &nres);
  e->active = active;
  ml__meter_leave(e, hot);
  depth_leave(L, depth);
  if (st == LUA_YIELD && (ml__isparked(co) || e->meter.preempting)) {
    e->meter.preempting = false;
    if (L == e->task->thread) return lua_yieldk(L, 0, (lua_KContext)kind, resume_k);
    lua_pushlightuserdata(L, (void *)&ml__park);
    return lua_yieldk(L, 1, (lua_KContext)kind, resume_k);
  }
  if (st != LUA_OK && st != LUA_YIELD) {
    /* too deep on the C stack to go back into an await: it ends here */
    if (narg == 0 && lua_status(co) == LUA_YIELD && woken) return abandon(L, co, kind);
    return give_error(L, co, kind);
  }
  if (!lua_checkstack(L, nres + 1)) {
    lua_pop(co, nres);
    lua_pushliteral(co, "too many results to resume");
    return give_error(L, co, kind);
  }
  if (kind == CO_RESUME) lua_pushboolean(L, 1);
  lua_xmove(co, L, nres);
  return kind == CO_RESUME ? nres + 1 : nres;
}

/* The task goes on: back up into the coroutine that awaited. */
static int resume_k(lua_State *L, int status, lua_KContext ctx) {
  lua_State *co = ctx == CO_RESUME ? lua_tothread(L, 1) : lua_tothread(L, lua_upvalueindex(1));
  (void)status;
  ml__check_resumed(L);
  if (co != NULL && ml__isparked(co))
    lua_pop(co, 1); /* ml__park */
  else if (co == NULL || !ml__meter_preempted(co))
    return luaL_error(L, "the coroutine that awaited is gone");
  return resume_on(L, co, 0, (int)ctx, true);
}

/* The script resumes co with the narg values on top of L. */
static int resume(lua_State *L, lua_State *co, int narg, int kind) {
  if (is_the_loops(L, co)) {
    lua_pushliteral(L, "cannot resume a coroutine that waits in an await");
    if (kind == CO_WRAP) {
      luaL_where(L, 1);
      lua_insert(L, -2);
      lua_concat(L, 2);
      return lua_error(L);
    }
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
  }
  if (!lua_checkstack(co, narg)) {
    lua_pushboolean(L, 0);
    lua_pushliteral(L, "too many arguments to resume");
    return kind == CO_WRAP ? lua_error(L) : 2;
  }
  lua_xmove(L, co, narg);
  return resume_on(L, co, narg, kind, false);
}

static int co_resume(lua_State *L) {
  lua_State *co = getco(L);
  return resume(L, co, lua_gettop(L) - 1, CO_RESUME);
}

static int co_auxwrap(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  if (co == NULL) return luaL_error(L, "not a coroutine");
  return resume(L, co, lua_gettop(L), CO_WRAP);
}

static int new_coroutine(lua_State *L) {
  lua_State *co;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  return 1;
}

static int wrap_body_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  return status == LUA_OK || status == LUA_YIELD ? lua_gettop(L) : lua_error(L);
}

/* In a task the function is called by this one, so that its `<close>` may await
** also when an error or a cancellation ends it: in lua_resetthread they cannot. */
static int wrap_body(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  return wrap_body_k(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, wrap_body_k), 0);
}

/* The stack is unwound when the script looks: what debug.traceback will say is kept. */
static int create_msgh(lua_State *L) {
  if (own_cancel(L, 1)) return 1;
  lua_settop(L, 1);
  lua_pushthread(L);
  ml__push_extras(L, -1);
  luaL_traceback(L, L, NULL, 1);
  lua_setfield(L, -2, "stack");
  lua_settop(L, 1);
  return ml__msgh(L); /* and who raises it again, in the task, has all of it */
}

static int create_body_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  return status == LUA_OK || status == LUA_YIELD ? lua_gettop(L) - 1 : lua_error(L);
}

static int create_body(lua_State *L) {
  lua_pushcfunction(L, create_msgh);
  lua_insert(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 2);
  return create_body_k(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, create_body_k), 0);
}

/* In a task the function gets a body around it. */
static void in_body(lua_State *L, lua_CFunction body) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  if (ml__engine(L)->task == NULL) return;
  lua_settop(L, 1);
  lua_pushcclosure(L, body, 1);
}

static int co_create(lua_State *L) {
  in_body(L, create_body);
  return new_coroutine(L);
}

/* debug.traceback([thread,] [message [, level]]), also of a coroutine that create_body has
** unwound. */
static int debug_traceback(lua_State *L) {
  lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  int arg = co != L || lua_isthread(L, 1) ? 1 : 0;
  const char *msg = lua_tostring(L, arg + 1);
  if (msg == NULL && !lua_isnoneornil(L, arg + 1)) {
    lua_pushvalue(L, arg + 1);
    return 1;
  }
  if (lua_status(co) > LUA_YIELD) {
    ml__push_extras(L, 1);
    if (lua_getfield(L, -1, "stack") == LUA_TSTRING) {
      lua_pushfstring(L, "%s%s%s", msg != NULL ? msg : "", msg != NULL ? "\n" : "",
                      lua_tostring(L, -1));
      return 1;
    }
  }
  luaL_traceback(L, co, msg, (int)luaL_optinteger(L, arg + 2, co == L ? 1 : 0));
  return 1;
}

static int co_wrap(lua_State *L) {
  in_body(L, wrap_body);
  new_coroutine(L);
  lua_pushcclosure(L, co_auxwrap, 1);
  return 1;
}

/* A task's own thread cannot yield to anybody. */
static int co_yield (lua_State *L) {
  ml_engine *e = ml__engine(L);
  if (e->task != NULL && L == e->task->thread)
    return luaL_error(
        L, "attempt to yield from outside a coroutine (a task awaits instead of yielding)");
  return lua_yield(L, lua_gettop(L));
}

static int co_status(lua_State *L) {
  lua_State *co = getco(L);
  lua_Debug ar;
  const char *s;
  if (co == L)
    s = "running";
  else if (is_the_loops(L, co) && lua_status(co) == LUA_YIELD)
    s = "normal"; /* alive, but nobody can resume it */
  else
    switch (lua_status(co)) {
    case LUA_YIELD: s = "suspended"; break;
    case LUA_OK:
      if (lua_getstack(co, 0, &ar))
        s = "normal";
      else
        s = lua_gettop(co) == 0 ? "dead" : "suspended";
      break;
    default: s = "dead";
    }
  lua_pushstring(L, s);
  return 1;
}

static int co_running(lua_State *L) {
  ml_engine *e = ml__engine(L);
  int ismain = lua_pushthread(L);
  /* once shown, a task's thread is not used for another one */
  if (e->task != NULL && L == e->task->thread) {
    e->task->fut.obj.flags |= ML_FF_NO_REUSE;
    e->exposed = true;
    ml__ref_get(L, ML_R_EXPOSED);
    lua_pushthread(L);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  lua_pushboolean(L, ismain);
  return 2;
}

static int co_isyieldable(lua_State *L) {
  lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  lua_pushboolean(L, lua_isyieldable(co));
  return 1;
}

static int co_close(lua_State *L) {
  lua_State *co = getco(L);
  lua_Debug ar;
  int st = lua_status(co);
  if (is_the_loops(L, co) && lua_status(co) == LUA_YIELD)
    return luaL_error(L,
                      "cannot close a coroutine that waits in an await: cancel its task instead");
  if (co == L || (st == LUA_OK && lua_getstack(co, 0, &ar)))
    return luaL_error(L, "cannot close a %s coroutine", co == L ? "running" : "normal");
  if (ml__engine(L)->resets >= MAX_RESETS) return luaL_error(L, "C stack overflow");
  st = reset(ml__engine(L), co);
  if (st != LUA_OK && stopped(co, -1)) {
    lua_xmove(co, L, 1);
    return lua_error(L);
  }
  if (st == LUA_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  return 2;
}

/* The coroutine that the suspended thread has resumed and whose await it passes on, or NULL. */
static lua_State *nested(lua_State *co) {
  lua_State *inner = NULL;
  lua_Debug ar;
  lua_CFunction f;
  if (lua_status(co) != LUA_YIELD || !lua_checkstack(co, 4) || !lua_getstack(co, 0, &ar))
    return NULL;
  lua_getinfo(co, "f", &ar);
  f = lua_tocfunction(co, -1);
  if (f == co_auxwrap && lua_getupvalue(co, -1, 1) != NULL) {
    inner = lua_tothread(co, -1);
    lua_pop(co, 1);
  } else if (f == co_resume && lua_getlocal(co, &ar, 1) != NULL) {
    inner = lua_tothread(co, -1);
    lua_pop(co, 1);
  }
  lua_pop(co, 1);
  return inner != co ? inner : NULL;
}

void ml__thread_unwind(lua_State *co) {
  lua_State *inner = nested(co);
  if (inner != NULL) ml__thread_unwind(inner);
  reset(ml__engine(co), co);
  lua_settop(co, 0);
}

void ml__open_protected(lua_State *L) {
  static const luaL_Reg co[] = {
      {"create", co_create},           {"resume", co_resume}, {"running", co_running},
      {"status", co_status},           {"wrap", co_wrap},     {"yield", co_yield },
      {"isyieldable", co_isyieldable}, {"close", co_close},   {NULL, NULL}};
  lua_pushcfunction(L, core_catch);
  lua_setfield(L, -2, "catch");
  lua_pushcfunction(L, base_pcall);
  lua_setglobal(L, "pcall");
  lua_pushcfunction(L, base_xpcall);
  lua_setglobal(L, "xpcall");
  if (lua_getglobal(L, "coroutine") == LUA_TTABLE) luaL_setfuncs(L, co, 0);
  lua_pop(L, 1);
  if (lua_getglobal(L, "debug") == LUA_TTABLE) {
    lua_pushcfunction(L, debug_traceback);
    lua_setfield(L, -2, "traceback");
  }
  lua_pop(L, 1);
}
