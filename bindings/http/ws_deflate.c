/* permessage-deflate (RFC 7692): messages through zlib.
**
** A window is made when it is first needed: a connection whose peer never compresses has none
** for reading. Results lie in one buffer of the object's, whose size is bounded by the
** limit of a message; a large one is given back when it was used.
*/
#include <string.h>

#include "ws.h"

#ifdef ML_WITH_ZLIB
#include <zlib.h>

#define KEEP (16 * 1024) /* of the buffer, between messages */
#define LEVEL 3          /* most of what more effort would save, at half its price */
#define MEMORY 8         /* zlib's memLevel */

struct ml_wszip {
  ml_allocator *a;
  ml_wszipconfig config;
  z_stream in, out;
  bool has_in, has_out;
  char *buf;
  size_t cap;
};

/* zlib says no sizes when it frees: they stand in front. */
typedef union prefix {
  size_t size;
  max_align_t align;
} prefix;

static voidpf zip_alloc(voidpf a, uInt items, uInt size) {
  size_t n = sizeof(prefix) + (size_t)items * size;
  prefix *p = ml__alloc(a, NULL, 0, n);
  if (p == NULL) return Z_NULL;
  p->size = n;
  return p + 1;
}

static void zip_free(voidpf a, voidpf block) {
  prefix *p = (prefix *)block - 1;
  ml__alloc(a, p, p->size, 0);
}

ml_wszip *ml__wszip_new(ml_allocator *a, const ml_wszipconfig *c) {
  ml_wszip *z = ml__alloc(a, NULL, 0, sizeof *z);
  if (z == NULL) return NULL;
  memset(z, 0, sizeof *z);
  z->a = a;
  z->config = *c;
  z->in.zalloc = z->out.zalloc = zip_alloc;
  z->in.zfree = z->out.zfree = zip_free;
  z->in.opaque = z->out.opaque = a;
  return z;
}

static void buffer_free(ml_wszip *z) {
  ml__alloc(z->a, z->buf, z->cap, 0);
  z->buf = NULL;
  z->cap = 0;
}

void ml__wszip_free(ml_wszip *z) {
  if (z == NULL) return;
  if (z->has_in) inflateEnd(&z->in);
  if (z->has_out) deflateEnd(&z->out);
  if (z->buf != NULL) buffer_free(z);
  ml__alloc(z->a, z, sizeof *z, 0);
}

void ml__wszip_done(ml_wszip *z) {
  if (z->cap > KEEP) buffer_free(z);
}

/* Room for more behind n bytes. False: no memory. */
static bool grow(ml_wszip *z, size_t least) {
  size_t cap = z->cap * 2 > least ? z->cap * 2 : least;
  char *p = ml__alloc(z->a, z->buf, z->cap, cap);
  if (p == NULL) return false;
  z->buf = p;
  z->cap = cap;
  return true;
}

/* Inflates all of the input, behind the *len bytes that are there. */
static int inflate_more(ml_wszip *z, const char *p, size_t n, size_t max, size_t *len) {
  z_stream *s = &z->in;
  s->next_in = (Bytef *)(uintptr_t)p; // NOLINT(performance-no-int-to-ptr)
  s->avail_in = (uInt)n;
  for (;;) {
    int rc;
    size_t room;
    if (*len == z->cap && !grow(z, 4096)) return ML_WSC_INTERNAL;
    room = z->cap - *len;
    if (max > 0 && room > max + 1 - *len) room = max + 1 - *len; /* one more tells */
    if (room > 1u << 30) room = 1u << 30;
    s->next_out = (Bytef *)z->buf + *len;
    s->avail_out = (uInt)room;
    rc = inflate(s, Z_SYNC_FLUSH);
    *len += room - s->avail_out;
    if (max > 0 && *len > max) return ML_WSC_TOO_BIG;
    if (rc == Z_MEM_ERROR) return ML_WSC_INTERNAL;
    if (rc == Z_STREAM_END) { /* section 7.2.3.4: a final block, and more may follow */
      if (inflateReset(s) != Z_OK) return ML_WSC_INTERNAL;
      if (s->avail_in == 0) return 0;
    } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
      return ML_WSC_INVALID;
    } else if (s->avail_out > 0) {
      return s->avail_in == 0 ? 0 : ML_WSC_INVALID;
    }
  }
}

int ml__wszip_inflate(ml_wszip *z, const char *p, size_t n, size_t max, char **out, size_t *len) {
  int rc = 0;
  *len = 0;
  if (!z->has_in) {
    /* zlib writes no raw streams for windows of 8 bits, but reads them with 9 */
    if (inflateInit2(&z->in, z->config.in_bits < 9 ? -9 : -z->config.in_bits) != Z_OK)
      return ML_WSC_INTERNAL;
    z->has_in = true;
  }
  while (rc == 0 && n > 0) { /* zlib counts in 32 bits */
    size_t part = n < (1u << 30) ? n : 1u << 30;
    rc = inflate_more(z, p, part, max, len);
    p += part;
    n -= part;
  }
  if (rc == 0) rc = inflate_more(z, "\x00\x00\xff\xff", 4, max, len);
  if (rc == 0 && z->config.in_reset) inflateReset(&z->in);
  *out = z->buf;
  return rc;
}

int ml__wszip_deflate(ml_wszip *z, const char *p, size_t n, char **out, size_t *len) {
  z_stream *s = &z->out;
  size_t have = 0;
  if (!z->has_out) {
    if (deflateInit2(s, LEVEL, Z_DEFLATED, -z->config.out_bits, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
      return ML_WSC_INTERNAL;
    z->has_out = true;
  }
  s->next_in = (Bytef *)(uintptr_t)p; // NOLINT(performance-no-int-to-ptr)
  do {
    size_t part = n < (1u << 30) ? n : 1u << 30;
    s->avail_in = (uInt)part;
    n -= part;
    do {
      if (z->cap - have < 16 && !grow(z, part / 2 + 1024)) return ML_WSC_INTERNAL;
      s->next_out = (Bytef *)z->buf + have;
      s->avail_out = (uInt)(z->cap - have < (1u << 30) ? z->cap - have : 1u << 30);
      size_t room = s->avail_out;
      if (deflate(s, n > 0 ? Z_NO_FLUSH : Z_SYNC_FLUSH) == Z_STREAM_ERROR) return ML_WSC_INTERNAL;
      have += room - s->avail_out;
    } while (s->avail_out == 0);
  } while (n > 0);
  if (have >= 4 && memcmp(z->buf + have - 4, "\x00\x00\xff\xff", 4) == 0) have -= 4;
  if (have == 0) z->buf[have++] = 0; /* section 7.2.3.6: an empty block for nothing */
  if (z->config.out_reset) deflateReset(s);
  *out = z->buf;
  *len = have;
  return 0;
}

#else

ml_wszip *ml__wszip_new(ml_allocator *a, const ml_wszipconfig *c) {
  (void)a;
  (void)c;
  return NULL;
}
void ml__wszip_free(ml_wszip *z) { (void)z; }
void ml__wszip_done(ml_wszip *z) { (void)z; }
int ml__wszip_inflate(ml_wszip *z, const char *p, size_t n, size_t max, char **out, size_t *len) {
  (void)z, (void)p, (void)n, (void)max, (void)out, (void)len;
  return ML_WSC_INTERNAL;
}
int ml__wszip_deflate(ml_wszip *z, const char *p, size_t n, char **out, size_t *len) {
  (void)z, (void)p, (void)n, (void)out, (void)len;
  return ML_WSC_INTERNAL;
}

#endif
