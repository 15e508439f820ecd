/* What connections read into: slabs, and the bytes that wait for their reader.
**
** libuv reads into one slab for the whole engine. Few bytes are copied from it
** into a block of their size; when they fill much of it the slab itself is
** handed over and the next read gets another. A connection without unread
** bytes holds no memory for them.
*/
#include <string.h>

#include "fdwatch.h"

static const char net_key;

static int net_gc(lua_State *L) {
  ml_net *net = lua_touserdata(L, 1);
  net->maxspare = 0;
  ml__dns_orphan(net);
  ml__filejobs_orphan(net, NULL);
  while (!ml__list_empty(&net->streams)) {
    ml_stream *s = ml__containerof(net->streams.next, ml_stream, all);
    s->refs = 1;
    ml__stream_unref(s);
  }
  ml__outbox_free(net->engine);
  ml__dgrams_free(net);
  ml__alloc(net->engine->alloc, net->piece, net->piece != NULL ? ML_PIECE : 0, 0);
  net->piece = NULL;
  while (net->nspare > 0) ml__strbuf_free(net->engine->alloc, net->spare[--net->nspare], ML_SLAB);
  ml__strbuf_free(net->engine->alloc, net->slab, ML_SLAB);
  net->slab = NULL;
  ml__orphans_free(net);
  ml__signals_free(net);
  ml__fdwatches_free(net);
  return 0;
}

/* The loop is the host's: only what is ours is closed. */
static void close_handles(lua_State *L, ml_evloop *l) {
  ml_net *net = ml__net(L);
  for (ml_link *n = net->streams.next, *next; n != &net->streams; n = next) {
    ml_stream *s = ml__containerof(n, ml_stream, all);
    next = n->next;
    if (s->loop != l || (s->flags & ML_S_CLOSED) || ml__stream_gone(s)) continue;
    ml__stream_ref(s);
    ml__stream_shut(s);
    next = n->next;
    ml__stream_unref(s);
  }
  ml__dgrams_close(net, l);
  ml__listeners_end(net, l);
  ml__processes_close(net, l);
  ml__signals_close(net, l);
  ml__filejobs_orphan(net, l);
  ml__fdwatches_close(net, l);
  ml__dns_orphan(net);
  ml__stdio_leave(L, l);
  if (net->close_next != NULL) net->close_next(L, l);
}

static size_t count(const ml_link *list) {
  size_t n = 0;
  for (const ml_link *k = list->next; k != list; k = k->next) n++;
  return n;
}

/* A stream that is closed is listed until nobody looks at it any more. */
static size_t streams_open(const ml_net *net) {
  size_t n = 0;
  for (const ml_link *k = net->streams.next; k != &net->streams; k = k->next) {
    const ml_stream *s = ml__containerof(k, const ml_stream, all);
    if (!(s->flags & ML_S_CLOSED) && !ml__stream_gone(s)) n++;
  }
  return n;
}

static size_t count_handles(const ml_counter *c) {
  const ml_net *net = ml__containerof(c, const ml_net, counter);
  return streams_open(net) + ml__dgrams_open(net) + count(&net->listeners) + count(&net->signals) +
         ml__sockets_open(net) + ml__children_alive(net);
}

ml_net *ml__net(lua_State *L) {
  ml_net *net;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &net_key);
  net = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (net != NULL) return net;
  net = lua_newuserdatauv(L, sizeof *net, 0);
  memset(net, 0, sizeof *net);
  net->engine = ml__engine(L);
  net->maxspare = (int)(sizeof net->spare / sizeof net->spare[0]);
  ml__list_init(&net->dgrams);
  ml__list_init(&net->streams);
  ml__list_init(&net->listeners);
  ml__list_init(&net->followers);
  ml__list_init(&net->lookups);
  ml__list_init(&net->reapers);
  ml__list_init(&net->signals);
  ml__list_init(&net->filejobs);
  ml__list_init(&net->sockets);
  net->counter.count = count_handles;
  net->counter.next = net->engine->counters;
  net->engine->counters = &net->counter;
  net->close_next = net->engine->close_handles;
  net->engine->close_handles = close_handles;
  /* finalized after everything made later: connections rely on it */
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, net_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &net_key);
  ml__finalized(L);
  return net;
}

