/* What scripts of an engine may do outside it: decided when the engine is made, and
** never more from then on.
**
** A sandbox is a list of rules outside the Lua heap, counted and never altered: an
** engine, its worker engines and its jobs on threads share it. No sandbox: everything
** is allowed. There is one function of access for each kind of thing; whatever opens,
** connects, starts or asks passes through it, whichever way a script has come there.
*/
#ifndef ML_SANDBOX_H
#define ML_SANDBOX_H

#include "core.h"

typedef enum {
  ML_P_READ,     /* files and folders below a path */
  ML_P_WRITE,    /* to make, alter and remove them */
  ML_P_MODULE,   /* to load Lua modules from there, by require, loadfile, dofile */
  ML_P_NET,      /* to connect and send to HOST:PORT; to look names up */
  ML_P_LISTEN,   /* to bind and listen */
  ML_P_ENV,      /* variables of the environment, by name */
  ML_P_RUN,      /* programs */
  ML_P_FD,       /* descriptors given by number */
  ML_P_STDIO,    /* the process's standard streams and its terminal */
  ML_P_EXIT,     /* os.exit */
  ML_P_SIGNAL,   /* to watch signals, and to send them to this process */
  ML_P_BYTECODE, /* to load precompiled code */
  ML_P_FULL      /* what no rule gives: only an engine without a sandbox may */
} ml_perm;

/* The rules of a configuration. *out is NULL where everything is allowed. 0, ML_EINVAL: one
** of them is wrong, ML_ENOMEM. */
int ml__sandbox_new(const ml_config *c, ml_sandbox **out);
/* ANY THREAD. s may be NULL. */
ml_sandbox *ml__sandbox_ref(ml_sandbox *s);
void ml__sandbox_unref(ml_sandbox *s);
/* As ml_new; the engine shares s (may be NULL), what the configuration says of it is not read. */
int ml__new_in(const ml_config *c, ml_sandbox *s, ml_engine **out);

/* The rule at i as the host has given it, or NULL behind the last; *profile: the profile's name. */
const char *ml__sandbox_rule(const ml_sandbox *s, int i, const char **profile);

/* Tells the host of a refusal, by on_refused. */
void ml__tell_refused(const ml_engine *e, ml_perm perm, const char *doing, const char *subject,
                      const char *rule);
/* Tells the host, and pushes the PermissionError of `doing` (a verb) on `subject` (NULL: nothing to name): the rule
** that was needed is "perm=rule" (NULL: the permission alone). */
void ml__denied(lua_State *L, ml_perm perm, const char *doing, const char *subject,
                const char *rule);
/* The same and raises it. */
int ml__deny(lua_State *L, ml_perm perm, const char *doing, const char *subject, const char *rule);

/* Is all of it allowed? */
bool ml__may(const ml_sandbox *s, ml_perm perm);
/* Is the name (of a variable, a descriptor's number) allowed? */
bool ml__may_name(const ml_sandbox *s, ml_perm perm, const char *name);
/* Each raises PermissionError unless it is allowed. */
void ml__check_may(lua_State *L, ml_perm perm, const char *doing, const char *subject);
void ml__check_env(lua_State *L, const char *name);
/* May the program at the path (with a slash) be run? */
bool ml__may_run(const ml_sandbox *s, const char *path);
/* A descriptor that a script gives by its number. */
void ml__check_fd(lua_State *L, const char *doing, int fd);
/* Is it one that libuv polls or wakes itself with? Its loss would abort the process. */
bool ml__fd_of_uv(ml_engine *e, int fd);

/* The mode of lua_load for code that may come from anywhere. */
static inline const char *ml__load_mode(lua_State *L) {
  return ml__may(ml__engine(L)->sandbox, ML_P_BYTECODE) ? "bt" : "t";
}

/* ---- paths (sandpath.c) ---- */

enum {
  ML_PATH_READ = 1,
  ML_PATH_WRITE = 2,
  ML_PATH_MODULE = 4,
  ML_PATH_NOFOLLOW = 8,  /* the name itself, if it is a link */
  ML_PATH_CREATE = 16,   /* it need not be there */
  ML_PATH_PARENTS = 32,  /* nor its parents: they are made */
  ML_PATH_MOVES = 64,    /* of a source: what is allowed at the destination must be there too */
  ML_PATH_TARGET = 256,  /* the text of a link to be: it is only looked at, with ML_PATH_MOVES */
  ML_PATH_ALLOWED = 128, /* so that 0 is no way in that was forgotten */
  ML_PATH_R = ML_PATH_ALLOWED | ML_PATH_READ,
  ML_PATH_W = ML_PATH_ALLOWED | ML_PATH_WRITE
};

