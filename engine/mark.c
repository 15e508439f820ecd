/* The word of a line that an error's message is about: see mark.h. */
#include "mark.h"

#include <ctype.h>
#include <string.h>

#include "core.h"

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

void ml__open_mark(lua_State *L) {
  lua_pushcfunction(L, core_error_mark);
  lua_setfield(L, -2, "error_mark");
}
