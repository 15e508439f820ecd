/* moonloop: Lua 5.4 with async/await on libuv. The embedding API.
**
** The shortest host:
**
**   ml_config c;
**   ml_engine *e;
**   ml_config_init(&c);
**   if (ml_new(&c, &e) < 0) return 1;
**   ml_load_file(e, "game.lua", NULL);
**   while (ml_step(e, 1000) >= 0) draw_one_frame();
**   ml_close(e, 1000);
**
** Functions return 0 or a positive answer, or a negative code (ML_E* below or
** one of libuv's UV_E*; ml_strerror names both). The out-parameter comes last.
** Inputs are copied; outputs live until their release. An engine belongs to
** the thread that made it. No function aborts, exits, prints or lets a
** longjmp out.
*/
#ifndef MOONLOOP_H
#define MOONLOOP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(ML_BUILD) && defined(__GNUC__)
#define ML_API __attribute__((visibility("default")))
#else
#define ML_API
#endif

#define ML_VERSION_MAJOR 0
#define ML_VERSION_MINOR 1
#define ML_VERSION_PATCH 0
#define ML_VERSION_STRING "0.1.0"

struct lua_State;
struct uv_loop_s;

typedef struct ml_engine ml_engine; /* one engine: a Lua state and its loop    */
typedef struct ml_task ml_task;     /* the host's reference to a script task   */
typedef struct ml_call ml_call;     /* one call of a host function             */

/* Codes of the engine's own. */
enum {
  ML_EINVAL = -10001,   /* an argument is not what the contract says       */
  ML_ENOMEM = -10002,   /* no memory, or the engine's limit was reached     */
  ML_ESYNTAX = -10003,  /* the script does not compile: see ml_last_error  */
  ML_ESCRIPT = -10004,  /* the script raised an error: see ml_last_error   */
  ML_EBUSY = -10005,    /* called from inside a running script             */
  ML_ECLOSED = -10006,  /* the engine or loop is closed                    */
  ML_EPENDING = -10007, /* the task has no result yet                     */
  ML_ESTUCK = -10008,   /* tasks are left that nothing can ever wake       */
  ML_ELIMIT = -10009,   /* a limit of the configuration was hit            */
  ML_EKILLED = -10010,  /* stopped by ml_interrupt                         */
  ML_EVERSION = -10011, /* ml_attach: the state is of another Lua          */
  ML_ETYPE = -10012     /* an argument has the wrong type: see ml_args     */
};

/* What ml_task_status answers. */
enum { ML_PENDING, ML_DONE, ML_FAILED, ML_CANCELLED };

/* A value that crosses between script and host. Strings are not
** NUL-terminated by promise, though those that the engine gives are.
** ML_TABLE, ML_FUNCTION and ML_OTHER (coroutines, futures, ...) are handles: they are given
** back by ml_value_free, which may be called for any value, and go with the engine. */
typedef enum {
  ML_NIL,
  ML_BOOL,
  ML_INT,
  ML_FLOAT,
  ML_STRING,
  ML_OTHER,
  ML_TABLE,
  ML_FUNCTION,
  ML_USERDATA /* an object of one of the host's classes: no handle, {.cls, .ptr} is enough */
} ml_type;
typedef struct ml_class ml_class;
typedef struct ml_value {
  ml_type type;
  union {
    int b;
    int64_t i;
    double n;
    struct {
      const char *s; /* for handles: what tostring says of it, or its type */
      size_t len;
      int ref; /* the engine's own: the value itself, or 0 */
    } str;
    struct {
      void *ptr; /* NULL: it was destroyed */
      const ml_class *cls;
      int ref; /* the engine's own: 0, or what keeps it alive */
    } obj;
  } u;
} ml_value;

/* Why a task failed. Lives until the task is released. */
typedef struct ml_error {
  int code;              /* ML_ESCRIPT, ML_ENOMEM, ...             */
  const char *message;   /* tostring of the error                  */
  const char *traceback; /* stack across awaits; "" if none        */
} ml_error;

