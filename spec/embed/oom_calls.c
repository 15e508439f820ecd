/* Fails each allocation in turn while a host uses the functions of moonloop.h, all of them: see
** oom.c, which does it for scripts. A function answers 0 or with a code, its out-parameter is
** then empty; the engine goes on, and in the end every byte is given back. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <unistd.h>

#include "expect.h"
#include "limited.h"

static int failures; /* of calls, in this run */
static char doing[64];

/* A call may fail; a message may have been wrapped on its way, as ML_ESYNTAX by require. */
static int may(int rc) {
  if (rc >= 0) return rc;
  failures++;
  if (rc != ML_ENOMEM && rc != ML_ESYNTAX && rc != ML_ESCRIPT && rc != ML_EINVAL &&
      rc != ML_ESTUCK && rc != ML_EPENDING)
    fprintf(stderr, "%s: gave %d: %s\n", doing, rc, ml_strerror(rc)), exit(1);
  return rc;
}

/* ---- what the host gives ---- */

static ml_call *pending;

static int fn(ml_call *c, void *ud) {
  ml_value v,
      answer[2] = {{.type = ML_STRING, .u.str = {"text", 4, 0}}, {.type = ML_INT, .u.i = 1}};
  int rc = 0;
  (void)ud;
  for (int i = 0; i < ml_argc(c); i++) {
    rc = may(ml_arg(c, i, &v));
    ml_value_free(ml_call_engine(c), &v);
    if (rc < 0) return rc;
  }
  return may(ml_return(c, answer, 2));
}

static int later(ml_call *c, void *ud) {
  (void)ud;
  pending = c;
  return 0;
}

static int point_x(ml_call *c, void *ud) {
  ml_value v = {.type = ML_INT, .u.i = *(int *)ml_self(c)};
  (void)ud;
  return may(ml_return(c, &v, 1));
}

static int resolve(void *ud, const char *name, ml_buf *out) {
  (void)ud;
  return strcmp(name, "virtual") == 0 ? (ml_buf_add(out, "id", 2) < 0 ? ML_ENOMEM : 1) : 0;
}

static int load_module(void *ud, const char *id, ml_buf *out) {
  static const char text[] = "local M = {} function M.f() return 1 end return M";
  (void)ud;
  (void)id;
  return ml_buf_add(out, text, sizeof text - 1) < 0 ? ML_ENOMEM : 1;
}

static void quiet(void *ud, const char *text, size_t n) { (void)ud, (void)text, (void)n; }

static void finish_pending(void) {
  ml_value v = {.type = ML_STRING, .u.str = {"late", 4, 0}};
  if (pending != NULL) ml_call_finish(pending, 0, &v, 1);
  pending = NULL;
}

/* ---- the parts ---- */

static void scripts(ml_engine *e) {
  static const char source[] = "virtual = require 'virtual'\n"
                               "function add(a, b) return a, b, {a = b} end\n"
                               "assert(host.fn(1, 'two', {}, print) == 'text')\n"
                               "await(require('asyncio').next_frame())\n"
                               "assert(await(host.later()) == 'late')\n"
                               "return 1, 'two', {3}\n";
  ml_task *t = NULL, *called = NULL;
  const ml_value *v,
      args[2] = {{.type = ML_INT, .u.i = 1}, {.type = ML_STRING, .u.str = {"b", 1, 0}}};
  ml_buf b = {0};
  ml_value back;
  size_t n;
  double now;
  int fd, timeout;
  if (may(ml_load(e, "=script", source, sizeof source - 1, &t)) < 0) expect(t == NULL);
  for (int i = 0; i < 12; i++) {
    may(ml_frame(e, 0.01));
    may(ml_step(e, 100));
    may(ml_poll_info(e, &fd, &timeout));
    finish_pending();
  }
  may(ml_time(e, &now));
  may(ml_time_scale(e, 2));
  if (may(ml_spawn(e, "add", args, 2, &called)) < 0) expect(called == NULL);
  may(ml_run(e));
  if (t != NULL && ml_task_status(t) == ML_DONE) {
    expect_ok(ml_task_result(t, &v, &n));
    expect(n == 3);
    if (may(ml_pack(e, &v[2], &b)) == 0 && may(ml_unpack(e, b.data, b.len, &back)) == 0)
      ml_value_free(e, &back);
    ml_buf_free(&b);
  } else if (t != NULL && ml_task_status(t) != ML_PENDING)
    expect(ml_task_error(t) != NULL && ml_task_error(t)->message != NULL);
  may(ml_reload(e, "virtual"));
  if (called != NULL) ml_task_on_done(called, NULL, NULL), ml_task_cancel(called, "text");
  ml_task_release(called);
  ml_task_release(t);
}