/* A path that has been looked up: the file itself, or its name in an open folder. */
typedef struct ml_pathpin {
  int fd;         /* O_PATH; -1: none */
  bool exists;    /* and fd is the file itself; false: its folder */
  unsigned has;   /* ML_PATH_READ, WRITE, MODULE: what is allowed there */
  char path[320]; /* what system calls are given in its place */
} ml_pathpin;

#define ML_EDENIED (-10900) /* of ml__path_pin: not allowed (what is needed is in `how`) */

/* ANY THREAD. Looks the path up; what system calls do with pin->path until ml__path_unpin is
** done there, whatever is renamed or linked meanwhile. 0, UV_E* or ML_EDENIED; then there is
** nothing to unpin. */
int ml__path_pin(const ml_sandbox *s, const char *path, unsigned how, ml_pathpin *pin);
void ml__path_unpin(ml_pathpin *pin);
/* ANY THREAD. O_PATH by a name from ml__path_real, no link followed: a descriptor, or UV_E*. */
int ml__path_open(const char *real);
/* Two paths, pins[0] and pins[1]. *which: the one that has failed. */
int ml__path_pin_both(const ml_sandbox *s, const char *from, unsigned how_from, const char *to,
                      unsigned how_to, ml_pathpin pins[2], int *which);
/* Pushes the PermissionError for a path that was refused. */
void ml__path_denied(lua_State *L, unsigned how, const char *doing, const char *path);
/* The absolute path without links, dots and what is not there resolved as far as can be; false:
** too long. For rules and unix sockets. ANY THREAD. */
bool ml__path_real(const char *path, char *out, size_t n);
/* The same, but what the last component is a link to does not count. */
bool ml__path_name(const char *path, char *out, size_t n);
/* The path for a library that opens it by name: in a sandbox that of a pin, which a value pushed
** keeps (nil is pushed outside of one). Raises PermissionError, OSError. */
const char *ml__path_hold(lua_State *L, const char *path, unsigned how, const char *doing);
/* What of ML_PATH_READ, WRITE, MODULE is allowed at a path from ml__path_real. */
unsigned ml__path_has(const ml_sandbox *s, const char *real);

/* ---- addresses (sandnet.c) ---- */

struct sockaddr;
/* May the engine connect to (ML_P_NET) or bind to (ML_P_LISTEN) the address? */
bool ml__may_address(ml_engine *e, ml_perm perm, const struct sockaddr *sa, size_t len);
void ml__check_address(lua_State *L, ml_perm perm, const char *doing, const struct sockaddr *sa,
                       size_t len);
/* Pushes its error. */
void ml__address_denied(lua_State *L, ml_perm perm, const char *doing, const struct sockaddr *sa,
                        size_t len);
/* At the system call: an address of a unix socket that is a path gets the path of a descriptor,
** *fd, which holds what was allowed and is closed after the call; else *fd is -1. 0, UV_E* or
** ML_EDENIED. `sa` has room for a sockaddr_un. */
int ml__unix_pin(const ml_engine *e, ml_perm perm, struct sockaddr *sa, size_t *len, int *fd);
/* May the name be looked up? Numbers and "localhost" always. */
bool ml__may_lookup(const ml_sandbox *s, const char *host);
/* The name has the address, says the resolver: where a rule allows the name, it allows the
** address from now on; but loopback and link-local ones only by rules of their own. */
void ml__address_known(ml_engine *e, const char *host, const struct sockaddr *sa);
/* A datagram has come from there: it may be answered. */
void ml__peer_known(ml_engine *e, const struct sockaddr *sa);

/* ---- rules, for the units of the sandbox ---- */

typedef struct ml_rule {
  ml_perm perm;
  char *text;   /* as it was given: "read=/tmp" */
  char *name;   /* a path as ml__path_real gives it; a host in lower case; a name */
  bool any;     /* "*": all of its kind */
  bool wild;    /* a host "*.name": name is ".name" */
  uint8_t bits; /* an address: how many count; family 4, 6; 0: a name; 1: a unix socket */
  uint8_t family;
  uint8_t addr[16];
  uint16_t first, last; /* ports */
} ml_rule;

struct ml_sandbox {
  atomic_int refs;
  unsigned whole; /* 1 << ml_perm: all of it */
  int profile;
  int n;
  ml_rule *rules;
};

/* Parses what is behind the = of a rule of net or listen into r. NULL, or what is wrong. */
const char *ml__rule_address(ml_rule *r, const char *text);

/* Puts checks before what Lua's libraries offer. After luaL_openlibs; no-op without a sandbox. */
void ml__open_sandbox(lua_State *L);
void ml__known_free(ml_engine *e); /* addresses of names, see ml_engine */

#endif