/* What a sandbox has refused: "read" of "/etc/passwd", which open wanted. */
typedef struct ml_refusal {
  const char *permission; /* as in the rules; "full": none gives it                  */
  const char *rule;       /* its value that would have been needed; "" if it has none */
  const char *doing;      /* the operation                                           */
  const char *subject;    /* of it, as the script has named it; "" if nothing is     */
} ml_refusal;

typedef enum { ML_CLOCK_REAL, ML_CLOCK_VIRTUAL, ML_CLOCK_HOST } ml_clock;

/* Who notices that a script runs for too long: nobody; a thread that sends the engine's thread a
** signal (costs next to nothing); a hook that counts instructions (portable, twice as slow). */
typedef enum { ML_METER_OFF, ML_METER_WATCHDOG, ML_METER_COUNTED } ml_meter_mode;
/* And what happens to it: TimeSliceError, which nothing in it can catch; or the task waits for
** the next round, and the others run. */
typedef enum { ML_OVERRUN_ERROR, ML_OVERRUN_PREEMPT } ml_overrun;
enum {
  ML_KEEP_GLOBALS = 1,   /* no globals async and await (asyncio.async, asyncio.await) */
  ML_KEEP_PCALL = 2,     /* pcall and xpcall: catch the task's own cancellation too */
  ML_KEEP_COROUTINE = 4, /* coroutine.*: no await inside of them */
  ML_KEEP_REQUIRE = 8,   /* require: modules cannot await while they load */
  ML_KEEP_DEBUG = 16     /* debug.*: with them scripts can break the engine */
};
/* What scripts may do outside the engine: see docs/embedding.md. */
typedef enum {
  ML_PROFILE_FULL,   /* everything; with `allow`: as ML_PROFILE_PURE        */
  ML_PROFILE_NO_FS,  /* network and standard streams                        */
  ML_PROFILE_NO_NET, /* files and standard streams                          */
  ML_PROFILE_PURE    /* nothing                                             */
} ml_profile;

/* Bytes that grow; {0} at first, given back by ml_buf_free. */
typedef struct ml_buf {
  char *data;
  size_t len, cap;
} ml_buf;

/* How an engine is made. ml_config_init fills it in; its first field is the size of the
** struct that the host was compiled with. It only ever grows at its end, so an older
** host runs with a newer library, and a newer one with an older library as long as it
** leaves alone what that does not know. */
typedef struct ml_config {
  size_t size;
  struct uv_loop_s *loop; /* NULL: the engine has its own                  */
  void *(*alloc)(void *ud, void *p, size_t osize, size_t nsize); /* as lua_Alloc; NULL: malloc */
  void *alloc_ud;
  ml_clock clock;
  double (*now)(void *ud); /* ML_CLOCK_HOST: seconds; NULL: what ml_frame adds up */
  int debug;               /* 1: slow callbacks, creation tracebacks, ...   */
  uint64_t shuffle;        /* not 0: shuffle ready tasks by this seed       */
  /* Where warnings and reports go (no newline at the end); NULL: stderr.   */
  void (*log)(void *ud, const char *text, size_t n);
  /* Where print writes (with the newline); NULL: stdout.                    */
  void (*print)(void *ud, const char *text, size_t n);
  void *ud; /* given back to every callback, see ml_userdata */
  /* Bytes that scripts and the engine's objects may take together; 0: no limit. What would
  ** take more is an error for the script: "not enough memory".               */
  size_t memory_limit;
  ml_meter_mode meter;
  ml_overrun overrun;
  uint64_t slice_us; /* what may run without an await, microseconds, from 100 on; 0: 10,000 */
  int meter_signal;  /* of the watchdog; 0: SIGURG. Its handler is in place while engines use it */
  /* Limits of what scripts have at a time; 0: none. Beyond them there is a LimitError.     */
  size_t max_tasks;
  size_t max_handles;  /* timers, loops, and what holds a descriptor or process             */
  uint64_t max_output; /* bytes that they print, write to standard output and error, and log */
  unsigned keep;       /* ml_attach: ML_KEEP_* of what scripts keep as the host's state has it */
  /* What scripts may do outside: a profile, and rules that add to it, ended by NULL (ml_rule_check
  ** has their form). Decided here, for good.                                  */
  ml_profile profile;
  const char *const *allow;
  /* Modules of the host's: require asks for them before it searches the disk. resolve (NULL: the
  ** name is the id) turns a name into what the module is kept by, load gives its source: each
  ** appends to out (ml_buf_add) and returns 1; 0: there is none; < 0: an error for the script. */
  int (*resolve)(void *ud, const char *name, ml_buf *out);
  int (*load)(void *ud, const char *id, ml_buf *out);
  /* Not 0: runs of the same scripts with the same input are alike: the order of pairs, random
  ** numbers and, unless alloc is the host's, addresses. UV_ENOSYS: not with this Lua.       */
  uint64_t seed;
  /* Told of an error that nobody handles (a task's that nobody awaits, a callback's), instead of
  ** `log`. The error lives until it returns; it may not drive or close the engine.         */
  void (*on_unhandled)(void *ud, const ml_error *error);
  /* Told of each refusal of the sandbox, whether or not the script catches the error. The texts
  ** live until it returns; it may not drive or close the engine, but ml_interrupt the script. */
  void (*on_refused)(void *ud, const ml_refusal *what);
} ml_config;

