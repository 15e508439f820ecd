/* Module time: clocks, and calendars as strftime knows them. Names are those of
** Python's time. sleep blocks the thread; tasks want asyncio.sleep.
*/
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "stream.h"

static int push_clock(lua_State *L, clockid_t id, bool ns) {
  struct timespec t;
  clock_gettime(id, &t);
  if (ns)
    lua_pushinteger(L, (lua_Integer)t.tv_sec * 1000000000 + t.tv_nsec);
  else
    lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
  return 1;
}

static int f_time(lua_State *L) { return push_clock(L, CLOCK_REALTIME, false); }
static int f_time_ns(lua_State *L) { return push_clock(L, CLOCK_REALTIME, true); }
static int f_monotonic(lua_State *L) { return push_clock(L, CLOCK_MONOTONIC, false); }
static int f_monotonic_ns(lua_State *L) { return push_clock(L, CLOCK_MONOTONIC, true); }
static int f_process_time(lua_State *L) { return push_clock(L, CLOCK_PROCESS_CPUTIME_ID, false); }
static int f_process_time_ns(lua_State *L) { return push_clock(L, CLOCK_PROCESS_CPUTIME_ID, true); }
static int f_thread_time(lua_State *L) { return push_clock(L, CLOCK_THREAD_CPUTIME_ID, false); }

/* In debug mode: a task that sleeps here lets nobody else run. */
static void warn_of_blocking(lua_State *L, double s) {
  const ml_engine *e = ml__engine(L);
  if (e->task == NULL || !e->task->fut.loop->debug) return;
  luaL_where(L, 1);
  lua_pushfstring(L, "%stime.sleep(%f) blocks the loop: await asyncio.sleep(%f)",
                  lua_tostring(L, -1), s, s);
  ml__log(ml__engine(L), "warning: %s", lua_tostring(L, -1));
  lua_pop(L, 2);
}

/* sleep(seconds): blocks; a signal does not cut it short. */
static int f_sleep(lua_State *L) {
  double s;
  struct timespec t;
  if (lua_type(L, 1) != LUA_TNUMBER)
    return ml__misuse(L, "TypeError", "sleep: a number of seconds was expected, got %s",
                      luaL_typename(L, 1));
  s = lua_tonumber(L, 1);
  if (isnan(s)) return ml__misuse(L, "ValueError", "sleep: the length is not a number (NaN)");
  if (s < 0) return ml__misuse(L, "ValueError", "sleep length must be non-negative");
  if (s > 1e9) return ml__misuse(L, "ValueError", "sleep: the length is out of range");
  warn_of_blocking(L, s);
  t.tv_sec = (time_t)s;
  t.tv_nsec = (long)((s - (double)t.tv_sec) * 1e9);
  while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
  return 0;
}

/* ---- calendar ---- */

static time_t opt_seconds(lua_State *L, int idx, const char *fname) {
  double s;
  if (lua_isnoneornil(L, idx)) return time(NULL);
  if (lua_type(L, idx) != LUA_TNUMBER)
    ml__misuse(L, "TypeError", "%s: a number of seconds was expected, got %s", fname,
               luaL_typename(L, idx));
  s = lua_tonumber(L, idx);
  if (!(s > -1e15 && s < 1e15)) ml__misuse(L, "ValueError", "%s: the time is out of range", fname);
  return (time_t)floor(s);
}

static const char *const fields[] = {"tm_year", "tm_mon",  "tm_mday", "tm_hour", "tm_min",
                                     "tm_sec",  "tm_wday", "tm_yday", "tm_isdst"};

