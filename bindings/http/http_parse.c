/* Requests out of bytes: what http_head.c makes of a head is looked at more strictly than llhttp
** does. What comes behind a request's body is left alone until the exchange is over.
*/
#include "http.h"

void ml__hparse_init(ml_hconn *c) {
  const ml_hsettings *s = c->settings;
  const ml_hlimits limits = {s->max_line, s->max_head, s->max_headers, UINT32_MAX};
  ml__hinput_init(&c->input, c->http, &limits, HTTP_REQUEST);
}

/* ---- what a head says ---- */

static bool is_name(const char *text, const ml_hfield *f, const char *name) {
  return ml__name_equals(text + f->name, f->nname, name, strlen(name));
}

static bool is_value(const char *text, const ml_hfield *f, const char *value) {
  return ml__name_equals(text + f->value, f->nvalue, value, strlen(value));
}

/* Headers that decide how the request is read. `te`, `cl`, `hosts`: how many there were. */
typedef struct counts {
  int te, cl, hosts;
  uint64_t length;
  bool expects_more; /* Expect with something else */
  bool te_unknown;
} counts;

static void look_at(ml_hhead *h, const char *text, const ml_hfield *f, counts *k) {
  switch (f->nname) {
  case 4:
    if (!is_name(text, f, "host")) break;
    k->hosts++;
    h->host.at = f->value;
    h->host.n = f->nvalue;
    break;
  case 6:
    if (!is_name(text, f, "expect")) break;
    if (!is_value(text, f, "100-continue"))
      k->expects_more = true;
    else if (h->minor > 0)
      h->flags |= ML_HH_CONTINUE;
    break;
  case 14:
    if (is_name(text, f, "content-length")) k->cl++;
    break;
  case 17:
    if (!is_name(text, f, "transfer-encoding")) break;
    k->te++;
    if (!is_value(text, f, "chunked")) k->te_unknown = true;
    break;
  default: break;
  }
}

/* Is "METHOD TARGET HTTP/1.N" as it must be? llhttp lets more spaces pass. */
static bool line_ok(const ml_hhead *h, const char *text) {
  const char *p = text + h->target.at + h->target.n;
  size_t left = h->ntext - h->target.at - h->target.n;
  return h->target.n > 0 && h->method.n > 0 && text[h->target.at - 1] == ' ' && left >= 11 &&
         ml__token_ok(text, h->method.n) && memcmp(p, " HTTP/1.", 8) == 0 && p[9] == '\r' &&
         p[10] == '\n';
}

/* Path, query and host of the target. */
static void split_target(ml_hhead *h, const char *text) {
  const char *t = text + h->target.at, *end = t + h->target.n, *p = t, *q;
  if (*t != '/' && *t != '*') {
    const char *colon = memchr(t, ':', h->target.n);
    if (colon != NULL && end - colon >= 3 && memcmp(colon, "://", 3) == 0) {
      const char *host = colon + 3;
      for (p = host; p < end && *p != '/' && *p != '?' && *p != '#';) p++;
      h->host.at = (uint32_t)(host - text);
      h->host.n = (uint32_t)(p - host);
      h->flags |= ML_HH_ABSOLUTE;
    }
  }
  for (q = p; q < end && *q != '?' && *q != '#';) q++;
  h->path.at = (uint32_t)(p - text);
  h->path.n = (uint32_t)(q - p);
  if (q == end || *q == '#') return;
  p = memchr(q, '#', (size_t)(end - q));
  h->flags |= ML_HH_QUERY;
  h->query.at = (uint32_t)(q + 1 - text);
  h->query.n = (uint32_t)((p != NULL ? p : end) - q - 1);
}

/* Is there nothing but blanks between `from` and `to`? */
static bool blank(const char *text, uint32_t from, uint32_t to) {
  for (; from < to; from++)
    if (text[from] != ' ' && text[from] != '\t') return false;
  return from == to;
}

/* Has each header a name, is it on one line (llhttp says nothing of a fold before the value), and
** does each line end with CR LF? llhttp may take a lone LF. */
static bool lines_ok(const ml_hhead *h, const char *text) {
  uint32_t end = h->ntext - 4; /* of the line */
  if (h->ntext < 4 || memcmp(text + end, "\r\n\r\n", 4) != 0) return false;
  for (int i = h->nfields; i-- > 0;) {
    const ml_hfield *f = &h->fields[i];
    uint32_t colon = f->name + f->nname;
    if (f->name < 2 || f->nname == 0 || text[f->name - 2] != '\r' || text[f->name - 1] != '\n')
      return false;
    if (f->nvalue == 0
            ? !blank(text, colon + 1, end)
            : !blank(text, colon + 1, f->value) || !blank(text, f->value + f->nvalue, end))
      return false;
    end = f->name - 2;
  }
  return true;
}

