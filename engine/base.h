/* What everything stands on: jobs, objects, the engine, what hosts have of it. core.h, which
** includes it, has the model and the rest.
*/
#ifndef ML_BASE_H
#define ML_BASE_H

#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "list.h"
#include "meter.h"
#include "moonloop.h"

#define ml__containerof(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

typedef struct ml_evloop ml_evloop;
typedef struct ml_future ml_future;
typedef struct ml_fiber ml_fiber;
typedef struct ml_op ml_op;
typedef struct ml_codeinfo ml_codeinfo;
typedef struct ml_attachment ml_attachment;
typedef struct ml_sandbox ml_sandbox;

/* ---- jobs ---- */

/* Runs on the loop with nothing of Lua on the C stack but `loop->L`; must not
** let an error out. The job is unlinked before it is run. */
typedef struct ml_job {
  ml_link link; /* first */
  void (*run)(ml_evloop *loop, struct ml_job *job);
} ml_job;

/* ---- objects ---- */

typedef enum {
  ML_T_COROUTINE = 1, /* a coroutine function's call: an ml_coroutine                    */
  ML_T_OP,            /* a native operation: an ml_op                                 */
  ML_T_FUTURE,        /* the futures: ml_future first                                  */
  ML_T_TASK,
  ML_T_GATHER,
  ML_T_HANDLE,
  ML_T_TIMERHANDLE,
  ML_T_LOOP,
  ML_T_LOCK,
  ML_T_EVENT,
  ML_T_SEMAPHORE,
  ML_T_QUEUE,
  ML_T_REPORT,
  ML_T_READER, /* bindings' own from here on */
  ML_T_WRITER,
  ML_T_SERVER,
  ML_T_TRANSPORT,
  ML_T_FILE,
  ML_T_DIR,
  ML_T_WATCHER,
  ML_T_TLSCONTEXT,
  ML_T_TLSOBJECT,
  ML_T_TLSSESSION,
  ML_T_TLSCACHE,
  ML_T_DGTRANSPORT,
  ML_T_DGENDPOINT,
  ML_T_PROCESS,
  ML_T_SIGNALWATCH,
  ML_T_POOL,
  ML_T_OUTPUT, /* standard output, standard error */
  ML_T_SOCKET,
  ML_T_BUFFER,
  ML_T_ZCOMPRESS,
  ML_T_ZDECOMPRESS,
  ML_T_BRCOMPRESS,
  ML_T_BRDECOMPRESS,
  ML_T_WEBSOCKET,
  ML_T_MAKER,    /* what makes a server's connections: see stream.h */
  ML_T_HTTPCONN, /* of HTTP/1: a connection */
  ML_T_EXCHANGE, /* a request and its response */
  ML_T_HEADERS,
  ML_T_H2EXCHANGE, /* of HTTP/2 */
  ML_T_H2CLIENT,   /* of HTTP/2, a client's connection */
  ML_T_H2CALL,     /* and its requests with their responses */
  ML_T_HCSETTINGS, /* of the HTTP client */
  ML_T_HCCONN,
  ML_T_HCEXCHANGE,
  ML_T_HOSTED, /* an object of the host's */
  ML_T_USER    /* bindings may count on from here */
} ml_objtype;

typedef struct ml_object {
  const void *magic; /* &ml__magic: no other userdata begins like this */
  uint8_t type;      /* ml_objtype */
  uint8_t state;     /* by type */
  uint16_t flags;    /* by type */
  uint32_t n;        /* by type: coroutines: number of arguments */
} ml_object;

extern const char ml__magic;

