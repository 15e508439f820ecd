/* What the connection does beside reading responses: files go out by the kernel (see
** http_sendfile.c), another protocol takes the stream over.
*/
#include "hc.h"

/* ---- files ---- */

/* x:_sendfile(file, offset, count, lent) -> bytes sent, what is in the way: as the server's */
static int x_sendfile(lua_State *L) {
  ml_hcconn *c = ml__checkhcsending(L, "sendfile");
  uint64_t n = ml__hsendfile_check(L, c->s);
  size_t sent = 0;
  const char *why = "copy";
  if (!(c->flags & ML_CC_CHUNKED)) {
    if (n > c->left)
      return ml__misuse(L, "ValueError", "sendfile: %I bytes more than the request's length",
                        (LUAI_UACINT)(n - c->left));
    why = ml__hsendfile(L, c->s, &sent);
    c->left -= sent;
  }
  lua_pushinteger(L, (lua_Integer)sent);
  lua_pushstring(L, why);
  return 2;
}

/* x:_lend() -> a Socket of a duplicate of the descriptor, how long to wait for the peer: for ever,
** the exchange has its deadlines; nothing may be written until x:_unlend */
static int x_lend(lua_State *L) {
  ml_hcconn *c = ml__checkhcsending(L, "sendfile");
  if (!ml__hsendfile_lend(L, c->s)) return 0;
  lua_pushnumber(L, -1);
  return 2;
}

/* x:_unlend(n): it is given back, n bytes were sent through it; whatever has become of the exchange */
static int x_unlend(lua_State *L) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  lua_Integer n = luaL_checkinteger(L, 2);
  ml_hcconn *c = x->c;
  c->s->flags &= ~(uint32_t)ML_S_LENT;
  if (ml__hcexchange_current(x) && n > 0) c->left -= (uint64_t)n < c->left ? (uint64_t)n : c->left;
  return 0;
}

static int x_cork(lua_State *L) {
  const ml_hcexchange *x = ml__checkhcexchange(L, 1);
  if (!(x->c->flags & (ML_CC_OVER | ML_CC_UPGRADED)))
    ml__hsendfile_cork(x->c->s, lua_toboolean(L, 2));
  return 0;
}

/* ---- another protocol ---- */

/* x:upgrade(): reader and writer, after 101 or what CONNECT was answered by */
static int x_upgrade(lua_State *L) {
  ml_hcconn *c = ml__checkhccurrent(L, "upgrade");
  ml_stream *s = c->s;
  if (!(c->flags & ML_CC_TUNNEL) || c->head != NULL)
    return ml__misuse(L, "RuntimeError",
                      "upgrade(): the server has not answered that it changes the protocol");
  if (!(c->flags & ML_CC_SENT))
    return ml__misuse(L, "RuntimeError", "upgrade(): the request has not been sent to its end");
  if (c->fail != ML_CF_NONE) {
    ml__hcexchange_failure(L, c);
    return lua_error(L);
  }
  if ((c->flags & ML_CC_OVER) || (s->flags & ML_S_CLOSING)) ml__http_raise_gone(L, "upgrade");
  ml__http_detach(L, s, &c->rest);
  ml__hcconn_stop(c);
  ml__list_remove(&c->done.link);
  c->x->taken = true;
  c->x = NULL;
  c->flags |= ML_CC_OVER | ML_CC_UPGRADED;
  c->flags &= ~(uint32_t)ML_CC_BUSY;
  return 2;
}

const luaL_Reg ml__hctransfer_methods[] = {{"_cork", x_cork},      {"_sendfile", x_sendfile},
                                           {"_lend", x_lend},      {"_unlend", x_unlend},
                                           {"upgrade", x_upgrade}, {NULL, NULL}};
