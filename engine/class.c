/* Classes of the host: its objects as scripts see them.
**
** An object is a userdata with the host's pointer in it; a table of weak values finds it by
** that pointer, so that it is one and the same for scripts while they hold it. A pointer that
** is NULL: the object is gone. ML_R_OBJECTS has, by the address of the host's ml_class, a
** table of what belongs to the class (the CD_* places). The table of methods is the global
** of the class's name: scripts may add their own.
*/
#include <string.h>

#include "core.h"

struct ml_classdef { /* a userdata, which lives as long as the engine */
  const ml_class *key;
  const ml_classdef *parent;
  void (*finalize)(void *object, void *ud);
  void *ud;
  char name[1];
};

typedef struct hosted {
  ml_object obj;
  const ml_classdef *cls;
  void *ptr; /* NULL: gone */
} hosted;

/* What belongs to a class; those from CD_GETTERS on are inherited. */
enum {
  CD_DEF = 1,
  CD_META,
  CD_OBJECTS, /* weak values: light pointer -> object */
  CD_OWNED,   /* light pointer -> its hosted, light, until it is finalized; of classes that do */
  CD_METHODS, /* name -> function */
  CD_GETTERS, /* name -> host function; so are the setters */
  CD_SETTERS,
  CD_INDEX, /* host functions, or nil */
  CD_NEWINDEX,
  CD_TOSTRING,
  CD_EQUAL,
  CD_CLOSE,
  CD_LAST = CD_CLOSE
};

/* ---- objects ---- */

static hosted *to_hosted(lua_State *L, int idx) {
  ml_object *o = ml__toobject(L, idx);
  return o != NULL && o->type == ML_T_HOSTED ? (hosted *)o : NULL;
}

static bool is_a(const ml_classdef *c, const ml_class *key) {
  while (c != NULL && c->key != key) c = c->parent;
  return c != NULL;
}

const char *ml__object_type(lua_State *L, int idx, bool *gone) {
  const hosted *o = to_hosted(L, idx);
  if (gone != NULL) *gone = o != NULL && o->ptr == NULL;
  if (o != NULL) return o->cls->name;
  return lua_isnone(L, idx) ? "no value" : luaL_typename(L, idx);
}

void *ml__object_check(lua_State *L, int idx, const ml_hostfn *d) {
  const hosted *o = to_hosted(L, idx);
  if (o == NULL || !is_a(o->cls, d->cls->key))
    ml__error(L, "TypeError", "%s: an object of %s expected, got %s (is it called with a colon?)",
              d->name, d->cls->name, ml__object_type(L, idx, NULL));
  else if (o->ptr == NULL)
    ml__error(L, "RuntimeError", "%s: the object is gone", d->name);
  return o != NULL ? o->ptr : NULL;
}

bool ml__object_value(lua_State *L, int idx, ml_value *v) {
  const hosted *o = to_hosted(L, idx);
  if (o == NULL) return false;
  v->type = ML_USERDATA;
  v->u.obj.ptr = o->ptr;
  v->u.obj.cls = o->cls->key;
  v->u.obj.ref = 0;
  return true;
}

/* Pushes what belongs to the class; false, and nil: it is not defined. */
static bool push_class(lua_State *L, const ml_class *key) {
  ml__ref_get(L, ML_R_OBJECTS);
  if (lua_istable(L, -1))
    lua_rawgetp(L, -1, key);
  else
    lua_pushnil(L);
  lua_remove(L, -2);
  return lua_istable(L, -1);
}

const char *ml__object_unfit(lua_State *L, int idx, const ml_class *key) {
  const hosted *o = to_hosted(L, idx);
  const ml_classdef *c;
  if (o != NULL && is_a(o->cls, key) && o->ptr != NULL) return NULL;
  if (!push_class(L, key)) {
    lua_pop(L, 1);
    return "object of a class that is not defined";
  }
  lua_rawgeti(L, -1, CD_DEF);
  c = lua_touserdata(L, -1);
  lua_pop(L, 2);
  return c->name;
}

/* The object at that address that is still to be finalized, or NULL: then out of reach of scripts,
** too, while it waits for the collector. The class is at idx. */
static hosted *owned(lua_State *L, int cls, void *ptr) {
  hosted *o;
  lua_rawgeti(L, cls, CD_OWNED);
  lua_rawgetp(L, -1, ptr);
  o = lua_touserdata(L, -1);
  lua_pop(L, 2);
  return o;
}

