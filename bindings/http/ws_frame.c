/* Bytes of WebSocket frames: heads, masks, close codes, text that comes in parts. Nothing here
** has a state of its own or knows Lua.
*/
#include <string.h>

#include "ws.h"

/* ---- UTF-8 ---- */

#define HIGH_BITS 0x8080808080808080ull

/* The first byte of a character of several: what has to follow (RFC 3629, section 4). */
static bool begin_character(ml_utf8 *u, uint8_t c) {
  u->low = 0x80;
  u->high = 0xBF;
  if (c < 0xC2 || c > 0xF4) return false;
  u->need = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
  if (c == 0xE0) u->low = 0xA0;
  if (c == 0xED) u->high = 0x9F; /* no surrogates */
  if (c == 0xF0) u->low = 0x90;
  if (c == 0xF4) u->high = 0x8F;
  return true;
}

bool ml__utf8_feed(ml_utf8 *u, const char *text, size_t n) {
  const uint8_t *p = (const uint8_t *)text, *end = p + n;
  while (p < end) {
    if (u->need > 0) {
      if (*p < u->low || *p > u->high) return false;
      u->low = 0x80;
      u->high = 0xBF;
      u->need--;
      p++;
      continue;
    }
    while (end - p >= 8) {
      uint64_t w;
      memcpy(&w, p, sizeof w);
      if (w & HIGH_BITS) break;
      p += 8;
    }
    while (p < end && *p < 0x80) p++;
    if (p < end && !begin_character(u, *p++)) return false;
  }
  return true;
}

bool ml__utf8_valid(const char *p, size_t n) {
  ml_utf8 u = {0, 0, 0};
  return ml__utf8_feed(&u, p, n) && u.need == 0;
}

/* ---- frames ---- */

void ml__ws_mask(char *to, const char *p, size_t n, const uint8_t key[4], unsigned at) {
  uint8_t k[8];
  uint64_t wide;
  size_t i = 0;
  for (unsigned j = 0; j < 8; j++) k[j] = key[(at + j) & 3];
  memcpy(&wide, k, sizeof wide);
  for (; i + 8 <= n; i += 8) {
    uint64_t w;
    memcpy(&w, p + i, sizeof w);
    w ^= wide;
    memcpy(to + i, &w, sizeof w);
  }
  for (; i < n; i++) to[i] = (char)((uint8_t)p[i] ^ k[i & 7]);
}

size_t ml__ws_head(uint8_t head[ML_WS_HEAD], unsigned first, uint64_t len, const uint8_t *key) {
  size_t n = 2;
  unsigned extra = len < 126 ? 0 : len <= 0xFFFF ? 2 : 8;
  head[0] = (uint8_t)first;
  head[1] = (uint8_t)(extra == 0 ? len : extra == 2 ? 126 : 127);
  for (unsigned i = extra; i > 0; i--) head[n++] = (uint8_t)(len >> (8 * (i - 1)));
  if (key != NULL) {
    head[1] |= 0x80;
    memcpy(head + n, key, 4);
    n += 4;
  }
  return n;
}

bool ml__ws_code_valid(unsigned code) {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}
