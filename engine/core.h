/* What the units of the engine and the bindings share. Nothing here is public.
**
** The model. An engine has one Lua state and any number of event loops, one of
** which may be running. Objects that scripts hold (futures, tasks, coroutines,
** operations, handles) are userdata that begin with an ml_object. What is to
** be run is an ml_job, linked into exactly one list at a time: the callbacks
** of a future, or the ready queue of a loop. A finished future moves its jobs
** to the ready queue as they stand; that is the one way anything is woken.
**
** Threads: everything here belongs to the engine's thread, but for what
** says ANY THREAD.
*/
#ifndef ML_CORE_H
#define ML_CORE_H

#include <string.h>

#include "base.h"
#include "loop.h"

/* ---- futures ---- */

enum { ML_F_PENDING, ML_F_DONE, ML_F_FAILED, ML_F_CANCELLED };

/* Uservalue 1: result; or the report (see error.c) that holds the error; or
** the CancelledError / cancel message. 2: futures: table of callback handles;
** tasks: the coroutine; gathers: the children. */
struct ml_future {
  ml_object obj; /* state: ML_F_*, flags: ML_FF_* */
  ml_evloop *loop;
  ml_link callbacks; /* jobs */
};
enum {
  ML_FF_MULTI = 1,   /* the result is a table of several values with n */
  ML_FF_MSG = 2,     /* cancelled: uservalue 1 is the message, not yet an error object */
  ML_FF_HANDLES = 4, /* has Lua callbacks: ML_R_EXTRAS holds them */
  ML_FF_STARTED = 8, /* tasks from here on */
  ML_FF_MUST_CANCEL = 16,
  ML_FF_CANCELLING = 32, /* a cancel was handed on to what is awaited, not delivered yet */
  ML_FF_NO_REUSE = 64,   /* its Lua thread was shown to the script */
  ML_FF_NAMED = 128,
  ML_FF_CONTEXT = 256,
  ML_FF_VISITED = 512,   /* while a chain of tasks is followed */
  ML_FF_CRITICAL = 1024, /* inside asyncio.critical */
  ML_FF_SHOWN = 2048,    /* while its outcome is put into words: it may hold itself */
  ML_FF_QUIET = 4096,    /* destroyed while pending is not reported */
  ML_FF_HOST = 8192,     /* the host holds a reference: ml_task */
  ML_FF_CALLED = 16384,  /* made by ml__task_call: user value 2 is the function, no coroutine yet */
  ML_FF_HELD = 32768     /* its slot is kept when it ends: ml__task_let_go */
};

ml_future *ml__future_new(lua_State *L, ml_evloop *loop); /* pushes it */
/* Ends the pending future at idx, not counted from the top, with the value on top (popped). */
void ml__future_finish(lua_State *L, int idx, ml_future *f, int state);
/* The future at idx has finished with the value on top of the stack (popped).
** Schedules its callbacks. No-op returning false when it is done already. */
bool ml__future_set_result(lua_State *L, int idx);
bool ml__future_set_error(lua_State *L, int idx);
/* Cancels: the message is on top of the stack (popped). */
bool ml__future_cancel(lua_State *L, int idx);
bool ml__gather_cancel(lua_State *L, int idx);
/* Ends a future as cancelled; the CancelledError object is on top (popped). */
void ml__future_cancelled_with(lua_State *L, int idx);
/* Push parts of a future's tostring: its state; " result=..." and the like. */
void ml__future_state_repr(lua_State *L, int idx);
void ml__future_outcome_repr(lua_State *L, int idx);
extern const luaL_Reg ml__future_methods[];
/* Pushes the results of a done future and returns how many; if it failed or was
** cancelled pushes the error and returns -1. Marks an error as seen. */
int ml__future_results(lua_State *L, int idx);
/* Moves a finished future's jobs to the ready queue. */
void ml__future_schedule(ml_future *f);
static inline bool ml__isfuture(const ml_object *o) {
  return o != NULL && (o->type == ML_T_FUTURE || o->type == ML_T_TASK || o->type == ML_T_GATHER);
}
/* Turns the awaitable at idx into a future or task, in place. Raises TypeError
** naming `what`. */
ml_future *ml__ensure_future(lua_State *L, int idx, ml_evloop *loop, const char *what);

/* ---- tasks ---- */

typedef struct ml_segment ml_segment;