/* Is what lua_touserdata gives for idx, which is not NULL, an object of the engine's? */
static inline bool ml__isobject(lua_State *L, int idx, const ml_object *o) {
  return lua_rawlen(L, idx) >= sizeof(ml_object) && o->magic == &ml__magic;
}
/* The object at idx, or NULL if it is no object of the engine's. */
static inline ml_object *ml__toobject(lua_State *L, int idx) {
  ml_object *o = (ml_object *)lua_touserdata(L, idx);
  return o != NULL && ml__isobject(L, idx, o) ? o : NULL;
}
/* The second half of ml__checkobject: o is at idx, perhaps NULL, and of another type. */
void *ml__checkothers(lua_State *L, int idx, ml_object *o, ml_objtype type);
/* The object of that type at idx, or an argument error that says what was
** expected and what came. For types futures means future, task and gather. */
static inline void *ml__checkobject(lua_State *L, int idx, ml_objtype type) {
  ml_object *o = ml__toobject(L, idx);
  return o != NULL && o->type == type ? o : ml__checkothers(L, idx, o, type);
}
/* lua_settop(L, 1), which is not free. */
static inline void ml__keepfirst(lua_State *L) {
  if (lua_gettop(L) != 1) lua_settop(L, 1);
}
/* Pushes a new object of `size` bytes with nuv user values and the type's
** metatable (see ml__newtype); the memory is zeroed. */
void *ml__newobject(lua_State *L, ml_objtype type, size_t size, int nuv);
/* Pushes a table whose values ("v") or keys ("k") are weak. */
void ml__push_weak(lua_State *L, const char *mode);
/* Registers the metatable of a type: methods are its __index, meta its
** metamethods (may be NULL). `name` is what errors call it. Leaves the
** methods table on the stack. */
void ml__newtype(lua_State *L, ml_objtype type, const char *name, const luaL_Reg *methods,
                 const luaL_Reg *meta);

/* Makes core[name] callable: a call makes an object by ctor. Its field `methods`
** is the methods table on top (popped); core is below it. */
void ml__newclass(lua_State *L, const char *name, lua_CFunction ctor);

/* ---- engine ---- */

/* A struct of the host's that begins with its size, as this version knows it: `known` bytes.
** An older host's is shorter, but not than `least`; what a newer one's has more must be 0. */
bool ml__struct_read(void *to, size_t known, const void *from, size_t least);

typedef struct ml_source {
  const char *name;  /* as given to require */
  const char *chunk; /* chunk name, "@moonloop/..." */
  const unsigned char *data;
  size_t size;
} ml_source;
typedef struct ml_module {
  const char *name;
  lua_CFunction open;
} ml_module;
extern const ml_source ml__stdlib[]; /* generated; ends with a NULL name */
extern const char ml__docs[];        /* generated: see bindings/embedded.c */
extern const size_t ml__docs_size;
extern const ml_module ml__bindings[]; /* bindings/modules.c; ends with a NULL name */

/* Small blocks by size class, see alloc.c. */
typedef struct ml_allocator ml_allocator;

#define ML_LOST_SIZE 4096

