/* Writes the standard library as C: each Lua file compiled to the bytecode of
** the Lua that this program is linked with, which is the engine's own.
**
**   embed ROOT FILE...  > stdlib.c
**
** With them goes what .doc tells in the REPL: the annotations in front of functions, and the
** entries of the reference, FILE.md.
**
** ROOT/asyncio/init.lua becomes module "asyncio", ROOT/asyncio/locks.lua
** "asyncio.locks"; chunks are named "@moonloop/asyncio/locks.lua". Line numbers
** are kept for tracebacks. Runs at build time only.
*/
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Octal escapes are fixed in length, so no byte can run into the next. */
static int write_bytes(lua_State *L, const void *p, size_t n, void *ud) {
  const unsigned char *bytes = p;
  size_t *total = ud;
  (void)L;
  for (size_t i = 0; i < n; i++, ++*total) {
    if (*total % 24 == 0) fputs("\"\n  \"", stdout);
    printf("\\%03o", bytes[i]);
  }
  return ferror(stdout);
}

/* "asyncio/init.lua" -> "asyncio", "asyncio/locks.lua" -> "asyncio.locks". */
static void print_module(const char *path) {
  size_t n = strlen(path) - strlen(".lua");
  if (n >= 5 && memcmp(path + n - 5, "/init", 5) == 0) n -= 5;
  for (size_t i = 0; i < n; i++) putchar(path[i] == '/' ? '.' : path[i]);
}

/* ---- documentation ---- */

static size_t ndocs;

static void write_doc(const char *p, size_t n) { write_bytes(NULL, p, n, &ndocs); }
static void write_text(const char *s) { write_doc(s, strlen(s)); }

/* Is the block for others than those who read the file? */
static bool is_private(const char *block, const char *end, const char *next) {
  char tags[] = "---@";
  if (strncmp(next, "local function", 14) != 0) return false;
  for (const char *s = block; s + 4 < end; s++)
    if (memcmp(s, tags, 4) == 0) return false;
  return true;
}

/* The blocks of lines "---", each as \2LINE WHAT FOLLOWS\nTEXT. */
static void write_comments(const char *path, const char *text) {
  const char *block = NULL, *nl;
  int line = 1;
  write_text("\1@moonloop/");
  write_text(path);
  write_text("\n");
  for (const char *s = text; *s != '\0'; s = nl + (*nl != '\0'), line++) {
    const char *p = s + strspn(s, " \t");
    nl = s + strcspn(s, "\n");
    if (strncmp(p, "---", 3) == 0 && p[3] != '-') {
      if (block == NULL) block = s;
      continue;
    }
    if (block != NULL && p < nl && !is_private(block, s, p)) {
      char number[32];
      snprintf(number, sizeof number, "\2%d ", line);
      write_text(number);
      write_doc(p, (size_t)(nl - p));
      write_text("\n");
      for (const char *b = block; b < s; b = strchr(b, '\n') + 1) {
        const char *from = b + strspn(b, " \t-");
        write_doc(from, strcspn(from, "\n") + 1);
      }
    }
    block = NULL;
  }
}

/* The entries "- `NAME..." with the lines that belong to them, each as \2ENTRY. */
static void write_entries(const char *text) {
  bool inside = false;
  const char *nl;
  write_text("\1reference\n");
  for (const char *s = text; *s != '\0'; s = nl + (*nl != '\0')) {
    nl = s + strcspn(s, "\n");
    if (strncmp(s, "- `", 3) == 0) {
      write_text("\2");
      write_doc(s + 2, (size_t)(nl - s - 2) + (*nl != '\0'));
      inside = true;
    } else if (inside && strncmp(s, "  ", 2) == 0)
      write_doc(s + 2, (size_t)(nl - s - 2) + (*nl != '\0'));
    else
      inside = false;
  }
}

/* Pushes what is in the file. */
static const char *push_file(lua_State *L, const char *path) {
  FILE *f = fopen(path, "rb");
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t got = 1; f != NULL && got > 0;) {
    char *room = luaL_prepbuffer(&b);
    got = fread(room, 1, LUAL_BUFFERSIZE, f);
    luaL_addsize(&b, got);
  }
  if (f != NULL) fclose(f);
  luaL_pushresult(&b);
  return lua_tostring(L, -1);
}

static bool is_reference(const char *path) {
  size_t n = strlen(path);
  return n > 3 && strcmp(path + n - 3, ".md") == 0;
}

static void write_docs(lua_State *L, int argc, char **argv, size_t skip) {
  fputs("\nconst char ml__docs[] = \"", stdout);
  for (int i = 2; i < argc; i++) {
    const char *text = push_file(L, argv[i]);
    if (is_reference(argv[i]))
      write_entries(text);
    else
      write_comments(argv[i] + skip, text);
    lua_settop(L, 0);
  }
  puts("\";\nconst size_t ml__docs_size = sizeof ml__docs - 1;");
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (L == NULL || argc < 2) return 1;
  size_t skip = strlen(argv[1]) + 1;
  size_t sizes[4096];
  if (argc - 2 > 4096) return 1;
  puts("/* Generated from stdlib by tools/embed.c. */\n#include \"core.h\"");
  for (int i = 2; i < argc; i++) {
    const char *path = argv[i] + skip;
    if (is_reference(argv[i])) continue;
    push_file(L, argv[i]);
    const char *name = lua_pushfstring(L, "@moonloop/%s", path);
    size_t len;
    const char *text = lua_tolstring(L, -2, &len);
    if (luaL_loadbufferx(L, text, len, name, "t") != LUA_OK) {
      luaL_loadfilex(L, argv[i], "t"); /* the same message with the file's real path */
      fprintf(stderr, "%s\n", lua_tostring(L, -1));
      return 1;
    }
    printf("\nstatic const unsigned char m%d[] = \"", i);
    sizes[i - 2] = 0;
    if (lua_dump(L, write_bytes, &sizes[i - 2], 0) != 0) return 1;
    puts("\";");
    lua_settop(L, 0);
  }
  puts("\nconst ml_source ml__stdlib[] = {");
  for (int i = 2; i < argc; i++) {
    if (is_reference(argv[i])) continue;
    fputs("  {\"", stdout);
    print_module(argv[i] + skip);
    printf("\", \"@moonloop/%s\", m%d, %zu},\n", argv[i] + skip, i, sizes[i - 2]);
  }
  puts("  {NULL, NULL, NULL, 0},\n};");
  write_docs(L, argc, argv, skip);
  lua_close(L);
  return ferror(stdout) || fflush(stdout) != 0;
}