struct ml_fiber {       /* a Task */
  ml_future fut;        /* first */
  ml_job job;           /* in the ready queue, or in what it awaits */
  ml_link all;          /* in loop->tasks */
  lua_State *thread;    /* the Lua thread to resume: the innermost segment's; NULL
                          before its first step and after its end */
  ml_object *waiting;   /* the future or operation that it awaits, or NULL */
  ml_segment *segments; /* outer parts of a very deep chain of awaits, or NULL */
  uint32_t id;
  int slot;          /* its own in ML_R_TASKS */
  int thread_slot;   /* of its first thread in ML_R_THREADS */
  uint16_t cancels;  /* cancelling() */
  uint16_t depth;    /* nested C calls since it was resumed: Lua allows some 200;
                        parked in ml_frames.waiting: the frame it was then */
  lua_State *parked; /* the Lua thread whose await suspended it */
};

/* A part of a very deep chain of awaits that runs in a thread of its own. */
struct ml_segment {
  ml_segment *next;
  lua_State *outer, *inner;
  lua_State *at;  /* whose await entered it: outer, or a coroutine on top of it */
  int slot;       /* of inner */
  uint16_t depth; /* of outer */
  bool started;
  uint32_t level; /* how many there are up to this one */
};

/* Pushes a new task that will run the coroutine (or function, or operation)
** at idx; its first step is not scheduled yet. */
ml_fiber *ml__task_new(lua_State *L, int idx, ml_evloop *loop);
/* The same for who knows what is at idx, not counted from the top: o, an object or NULL. Takes up
** to 10 places of the stack. */
ml_fiber *ml__task_of(lua_State *L, int idx, ml_evloop *loop, ml_object *o);
/* Pushes a new task for the call of the function below the n values (a few) on top with these; all
** are popped. Of a coroutine function no coroutine is made: the call waits on the task's thread. */
ml_fiber *ml__task_call(lua_State *L, int n, ml_evloop *loop);
/* The task keeps its slot when it ends, for who asks for it then by ml__task_in, until he lets it
** go. A pin that costs nothing. */
static inline int ml__task_hold(ml_fiber *t) {
  t->fut.obj.flags |= ML_FF_HELD;
  return t->slot;
}
void ml__task_in(lua_State *L, int slot); /* pushes it */
void ml__task_let_go(lua_State *L, int slot);
/* task:cancel(msg): the message is on top of the stack (popped). */
bool ml__task_cancel(lua_State *L, int idx);
/* Through the loop's task factory: pushes a task for the coroutine at idx. */
void ml__create_task(lua_State *L, int idx, int opts, ml_evloop *l, const char *fname);
/* The same as the end of a function that Lua calls: gives what that returns. */
int ml__create_task_k(lua_State *L, int idx, int opts, ml_evloop *l);
/* Runs the first step of the task on top now. True: the running task, which made it, has
** to be suspended by ml__task_created, the end of the function that Lua called. */
bool ml__task_start_eagerly(lua_State *L, ml_evloop *l, ml_fiber *t, bool may_yield);
int ml__task_created(lua_State *L, bool yield);
/* Goes on with the coroutine at idx in a new segment; yields. */
int ml__segment_enter(lua_State *L, ml_fiber *t, int idx);
/* Context tables: a new task (on top) gets its maker's; or the one at idx. */
void ml__context_inherit(lua_State *L, ml_fiber *t, ml_fiber *parent);
void ml__context_set(lua_State *L, int task, ml_fiber *t);
/* Pushes the context table of the task at idx, which may have ended; false, and nothing, if it has none. */
bool ml__context_of(lua_State *L, int idx);
/* Calls the function with n arguments on top in the context table at ctx, if it is one: what is set ends with the call. */
int ml__context_pcall(lua_State *L, int n, int ctx);
/* Pushes the current context table, or something that is none: then false. */
bool ml__context_push(lua_State *L);
int ml__context_get(lua_State *L); /* of the task that is given, or of the running one */
void ml__task_created_at(lua_State *L, int idx); /* debug: remembers the stack */
/* Pushes what ml__task_created_at has noted of the task at idx, or nil. */
void ml__source_traceback(lua_State *L, int idx);
bool ml__job_is_task(const ml_job *j);
/* Raises the running task's cancellation, which it was asked for. */
int ml__task_raise_cancel(lua_State *L, ml_fiber *t);
/* Resumes the task until it waits or ends. */
void ml__task_run(ml_evloop *l, ml_fiber *t);
/* Takes a pending task down without its loop: its `<close>` run, unable to await. */
void ml__task_destroy(lua_State *L, ml_fiber *t, lua_State *co);
extern const size_t ml__freethread_size;
/* The loop is closed: its gathers wait no longer for their children. */
void ml__gathers_drop(lua_State *L, ml_evloop *l);
/* The gather whose child's job this is, or NULL; pushes its object. */
ml_future *ml__gather_of_job(ml_job *j);
void ml__gather_push(lua_State *L, ml_future *g);