static char *block_new(ml_net *net, size_t size) {
  if (size == ML_SLAB && net->nspare > 0) return net->spare[--net->nspare];
  if (size == ML_SLAB) return ml__strbuf_new(net->engine->alloc, ML_SLAB);
  return ml__alloc(net->engine->alloc, NULL, 0, size);
}

static void block_free(ml_net *net, char *p, size_t size) {
  if (p == NULL) return;
  if (size == ML_SLAB && net->nspare < net->maxspare)
    net->spare[net->nspare++] = p;
  else if (size == ML_SLAB)
    ml__strbuf_free(net->engine->alloc, p, ML_SLAB);
  else
    ml__alloc(net->engine->alloc, p, size, 0);
}

char *ml__slab(ml_net *net) {
  if (net->slab == NULL) net->slab = block_new(net, ML_SLAB);
  return net->slab;
}

char *ml__piece(ml_net *net) {
  if (net->piece == NULL) net->piece = ml__alloc(net->engine->alloc, NULL, 0, ML_PIECE);
  return net->piece;
}

int ml__bytes_add(ml_net *net, ml_bytes *b, const char *p, size_t n) {
  if (n == 0) return 0;
  if (b->base == NULL && p == net->slab && n >= ML_SLAB / 2) {
    b->base = net->slab;
    b->cap = ML_SLAB;
    b->start = 0;
    b->len = n;
    net->slab = NULL;
    return 0;
  }
  if (b->base != NULL && b->start > 0 && b->start + b->len + n > b->cap && b->len + n <= b->cap &&
      b->len <= b->cap / 2) {
    memmove(b->base, b->base + b->start, b->len);
    b->start = 0;
  }
  if (b->base == NULL || b->start + b->len + n > b->cap) {
    size_t cap = b->len + n;
    char *q;
    if (b->base != NULL && cap < 2 * b->cap) cap = 2 * b->cap;
    q = block_new(net, cap);
    if (q == NULL) return UV_ENOMEM;
    if (b->base != NULL) memcpy(q, b->base + b->start, b->len);
    block_free(net, b->base, b->cap);
    b->base = q;
    b->cap = cap;
    b->start = 0;
  }
  memcpy(b->base + b->start + b->len, p, n);
  b->len += n;
  return 0;
}

void ml__bytes_reserve(ml_net *net, ml_bytes *b, size_t n) {
  if (b->base != NULL) return;
  b->base = block_new(net, n);
  if (b->base != NULL) b->cap = n;
}

void ml__bytes_drop(ml_net *net, ml_bytes *b, size_t n) {
  b->start += n;
  b->len -= n;
  if (b->len == 0) ml__bytes_free(net, b);
}

void ml__bytes_take(lua_State *L, ml_net *net, ml_bytes *b, size_t n) {
  if (n == 0) {
    lua_pushliteral(L, "");
  } else if (b->cap != ML_SLAB || b->start > 0 || n < b->len) {
    lua_pushlstring(L, b->base + b->start, n);
    ml__bytes_drop(net, b, n);
  } else {
    if (ml__strbuf_push(L, b->base, ML_SLAB, n)) b->base = NULL;
    ml__bytes_free(net, b);
  }
}

void ml__slab_push(lua_State *L, ml_net *net, size_t n) {
  if (n < ML_SLAB / 2)
    lua_pushlstring(L, net->slab, n);
  else if (ml__strbuf_push(L, net->slab, ML_SLAB, n))
    net->slab = NULL;
}

void ml__bytes_free(ml_net *net, ml_bytes *b) {
  block_free(net, b->base, b->cap);
  b->base = NULL;
  b->start = b->len = b->cap = 0;
}
