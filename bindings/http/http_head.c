/* Heads out of bytes, requests' and responses': llhttp, and what it leaves to its users.
**
** A head that comes in one piece is parsed where it was read, and copied once, into a block. What
** comes in several is collected meanwhile. Names, values and the first line are kept as offsets
** into the head's text, which is as it was sent: so each line's end and each fold can be looked at
** afterwards.
**
** llhttp pauses at the end of a head; what follows is its callers' affair.
*/
#include "http.h"

static const char *const too_large[] = {"the request's head is too large",
                                        "the response's head is too large"};

/* ---- llhttp's callbacks ---- */

static bool of_response(const ml_hinput *in) { return in->parser.type == HTTP_RESPONSE; }

static int refuse(ml_hinput *in, int status, const char *why) {
  in->bad = (uint16_t)status;
  in->why = why;
  return HPE_USER;
}

static int refuse_size(ml_hinput *in) { return refuse(in, 431, too_large[of_response(in)]); }

/* The offset of `at` in the head; false: the head is too long. */
static bool place(const ml_hinput *in, const char *at, size_t n, uint32_t *off) {
  const ml_hparse *h = &in->http->parse;
  size_t o = h->base + (size_t)(at - h->chunk);
  *off = (uint32_t)o;
  return o + n <= in->limits.max_head;
}

/* The request's target, the response's reason. */
static int on_line(llhttp_t *p, const char *at, size_t n) {
  ml_hinput *in = p->data;
  ml_hparse *h = &in->http->parse;
  uint32_t off;
  bool fits = place(in, at, n, &off);
  if (h->last == ML_HP_NONE) h->target.at = off;
  h->last = ML_HP_TARGET;
  h->target.n = off + (uint32_t)n - h->target.at;
  if (h->target.n > in->limits.max_line)
    return refuse(in, 414,
                  of_response(in) ? "the response's reason is too long"
                                  : "the request's target is too long");
  return fits ? 0 : refuse_size(in);
}

static int on_name(llhttp_t *p, const char *at, size_t n) {
  ml_hinput *in = p->data;
  ml_hparse *h = &in->http->parse;
  ml_hfield *f;
  uint32_t off;
  if (!place(in, at, n, &off)) return refuse_size(in);
  if (h->last != ML_HP_NAME) {
    if (h->nfields >= in->limits.max_headers)
      return refuse(in, 431,
                    of_response(in) ? "the response has too many headers"
                                    : "the request has too many headers");
    f = &in->http->fields[h->nfields++];
    f->name = off;
    f->nname = f->value = f->nvalue = 0;
  }
  h->last = ML_HP_NAME;
  f = &in->http->fields[h->nfields - 1];
  f->nname += (uint32_t)n;
  return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n) {
  ml_hinput *in = p->data;
  ml_hparse *h = &in->http->parse;
  ml_hfield *f;
  uint32_t off;
  if (!place(in, at, n, &off)) return refuse_size(in);
  f = &in->http->fields[h->nfields - 1];
  if (h->last != ML_HP_VALUE) {
    f->value = off;
  } else if (f->value + f->nvalue != off) { /* RFC 9112, 5.2 */
    if (!of_response(in)) return refuse(in, 400, "a header is folded");
    h->folded = true;
    f->nvalue = off - f->value;
  }
  h->last = ML_HP_VALUE;
  f->nvalue += (uint32_t)n;
  if (f->nvalue > in->limits.max_field) return refuse(in, 431, "a header is too long");
  return 0;
}