/* Nobody finalizes what is at that address any more. */
static void disown(lua_State *L, int cls, void *ptr) {
  lua_rawgeti(L, cls, CD_OWNED);
  lua_pushnil(L);
  lua_rawsetp(L, -2, ptr);
  lua_pop(L, 1);
}

/* Takes note that o will be finalized; another object for the same address will not be any more. */
static void own(lua_State *L, int cls, hosted *o, void *ptr) {
  hosted *before = owned(L, cls, ptr);
  lua_rawgeti(L, cls, CD_OWNED);
  lua_pushlightuserdata(L, o);
  lua_rawsetp(L, -2, ptr);
  lua_pop(L, 1);
  if (before != NULL) before->ptr = NULL;
}

/* Pushes the object that scripts have at that address, or nil. The class is at idx. */
static hosted *push_known(lua_State *L, int cls, void *ptr) {
  hosted *o;
  lua_rawgeti(L, cls, CD_OBJECTS);
  lua_rawgetp(L, -1, ptr);
  lua_remove(L, -2);
  o = to_hosted(L, -1);
  return o != NULL && o->ptr == ptr ? o : NULL;
}

void ml__object_push(lua_State *L, const ml_class *key, void *ptr) {
  int cls;
  hosted *o;
  luaL_checkstack(L, 6, "object");
  if (ptr == NULL || !push_class(L, key)) {
    if (ptr == NULL) lua_pushnil(L);
    return;
  }
  cls = lua_gettop(L);
  if (push_known(L, cls, ptr) == NULL) {
    lua_pop(L, 1);
    lua_rawgeti(L, cls, CD_OBJECTS);
    o = lua_newuserdatauv(L, sizeof *o, 0);
    memset(o, 0, sizeof *o);
    o->obj.magic = &ml__magic;
    o->obj.type = ML_T_HOSTED;
    lua_rawgeti(L, cls, CD_DEF);
    o->cls = lua_touserdata(L, -1);
    lua_pop(L, 1);
    lua_rawgeti(L, cls, CD_META);
    lua_setmetatable(L, -2);
    if (o->cls->finalize != NULL) ml__finalized(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, ptr);
    if (o->cls->finalize != NULL) own(L, cls, o, ptr);
    o->ptr = ptr; /* from here on it is the script's */
    lua_remove(L, -2);
  }
  lua_remove(L, cls);
}

/* The host's object is destroyed by its class, which is at idx. */
static void finalize(lua_State *L, int cls, hosted *o) {
  void *ptr = o->ptr;
  if (ptr == NULL || o->cls->finalize == NULL) return;
  disown(L, cls, ptr);
  o->ptr = NULL;
  o->cls->finalize(ptr, o->cls->ud);
}

/* upvalue 1: the class */
static int object_gc(lua_State *L) {
  hosted *o = to_hosted(L, 1);
  if (o != NULL && o->cls != NULL) finalize(L, lua_upvalueindex(1), o);
  return 0;
}

int ml__objects_close(lua_State *L) {
  lua_settop(L, 0);
  if (ml__ref_get(L, ML_R_OBJECTS) != LUA_TTABLE) return 0;
  for (lua_pushnil(L); lua_next(L, 1) != 0; lua_settop(L, 2)) {
    lua_rawgeti(L, 3, CD_OBJECTS);
    for (lua_pushnil(L); lua_next(L, 4) != 0; lua_settop(L, 5)) {
      hosted *o = to_hosted(L, 6);
      if (o != NULL) finalize(L, 3, o);
      if (o != NULL) o->ptr = NULL;
    }
  }
  lua_pushboolean(L, 0);
  ml__ref_set(L, ML_R_OBJECTS);
  return 0;
}

/* ---- metamethods: upvalue 1 is the class ---- */

static const ml_hostfn *place(lua_State *L, int where) {
  const ml_hostfn *d;
  lua_rawgeti(L, lua_upvalueindex(1), where);
  d = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return d;
}

