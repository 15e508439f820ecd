/* The inspector's thread, and what goes to and fro between it and the engine that it asks.
**
** A question is malloc'd. It is in `asked` until the target takes it, then in `done` until
** the thread's loop takes it, which frees it; a cancelled operation only leaves it.
** Whatever happens to the target, it is told under the lock.
*/
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inspector.h"
#include "sandbox.h"

struct ml_question {
  ml_link link;
  struct ask_op *op; /* the thread's; NULL: nobody waits any more. Under the lock */
  char *text;        /* what is asked, then what was answered; NULL: there is no answer */
  size_t len;
};

typedef struct ask_op {
  ml_op op; /* first */
  ml_question *q;
  ml_inspector *in;
} ask_op;

/* ---- on the target's thread ---- */

#define REFUSED "{\"error\":\"the program has no memory left for an answer\"}"

/* [function, question] -> answer; an error's text instead if there is one. */
static bool answer(ml_engine *e, lua_State *L, ml_question *q) {
  size_t n;
  const char *s;
  char *copy = NULL;
  int base = lua_gettop(L);
  bool ok = false;
  if (!lua_checkstack(L, LUA_MINSTACK)) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, e->inspector->fn);
  lua_pushlstring(L, q->text, q->len);
  ok = lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING;
  if (ok) {
    s = lua_tolstring(L, -1, &n);
    copy = malloc(n + 1);
    if (copy != NULL) memcpy(copy, s, n);
  }
  free(q->text);
  q->text = copy;
  q->len = copy != NULL ? n : 0;
  lua_settop(L, base);
  return copy != NULL;
}

/* With the lock. first: `done` was empty, so that nobody has told the thread yet to look. */
static void tell(ml_inspector *in, bool first) {
  if (in->loop != NULL && first) ml__loop_post(in->loop, &in->drain);
}

/* Between two rounds. The script's hook does not see what happens here. */
static void inspect(ml_engine *e, lua_State *L) {
  ml_inspector *in = e->inspector;
  lua_Hook hook = lua_gethook(L);
  int mask = lua_gethookmask(L), count = lua_gethookcount(L);
  ml_link questions;
  ml__list_init(&questions);
  pthread_mutex_lock(&in->lock);
  e->asked = false;
  in->turns++;
  ml__list_splice(&questions, &in->asked);
  pthread_mutex_unlock(&in->lock);
  if (hook != NULL) lua_sethook(L, NULL, 0, 0);
  while (!ml__list_empty(&questions)) {
    ml_question *q = ml__containerof(questions.next, ml_question, link);
    bool wanted, first;
    ml__list_remove(&q->link);
    pthread_mutex_lock(&in->lock);
    wanted = q->op != NULL;
    pthread_mutex_unlock(&in->lock);
    if (!wanted) {
      free(q->text);
      q->text = NULL;
    } else if (!answer(e, L, q)) {
      free(q->text);
      q->text = strdup(REFUSED);
      q->len = q->text != NULL ? strlen(REFUSED) : 0;
    }
    pthread_mutex_lock(&in->lock);
    first = ml__list_empty(&in->done);
    ml__list_append(&in->done, &q->link);
    tell(in, first);
    pthread_mutex_unlock(&in->lock);
  }
  if (hook != NULL) lua_sethook(L, hook, mask, count);
}

/* Nobody will take these any more. */
static void drop(ml_link *questions) {
  ml_link *next;
  for (ml_link *k = questions->next; k != questions; k = next) {
    ml_question *q = ml__containerof(k, ml_question, link);
    next = k->next;
    if (q->op != NULL) q->op->q = NULL;
    free(q->text);
    free(q);
  }
  ml__list_init(questions);
}

static void destroy(ml_inspector *in) {
  drop(&in->done);
  pthread_cond_destroy(&in->told);
  pthread_mutex_destroy(&in->lock);
  free(in->options);
  free(in);
}