/* A table with fields tm_year, ... and the same at 1 to 9, as Python's struct_time:
** Monday is 0, the first day of the year 1. */
static int push_tm(lua_State *L, const struct tm *t) {
  const int v[] = {t->tm_year + 1900, t->tm_mon + 1,        t->tm_mday,     t->tm_hour, t->tm_min,
                   t->tm_sec,         (t->tm_wday + 6) % 7, t->tm_yday + 1, t->tm_isdst};
  lua_createtable(L, 9, 9);
  for (int i = 0; i < 9; i++) {
    lua_pushinteger(L, v[i]);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, fields[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static void check_tm(lua_State *L, int idx, struct tm *t, const char *fname) {
  int v[9];
  luaL_checktype(L, idx, LUA_TTABLE);
  for (int i = 0; i < 9; i++) {
    int ok;
    if (lua_getfield(L, idx, fields[i]) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_rawgeti(L, idx, i + 1);
    }
    v[i] = (int)lua_tointegerx(L, -1, &ok);
    if (!ok)
      ml__misuse(L, "TypeError", "%s: a time table was expected (field '%s' is no integer)", fname,
                 fields[i]);
    lua_pop(L, 1);
  }
  memset(t, 0, sizeof *t);
  t->tm_year = v[0] - 1900;
  t->tm_mon = v[1] - 1;
  t->tm_mday = v[2];
  t->tm_hour = v[3];
  t->tm_min = v[4];
  t->tm_sec = v[5];
  t->tm_wday = (v[6] + 1) % 7;
  t->tm_yday = v[7] - 1;
  t->tm_isdst = v[8];
}

static int f_localtime(lua_State *L) {
  time_t s = opt_seconds(L, 1, "localtime");
  struct tm t;
  if (localtime_r(&s, &t) == NULL)
    return ml__misuse(L, "ValueError", "localtime: the time is out of range");
  return push_tm(L, &t);
}

static int f_gmtime(lua_State *L) {
  time_t s = opt_seconds(L, 1, "gmtime");
  struct tm t;
  if (gmtime_r(&s, &t) == NULL)
    return ml__misuse(L, "ValueError", "gmtime: the time is out of range");
  return push_tm(L, &t);
}

static int f_mktime(lua_State *L) {
  struct tm t;
  check_tm(L, 1, &t, "mktime");
  lua_pushnumber(L, (lua_Number)mktime(&t));
  return 1;
}

static int push_strftime(lua_State *L, const char *fmt, const struct tm *t) {
  char small[256];
  size_t size = sizeof small, n;
  if (fmt[0] == '\0') {
    lua_pushliteral(L, "");
    return 1;
  }
  n = strftime(small, size, fmt, t);
  if (n > 0) {
    lua_pushlstring(L, small, n);
    return 1;
  }
  size = 1024 + 64 * strlen(fmt); /* empty, or too long */
  luaL_Buffer b;
  char *p = luaL_buffinitsize(L, &b, size);
  luaL_pushresultsize(&b, strftime(p, size, fmt, t));
  return 1;
}

/* strftime(format [, time table or seconds]) */
static int f_strftime(lua_State *L) {
  const char *fmt = luaL_checkstring(L, 1);
  struct tm t;
  if (lua_istable(L, 2))
    check_tm(L, 2, &t, "strftime");
  else {
    time_t s = opt_seconds(L, 2, "strftime");
    if (localtime_r(&s, &t) == NULL)
      return ml__misuse(L, "ValueError", "strftime: the time is out of range");
  }
  return push_strftime(L, fmt, &t);
}

static int f_ctime(lua_State *L) {
  time_t s = opt_seconds(L, 1, "ctime");
  struct tm t;
  if (localtime_r(&s, &t) == NULL)
    return ml__misuse(L, "ValueError", "ctime: the time is out of range");
  return push_strftime(L, "%a %b %e %H:%M:%S %Y", &t);
}

static int f_asctime(lua_State *L) {
  struct tm t;
  if (lua_isnoneornil(L, 1)) return f_ctime(L);
  check_tm(L, 1, &t, "asctime");
  return push_strftime(L, "%a %b %e %H:%M:%S %Y", &t);
}

int ml__open_time(lua_State *L) {
  static const luaL_Reg functions[] = {{"time", f_time},
                                       {"time_ns", f_time_ns},
                                       {"perf_counter", f_monotonic},
                                       {"perf_counter_ns", f_monotonic_ns},
                                       {"monotonic", f_monotonic},
                                       {"monotonic_ns", f_monotonic_ns},
                                       {"process_time", f_process_time},
                                       {"process_time_ns", f_process_time_ns},
                                       {"thread_time", f_thread_time},
                                       {"sleep", f_sleep},
                                       {"strftime", f_strftime},
                                       {"localtime", f_localtime},
                                       {"gmtime", f_gmtime},
                                       {"mktime", f_mktime},
                                       {"ctime", f_ctime},
                                       {"asctime", f_asctime},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
