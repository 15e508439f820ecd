/* Classes of the host: its objects in scripts. */
#include "expect.h"
#include <lua.h>
#include <pthread.h>
#include <stddef.h>

static captured out;

#define UV_EAGAIN_ (-11)

typedef struct player {
  const char *name;
  double health;
  int64_t score;
} player;

static int finalized;
static void *last;
static void on_finalize(void *object, void *ud) {
  (void)ud;
  finalized++;
  last = object;
}

static ml_value number(double n) { return (ml_value){.type = ML_FLOAT, .u.n = n}; }
static ml_value string(const char *s) {
  return (ml_value){.type = ML_STRING, .u.str = {s, strlen(s), 0}};
}

static const ml_class entity_class, player_class;
static player made[40];
static int nmade;

static int damage(ml_call *c, void *ud) {
  player *p = ml_self(c);
  double by;
  const char *why = "nothing";
  ml_value v;
  int err = ml_args(c, "n|s", &by, &why);
  (void)ud;
  if (err < 0) return err;
  p->health -= by;
  v = string(why);
  return ml_return(c, &v, 1);
}

static int attack(ml_call *c, void *ud) {
  player *other;
  int err = ml_args(c, "o", &player_class, &other);
  ml_value v;
  (void)ud;
  if (err < 0) return err;
  v = string(other->name);
  return ml_return(c, &v, 1);
}

static void *finish(void *ud) {
  ml_call *c = ud;
  ml_value v = {.type = ML_USERDATA, .u.obj = {ml_self(c), &player_class, 0}};
  ml_call_finish(c, 0, &v, 1);
  return NULL;
}

/* Answers from another thread with the object itself. */
static int rest(ml_call *c, void *ud) {
  pthread_t t;
  int64_t n = 0;
  int err = ml_args(c, "|i", &n);
  (void)ud;
  if (err < 0) return err;
  if (n < 0) return UV_EAGAIN_;
  if (pthread_create(&t, NULL, finish, c) != 0) return ML_ENOMEM;
  pthread_join(t, NULL);
  return 0;
}

static int get_health(ml_call *c, void *ud) {
  ml_value v = number(((player *)ml_self(c))->health);
  (void)ud;
  return ml_return(c, &v, 1);
}

static int set_health(ml_call *c, void *ud) {
  double h;
  int err = ml_args(c, "n", &h);
  (void)ud;
  if (err == 0) ((player *)ml_self(c))->health = h;
  return err;
}

static int get_name(ml_call *c, void *ud) {
  ml_value v = string(((player *)ml_self(c))->name);
  (void)ud;
  return ml_return(c, &v, 1);
}

static int construct(ml_call *c, void *ud) {
  ml_value v = {.type = ML_USERDATA, .u.obj = {&made[nmade], &player_class, 0}};
  int64_t health = 100;
  const char *name;
  size_t n;
  int err = ml_args(c, "S|i", &name, &n, &health);
  (void)ud;
  if (err < 0) return err;
  made[nmade].name = n == 3 ? "Ada" : "Bob";
  made[nmade++].health = (double)health;
  return ml_return(c, &v, 1);
}

static int describe(ml_call *c, void *ud) {
  char text[50];
  ml_value v;
  (void)ud;
  snprintf(text, sizeof text, "<player %s>", ((player *)ml_self(c))->name);
  v = string(text);
  return ml_return(c, &v, 1);
}

static int equal(ml_call *c, void *ud) {
  player *other;
  ml_value v = {.type = ML_BOOL};
  int err = ml_args(c, "o", &player_class, &other);
  (void)ud;
  if (err < 0) return err;
  v.u.b = strcmp(other->name, ((player *)ml_self(c))->name) == 0;
  return ml_return(c, &v, 1);
}

static int fallback(ml_call *c, void *ud) {
  char text[60];
  const char *key;
  ml_value v;
  (void)ud;
  if (ml_args(c, "s", &key) < 0) return 0;
  snprintf(text, sizeof text, "no %s", key);
  v = string(text);
  return ml_return(c, &v, 1);
}

static int set_fallback(ml_call *c, void *ud) {
  const char *key;
  int64_t n;
  int err = ml_args(c, "si", &key, &n);
  (void)ud;
  if (err == 0) ((player *)ml_self(c))->score = n;
  return err;
}

static int close_player(ml_call *c, void *ud) {
  (void)ud;
  ((player *)ml_self(c))->score = -1;
  return 0;
}

static const ml_method entity_methods[] = {
    {"rest", rest, 1}, {"damage", damage, 0}, {NULL, NULL, 0}};