/* lifecycle */
/* The defaults, in as much of the struct as this header knows. (The function itself, for bindings
** of other languages: as much as the library knows.) */
ML_API void ml_config_init(ml_config *c);
ML_API void ml_config_init_size(ml_config *c, size_t size);
#define ml_config_init(c) ml_config_init_size((c), sizeof(ml_config))
ML_API int ml_new(const ml_config *c, ml_engine **out);
/* An engine in a state of Lua 5.4 that the host has made, on the thread that runs it. The state
** keeps its allocator, extra space and references; ml_close leaves it usable, with its globals as
** they were; lua_close alone does too. c->alloc is for the engine's own blocks; memory_limit
** counts the whole state and holds while the engine runs. ML_EINVAL: the state has an engine; or
** profile, allow or seed is set: a sandbox could not take back what the state has given out already
** (io, package.loadlib, descriptors, references to any of them), and a seed is in the hashes that a
** state is made with: both need ml_new. ML_EVERSION: it is of another Lua. */
ML_API int ml_attach(struct lua_State *L, const ml_config *c, ml_engine **out);
/* Cancels every task, lets clean-up run for at most grace_ms (then drops what
** is left), closes all handles and frees the engine. e may be NULL. */
ML_API int ml_close(ml_engine *e, int grace_ms);
ML_API void *ml_userdata(ml_engine *e);
/* Is it a rule for ml_config.allow? ML_EINVAL, and in why (n bytes; NULL if n is 0) what is wrong:
**   read=DIR write=DIR module=DIR net=HOST:PORTS listen=HOST:PORTS env=NAME run=PROGRAM fd=N
**   stdio exit signal bytecode; without the = all of the kind. HOST: a name, *.name, an address
**   (with /bits), [IPv6], *; unix:PATH. PORTS: 80, 8000-8100, *. */
ML_API int ml_rule_check(const char *rule, char *why, size_t n);
ML_API size_t ml_memory(const ml_engine *e); /* bytes that it takes, what is garbage included */
/* What the scripts have used until now. size is sizeof *out. On the engine's thread. */
typedef struct ml_usage_info {
  uint64_t memory;         /* as ml_memory                                      */
  uint64_t tasks, handles; /* that there are now, as max_tasks and max_handles count them */
  uint64_t output;         /* bytes, as max_output counts them                  */
  uint64_t slices;         /* steps of tasks, callbacks, calls of the host's    */
  uint64_t overruns;       /* that were too long, and were stopped for it       */
  uint64_t preemptions;    /* and those that were suspended                     */
  uint64_t kills;          /* that ml_interrupt has stopped                     */
} ml_usage_info;
ML_API int ml_usage(const ml_engine *e, ml_usage_info *out, size_t size);

