/* Frames: what tasks await by asyncio.next_frame(), and how fast time goes.
**
** Tasks that await a frame are parked in one list of their loop, by their own
** job: a frame is a splice of that list into the ready queue. The awaitable is
** one object for all, which is never used up (see ml__await_frame in await.c).
**
** Who says when a frame begins? A host that steps the engine: each ml_step is
** one, or from the first ml_frame on, that. Where nobody does (ml_run, the
** command, a host that asks ml_poll_info) the loop paces them: 60 a second, by
** real time or by the virtual clock, whether the loop's own time is paused or not.
*/
#include <math.h>

#include "core.h"

#define FRAME_RATE 60.0

void ml__frames_init(ml_evloop *l) {
  ml__list_init(&l->frames.waiting);
  l->frames.period = 1 / FRAME_RATE;
  l->frames.given = -1;
  l->scale = 1;
}

/* ---- time ---- */

/* The clock that the loop's time is a scale of. A host's clock is believed as long as it
** goes forward. */
static double base_time(ml_evloop *l) {
  double now;
  switch (l->clock) {
  case ML_CLOCK_VIRTUAL: return l->vnow;
  case ML_CLOCK_HOST:
    if (l->engine->config.now == NULL) return l->engine->frame_clock;
    now = l->engine->config.now(l->engine->config.ud);
    if (now > l->vnow && isfinite(now)) l->vnow = now;
    return l->vnow;
  case ML_CLOCK_REAL: break;
  }
  return (double)uv_hrtime() / 1e9;
}

double ml__loop_time(ml_evloop *l) {
  double now = base_time(l);
  return l->scaled ? l->scale_time + (now - l->scale_base) * l->scale : now;
}

/* When the base clock will show that loop time. */
double ml__loop_base(ml_evloop *l, double when) {
  if (!l->scaled) return when;
  return l->scale > 0 ? l->scale_base + (when - l->scale_time) / l->scale : INFINITY;
}

void ml__loop_set_scale(ml_evloop *l, double scale) {
  l->scale_time = ml__loop_time(l);
  l->scale_base = base_time(l);
  l->scaled = true;
  l->scale = scale;
}

/* ---- pacing ---- */

/* By which frames are paced: it goes on while the loop's time is paused. */
static double pace_time(const ml_evloop *l) {
  return l->clock == ML_CLOCK_VIRTUAL ? l->vnow : (double)uv_hrtime() / 1e9;
}

double ml__frame_due(ml_evloop *l) {
  ml_frames *f = &l->frames;
  double now;
  if (f->armed) return f->due;
  now = pace_time(l);
  f->due = f->paced_at + f->period;
  if (f->due <= now && f->idle && f->period > 0) {
    /* frames went by that nobody waited for: the last of them is the one before */
    double gone = floor((now - f->paced_at) / f->period) * f->period;
    f->paced_at += gone;
    f->due = f->paced_at + f->period;
    f->last = ml__loop_time(l) - (now - f->paced_at) * l->scale;
  }
  if (f->due < now) f->due = now;
  f->idle = false;
  f->armed = true;
  return f->due;
}

double ml__frame_left(ml_evloop *l) {
  double left = ml__frame_due(l) - pace_time(l);
  return left > 0 ? left : 0;
}

/* ---- frames ---- */

void ml__frame_first(ml_evloop *l) {
  l->frames.used = true;
  l->frames.last = ml__loop_time(l);
  l->frames.paced_at = pace_time(l);
}

void ml__frame_begin(ml_evloop *l) {
  ml_frames *f = &l->frames;
  double now;
  f->pending = false;
  f->n++;
  if (!f->used) {
    f->given = -1;
    return;
  }
  now = ml__loop_time(l);
  f->dt = f->given >= 0 ? f->given : now - f->last;
  f->given = -1;
  f->last = now;
  if (f->armed) { /* the next one is due by the beat, unless the beat was lost */
    double pace = pace_time(l);
    f->paced_at = pace - f->due < f->period ? f->due : pace;
    if (l->clock == ML_CLOCK_VIRTUAL && pace == f->due) f->dt = f->period * l->scale;
    f->armed = false;
  }
  ml__list_splice(&l->ready, &f->waiting);
}