/* Calls that nest on the C stack, beyond which a task goes on in a new segment. */
#define ML_MAX_DEPTH 60
/* Segments of one task, beyond which it is told that its recursion has no end. */
#define ML_MAX_SEGMENTS 10000
/* What a script's coroutine that awaits has on top of its stack: never seen by
** scripts. */
extern const char ml__park;
static inline bool ml__isparked(lua_State *co) {
  return lua_status(co) == LUA_YIELD && lua_gettop(co) > 0 && lua_touserdata(co, -1) == &ml__park;
}
void ml__task_push(lua_State *L, ml_fiber *t); /* a pending task's object */
void ml__thread_release(ml_engine *e, lua_State *co, int slot, bool reuse);
lua_State *ml__thread_take(lua_State *L, int *slot);

/* ---- coroutines ---- */

/* What is known of a coroutine function for messages: one for each place in
** the source, kept until the engine is closed. */
struct ml_codeinfo {
  ml_codeinfo *next; /* in its hash bucket */
  char *name;        /* NULL until it is called by a name */
  int line;
  int misses;    /* calls that gave no name */
  char where[1]; /* "FILE:LINE" */
};

/* Pushes the coroutine that a task of ml__task_call would have been made of: an awaited one of the
** function at idx. */
void ml__coroutine_awaited(lua_State *L, int idx);

/* A call that has not been made: user value 1 is the function, then its
** arguments (obj.n of them). */
typedef struct ml_coroutine {
  ml_object obj; /* state: ML_CO_*; first */
  ml_codeinfo *info;
  ml_object *tail; /* = &obj; last: where the allocator looks */
} ml_coroutine;

/* ---- operations: native coroutines ---- */

/* What an operation's functions return instead of a number of results. */
enum {
  ML_PARK = -1,  /* not yet: it calls ml__op_wake later */
  ML_RAISE = -2, /* the error is on top of the stack */
  ML_YIELD = -3  /* go once through the ready queue, then `wake` */
};

typedef struct ml_opclass {
  const char *name; /* as in "coroutine 'sleep' was never awaited" */
  /* Starts it in the running task. The operation is at index 1 of L, results
  ** are pushed. May raise errors. */
  int (*begin)(lua_State *L, ml_op *op);
  /* After ml__op_wake, or a cancel: then op->obj.state is ML_OP_CANCELLED, this is
  ** the clean-up, and the engine raises the CancelledError after it unless
  ** ML_PARK or ML_RAISE is returned. */
  int (*wake)(lua_State *L, ml_op *op);
  /* The task is cancelled while parked: stop what is under way. The engine
  ** then schedules the task. May be NULL. Returns nothing, raises nothing. */
  void (*cancel)(ml_op *op);
} ml_opclass;

/* ml_op.obj.flags: it was woken before it was cancelled: what it got must go on. */
enum { ML_OPF_WOKEN = 1, ML_OPF_SHARED = 2 /* never used up; not for ml_coroutine */ };
enum { ML_CO_NEW, ML_CO_AWAITED, ML_OP_PARKED, ML_OP_WOKEN, ML_OP_CANCELLED };

struct ml_op {
  ml_object obj; /* state: ML_CO_* / ML_OP_*; first */
  const ml_opclass *cls;
  ml_fiber *task; /* who is parked on it */
};

