/* Module time: clocks, a blocking sleep and calendar text, named as Python's.
** For scripts that wait inside a task asyncio.sleep is the one: sleep here
** stops the whole loop.
*/
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "core.h"

static int64_t nanoseconds(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#define CLOCK(name, id)                                                                           \
  static int time_##name(lua_State *L) {                                                          \
    lua_pushnumber(L, (double)nanoseconds(id) / 1e9);                                             \
    return 1;                                                                                     \
  }                                                                                               \
  static int time_##name##_ns(lua_State *L) {                                                     \
    lua_pushinteger(L, nanoseconds(id));                                                          \
    return 1;                                                                                     \
  }
CLOCK(time, CLOCK_REALTIME)
CLOCK(monotonic, CLOCK_MONOTONIC)
CLOCK(perf_counter, CLOCK_MONOTONIC)
CLOCK(process_time, CLOCK_PROCESS_CPUTIME_ID)
CLOCK(thread_time, CLOCK_THREAD_CPUTIME_ID)
#undef CLOCK

static int time_sleep(lua_State *L) {
  double d = ml__checkdelay(L, 1, "time.sleep");
  struct timespec t;
  if (d < 0) return ml__misuse(L, "ValueError", "time.sleep: sleep length must be non-negative");
  if (d > 1e9) d = 1e9;
  t.tv_sec = (time_t)floor(d);
  t.tv_nsec = (long)((d - floor(d)) * 1e9);
  while (nanosleep(&t, &t) < 0 && errno == EINTR) {
    ml_engine *e = ml__engine(L);
    if (e->sigints > 0 && e->running == NULL) break; /* Ctrl-C: its hook raises next */
  }
  return 0;
}

/* A time as seconds since the epoch (now if absent) or as os.date("*t") gives. */
static struct tm check_tm(lua_State *L, int idx, bool utc) {
  struct tm tm;
  memset(&tm, 0, sizeof tm);
  if (lua_istable(L, idx)) {
    static const char *const names[] = {"year", "month", "day", "hour", "min", "sec"};
    int v[6];
    for (int i = 0; i < 6; i++) {
      lua_getfield(L, idx, names[i]);
      v[i] = (int)luaL_optinteger(L, -1, i < 3 ? 1 : 0);
      lua_pop(L, 1);
    }
    tm.tm_year = v[0] - 1900;
    tm.tm_mon = v[1] - 1;
    tm.tm_mday = v[2];
    tm.tm_hour = v[3];
    tm.tm_min = v[4];
    tm.tm_sec = v[5];
    tm.tm_isdst = -1;
    if (utc)
      timegm(&tm);
    else
      mktime(&tm);
  } else {
    time_t t = lua_isnoneornil(L, idx) ? time(NULL) : (time_t)floor(luaL_checknumber(L, idx));
    if (utc)
      gmtime_r(&t, &tm);
    else
      localtime_r(&t, &tm);
  }
  return tm;
}

static int push_tm(lua_State *L, bool utc) {
  struct tm tm = check_tm(L, 1, utc);
  static const char *const names[] = {"year", "month", "day", "hour", "min", "sec", "wday", "yday"};
  int v[8] = {tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,     tm.tm_hour,
              tm.tm_min,         tm.tm_sec,     tm.tm_wday + 1, tm.tm_yday + 1};
  lua_createtable(L, 0, 9);
  for (int i = 0; i < 8; i++) {
    lua_pushinteger(L, v[i]);
    lua_setfield(L, -2, names[i]);
  }
  lua_pushboolean(L, tm.tm_isdst > 0);
  lua_setfield(L, -2, "isdst");
  return 1;
}

static int time_localtime(lua_State *L) { return push_tm(L, false); }
static int time_gmtime(lua_State *L) { return push_tm(L, true); }

static int time_mktime(lua_State *L) {
  struct tm tm;
  luaL_checktype(L, 1, LUA_TTABLE);
  tm = check_tm(L, 1, false);
  lua_pushnumber(L, (double)mktime(&tm));
  return 1;
}

/* strftime(format[, t]): t as seconds or a table; local time */
static int time_strftime(lua_State *L) {
  size_t n;
  const char *fmt = luaL_checklstring(L, 1, &n);
  struct tm tm = check_tm(L, 2, false);
  luaL_Buffer b;
  size_t room = 256 + 8 * n, got;
  char *p;
  if (n == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  if (strlen(fmt) != n) return luaL_argerror(L, 1, "format contains a zero byte");
  p = luaL_buffinitsize(L, &b, room);
  got = strftime(p, room, fmt, &tm);
  luaL_pushresultsize(&b, got);
  return 1;
}

static int time_ctime(lua_State *L) {
  struct tm tm = check_tm(L, 1, false);
  char buf[64];
  size_t n = strftime(buf, sizeof buf, "%a %b %e %H:%M:%S %Y", &tm);
  lua_pushlstring(L, buf, n);
  return 1;
}

int luaopen_moonloop_time(lua_State *L) {
  static const luaL_Reg fns[] = {{"time", time_time},
                                 {"time_ns", time_time_ns},
                                 {"monotonic", time_monotonic},
                                 {"monotonic_ns", time_monotonic_ns},
                                 {"perf_counter", time_perf_counter},
                                 {"perf_counter_ns", time_perf_counter_ns},
                                 {"process_time", time_process_time},
                                 {"process_time_ns", time_process_time_ns},
                                 {"thread_time", time_thread_time},
                                 {"thread_time_ns", time_thread_time_ns},
                                 {"sleep", time_sleep},
                                 {"localtime", time_localtime},
                                 {"gmtime", time_gmtime},
                                 {"mktime", time_mktime},
                                 {"strftime", time_strftime},
                                 {"ctime", time_ctime},
                                 {NULL, NULL}};
  luaL_newlib(L, fns);
  return 1;
}
