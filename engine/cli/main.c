/* The moonloop command: a client of moonloop.h like any other. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "errors.h"
#include "moonloop.h"

#define SIGPIPE_STATUS (128 + SIGPIPE)

/* bindings/editline, which the command alone has: the module asyncio.edit, for the REPL. */
bool ml__edit_preload(struct lua_State *L);

static ml_engine *engine;        /* for signal and exit handlers */
static const char *command_line; /* what -e was given */

static const char usage[] =
    "Usage: moonloop [options] [-i] [script.lua [args...]]\n"
    "       moonloop [options] run app.lua | serve [DIR] | fetch URL | bench URL [--help, ...]\n"
    "       moonloop check FILES | translate FILE | test [DIR] [--help, ...]\n"
    "       moonloop ps [PID] | pstree PID | top PID [--help, ...]\n"
    "Runs Lua 5.4 scripts with async and await.\n"
    "\n"
    "  script.lua         run the file; its arguments are in `arg`; - is standard input\n"
    "  (nothing)          statements and expressions are read, run and answered\n"
    "  -i script.lua      run the file, then the same with what it has left\n"
    "  -e CODE            run CODE\n"
    "  -m MODULE          run the module, found as require finds it\n"
    "  run app.lua        run a web application: workers, reload, TLS\n"
    "  serve [DIR]        serve the files of a folder\n"
    "  fetch URL...       download, send data, see what a server answers\n"
    "  bench URL          a load test: how fast a server answers\n"
    "  check FILES        syntax errors, and coroutines that are dropped\n"
    "  translate FILE     the keywords async and await as plain Lua\n"
    "  test [DIR]         busted's tests, each in a loop of its own, in virtual time\n"
    "  ps, pstree, top    the tasks of a process that was started with --inspect\n"
    "  --debug            debug mode: slow callbacks, where tasks were made, ...\n"
    "  --virtual-time     time jumps to the next timer when nothing is ready\n"
    "  --seed SEED        the same order of pairs and random numbers in each run\n"
    "  --shuffle SEED     run ready tasks in an order that SEED decides, to find races\n"
    "  --inspect[=[HOST:]PORT]   let ps, pstree and top look at it; with a page on that port\n"
    "  --memory-limit=SIZE   bytes that scripts may take: 65536, 64K, 64M, 1G\n"
    "  --slice=MS         milliseconds that a script may compute without an await\n"
    "  --max-tasks=N, --max-handles=N, --max-output=SIZE   what scripts may have of them\n"
    "  --sandbox          allow nothing but what the options below say\n"
    "  --profile=NAME     begin with: full, no_fs, no_net or pure (--sandbox)\n"
    "  --allow-read[=PATH,...]        files and folders that may be read\n"
    "  --allow-write[=PATH,...]       made, altered and removed\n"
    "  --allow-net[=HOST[:PORTS],...] connected to: names, *.name, addresses, unix:PATH\n"
    "  --allow-listen[=HOST[:PORTS],...]  bound and listened on\n"
    "  --allow-env[=NAME,...]         variables of the environment that may be read\n"
    "  --allow-run[=PROGRAM,...]      programs that may be started\n"
    "  --version          print the version\n"
    "  -h, --help         print this text\n"
    "\n"
    "Exit status: 0; 1 for an error that nothing handled or tasks that can never wake;\n"
    "2 for misuse; 130 after Ctrl-C; or what os.exit or SystemExit say.\n";

static void on_sigint(int sig) {
  int saved = errno;
  (void)sig;
  if (engine != NULL) ml_interrupt(engine, ML_INTERRUPT_ASK);
  errno = saved;
}

/* Ends the process as the signal does by itself. */
static void die_of(int sig) {
  if (engine != NULL) ml_restore_terminal(engine);
  signal(sig, SIG_DFL);
  raise(sig);
}

static void on_deadly(int sig) {
  int saved = errno;
  die_of(sig);
  errno = saved;
}

/* os.exit ends the process without ml_close. */
static void on_exit_process(void) {
  if (engine == NULL) return;
  ml_flush(engine);
  ml_restore_terminal(engine);
}

