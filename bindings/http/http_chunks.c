/* Bodies in chunks (RFC 9112, 7.1), requests' and responses': what is beside the data, byte by
** byte. Strict: lines end with CR LF, a size is hex digits and nothing else; what servers are
** known to send, `lenient` lets pass. What extensions and trailers have is counted.
*/
#include "http.h"

enum {
  SIZE,
  SPACES,
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

static int in_size(ml_hchunks *k, char ch) {
  int digit = hex(ch);
  if (digit >= 0) {
    if (k->digits == 15) return WRONG;
    k->digits++;
    k->left = k->left * 16 + (uint64_t)digit;
    return SIZE;
  }
  if (k->digits == 0) return WRONG;
  return ch == '\r'                                ? SIZE_LF
         : ch == ';'                               ? EXTENSION
         : k->lenient && (ch == ' ' || ch == '\t') ? SPACES
                                                   : WRONG;
}

static bool is_text(char ch) { return ((unsigned char)ch >= ' ' && ch != 0x7f) || ch == '\t'; }

/* One byte outside of a chunk's data: the next state. */
static int next_state(ml_hchunks *k, char ch) {
  switch (k->state) {
  case SIZE: return in_size(k, ch);
  case SPACES:
    return ch == '\r' ? SIZE_LF : ch == ';' ? EXTENSION : ch == ' ' || ch == '\t' ? SPACES : WRONG;
  case EXTENSION: return ch == '\r' ? SIZE_LF : is_text(ch) ? EXTENSION : WRONG;
  case SIZE_LF: return ch != '\n' ? WRONG : k->left > 0 ? DATA : LINE;
  case DATA_CR: return ch == '\r' ? DATA_LF : WRONG;
  case DATA_LF: k->digits = 0; return ch == '\n' ? SIZE : WRONG;
  case LINE: return ch == '\r' ? END_LF : ml__token_ok(&ch, 1) ? NAME : WRONG;
  case NAME: return ch == ':' ? VALUE : ml__token_ok(&ch, 1) ? NAME : WRONG;
  case VALUE: return ch == '\r' ? VALUE_LF : is_text(ch) ? VALUE : WRONG;
  case VALUE_LF: return ch == '\n' ? LINE : WRONG;
  default: return ch == '\n' ? DONE : WRONG; /* END_LF */
  }
}

/* Where a line may end it ends, though CR is missing. */
static int lenient_state(ml_hchunks *k, char ch) {
  static const uint8_t line_feed[] = {
      [SIZE] = SIZE_LF,    [SPACES] = SIZE_LF, [EXTENSION] = SIZE_LF,
      [DATA_CR] = DATA_LF, [LINE] = END_LF,    [VALUE] = VALUE_LF};
  if (ch == '\n' && k->state < sizeof line_feed && line_feed[k->state] != 0 &&
      (k->state != SIZE || k->digits > 0))
    k->state = line_feed[k->state];
  return next_state(k, ch);
}

static const char *const reasons[] = {"the size of a chunk is malformed",
                                      "the size of a chunk is malformed",
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

size_t ml__hchunks_skip(ml_hchunks *k, const char *p, size_t n, size_t *ntrailers) {
  size_t i = 0;
  *ntrailers = 0;
  while (i < n && k->state != DATA) {
    int state = k->state, after = k->lenient ? lenient_state(k, p[i]) : next_state(k, p[i]);
    i++;
    if (state == EXTENSION || (state >= NAME && state <= VALUE)) k->beside++;
    if (state >= LINE) ++*ntrailers;
    if (after == WRONG) {
      k->digits = (uint8_t)state; /* what it was in */
      k->state = WRONG;
      return i;
    }
    k->state = (uint8_t)after;
    if (after == DONE) return i;
  }
  return i;
}

bool ml__hchunks_in_data(const ml_hchunks *k) { return k->state == DATA; }
bool ml__hchunks_done(const ml_hchunks *k) { return k->state == DONE; }

void ml__hchunks_took(ml_hchunks *k, size_t n) {
  k->left -= n;
  if (k->left == 0) k->state = DATA_CR;
}

const char *ml__hchunks_wrong(const ml_hchunks *k) {
  return k->state == WRONG ? reasons[k->digits] : NULL;
}
