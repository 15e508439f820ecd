/* Which addresses scripts may connect to and bind: rules of names and numbers.
**
** A rule of an address is about that address, however it was found. A rule of a name lets
** the name be looked up, and what the resolver has answered be connected to; but not what
** only this machine can reach (loopback, link-local): whoever rules a name's records
** would reach services here that trust whoever is local. Those need a rule of their own.
*/
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sandbox.h"

/* An address without what can be written in two ways: 4 or 16 bytes. */
typedef struct plain {
  uint8_t family; /* 4, 6; 0: another */
  uint8_t addr[16];
  uint16_t port;
} plain;

#define MAX_KNOWN 4096

struct ml_known { /* what the resolver has said */
  int n, cap, next;
  struct {
    plain at; /* port: of a peer */
    int rule; /* -1: a peer */
  } list[];
};

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* IPv4 inside IPv6 is IPv4; "this host" (all zeros) is where connecting to it leads: loopback. */
static void normalize(plain *p, bool connecting) {
  static const uint8_t zero[16] = {0};
  if (p->family == 6 && memcmp(p->addr, v4_mapped, sizeof v4_mapped) == 0) {
    memmove(p->addr, p->addr + 12, 4);
    memset(p->addr + 4, 0, 12);
    p->family = 4;
  }
  if (!connecting) return;
  if (p->family == 4 && memcmp(p->addr, zero, 4) == 0) p->addr[0] = 127, p->addr[3] = 1;
  if (p->family == 6 && memcmp(p->addr, zero, 16) == 0) p->addr[15] = 1;
}

static plain plain_of(const struct sockaddr *sa, bool connecting) {
  plain p;
  memset(&p, 0, sizeof p);
  if (sa->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
    p.family = 4;
    memcpy(p.addr, &in->sin_addr, 4);
    p.port = ntohs(in->sin_port);
  } else if (sa->sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
    p.family = 6;
    memcpy(p.addr, &in6->sin6_addr, 16);
    p.port = ntohs(in6->sin6_port);
  }
  normalize(&p, connecting);
  return p;
}

static bool is_loopback(const plain *p) {
  static const uint8_t one[16] = {[15] = 1};
  return p->family == 4 ? p->addr[0] == 127 : memcmp(p->addr, one, 16) == 0;
}

/* Reached by this machine alone, or by those on its wire: no name of the world's is that. */
static bool is_local(const plain *p) {
  if (is_loopback(p)) return true;
  if (p->family == 4) return p->addr[0] == 0 || (p->addr[0] == 169 && p->addr[1] == 254);
  return p->addr[0] == 0xfe && (p->addr[1] & 0xc0) == 0x80;
}

/* Of a network that is not the world's: a wildcard is not meant to reach it. */
static bool is_private(const plain *p) {
  const uint8_t *a = p->addr;
  if (p->family == 6) return (a[0] & 0xfe) == 0xfc;
  return a[0] == 10 || (a[0] == 172 && (a[1] & 0xf0) == 16) || (a[0] == 192 && a[1] == 168) ||
         (a[0] == 100 && (a[1] & 0xc0) == 64);
}

/* ---- rules ---- */

static bool read_port(const char **at, uint16_t *port) {
  char *end;
  unsigned long n;
  if (!isdigit((unsigned char)**at)) return false;
  n = strtoul(*at, &end, 10);
  if (n > 65535 || end - *at > 5) return false;
  *port = (uint16_t)n;
  *at = end;
  return true;
}

/* "80", "8000-8100", "*" */
static bool read_ports(ml_rule *r, const char *s) {
  r->first = 0;
  r->last = 65535;
  if (strcmp(s, "*") == 0) return true;
  if (!read_port(&s, &r->first)) return false;
  r->last = r->first;
  if (*s == '-')
    s++;
  else
    return *s == '\0';
  return read_port(&s, &r->last) && *s == '\0' && r->first <= r->last;
}