/* Nobody reads what the script prints: end as other tools do, quietly. A broken
** pipe elsewhere is the writer's error. */
static void on_sigpipe(int sig) {
  int saved = errno;
  struct pollfd out = {STDOUT_FILENO, POLLOUT, 0};
  if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR)) die_of(sig);
  errno = saved;
}

/* A standard descriptor that is closed would be taken by the next thing that is opened:
** it is opened here, so that its use fails as before. */
static void guard_descriptors(void) {
  for (int fd = 0; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

static void handle_signals(void) {
  static const int deadly[] = {SIGTERM, SIGHUP, SIGQUIT};
  struct sigaction sa, old;
  memset(&sa, 0, sizeof sa);
  sigemptyset(&sa.sa_mask);
  sa.sa_handler = on_sigint;
  sigaction(SIGINT, &sa, NULL);
  sa.sa_handler = on_sigpipe;
  sigaction(SIGPIPE, &sa, NULL);
  sa.sa_handler = on_deadly;
  for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++) {
    if (sigaction(deadly[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL) /* not with nohup */
      sigaction(deadly[i], &sa, NULL);
  }
}

static int misuse(const char *what, const char *which) {
  fprintf(stderr, "moonloop: %s%s%s%s\nTry 'moonloop --help'.\n", what, which ? " '" : "",
          which ? which : "", which ? "'" : "");
  return 2;
}

static void print_error(const ml_error *err) {
  fflush(stdout);
  if (err == NULL) {
    fprintf(stderr, "moonloop: not enough memory\n");
    return;
  }
  cli_print_error(stderr, err->message, err->traceback, command_line);
}

/* The exit status for a failed call; tells the error unless it is silent. */
static int failed(ml_engine *e, int rc) {
  int status;
  const ml_error *err = ml_last_error(e, &status);
  if (rc == ML_ESTUCK) return 1; /* told on the log */
  if (err == NULL || rc == ML_EINVAL) {
    fprintf(stderr, "moonloop: %s\n", ml_strerror(rc));
    return 1;
  }
  if (strcmp(err->message, "OSError: write to <stdout> failed: broken pipe") == 0)
    return SIGPIPE_STATUS; /* quietly, as if print had written it */
  if (status == 130 && strncmp(err->message, "SystemExit", 10) != 0) {
    fflush(stdout);
    fprintf(stderr, "KeyboardInterrupt\n");
    return status;
  }
  if (strncmp(err->message, "SystemExit", 10) == 0) {
    const char *text = err->message + 10;
    char *end;
    if (strncmp(text, ": ", 2) == 0) {
      strtol(text + 2, &end, 10);
      if (*end != '\0' && strcmp(text + 2, "true") != 0 && strcmp(text + 2, "false") != 0) {
        fflush(stdout);
        fprintf(stderr, "%s\n", text + 2);
      }
    }
    return status;
  }
  print_error(err);
  return status;
}

/* ---- the sandbox ---- */

/* The rules of the command line, ended by NULL for ml_config.allow. */
typedef struct rules {
  const char **list; /* malloc'd, as the strings are */
  int n;
  bool on;
} rules;

static void *must(void *p) {
  if (p != NULL) return p;
  fprintf(stderr, "moonloop: not enough memory\n");
  exit(1);
}

static void add_rule(rules *r, const char *perm, size_t nperm, const char *value, size_t n) {
  size_t room = nperm + n + 2;
  char *rule = must(malloc(room));
  snprintf(rule, room, n > 0 ? "%.*s=%.*s" : "%.*s%.*s", (int)nperm, perm, (int)n, value);
  r->list = must(realloc(r->list, (size_t)(r->n + 2) * sizeof *r->list));
  r->list[r->n++] = rule;
  r->list[r->n] = NULL;
}

static void free_rules(rules *r) {
  for (int i = 0; i < r->n; i++) free((void *)r->list[i]);
  free(r->list);
}

/* Is the newest rule one? 0, or the status to end with. */
static int check_rule(const rules *r, const char *option, size_t n) {
  char why[160];
  const char *rule = r->list[r->n - 1], *value = strchr(rule, '=');
  if (ml_rule_check(rule, why, sizeof why) == 0) return 0;
  fprintf(stderr, "moonloop: %.*s: %s", (int)n, option, why);
  if (value != NULL) fprintf(stderr, ", got '%s'", value + 1);
  fputs("\nTry 'moonloop --help'.\n", stderr);
  return 2;
}

/* --allow-PERMISSION[=VALUE,...]: 0, or the status to end with. */
static int read_allow(rules *r, const char *option) {
  size_t head = strcspn(option, "="), skip = strlen("--allow-"), given = 0;
  const char *value = option + head;
  int rc = 0;
  r->on = true;
  if (*value == '\0') {
    add_rule(r, option + skip, head - skip, "", 0);
    return check_rule(r, option, head);
  }
  while (*value != '\0' && rc == 0) { /* behind the '=', or a ',' */
    size_t n = strcspn(++value, ",");
    if (n > 0) {
      add_rule(r, option + skip, head - skip, value, n);
      rc = check_rule(r, option, head);
      given++;
    }
    value += n;
  }
  return rc == 0 && given == 0 ? misuse("the value behind the = is missing in", option) : rc;
}

/* --profile=NAME */
static int read_profile(rules *r, ml_config *c, const char *name) {
  static const char *const names[] = {"full", "no_fs", "no_net", "pure"};
  for (int i = 0; i < 4; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    c->profile = (ml_profile)i;
    if (i > 0) r->on = true;
    return 0;
  }
  return misuse("--profile: full, no_fs, no_net or pure was expected, got", name);
}

/* What a command is expected to do in any case; and modules beside the script. */
static void complete(rules *r, ml_config *c, const char *script) {
  static const char *const always[] = {"stdio", "exit", "signal"};
  if (!r->on) return;
  for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
    add_rule(r, always[i], strlen(always[i]), "", 0);
  if (script != NULL && strcmp(script, "-") != 0) {
    const char *slash = strrchr(script, '/');
    const char *dir = slash == NULL ? "." : slash == script ? "/" : script;
    add_rule(r, "module", 6, dir, dir == script ? (size_t)(slash - script) : 1);
  }
  c->allow = r->list;
}

/* s: what follows the option, or NULL. 0, or the exit status. */
static int read_seed(const char *option, const char *s, uint64_t *out) {
  char what[64], *end;
  snprintf(what, sizeof what, "%s needs a SEED (a positive integer)", option);
  if (s == NULL) return misuse(what, NULL);
  errno = 0;
  *out = strtoull(s, &end, 10);
  if (*s >= '0' && *s <= '9' && *end == '\0' && errno == 0 && *out != 0) return 0;
  snprintf(what, sizeof what, "%s: the seed must be a positive integer, got", option);
  return misuse(what, s);
}

/* The limit that the option "NAME=NUMBER" sets: 1, 0 if it is another option, -1 after it was told
** what is wrong with it. */
static int read_limit(ml_config *c, const char *option) {
  static const struct {
    const char *name;
    bool size; /* may end in K, M or G */
  } limits[] = {{"--memory-limit", true},
                {"--slice", false},
                {"--max-tasks", false},
                {"--max-handles", false},
                {"--max-output", true}};
  uint64_t n, unit = 1;
  size_t i = 0, len = strcspn(option, "=");
  const char *text = option[len] == '=' ? option + len + 1 : "", *suffix;
  char *end;
  while (i < 5 && (strlen(limits[i].name) != len || strncmp(option, limits[i].name, len) != 0)) i++;
  if (i == 5) return 0;
  errno = 0;
  n = strtoull(text, &end, 10);
  suffix = strchr("KMG", *end);
  if (limits[i].size && *end != '\0' && suffix != NULL) {
    unit = UINT64_C(1) << (suffix - "KMG" + 1) * 10;
    end++;
  }
  if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || n == 0 ||
      n > (UINT64_C(1) << 40) / unit) {
    char what[64];
    snprintf(what, sizeof what, "%s=%s: a positive number was expected, got", limits[i].name,
             limits[i].size ? "SIZE" : "N");
    misuse(what, text);
    return -1;
  }
  n *= unit;
  switch (i) {
  case 0: c->memory_limit = n; break;
  case 1:
    c->meter = ML_METER_WATCHDOG;
    c->slice_us = n * 1000;
    break;
  case 2: c->max_tasks = n; break;
  case 3: c->max_handles = n; break;
  default: c->max_output = n;
  }
  return 1;
}

/* The module that is the command's subcommand of that name, or NULL. (A script of such a name is
** run as ./run.) */
static const char *subcommand(const char *name) {
  static const char *const modules[] = {
      "commands.run",       "commands.serve", "commands.fetch",  "commands.bench", "commands.check",
      "commands.translate", "commands.ps",    "commands.pstree", "commands.top",   "commands.test"};
  for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++)
    if (strcmp(modules[i] + strlen("commands."), name) == 0) return modules[i];
  return NULL;
}

/* ---- the inspector ---- */

/* Starts it before the script. value: "", "PORT" or "HOST:PORT". 0, or the exit status; by the
** variable alone, which other programs have inherited, it is no reason not to run. */
static int inspect(ml_engine *e, const char *value, bool option) {
  static const char start[] =
      "local host, port = ...\n"
      "local opts = port and {host = host ~= '' and host or nil, port = math.tointeger(port)}\n"
      "local started = require('asyncio.inspector').start(opts)\n"
      "if started.url then io.stderr:write('moonloop: inspector at ', started.url, '\\n') end\n";
  const char *colon = strrchr(value, ':'), *port = colon != NULL ? colon + 1 : value,
             *why = "failed";
  char host[256] = "", *end;
  const char *argv[] = {host, port};
  const ml_error *err;
  size_t n = colon != NULL ? (size_t)(colon - value) : 0;
  int status, rc;
  if (*value != '\0' && (*port < '0' || *port > '9' || strtol(port, &end, 10) > 65535 ||
                         *end != '\0' || n >= sizeof host)) {
    if (option) return misuse("--inspect: PORT or HOST:PORT was expected, got", value);
    fprintf(stderr, "moonloop: MOONLOOP_INSPECT: 1, PORT or HOST:PORT was expected, got '%s'\n",
            value);
    return 0;
  }
  if (n > 1 && value[0] == '[' && value[n - 1] == ']') { /* of IPv6 */
    value++;
    n -= 2;
  }
  memcpy(host, value, n);
  rc = ml_main(e, "=(inspector)", start, sizeof start - 1, *port != '\0' ? 2 : 0, argv);
  if (rc == 0) return 0;
  err = ml_last_error(e, &status);
  if (err != NULL) why = err->message;
  fprintf(stderr, "moonloop: %s: %s\n", option ? "--inspect" : "MOONLOOP_INSPECT", why);
  if (option) return 1;
  return *port != '\0' ? inspect(e, "", false) : 0;
}

/* What MOONLOOP_INSPECT says: 1 or a value of --inspect; NULL: nothing. */
static const char *inspect_variable(void) {
  const char *value = getenv("MOONLOOP_INSPECT");
  if (value == NULL || *value == '\0' || strcmp(value, "0") == 0) return NULL;
  return strcmp(value, "1") == 0 ? "" : value;
}

/* Is the module a command that inspects others? */
static bool is_inspector(const char *module) {
  return module != NULL &&
         (strcmp(module, "commands.ps") == 0 || strcmp(module, "commands.pstree") == 0 ||
          strcmp(module, "commands.top") == 0);
}

static rules allowed;

int main(int argc, char **argv) {
  ml_config c;
  static const char repl[] = "commands.repl";
  const char *code = NULL, *module = NULL, *inspected = NULL, *variable;
  const char *script = NULL; /* with -i */
  int i, rc, status = 0;
  guard_descriptors();
  ml_config_init(&c);
  for (i = 1; i < argc; i++) {
    const char *a = argv[i];
    if (a[0] != '-' || a[1] == '\0') break;
    if (strcmp(a, "--") == 0) {
      i++;
      break;
    }
    if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
      fputs(usage, stdout);
      return fflush(stdout) == 0 ? 0 : 1;
    }
    if (strcmp(a, "--version") == 0 || strcmp(a, "-v") == 0) {
      printf("moonloop %s (%s)\n", ML_VERSION_STRING, ml_lua_version());
      return 0;
    }
    if (strcmp(a, "--debug") == 0)
      c.debug = 1;
    else if (strcmp(a, "--virtual-time") == 0)
      c.clock = ML_CLOCK_VIRTUAL;
    else if (strcmp(a, "--inspect") == 0 || strncmp(a, "--inspect=", 10) == 0) {
      inspected = a[9] == '=' ? a + 10 : "";
      if (a[9] == '=' && *inspected == '\0')
        return misuse("the value behind the = is missing in", a);
    } else if (strcmp(a, "--shuffle") == 0 || strncmp(a, "--shuffle=", 10) == 0) {
      if ((rc = read_seed("--shuffle", a[9] == '=' ? a + 10 : argv[++i], &c.shuffle)) != 0)
        return rc;
    } else if (strcmp(a, "--seed") == 0 || strncmp(a, "--seed=", 7) == 0) {
      if ((rc = read_seed("--seed", a[6] == '=' ? a + 7 : argv[++i], &c.seed)) != 0) return rc;
    } else if (strcmp(a, "--sandbox") == 0) {
      allowed.on = true;
    } else if (strncmp(a, "--allow-", 8) == 0) {
      if ((rc = read_allow(&allowed, a)) != 0) return rc;
    } else if (strncmp(a, "--profile=", 10) == 0) {
      if ((rc = read_profile(&allowed, &c, a + 10)) != 0) return rc;
    } else if (strcmp(a, "-e") == 0) {
      if (++i >= argc) return misuse("-e needs CODE", NULL);
      command_line = code = argv[i++];
      break;
    } else if (strcmp(a, "-m") == 0) {
      if (++i >= argc) return misuse("-m needs a MODULE", NULL);
      module = argv[i++];
      break;
    } else if (strcmp(a, "-i") == 0) {
      module = repl;
      script = argv[++i];
      break;
    } else if ((rc = read_limit(&c, a)) <= 0)
      return rc < 0 ? 2 : misuse("unknown option", a);
  }
  if (code == NULL && module == NULL && i >= argc) module = repl;
  if (code != NULL)
    for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
      if (strcmp(argv[i], "--virtual-time") == 0)
        c.clock = ML_CLOCK_VIRTUAL;
      else if (strcmp(argv[i], "--debug") == 0)
        c.debug = 1;
      else
        break;
    }
  if (code == NULL && module == NULL && (module = subcommand(argv[i])) != NULL) i++;
  complete(&allowed, &c, code == NULL && module == NULL ? argv[i] : script);
  rc = ml_new(&c, &engine);
  free_rules(&allowed);
  if (rc < 0) {
    fprintf(stderr, "moonloop: cannot start: %s\n", ml_strerror(rc));
    return 1;
  }