struct ml_engine {
  lua_State *L; /* the main thread */
  ml_config config;
  ml_allocator *alloc;
  ml_evloop *running; /* the loop that runs now, or NULL */
  ml_evloop *current; /* what get_event_loop gives, or NULL: made at need */
  ml_link loops;      /* every ml_evloop */
  ml_fiber *task;     /* the running task, or NULL */
  lua_State *active;  /* the Lua thread that may suspend the running task, or NULL */
  uint32_t task_ids, gather_serial;
  int cancel_depth; /* gathers whose children are being cancelled */
  int eager_depth;  /* eager first steps inside one another */
  ml_link unwound;  /* jobs of tasks that eager starts have suspended: see eager.c */
  ml_codeinfo *codeinfo[256];
  int closing;
  int host_mode;     /* scripts are tasks of a host's loop */
  bool exposed;      /* ML_R_EXPOSED is not empty */
  bool main_context; /* ML_R_MAINCTX is not empty */
  bool in_main;      /* a main program is on the C stack */
  int resets;        /* coroutines that are being closed, one in another's `__close` */
  /* finished threads kept for reuse: alloc'd array of nfree, room for maxfree */
  struct ml_freethread *freethreads;
  int nfree, maxfree;
  /* free slots of ML_R_TASKS: array of nslots, room for maxslots; lastslot ever used */
  int *slots;
  int nslots, maxslots, lastslot;
  /* places of ML_R_PINS that were used, room for maxpins of them in free_pins */
  int npins, maxpins, nfree_pins, *free_pins;
  ml_link reports; /* armed reports of errors that nobody has seen */
  const char *typenames[ML_T_USER + 1];
  ml_object *sleep0, *frame0;      /* what asyncio.sleep(0), next_frame() give: never used up */
  double frame_clock;              /* seconds that ml_frame has added up */
  int reloading;                   /* ml_reload runs: modules cannot await */
  int reload_error;                /* the code for an error of the reload that runs */
  atomic_int sigints;              /* interrupts not yet delivered: ANY THREAD */
  _Atomic(ml_evloop *) live;       /* running, for other threads to wake */
  struct ml_lasterror *last_error; /* host.c */
  bool collecting;         /* garbage is being freed, and `log` is told of some: no Lua now */
  bool gc_cycled;          /* a cycle of the collector has ended: see loop.c */
  uint64_t rng;            /* state of the shuffling generator, 0: off; a loop may have its own */
  int nstats_inflight;     /* operations of bindings that are in flight */
  unsigned require_serial; /* modules loaded so far */
  unsigned names_serial;   /* names.c: of those it knows */
  /* NULL, or closes the bindings' handles on a loop that is the host's: uv_walk
  ** would meet the host's own there */
  void (*close_handles)(lua_State *L, ml_evloop *l);
  void (*round_over)(ml_engine *e);               /* NULL, or the jobs of a round have run */
  struct ml_outbox *outbox;                       /* of that */
  int (*flush_output)(ml_engine *e);              /* NULL, or see ml_flush */
  void (*_Atomic restore_terminal)(ml_engine *e); /* NULL, or see ml_restore_terminal */
  struct ml_terminals *terminals;                 /* of that */
  struct ml_editor *editor;                       /* the line that is being typed, or NULL */
  /* NULL, or told before the log is written to standard error, and after it: no Lua there */
  void (*on_log)(ml_engine *e, bool over);
  atomic_int interrupted; /* the first Ctrl-C has been handed to the runner */
  char warning[512];      /* a Lua warning that comes in parts */
  char doubted[256];      /* the last of those that may be about loop.c's watch: see ml__gc_doubt */
  unsigned ndoubted;      /* how many there were since it was looked at */
  bool warn_off;          /* warn("@off") */
  char *lost;             /* NULL, or what was not awaited, in place of the log: see gate.c */
  size_t nlost;
  struct ml_task *host_tasks; /* host.c: the host's references */
  ml_meter meter;
  size_t nfiles;               /* of io, that are open; counted under max_handles alone */
  atomic_uint_fast64_t output; /* bytes that scripts have written */
  atomic_uint_fast64_t
      *output_of; /* where they are counted: a worker's, with the engine that it works for */
  char why[200];  /* what is wrong with an argument of a host function */
  ml_attachment *attachment; /* NULL: the state is the engine's own */
  /* NULL, or told when a loop begins to run outside of any other, and when it ends */
  void (*on_drive)(ml_engine *e, bool begins);
  ml_sandbox *sandbox;         /* NULL: everything is allowed; see sandbox.h */
  struct ml_known *known;      /* sandnet.c: addresses of names that rules allow, or NULL */
  struct ml_counter *counters; /* limits.c: of the bindings' handles */
  bool log_full;               /* more than max_output: the log says no more */
  /* an inspector (of the bindings), or nothing: see bindings/inspected.c */
  struct ml_inspector *inspector;
  struct ml_inspector *inspects;                      /* this engine is one's */
  void (*inspect)(struct ml_engine *e, lua_State *L); /* between two rounds, if `asked` */
  void (*inspect_end)(struct ml_engine *e);           /* the engine is closed */
  atomic_bool asked;                                  /* ANY THREAD */
  const char *_Atomic inspect_path;                   /* to be removed when the process ends */
  bool counting;                                      /* steps and calls are counted */
  uint64_t steps, calls;                              /* of tasks; of other jobs */
};

