/* The connection becomes another protocol's: its stream gets reader and writer, with what has
** come already.
*/
#include <string.h>

#include "http.h"

int ml__http_detach(lua_State *L, ml_stream *s, ml_bytes *rest) {
  ml_reader *r;
  s->flags &= ~(uint32_t)ML_S_PAUSED;
  ml__streams_push(L, s, ML_LIMIT);
  r = lua_touserdata(L, -2);
  r->in = *rest;
  memset(rest, 0, sizeof *rest);
  if (s->flags & ML_S_EOF) ml__reader_end(r);
  return 2;
}

static int detach(lua_State *L, ml_hconn *c) {
  ml_bytes rest;
  ml__hconn_forget(L, c); /* the end of what follows is not seen here */
  ml__hconn_leave(c, &rest);
  c->in = rest; /* the connection's, until somebody has it */
  return ml__http_detach(L, c->s, &c->in);
}

/* conn:detach(): reader and writer; for a peer that speaks something else */
int ml__hconn_detach(lua_State *L) {
  ml_hconn *c = ml__checkhconn(L, 1);
  if ((c->flags & (ML_HC_OVER | ML_HC_LINGER)) || (c->s->flags & ML_S_CLOSING))
    return ml__misuse(L, "RuntimeError", "detach(): the connection is closed");
  if (c->h2 != NULL)
    return ml__misuse(L, "RuntimeError", "detach(): the connection is one of HTTP/2");
  if (c->flags & ML_HC_BUSY)
    return ml__misuse(L, "RuntimeError", "detach(): a request is being served");
  return detach(L, c);
}

static int x_upgrade(lua_State *L) {
  ml_hconn *c = ml__respond_upgrade(L);
  return detach(L, c);
}

const luaL_Reg ml__upgrade_methods[] = {{"upgrade", x_upgrade}, {NULL, NULL}};