static const ml_property entity_properties[] = {
    {"health", get_health, set_health}, {"name", get_name, NULL}, {NULL, NULL, NULL}};
static const ml_class entity_class = {.size = sizeof(ml_class),
                                      .name = "game.Entity",
                                      .methods = entity_methods,
                                      .properties = entity_properties,
                                      .finalize = on_finalize};
static const ml_method player_methods[] = {{"attack", attack, 0}, {NULL, NULL, 0}};
static const ml_class player_class = {.size = sizeof(ml_class),
                                      .name = "game.Player",
                                      .parent = &entity_class,
                                      .methods = player_methods,
                                      .construct = construct,
                                      .tostring = describe};
static const ml_class full_class = {.size = sizeof(ml_class),
                                    .name = "Full",
                                    .parent = &player_class,
                                    .equal = equal,
                                    .index = fallback,
                                    .newindex = set_fallback,
                                    .close = close_player};
static const ml_class plain_class = {.size = sizeof(ml_class), .name = "Plain"};

static ml_engine *engine(void) {
  ml_engine *e = captured_engine(&out);
  nmade = finalized = 0;
  expect_ok(ml_def_class(e, &entity_class));
  expect_ok(ml_def_class(e, &player_class));
  expect_ok(ml_def_class(e, &full_class));
  expect_ok(ml_def_class(e, &plain_class));
  return e;
}

