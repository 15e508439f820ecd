/* A request's head out of the fields that nghttp2 has decoded: collected in a buffer of the
** session, then copied once into the block that HTTP/1 has as well.
**
** nghttp2 has refused by then what RFC 9113, 8.1 to 8.3 calls malformed. Here are the
** limits, and what an HTTP/1 request would have been refused for too.
*/
#include <string.h>

#include "h2.h"

#define HARD_LIMIT(max) ((max)*4 + 64 * 1024) /* then the stream is reset */

void ml__h2_head_begin(ml_http2 *h) {
  ml_h2parse *p = &h->parse;
  ml_hfield *fields = p->fields;
  char *text = p->text;
  uint32_t capfields = p->capfields, captext = p->captext;
  memset(p, 0, sizeof *p);
  p->fields = fields;
  p->text = text;
  p->capfields = capfields;
  p->captext = captext;
  p->nfields = 1;
}

void ml__h2_head_free(ml_http2 *h) {
  ml_h2parse *p = &h->parse;
  ml__alloc(ml__h2_alloc(h), p->fields, p->capfields * sizeof *p->fields, 0);
  ml__alloc(ml__h2_alloc(h), p->text, p->captext, 0);
  p->fields = NULL;
  p->text = NULL;
  p->capfields = p->captext = 0;
}

/* Room for n more bytes of text. */
static bool room(ml_http2 *h, size_t n) {
  ml_h2parse *p = &h->parse;
  size_t cap = p->captext == 0 ? 512 : p->captext;
  char *text;
  if (p->ntext + n <= p->captext) return true;
  while (cap < p->ntext + n) cap *= 2;
  text = ml__alloc(ml__h2_alloc(h), p->text, p->captext, cap);
  if (text == NULL) return false;
  p->text = text;
  p->captext = (uint32_t)cap;
  return true;
}

static ml_hspan put(ml_h2parse *p, const char *s, size_t n) {
  ml_hspan span = {p->ntext, (uint32_t)n};
  if (n > 0) memcpy(p->text + p->ntext, s, n);
  p->ntext += (uint32_t)n;
  return span;
}

/* Room for one more field. */
static bool field_room(ml_http2 *h) {
  ml_h2parse *p = &h->parse;
  uint32_t cap = p->capfields == 0 ? 16 : 2 * p->capfields;
  ml_hfield *f;
  if (p->nfields < p->capfields) return true;
  f = ml__alloc(ml__h2_alloc(h), p->fields, p->capfields * sizeof *f, cap * sizeof *f);
  if (f == NULL) return false;
  p->fields = f;
  p->capfields = cap;
  return true;
}

static bool is(const char *s, size_t n, const char *word) {
  return n == strlen(word) && memcmp(s, word, n) == 0;
}

static void add_pseudo(ml_h2parse *p, const char *name, size_t nname, const char *value, size_t n) {
  if (is(name, nname, ":method"))
    p->method = put(p, value, n);
  else if (is(name, nname, ":path"))
    p->path = put(p, value, n);
  else if (is(name, nname, ":authority"))
    p->authority = put(p, value, n);
  else if (is(name, nname, ":status"))
    p->status = put(p, value, n);
}

/* What the framing needs to know. nghttp2 has checked the length. */
static void look_at(ml_h2parse *p, const ml_hfield *f) {
  const char *name = p->text + f->name, *value = p->text + f->value;
  switch (f->nname) {
  case 4:
    if (memcmp(name, "host", 4) != 0) break;
    p->has_host = true;
    p->host.at = f->value;
    p->host.n = f->nvalue;
    break;
  case 6:
    if (memcmp(name, "cookie", 6) == 0) p->cookies++;
    if (memcmp(name, "expect", 6) != 0) break;
    if (ml__name_equals(value, f->nvalue, "100-continue", 12))
      p->expects = true;
    else
      p->expects_more = true;
    break;
  case 14:
    if (memcmp(name, "content-length", 14) != 0) break;
    p->has_length = true;
    p->length = 0;
    for (uint32_t i = 0; i < f->nvalue; i++)
      p->length = p->length * 10 + (uint64_t)(value[i] - '0');
    break;
  default: break;
  }
}

int ml__h2_head_add(ml_http2 *h, const char *name, size_t nname, const char *value, size_t nvalue) {
  ml_h2parse *p = &h->parse;
  ml_hfield *f;
  p->size += (uint32_t)(nname + nvalue);
  if (p->size > h->max_head || p->nfields > h->max_headers) {
    p->too_large = true;
    return p->size + p->nfields++ > HARD_LIMIT(h->max_head) ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
                                                            : 0;
  }
  if (!room(h, nname + nvalue) || !field_room(h)) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (nname > 0 && name[0] == ':') {
    add_pseudo(p, name, nname, value, nvalue);
    return 0;
  }
  f = &p->fields[p->nfields++];
  f->name = put(p, name, nname).at;
  f->nname = (uint32_t)nname;
  f->value = put(p, value, nvalue).at;
  f->nvalue = (uint32_t)nvalue;
  look_at(p, f);
  return 0;
}

