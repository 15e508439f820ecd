/* The constants of the socket module. */
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "socket.h"

#define C(x) \
  { #x, x }

static const struct {
  const char *name;
  int value;
} constants[] = {
    C(SOL_SOCKET),
    C(SO_REUSEADDR),
    C(SO_REUSEPORT),
    C(SO_KEEPALIVE),
    C(SO_BROADCAST),
    C(SO_LINGER),
    C(SO_RCVBUF),
    C(SO_SNDBUF),
    C(SO_RCVLOWAT),
    C(SO_ERROR),
    C(SO_TYPE),
    C(SO_DOMAIN),
    C(SO_PROTOCOL),
    C(SO_ACCEPTCONN),
    C(SO_OOBINLINE),
    C(SO_PASSCRED),
    C(SO_PEERCRED),
    C(SO_BINDTODEVICE),
    C(SO_PRIORITY),
    C(SO_MARK),
    C(SO_BUSY_POLL),
    C(SO_INCOMING_CPU),
    C(SOMAXCONN),
    C(IPPROTO_IP),
    C(IPPROTO_IPV6),
    C(IPPROTO_TCP),
    C(IPPROTO_UDP),
    C(IPPROTO_ICMP),
    C(IPPROTO_ICMPV6),
    C(IPPROTO_RAW),
    C(IP_TTL),
    C(IP_TOS),
    C(IP_MULTICAST_TTL),
    C(IP_MULTICAST_LOOP),
    C(IP_MULTICAST_IF),
    C(IP_ADD_MEMBERSHIP),
    C(IP_DROP_MEMBERSHIP),
    C(IPV6_V6ONLY),
    C(IPV6_UNICAST_HOPS),
    C(IPV6_MULTICAST_HOPS),
    C(IPV6_MULTICAST_LOOP),
    C(IPV6_MULTICAST_IF),
    C(IPV6_JOIN_GROUP),
    C(IPV6_LEAVE_GROUP),
    C(TCP_NODELAY),
    C(TCP_CORK),
    C(TCP_KEEPIDLE),
    C(TCP_KEEPINTVL),
    C(TCP_KEEPCNT),
    C(TCP_MAXSEG),
    C(TCP_USER_TIMEOUT),
    C(TCP_DEFER_ACCEPT),
    C(TCP_FASTOPEN),
    C(TCP_QUICKACK),
    C(MSG_PEEK),
    C(MSG_OOB),
    C(MSG_WAITALL),
    C(MSG_TRUNC),
    C(MSG_CTRUNC),
    C(MSG_DONTROUTE),
    C(MSG_MORE),
    C(MSG_NOSIGNAL),
    C(MSG_DONTWAIT),
    C(SHUT_RD),
    C(SHUT_WR),
    C(SHUT_RDWR),
};

void ml__open_sockconst(lua_State *L) {
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
    lua_pushinteger(L, constants[i].value);
    lua_setfield(L, -2, constants[i].name);
  }
}
