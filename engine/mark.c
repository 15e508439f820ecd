/* Where an error comes from, and the word of its line that it is about: see mark.h. */
#include "mark.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox.h"

/* ---- places ---- */

/* "FILE:LINE:" at the beginning of s? */
static bool read_place(const char *s, ml_place *p) {
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

bool ml__error_place(const char *message, const char *traceback, ml_place *p) {
  const char *s = message;
  while (isalnum((unsigned char)*s) || *s == '_') s++;
  if (s > message && s[0] == ':' && s[1] == ' ' && read_place(s + 2, p)) return true;
  if (read_place(message, p)) return true;
  for (s = strstr(traceback, "\n\t"); s != NULL; s = strstr(s + 2, "\n\t"))
    if (strncmp(s + 2, "[C]", 3) != 0 && read_place(s + 2, p)) return true;
  return false;
}

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

FILE *ml__source_open(const char *path) {
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  struct stat st;
  FILE *f = NULL;
  if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) f = fdopen(fd, "r");
  if (fd >= 0 && f == NULL) close(fd);
  return f;
}

bool ml__source_line(FILE *f, long n, char *buf, size_t size) {
  bool ok = f != NULL && n > 0 && line_of_file(f, n, buf, size);
  if (f != NULL) fclose(f);
  return ok;
}

/* ---- marks ---- */

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The one place of the word in the line, or -1. after: the byte that must stand before it, or 0;
** before: those of which one must stand behind it, or NULL. */
static long only_place(const char *line, const char *word, size_t n, char after,
                       const char *before) {
  long found = -1;
  bool whole = in_word(word[0]);
  for (const char *s = line; (s = strstr(s, word)) != NULL; s++) {
    if (whole && ((s > line && in_word(s[-1])) || in_word(s[n]))) continue;
    if (after != 0 && (s == line || s[-1] != after)) continue;
    if (before != NULL && (s[n] == '\0' || strchr(before, s[n]) == NULL)) continue;
    if (found >= 0) return -1;
    found = s - line;
  }
  return found;
}

/* What stands behind a value with which that is attempted. */
static const char *behind(const char *message) {
  if (strstr(message, "attempt to call") != NULL) return "({\"'";
  if (strstr(message, "attempt to index") != NULL) return ".[:";
  return NULL;
}

/* What the message is about, as it stands in the line: its place, or -1. */
static long find(const char *message, const char *line, size_t *width) {
  static const struct {
    const char *before;
    char after;
  } forms[] = {{"(local '", 0},    {"(global '", 0}, {"(upvalue '", 0}, {"(field '", '.'},
               {"(method '", ':'}, {"(field '", 0},  {"near '", 0},     {"(constant '", 0}};
  char word[128];
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    const char *s = strstr(message, forms[i].before), *end;
    long at;
    if (s == NULL) continue;
    s += strlen(forms[i].before);
    end = strchr(s, '\'');
    if (end == NULL || end == s || (size_t)(end - s) >= sizeof word) continue;
    memcpy(word, s, (size_t)(end - s));
    word[end - s] = '\0';
    at = only_place(line, word, (size_t)(end - s), forms[i].after, NULL);
    if (at < 0 && behind(message) != NULL)
      at = only_place(line, word, (size_t)(end - s), forms[i].after, behind(message));
    if (at < 0) continue;
    *width = (size_t)(end - s);
    return at;
  }
  return -1;
}

static bool begins_character(char c) { return ((unsigned char)c & 0xC0) != 0x80; }

bool ml__error_mark(const char *message, const char *line, char *mark) {
  size_t width = 0;
  long at = find(message, line, &width);
  if (at < 0) return false;
  for (long i = 0; i < at; i++)
    if (begins_character(line[i])) *mark++ = line[i] == '\t' ? '\t' : ' ';
  for (size_t i = 0; i < width; i++)
    if (begins_character(line[at + (long)i])) *mark++ = '^';
  *mark = '\0';
  return true;
}

/* ---- for scripts ---- */

/* core.error_mark(message, line): what stands under the line, or nil */
static int core_error_mark(lua_State *L) {
  size_t n;
  const char *message = luaL_checkstring(L, 1), *line = luaL_checklstring(L, 2, &n);
  luaL_Buffer b;
  char *mark = luaL_buffinitsize(L, &b, n + 1);
  if (ml__error_mark(message, line, mark))
    luaL_pushresultsize(&b, strlen(mark));
  else
    lua_pushnil(L);
  return 1;
}

/* core.error_place(message, traceback): file (or chunk) and line, or nil */
static int core_error_place(lua_State *L) {
  ml_place p;
  if (!ml__error_place(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &p)) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushstring(L, p.file);
  lua_pushinteger(L, p.line);
  return 2;
}

static FILE *open_allowed(lua_State *L, const char *path) {
  const ml_sandbox *s = ml__engine(L)->sandbox;
  ml_pathpin pin;
  FILE *f;
  if (s == NULL) return ml__source_open(path);
  if (ml__path_pin(s, path, ML_PATH_R, &pin) < 0) return NULL;
  f = ml__source_open(pin.path);
  ml__path_unpin(&pin);
  return f;
}

/* core.source_line(path, n): the line without its end; nil: it is not there, is none that can be
** shown, or may not be read */
static int core_source_line(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  lua_Integer n = luaL_checkinteger(L, 2);
  char line[ML_LINE_SHOWN];
  if (ml__source_line(open_allowed(L, path), (long)n, line, sizeof line))
    lua_pushstring(L, line);
  else
    lua_pushnil(L);
  return 1;
}

void ml__open_mark(lua_State *L) {
  static const luaL_Reg functions[] = {{"error_mark", core_error_mark},
                                       {"error_place", core_error_place},
                                       {"source_line", core_source_line},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
