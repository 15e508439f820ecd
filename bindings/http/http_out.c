/* What a message of HTTP/1 is sent with: its head is put together in a buffer of the engine's,
** a small body behind it, and both leave in one write, which is tried at once. A script's
** headers are checked on the way: no name and no value can begin a line of its own.
*/
#include "http.h"

#define SMALL 4096 /* bodies up to here are copied behind the head */

void ml__hout_room(lua_State *L, ml_http *h, size_t n) {
  size_t cap = h->capout;
  char *p;
  if (h->nout + n <= cap) return;
  while (cap < h->nout + n) cap = cap == 0 ? 8192 : 2 * cap;
  p = ml__alloc(h->net->engine->alloc, h->out, h->capout, cap);
  if (p == NULL) luaL_error(L, "not enough memory");
  h->out = p;
  h->capout = cap;
}

void ml__hout_number(ml_http *h, uint64_t v) {
  char buf[24], *p = buf + sizeof buf;
  do *--p = (char)('0' + v % 10);
  while ((v /= 10) > 0);
  ml__hout_put(h, p, (size_t)(buf + sizeof buf - p));
}

void ml__hout_hex(ml_http *h, size_t v) {
  char buf[24], *p = buf + sizeof buf;
  do *--p = "0123456789abcdef"[v & 15];
  while ((v >>= 4) > 0);
  ml__hout_put(h, p, (size_t)(buf + sizeof buf - p));
}

/* Is the token in the comma-separated list? */
static bool has_token(const char *s, size_t n, const char *token) {
  size_t k = strlen(token);
  for (size_t i = 0; i < n;) {
    size_t end;
    while (i < n && (s[i] == ' ' || s[i] == '\t' || s[i] == ',')) i++;
    for (end = i; end < n && s[end] != ',' && s[end] != ' ' && s[end] != '\t';) end++;
    if (end - i == k && ml__name_equals(s + i, k, token, k)) return true;
    i = end;
    if (k == 0) break;
  }
  return false;
}

/* Headers that are the connection's affair as well. */
static void note(lua_State *L, const char *fname, const ml_hline *line, ml_htold *t) {
  const char *name = line->name;
  switch (line->nname) {
  case 4:
    if (ml__name_equals(name, 4, "date", 4)) t->date = true;
    if (ml__name_equals(name, 4, "host", 4)) t->host = true;
    break;
  case 6:
    if (ml__name_equals(name, 6, "server", 6)) t->server = true;
    if (ml__name_equals(name, 6, "expect", 6) &&
        ml__name_equals(line->value, line->nvalue, "100-continue", 12))
      t->expect = true;
    break;
  case 10:
    if (!ml__name_equals(name, 10, "connection", 10)) break;
    t->connection = true;
    if (has_token(line->value, line->nvalue, "close")) t->close = true;
    break;
  case 14:
    if (!ml__name_equals(name, 14, "content-length", 14)) break;
    t->n = ml__http_length(L, fname, line, t->length);
    t->length = true;
    break;
  default: break;
  }
}

void ml__hout_headers(lua_State *L, ml_http *h, int idx, const char *fname, ml_htold *t) {
  lua_Integer n = ml__http_lines(L, idx, fname);
  memset(t, 0, sizeof *t);
  for (lua_Integer i = 1; i < n; i += 2) {
    ml_hline line;
    ml__http_line(L, h, idx, i, fname, &line);
    note(L, fname, &line, t);
    ml__hout_room(L, h, line.nname + line.nvalue + 4);
    ml__hout_put(h, line.name, line.nname);
    ML_HOUT_PUT(h, ": ");
    ml__hout_put(h, line.value, line.nvalue);
    ML_HOUT_PUT(h, "\r\n");
    lua_pop(L, 2);
  }
}

void ml__hout_send(lua_State *L, ml_http *h, ml_stream *s, const char *p, size_t n, const char *end,
                   size_t nend) {
  uv_buf_t bufs[3] = {{.base = h->out, .len = h->nout},
                      {.base = (char *)p, .len = n},
                      {.base = (char *)end, .len = nend}};
  unsigned k = n == 0 ? 1 : nend == 0 ? 2 : 3;
  int rc;
  if (n + nend <= SMALL) {
    ml__hout_room(L, h, n + nend);
    ml__hout_put(h, p, n);
    ml__hout_put(h, end, nend);
    bufs[0] = (uv_buf_t){.base = h->out, .len = h->nout};
    k = 1;
  }
  h->nout = 0;
  rc = ml__stream_write(L, s, bufs, k);
  if (rc < 0) luaL_error(L, "not enough memory");
}
