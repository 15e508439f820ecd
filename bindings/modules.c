/* The C modules that `require` finds in the binary. */
#include "fs.h"
#include "socket.h"

#ifdef ML_WITH_TLS
int ml__open_tls(lua_State *L);
int ml__open_digest(lua_State *L);
#endif
#ifdef ML_WITH_ZLIB
int ml__open_zlib(lua_State *L);
#endif
#ifdef ML_WITH_BROTLI
int ml__open_brotli(lua_State *L);
#endif
#ifdef ML_WITH_HTTP
int ml__open_ws(lua_State *L);
int ml__open_http(lua_State *L);
int ml__open_httpweb(lua_State *L);
int ml__open_httpclient(lua_State *L);
#endif
#ifdef ML_WITH_IDN
int ml__open_idna(lua_State *L);
#endif
#ifdef ML_WITH_PSL
int ml__open_psl(lua_State *L);
#endif
int ml__open_embedded(lua_State *L);
int ml__open_json(lua_State *L);
int ml__open_inspector(lua_State *L);
int ml__open_pickle(lua_State *L);
int ml__open_workers(lua_State *L);

const ml_module ml__bindings[] = {
    {"asyncio.net", ml__open_net},
    {"asyncio.workers", ml__open_workers},
    {"pickle", ml__open_pickle},
    {"json", ml__open_json},
    {"asyncio.inspector.core", ml__open_inspector},
    {"fs.core", ml__open_fs},
#ifdef ML_WITH_TLS
    {"asyncio.tls", ml__open_tls},
    {"asyncio.digest", ml__open_digest},
#endif
#ifdef ML_WITH_ZLIB
    {"zlib.core", ml__open_zlib},
#endif
#ifdef ML_WITH_BROTLI
    {"brotli.core", ml__open_brotli},
#endif
#ifdef ML_WITH_HTTP
    {"http.ws", ml__open_ws},
    {"http.core", ml__open_http},
    {"http.web.core", ml__open_httpweb},
    {"http.client.core", ml__open_httpclient},
#endif
#ifdef ML_WITH_IDN
    {"url.idna", ml__open_idna},
#endif
#ifdef ML_WITH_PSL
    {"http.psl", ml__open_psl},
#endif
    {"asyncio.embedded", ml__open_embedded},
    {"time", ml__open_time},
    {"signal", ml__open_signal},
    {"asyncio.sigwatch", ml__open_sigwatch},
    {"asyncio.process", ml__open_process},
    {"asyncio.stdstreams", ml__open_stdstreams},
    {"asyncio.terminal", ml__open_terminal},
    {"socket.core", ml__open_socket},
    {NULL, NULL},
};
