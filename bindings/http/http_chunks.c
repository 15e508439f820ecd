/* Bodies: by their length, or in chunks (RFC 9112, 7.1), byte by byte where it matters. Strict: lines
** end with CR LF, a size is hex digits and nothing else, what extensions and trailers say is
** dropped, and counted.
*/
#include "http.h"

enum {
  SIZE,
  EXTENSION,
  SIZE_LF,
  DATA,
  DATA_CR,
  DATA_LF,
  LINE,
  NAME,
  VALUE,
  VALUE_LF,
  END_LF,
  DONE,
  WRONG
};

static int hex(char ch) {
  if (ch >= '0' && ch <= '9') return ch - '0';
  if (ch >= 'a' && ch <= 'f') return ch - 'a' + 10;
  if (ch >= 'A' && ch <= 'F') return ch - 'A' + 10;
  return -1;
}

static int in_size(ml_hconn *c, char ch) {
  int digit = hex(ch);
  if (digit >= 0) {
    if (c->chunk.digits == 15) return WRONG;
    c->chunk.digits++;
    c->chunk.left = c->chunk.left * 16 + (uint64_t)digit;
    return SIZE;
  }
  if (c->chunk.digits == 0) return WRONG;
  return ch == '\r' ? SIZE_LF : ch == ';' ? EXTENSION : WRONG;
}

static bool is_text(char ch) { return ((unsigned char)ch >= ' ' && ch != 0x7f) || ch == '\t'; }

/* One byte outside of a chunk's data: the next state. */
static int next_state(ml_hconn *c, char ch) {
  switch (c->chunk.state) {
  case SIZE: return in_size(c, ch);
  case EXTENSION: return ch == '\r' ? SIZE_LF : is_text(ch) ? EXTENSION : WRONG;
  case SIZE_LF: return ch != '\n' ? WRONG : c->chunk.left > 0 ? DATA : LINE;
  case DATA_CR: return ch == '\r' ? DATA_LF : WRONG;
  case DATA_LF: c->chunk.digits = 0; return ch == '\n' ? SIZE : WRONG;
  case LINE: return ch == '\r' ? END_LF : ml__token_ok(&ch, 1) ? NAME : WRONG;
  case NAME: return ch == ':' ? VALUE : ml__token_ok(&ch, 1) ? NAME : WRONG;
  case VALUE: return ch == '\r' ? VALUE_LF : is_text(ch) ? VALUE : WRONG;
  case VALUE_LF: return ch == '\n' ? LINE : WRONG;
  default: return ch == '\n' ? DONE : WRONG; /* END_LF */
  }
}

static const char *const reasons[] = {"the size of a chunk is malformed",
                                      "the extension of a chunk is malformed",
                                      "a chunk does not begin with its line",
                                      "",
                                      "a chunk is longer than its size",
                                      "a chunk is longer than its size",
                                      "a trailer is malformed",
                                      "a trailer is malformed",
                                      "a trailer is malformed",
                                      "a trailer is malformed",
                                      "the chunks do not end with CR LF"};

/* Gives how many of the bytes were the body's. *done: it is complete. */
static size_t run_chunks(ml_hconn *c, const char *p, size_t n, bool *done) {
  for (size_t i = 0; i < n;) {
    int state = c->chunk.state, after;
    if (state == DATA) {
      size_t part = n - i < c->chunk.left ? n - i : (size_t)c->chunk.left;
      ml__hbody_add(c, p + i, part);
      i += part;
      c->chunk.left -= part;
      if (c->chunk.left == 0) c->chunk.state = DATA_CR;
      continue;
    }
    after = next_state(c, p[i++]);
    if (state == EXTENSION || (state >= NAME && state <= VALUE)) c->chunk.beside++;
    if (after == WRONG) {
      ml__hconn_bad(c, 400, reasons[state]);
      return n;
    }
    if (c->chunk.beside > c->settings->max_head) {
      ml__hconn_bad(c, 431, "the body has too much beside it");
      return n;
    }
    c->chunk.state = (uint8_t)after;
    if (after == DONE) {
      *done = true;
      return i;
    }
  }
  return n;
}

void ml__hbody_begin(ml_hconn *c, const ml_hhead *h) {
  bool chunked = (h->flags & ML_HH_CHUNKED) != 0;
  c->flags |= ML_HC_BODY;
  c->got = 0;
  c->expected = chunked ? UINT64_MAX : h->length;
  c->chunk.state = SIZE;
  c->chunk.digits = 0;
  c->chunk.beside = 0;
  c->chunk.left = 0;
}

size_t ml__hbody_run(ml_hconn *c, const char *p, size_t n) {
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