/* The host function that a table of the class has for the key at index 2, or NULL. */
static const ml_hostfn *accessor(lua_State *L, int where) {
  const ml_hostfn *d;
  lua_rawgeti(L, lua_upvalueindex(1), where);
  lua_pushvalue(L, 2);
  lua_rawget(L, -2);
  d = lua_touserdata(L, -1);
  lua_pop(L, 2);
  return d;
}

/* Calls d with the object at index 1. */
static int call_with_self(lua_State *L, const ml_hostfn *d, int skip) {
  return ml__host_call(L, d, ml__object_check(L, 1, d), skip);
}

/* (object, key) */
static int object_index(lua_State *L) {
  const ml_hostfn *d;
  lua_settop(L, 2);
  lua_rawgeti(L, lua_upvalueindex(1), CD_METHODS);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, 3) != LUA_TNIL) return 1;
  lua_settop(L, 2);
  d = accessor(L, CD_GETTERS);
  if (d != NULL) return call_with_self(L, d, 2);
  d = place(L, CD_INDEX);
  return d != NULL ? call_with_self(L, d, 1) : 0;
}

/* (object, key, value) */
static int object_newindex(lua_State *L) {
  const ml_hostfn *d;
  const ml_classdef *c;
  lua_settop(L, 3);
  d = accessor(L, CD_SETTERS);
  if (d != NULL) return call_with_self(L, d, 2);
  if (accessor(L, CD_GETTERS) == NULL) {
    d = place(L, CD_NEWINDEX);
    if (d != NULL) return call_with_self(L, d, 1);
  }
  c = (const ml_classdef *)(const void *)place(L, CD_DEF);
  return ml__error(L, "TypeError", "%s: '%s' cannot be set", c->name, luaL_tolstring(L, 2, NULL));
}

static int object_tostring(lua_State *L) {
  const ml_hostfn *d = place(L, CD_TOSTRING);
  const hosted *o = to_hosted(L, 1);
  if (o == NULL) return luaL_argerror(L, 1, "object expected");
  lua_settop(L, 1);
  if (d != NULL && o->ptr != NULL) {
    if (call_with_self(L, d, 1) == 0) lua_pushnil(L);
    return 1;
  }
  if (o->ptr != NULL)
    lua_pushfstring(L, "%s: %p", o->cls->name, o->ptr);
  else
    lua_pushfstring(L, "%s: gone", o->cls->name);
  return 1;
}

/* Objects of the class, which one of them need not be. */
static int object_eq(lua_State *L) {
  const ml_hostfn *d = place(L, CD_EQUAL);
  const hosted *a = to_hosted(L, 1), *b = to_hosted(L, 2);
  lua_settop(L, 2);
  if (d == NULL || a == NULL || b == NULL || a->ptr == NULL || b->ptr == NULL ||
      !is_a(a->cls, d->cls->key) || !is_a(b->cls, d->cls->key)) {
    lua_pushboolean(L, lua_rawequal(L, 1, 2));
    return 1;
  }
  return call_with_self(L, d, 1);
}

static int object_close(lua_State *L) {
  const ml_hostfn *d = place(L, CD_CLOSE);
  hosted *o = to_hosted(L, 1);
  if (o == NULL || o->ptr == NULL) return 0;
  lua_settop(L, 2);
  if (d != NULL) return call_with_self(L, d, 1);
  finalize(L, lua_upvalueindex(1), o);
  o->ptr = NULL;
  return 0;
}

static int call_method(lua_State *L) {
  return call_with_self(L, lua_touserdata(L, lua_upvalueindex(1)), 1);
}

/* Class(...): the class itself comes first */
static int call_construct(lua_State *L) {
  const ml_hostfn *d = lua_touserdata(L, lua_upvalueindex(1));
  return ml__host_call(L, d, NULL, 1);
}

/* ---- defining ---- */

typedef struct class_arg {
  const ml_class *key; /* what the host calls it by */
  ml_class cls;
} class_arg;

/* Pushes the host function "CLASS<sep>NAME". */
static void push_fn(lua_State *L, ml_classdef *def, const char *sep, const char *name, ml_fn fn) {
  lua_pushfstring(L, "%s%s%s", def->name, sep, name);
  ml__push_hostfn(L, lua_tostring(L, -1), fn, def->ud, def);
  lua_remove(L, -2);
}