/* Pushes a new operation of `size` bytes (a word is added for the allocator) with
** nuv user values. Inline: of a size that is known, it is cleared by a few stores. */
static inline void *ml__op_new(lua_State *L, const ml_opclass *cls, size_t size, int nuv) {
  size_t full = (size + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *) + sizeof(void *);
  ml__alloc_expect_coroutine(ml__engine(L)->alloc);
  ml_op *op = (ml_op *)lua_newuserdatauv(L, full, nuv);
  memset(op, 0, full);
  op->obj.magic = &ml__magic;
  op->obj.type = ML_T_OP;
  op->obj.state = ML_CO_NEW;
  op->cls = cls;
  if (ml__ref_get(L, ML_R_TYPES + ML_T_COROUTINE) == LUA_TTABLE)
    lua_setmetatable(L, -2);
  else
    lua_pop(L, 1);
  *(void **)(void *)((char *)op + full - sizeof(void *)) = op;
  return op;
}
/* Cancels a parked operation; false if it was woken or cancelled before. */
bool ml__op_cancel(ml_op *op);
/* Readies the parked task. False if it was woken or cancelled before. */
bool ml__op_wake(ml_op *op);
/* The task that sleeps until this job of a timer; NULL: it is no sleep's. */
ml_fiber *ml__sleeper_of(ml_job *j);
/* C functions of the await family, for stack identity and re-use. */
int ml__await(lua_State *L);
/* Continuations of awaits begin with it: only the loop resumes what waits in one. */
static inline void ml__check_resumed(lua_State *L) {
  if (ml__engine(L)->active != L)
    luaL_error(L, "a coroutine that waits in an await was resumed, but not by the loop");
}

/* Writes "NAME() at FILE:LINE" for the coroutine, operation or function at idx. */
void ml__coroutine_describe(lua_State *L, int idx, char *buf, size_t n);
/* The info of the function at idx; NULL: no memory. */
ml_codeinfo *ml__codeinfo_get(lua_State *L, int idx);
/* The name of the coroutine function at "FILE:LINE", n bytes; NULL: none is known. */
const char *ml__codeinfo_name(ml_engine *e, const char *where, size_t n);
void ml__codeinfo_free(ml_engine *e);
/* The awaited future is waited for in the running task, or (outside tasks) by
** running its loop until it is done; the results are pushed, errors raised. */
void ml__run_until(lua_State *L, ml_evloop *l, int idx);
/* Pushes the coroutine function made of the function on top (popped). */
void ml__async(lua_State *L);
static inline bool ml__iscoroutine(const ml_object *o) {
  return o->type == ML_T_COROUTINE || o->type == ML_T_OP;
}
/* One object for all who await it, any number of times? */
static inline bool ml__isshared(const ml_object *o) { return (o->flags & ML_OPF_SHARED) != 0; }
bool ml__asyncfunction(lua_State *L, int idx); /* is it a coroutine function? */
/* The body of the coroutine function at idx, in its place; false: it is none, or a value is bound
** to it. */
bool ml__asyncbody(lua_State *L, int idx);
bool ml__asyncclosure(lua_State *L, int idx); /* one that async() made? upvalue 1 is its own */
/* True if the value at idx may be awaited (or is a function). */
bool ml__isawaitable(lua_State *L, int idx);

/* ---- handles ---- */

/* Pushes a Handle that will call the function at idx with the nargs values
** after it; not scheduled yet. */
ml_job *ml__handle_new(lua_State *L, int fn, int nargs, ml_evloop *loop);
/* The handle at idx is in a queue now: keeps it alive until it has run. */
void ml__handle_pin(lua_State *L, int idx);
/* If the job is a handle's that will never run: lets it go. */
void ml__handle_drop(lua_State *L, ml_job *j);
/* The job of the handle at idx if it calls the function at fn, else NULL. */
ml_job *ml__handle_job(lua_State *L, int idx, int fn);

/* ---- errors ---- */