/* The engine is closed, or nothing came of the inspector. */
static void end(ml_engine *e) {
  ml_inspector *in = e->inspector;
  bool first;
  if (in == NULL) return;
  pthread_mutex_lock(&in->lock);
  first = ml__list_empty(&in->done);
  in->ended = true;
  in->target = NULL;
  while (!ml__list_empty(&in->asked)) {
    ml_question *q = ml__containerof(in->asked.next, ml_question, link);
    ml__list_remove(&q->link);
    free(q->text);
    q->text = NULL;
    ml__list_append(&in->done, &q->link);
  }
  tell(in, first);
  pthread_mutex_unlock(&in->lock);
  if (in->dog != NULL) ml__dog_free(in->dog);
  pthread_join(in->thread, NULL);
  e->inspect_path = NULL;
  e->inspector = NULL;
  e->inspect_end = NULL;
  e->asked = false;
  destroy(in);
}

/* ---- the thread ---- */

static void *inspector_main(void *arg) {
  ml_inspector *in = arg;
  const char *argv[] = {in->options};
  ml_engine *e = NULL;
  ml_config c;
  const ml_error *err;
  int rc;
  ml_config_init(&c);
  rc = ml_new(&c, &e);
  if (rc == 0) {
    e->inspects = in;
    rc = ml_main_module(e, "asyncio.inspector.server", 1, argv);
  }
  err = rc == ML_ESCRIPT || rc == ML_ESYNTAX ? ml_last_error(e, NULL) : NULL;
  pthread_mutex_lock(&in->lock);
  if (in->loop != NULL) ml__loop_unpost(in->loop, &in->drain);
  in->loop = NULL;
  in->waiter = NULL;
  if (in->state == ML_I_STARTING) {
    in->state = ML_I_FAILED;
    snprintf(in->report, sizeof in->report, "%s", err != NULL ? err->message : ml_strerror(rc));
    pthread_cond_broadcast(&in->told);
  } else if (rc < 0)
    ml__log(e, "the inspector has failed: %s", err != NULL ? err->message : ml_strerror(rc));
  drop(&in->asked);
  drop(&in->done);
  pthread_mutex_unlock(&in->lock);
  if (e != NULL) ml_close(e, 0);
  return NULL;
}

/* 0, or UV_E*: the thread gets no signals. */
static int start_thread(ml_inspector *in) {
  sigset_t all, old;
  int err;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  err = pthread_create(&in->thread, NULL, inspector_main, in);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return err == 0 ? 0 : uv_translate_sys_error(err);
}

static ml_inspector *make(const char *options, size_t n) {
  ml_inspector *in = calloc(1, sizeof *in);
  if (in == NULL) return NULL;
  in->options = malloc(n + 1);
  if (in->options == NULL || pthread_mutex_init(&in->lock, NULL) != 0) {
    free(in->options);
    free(in);
    return NULL;
  }
  memcpy(in->options, options, n + 1);
  pthread_cond_init(&in->told, NULL);
  ml__list_init(&in->asked);
  ml__list_init(&in->done);
  ml__list_init(&in->drain.link);
  return in;
}

/* start(answers, options): what the thread says of its start; raises OSError. `answers` is the
** function that is called with each question. The thread is in no sandbox: who starts it from one
** must be allowed to listen anywhere. */
static int core_start(lua_State *L) {
  ml_engine *e = ml__engine(L);
  size_t n;
  const char *options = luaL_checklstring(L, 2, &n);
  char report[sizeof e->inspector->report];
  ml_inspector *in;
  int rc, fn;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  ml__check_may(L, ML_P_LISTEN, "listen", "for inspectors");
  if (e->inspector != NULL) return ml__misuse(L, "RuntimeError", "the inspector runs already");
  if (e->inspects != NULL) return ml__misuse(L, "RuntimeError", "an inspector is not inspected");
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  fn = luaL_ref(L, LUA_REGISTRYINDEX);
  in = make(options, n);
  if (in == NULL) {
    luaL_unref(L, LUA_REGISTRYINDEX, fn);
    return luaL_error(L, "not enough memory");
  }
  in->fn = fn;
  in->target = e;
  e->inspector = in;
  e->inspect = inspect;
  if (ml__dog_new(e, 0, &in->dog) < 0) in->dog = NULL;
  rc = start_thread(in);
  if (rc < 0) {
    if (in->dog != NULL) ml__dog_free(in->dog);
    e->inspector = NULL;
    destroy(in);
    luaL_unref(L, LUA_REGISTRYINDEX, fn);
    ml__error_uv(L, rc, "the inspector cannot start");
    return lua_error(L);
  }
  pthread_mutex_lock(&in->lock);
  while (in->state == ML_I_STARTING) pthread_cond_wait(&in->told, &in->lock);
  memcpy(report, in->report, sizeof report);
  pthread_mutex_unlock(&in->lock);
  e->inspect_end = end;
  if (in->state == ML_I_FAILED) {
    end(e);
    luaL_unref(L, LUA_REGISTRYINDEX, fn);
    return ml__error(L, "OSError", "%s", report);
  }
  if (in->path[0] != '\0') e->inspect_path = in->path;
  e->counting = true;
  for (ml_link *k = e->loops.next; k != &e->loops; k = k->next)
    ml__loop_watched(ml__containerof(k, ml_evloop, link));
  lua_pushstring(L, report);
  return 1;
}

