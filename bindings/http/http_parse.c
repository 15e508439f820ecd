/* Requests out of bytes: llhttp, and what it leaves to its users.
**
** A head that comes in one piece is parsed where it was read, and copied once, into the block
** that the exchange will be made of. What comes in several is collected meanwhile. Names,
** values and target are kept as offsets into the head's text, which is as it was sent: so
** each line's end and each fold can be looked at afterwards.
**
** llhttp pauses at the end of a head. A body is read by http_chunks.c; what comes behind it is left
** alone until the exchange is over.
*/
#include <math.h>
#include <string.h>

#include "http.h"

/* ---- llhttp's callbacks ---- */

static int refuse(llhttp_t *p, int status, const char *why) {
  ml__hconn_bad(p->data, status, why);
  return HPE_USER;
}

/* The offset of `at` in the head; false: the head is too long. */
static bool place(const ml_hconn *c, const char *at, size_t n, uint32_t *off) {
  const ml_hparse *h = &c->http->parse;
  size_t o = h->base + (size_t)(at - h->chunk);
  *off = (uint32_t)o;
  return o + n <= c->settings->max_head;
}

static int too_large(llhttp_t *p) { return refuse(p, 431, "the request's head is too large"); }

static int on_url(llhttp_t *p, const char *at, size_t n) {
  const ml_hconn *c = p->data;
  ml_hparse *h = &c->http->parse;
  uint32_t off;
  bool fits = place(c, at, n, &off);
  if (h->last == ML_HP_NONE) h->target.at = off;
  h->last = ML_HP_TARGET;
  h->target.n = off + (uint32_t)n - h->target.at;
  if (h->target.n > c->settings->max_line)
    return refuse(p, 414, "the request's target is too long");
  return fits ? 0 : too_large(p);
}

static int on_name(llhttp_t *p, const char *at, size_t n) {
  const ml_hconn *c = p->data;
  ml_hparse *h = &c->http->parse;
  ml_hfield *f;
  uint32_t off;
  if (!place(c, at, n, &off)) return too_large(p);
  if (h->last != ML_HP_NAME) {
    if (h->nfields >= c->settings->max_headers)
      return refuse(p, 431, "the request has too many headers");
    f = &c->http->fields[h->nfields++];
    f->name = off;
    f->nname = f->value = f->nvalue = 0;
  }
  h->last = ML_HP_NAME;
  f = &c->http->fields[h->nfields - 1];
  f->nname += (uint32_t)n;
  return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n) {
  const ml_hconn *c = p->data;
  ml_hparse *h = &c->http->parse;
  ml_hfield *f;
  uint32_t off;
  if (!place(c, at, n, &off)) return too_large(p);
  f = &c->http->fields[h->nfields - 1];
  if (h->last != ML_HP_VALUE)
    f->value = off;
  else if (f->value + f->nvalue != off) /* RFC 9112, 5.2 */
    return refuse(p, 400, "a header is folded");
  h->last = ML_HP_VALUE;
  f->nvalue += (uint32_t)n;
  return 0;
}

static int on_head(llhttp_t *p) {
  const ml_hconn *c = p->data;
  c->http->parse.complete = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t callbacks = {.on_url = on_url,
                                            .on_header_field = on_name,
                                            .on_header_value = on_value,
                                            .on_headers_complete = on_head};

void ml__hparse_init(ml_hconn *c) {
  llhttp_init(&c->parser, HTTP_REQUEST, &callbacks);
  c->parser.data = c;
}

/* ---- what a head says ---- */

static bool is_name(const char *text, const ml_hfield *f, const char *name) {
  return ml__name_equals(text + f->name, f->nname, name, strlen(name));
}

static bool is_value(const char *text, const ml_hfield *f, const char *value) {
  return ml__name_equals(text + f->value, f->nvalue, value, strlen(value));
}

/* What a Host may not have, beside controls, spaces and what is beyond ASCII. */
static const char not_in_host[128] = {
    ['"'] = 1, ['#'] = 1, ['/'] = 1, ['<'] = 1, ['>'] = 1, ['?'] = 1, ['@'] = 1,  ['\\'] = 1,
    ['^'] = 1, ['`'] = 1, ['{'] = 1, ['|'] = 1, ['}'] = 1, [' '] = 1, [0x7f] = 1,
};

static bool host_ok(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned char ch = (unsigned char)s[i];
    if (ch < ' ' || ch > 0x7f || not_in_host[ch]) return false;
  }
  return true;
}

