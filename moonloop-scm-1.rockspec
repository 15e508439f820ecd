-- `luarocks --lua-version=5.4 make` in this folder builds and installs the module asyncio.
rockspec_format = "3.0"
package = "moonloop"
version = "scm-1"
source = {
  url = "git+file://.", -- this tree: `luarocks make` fetches nothing
}
description = {
  summary = "async and await for Lua 5.4, on libuv",
  detailed = [[
Tasks, timers, streams, sockets, files, processes and TLS in the terms of Python's asyncio,
as a C module: require "asyncio". libuv, OpenSSL 3, nghttp2, zlib, Brotli, libidn2
and libpsl with their headers are needed, the sources of llhttp (WITH_TLS=0, WITH_HTTP=0, WITH_ZLIB=0, WITH_BROTLI=0,
WITH_IDN=0, WITH_PSL=0 do without), and pkg-config.]],
  license = "MIT",
}
dependencies = { "lua ~> 5.4" }
build = {
  type = "make",
  build_target = "lua-module",
  install_target = "install-lua-module",
  build_variables = { BUILD = "build/rock" },
  install_variables = { BUILD = "build/rock", LUADIR = "$(LIBDIR)" },
}