/* The table of the new class (at index 3) at `where`; what the parent's (at 2) has is in it. */
static void inherit(lua_State *L, int where) {
  lua_newtable(L);
  if (lua_istable(L, 2) && lua_rawgeti(L, 2, where) == LUA_TTABLE)
    for (lua_pushnil(L); lua_next(L, 5) != 0;) {
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, 4);
    }
  lua_settop(L, 4);
  lua_pushvalue(L, 4);
  lua_rawseti(L, 3, where);
}

static void define_methods(lua_State *L, const ml_class *c, ml_classdef *def) {
  inherit(L, CD_METHODS); /* at 4 */
  for (const ml_method *m = c->methods; m != NULL && m->name != NULL; m++) {
    push_fn(L, def, ":", m->name, m->fn);
    if (m->async)
      ml__push_later(L);
    else
      lua_pushcclosure(L, call_method, 1);
    lua_setfield(L, 4, m->name);
  }
  lua_settop(L, 3);
}

static void define_properties(lua_State *L, const ml_class *c, ml_classdef *def, bool set) {
  inherit(L, set ? CD_SETTERS : CD_GETTERS); /* at 4 */
  for (const ml_property *p = c->properties; p != NULL && p->name != NULL; p++) {
    ml_fn fn = set ? p->set : p->get;
    if (fn == NULL) continue;
    push_fn(L, def, ".", p->name, fn);
    lua_setfield(L, 4, p->name);
  }
  lua_settop(L, 3);
}

static void define_hooks(lua_State *L, const ml_class *c, ml_classdef *def) {
  const struct {
    int where;
    const char *name;
    ml_fn fn;
  } hooks[] = {{CD_INDEX, "__index", c->index},
               {CD_NEWINDEX, "__newindex", c->newindex},
               {CD_TOSTRING, "__tostring", c->tostring},
               {CD_EQUAL, "__eq", c->equal},
               {CD_CLOSE, "__close", c->close}};
  for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
    if (hooks[i].fn != NULL)
      push_fn(L, def, ".", hooks[i].name, hooks[i].fn);
    else if (lua_istable(L, 2))
      lua_rawgeti(L, 2, hooks[i].where);
    else
      lua_pushnil(L);
    lua_rawseti(L, 3, hooks[i].where);
  }
}

static void define_metatable(lua_State *L, const ml_classdef *def) {
  static const luaL_Reg meta[] = {{"__index", object_index},       {"__newindex", object_newindex},
                                  {"__tostring", object_tostring}, {"__eq", object_eq},
                                  {"__close", object_close},       {NULL, NULL}};
  lua_createtable(L, 0, 8); /* 4 */
  lua_pushvalue(L, 3);
  luaL_setfuncs(L, meta, 1);
  lua_pushstring(L, def->name);
  lua_setfield(L, 4, "__name");
  if (def->finalize != NULL) {
    lua_pushvalue(L, 3);
    lua_pushcclosure(L, object_gc, 1);
    lua_setfield(L, 4, "__gc");
  }
  ml__guard_metatable(L);
  lua_rawseti(L, 3, CD_META);
  ml__push_weak(L, "v");
  lua_rawseti(L, 3, CD_OBJECTS);
  lua_newtable(L);
  lua_rawseti(L, 3, CD_OWNED);
}

/* The table of methods becomes the global, which may be called. */
static void define_global(lua_State *L, const ml_class *c, ml_classdef *def) {
  lua_rawgeti(L, 3, CD_METHODS); /* 4 */
  lua_createtable(L, 0, 2);
  lua_pushfstring(L, "class %s", def->name);
  lua_setfield(L, -2, "__name");
  if (c->construct != NULL) {
    ml__push_hostfn(L, def->name, c->construct, def->ud, NULL);
    lua_pushcclosure(L, call_construct, 1);
    lua_setfield(L, -2, "__call");
  }
  lua_setmetatable(L, 4);
  ml__global_set(L, def->name);
}