static void values(ml_engine *e) {
  ml_value t = {0}, v = {.type = ML_INT, .u.i = 5}, key = {0}, out = {0}, got[2];
  size_t n;
  int rc;
  if (may(ml_table_new(e, &t)) < 0) {
    expect(t.type == ML_NIL);
    return;
  }
  may(ml_table_set_field(e, &t, "field", &v));
  if (may(ml_table_field(e, &t, "field", &out)) == 0) ml_value_free(e, &out);
  may(ml_table_set(e, &t, &v, &v));
  if (may(ml_table_get(e, &t, &v, &out)) == 0) ml_value_free(e, &out);
  may(ml_table_len(e, &t, &n));
  do {
    rc = may(ml_table_next(e, &t, &key, &out));
    if (rc == 1) ml_value_free(e, &out);
  } while (rc == 1);
  ml_value_free(e, &key);
  if (may(ml_tostring(e, &t, &out)) == 0) ml_value_free(e, &out);
  may(ml_set(e, "some.table", &t));
  if (may(ml_get(e, "some.table", &out)) == 0) ml_value_free(e, &out);
  if (may(ml_get(e, "tostring", &out)) == 0 && out.type == ML_FUNCTION) {
    rc = may(ml_call_value(e, &out, &v, 1, got, 2));
    for (int i = 0; i < rc; i++) ml_value_free(e, &got[i]);
    ml_task *task = NULL;
    if (may(ml_spawn_value(e, &out, &v, 1, &task)) < 0) expect(task == NULL);
    may(ml_run(e));
    ml_task_release(task);
  }
  ml_value_free(e, &out);
  ml_value_free(e, &t);
}

static void classes(ml_engine *e) {
  static int point = 7;
  static const ml_property properties[] = {{"x", point_x, NULL}, {NULL, NULL, NULL}};
  static const ml_method methods[] = {{"get", point_x, 0}, {NULL, NULL, 0}};
  static const ml_class cls = {
      .size = sizeof cls, .name = "game.Point", .methods = methods, .properties = properties};
  ml_value v = {0};
  if (may(ml_def_class(e, &cls)) < 0) return;
  if (may(ml_object_new(e, &cls, &point, &v)) < 0) return;
  may(ml_set(e, "point", &v));
  may(ml_load(e, "=class", "assert(point.x == 7 and point:get() == 7)", 41, NULL));
  may(ml_run(e));
  ml_value_free(e, &v);
  may(ml_object_gone(e, &cls, &point));
}

static void programs(ml_engine *e) {
  static const char source[] = "await(require('asyncio').sleep(0)) return arg[1]";
  const char *argv[] = {"x"};
  may(ml_main(e, "=main", source, sizeof source - 1, 1, argv));
  may(ml_main_file(e, "/dev/null", 1, argv));
  may(ml_load_file(e, "/dev/null", NULL));
  may(ml_interrupt(e, ML_INTERRUPT_KILL));
  may(ml_wakeup(e));
  may(ml_run(e));
  may(ml_flush(e));
  may(ml_alive(e));
}

static int libraries(lua_State *L) {
  luaL_openlibs(L);
  return 0;
}

static void host(limits *b, int how) {
  ml_config c;
  ml_engine *e = NULL;
  lua_State *L = NULL;
  ml_config_init(&c);
  c.alloc = limited;
  c.alloc_ud = b;
  c.clock = ML_CLOCK_VIRTUAL;
  c.log = c.print = quiet;
  c.resolve = resolve;
  c.load = load_module;
  failures = 0;
  if (how == 0) {
    may(ml_new(&c, &e));
  } else { /* on a state of the host's, with the same allocator */
    L = lua_newstate(limited, b);
    if (L != NULL) {
      lua_pushcfunction(L, libraries);
      if (lua_pcall(L, 0, 0, 0) == LUA_OK)
        may(ml_attach(L, &c, &e));
      else
        failures++;
    }
  }
  if (e != NULL) {
    may(ml_def(e, "host.fn", fn, NULL));
    may(ml_def_async(e, "host.later", later, NULL));
    scripts(e);
    values(e);
    classes(e);
    programs(e);
    expect_ok(ml_close(e, 5));
    finish_pending();
  }
  if (L != NULL) lua_close(L);
}

static void hang(int sig) {
  (void)sig;
  if (write(2, doing, strlen(doing)) < 0 || write(2, ": a hang\n", 9) < 0) _exit(2);
  _exit(1);
}

/* oom_calls [HOST MODE N]: one run; host 1 is on a state of its own */
int main(int argc, char **argv) {
  static const int modes[] = {1, 2, -1}; /* refusals, see oom.c */
  int all = argc < 4;
  signal(SIGALRM, hang);
  for (int how = 0; how < 2; how++) {
    limits whole = {-1, 0, 0, 0, 0};
    long every;
    snprintf(doing, sizeof doing, "host %d", how);
    host(&whole, how);
    expect(failures == 0 && whole.blocks == 0 && whole.bytes == 0);
    /* in small builds of the library most are not seen one by one */
    every = all ? whole.asked / 600 + 1 : 1;
    for (int m = 0; m < 3; m++)
      for (long n = all ? m : 0; n < whole.asked; n += every) {
        limits b = {n, modes[m], 0, 0, 0};
        if (!all && (atoi(argv[1]) != how || atoi(argv[2]) != m || atol(argv[3]) != n)) continue;
        snprintf(doing, sizeof doing, "host %d, mode %d, allocation %ld", how, m, n);
        alarm(60);
        host(&b, how);
        if (b.blocks != 0 || b.bytes != 0) {
          fprintf(stderr, "%s: %ld blocks (%ld bytes) leaked\n", doing, b.blocks, b.bytes);
          return 1;
        }
      }
    printf("host %d: %ld allocations, every %ldth\n", how, whole.asked, every);
  }
  return 0;
}