/* Turns the message on top (may be nil) into a CancelledError with it. */
void ml__error_cancelled(lua_State *L);
/* Pushes a new error object of the class; fmt as lua_pushfstring. */
void ml__error_new(lua_State *L, const char *cls, const char *fmt, ...);
/* The same and raises it, with the position of the function at `level` that
** called wrongly (0: none). */
int ml__error(lua_State *L, const char *cls, const char *fmt, ...);
/* Misuse: raises cls with "where: " of the Lua caller in front. */
int ml__misuse(lua_State *L, const char *cls, const char *fmt, ...);
/* Pushes an OSError for a libuv code: message "what: text", fields code,
** errno and syscall = what. */
void ml__error_uv(lua_State *L, int uverr, const char *fmt, ...);
bool ml__isinstance(lua_State *L, int idx, const char *cls);
/* Is the value at idx an error class? Pushes its name and returns 1 for one of the
** engine's; pushes its name and base and returns 2 for one made by extend; else 0. */
int ml__error_class(lua_State *L, int idx);
extern const luaL_Reg ml__errorgroup_methods[]; /* what groups have beside other errors */
/* Pushes the engine's class of that name, or nil. */
void ml__error_class_named(lua_State *L, const char *name);
/* Pushes a new class, as base:extend(name): both are strings or classes on the stack. */
void ml__error_class_new(lua_State *L, int name, int base);
/* Does every class have this field of itself (the class at cls)? The key is at key, the
** value behind it. */
bool ml__error_class_field(lua_State *L, int cls, int key);
/* Pushes a report: it holds the error at err (absolute index) of the future at fut, and
** unless it is opened first, the loop's exception handler is told when the
** future is collected. */
void ml__report_new(lua_State *L, int fut, int err);
/* Pushes the error inside the report at idx; the error counts as seen if `seen`. */
void ml__report_open(lua_State *L, int idx, bool seen);
void ml__report_seen(lua_State *L, int idx);
/* Emits every armed report of the loop (NULL: of all). */
void ml__reports_flush(lua_State *L, ml_evloop *only);
/* Pushes a task's name; where it has ended, the one it got from the loop. */
void ml__task_name(lua_State *L, ml_fiber *t);
/* Pushes what tostring says of a future or task; or, while it is failing, a
** shorter form without the outcome. */
void ml__future_repr(lua_State *L, int idx);
void ml__future_brief(lua_State *L, int idx);
/* Pushes the Loop object. */
#define ML_SLOW 0.1 /* seconds: slow_callback_duration, as in asyncio */
void ml__loop_push(lua_State *L, ml_evloop *l);
/* Message handler of tasks. */
int ml__msgh(lua_State *L);
/* Remembers the traceback (at tb, may be nil) of the error at err. */
void ml__traceback_keep(lua_State *L, int err, int tb);
/* The error at err is where it was going: a string is known by its text alone, and the next
** one that reads the same has a trace of its own. */
void ml__traceback_arrived(lua_State *L, int err);
/* Pushes the traceback known of the error at err, or nil. */
/* Pushes the text of the errors in a group, with their tracebacks; "" if none. */
void ml__push_subexceptions(lua_State *L, int err);
void ml__traceback_of(lua_State *L, int err);
/* Pushes "MESSAGE" of any error value, safely. */
const char *ml__errtext(lua_State *L, int idx, size_t *n);
/* loop:call_exception_handler with the context table on top (popped). */
void ml__call_exception_handler(lua_State *L, ml_evloop *l);
/* Checks that the table at idx has only the keys in `keys`, else TypeError. */
void ml__checkoptions(lua_State *L, int idx, const char *const *keys, const char *fname);
/* A delay or time in seconds: not NaN; negative is 0 if clamp. */
double ml__checkdelay(lua_State *L, int idx, const char *fname);

/* units' openers: push nothing, add to the module table on top */
void ml__open_errors(lua_State *L);
void ml__open_tracebacks(lua_State *L);
void ml__open_reports(lua_State *L);
void ml__open_futures(lua_State *L);
void ml__open_tasks(lua_State *L);
void ml__open_coroutines(lua_State *L);
void ml__open_await(lua_State *L);
void ml__open_loops(lua_State *L);
void ml__open_current(lua_State *L); /* adds functions to the table on top */
void ml__open_gate(lua_State *L);    /* gate.c */
/* "timer", "poll", ...; "tcp" of what polls such a socket. */
const char *ml__handle_kind(const uv_handle_t *h);
void ml__open_handles(lua_State *L);
void ml__open_gather(lua_State *L);
void ml__open_sync(lua_State *L);
void ml__open_queues(lua_State *L);
void ml__open_protected(lua_State *L); /* replaces pcall, xpcall, coroutine.* */
/* Ends a suspended thread, and first the coroutines that it has resumed: their
** `<close>` run, unable to await. */
void ml__thread_unwind(lua_State *co);
void ml__open_loader(lua_State *L); /* replaces require */
void ml__open_reload(lua_State *L);
/* reload.c: require has loaded the module (indices): remembers what it is like. */
void ml__module_loaded(lua_State *L, int name, int module, int data);
void ml__open_guard(lua_State *L); /* replaces parts of debug.*; after luaL_openlibs */

/* The metatable on top has a finalizer: scripts are shown a view of it without. */
void ml__guard_metatable(lua_State *L);

#endif