/* driving: pick one */
ML_API int ml_run(ml_engine *e); /* until nothing is left; ML_ESTUCK names tasks on the log */
/* Runs what is ready, for about budget_us (0: one round). Never blocks.
** > 0: more to do now; 0: idle until a timer or event; < 0: error. */
ML_API int ml_step(ml_engine *e, uint64_t budget_us);
/* For a host's own poll, epoll or GLib loop: wait until fd is readable, for at most
** timeout_ms (-1: for ever, 0: not at all), then call ml_step. Ask again before each wait. */
ML_API int ml_poll_info(ml_engine *e, int *fd, int *timeout_ms);
ML_API int ml_alive(ml_engine *e); /* 1 while tasks, timers or handles are left */

/* frames, which scripts await by asyncio.next_frame(). Each ml_step begins one, and from the
** first ml_frame on that alone does, in the ml_step after it. Where nobody steps (ml_run), or
** after ml_poll_info, the engine paces them. dt: how many seconds it lasts, for the scripts and
** for clocks that go by it (ML_CLOCK_HOST without now, ML_CLOCK_VIRTUAL); < 0: as measured. */
ML_API int ml_frame(ml_engine *e, double dt);
/* How fast time goes for scripts' timers: 1 as the clock does, 0.5 half as fast, 0 paused. */
ML_API int ml_time_scale(ml_engine *e, double scale);
ML_API int ml_time(ml_engine *e, double *out); /* what loop:time() gives scripts */

/* scripts and tasks: a script is a task; out may be NULL. name is a chunk
** name as in lua_load ("@file.lua", "=stdin"); a first line "#..." is skipped. */
ML_API int ml_load(ml_engine *e, const char *name, const char *src, size_t n, ml_task **out);
ML_API int ml_load_file(ml_engine *e, const char *path, ml_task **out);
ML_API int ml_task_status(const ml_task *t);
ML_API int ml_task_result(ml_task *t, const ml_value **v, size_t *n);
ML_API const ml_error *ml_task_error(ml_task *t); /* NULL unless it failed or was cancelled */
typedef void (*ml_done_fn)(ml_task *t, void *ud);
ML_API int ml_task_on_done(ml_task *t, ml_done_fn fn, void *ud);
ML_API int ml_task_cancel(ml_task *t, const char *why);
ML_API void ml_task_release(ml_task *t);

/* The global function of that name (dots lead into tables) is called as a task; a
** coroutine function's coroutine is awaited. */
ML_API int ml_spawn(ml_engine *e, const char *fn, const ml_value *argv, size_t n, ml_task **out);

/* Hot reload of a module that scripts have required: its new code is run and takes the place
** of the old, tables and data stay, on_reload(old) of the new module is called. ML_EINVAL: no
** such module, ML_ESYNTAX, ML_ESCRIPT: then all is as before, and ml_last_error says why. May
** be called inside a script. */
ML_API int ml_reload(ml_engine *e, const char *module);

/* what the host gives to scripts: names as in Lua, "game.spawn"; dots make tables.
** fn answers with ml_return before it returns 0. < 0 is an error for the script: OSError
** for UV_E*, ValueError for ML_EINVAL, else RuntimeError; a string that ml_return was
** given is its text. */
typedef int (*ml_fn)(ml_call *c, void *ud);
ML_API int ml_def(ml_engine *e, const char *name, ml_fn fn, void *ud);
/* Awaitable in scripts. fn returns 0, and the call is finished by ml_call_finish, in fn
** or at any time after it, or < 0 as above; then it is not finished. */
typedef int (*ml_async_fn)(ml_call *c, void *ud);
ML_API int ml_def_async(ml_engine *e, const char *name, ml_async_fn fn, void *ud);
ML_API int ml_argc(const ml_call *c);
/* The i-th argument, from 0; ML_EINVAL and nil beyond the last. Its string lives until fn
** returns; of an asynchronous call until it is finished or its script waits no longer, so what
** another thread is to read is copied. ML_OTHER is given back by
** ml_value_free. On the engine's thread. */
ML_API int ml_arg(ml_call *c, int i, ml_value *out);
/* All arguments at once, by letters: b int *, i int64_t *, n double *, s const char ** (as
** ml_arg's strings), S const char ** and size_t *, v any, t table, f function: ml_value * as
** from ml_arg, o const ml_class *, then void ** for an object of that class or one derived
** from it. What follows a "|" may be missing or nil; then nothing is stored. ML_ETYPE: fn
** returns it, and the script gets "TypeError: NAME: argument 1: number expected, got string". */
ML_API int ml_args(ml_call *c, const char *types, ...);
ML_API int ml_return(ml_call *c, const ml_value *v, size_t n); /* the last one counts */
ML_API ml_engine *ml_call_engine(const ml_call *c);
/* fn is told, on the engine's thread, when the script waits no longer: its task was
** cancelled, or the engine is closed. The call is still to be finished, in fn or later; of one
** that is finished fn is not told, but another thread may be about to finish it. */
typedef void (*ml_cancel_fn)(ml_call *c, void *ud);
ML_API int ml_call_on_cancel(ml_call *c, ml_cancel_fn fn, void *ud);
/* ANY THREAD, once for each asynchronous call, even if it was cancelled: it releases c.
** err 0: v are the results; < 0: an error, as above. ML_ECLOSED: the engine is closed.
** ML_OTHER values only on the engine's thread, and they must outlive the task's wake-up. */
ML_API int ml_call_finish(ml_call *c, int err, const ml_value *v, size_t n);

