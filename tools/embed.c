/* Writes the standard library as C: each Lua file compiled to the bytecode of
** the Lua that this program is linked with, which is the engine's own.
**
**   embed ROOT FILE...  > stdlib.c
**
** ROOT/asyncio/init.lua becomes module "asyncio", ROOT/asyncio/locks.lua
** "asyncio.locks"; chunks are named "@moonloop/asyncio/locks.lua". Line numbers
** are kept for tracebacks. Runs at build time only.
*/
#include <lauxlib.h>
#include <lua.h>
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

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (L == NULL || argc < 2) return 1;
  size_t skip = strlen(argv[1]) + 1;
  size_t sizes[4096];
  if (argc - 2 > 4096) return 1;
  puts("/* Generated from stdlib by tools/embed.c. */\n#include \"core.h\"");
  for (int i = 2; i < argc; i++) {
    const char *path = argv[i] + skip;
    FILE *f = fopen(argv[i], "rb");
    luaL_Buffer source;
    luaL_buffinit(L, &source);
    for (size_t got = 1; f != NULL && got > 0;) {
      char *room = luaL_prepbuffer(&source);
      got = fread(room, 1, LUAL_BUFFERSIZE, f);
      luaL_addsize(&source, got);
    }
    if (f != NULL) fclose(f);
    luaL_pushresult(&source);
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
    fputs("  {\"", stdout);
    print_module(argv[i] + skip);
    printf("\", \"@moonloop/%s\", m%d, %zu},\n", argv[i] + skip, i, sizes[i - 2]);
  }
  puts("  {NULL, NULL, NULL, 0},\n};");
  lua_close(L);
  return ferror(stdout) || fflush(stdout) != 0;
}