/* ---- for the thread's scripts ---- */

static ml_inspector *check(lua_State *L) {
  ml_inspector *in = ml__engine(L)->inspects;
  if (in == NULL) ml__misuse(L, "RuntimeError", "this is no inspector");
  return in;
}

/* On the thread's loop: who waits for an answer gets it, and at the end who waits for that. */
static void drain(ml_evloop *l, ml_job *j) {
  ml_inspector *in = ml__containerof(j, ml_inspector, drain);
  ml_link done;
  bool ended;
  (void)l;
  ml__list_init(&done);
  pthread_mutex_lock(&in->lock);
  ml__list_splice(&done, &in->done);
  ended = in->ended;
  pthread_mutex_unlock(&in->lock);
  while (!ml__list_empty(&done)) {
    ml_question *q = ml__containerof(done.next, ml_question, link);
    ml__list_remove(&q->link);
    if (q->op != NULL) {
      ml__op_wake(&q->op->op);
      continue; /* which frees it */
    }
    free(q->text);
    free(q);
  }
  if (ended && in->waiter != NULL) {
    ml_op *op = in->waiter;
    in->waiter = NULL;
    ml__op_wake(op);
  }
}

static int ask_begin(lua_State *L, ml_op *op) {
  ask_op *o = (ask_op *)op;
  size_t n;
  const char *text;
  ml_question *q = calloc(1, sizeof *q);
  bool ended;
  lua_getiuservalue(L, 1, 1);
  text = lua_tolstring(L, -1, &n);
  if (q != NULL) q->text = malloc(n + 1);
  if (q == NULL || q->text == NULL) {
    free(q);
    return luaL_error(L, "not enough memory");
  }
  memcpy(q->text, text, n + 1);
  q->len = n;
  q->op = o;
  o->q = q;
  pthread_mutex_lock(&o->in->lock);
  ended = o->in->target == NULL;
  if (!ended) {
    ml__list_append(&o->in->asked, &q->link);
    o->in->target->asked = true;
    ml_wakeup(o->in->target);
  }
  pthread_mutex_unlock(&o->in->lock);
  if (!ended) return ML_PARK;
  o->q = NULL;
  free(q->text);
  free(q);
  lua_pushnil(L);
  return 1;
}

static int ask_wake(lua_State *L, ml_op *op) {
  ask_op *o = (ask_op *)op;
  ml_question *q = o->q;
  char *text;
  if (q == NULL) {
    lua_pushnil(L);
    return 1;
  }
  o->q = NULL;
  text = q->text;
  if (text != NULL && lua_checkstack(L, 2))
    lua_pushlstring(L, text, q->len); /* memory: the thread is done for in any case */
  else
    lua_pushnil(L);
  free(text);
  free(q);
  return 1;
}

static void ask_cancel(ml_op *op) {
  ask_op *o = (ask_op *)op;
  if (o->q == NULL) return;
  pthread_mutex_lock(&o->in->lock);
  o->q->op = NULL;
  pthread_mutex_unlock(&o->in->lock);
  o->q = NULL;
}

static const ml_opclass ask_class = {"inspector.ask", ask_begin, ask_wake, ask_cancel};

