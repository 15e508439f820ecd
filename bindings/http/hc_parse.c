/* Responses out of bytes: heads by http_head.c, then the body as RFC 9112, 6.3 has it: none, in
** chunks, by its length, or up to the connection's end. Servers are taken as they are (lines that
** end with LF alone, folded headers), as long as it is clear where a response ends.
*/
#include "hc.h"

#define INFORMS 1000 /* answers of 1xx to one request */

/* ---- heads ---- */

static bool is_field(const char *text, const ml_hfield *f, const char *name, size_t n) {
  return f->nname == n && ml__name_equals(text + f->name, n, name, n);
}

/* What the headers say of the body. */
typedef struct framing {
  int lengths, codings;
  bool chunked, unknown, differ;
  uint64_t length;
} framing;

static bool number(const char *p, size_t n, uint64_t *v) {
  *v = 0;
  if (n == 0 || n > 18) return false;
  for (size_t i = 0; i < n; i++) {
    if (p[i] < '0' || p[i] > '9') return false;
    *v = *v * 10 + (uint64_t)(p[i] - '0');
  }
  return true;
}

static void look_at(const char *text, const ml_hfield *f, framing *k) {
  const char *value = text + f->value;
  uint64_t n;
  switch (f->nname) {
  case 14:
    if (!is_field(text, f, "content-length", 14)) break;
    if (!number(value, f->nvalue, &n) || (k->lengths > 0 && n != k->length)) k->differ = true;
    k->length = n;
    k->lengths++;
    break;
  case 17:
    if (!is_field(text, f, "transfer-encoding", 17)) break;
    k->codings++;
    if (ml__name_equals(value, f->nvalue, "chunked", 7))
      k->chunked = true;
    else if (!ml__name_equals(value, f->nvalue, "identity", 8))
      k->unknown = true;
    break;
  default: break;
  }
}

/* Where the body ends; or why that is not clear, or NULL. */
static const char *frame(ml_hcconn *c, const ml_hhead *h) {
  const char *text = ml__hhead_text(h);
  framing k = {0};
  bool none = (c->flags & ML_CC_IS_HEAD) || ml__http_bodiless(h->status);
  c->got = 0;
  c->expected = UINT64_MAX;
  for (int i = 0; i < h->nfields; i++) look_at(text, &h->fields[i], &k);
  if (h->status == 101 || ((c->flags & ML_CC_IS_CONNECT) && h->status / 100 == 2)) {
    c->flags |= ML_CC_TUNNEL;
    return NULL;
  }
  if (!none && k.unknown) return "the response's Transfer-Encoding is not supported";
  if (!none && k.codings > 1) return "the response has more than one Transfer-Encoding";
  if (k.differ) return "the response's Content-Length is malformed";
  if (k.chunked && k.lengths > 0)
    return "the response has both Content-Length and Transfer-Encoding";
  if (none) return NULL;
  if (k.chunked) {
    memset(&c->chunks, 0, sizeof c->chunks);
    c->chunks.lenient = true;
    c->flags |= ML_CC_BODY | ML_CC_IN_CHUNKS;
  } else if (k.lengths > 0) {
    c->expected = k.length;
    if (k.length > 0) c->flags |= ML_CC_BODY;
  } else {
    c->flags |= ML_CC_BODY | ML_CC_CLOSED_END;
    c->flags &= ~(uint32_t)ML_CC_KEEP;
  }
  return NULL;
}

static bool keeps(const ml_hcconn *c) {
  const llhttp_t *p = &c->input.parser;
  return p->http_major == 1 && p->http_minor > 0 ? !(p->flags & F_CONNECTION_CLOSE)
                                                 : (p->flags & F_CONNECTION_KEEP_ALIVE) != 0;
}

static void wake(ml_hcop *op) {
  if (op != NULL) ml__op_wake(&op->op);
}

static void complete(ml_hcconn *c) {
  c->flags &= ~(uint32_t)ML_CC_BODY;
  c->flags |= ML_CC_COMPLETE;
  ml__hcbody_end(c);
  ml__hcconn_done(c); /* behind the task that waits */
}

/* What every head has to be, beside what llhttp looks at. */
static const char *wrong(const ml_hcconn *c, const ml_hhead *h, const char *text) {
  if (c->input.parser.http_major != 1) return "the version of HTTP is not supported";
  if (h->status < 100 || h->status > 999) return "the response's status is malformed";
  for (int i = 0; i < h->nfields; i++)
    if (!ml__token_ok(text + h->fields[i].name, h->fields[i].nname) ||
        !ml__field_ok(text + h->fields[i].value, h->fields[i].nvalue))
      return "a header is malformed";
  return NULL;
}

static void head_done(ml_hcconn *c, ml_hhead *h) {
  const char *why = wrong(c, h, ml__hhead_text(h));
  bool keep = keeps(c);
  llhttp_reset(&c->input.parser);
  if (why == NULL && h->status < 200 && h->status != 101) {
    if (++c->informs > INFORMS) {
      ml__hcconn_fail(c, ML_CF_HEAD, "there is no end of answers before the response");
    } else if (h->status == 100) {
      c->flags |= ML_CC_CONTINUED;
      wake(c->continuing);
    }
    ml__hhead_free(c->http, h);
    return;
  }
  if (why == NULL) why = frame(c, h);
  if (why != NULL) {
    ml__hhead_free(c->http, h);
    ml__hcconn_fail(c, ML_CF_HEAD, why);
    return;
  }
  if (!keep) c->flags &= ~(uint32_t)ML_CC_KEEP;
  if (c->expected != UINT64_MAX) {
    h->flags |= ML_HH_LENGTH;
    h->length = c->expected;
  }
  if (c->flags & ML_CC_BODY) h->flags |= ML_HH_CHUNKED; /* it has one */
  c->head = h;
  c->flags |= ML_CC_HEAD;
  wake(c->waiting);
  wake(c->continuing);
  if (!(c->flags & (ML_CC_BODY | ML_CC_TUNNEL))) complete(c);
}