/* Headers that decide how the request is read. `te`, `cl`, `hosts`: how many there were. */
typedef struct counts {
  int te, cl, hosts;
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

/* Has each header a name, and does each line end with CR LF? llhttp may take a lone LF. */
static bool lines_ok(const ml_hhead *h, const char *text) {
  for (int i = 0; i < h->nfields; i++) {
    uint32_t at = h->fields[i].name;
    if (at < 2 || h->fields[i].nname == 0 || text[at - 2] != '\r' || text[at - 1] != '\n')
      return false;
  }
  return h->ntext >= 4 && memcmp(text + h->ntext - 4, "\r\n\r\n", 4) == 0;
}

/* What makes the request one that must not be served, or NULL. */
static const char *wrong(ml_hhead *h, const char *text, const counts *k, int *status) {
  *status = 400;
  if (!line_ok(h, text)) return "the request line is malformed";
  if (!lines_ok(h, text)) return "a header is malformed";
  if (k->hosts > 1) return "the request has more than one Host";
  if (k->hosts == 0 && h->minor > 0) return "the request has no Host";
  if (!host_ok(text + h->host.at, h->host.n)) return "Host is malformed";
  if (k->te > 0 && k->cl > 0) return "the request has both Content-Length and Transfer-Encoding";
  if (k->cl > 1) return "the request has more than one Content-Length";
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

static void trim(const char *text, ml_hfield *f) {
  while (f->nvalue > 0 &&
         (text[f->value + f->nvalue - 1] == ' ' || text[f->value + f->nvalue - 1] == '\t'))
    f->nvalue--;
}

/* c->head of what was parsed; the text is in two parts. False: there is none. */
static bool make_head(ml_hconn *c, const char *before, const char *p, size_t n) {
  ml_http *g = c->http;
  const ml_hparse *from = &g->parse;
  size_t nfields = from->nfields, ntext = from->base + n;
  size_t size = sizeof(ml_hhead) + nfields * sizeof(ml_hfield) + ntext;
  ml_hhead *h = ml__alloc(c->s->net->engine->alloc, NULL, 0, size);
  counts k = {0};
  const char *why;
  char *text;
  int status;
  if (h == NULL) {
    ml__stream_fail(c->s, UV_ENOMEM);
    return false;
  }
  memset(h, 0, sizeof *h);
  h->ntext = (uint32_t)ntext;
  h->nfields = (uint16_t)nfields;
  h->minor = c->parser.http_minor;
  h->target = from->target;
  h->method.n = from->target.at > 0 ? from->target.at - 1 : 0;
  if (nfields > 0) memcpy(h->fields, g->fields, nfields * sizeof(ml_hfield));
  text = (char *)(h->fields + nfields);
  if (before != NULL) memcpy(text, before, from->base);
  memcpy(text + from->base, p, n);
  for (size_t i = 0; i < nfields; i++) {
    trim(text, &h->fields[i]);
    look_at(h, text, &h->fields[i], &k);
  }
  split_target(h, text);
  why = wrong(h, text, &k, &status);
  if (why != NULL) {
    ml__alloc(c->s->net->engine->alloc, h, size, 0);
    ml__hconn_bad(c, status, why);
    return false;
  }
  if (k.te > 0)
    h->flags |= ML_HH_CHUNKED;
  else if (k.cl > 0) {
    h->flags |= ML_HH_LENGTH;
    h->length = c->parser.content_length;
  }
  if (c->parser.upgrade) h->flags |= ML_HH_UPGRADE;
  if (llhttp_should_keep_alive(&c->parser) && c->parser.method != HTTP_CONNECT)
    h->flags |= ML_HH_KEEP;
  c->head = h;
  return true;
}

/* ---- heads that come in pieces ---- */

static void partial_free(ml_hconn *c) {
  ml_allocator *a = c->http->net->engine->alloc;
  ml_hpartial *q = c->partial;
  if (q == NULL) return;
  c->partial = NULL;
  if (q->fields != NULL) ml__alloc(a, q->fields, q->capfields * sizeof *q->fields, 0);
  if (q->text != NULL) ml__alloc(a, q->text, q->captext, 0);
  ml__alloc(a, q, sizeof *q, 0);
}

/* Keeps what was parsed so far, and the text p. */
static bool partial_keep(ml_hconn *c, const char *p, size_t n) {
  ml_allocator *a = c->http->net->engine->alloc;
  ml_hparse *h = &c->http->parse;
  ml_hpartial *q = c->partial;
  if (q == NULL) {
    q = ml__alloc(a, NULL, 0, sizeof *q);
    if (q == NULL) return false;
    memset(q, 0, sizeof *q);
    c->partial = q;
  }
  if (h->base + n > q->captext) {
    uint32_t cap = (uint32_t)(h->base + n < 256 ? 512 : 2 * (h->base + n));
    char *text = ml__alloc(a, q->text, q->captext, cap);
    if (text == NULL) return false;
    q->text = text;
    q->captext = cap;
  }
  if (h->nfields > q->capfields) {
    uint32_t cap = h->nfields + 8;
    ml_hfield *f = ml__alloc(a, q->fields, q->capfields * sizeof *f, cap * sizeof *f);
    if (f == NULL) return false;
    q->fields = f;
    q->capfields = cap;
  }
  memcpy(q->text + h->base, p, n);
  if (h->nfields > 0) memcpy(q->fields, c->http->fields, h->nfields * sizeof *q->fields);
  h->base += (uint32_t)n;
  q->parse = *h;
  return true;
}

void ml__hparse_free(ml_hconn *c) {
  partial_free(c);
  if (c->head == NULL) return;
  ml__alloc(c->http->net->engine->alloc, c->head, ml__hhead_size(c->head), 0);
  c->head = NULL;
}

/* ---- running ---- */

/* An unknown method, or no request at all? */
static int unknown_method(const ml_hconn *c, const char *p, size_t n) {
  char buf[40];
  size_t k = c->http->parse.base;
  const char *space;
  if (k > sizeof buf) k = sizeof buf;
  if (k > 0) memcpy(buf, c->partial->text, k);
  if (n > sizeof buf - k) n = sizeof buf - k;
  memcpy(buf + k, p, n);
  space = memchr(buf, ' ', k + n);
  return ml__token_ok(buf, space != NULL ? (size_t)(space - buf) : k + n) ? 501 : 400;
}

static void parse_failed(ml_hconn *c, llhttp_errno_t rc, const char *p, size_t n) {
  const char *why = llhttp_get_error_reason(&c->parser);
  if (c->bad != 0) return;
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
  if (h->base > 0) rc = ml__bytes_add(c->s->net, &c->in, c->partial->text, h->base);
  if (rc == 0) rc = ml__bytes_add(c->s->net, &c->in, p, n);
  if (rc < 0) ml__stream_fail(c->s, rc);
  partial_free(c);
  ml__hconn_wake(c);
}

/* A head is complete: what follows it is its body, or the next request. */
static void head_done(ml_hconn *c) {
  const ml_hhead *h = c->head;
  bool body = (h->flags & ML_HH_CHUNKED) || h->length > 0;
  ml__hconn_deadline(c, -1);
  if (body) ml__hbody_begin(c, h);
  llhttp_reset(&c->parser);
  ml__hconn_wake(c);
}

/* Gives how many bytes belong to what is parsed now. */
static size_t run_head(ml_hconn *c, const char *p, size_t n) {
  ml_http *g = c->http;
  ml_hparse *h = &g->parse;
  size_t skip = 0, used;
  llhttp_errno_t rc;
  if (c->partial == NULL) { /* RFC 9112, 2.2: empty lines before a request are passed over */
    while (skip < n && (p[skip] == '\r' || p[skip] == '\n')) skip++;
    if (skip == n) return n;
    memset(h, 0, sizeof *h);
  } else {
    *h = c->partial->parse;
    if (h->nfields > 0) memcpy(g->fields, c->partial->fields, h->nfields * sizeof *g->fields);
  }
  p += skip;
  n -= skip;
  h->chunk = p;
  rc = llhttp_execute(&c->parser, p, n);
  if (rc == HPE_PAUSED && h->complete) {
    bool made;
    used = (size_t)(llhttp_get_error_pos(&c->parser) - p);
    if (h->base + used > c->settings->max_head) {
      ml__hconn_bad(c, 431, "the request's head is too large");
      return skip + n;
    }
    made = make_head(c, c->partial != NULL ? c->partial->text : NULL, p, used);
    partial_free(c);
    if (made) head_done(c);
    return skip + used;
  }
  if (rc == HPE_PAUSED_H2_UPGRADE) {
    preface(c, p, n);
  } else if (rc != HPE_OK) {
    parse_failed(c, rc, p, n);
  } else if (h->base + n > c->settings->max_head) {
    ml__hconn_bad(c, 431, "the request's head is too large");
  } else {
    if (c->partial == NULL) ml__hconn_deadline(c, c->settings->header_timeout);
    if (!partial_keep(c, p, n)) ml__stream_fail(c->s, UV_ENOMEM);
  }
  return skip + n;
}

/* Is there nobody for what comes next, for now? */
static bool occupied(const ml_hconn *c) {
  return c->head != NULL || c->bad != 0 || (c->flags & (ML_HC_BUSY | ML_HC_HTTP2 | ML_HC_OVER));
}

static size_t run(ml_hconn *c, const char *p, size_t n) {
  size_t used = 0;
  while (used < n) {
    if ((c->flags & ML_HC_BODY) && c->bad == 0)
      used += ml__hbody_run(c, p + used, n - used);
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
