/* The keys of a WebSocket handshake: RFC 6455, section 4.2.2 wants SHA-1 (RFC 3174) and base64
** (RFC 4648). Neither is for secrets here, and there may be no OpenSSL.
*/
#include <string.h>

#include "ws.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1_block(uint32_t h[5], const uint8_t *p) {
  static const uint32_t k[4] = {0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6};
  uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 |
           p[4 * i + 3];
  for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
  for (int i = 0; i < 80; i++) {
    uint32_t f = i < 20              ? (b & c) | (~b & d)
                 : i < 40 || i >= 60 ? b ^ c ^ d
                                     : (b & c) | (b & d) | (c & d);
    uint32_t t = rotate(a, 5) + f + e + w[i] + k[i / 20];
    e = d;
    d = c;
    c = rotate(b, 30);
    b = a;
    a = t;
  }
  h[0] += a;
  h[1] += b;
  h[2] += c;
  h[3] += d;
  h[4] += e;
}

typedef struct sha1 {
  uint32_t h[5];
  uint64_t bytes;
  uint8_t block[64];
} sha1;

static void sha1_add(sha1 *s, const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  for (; n > 0; n--) {
    s->block[s->bytes++ % 64] = *p++;
    if (s->bytes % 64 == 0) sha1_block(s->h, s->block);
  }
}

static void sha1_end(sha1 *s, uint8_t digest[20]) {
  uint64_t bits = s->bytes * 8;
  uint8_t length[8];
  sha1_add(s, "\x80", 1);
  while (s->bytes % 64 != 56) sha1_add(s, "", 1);
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
  sha1_add(s, length, sizeof length);
  for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

/* Groups of three bytes become four characters, the last one is filled up. */
static void base64(const uint8_t *p, size_t n, char *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < n; i += 3, out += 4) {
    uint32_t v = (uint32_t)p[i] << 16;
    if (i + 1 < n) v |= (uint32_t)p[i + 1] << 8;
    if (i + 2 < n) v |= p[i + 2];
    out[0] = digits[v >> 18];
    out[1] = digits[v >> 12 & 63];
    out[2] = i + 1 < n ? digits[v >> 6 & 63] : '=';
    out[3] = i + 2 < n ? digits[v & 63] : '=';
  }
}

void ml__ws_accept(const char *key, size_t n, char accept[ML_WS_ACCEPT]) {
  sha1 s = {.h = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}};
  uint8_t digest[20];
  sha1_add(&s, key, n);
  sha1_add(&s, GUID, sizeof GUID - 1);
  sha1_end(&s, digest);
  base64(digest, sizeof digest, accept);
}

int ml__ws_key(char key[ML_WS_KEY]) {
  uint8_t bytes[16];
  int rc = uv_random(NULL, NULL, bytes, sizeof bytes, 0, NULL);
  if (rc == 0) base64(bytes, sizeof bytes, key);
  return rc;
}
