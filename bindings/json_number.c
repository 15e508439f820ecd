/* Numbers of module json: the double nearest to a decimal text, and the shortest decimal text
** that is nearest to a double. Most numbers in documents have up to 15 digits, for which one
** correctly rounded operation on doubles decides; the C library has the last word on the rest.
*/
#include "json.h"

#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Powers of ten that doubles have exactly. */
static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* ---- reading ---- */

/* strtod where the locale's point is not ".": the text with that point. */
static double with_point(const char *s, const char *point) {
  size_t n = strspn(s, "+-.0123456789eE"), dot = strcspn(s, "."), len = strlen(point);
  char small[128], *copy = n + len < sizeof small ? small : malloc(n + len + 1);
  double d;
  if (copy == NULL) return strtod(s, NULL);
  memcpy(copy, s, dot);
  memcpy(copy + dot, point, len);
  memcpy(copy + dot + len, s + dot + 1, n - dot - 1);
  copy[n + len - 1] = '\0';
  d = strtod(copy, NULL);
  if (copy != small) free(copy);
  return d;
}

double ml__json_todouble(const char *s, uint64_t mantissa, int exponent, bool cut) {
  const char *point;
#if FLT_EVAL_METHOD == 0
  if (!cut && mantissa <= (uint64_t)1 << 53 && exponent >= -22 && exponent <= 22) {
    double d = (double)mantissa;
    d = exponent < 0 ? d / powers[-exponent] : d * powers[exponent];
    return *s == '-' ? -d : d;
  }
#endif
  point = localeconv()->decimal_point;
  if ((point[0] != '.' || point[1] != '\0') && memchr(s, '.', strspn(s, "+-.0123456789")) != NULL)
    return with_point(s, point);
  return strtod(s, NULL);
}

/* ---- writing ---- */

static const char pairs[] = "0001020304050607080910111213141516171819202122232425262728293031323334"
                            "3536373839404142434445464748495051525354555657585960616263646566676869"
                            "707172737475767778798081828384858687888990919293949596979899";

/* Writes the digits of u so that they end before `end`; returns where they begin. */
static char *digits_before(char *end, uint64_t u) {
  while (u >= 100) {
    end -= 2;
    memcpy(end, pairs + 2 * (u % 100), 2);
    u /= 100;
  }
  if (u < 10) {
    *--end = (char)('0' + u);
  } else {
    end -= 2;
    memcpy(end, pairs + 2 * u, 2);
  }
  return end;
}

int ml__json_frominteger(char *out, lua_Integer i) {
  char buf[24], *end = buf + sizeof buf, *p;
  uint64_t u = (uint64_t)i;
  int n = 0;
  if (i < 0) {
    out[n++] = '-';
    u = 0 - u;
  }
  if (u < 10) {
    out[n] = (char)('0' + u);
    return n + 1;
  }
  p = digits_before(end, u);
  memcpy(out + n, p, (size_t)(end - p));
  return n + (int)(end - p);
}

/* The digits of |d| as a number without zeros at its end, and the exponent of its last digit. Of
** all decimals with up to 15 digits no two are the same double: if the nearest such one is d, it
** is the shortest. */
static bool short_digits(double d, uint64_t *digits, int *exponent) {
#if FLT_EVAL_METHOD == 0
  int e2, scale;
  uint64_t m;
  if (!(d >= 1e-7 && d < 1e15)) return false;
  frexp(d, &e2);
  scale = 14 - (((e2 - 1) * 1233) >> 12); /* log10(2) is 1233 / 4096, nearly */
  if (scale > 22) scale = 22;
  m = (uint64_t)(d * powers[scale] + 0.5);
  if (m >= 1000000000000000 && scale > 0) {
    scale--;
    m = (uint64_t)(d * powers[scale] + 0.5);
  }
  if (m >= 1000000000000000 || (double)m / powers[scale] != d) return false;
  while (m % 10000 == 0) {
    m /= 10000;
    scale -= 4;
  }
  while (m % 10 == 0) {
    m /= 10;
    scale--;
  }
  *digits = m;
  *exponent = -scale;
  return true;
#else
  (void)d, (void)digits, (void)exponent;
  return false;
#endif
}

/* The same for any double. Below DBL_MIN less than 15 digits may do, too. */
static void long_digits(double d, uint64_t *digits, int *exponent) {
  char text[40];
  for (int n = d < DBL_MIN ? 1 : 15; n <= 17; n++) {
    char *e;
    uint64_t m = 0;
    snprintf(text, sizeof text, "%.*e", n - 1, d);
    if (n < 17 && strtod(text, NULL) != d) continue;
    e = strchr(text, 'e');
    for (const char *p = text; p < e; p++)
      if (*p >= '0' && *p <= '9') m = m * 10 + (uint64_t)(*p - '0');
    *exponent = atoi(e + 1) - (n - 1);
    while (m % 10 == 0) {
      m /= 10;
      ++*exponent;
    }
    *digits = m;
    return;
  }
}

/* As 0.00001 to 9999999999999999.0 without an exponent, the rest with one. */
static int layout(char *out, const char *digits, int n, int exponent) {
  int point = n + exponent, len = 0; /* digits before the point */
  if (point > 16 || point < -4) {
    out[len++] = digits[0];
    if (n > 1) {
      out[len++] = '.';
      memcpy(out + len, digits + 1, (size_t)n - 1);
      len += n - 1;
    }
    out[len++] = 'e';
    return len + ml__json_frominteger(out + len, point - 1);
  }
  if (point <= 0) {
    memset(out, '0', 6);
    out[1] = '.';
    len = 2 - point;
    memcpy(out + len, digits, (size_t)n);
    return len + n;
  }
  if (point >= n) {
    memcpy(out, digits, (size_t)n);
    memset(out + n, '0', (size_t)(point - n));
    out[point] = '.';
    out[point + 1] = '0';
    return point + 2;
  }
  memcpy(out, digits, (size_t)point);
  out[point] = '.';
  memcpy(out + point + 1, digits + point, (size_t)(n - point));
  return n + 1;
}

int ml__json_fromdouble(char *out, double d) {
  char buf[24], *end = buf + sizeof buf, *p;
  uint64_t digits;
  int exponent, len = 0;
  if (signbit(d)) {
    out[len++] = '-';
    d = -d;
  }
  if (d == 0) {
    memset(out + len, '0', 3);
    out[len + 1] = '.';
    return len + 3;
  }
  if (!short_digits(d, &digits, &exponent)) long_digits(d, &digits, &exponent);
  p = digits_before(end, digits);
  return len + layout(out + len, p, (int)(end - p), exponent);
}