/* What makes the request one that must not be served, or NULL. */
static const char *wrong(ml_hhead *h, const char *text, const counts *k, int *status) {
  *status = 400;
  if (!line_ok(h, text)) return "the request line is malformed";
  if (!lines_ok(h, text)) return "a header is malformed";
  if (k->hosts > 1) return "the request has more than one Host";
  if (k->hosts == 0 && h->minor > 0) return "the request has no Host";
  if (!ml__host_ok(text + h->host.at, h->host.n)) return "Host is malformed";
  if (k->te > 0 && k->cl > 0) return "the request has both Content-Length and Transfer-Encoding";
  if (k->cl > 1) return "the request has more than one Content-Length";
  if (k->length > INT64_MAX) return "Content-Length is too large";
  if (k->te > 0 && h->minor == 0) return "Transfer-Encoding in a request of HTTP/1.0";
  if (k->te > 1) return "the request has more than one Transfer-Encoding";
  if (k->te_unknown) {
    *status = 501;
    return "Transfer-Encoding is not supported";
  }
  if (k->expects_more) {
    *status = 417;
    return "Expect asks for something unknown";
  }
  return NULL;
}

/* Is the head one that can be served? Then it is c->head. */
static bool take_head(ml_hconn *c, ml_hhead *h) {
  const llhttp_t *parser = &c->input.parser;
  const char *text = ml__hhead_text(h), *why;
  counts k = {.length = parser->content_length};
  int status;
  h->method.n = h->target.at > 0 ? h->target.at - 1 : 0;
  for (int i = 0; i < h->nfields; i++) look_at(h, text, &h->fields[i], &k);
  split_target(h, text);
  why = wrong(h, text, &k, &status);
  if (why != NULL) {
    ml__hhead_free(c->http, h);
    ml__hconn_bad(c, status, why);
    return false;
  }
  if (k.te > 0)
    h->flags |= ML_HH_CHUNKED;
  else if (k.cl > 0) {
    h->flags |= ML_HH_LENGTH;
    h->length = parser->content_length;
  }
  if (parser->upgrade) h->flags |= ML_HH_UPGRADE;
  if (llhttp_should_keep_alive(parser) && parser->method != HTTP_CONNECT) h->flags |= ML_HH_KEEP;
  c->head = h;
  return true;
}

void ml__hparse_free(ml_hconn *c) {
  ml__hinput_free(&c->input);
  ml__hhead_free(c->http, c->head);
  c->head = NULL;
}

/* ---- bodies ---- */

static void body_begin(ml_hconn *c, const ml_hhead *h) {
  bool chunked = (h->flags & ML_HH_CHUNKED) != 0;
  c->flags |= ML_HC_BODY;
  c->got = 0;
  c->expected = chunked ? UINT64_MAX : h->length;
  memset(&c->chunks, 0, sizeof c->chunks);
}

/* Gives how many of the bytes were the body's. *done: it is complete. */
static size_t run_chunks(ml_hconn *c, const char *p, size_t n, bool *done) {
  ml_hchunks *k = &c->chunks;
  size_t i = 0, trailers;
  for (;;) {
    if (ml__hchunks_in_data(k)) {
      size_t part = n - i < k->left ? n - i : (size_t)k->left;
      ml__hbody_add(c, p + i, part);
      ml__hchunks_took(k, part);
      i += part;
    }
    if (i == n) return n;
    i += ml__hchunks_skip(k, p + i, n - i, &trailers);
    if (ml__hchunks_wrong(k) != NULL) {
      ml__hconn_bad(c, 400, ml__hchunks_wrong(k));
      return n;
    }
    if (k->beside > c->settings->max_head) {
      ml__hconn_bad(c, 431, "the body has too much beside it");
      return n;
    }
    if (ml__hchunks_done(k)) {
      *done = true;
      return i;
    }
  }
}

static size_t run_body(ml_hconn *c, const char *p, size_t n) {
  bool done = false;
  if (c->expected == UINT64_MAX) {
    n = run_chunks(c, p, n, &done);
  } else {
    if (n > c->expected - c->got) n = (size_t)(c->expected - c->got);
    ml__hbody_add(c, p, n);
    done = c->got == c->expected;
  }
  if (done) c->flags &= ~(uint32_t)ML_HC_BODY;
  if (done || c->bad != 0) ml__hbody_end(c);
  return n;
}

/* ---- running ---- */

/* An unknown method, or no request at all? */
static int unknown_method(const ml_hconn *c, const char *p, size_t n) {
  char buf[40];
  size_t k = c->http->parse.base;
  const char *space;
  if (k > sizeof buf) k = sizeof buf;
  if (k > 0) memcpy(buf, c->input.partial->text, k);
  if (n > sizeof buf - k) n = sizeof buf - k;
  memcpy(buf + k, p, n);
  space = memchr(buf, ' ', k + n);
  return ml__token_ok(buf, space != NULL ? (size_t)(space - buf) : k + n) ? 501 : 400;
}

