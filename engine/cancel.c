/* Cancelling a task: Task.cancel of CPython's Lib/asyncio/tasks.py.
**
** A task that waits has what it waits for cancelled; one that awaits a task hands the cancel on,
** along a chain of any length; one that runs, is ready or has not begun is marked, and raises
** the CancelledError at its next step. The message of the last cancel is the task's user
** value 1 until it ends.
*/
#include "core.h"

/* Cancels what the task at idx waits for, with the message at msg. */
static bool cancel_awaited(lua_State *L, ml_fiber *t, int msg) {
  ml_object *w = t->waiting;
  bool ok;
  if (w == NULL) return false;
  if (w->type == ML_T_OP && ml__isshared(w)) { /* next_frame, or it has come already */
    if (t->depth != (uint16_t)t->fut.loop->frames.n) return false;
    ml__frame_cancel(t);
    return true;
  }
  if (w->type == ML_T_OP) return ml__op_cancel((ml_op *)w);
  if (t->parked == NULL || !lua_checkstack(t->parked, 2)) return false;
  /* the await of a parked thread has what it awaits at index 1 */
  lua_pushvalue(t->parked, 1);
  lua_xmove(t->parked, L, 1);
  ok = false;
  if (ml__toobject(L, -1) == w) {
    lua_pushvalue(L, msg);
    ok = ml__future_cancel(L, lua_gettop(L) - 1);
  }
  lua_pop(L, 1);
  return ok;
}

/* The message of a cancel that found the task running or ready outlives the task
** (Future._cancel_message): a gather asks for it if the task swallowed the cancel. */
static void note_message(lua_State *L, int idx, int msg) {
  if (lua_isnil(L, msg)) { /* forgets one that was noted before */
    ml__ref_get(L, ML_R_EXTRAS);
    lua_pushvalue(L, idx);
    bool noted = lua_rawget(L, -2) == LUA_TTABLE;
    lua_pop(L, 2);
    if (!noted) return;
  }
  ml__push_extras(L, idx);
  lua_pushvalue(L, msg);
  lua_setfield(L, -2, "cancel_message");
  lua_pop(L, 1);
}

/* A task that awaits a task hands the cancel on (Task.cancel), here without
** recursion: chains may be long. A cycle is broken where it closes. */
bool ml__task_cancel(lua_State *L, int idx) {
  ml_fiber *first = lua_touserdata(L, idx), *t = first;
  int msg = lua_gettop(L);
  bool cycle = false, delivering;
  if (t->fut.obj.state != ML_F_PENDING) {
    lua_pop(L, 1);
    return false;
  }
  luaL_checkstack(L, 8, "cancel");
  lua_pushvalue(L, idx);
  if (t->cancels < UINT16_MAX) t->cancels++;
  while (t->waiting != NULL && t->waiting->type == ML_T_TASK) {
    ml_fiber *next = (ml_fiber *)t->waiting;
    if (next->fut.obj.state != ML_F_PENDING) break; /* done: t is woken already */
    t->fut.obj.flags |= ML_FF_CANCELLING | ML_FF_VISITED;
    t = next;
    if (t->fut.obj.flags & ML_FF_VISITED) {
      cycle = true;
      break;
    }
    if (t->cancels < UINT16_MAX) t->cancels++;
    ml__task_push(L, t);
    lua_replace(L, msg + 1);
  }
  // NOLINTNEXTLINE(clang-analyzer-core*): who is visited waits for a task
  for (ml_fiber *v = first; v->fut.obj.flags & ML_FF_VISITED; v = (ml_fiber *)v->waiting)
    v->fut.obj.flags &= (uint16_t)~ML_FF_VISITED;
  if (t->waiting != NULL && t->waiting->type == ML_T_GATHER && (t->waiting->flags & ML_FF_VISITED))
    cycle = true; /* this very gather is handing the cancel on */
  if (cycle) {
    ml__task_push(L, t);
    lua_replace(L, msg + 1);
    t->fut.obj.flags &= (uint16_t)~ML_FF_CANCELLING;
    ml__list_remove(&t->job.link);
    ml__ready(t->fut.loop, &t->job);
  }
  delivering = (t->fut.obj.flags & ML_FF_CANCELLING) != 0;
  if (!cycle && cancel_awaited(L, t, msg))
    t->fut.obj.flags |= ML_FF_CANCELLING;
  else
    t->fut.obj.flags |= ML_FF_MUST_CANCEL;
  /* An operation that was cancelled before delivers the first message; a future brings
  ** an error with its own, or none: then the last one counts. */
  if (!delivering || t->waiting == NULL || t->waiting->type != ML_T_OP) {
    lua_pushvalue(L, msg);
    lua_setiuservalue(L, msg + 1, 1);
  }
  if (t->fut.obj.flags & ML_FF_MUST_CANCEL) note_message(L, msg + 1, msg);
  lua_settop(L, msg - 1);
  return true;
}
