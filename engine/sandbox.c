/* The rules of a sandbox: how they are read, and what they say. See sandbox.h.
**
** A rule is "PERMISSION=VALUE", or the permission alone for all of its kind. Whatever no
** rule and no profile allows is refused.
*/
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum { NOTHING, PATH, ADDRESS, NAME, PROGRAM, NUMBER } value_kind;

static const struct {
  const char *name;
  value_kind kind;
} perms[] = {
    [ML_P_READ] = {"read", PATH},        [ML_P_WRITE] = {"write", PATH},
    [ML_P_MODULE] = {"module", PATH},    [ML_P_NET] = {"net", ADDRESS},
    [ML_P_LISTEN] = {"listen", ADDRESS}, [ML_P_ENV] = {"env", NAME},
    [ML_P_RUN] = {"run", PROGRAM},       [ML_P_FD] = {"fd", NUMBER},
    [ML_P_STDIO] = {"stdio", NOTHING},   [ML_P_EXIT] = {"exit", NOTHING},
    [ML_P_SIGNAL] = {"signal", NOTHING}, [ML_P_BYTECODE] = {"bytecode", NOTHING},
    [ML_P_FULL] = {"full", NOTHING},
};

#define BIT(perm) (1u << (perm))

static const unsigned profiles[] = {
    [ML_PROFILE_FULL] = 0, /* with rules: those alone */
    [ML_PROFILE_NO_FS] = BIT(ML_P_NET) | BIT(ML_P_LISTEN) | BIT(ML_P_STDIO),
    [ML_PROFILE_NO_NET] = BIT(ML_P_READ) | BIT(ML_P_WRITE) | BIT(ML_P_MODULE) | BIT(ML_P_STDIO),
    [ML_PROFILE_PURE] = 0,
};
static const char *const profile_names[] = {"pure", "no_fs", "no_net", "pure"};

/* ---- reading rules ---- */

/* Where a program without a slash in its name is found now. */
static bool find_program(const char *name, char *out, size_t n) {
  const char *dirs = getenv("PATH");
  char path[4096];
  if (dirs == NULL) dirs = "/bin:/usr/bin";
  for (;;) {
    size_t len = strcspn(dirs, ":");
    if (len > 0 &&
        snprintf(path, sizeof path, "%.*s/%s", (int)len, dirs, name) < (int)sizeof path &&
        access(path, X_OK) == 0)
      return ml__path_name(path, out, n);
    if (dirs[len] == '\0') return false;
    dirs += len + 1;
  }
}

static const char *read_number(const char *value) {
  char *end;
  long fd;
  errno = 0;
  fd = strtol(value, &end, 10);
  if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 || fd > INT32_MAX)
    return "a descriptor's number was expected";
  return NULL;
}

/* The value into r->name. NULL, or what is wrong; `nomem` if there was no memory. */
static const char nomem[] = "not enough memory";

static const char *read_value(ml_rule *r, const char *value) {
  char path[4096];
  const char *why = NULL, *name = value;
  switch (perms[r->perm].kind) {
  case NOTHING: return "it takes no value";
  case ADDRESS: return ml__rule_address(r, value);
  case PATH:
    if (!ml__path_real(value, path, sizeof path)) why = "the path is too long";
    name = path;
    break;
  case PROGRAM:
    /* one that is not there can not be run */
    if (strchr(value, '/') != NULL ? !ml__path_name(value, path, sizeof path)
                                   : !find_program(value, path, sizeof path))
      path[0] = '\0';
    name = path;
    break;
  case NUMBER: why = read_number(value); break;
  case NAME:
    if (strchr(value, '=') != NULL) why = "the name of a variable was expected";
    break;
  }
  if (why != NULL) return why;
  r->name = strdup(name);
  return r->name != NULL ? NULL : nomem;
}