/* "127.0.0.1", "10.0.0.0/8", "::1" into r. -1: no address; 0: a bad one. */
static int read_number(ml_rule *r, const char *host) {
  char buf[64];
  size_t len = strcspn(host, "/");
  plain p;
  unsigned bits, most;
  memset(&p, 0, sizeof p);
  if (len >= sizeof buf) return -1;
  memcpy(buf, host, len);
  buf[len] = '\0';
  if (inet_pton(AF_INET, buf, p.addr) == 1)
    p.family = 4;
  else if (inet_pton(AF_INET6, buf, p.addr) == 1)
    p.family = 6;
  else
    return -1;
  most = bits = p.family == 4 ? 32 : 128;
  if (host[len] == '/') {
    uint16_t given;
    const char *at = host + len + 1;
    if (!read_port(&at, &given) || *at != '\0' || given > most) return 0;
    bits = given;
  }
  if (p.family == 6 && bits >= 96 && memcmp(p.addr, v4_mapped, 12) == 0) bits -= 96;
  normalize(&p, false);
  r->family = p.family;
  r->bits = (uint8_t)bits;
  memcpy(r->addr, p.addr, sizeof r->addr);
  return 1;
}

/* Letters, digits, '-', '_' and '.'; "*." may be in front. */
static bool read_name(ml_rule *r, char *host) {
  size_t n = strlen(host);
  r->wild = host[0] == '*' && host[1] == '.';
  if (n > 0 && host[n - 1] == '.') host[--n] = '\0';
  if (r->wild) memmove(host, host + 1, n--); /* ".name" */
  if (n == 0 || n > 253) return false;
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)host[i];
    if (!isalnum(c) && c != '-' && c != '_' && c != '.' && c < 128) return false;
    host[i] = (char)tolower(c);
  }
  return strstr(host, "..") == NULL && (r->wild ? n > 1 : host[0] != '.');
}

static const char *read_unix(ml_rule *r, const char *path) {
  char real[4096];
  if (path[0] == '\0') return "the path of a unix socket was expected behind 'unix:'";
  if (path[0] != '@' && !ml__path_real(path, real, sizeof real)) return "the path is too long";
  r->family = 1;
  r->name = strdup(path[0] == '@' ? path : real);
  return r->name != NULL ? NULL : "not enough memory";
}

const char *ml__rule_address(ml_rule *r, const char *text) {
  char *host;
  char *ports = NULL;
  int number;
  if (strncmp(text, "unix:", 5) == 0) return read_unix(r, text + 5);
  r->name = host = strdup(text);
  if (host == NULL) return "not enough memory";
  if (host[0] == '[') {
    char *end = strchr(host, ']');
    if (end == NULL || (end[1] != '\0' && end[1] != ':')) return "a ']' and a port were expected";
    if (end[1] == ':') ports = end + 2;
    *end = '\0';
    memmove(host, host + 1, (size_t)(end - host));
    if (strchr(host, ':') == NULL) return "an IPv6 address was expected in [ ]";
  } else if ((ports = strchr(host, ':')) != NULL && strchr(ports + 1, ':') == NULL)
    *ports++ = '\0';
  else
    ports = NULL; /* none, or an IPv6 address without [ ] */
  if (!read_ports(r, ports != NULL ? ports : "*"))
    return "a port, a range as 8000-8100 or * was expected behind the last ':'";
  if (strcmp(host, "*") == 0) {
    r->wild = true;
    host[0] = '\0'; /* ends every name */
    return NULL;
  }
  number = read_number(r, host);
  if (number == 0) return "the number of bits behind the '/' is wrong";
  if (number > 0) return NULL;
  if (strchr(host, ':') != NULL) return "that is no IPv6 address; with a port it is [address]:port";
  return read_name(r, host) ? NULL : "a host name, *.name, an IP address or unix:PATH was expected";
}

/* Is it a rule of "*"? */
static bool all_hosts(const ml_rule *r) { return r->family == 0 && r->wild && r->name[0] == '\0'; }

static bool name_matches(const ml_rule *r, const char *host, size_t n) {
  size_t len = strlen(r->name);
  if (!r->wild) return n == len && strncasecmp(r->name, host, n) == 0;
  return n > len && strncasecmp(r->name, host + n - len, len) == 0;
}

static size_t name_length(const char *host) {
  size_t n = strlen(host);
  return n > 0 && host[n - 1] == '.' ? n - 1 : n;
}

static bool bits_match(const ml_rule *r, const plain *p) {
  size_t bytes = r->bits / 8, rest = r->bits % 8;
  if (r->family != p->family || memcmp(r->addr, p->addr, bytes) != 0) return false;
  return rest == 0 || ((r->addr[bytes] ^ p->addr[bytes]) >> (8 - rest)) == 0;
}