static void run(ml_engine *e, const char *source) {
  ml_task *t = load(e, source);
  expect_ok(ml_run(e));
  if (ml_task_error(t) != NULL) fprintf(stderr, "%s\n%s\n", source, ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
}

/* Runs `code` and expects the class of the error, and its text. */
static void fails(ml_engine *e, const char *code, const char *class, const char *text) {
  char source[2000];
  snprintf(source, sizeof source,
           "local asyncio = require 'asyncio' "
           "local ok, err = pcall(function() %s end) assert(not ok, 'no error') "
           "assert(asyncio.isinstance(err, asyncio.%s) and err.message == %s, tostring(err))",
           code, class, text);
  run(e, source);
}

static void use(void) {
  ml_engine *e = engine();
  run(e,
      "local p = game.Player('Ada') assert(p.name == 'Ada' and p.health == 100) "
      "assert(p:damage(30, 'fire') == 'fire' and p:damage(20) == 'nothing') assert(p.health == 50) "
      "p.health = 75 assert(p.health == 75) "
      "assert(tostring(p) == '<player Ada>') assert(p.unknown == nil) "
      "local q = game.Player('Robert', 10) assert(q.health == 10 and p ~= q and p:attack(q) == "
      "'Bob') "
      "local t = {[p] = 1} assert(await(p:rest()) == p and t[await(p:rest(1))] == 1) "
      "function game.Player:double() return self.health * 2 end assert(p:double() == 150) "
      "assert(tostring(game.Player):match('^class game.Player')) "
      "assert(pcall(getmetatable, p)) assert(not pcall(setmetatable, p, {})) "
      "print(pcall(function() return #p end))");
  expect(strstr(out.text, "attempt to get length of a game.Player value") != NULL);
  fails(e, "game.Player('Ada'):damage('much')", "TypeError",
        "'game.Entity:damage: argument 1: number expected, got string'");
  fails(e, "game.Player('Ada'):damage()", "TypeError",
        "'game.Entity:damage: argument 1: number expected, got no value'");
  fails(e, "game.Player('Ada'):damage(1, {})", "TypeError",
        "'game.Entity:damage: argument 2: string expected, got table'");
  fails(e, "game.Player('Ada'):attack(io.stdout)", "TypeError",
        "'game.Player:attack: argument 1: game.Player expected, got userdata'");
  fails(e, "game.Player('Ada').damage(5)", "TypeError",
        "'game.Entity:damage: an object of game.Entity expected, got number (is it called with a "
        "colon?)'");
  fails(e, "game.Player('Ada').rest({})", "TypeError",
        "'game.Entity:rest: an object of game.Entity expected, got table (is it called with a "
        "colon?)'");
  fails(e, "await(game.Player('Ada'):rest(1.5))", "TypeError",
        "'game.Entity:rest: argument 1: integer expected, got number'");
  fails(e, "await(game.Player('Ada'):rest(-1))", "OSError",
        "'game.Entity:rest: resource temporarily unavailable'");
  fails(e, "game.Player('Ada').name = 'Eve'", "TypeError", "\"game.Player: 'name' cannot be set\"");
  fails(e, "game.Player('Ada').level = 1", "TypeError", "\"game.Player: 'level' cannot be set\"");
  fails(e, "game.Player('Ada').health = true", "TypeError",
        "'game.Entity.health: argument 1: number expected, got boolean'");
  fails(e, "game.Player(1)", "TypeError", "'game.Player: argument 1: string expected, got number'");
  run(e, "assert(not pcall(function() return game.Entity() end))");
  expect_ok(ml_close(e, 0));
  expect(finalized == nmade);
}

static void hooks(void) {
  ml_engine *e = engine();
  player a = {"same", 1, 0}, b = {"same", 2, 0}, other = {"other", 3, 0};
  ml_value v;
  expect_ok(ml_object_new(e, &full_class, &a, &v));
  expect_ok(ml_set(e, "a", &v));
  ml_value_free(e, &v);
  v = (ml_value){.type = ML_USERDATA, .u.obj = {&b, &full_class, 0}};
  expect_ok(ml_set(e, "b", &v));
  v.u.obj.ptr = &other;
  expect_ok(ml_set(e, "other", &v));
  run(e, "assert(a == b and a ~= other and not rawequal(a, b)) assert(a.color == 'no color') "
         "a.anything = 12 assert(a.health == 1 and a.name == 'same') assert(a[1] == nil) "
         "assert(tostring(a) == '<player same>') do local x <close> = b end");
  expect(a.score == 12 && b.score == -1 && finalized == 0);
  fails(e, "a.anything = 'x'", "TypeError",
        "'Full.__newindex: argument 2: integer expected, got string'");
  expect_ok(ml_close(e, 0));
  expect(finalized == 3);
}

/* The host destroys its object; scripts still hold it. */
static void gone(void) {
  ml_engine *e = engine();
  player p = {"Ada", 100, 0};
  ml_value v, got;
  expect_ok(ml_object_new(e, &player_class, &p, &v));
  expect(v.type == ML_USERDATA && v.u.obj.ptr == &p && v.u.obj.cls == &player_class);
  expect_ok(ml_set(e, "p", &v));
  ml_value_free(e, &v);
  expect(ml_object_gone(e, &player_class, &p) == 1);
  expect(ml_object_gone(e, &player_class, &p) == 0);
  expect(ml_object_gone(e, &player_class, &v) == 0);
  fails(e, "p:damage(1)", "RuntimeError", "'game.Entity:damage: the object is gone'");
  fails(e, "return p.health", "RuntimeError", "'game.Entity.health: the object is gone'");
  fails(e, "p.health = 1", "RuntimeError", "'game.Entity.health: the object is gone'");
  fails(e, "p:rest()", "RuntimeError", "'game.Entity:rest: the object is gone'");
  fails(e, "game.Player('Ada'):attack(p)", "TypeError",
        "'game.Player:attack: argument 1: game.Player expected, got game.Player that is gone'");
  run(e, "assert(tostring(p) == 'game.Player: gone' and p == p and p.unknown == nil) do local x "
         "<close> = p end");
  expect_ok(ml_get(e, "p", &got));
  expect(got.type == ML_USERDATA && got.u.obj.ptr == NULL && got.u.obj.cls == &player_class);
  ml_value_free(e, &got);
  /* between the call and the await */
  expect_ok(ml_object_new(e, &player_class, &p, &v));
  expect_ok(ml_set(e, "p", &v));
  run(e, "waiting = p:rest()");
  expect(ml_object_gone(e, &player_class, &p) == 1);
  fails(e, "await(waiting)", "RuntimeError", "'game.Entity:rest: the object is gone'");
  ml_value_free(e, &v);
  expect_ok(ml_close(e, 0));
  expect(finalized == nmade); /* p's was not */
}

/* Once, by whichever comes first: the collector, `<close>`, the end. */
static void finalizers(void) {
  ml_engine *e = engine();
  player p = {"Ada", 100, 0};
  ml_value v, w;
  expect_ok(ml_object_new(e, &player_class, &p, &v));
  run(e, "collectgarbage() collectgarbage()");
  expect(finalized == 0);
  expect_ok(ml_object_new(e, &player_class, &p, &w));
  expect_ok(ml_set(e, "one", &v));
  expect_ok(ml_set(e, "two", &w));
  run(e, "assert(rawequal(one, two)) one, two = nil");
  ml_value_free(e, &v);
  ml_value_free(e, &w);
  run(e, "collectgarbage() collectgarbage()");
  expect(finalized == 1 && last == &p);
  expect_ok(ml_object_new(e, &player_class, &p, &v)); /* a new one at the same address */
  expect_ok(ml_set(e, "p", &v));
  ml_value_free(e, &v);
  run(e, "do local x <close> = p end assert(not pcall(p.damage, p, 1)) p = nil collectgarbage()");
  expect(finalized == 2);
  expect_ok(ml_object_new(e, &plain_class, &p, &v)); /* another class: another object */
  expect_ok(ml_set(e, "p", &v));
  run(e, "assert(tostring(p):match('^Plain: 0x') and p.x == nil) do local x <close> = p end");
  expect_ok(ml_close(e, 0));
  expect(finalized == 2);
}

/* What scripts have let go of, while it waits for the collector to come to it. */
static player crowd[2000];
static int freed;

static void on_free(void *object, void *ud) {
  player *p = object;
  (void)ud;
  expect(p->health == 0); /* not one that the host has destroyed, or that is held */
  p->health = -1;
  freed++;
}

static const ml_class owned_class = {
    .size = sizeof(ml_class), .name = "Owned", .finalize = on_free};

static ml_engine *waiting(void) {
  ml_engine *e;
  ml_value v;
  expect_ok(ml_new(NULL, &e));
  expect_ok(ml_def_class(e, &owned_class));
  memset(crowd, 0, sizeof crowd);
  freed = 0;
  lua_gc(ml_lua(e), LUA_GCSTOP);
  for (int i = 0; i < 2000; i++) {
    expect_ok(ml_object_new(e, &owned_class, &crowd[i], &v));
    ml_value_free(e, &v);
  }
  lua_gc(ml_lua(e), LUA_GCRESTART);
  while (freed == 0) lua_gc(ml_lua(e), LUA_GCSTEP, 0);
  lua_gc(ml_lua(e), LUA_GCSTOP);
  expect(freed < 2000);
  return e;
}

static void lost(void) {
  ml_engine *e = waiting();
  static ml_value held[2000];
  int before = freed;
  for (int i = 0; i < 2000; i++) {
    if (crowd[i].health < 0) continue;
    if (i % 2 == 0) {                                          /* destroyed by the host */
      expect(ml_object_gone(e, &owned_class, &crowd[i]) == 0); /* scripts do not hold it */
      crowd[i].health = 1;
    } else { /* given to scripts once more */
      expect_ok(ml_object_new(e, &owned_class, &crowd[i], &held[i]));
      crowd[i].health = 2;
    }
  }
  lua_gc(ml_lua(e), LUA_GCCOLLECT);
  lua_gc(ml_lua(e), LUA_GCCOLLECT);
  expect(freed == before);
  for (int i = 0; i < 2000; i++) {
    if (crowd[i].health == 2) crowd[i].health = 0;
    ml_value_free(e, &held[i]);
  }
  expect_ok(ml_close(e, 0));
  for (int i = 0; i < 2000; i++) expect(crowd[i].health == (i % 2 == 0 ? crowd[i].health : -1));
  expect(freed > before);
}

static void misuse(void) {
  ml_engine *e = engine();
  ml_class c = plain_class;
  static const ml_class unknown = {.size = sizeof(ml_class), .name = "Unknown"};
  ml_method bad[] = {{"m", NULL, 0}, {NULL, NULL, 0}};
  ml_value v;
  player p;
  expect(ml_def_class(e, &plain_class) == ML_EINVAL);
  expect(strstr(ml_last_error(e, NULL)->message, "the class Plain is defined already") != NULL);
  c.name = "no name";
  expect(ml_def_class(e, &c) == ML_EINVAL);
  c.name = "Other", c.size = 0;
  expect(ml_def_class(e, &c) == ML_EINVAL);
  c.size = sizeof c, c.parent = &unknown;
  expect(ml_def_class(e, &c) == ML_EINVAL);
  c.parent = NULL, c.methods = bad;
  expect(ml_def_class(e, &c) == ML_EINVAL);
  c.methods = NULL, c.size = offsetof(ml_class, methods); /* an older host's */
  expect_ok(ml_def_class(e, &c));
  expect(ml_object_new(e, &unknown, &p, &v) == ML_EINVAL && v.type == ML_NIL);
  expect(ml_object_gone(e, &unknown, &p) == ML_EINVAL);
  expect(ml_object_new(e, &plain_class, NULL, &v) == ML_EINVAL);
  expect(ml_def_class(NULL, &c) == ML_EINVAL && ml_def_class(e, NULL) == ML_EINVAL);
  expect(ml_self(NULL) == NULL);
  expect_ok(ml_close(e, 0));
}

int main(void) {
  use();
  hooks();
  gone();
  finalizers();
  lost();
  misuse();
  return 0;
}