/* A state that ml_new made has its engine in every thread's extra space, marked as such: no
** pointer of a host's looks like that. In a state that was attached to, extra space is the
** host's: the engine is found by the allocator. */
#define ML_TAG_SHIFT 48
#define ML_TAG ((uint64_t)0x6D4C << ML_TAG_SHIFT)
static inline uint64_t ml__tagged(lua_State *L) {
  return (uint64_t) * (uintptr_t *)lua_getextraspace(L) ^ ML_TAG;
}
/* Is it a state that was attached to? */
static inline bool ml__attached(lua_State *L) { return ml__tagged(L) >> ML_TAG_SHIFT != 0; }
ml_engine *ml__attached_engine(lua_State *L);
/* Why nothing can be done with scripts now, or 0. */
static inline int ml__refusal(const ml_engine *e) {
  return e->collecting ? ML_EBUSY : e->closing ? ML_ECLOSED : 0;
}
/* Does something of it run: a script, a callback of the host's, a call into it? Then it cannot be
** driven or closed. */
bool ml__busy(const ml_engine *e);
static inline ml_engine *ml__engine(lua_State *L) {
  uint64_t e = ml__tagged(L);
  if (__builtin_expect(e >> ML_TAG_SHIFT != 0, 0)) return ml__attached_engine(L);
  return (ml_engine *)(uintptr_t)e; // NOLINT(performance-no-int-to-ptr)
}

/* L runs scripts until ml__meter_leave, which gets the answer. */
static inline lua_State *ml__meter_enter(ml_engine *e, lua_State *L) {
  lua_State *prev = atomic_load_explicit(&e->meter.hot, memory_order_relaxed);
  atomic_store_explicit(&e->meter.hot, L, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst); /* a signal now sees L, or its flag is seen here */
  if (e->meter.armed) ml__meter_arm(e, L);
  return prev;
}
static inline void ml__meter_leave(ml_engine *e, lua_State *prev) {
  atomic_store_explicit(&e->meter.hot, prev, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst);
  if (e->meter.armed && prev != NULL) ml__meter_arm(e, prev);
}
static inline void ml__meter_next(ml_engine *e) {
  ml_meter *m = &e->meter;
  uint64_t serial = atomic_load_explicit(&m->serial, memory_order_relaxed) + 1;
  uint32_t in = atomic_load_explicit(&m->stamp.in, memory_order_relaxed) - 1;
  atomic_store_explicit(&m->serial, serial, memory_order_relaxed);
  atomic_store_explicit(&m->stamp.in, in, memory_order_relaxed);
  if (in == 0) ml__meter_stamp(m);
}
/* The next slice begins after a pause: it gets a stamp. */
static inline void ml__meter_paused(ml_engine *e) {
  atomic_store_explicit(&e->meter.stamp.in, 1, memory_order_relaxed);
}
/* The same, for what begins a slice unless it is inside one. */
static inline lua_State *ml__meter_begin(ml_engine *e, lua_State *L) {
  lua_State *prev = atomic_load_explicit(&e->meter.hot, memory_order_relaxed);
  if (prev == NULL) ml__meter_next(e);
  return ml__meter_enter(e, L);
}
static inline void ml__meter_end(ml_engine *e, lua_State *L, lua_State *prev) {
  ml__meter_leave(e, prev);
  if (e->meter.armed && prev == NULL) ml__meter_settle(e, L);
}