/* Does the rule say so of itself? Not what names have been found to be. */
static bool rule_matches(const ml_rule *r, const plain *p) {
  if (p->port < r->first || p->port > r->last) return false;
  if (r->family == 4 || r->family == 6) return bits_match(r, p);
  if (r->family != 0) return false;
  return all_hosts(r) || (!r->wild && strcmp(r->name, "localhost") == 0 && is_loopback(p));
}

/* ---- access ---- */

/* Pulls the path apart: "" without one, "@..." for an abstract name; *real what it is by. */
static bool unix_path(const struct sockaddr *sa, size_t len, char *path, size_t *n, char *real,
                      size_t room) {
  const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)sa;
  *n = len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path)
                                                    : 0;
  memset(path, 0, sizeof un->sun_path + 1);
  memcpy(path, un->sun_path, *n < sizeof un->sun_path ? *n : sizeof un->sun_path);
  if (*n == 0) return false; /* a name that the kernel finds */
  if (path[0] != '\0') return ml__path_real(path, real, room);
  path[0] = '@';
  return true;
}

static bool may_unix(const ml_sandbox *s, ml_perm perm, const char *path, size_t n,
                     const char *real) {
  for (int i = 0; i < s->n; i++) {
    const ml_rule *r = &s->rules[i];
    size_t have;
    if (r->perm != perm || r->any || r->family != 1) continue;
    if (path[0] == '@' || r->name[0] == '@') { /* names may have zeros in them: those do not */
      if (n == strlen(r->name) && memcmp(path, r->name, n) == 0) return true;
      continue;
    }
    have = strlen(r->name);
    if (strncmp(real, r->name, have) == 0 && (real[have] == '\0' || real[have] == '/')) return true;
  }
  return false;
}

int ml__unix_pin(const ml_engine *e, ml_perm perm, struct sockaddr *sa, size_t *len, int *fd) {
  struct sockaddr_un *un = (struct sockaddr_un *)(void *)sa;
  char path[sizeof un->sun_path + 1], real[4096];
  size_t n;
  *fd = -1;
  if (e->sandbox == NULL || sa->sa_family != AF_UNIX) return 0;
  if (!unix_path(sa, *len, path, &n, real, sizeof real) ||
      !may_unix(e->sandbox, perm, path, n, real))
    return ML_EDENIED;
  if (path[0] == '@') return 0;
  *fd = ml__path_open(real);
  if (*fd < 0) return *fd;
  n = (size_t)snprintf(un->sun_path, sizeof un->sun_path, "/proc/self/fd/%d", *fd);
  *len = offsetof(struct sockaddr_un, sun_path) + n + 1;
  return 0;
}

static bool same_host(const plain *a, const plain *b) {
  return a->family == b->family && memcmp(a->addr, b->addr, sizeof a->addr) == 0;
}

static bool is_known(const ml_engine *e, ml_perm perm, const plain *p) {
  const struct ml_known *k = e->known;
  for (int i = 0; k != NULL && i < k->n; i++) {
    const ml_rule *r = k->list[i].rule < 0 ? NULL : &e->sandbox->rules[k->list[i].rule];
    if (r == NULL) { /* a peer */
      if (perm == ML_P_NET && same_host(&k->list[i].at, p) && k->list[i].at.port == p->port)
        return true;
      continue;
    }
    if (r->perm == perm && p->port >= r->first && p->port <= r->last &&
        same_host(&k->list[i].at, p))
      return true;
  }
  return false;
}

bool ml__may_address(ml_engine *e, ml_perm perm, const struct sockaddr *sa, size_t len) {
  const ml_sandbox *s = e->sandbox;
  plain p;
  if (s == NULL) return true;
  if (sa->sa_family == AF_UNIX) {
    char path[sizeof((struct sockaddr_un *)0)->sun_path + 1], real[4096];
    size_t n;
    return unix_path(sa, len, path, &n, real, sizeof real) && may_unix(s, perm, path, n, real);
  }
  p = plain_of(sa, perm == ML_P_NET);
  if (p.family == 0) return false;
  if (ml__may(s, perm)) return true;
  for (int i = 0; i < s->n; i++)
    if (s->rules[i].perm == perm && rule_matches(&s->rules[i], &p)) return true;
  return is_known(e, perm, &p);
}