/* classes: objects of the host's, as scripts see them */
typedef struct ml_method {
  const char *name; /* NULL: the end */
  ml_fn fn;         /* ml_self is the object, arguments count from 0 */
  int async;        /* 1: awaitable, as ml_def_async */
} ml_method;
typedef struct ml_property {
  const char *name; /* NULL: the end */
  ml_fn get;        /* answers with the value */
  ml_fn set;        /* the value is argument 0; NULL: read only */
} ml_property;
struct ml_class {
  size_t size;            /* sizeof(ml_class), as in ml_config */
  const char *name;       /* "game.Player": a global, and what errors say */
  const ml_class *parent; /* NULL, or defined before: what is missing here is its */
  const ml_method *methods;
  const ml_property *properties;
  ml_fn construct;              /* NULL, or what Player(...) calls: answers with an ML_USERDATA */
  ml_fn tostring, equal, close; /* equal: argument 0 is the other; close: of `<close>` */
  ml_fn index, newindex;        /* for fields that are no method or property: name(, value) */
  /* Once for each object that scripts have been given, when they hold it no longer, it was
  ** closed (without `close`) or the engine ends: not for those of ml_object_gone. During a
  ** garbage collection: it calls nothing of the engine's. */
  void (*finalize)(void *object, void *ud);
  void *ud; /* of all these functions */
};
/* Defines the class; all that cls points to is copied, its address is the class's name in
** ml_value, ml_args and here. */
ML_API int ml_def_class(ml_engine *e, const ml_class *cls);
ML_API void *ml_self(const ml_call *c); /* the object that the method was called for */
/* The object at that address: one and the same for scripts as long as they hold it. out keeps
** it until ml_value_free. (A value {ML_USERDATA, .u.obj = {object, cls}} is made at need.) */
ML_API int ml_object_new(ml_engine *e, const ml_class *cls, void *object, ml_value *out);
/* The host has destroyed it: what scripts still do with it is an error. 1: they knew it. */
ML_API int ml_object_gone(ml_engine *e, const ml_class *cls, void *object);

/* values that the host holds. Tables are accessed raw: no metamethods. out is given back by
** ml_value_free. */
ML_API int ml_get(ml_engine *e, const char *name, ml_value *out); /* a global: "game.level" */
ML_API int ml_set(ml_engine *e, const char *name, const ml_value *v);
ML_API int ml_table_new(ml_engine *e, ml_value *out);
ML_API int ml_table_get(ml_engine *e, const ml_value *t, const ml_value *key, ml_value *out);
ML_API int ml_table_set(ml_engine *e, const ml_value *t, const ml_value *key, const ml_value *v);
ML_API int ml_table_field(ml_engine *e, const ml_value *t, const char *name, ml_value *out);
ML_API int ml_table_set_field(ml_engine *e, const ml_value *t, const char *name, const ml_value *v);
ML_API int ml_table_len(ml_engine *e, const ml_value *t, size_t *n);
/* The pair after *key (ML_NIL: the first), which is freed and replaced. 1; 0: there is none. */
ML_API int ml_table_next(ml_engine *e, const ml_value *t, ml_value *key, ml_value *value);
ML_API int ml_tostring(ml_engine *e, const ml_value *v, ml_value *out);
/* Calls a function now. The number of results stored, at most nout; ML_ESCRIPT: it failed. */
ML_API int ml_call_value(ml_engine *e, const ml_value *fn, const ml_value *argv, size_t n,
                         ml_value *out, size_t nout);