void ml__frame_cancel(ml_fiber *t) {
  ml__list_remove(&t->job.link);
  ml__ready(t->fut.loop, &t->job);
}

/* ---- the host's side ---- */

int ml_frame(ml_engine *e, double dt) {
  ml_evloop *l;
  ml_frames *f;
  if (e == NULL || isnan(dt) || dt > 1e9) return ML_EINVAL;
  if (ml__busy(e)) return ML_EBUSY;
  l = ml__engine_loop(e);
  if (l == NULL) return ML_ENOMEM;
  f = &l->frames;
  f->hosted = f->pending = true;
  if (dt < 0 && l->clock == ML_CLOCK_VIRTUAL) dt = f->period;
  if (dt < 0) return 0;
  if (l->clock == ML_CLOCK_VIRTUAL) l->vnow += dt;
  e->frame_clock += dt;
  if (l->clock == ML_CLOCK_REAL || e->config.now != NULL)
    f->given = f->given < 0 ? dt : f->given + dt; /* else it is measured: scaled, too */
  return 0;
}

int ml_time(ml_engine *e, double *out) {
  ml_evloop *l;
  if (out != NULL) *out = 0;
  if (e == NULL || out == NULL) return ML_EINVAL;
  l = ml__engine_loop(e);
  if (l == NULL) return ML_ENOMEM;
  *out = ml__loop_time(l);
  return 0;
}

int ml_time_scale(ml_engine *e, double scale) {
  ml_evloop *l;
  if (e == NULL || !(scale >= 0) || scale > 1e6) return ML_EINVAL;
  l = ml__engine_loop(e);
  if (l == NULL) return ML_ENOMEM;
  ml__loop_set_scale(l, scale);
  return 0;
}

/* ---- the scripts' side ---- */

/* loop:set_time_scale(s) */
static int loop_set_time_scale(lua_State *L) {
  ml_evloop *l = ml__checkopenloop(L, 1);
  double scale = luaL_checknumber(L, 2);
  if (!(scale >= 0) || scale > 1e6)
    return ml__misuse(L, "ValueError", "set_time_scale: 0 to 1e6 was expected, got %f", scale);
  ml__loop_set_scale(l, scale);
  return 0;
}

static int loop_get_time_scale(lua_State *L) {
  lua_pushnumber(L, ml__checkloop(L, 1)->scale);
  return 1;
}

/* loop:set_frame_rate(frames a second); math.huge: one after the other */
static int loop_set_frame_rate(lua_State *L) {
  ml_evloop *l = ml__checkopenloop(L, 1);
  double rate = luaL_checknumber(L, 2);
  if (!(rate >= 1e-3))
    return ml__misuse(L, "ValueError", "set_frame_rate: frames a second were expected, got %f",
                      rate);
  l->frames.period = 1 / rate;
  l->frames.armed = false;
  return 0;
}

static int loop_get_frame_rate(lua_State *L) {
  lua_pushnumber(L, 1 / ml__checkloop(L, 1)->frames.period);
  return 1;
}

/* core.frame(): loop time, number of the last frame, and if the loop paces them, how many
** seconds are between them */
static int core_frame(lua_State *L) {
  ml_evloop *l = ml__loop_get(L);
  lua_pushnumber(L, ml__loop_time(l));
  lua_pushinteger(L, (lua_Integer)l->frames.n);
  if (!l->frames.paced && l->depth > 0) return 2;
  lua_pushnumber(L, l->frames.period);
  return 3;
}

void ml__open_frames(lua_State *L) {
  lua_pushcfunction(L, core_frame);
  lua_setfield(L, -2, "frame");
}

const luaL_Reg ml__frame_methods[] = {{"set_time_scale", loop_set_time_scale},
                                      {"get_time_scale", loop_get_time_scale},
                                      {"set_frame_rate", loop_set_frame_rate},
                                      {"get_frame_rate", loop_get_frame_rate},
                                      {NULL, NULL}};
