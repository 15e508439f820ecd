/* How the command shows an error that nothing handled: see errors.h. */
#include "errors.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mark.h"

#define LINE_MAX_SHOWN 500

typedef struct style {
  const char *error, *strong, *faint, *mark, *end;
} style;

static style choose(FILE *out) {
  static const style none = {"", "", "", "", ""},
                     colours = {"\33[1;31m", "\33[1m", "\33[2m", "\33[1;31m", "\33[0m"};
  const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
  bool plain = (no != NULL && no[0] != '\0') || term == NULL || strcmp(term, "dumb") == 0;
  return plain || !isatty(fileno(out)) ? none : colours;
}

typedef struct place {
  char file[512];
  long line;
} place;

/* "FILE:LINE:" at the beginning of s? */
static bool read_place(const char *s, place *p) {
  const char *colon = s;
  char *end;
  while ((colon = strchr(colon, ':')) != NULL && memchr(s, '\n', (size_t)(colon - s)) == NULL) {
    p->line = strtol(colon + 1, &end, 10);
    if (end > colon + 1 && *end == ':' && (size_t)(colon - s) < sizeof p->file) {
      memcpy(p->file, s, (size_t)(colon - s));
      p->file[colon - s] = '\0';
      return true;
    }
    colon++;
  }
  return false;
}

/* Where the error was raised: what the message says, behind its class, or the first place of the
** traceback. */
static bool find_place(const char *message, const char *traceback, place *p) {
  const char *s = message;
  while (isalnum((unsigned char)*s) || *s == '_') s++;
  if (s > message && s[0] == ':' && s[1] == ' ' && read_place(s + 2, p)) return true;
  if (read_place(message, p)) return true;
  for (s = strstr(traceback, "\n\t"); s != NULL; s = strstr(s + 2, "\n\t"))
    if (strncmp(s + 2, "[C]", 3) != 0) return read_place(s + 2, p);
  return false;
}

/* Reads line number n of f, without its end. */
static bool line_of_file(FILE *f, long n, char *buf, size_t size) {
  long at = 1;
  size_t len = 0;
  int c;
  while (at < n && (c = getc(f)) != EOF) at += c == '\n';
  if (at < n) return false;
  while ((c = getc(f)) != EOF && c != '\n') {
    if (len + 1 == size || (iscntrl(c) && c != '\t' && c != '\r')) return false;
    buf[len++] = (char)c;
  }
  while (len > 0 && isspace((unsigned char)buf[len - 1])) len--;
  buf[len] = '\0';
  return len > 0;
}

/* Opens a file; nothing else: a message may name anything, and a pipe or a device never ends. */
static FILE *open_file(const char *path) {
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  struct stat st;
  FILE *f = NULL;
  if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) f = fdopen(fd, "r");
  if (fd >= 0 && f == NULL) close(fd);
  return f;
}

static bool read_line(const place *p, const char *code, char *buf, size_t size) {
  FILE *f;
  bool ok;
  if (strcmp(p->file, "(command line)") == 0)
    f = code != NULL && *code != '\0' ? fmemopen((void *)(uintptr_t)code, strlen(code), "r") : NULL;
  else
    f = open_file(p->file);
  if (f == NULL) return false;
  ok = line_of_file(f, p->line, buf, size);
  fclose(f);
  return ok;
}

static void show_line(FILE *out, const style *st, const char *message, const place *p,
                      const char *line) {
  char mark[LINE_MAX_SHOWN];
  int gutter = snprintf(NULL, 0, "%ld", p->line);
  fprintf(out, "%s  %ld |%s %s\n", st->faint, p->line, st->end, line);
  if (!ml__error_mark(message, line, mark)) return;
  fprintf(out, "%s  %*s |%s %s%s%s\n", st->faint, gutter, "", st->end, st->mark, mark, st->end);
}

/* What may have been meant, or NULL. */
static const char *hint(const char *message) {
  if (strstr(message, "attempt to call a coroutine value") != NULL)
    return "a coroutine is awaited, not called: await f()";
  if (strstr(message, "attempt to call a nil value (global 'asyncio')") != NULL ||
      strstr(message, "attempt to index a nil value (global 'asyncio')") != NULL)
    return "local asyncio = require \"asyncio\"";
  if (strncmp(message, "moonloop/", 9) == 0 && strstr(message, "(local 'self')") != NULL)
    return "methods are called with ':', not with '.': object:method()";
  return NULL;
}

/* On a terminal no byte of a message may steer it. */
static void put_text(FILE *out, const char *s, size_t n) {
  bool terminal = isatty(fileno(out));
  for (size_t i = 0; i < n; i++)
    putc(terminal && iscntrl((unsigned char)s[i]) && s[i] != '\n' && s[i] != '\t' ? '?' : s[i],
         out);
}

void cli_print_error(FILE *out, const char *message, const char *traceback, const char *code) {
  style st = choose(out);
  char line[LINE_MAX_SHOWN];
  const char *nl = strchr(message, '\n'), *what = hint(message);
  size_t first = nl != NULL ? (size_t)(nl - message) : strlen(message);
  bool told = nl != NULL && strncmp(nl, "\n    ", 5) == 0; /* a syntax error has its line with it */
  place p;
  fprintf(out, "%smoonloop:%s %s", st.error, st.end, st.strong);
  put_text(out, message, first);
  fputs(st.end, out);
  if (!told) put_text(out, message + first, strlen(message + first));
  putc('\n', out);
  if (find_place(message, traceback, &p)) {
    if (told) snprintf(line, sizeof line, "%s", nl + 5);
    if (told || read_line(&p, code, line, sizeof line)) show_line(out, &st, message, &p, line);
  }
  if (what != NULL) fprintf(out, "hint: %s\n", what);
  if (traceback[0] == '\0') return;
  fputs(st.faint, out);
  put_text(out, traceback, strlen(traceback));
  fprintf(out, "%s\n", st.end);
}