/* Cookies may come apart: RFC 9113, 8.2.3. */
static bool join_cookies(ml_http2 *h) {
  ml_h2parse *p = &h->parse;
  ml_hfield *first = NULL;
  uint32_t k = 1, start;
  if (!room(h, p->size + 2 * p->cookies)) return false;
  start = p->ntext;
  for (uint32_t i = 1; i < p->nfields; i++) {
    ml_hfield *f = &p->fields[i];
    if (!is(p->text + f->name, f->nname, "cookie")) {
      p->fields[k++] = *f;
      continue;
    }
    if (first != NULL) put(p, "; ", 2);
    put(p, p->text + f->value, f->nvalue);
    if (first == NULL) {
      p->fields[k] = *f;
      first = &p->fields[k++];
    }
  }
  p->nfields = k;
  if (first != NULL) {
    first->value = start;
    first->nvalue = p->ntext - start;
  }
  return true;
}

/* nghttp2 lets bytes over 127 pass. */
static bool ascii(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)s[i] > 126) return false;
  return true;
}

/* What HTTP/1 refuses, too. */
static int refusal(const ml_http2 *h, const char **why) {
  const ml_h2parse *p = &h->parse;
  const ml_hspan *host = p->authority.n > 0 ? &p->authority : &p->host;
  if (p->too_large) {
    *why = "the request's head is too large";
    return 431;
  }
  if (p->path.n > h->max_line) {
    *why = "the request's target is too long";
    return 414;
  }
  if (is(p->text + p->method.at, p->method.n, "CONNECT")) {
    *why = "CONNECT is not served here";
    return 501;
  }
  if (p->has_host && p->authority.n > 0 &&
      !ml__name_equals(p->text + p->host.at, p->host.n, p->text + p->authority.at,
                       p->authority.n)) {
    *why = "Host and :authority differ";
    return 400;
  }
  if (!ml__host_ok(p->text + host->at, host->n)) {
    *why = "Host is malformed";
    return 400;
  }
  if (!ascii(p->text + p->path.at, p->path.n)) {
    *why = "the request's path is malformed";
    return 400;
  }
  if (p->expects_more) {
    *why = "Expect asks for something unknown";
    return 417;
  }
  return 0;
}

/* Path and query of the target, without a fragment. */
static void split_path(ml_hhead *d, const char *text) {
  const char *at = text + d->target.at, *end = at + d->target.n, *query, *fragment;
  if (d->target.n == 0) return;
  fragment = memchr(at, '#', d->target.n);
  if (fragment != NULL) end = fragment;
  query = memchr(at, '?', (size_t)(end - at));
  d->path.n = (uint32_t)((query != NULL ? query : end) - at);
  if (query == NULL) return;
  d->query.at = d->path.at + d->path.n + 1;
  d->query.n = (uint32_t)(end - query - 1);
  d->flags |= ML_HH_QUERY;
}

ml_hhead *ml__h2_head_build(ml_http2 *h) {
  ml_h2parse *p = &h->parse;
  bool own_host = !p->has_host && p->authority.n > 0;
  uint32_t skip = own_host ? 0 : 1;
  ml_hhead *d;
  if (!room(h, 4) || !field_room(h)) return NULL;
  if (own_host) {
    ml_hspan name = put(p, "host", 4);
    p->fields[0] = (ml_hfield){name.at, name.n, p->authority.at, p->authority.n};
  }
  d = ml__alloc(ml__h2_alloc(h), NULL, 0,
                sizeof *d + (p->nfields - skip) * sizeof *d->fields + p->ntext);
  if (d == NULL) return NULL;
  memset(d, 0, sizeof *d);
  d->ntext = p->ntext;
  d->nfields = (uint16_t)(p->nfields - skip);
  memcpy(d->fields, p->fields + skip, d->nfields * sizeof *d->fields);
  memcpy(d->fields + d->nfields, p->text, p->ntext);
  d->flags = (uint8_t)((p->has_length ? ML_HH_LENGTH : 0) | (p->expects ? ML_HH_CONTINUE : 0) |
                       ML_HH_KEEP);
  d->length = p->length;
  d->method = p->method;
  d->target = d->path = p->path;
  d->host = p->has_host ? p->host : p->authority;
  split_path(d, p->text);
  return d;
}

int ml__h2_head_end(ml_http2 *h, ml_hhead **head, const char **why) {
  ml_h2parse *p = &h->parse;
  int status = refusal(h, why);
  *head = NULL;
  if (status != 0) return status;
  if (p->cookies > 1 && !join_cookies(h)) return 0;
  *head = ml__h2_head_build(h);
  return 0;
}