/* "127.0.0.1:80", "[::1]:80", "unix:/path" */
static const char *describe(const struct sockaddr *sa, size_t len, char *buf, size_t n) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (sa->sa_family == AF_UNIX) {
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)sa;
    size_t room = len > offsetof(struct sockaddr_un, sun_path)
                      ? len - offsetof(struct sockaddr_un, sun_path)
                      : 0;
    bool abstract = room > 0 && un->sun_path[0] == '\0';
    snprintf(buf, n, "unix:%s%.*s", abstract ? "@" : "", (int)(room - abstract),
             un->sun_path + abstract);
  } else if (sa->sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    snprintf(buf, n, "[%s]:%d", host, ntohs(in6->sin6_port));
  } else if (sa->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    snprintf(buf, n, "%s:%d", host, ntohs(in->sin_port));
  } else
    snprintf(buf, n, "an address of family %d", (int)sa->sa_family);
  return buf;
}

void ml__address_denied(lua_State *L, ml_perm perm, const char *doing, const struct sockaddr *sa,
                        size_t len) {
  char text[192];
  describe(sa, len, text, sizeof text);
  ml__denied(L, perm, doing, text, text);
}

void ml__check_address(lua_State *L, ml_perm perm, const char *doing, const struct sockaddr *sa,
                       size_t len) {
  if (ml__may_address(ml__engine(L), perm, sa, len)) return;
  ml__address_denied(L, perm, doing, sa, len);
  lua_error(L);
}

/* ---- names ---- */

bool ml__may_lookup(const ml_sandbox *s, const char *host) {
  struct in6_addr in6;
  size_t n = name_length(host);
  bool any = false;
  if (s == NULL || ml__may(s, ML_P_NET) || inet_pton(AF_INET, host, &in6) == 1) return true;
  if (strchr(host, ':') != NULL) return true; /* no name has a colon */
  for (int i = 0; i < s->n; i++) {
    const ml_rule *r = &s->rules[i];
    if (r->perm != ML_P_NET && r->perm != ML_P_LISTEN) continue;
    any = true;
    if (!r->any && r->family == 0 && name_matches(r, host, n)) return true;
  }
  return (any || ml__may(s, ML_P_LISTEN)) && n == 9 && strncasecmp(host, "localhost", 9) == 0;
}

/* The place for one more, or NULL: no memory. The oldest is forgotten when there are too many. */
static struct ml_known *reserve(ml_engine *e) {
  struct ml_known *k = e->known;
  int have = k != NULL ? k->cap : 0, want = have > 0 ? have * 2 : 16;
  size_t entry = sizeof k->list[0];
  if (k != NULL && (k->n < k->cap || k->cap >= MAX_KNOWN)) return k;
  k = ml__alloc(e->alloc, k, k != NULL ? sizeof *k + (size_t)have * entry : 0,
                sizeof *k + (size_t)want * entry);
  if (k == NULL) return NULL;
  if (have == 0) k->n = k->next = 0;
  k->cap = want;
  e->known = k;
  return k;
}

void ml__known_free(ml_engine *e) {
  struct ml_known *k = e->known;
  if (k != NULL) ml__alloc(e->alloc, k, sizeof *k + (size_t)k->cap * sizeof k->list[0], 0);
  e->known = NULL;
}

static void keep(ml_engine *e, const plain *p, int rule) {
  struct ml_known *k = e->known;
  for (int i = 0; k != NULL && i < k->n; i++)
    if (k->list[i].rule == rule && same_host(&k->list[i].at, p) &&
        (rule >= 0 || k->list[i].at.port == p->port))
      return;
  k = reserve(e);
  if (k == NULL) return;
  k->list[k->next].at = *p;
  k->list[k->next].rule = rule;
  if (k->n < k->cap) k->n++;
  k->next = (k->next + 1) % MAX_KNOWN;
}

void ml__peer_known(ml_engine *e, const struct sockaddr *sa) {
  plain p;
  if (e->sandbox == NULL || ml__may(e->sandbox, ML_P_NET)) return;
  p = plain_of(sa, true);
  if (p.family != 0) keep(e, &p, -1);
}

void ml__address_known(ml_engine *e, const char *host, const struct sockaddr *sa) {
  const ml_sandbox *s = e->sandbox;
  size_t n = name_length(host);
  plain p;
  if (s == NULL) return;
  p = plain_of(sa, true);
  for (int i = 0; i < s->n; i++) {
    const ml_rule *r = &s->rules[i];
    if ((r->perm != ML_P_NET && r->perm != ML_P_LISTEN) || r->any || r->family != 0) continue;
    if (!name_matches(r, host, n)) continue;
    if (r->perm == ML_P_NET && (is_local(&p) || (r->wild && is_private(&p)))) continue;
    keep(e, &p, i);
  }
}
