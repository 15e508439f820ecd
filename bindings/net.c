/* Module asyncio.net: what asyncio.streams is made of. Not for scripts. */
#include "stream.h"

int ml__open_net(lua_State *L) {
  static const struct {
    const char *name;
    ml_objtype type;
  } types[] = {{"StreamReader", ML_T_READER},           {"StreamWriter", ML_T_WRITER},
               {"Transport", ML_T_TRANSPORT},           {"Server", ML_T_SERVER},
               {"DatagramTransport", ML_T_DGTRANSPORT}, {"DatagramEndpoint", ML_T_DGENDPOINT}};
  ml__net(L);
  lua_newtable(L);
  ml__address_open(L);
  ml__open_reader(L);
  ml__open_writer(L);
  ml__open_transport(L);
  ml__open_server(L);
  ml__open_listen(L);
  ml__open_connect(L);
  ml__open_pipes(L);
  ml__open_eyeballs(L);
  ml__open_dns(L);
  ml__open_datagrams(L);
  ml__open_handover(L);
  lua_newtable(L); /* metatables by name */
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    ml__ref_get(L, ML_R_TYPES + (int)types[i].type);
    lua_getfield(L, -1, "__metatable"); /* what scripts may have of it */
    lua_remove(L, -2);
    lua_setfield(L, -2, types[i].name);
  }
  lua_setfield(L, -2, "metatables");
  return 1;
}
