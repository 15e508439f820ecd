/* ml_pack and ml_unpack: values between engines for hosts, and the buffers they go in. */
#include <stdlib.h>
#include <string.h>

#include "pack.h"

static const ml_packing plain = {0};

typedef struct pack_arg {
  const ml_value *in;
  ml_value *out;
  ml_buf *buf;
  const void *p;
  size_t n;
} pack_arg;

/* [pack_arg] */
static int do_pack(lua_State *L) {
  pack_arg *a = lua_touserdata(L, 1);
  ml__value_push(L, a->in);
  if (ml__pack(L, lua_gettop(L), 1, &plain, a->buf) == 0) return 0;
  return ml__error(L, "TypeError", "cannot copy %s", lua_tostring(L, -1));
}

/* [pack_arg] */
static int do_unpack(lua_State *L) {
  pack_arg *a = lua_touserdata(L, 1);
  int n = ml__unpack(L, a->p, a->n, &plain);
  if (n != 1) return ml__error(L, "ValueError", "%d packed values, not one", n);
  ml__value_take(L, lua_gettop(L), a->out);
  return 0;
}

int ml_pack(ml_engine *e, const ml_value *v, ml_buf *out) {
  pack_arg a = {.in = v, .buf = out};
  size_t len = out != NULL ? out->len : 0;
  bool empty = out != NULL && out->data == NULL;
  int rc;
  if (e == NULL || v == NULL || out == NULL) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  rc = ml__protected(e, ml__state(e), do_pack, &a, 0, ML_EINVAL);
  if (rc < 0) out->len = len;
  if (rc < 0 && empty) ml_buf_free(out);
  return rc;
}

int ml_unpack(ml_engine *e, const void *p, size_t n, ml_value *out) {
  pack_arg a = {.out = out, .p = p, .n = n};
  if (out != NULL) memset(out, 0, sizeof *out);
  if (e == NULL || p == NULL || out == NULL) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  return ml__protected(e, ml__state(e), do_unpack, &a, 0, ML_EINVAL);
}

/* ---- buffers ---- */

int ml_buf_add(ml_buf *b, const void *p, size_t n) {
  if (b == NULL || (p == NULL && n > 0)) return ML_EINVAL;
  if (n > b->cap - b->len) {
    size_t cap = b->len + n + b->cap / 2 + 256;
    char *data = cap > n ? realloc(b->data, cap) : NULL;
    if (data == NULL) return ML_ENOMEM;
    b->data = data;
    b->cap = cap;
  }
  if (n > 0) memcpy(b->data + b->len, p, n);
  b->len += n;
  return 0;
}

void ml_buf_free(ml_buf *b) {
  if (b == NULL) return;
  free(b->data);
  memset(b, 0, sizeof *b);
}