static int on_head(llhttp_t *p) {
  const ml_hinput *in = p->data;
  in->http->parse.complete = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t callbacks = {.on_url = on_line,
                                            .on_status = on_line,
                                            .on_header_field = on_name,
                                            .on_header_value = on_value,
                                            .on_headers_complete = on_head};

void ml__hinput_init(ml_hinput *in, ml_http *http, const ml_hlimits *limits, llhttp_type_t type) {
  memset(in, 0, sizeof *in);
  in->http = http;
  in->limits = *limits;
  llhttp_init(&in->parser, type, &callbacks);
  in->parser.data = in;
  if (type == HTTP_RESPONSE) llhttp_set_lenient_headers(&in->parser, 1);
}

/* ---- the block ---- */

static void trim(const char *text, ml_hfield *f) {
  while (f->nvalue > 0 &&
         (text[f->value + f->nvalue - 1] == ' ' || text[f->value + f->nvalue - 1] == '\t'))
    f->nvalue--;
}

/* RFC 9112, 5.2: folds of a response become spaces. */
static void unfold(char *text, const ml_hfield *f) {
  for (uint32_t i = f->value; i < f->value + f->nvalue; i++)
    if (text[i] == '\r' || text[i] == '\n') text[i] = ' ';
}

/* Of what was parsed; the text is in two parts. NULL: no memory. */
static ml_hhead *make_head(const ml_hinput *in, const char *p, size_t n) {
  const ml_http *g = in->http;
  const ml_hparse *from = &g->parse;
  size_t nfields = from->nfields, ntext = from->base + n;
  size_t size = sizeof(ml_hhead) + nfields * sizeof(ml_hfield) + ntext;
  ml_hhead *h = ml__alloc(g->net->engine->alloc, NULL, 0, size);
  char *text;
  if (h == NULL) return NULL;
  memset(h, 0, sizeof *h);
  h->ntext = (uint32_t)ntext;
  h->nfields = (uint16_t)nfields;
  h->minor = in->parser.http_minor;
  if (of_response(in)) {
    h->status = in->parser.status_code;
    h->reason = from->target;
  } else
    h->target = from->target;
  if (nfields > 0) memcpy(h->fields, g->fields, nfields * sizeof(ml_hfield));
  text = (char *)(h->fields + nfields);
  if (in->partial != NULL) memcpy(text, in->partial->text, from->base);
  memcpy(text + from->base, p, n);
  for (size_t i = 0; i < nfields; i++) {
    if (from->folded) unfold(text, &h->fields[i]);
    trim(text, &h->fields[i]);
  }
  return h;
}

void ml__hhead_free(ml_http *http, ml_hhead *head) {
  if (head != NULL) ml__alloc(http->net->engine->alloc, head, ml__hhead_size(head), 0);
}

/* ---- heads that come in pieces ---- */

void ml__hinput_free(ml_hinput *in) {
  ml_allocator *a = in->http->net->engine->alloc;
  ml_hpartial *q = in->partial;
  if (q == NULL) return;
  in->partial = NULL;
  if (q->fields != NULL) ml__alloc(a, q->fields, q->capfields * sizeof *q->fields, 0);
  if (q->text != NULL) ml__alloc(a, q->text, q->captext, 0);
  ml__alloc(a, q, sizeof *q, 0);
}

/* Keeps what was parsed so far, and the text p. */
static bool partial_keep(ml_hinput *in, const char *p, size_t n) {
  ml_allocator *a = in->http->net->engine->alloc;
  ml_hparse *h = &in->http->parse;
  ml_hpartial *q = in->partial;
  if (q == NULL) {
    q = ml__alloc(a, NULL, 0, sizeof *q);
    if (q == NULL) return false;
    memset(q, 0, sizeof *q);
    in->partial = q;
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
  if (h->nfields > 0) memcpy(q->fields, in->http->fields, h->nfields * sizeof *q->fields);
  h->base += (uint32_t)n;
  q->parse = *h;
  return true;
}

/* ---- running ---- */

ml_hresult ml__hinput_feed(ml_hinput *in, const char *p, size_t n, size_t *used, ml_hhead **head) {
  ml_http *g = in->http;
  ml_hparse *h = &g->parse;
  llhttp_errno_t rc;
  in->bad = 0;
  *used = n;
  if (in->partial == NULL) {
    memset(h, 0, sizeof *h);
  } else {
    *h = in->partial->parse;
    if (h->nfields > 0) memcpy(g->fields, in->partial->fields, h->nfields * sizeof *g->fields);
  }
  h->chunk = p;
  rc = llhttp_execute(&in->parser, p, n);
  if (rc == HPE_PAUSED && h->complete) {
    size_t k = (size_t)(llhttp_get_error_pos(&in->parser) - p);
    if (h->base + k > in->limits.max_head) {
      refuse_size(in);
      return ML_HI_BAD;
    }
    *used = k;
    *head = make_head(in, p, k);
    ml__hinput_free(in);
    return *head != NULL ? ML_HI_HEAD : ML_HI_NOMEMORY;
  }
  if (rc == HPE_PAUSED_H2_UPGRADE) return ML_HI_HTTP2;
  if (rc != HPE_OK) return ML_HI_BAD;
  if (h->base + n > in->limits.max_head) {
    refuse_size(in);
    return ML_HI_BAD;
  }
  return partial_keep(in, p, n) ? ML_HI_MORE : ML_HI_NOMEMORY;
}