/* Fixed places in the registry, in its array part (Lua's own end at 2, luaL_ref keeps
** its list at 3): faster than names. ml__ref_get pushes one. */
typedef enum {
  ML_R_THREADS = 4, /* every Lua thread made for tasks, by slot */
  ML_R_TASKS,       /* every pending task, by its slot */
  ML_R_PINS,        /* array of objects in flight */
  ML_R_CORE,        /* the asyncio.core module table */
  ML_R_CONTEXTS,    /* weak keys: task -> context table */
  ML_R_EXTRAS,      /* weak keys: object -> table of rare properties */
  ML_R_TRACEBACKS,  /* weak keys: error object -> traceback so far */
  ML_R_LASTERR,     /* the last error raised by an await, if a string */
  ML_R_LASTTB,      /* its traceback */
  ML_R_PENDINGERR,  /* error that ends a run of the loop (KeyboardInterrupt, ...) */
  ML_R_CLASSES,     /* name -> error class, or false: not made yet */
  ML_R_MAINCTX,     /* context table outside tasks */
  ML_R_SIGINT,      /* the runner's handler */
  ML_R_REPORTS,     /* weak values: light pointer -> report */
  ML_R_EXPOSED,     /* weak keys: threads of tasks that coroutine.running has shown */
  ML_R_QUEUEMETAS,  /* weak values: maxsize -> metatable of queues */
  ML_R_LOOPS,       /* light pointer -> Loop object */
  ML_R_ASYNCFNS,    /* weak keys: functions that are no call_async, but coroutine functions */
  ML_R_SLEEP0,      /* ml_engine.sleep0, frame0 */
  ML_R_FRAME0,
  ML_R_FINALIZERS, /* metered.c: object -> its sentinel */
  ML_R_KILL,       /* the error that stops the slice, or false */
  ML_R_OBJECTS,    /* of the host's: light pointer to the class -> what belongs to it */
  ML_R_ATTACHED,   /* in the host's state: what attach.c has to put back */
  ML_R_MODULES,    /* name -> what a module is like that can be reloaded: reload.c */
  ML_R_TYPES       /* + type: metatables */
} ml_ref;

/* In a state that was attached to, where others keep references, all are so much further up. */
#define ML_REF_ATTACHED 0x6D4C0000

static inline int ml__ref_key(lua_State *L, int ref) {
  return __builtin_expect(ml__attached(L), 0) ? ML_REF_ATTACHED + ref : ref;
}
static inline int ml__ref_get(lua_State *L, int ref) {
  return lua_rawgeti(L, LUA_REGISTRYINDEX, ml__ref_key(L, ref));
}
static inline void ml__ref_set(lua_State *L, int ref) {
  lua_rawseti(L, LUA_REGISTRYINDEX, ml__ref_key(L, ref));
}