/* [class_arg] */
static int define_class(lua_State *L) {
  const class_arg *a = lua_touserdata(L, 1);
  const ml_class *c = &a->cls;
  ml_classdef *def;
  lua_settop(L, 1);
  if (push_class(L, a->key))
    return ml__error(L, "ValueError", "the class %s is defined already", c->name);
  lua_settop(L, 1);
  if (c->parent == NULL)
    lua_pushnil(L);
  else if (!push_class(L, c->parent))
    return ml__error(L, "ValueError", "the parent of %s is not defined", c->name);
  lua_createtable(L, CD_LAST, 0); /* 3 */
  def = lua_newuserdatauv(L, sizeof *def + strlen(c->name), 0);
  memset(def, 0, sizeof *def);
  def->key = a->key;
  def->ud = c->ud;
  def->finalize = c->finalize;
  strcpy(def->name, c->name);
  lua_rawseti(L, 3, CD_DEF);
  if (lua_istable(L, 2)) {
    lua_rawgeti(L, 2, CD_DEF);
    def->parent = lua_touserdata(L, -1);
    if (def->finalize == NULL) def->finalize = def->parent->finalize;
    lua_pop(L, 1);
  }
  define_methods(L, c, def);
  define_properties(L, c, def, false);
  define_properties(L, c, def, true);
  define_hooks(L, c, def);
  define_metatable(L, def);
  define_global(L, c, def);
  if (ml__ref_get(L, ML_R_OBJECTS) != LUA_TTABLE) { /* the first class */
    lua_newtable(L);
    lua_pushvalue(L, -1);
    ml__ref_set(L, ML_R_OBJECTS);
  }
  lua_pushvalue(L, 3);
  lua_rawsetp(L, -2, a->key);
  return 0;
}

static bool class_ok(const ml_class *c) {
  if (c->name == NULL || !ml__name_ok(c->name)) return false;
  for (const ml_method *m = c->methods; m != NULL && m->name != NULL; m++)
    if (m->fn == NULL) return false;
  for (const ml_property *p = c->properties; p != NULL && p->name != NULL; p++)
    if (p->get == NULL) return false;
  return true;
}

int ml_def_class(ml_engine *e, const ml_class *cls) {
  class_arg a;
  if (e == NULL || cls == NULL) return ML_EINVAL;
  memset(&a, 0, sizeof a);
  a.key = cls;
  if (!ml__struct_read(&a.cls, sizeof a.cls, cls, offsetof(ml_class, parent))) return ML_EINVAL;
  if (!class_ok(&a.cls)) return ML_EINVAL;
  return ml__refusal(e) < 0 ? ml__refusal(e)
                            : ml__protected(e, ml__state(e), define_class, &a, 0, ML_EINVAL);
}

/* ---- objects for the host ---- */

typedef struct object_arg {
  const ml_class *cls;
  void *ptr;
  ml_value *out;
  int known;
} object_arg;

/* [object_arg] */
static int new_object(lua_State *L) {
  object_arg *a = lua_touserdata(L, 1);
  ml__object_push(L, a->cls, a->ptr);
  if (lua_isnil(L, -1)) return ml__error(L, "ValueError", "the class is not defined");
  ml__value_take(L, -1, a->out);
  return 0;
}

int ml_object_new(ml_engine *e, const ml_class *cls, void *object, ml_value *out) {
  object_arg a = {cls, object, out, 0};
  int rc;
  if (out != NULL) memset(out, 0, sizeof *out);
  if (e == NULL || cls == NULL || object == NULL || out == NULL) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  rc = ml__protected(e, ml__state(e), new_object, &a, 0, ML_EINVAL);
  if (rc < 0) memset(out, 0, sizeof *out);
  return rc;
}

/* [object_arg] */
static int lose_object(lua_State *L) {
  object_arg *a = lua_touserdata(L, 1);
  hosted *o;
  int cls;
  if (!push_class(L, a->cls)) return ml__error(L, "ValueError", "the class is not defined");
  cls = lua_gettop(L);
  o = push_known(L, cls, a->ptr);
  a->known = o != NULL;
  if (o == NULL) o = owned(L, cls, a->ptr);
  if (o == NULL) return 0;
  disown(L, cls, a->ptr);
  o->ptr = NULL;
  return 0;
}

int ml_object_gone(ml_engine *e, const ml_class *cls, void *object) {
  object_arg a = {cls, object, NULL, 0};
  int rc;
  if (e == NULL || cls == NULL || object == NULL) return ML_EINVAL;
  if (e->collecting) return ML_EBUSY;
  if (e->closing > 1) return ML_ECLOSED;
  rc = ml__protected(e, ml__state(e), lose_object, &a, 0, ML_EINVAL);
  return rc < 0 ? rc : a.known;
}