static void head_failed(ml_hcconn *c) {
  const char *why = llhttp_get_error_reason(&c->input.parser);
  if (c->input.bad != 0)
    why = c->input.why;
  else if (llhttp_get_errno(&c->input.parser) == HPE_INVALID_CONSTANT)
    why = "this is no HTTP response";
  ml__hcconn_fail(c, ML_CF_HEAD, why != NULL && why[0] != '\0' ? why : "the response is malformed");
}

static size_t run_head(ml_hcconn *c, const char *p, size_t n) {
  size_t skip = 0, used;
  ml_hhead *h = NULL;
  if (c->input.partial == NULL) {
    while (skip < n && (p[skip] == '\r' || p[skip] == '\n')) skip++;
    if (skip == n) return n;
  }
  switch (ml__hinput_feed(&c->input, p + skip, n - skip, &used, &h)) {
  case ML_HI_HEAD: head_done(c, h); break;
  case ML_HI_NOMEMORY: ml__stream_fail(c->s, UV_ENOMEM); break;
  case ML_HI_MORE: break;
  default: head_failed(c);
  }
  return skip + used;
}

/* ---- bodies ---- */

static bool keep_trailers(ml_hcconn *c, const char *p, size_t n) {
  if (n == 0 || ml__bytes_add(c->s->net, &c->rest, p, n) == 0) return true;
  ml__stream_fail(c->s, UV_ENOMEM);
  return false;
}

/* Gives how many of the bytes were the body's. *done: it is complete. */
static size_t run_chunks(ml_hcconn *c, const char *p, size_t n, bool *done) {
  ml_hchunks *k = &c->chunks;
  size_t i = 0, trailers;
  for (;;) {
    if (ml__hchunks_in_data(k)) {
      size_t part = n - i < k->left ? n - i : (size_t)k->left;
      ml__hcbody_add(c, p + i, part);
      ml__hchunks_took(k, part);
      i += part;
    }
    if (i == n || c->fail != ML_CF_NONE) return n;
    i += ml__hchunks_skip(k, p + i, n - i, &trailers);
    if (ml__hchunks_wrong(k) != NULL) {
      ml__hcconn_fail(c, ML_CF_PAYLOAD, ml__hchunks_wrong(k));
      return n;
    }
    if (k->beside > c->settings->limits.max_head) {
      ml__hcconn_fail(c, ML_CF_PAYLOAD, "the body has too much beside it");
      return n;
    }
    *done = ml__hchunks_done(k);
    if ((trailers > 2 || c->rest.len > 0 || !*done) &&
        !keep_trailers(c, p + i - trailers, trailers))
      return n;
    if (*done) return i;
  }
}

static size_t run_body(ml_hcconn *c, const char *p, size_t n) {
  bool done = false;
  if (c->flags & ML_CC_IN_CHUNKS) {
    n = run_chunks(c, p, n, &done);
  } else {
    if (n > c->expected - c->got) n = (size_t)(c->expected - c->got);
    ml__hcbody_add(c, p, n);
    done = c->got == c->expected;
  }
  if (done) complete(c);
  return n;
}

/* ---- both ---- */

void ml__hcparse_feed(ml_hcconn *c, const char *p, size_t n) {
  size_t used = 0;
  while (used < n && c->fail == ML_CF_NONE) {
    if (c->flags & ML_CC_BODY) {
      used += run_body(c, p + used, n - used);
    } else if (!(c->flags & ML_CC_HEAD)) {
      used += run_head(c, p + used, n - used);
    } else if (c->flags & ML_CC_TUNNEL) {
      if (ml__bytes_add(c->s->net, &c->rest, p + used, n - used) < 0)
        ml__stream_fail(c->s, UV_ENOMEM);
      else if (c->rest.len > ML_LIMIT)
        ml__hcconn_pause(c, true);
      return;
    } else { /* more than it has said */
      c->flags &= ~(uint32_t)ML_CC_KEEP;
      return;
    }
  }
}

void ml__hcparse_took(ml_hcconn *c, size_t n) {
  if (c->silence >= 0) c->last = ml__http_now(c->http, c->s->loop);
  c->got += n;
  if (c->flags & ML_CC_IN_CHUNKS) ml__hchunks_took(&c->chunks, n);
  if (c->got == c->expected) complete(c);
}

void ml__hcparse_eof(ml_hcconn *c) {
  if (c->flags & ML_CC_COMPLETE) return;
  if ((c->flags & (ML_CC_BODY | ML_CC_CLOSED_END)) == (ML_CC_BODY | ML_CC_CLOSED_END) &&
      !(c->s->flags & ML_S_RAGGED)) {
    complete(c);
    return;
  }
  ml__hcconn_fail(c, ML_CF_GONE, NULL);
  ml__stream_close(c->s);
}
