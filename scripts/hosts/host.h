/* What the hosts in C share: values from C, errors for scripts, messages for the user.
** Everything is a few lines over moonloop.h; nothing is kept.
*/
#ifndef HOST_H
#define HOST_H

#include <moonloop.h>
#include <stdio.h>
#include <string.h>

static inline ml_value host_int(int64_t i) { return (ml_value){.type = ML_INT, .u.i = i}; }
static inline ml_value host_float(double n) { return (ml_value){.type = ML_FLOAT, .u.n = n}; }
static inline ml_value host_bool(int b) { return (ml_value){.type = ML_BOOL, .u.b = b}; }
static inline ml_value host_bytes(const char *s, size_t n) {
  return (ml_value){.type = ML_STRING, .u.str = {s, n, 0}};
}
static inline ml_value host_text(const char *s) { return host_bytes(s, strlen(s)); }

/* The i-th argument as text, or as a number; a code for anything else. */
static inline int host_arg_text(ml_call *c, int i, ml_value *out) {
  int err = ml_arg(c, i, out);
  if (err == 0 && out->type >= ML_OTHER) ml_value_free(ml_call_engine(c), out);
  return err < 0 ? err : out->type == ML_STRING ? 0 : ML_EINVAL;
}
static inline int host_arg_number(ml_call *c, int i, double *out) {
  ml_value v;
  int err = ml_arg(c, i, &v);
  if (err == 0 && v.type >= ML_OTHER) ml_value_free(ml_call_engine(c), &v);
  if (err < 0) return err;
  if (v.type != ML_INT && v.type != ML_FLOAT) return ML_EINVAL;
  *out = v.type == ML_INT ? (double)v.u.i : v.u.n;
  return 0;
}

/* `return host_refuse(c, "why")`, of a function that answers at once: a ValueError with that text. */
static inline int host_refuse(ml_call *c, const char *why) {
  ml_value v = host_text(why);
  int err = ml_return(c, &v, 1);
  return err < 0 ? err : ML_EINVAL;
}

/* A function of the engine's has answered `err`: says so on standard error. */
static inline void host_complain(const char *program, const char *doing, ml_engine *e, int err) {
  const ml_error *why = e != NULL ? ml_last_error(e, NULL) : NULL;
  fprintf(stderr, "%s: %s: %s\n", program, doing, why != NULL ? why->message : ml_strerror(err));
}

/* How a script's task has ended: 0, or 1 and its error on standard error. */
static inline int host_verdict(const char *program, ml_task *t) {
  const ml_error *why = ml_task_error(t);
  switch (ml_task_status(t)) {
  case ML_DONE: return 0;
  case ML_PENDING: fprintf(stderr, "%s: the script has not ended\n", program); return 1;
  default:
    fprintf(stderr, "%s: %s\n%s\n", program, why != NULL ? why->message : "out of memory",
            why != NULL ? why->traceback : "");
    return 1;
  }
}

/* ml_def and ml_def_async for a list of functions that share their ud. */
typedef struct host_function {
  const char *name;
  ml_fn now;
  ml_async_fn later; /* if now is NULL */
} host_function;

static inline int host_define(ml_engine *e, const host_function *list, void *ud) {
  int err = 0;
  for (; err == 0 && list->name != NULL; list++)
    err = list->now != NULL ? ml_def(e, list->name, list->now, ud)
                            : ml_def_async(e, list->name, list->later, ud);
  return err;
}

#endif
