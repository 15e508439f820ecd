/* How the command shows an error that nothing handled: see errors.h. */
#include "errors.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mark.h"

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

static bool read_line(const ml_place *p, const char *code, char *buf, size_t size) {
  FILE *f;
  if (strcmp(p->file, "(command line)") == 0)
    f = code != NULL && *code != '\0' ? fmemopen((void *)(uintptr_t)code, strlen(code), "r") : NULL;
  else
    f = ml__source_open(p->file);
  return ml__source_line(f, p->line, buf, size);
}

static void show_line(FILE *out, const style *st, const char *message, const ml_place *p,
                      const char *line) {
  char mark[ML_LINE_SHOWN];
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
  char line[ML_LINE_SHOWN];
  const char *nl = strchr(message, '\n'), *what = hint(message);
  size_t first = nl != NULL ? (size_t)(nl - message) : strlen(message);
  bool told = nl != NULL && strncmp(nl, "\n    ", 5) == 0; /* a syntax error has its line with it */
  ml_place p;
  fprintf(out, "%smoonloop:%s %s", st.error, st.end, st.strong);
  put_text(out, message, first);
  fputs(st.end, out);
  if (!told) put_text(out, message + first, strlen(message + first));
  putc('\n', out);
  if (ml__error_place(message, traceback, &p)) {
    if (told) snprintf(line, sizeof line, "%s", nl + 5);
    if (told || read_line(&p, code, line, sizeof line)) show_line(out, &st, message, &p, line);
  }
  if (what != NULL) fprintf(out, "hint: %s\n", what);
  if (traceback[0] == '\0') return;
  fputs(st.faint, out);
  put_text(out, traceback, strlen(traceback));
  fprintf(out, "%s\n", st.end);
}