/* ask(question): an awaitable that gives the answer; nil: there is none */
static int core_ask(lua_State *L) {
  ml_inspector *in = check(L);
  ask_op *o;
  luaL_checkstring(L, 1);
  o = ml__op_new(L, &ask_class, sizeof *o, 1);
  o->in = in;
  o->q = NULL;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

static int end_begin(lua_State *L, ml_op *op) {
  ml_inspector *in = ml__engine(L)->inspects;
  bool ended;
  pthread_mutex_lock(&in->lock);
  ended = in->ended;
  if (!ended) in->waiter = op;
  pthread_mutex_unlock(&in->lock);
  return ended ? 0 : ML_PARK;
}

static int end_wake(lua_State *L, ml_op *op) {
  (void)L;
  (void)op;
  return 0;
}

static void end_cancel(ml_op *op) {
  ml_inspector *in = op->task->fut.loop->engine->inspects;
  if (in->waiter == op) in->waiter = NULL;
}

static const ml_opclass end_class = {"inspector.ended", end_begin, end_wake, end_cancel};

/* ended(): an awaitable of the end of what is inspected */
static int core_ended(lua_State *L) {
  check(L);
  ml__op_new(L, &end_class, sizeof(ml_op), 0);
  return 1;
}

/* ready(report, path): who has started the inspector goes on. path: of its socket, or nil. */
static int core_ready(lua_State *L) {
  ml_inspector *in = check(L);
  const char *report = luaL_checkstring(L, 1), *path = luaL_optstring(L, 2, "");
  ml_evloop *l = ml__loop_get(L);
  if (ml__loop_uv(l) == NULL) return luaL_error(L, "not enough memory");
  pthread_mutex_lock(&in->lock);
  in->drain.run = drain;
  in->loop = l;
  in->state = ML_I_READY;
  snprintf(in->report, sizeof in->report, "%s", report);
  snprintf(in->path, sizeof in->path, "%s", path);
  pthread_cond_broadcast(&in->told);
  pthread_mutex_unlock(&in->lock);
  return 0;
}

/* show(): asks the target by a signal where it is, if it computes */
static int core_show(lua_State *L) {
  ml_inspector *in = check(L);
  pthread_mutex_lock(&in->lock);
  in->place_known = false;
  if (in->target != NULL && in->dog != NULL) ml__dog_show(in->dog, ml__inspect_show);
  pthread_mutex_unlock(&in->lock);
  return 0;
}

/* place(): what it has said: lines of text, and the task's id or nil; nil: nothing yet */
static int core_place(lua_State *L) {
  ml_inspector *in = check(L);
  char place[ML_PLACE_MAX];
  const void *task;
  bool known;
  pthread_mutex_lock(&in->lock);
  known = in->place_known && in->target != NULL && in->target->meter.serial == in->place_serial;
  memcpy(place, in->place, sizeof place);
  task = in->place_task;
  pthread_mutex_unlock(&in->lock);
  if (!known) return 0;
  lua_pushstring(L, place);
  if (task == NULL) return 1;
  lua_pushfstring(L, "%p", task);
  return 2;
}

/* turns(): how often the target's loop has found questions, be they given up meanwhile: while one
** is open it has not turned unless this has changed */
static int core_turns(lua_State *L) {
  ml_inspector *in = check(L);
  uint64_t turns;
  pthread_mutex_lock(&in->lock);
  turns = in->turns;
  pthread_mutex_unlock(&in->lock);
  lua_pushinteger(L, (lua_Integer)turns);
  return 1;
}

/* peer(fd): the user that has connected the unix socket */
static int core_peer(lua_State *L) {
#ifdef SO_PEERCRED
  struct ucred c;
  socklen_t n = sizeof c;
  if (getsockopt((int)luaL_checkinteger(L, 1), SOL_SOCKET, SO_PEERCRED, &c, &n) == 0) {
    lua_pushinteger(L, (lua_Integer)c.uid);
    return 1;
  }
#endif
  return 0;
}

/* whoami(): the user, and the process */
static int core_whoami(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)geteuid());
  lua_pushinteger(L, (lua_Integer)getpid());
  return 2;
}

int ml__open_inspector(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"start", core_start}, {"ask", core_ask},
      {"ended", core_ended}, {"ready", core_ready},
      {"show", core_show},   {"place", core_place},
      {"peer", core_peer},   {"whoami", core_whoami},
      {"turns", core_turns}, {"descriptors", ml__inspect_descriptors},
      {NULL, NULL}};
  luaL_newlib(L, functions);
  luaL_setfuncs(L, ml__inspected_functions, 0);
  return 1;
}