/* As a task, like ml_spawn. */
ML_API int ml_spawn_value(ml_engine *e, const ml_value *fn, const ml_value *argv, size_t n,
                          ml_task **out);

/* A main program, as the moonloop command runs it: not a task; its awaits
** drive the loop until they are done. argv[0] is the script's name in `arg`.
** Returns 0, or ML_ESYNTAX, ML_ESCRIPT, ... with ml_last_error filled in. */
ML_API int ml_main(ml_engine *e, const char *name, const char *src, size_t n, int argc,
                   const char *const *argv);
ML_API int ml_main_file(ml_engine *e, const char *path, int argc, const char *const *argv);
/* The module's function is run as main program, as `lua -l` would load it. */
ML_API int ml_main_module(ml_engine *e, const char *module, int argc, const char *const *argv);
/* The error of the last call that failed; lives until the next call. If the
** script ended by SystemExit, exit_status (may be NULL) gets its status,
** for KeyboardInterrupt 130; otherwise 1. */
ML_API const ml_error *ml_last_error(ml_engine *e, int *exit_status);
/* ANY THREAD and signal handlers. ASK: as Ctrl-C does: the first cancels the main task, the
** second raises KeyboardInterrupt. KILL: what runs now, a task until its next await, a callback,
** the main program, fails with a Terminated error that it cannot catch; 1, or 0 if no script
** runs: then nothing happens. */
enum { ML_INTERRUPT_ASK, ML_INTERRUPT_KILL };
ML_API int ml_interrupt(ml_engine *e, int how);
/* ANY THREAD: wakes a blocked ml_run. */
ML_API int ml_wakeup(ml_engine *e);

/* Appends n bytes: 0 or ML_ENOMEM, then b is unaltered. */
ML_API int ml_buf_add(ml_buf *b, const void *p, size_t n);
ML_API void ml_buf_free(ml_buf *b);

/* Values between engines, processes, runs: appends v to out, as bytes. Tables go with
** all that is in them, cycles and shared parts too; a function, coroutine or userdata
** inside is ML_EINVAL, and ml_last_error says where. v may be a result of
** ml_task_result or come from ml_unpack. */
ML_API int ml_pack(ml_engine *e, const ml_value *v, ml_buf *out);
/* The value in the n bytes, which may come from anywhere: ML_EINVAL if they are not what
** ml_pack writes. out is given back by ml_value_free. */
ML_API int ml_unpack(ml_engine *e, const void *p, size_t n, ml_value *out);
ML_API void ml_value_free(ml_engine *e, ml_value *v);

/* the process's end: ml_close does both, what ends without it (exit handlers, signals) may */
/* Writes out, blocking, what scripts have queued for asyncio.stdout and stderr, and sends what waits
** for the end of a round. UV_E*: writing
** to standard output has failed (UV_EPIPE: nobody reads it), and no script has been told. */
ML_API int ml_flush(ml_engine *e);
/* SIGNAL HANDLERS too, when the process ends: sets terminals back that scripts have put into raw
** mode, and removes an inspector's socket. */
ML_API int ml_restore_terminal(ml_engine *e);

/* ways out */
ML_API struct lua_State *ml_lua(ml_engine *e);
ML_API struct uv_loop_s *ml_loop(ml_engine *e);
ML_API const char *ml_strerror(int err);
ML_API const char *ml_lua_version(void); /* "Lua 5.4.4" */
ML_API int ml_version(void);             /* major * 10000 + minor * 100 + patch */

#ifdef __cplusplus
}
#endif
#endif