static const char *read_rule(ml_rule *r, const char *rule) {
  size_t len = strcspn(rule, "="), i = 0;
  memset(r, 0, sizeof *r);
  while (i < ML_P_FULL && (strlen(perms[i].name) != len || strncmp(perms[i].name, rule, len) != 0))
    i++;
  if (i == ML_P_FULL)
    return "unknown permission (expected: read, write, module, net, listen, env, run, fd, stdio, "
           "exit, signal, bytecode)";
  r->perm = (ml_perm)i;
  r->text = strdup(rule);
  if (r->text == NULL) return nomem;
  if (rule[len] == '\0' || (strcmp(rule + len, "=*") == 0 && perms[i].kind != NOTHING)) {
    r->any = true;
    return NULL;
  }
  if (rule[len + 1] == '\0') return "the value behind the = is missing";
  return read_value(r, rule + len + 1);
}

static void free_rule(ml_rule *r) {
  free(r->text);
  free(r->name);
}

int ml_rule_check(const char *rule, char *why, size_t n) {
  ml_rule r;
  const char *text;
  int rc;
  if (rule == NULL || (why == NULL && n > 0)) return ML_EINVAL;
  text = read_rule(&r, rule);
  free_rule(&r);
  rc = text == NULL ? 0 : text == nomem ? ML_ENOMEM : ML_EINVAL;
  if (n > 0) snprintf(why, n, "%s", text != NULL ? text : "");
  return rc;
}

int ml__sandbox_new(const ml_config *c, ml_sandbox **out) {
  ml_sandbox *s;
  int n = 0;
  *out = NULL;
  if ((unsigned)c->profile > ML_PROFILE_PURE) return ML_EINVAL;
  if (c->profile == ML_PROFILE_FULL && c->allow == NULL) return 0;
  while (c->allow != NULL && c->allow[n] != NULL) n++;
  s = calloc(1, sizeof *s);
  if (s == NULL) return ML_ENOMEM;
  atomic_init(&s->refs, 1);
  s->profile = c->profile;
  s->whole = profiles[c->profile];
  s->rules = calloc((size_t)n + 1, sizeof *s->rules);
  for (int i = 0; i < n; i++) {
    const char *why = s->rules == NULL ? nomem : read_rule(&s->rules[i], c->allow[i]);
    if (s->rules != NULL) s->n++;
    if (why != NULL) {
      ml__sandbox_unref(s);
      return why == nomem ? ML_ENOMEM : ML_EINVAL;
    }
    if (s->rules[i].any) s->whole |= BIT(s->rules[i].perm);
  }
  *out = s;
  return 0;
}

ml_sandbox *ml__sandbox_ref(ml_sandbox *s) {
  if (s != NULL) atomic_fetch_add(&s->refs, 1);
  return s;
}

void ml__sandbox_unref(ml_sandbox *s) {
  if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1) return;
  for (int i = 0; i < s->n; i++) free_rule(&s->rules[i]);
  free(s->rules);
  free(s);
}

const char *ml__sandbox_rule(const ml_sandbox *s, int i, const char **profile) {
  *profile = profile_names[s->profile];
  return i < s->n ? s->rules[i].text : NULL;
}

/* ---- what they say ---- */

bool ml__may(const ml_sandbox *s, ml_perm perm) { return s == NULL || (s->whole & BIT(perm)) != 0; }

bool ml__may_name(const ml_sandbox *s, ml_perm perm, const char *name) {
  if (ml__may(s, perm)) return true;
  for (int i = 0; i < s->n; i++)
    if (s->rules[i].perm == perm && strcmp(s->rules[i].name, name) == 0) return true;
  return false;
}

bool ml__may_run(const ml_sandbox *s, const char *path) {
  char real[4096];
  if (ml__may(s, ML_P_RUN)) return true;
  return ml__path_name(path, real, sizeof real) && real[0] != '\0' &&
         ml__may_name(s, ML_P_RUN, real);
}

void ml__tell_refused(const ml_engine *e, ml_perm perm, const char *doing, const char *subject,
                      const char *rule) {
  ml_refusal what = {perms[perm].name, rule != NULL ? rule : "", doing,
                     subject != NULL ? subject : ""};
  if (e->config.on_refused != NULL) e->config.on_refused(e->config.ud, &what);
}