/* Pushes the table of rare properties of the object at idx, made at need. */
void ml__push_extras(lua_State *L, int idx);
/* Keeps the value at idx alive until ml__unpin. May raise a memory error. */
int ml__pin(lua_State *L, int idx);
void ml__unpin(lua_State *L, int pin);
/* Pushes what is pinned. */
void ml__pushpinned(lua_State *L, int pin);
void ml__log_text(ml_engine *e, const char *s, size_t n);
void ml__log(ml_engine *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* attach.c: what an engine has more in a state that is the host's */
/* An object with a finalizer was made: when the host closes its state, the engine's end comes
** before it. */
void ml__attach_watch(lua_State *L);
static inline void ml__finalized(lua_State *L) {
  if (ml__attached(L)) ml__attach_watch(L);
}
/* Pushes the loader of a module that is in the binary, and what it is given after its name. */
int ml__push_embedded(lua_State *L, const char *name);
bool ml__issearcher(lua_State *L, int idx); /* loader.c: in package.searchers, one of ours */
/* Pushes package.searchers; raises if that is no table. `package`: index of the library. */
void ml__push_searchers(lua_State *L, int package);
/* Asks the searchers on top, which what it pushes takes the place of: the module's loader and
** what the searcher has for it; or false, and the text that says where it was looked for. Raises
** what a searcher raises. */
bool ml__find_loader(lua_State *L, const char *name);
/* Places in the table ML_R_ATTACHED. */
enum {
  ML_AT_META = 1, /* of sentinels */
  ML_AT_SENTINEL,
  ML_AT_REPLACED, /* table, key, what was there, what is there now, ... */
  ML_AT_OWN,      /* modules that came from the binary, by name */
  ML_AT_ENV       /* what globals they see */
};
/* Before the loops go, and after. */
void ml__attach_leave(ml_engine *e);

/* engine.c */
/* Checks the configuration and makes what an engine has besides its state. */
int ml__engine_new(const ml_config *c, ml_engine **out);
/* Opens all of the engine's units in its state; what scripts have of them by global names
** alone. lua_CFunctions. */
int ml__engine_open(lua_State *L);
int ml__engine_install(lua_State *L);
/* Ends loops, tasks and references of the host. */
void ml__engine_shut(ml_engine *e, int grace_ms);
/* After its state, or when nothing of it is left there. */
void ml__engine_free(ml_engine *e);

/* alloc.c */
ml_allocator *ml__alloc_new(const ml_config *c, void (*lost)(void *ud, const ml_object *co),
                            void *ud);
void ml__alloc_free(ml_allocator *a);
/* seed.c: for engines that have a seed. A region of addresses, whose blocks lie alike in each
** run; NULL: no room for it. ml__region_alloc is as ml_config.alloc. */
typedef struct ml_region ml_region;
ml_region *ml__region_new(void);
void ml__region_free(ml_region *r);
void *ml__region_alloc(void *ud, void *p, size_t osize, size_t nsize);
/* A new state that has this seed for its strings; NULL: *err says why not. */
lua_State *ml__seeded_state(lua_Alloc alloc, void *ud, uint64_t seed, int *err);
int ml__seed_random(lua_State *L);                             /* a lua_CFunction */
void *ml__alloc(void *a, void *p, size_t osize, size_t nsize); /* a lua_Alloc */
void ml__alloc_set_ud(ml_allocator *a, void *ud);
/* The engine's own state is in this block: its extra space is cleared at the end. */
void ml__alloc_main_block(ml_allocator *a, const void *p);
/* A lua_Alloc for a state that is the host's: its blocks are the host's allocator's as they
** are, counted and watched. */
void *ml__alloc_attached(void *a, void *p, size_t osize, size_t nsize);
/* From now on ml__alloc_attached hands over to these; so many bytes are in use already. When
** the last block of the state is freed, `gone` is told, and may free the allocator. */
void ml__alloc_adopt(ml_allocator *a, lua_Alloc host, void *ud, size_t used, const void *last,
                     void (*gone)(void *ud));
void ml__alloc_disown(ml_allocator *a, lua_State *L); /* the state has its own back */
void *ml__alloc_ud(const ml_allocator *a);            /* of ml__alloc_set_ud */
size_t ml__alloc_used(const ml_allocator *a);
/* From now on what would take the allocator over so many bytes fails; 0: no limit. */
void ml__alloc_limit(ml_allocator *a, size_t limit);
/* The next userdata that Lua allocates is a coroutine or an operation: if it is
** freed in state ML_CO_NEW, `lost` of ml__alloc_new is told. */
void ml__alloc_expect_coroutine(ml_allocator *a);
/* A buffer of cap bytes that can become a string without being copied. NULL: no memory. */
char *ml__strbuf_new(ml_allocator *a, size_t cap);
void ml__strbuf_free(ml_allocator *a, char *p, size_t cap);
/* Pushes the first n bytes of the buffer as a string. True: the buffer has become that
** string, which is so if it is large and (nearly) full; false: they were copied, and
** it is still the caller's, as it is when this raises a memory error. */
bool ml__strbuf_push(lua_State *L, char *p, size_t cap, size_t n);
/* Pushes the n bytes that lie at ML_STRING_HEAD in a malloc'd block of cap bytes. True: the block
** has become the string; false: they were copied. For blocks that threads have filled. */
#define ML_STRING_HEAD 24
bool ml__strbuf_adopt(lua_State *L, char *p, size_t cap, size_t n);
void ml__strbuf_init(lua_State *L, ml_allocator *a); /* once: measures a string's head */

/* ---- limits ---- */

/* What a unit of the bindings has of handles. */
typedef struct ml_counter {
  struct ml_counter *next;
  size_t (*count)(const struct ml_counter *c);
} ml_counter;

size_t ml__count_tasks(const ml_engine *e);
size_t ml__count_handles(const ml_engine *e);
/* Raise LimitError if there cannot be one more, or n more bytes of output. */
void ml__check_tasks(lua_State *L);
void ml__check_handles(lua_State *L);
void ml__check_output(lua_State *L, size_t n);
bool ml__handles_full(const ml_engine *e);
/* May n more bytes be written? Then they are counted. */
bool ml__output_fits(ml_engine *e, size_t n);
bool ml__log_fits(ml_engine *e, size_t n);
void ml__open_metered(lua_State *L); /* with a meter: what it could not interrupt */
void ml__open_patterns(lua_State *L);
/* setmetatable of the object at 1, for engines with a meter; leaves the object alone. */
void ml__metered_setmetatable(lua_State *L);
void ml__open_limits(lua_State *L); /* replaces print and write, where there is a limit */

/* ---- hosts and main programs ---- */

/* host.c */
/* The loop that the host drives; NULL: no memory. */
ml_evloop *ml__engine_loop(ml_engine *e);
int ml__set_last_error(ml_engine *e, lua_State *L, int code); /* the error on top (popped) */
/* Calls f(arg as light userdata) on L under lua_pcall: 0 and its results, or the code of the
** last error that was recorded: ML_ENOMEM, or `code` if the error has none of its own. */
int ml__protected(ml_engine *e, lua_State *L, lua_CFunction f, void *arg, int nresults, int code);
void ml__host_close(ml_engine *e);

/* program.c */
/* Pushes the compiled chunk on L, or records why not. */
int ml__load_chunk(ml_engine *e, lua_State *L, const char *name, const char *src, size_t n);
/* The whole file, "-": standard input; *out is malloc'd. Or records why not. */
int ml__read_whole(ml_engine *e, const char *path, char **out, size_t *n);
int ml__host_pending_error(lua_State *L);
/* What hosts get for the error at idx: code, or one of its own. */
int ml__error_code(lua_State *L, int idx, int code);
int ml__host_report_stuck(lua_State *L);

/* ---- values between C and Lua ---- */

/* Lets go of the pin behind a value that the host has, if there is one: one that was given back
** already is let be. */
void ml__value_unpin(lua_State *L, const ml_value *v);
/* A name as in Lua, with dots between the parts. */
bool ml__name_ok(const char *s);
/* The value on top (popped) becomes the global of that dotted name; tables are made at need. */
void ml__global_set(lua_State *L, const char *name);
/* Pushes the value. May raise a memory error. */
void ml__value_push(lua_State *L, const ml_value *v);
/* The value at idx if it is one of C's, without a copy; else returns false. */
bool ml__value_plain(lua_State *L, int idx, ml_value *v);
/* Pushes what tostring says of the value at idx, or its type where that fails. */
const char *ml__value_text(lua_State *L, int idx, size_t *len);
/* The value at idx for the host, to be given back by ml_value_free. May raise a memory error. */
void ml__value_take(lua_State *L, int idx, ml_value *v);

/* ---- functions and classes of the host's (call.c, args.c, class.c) ---- */

typedef struct ml_classdef ml_classdef;
typedef struct ml_hostfn { /* a userdata */
  ml_fn fn;
  void *ud;
  ml_classdef *cls; /* of a method, or NULL */
  char name[1];
} ml_hostfn;

void ml__push_hostfn(lua_State *L, const char *name, ml_fn fn, void *ud, ml_classdef *cls);
/* Makes the host function on top (popped) one that is awaited. */
void ml__push_later(lua_State *L);
/* Calls it: arguments come after `skip` values, and nothing after them. Gives the results. */
int ml__host_call(lua_State *L, const ml_hostfn *d, void *self, int skip);
/* Pushes an argument, or nil, on *to. 0 or a code. */
int ml__arg_push(ml_call *c, int i, lua_State **to);
/* Notes what is wrong with it; gives ML_ETYPE. */
int ml__arg_wrong(ml_call *c, int i, const char *expected, const char *got);
/* Pushes the object at that address, made at need; nil if there is no such class. */
void ml__object_push(lua_State *L, const ml_class *cls, void *ptr);
/* The userdata at idx for the host, if it is an object of one of its classes. */
bool ml__object_value(lua_State *L, int idx, ml_value *v);
/* The object that the method d is called for, at idx; or an error says what is there. */
void *ml__object_check(lua_State *L, int idx, const ml_hostfn *d);
/* NULL: the value at idx is an object of the class, and not gone; else what the class is called. */
const char *ml__object_unfit(lua_State *L, int idx, const ml_class *cls);
/* The name of its class, or of its type; gone: NULL, or is it an object that is? */
const char *ml__object_type(lua_State *L, int idx, bool *gone);
/* Ends all objects of the host's. A lua_CFunction. */
int ml__objects_close(lua_State *L);

#endif