#ifdef ML_WITH_EDIT
  if (!ml__edit_preload(ml_lua(engine))) {
    fprintf(stderr, "moonloop: not enough memory\n");
    ml_close(engine, 0);
    return 1;
  }
#endif
  handle_signals();
  atexit(on_exit_process);
  variable = inspected == NULL && !is_inspector(module) ? inspect_variable() : NULL;
  if (variable != NULL) inspected = variable;
  if (inspected != NULL && (status = inspect(engine, inspected, variable == NULL)) != 0) {
    ml_close(engine, 0);
    engine = NULL;
    return status;
  }
  if (code != NULL)
    rc = ml_main(engine, "=(command line)", code, strlen(code), argc - i,
                 (const char *const *)argv + i);
  else if (module != NULL)
    rc = ml_main_module(engine, module, argc - i, (const char *const *)argv + i);
  else
    rc = ml_main_file(engine, argv[i], argc - i - 1, (const char *const *)argv + i + 1);
  if (rc < 0)
    status = failed(engine, rc);
  else if ((rc = ml_run(engine)) < 0)
    status = failed(engine, rc);
  rc = ml_flush(engine);
  if (rc < 0 && status == 0) {
    status = rc == UV_EPIPE ? SIGPIPE_STATUS : 1;
    if (rc != UV_EPIPE) fprintf(stderr, "moonloop: standard output: %s\n", ml_strerror(rc));
  }
  ml_close(engine, 1000);
  engine = NULL;
  if (status == SIGPIPE_STATUS) die_of(SIGPIPE);
  errno = 0;
  if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE && status == 0) {
    fprintf(stderr, "moonloop: standard output: %s\n",
            errno != 0 ? strerror(errno) : "write error");
    status = 1;
  }
  return status;
}
