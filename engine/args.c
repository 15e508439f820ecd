/* ml_args: the arguments of a host function, all at once: checked by the letters of a format
** first, and stored only if all of them fit.
*/
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

/* What the letter expects, or NULL if the value on top of L is that. */
static const char *unfit(lua_State *L, char letter, const ml_class *cls) {
  int isint = 1;
  switch (letter) {
  case 'b': return lua_isboolean(L, -1) ? NULL : "boolean";
  case 'i':
    if (lua_type(L, -1) != LUA_TNUMBER) return "integer";
    lua_tointegerx(L, -1, &isint);
    return isint ? NULL : "integer";
  case 'n': return lua_type(L, -1) == LUA_TNUMBER ? NULL : "number";
  case 's':
  case 'S': return lua_type(L, -1) == LUA_TSTRING ? NULL : "string";
  case 't': return lua_istable(L, -1) ? NULL : "table";
  case 'f': return lua_isfunction(L, -1) ? NULL : "function";
  case 'v': return NULL;
  default: return ml__object_unfit(L, -1, cls);
  }
}

/* Are the arguments what the letters say? The va_list has where they go. */
static int check_args(ml_call *c, const char *types, va_list ap) {
  bool optional = false;
  int i = 0;
  for (const char *p = types; *p != '\0'; p++) {
    const ml_class *cls = NULL;
    const char *expected;
    lua_State *L;
    int rc;
    if (*p == '|') {
      optional = true;
      continue;
    }
    if (strchr("binsStfvo", *p) == NULL) return ML_EINVAL;
    if (*p == 'o') cls = va_arg(ap, const ml_class *);
    (void)va_arg(ap, void *);
    if (*p == 'S') (void)va_arg(ap, size_t *);
    rc = ml__arg_push(c, i, &L);
    if (rc < 0) return rc;
    expected = optional && lua_isnil(L, -1) ? NULL : unfit(L, *p, cls);
    if (expected != NULL) {
      char text[120];
      bool gone = false;
      const char *got = i >= ml_argc(c) ? "no value" : ml__object_type(L, -1, &gone);
      if (gone) {
        snprintf(text, sizeof text, "%s that is gone", got);
        got = text;
      }
      rc = ml__arg_wrong(c, i, expected, got);
      lua_pop(L, 1);
      return rc;
    }
    lua_pop(L, 1);
    i++;
  }
  return 0;
}

/* The places for a value come next in *ap. */
static void store(char letter, const ml_value *v, va_list *ap) {
  switch (letter) {
  case 'b': *va_arg(*ap, int *) = v->u.b; break;
  case 'i': *va_arg(*ap, int64_t *) = v->type == ML_INT ? v->u.i : (int64_t)v->u.n; break;
  case 'n': *va_arg(*ap, double *) = v->type == ML_INT ? (double)v->u.i : v->u.n; break;
  case 's': *va_arg(*ap, const char **) = v->u.str.s; break;
  case 'S':
    *va_arg(*ap, const char **) = v->u.str.s;
    *va_arg(*ap, size_t *) = v->u.str.len;
    break;
  case 'o':
    (void)va_arg(*ap, const ml_class *);
    *va_arg(*ap, void **) = v->u.obj.ptr;
    break;
  default: *va_arg(*ap, ml_value *) = *v;
  }
}

static int take_args(ml_call *c, const char *types, va_list *ap) {
  int i = 0;
  for (const char *p = types; *p != '\0'; p++) {
    ml_value v;
    int rc;
    if (*p == '|') continue;
    rc = ml_arg(c, i++, &v);
    if (rc == ML_ENOMEM) return rc;
    if (v.type != ML_NIL || *p == 'v')
      store(*p, &v, ap);
    else { /* not given: nothing is stored */
      if (*p == 'o') (void)va_arg(*ap, const ml_class *);
      (void)va_arg(*ap, void *);
      if (*p == 'S') (void)va_arg(*ap, size_t *);
    }
  }
  return 0;
}

int ml_args(ml_call *c, const char *types, ...) {
  va_list ap, again;
  int rc;
  if (c == NULL || types == NULL) return ML_EINVAL;
  va_start(ap, types);
  va_copy(again, ap);
  rc = check_args(c, types, ap);
  if (rc == 0) rc = take_args(c, types, &again);
  va_end(again);
  va_end(ap);
  return rc;
}