static void parse_failed(ml_hconn *c, const char *p, size_t n) {
  llhttp_errno_t rc = llhttp_get_errno(&c->input.parser);
  const char *why = llhttp_get_error_reason(&c->input.parser);
  if (c->input.bad != 0) {
    ml__hconn_bad(c, c->input.bad, c->input.why);
    return;
  }
  if (rc == HPE_INVALID_METHOD) {
    int status = unknown_method(c, p, n);
    ml__hconn_bad(c, status, status == 501 ? "the method is unknown" : "this is no HTTP request");
  } else if (rc == HPE_INVALID_VERSION)
    ml__hconn_bad(c, 505, "the version of HTTP is not supported");
  else
    ml__hconn_bad(c, 400, why != NULL && why[0] != '\0' ? why : "the request is malformed");
}

/* The preface of HTTP/2: what has come is kept as it is. */
static void preface(ml_hconn *c, const char *p, size_t n) {
  const ml_hparse *h = &c->http->parse;
  int rc = 0;
  if (c->serial > 0) {
    ml__hconn_bad(c, 400, "the preface of HTTP/2 in a connection of HTTP/1.1");
    return;
  }
  c->flags |= ML_HC_HTTP2;
  if (h->base > 0) rc = ml__bytes_add(c->s->net, &c->in, c->input.partial->text, h->base);
  if (rc == 0) rc = ml__bytes_add(c->s->net, &c->in, p, n);
  if (rc < 0) ml__stream_fail(c->s, rc);
  ml__hinput_free(&c->input);
  ml__hconn_wake(c);
}

/* A head is complete: what follows it is its body, or the next request. */
static void head_done(ml_hconn *c) {
  const ml_hhead *h = c->head;
  bool body = (h->flags & ML_HH_CHUNKED) || h->length > 0;
  ml__hconn_deadline(c, -1);
  if (body) body_begin(c, h);
  llhttp_reset(&c->input.parser);
  ml__hconn_wake(c);
}

/* Gives how many bytes belong to what is parsed now. */
static size_t run_head(ml_hconn *c, const char *p, size_t n) {
  size_t skip = 0, used;
  bool begins = c->input.partial == NULL;
  ml_hhead *h = NULL;
  if (begins) { /* RFC 9112, 2.2: empty lines before a request are passed over */
    while (skip < n && (p[skip] == '\r' || p[skip] == '\n')) skip++;
    if (skip == n) return n;
  }
  p += skip;
  n -= skip;
  switch (ml__hinput_feed(&c->input, p, n, &used, &h)) {
  case ML_HI_HEAD:
    if (take_head(c, h)) head_done(c);
    break;
  case ML_HI_HTTP2: preface(c, p, n); break;
  case ML_HI_BAD: parse_failed(c, p, n); break;
  case ML_HI_NOMEMORY: ml__stream_fail(c->s, UV_ENOMEM); break;
  default:
    if (begins) ml__hconn_deadline(c, c->settings->header_timeout);
  }
  return skip + used;
}

/* ---- both ---- */

/* Is there nobody for what comes next, for now? */
static bool occupied(const ml_hconn *c) {
  return c->head != NULL || c->bad != 0 || (c->flags & (ML_HC_BUSY | ML_HC_HTTP2 | ML_HC_OVER));
}

static size_t run(ml_hconn *c, const char *p, size_t n) {
  size_t used = 0;
  while (used < n) {
    if ((c->flags & ML_HC_BODY) && c->bad == 0)
      used += run_body(c, p + used, n - used);
    else if (occupied(c))
      break;
    else
      used += run_head(c, p + used, n - used);
  }
  return used;
}

void ml__hparse_feed(ml_hconn *c, const char *p, size_t n) {
  size_t used;
  if (c->in.len > 0)
    used = 0;
  else
    used = run(c, p, n);
  if (used == n || c->bad != 0) return;
  if (ml__bytes_add(c->s->net, &c->in, p + used, n - used) < 0)
    ml__stream_fail(c->s, UV_ENOMEM);
  else if (c->in.len > c->settings->max_head && !(c->flags & ML_HC_HTTP2))
    ml__hconn_pause(c, true);
}

void ml__hparse_next(ml_hconn *c) {
  size_t used;
  if (c->in.len == 0 || (c->flags & ML_HC_HTTP2)) return;
  used = run(c, c->in.base + c->in.start, c->in.len);
  ml__bytes_drop(c->s->net, &c->in, used);
  if (c->in.len <= c->settings->max_head) ml__hconn_pause(c, false);
}