void ml__denied(lua_State *L, ml_perm perm, const char *doing, const char *subject,
                const char *rule) {
  const char *name = perms[perm].name;
  int top = lua_gettop(L);
  ml__tell_refused(ml__engine(L), perm, doing, subject, rule);
  luaL_checkstack(L, 8, "sandbox");
  if (perm == ML_P_FULL)
    lua_pushliteral(L, "not in a sandbox");
  else
    lua_pushfstring(L, "needs --allow-%s%s%s", name, rule != NULL ? "=" : "",
                    rule != NULL ? rule : "");
  ml__error_new(L, "PermissionError", "EACCES: permission denied: %s%s%s%s (%s)", doing,
                subject != NULL ? " '" : "", subject != NULL ? subject : "",
                subject != NULL ? "'" : "", lua_tostring(L, -1));
  lua_pushliteral(L, "EACCES");
  lua_setfield(L, -2, "code");
  lua_pushinteger(L, EACCES);
  lua_setfield(L, -2, "errno");
  lua_pushstring(L, doing);
  lua_setfield(L, -2, "syscall");
  lua_pushfstring(L, "%s%s%s", name, rule != NULL ? "=" : "", rule != NULL ? rule : "");
  lua_setfield(L, -2, "permission");
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
}

int ml__deny(lua_State *L, ml_perm perm, const char *doing, const char *subject, const char *rule) {
  ml__denied(L, perm, doing, subject, rule);
  return lua_error(L);
}

void ml__check_may(lua_State *L, ml_perm perm, const char *doing, const char *subject) {
  if (!ml__may(ml__engine(L)->sandbox, perm)) ml__deny(L, perm, doing, subject, NULL);
}

void ml__check_env(lua_State *L, const char *name) {
  if (!ml__may_name(ml__engine(L)->sandbox, ML_P_ENV, name))
    ml__deny(L, ML_P_ENV, "getenv", name, name);
}

/* ---- descriptors ---- */

/* libuv keeps a pipe in the process that its loops share, for signals; without it, it aborts.
** Both its ends are open here and closed by exec: of the pipes that somebody has reason to hand
** over only one end is, or exec lets it through. */
static bool is_shared_pipe(int fd) {
  char name[40], target[8];
  struct stat it, other;
  if (fstat(fd, &it) != 0 || !S_ISFIFO(it.st_mode) || !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
    return false;
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  if (readlink(name, target, sizeof target) < 6 || memcmp(target, "pipe:[", 6) != 0) return false;
  for (int i = 0; i < fd + 256; i++)
    if (i != fd && fstat(i, &other) == 0 && other.st_ino == it.st_ino &&
        other.st_dev == it.st_dev && (fcntl(i, F_GETFD) & FD_CLOEXEC))
      return true;
  return false;
}

bool ml__fd_of_uv(ml_engine *e, int fd) {
  if (fd < 0) return false;
  for (ml_link *k = e->loops.next; k != &e->loops; k = k->next) {
    const ml_evloop *l = ml__containerof(k, ml_evloop, link);
    const uv_loop_t *uv = l->closed || !l->uv_ready ? NULL : l->uv;
    if (uv == NULL) continue;
    if (fd == uv->backend_fd || fd == uv->async_io_watcher.fd || fd == uv->async_wfd ||
        fd == uv->signal_pipefd[0] || fd == uv->signal_pipefd[1] || fd == uv->emfile_fd ||
        fd == uv->inotify_fd)
      return true;
  }
  return is_shared_pipe(fd);
}

void ml__check_fd(lua_State *L, const char *doing, int fd) {
  ml_engine *e = ml__engine(L);
  char number[16];
  if (e->sandbox != NULL) {
    snprintf(number, sizeof number, "%d", fd);
    if (!(fd >= 0 && fd <= 2 && ml__may(e->sandbox, ML_P_STDIO)) &&
        !ml__may_name(e->sandbox, ML_P_FD, number))
      ml__deny(L, ML_P_FD, doing, number, number);
  }
  if (ml__fd_of_uv(e, fd))
    ml__misuse(L, "ValueError", "%s: descriptor %d is the event loop's own", doing, fd);
}
