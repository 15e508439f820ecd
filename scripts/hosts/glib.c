/* A quiz in a GLib program: the main loop is GLib's, and the engine is one of its sources.
** EngineSource asks ml_poll_info before each wait, hands GLib the descriptor and the timeout,
** and steps the engine when either is due. Beside it run sources that know nothing of scripts:
** the lines of standard input, a clock, a signal.
**
**   build/hosts/glib [scripts/hosts/glib.lua]
**
** It ends when the script does, or by SIGINT or SIGTERM, which cancel the script: its clean-up
** still runs.
*/
#include <glib-unix.h>
#include <glib.h>
#include <unistd.h>

#include "host.h"

/* ---- the engine as a GSource ---- */

typedef struct EngineSource {
  GSource source; /* first */
  ml_engine *engine;
  gpointer tag; /* of the descriptor that GLib waits for */
  int fd, error;
} EngineSource;

static gboolean engine_prepare(GSource *source, gint *timeout) {
  EngineSource *s = (EngineSource *)source;
  int fd;
  *timeout = -1;
  s->error = ml_poll_info(s->engine, &fd, timeout);
  if (s->error < 0) return TRUE;
  if (fd != s->fd) { /* the first time */
    if (s->tag != NULL) g_source_remove_unix_fd(source, s->tag);
    s->tag = g_source_add_unix_fd(source, fd, G_IO_IN);
    s->fd = fd;
  }
  g_source_set_ready_time(source, *timeout < 0 ? -1 : g_get_monotonic_time() + *timeout * 1000LL);
  return *timeout == 0;
}

static gboolean engine_check(GSource *source) {
  EngineSource *s = (EngineSource *)source;
  gint64 due = g_source_get_ready_time(source);
  return s->error < 0 || (due >= 0 && due <= g_source_get_time(source)) ||
         (s->tag != NULL && g_source_query_unix_fd(source, s->tag) != 0);
}

/* The callback is told of an error, and decides whether the source goes on. */
static gboolean engine_dispatch(GSource *source, GSourceFunc callback, gpointer data) {
  EngineSource *s = (EngineSource *)source;
  int err = s->error < 0 ? s->error : ml_step(s->engine, 5000);
  if (err >= 0 || callback == NULL) return G_SOURCE_CONTINUE;
  s->error = err;
  return callback(data);
}

static GSource *engine_source_new(ml_engine *e) {
  static GSourceFuncs functions = {
      .prepare = engine_prepare, .check = engine_check, .dispatch = engine_dispatch};
  GSource *source = g_source_new(&functions, sizeof(EngineSource));
  EngineSource *s = (EngineSource *)source;
  s->engine = e;
  s->fd = -1;
  g_source_set_name(source, "moonloop");
  return source;
}

/* ---- the program ---- */

typedef struct quiz {
  GMainLoop *loop;
  ml_engine *engine;
  ml_task *script;
  GQueue lines; /* typed, not asked for yet: gchar * */
  ml_call *asking;
  gboolean eof;
  int seconds, status;
} quiz;

/* Someone asks and there is a line, or never will be one again. */
static void answer(quiz *q) {
  gchar *line;
  ml_value v;
  if (q->asking == NULL || (g_queue_is_empty(&q->lines) && !q->eof)) return;
  line = g_queue_pop_head(&q->lines);
  v = line != NULL ? host_text(line) : (ml_value){.type = ML_NIL};
  ml_call_finish(q->asking, 0, &v, 1);
  q->asking = NULL;
  g_free(line);
}

static gboolean on_input(GIOChannel *channel, GIOCondition condition, gpointer data) {
  quiz *q = data;
  gchar *line = NULL;
  gsize end = 0;
  (void)condition;
  if (g_io_channel_read_line(channel, &line, NULL, &end, NULL) == G_IO_STATUS_NORMAL) {
    line[end] = '\0';
    g_queue_push_tail(&q->lines, line);
  } else {
    g_free(line);
    q->eof = TRUE;
  }
  answer(q);
  return q->eof ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static gboolean on_clock(gpointer data) {
  ((quiz *)data)->seconds++;
  return G_SOURCE_CONTINUE;
}

static gboolean on_signal(gpointer data) {
  quiz *q = data;
  ml_task_cancel(q->script, "the program is asked to end");
  return G_SOURCE_CONTINUE;
}

static gboolean on_engine_error(gpointer data) {
  quiz *q = data;
  host_complain("glib", "the engine stopped", q->engine,
                ((EngineSource *)g_main_current_source())->error);
  q->status = 1;
  g_main_loop_quit(q->loop);
  return G_SOURCE_REMOVE;
}

static void on_done(ml_task *t, void *ud) {
  quiz *q = ud;
  q->status = host_verdict("glib", t);
  g_main_loop_quit(q->loop);
}

/* ---- what scripts may do ---- */

/* await(quiz.line()): the next line of standard input, nil at its end */
static void on_cancel(ml_call *c, void *ud) {
  quiz *q = ud;
  if (q->asking == c) q->asking = NULL; /* the line is for whoever asks next */
  ml_call_finish(c, 0, NULL, 0);
}

static int quiz_line(ml_call *c, void *ud) {
  quiz *q = ud;
  int err;
  if (q->asking != NULL) return ML_EBUSY; /* one at a time */
  err = ml_call_on_cancel(c, on_cancel, q);
  if (err < 0) return err;
  q->asking = c;
  answer(q);
  return 0;
}

/* quiz.seconds(): how often GLib's clock has ticked */
static int quiz_seconds(ml_call *c, void *ud) {
  ml_value v = host_int(((quiz *)ud)->seconds);
  return ml_return(c, &v, 1);
}

static const host_function functions[] = {
    {"quiz.line", NULL, quiz_line}, {"quiz.seconds", quiz_seconds, NULL}, {NULL, NULL, NULL}};

static int start(quiz *q, const char *path) {
  ml_config config;
  int err;
  ml_config_init(&config);
  err = ml_new(&config, &q->engine);
  if (err == 0) err = host_define(q->engine, functions, q);
  if (err == 0) err = ml_load_file(q->engine, path, &q->script);
  if (err == 0) err = ml_task_on_done(q->script, on_done, q);
  if (err < 0) host_complain("glib", path, q->engine, err);
  return err;
}

int main(int argc, char **argv) {
  quiz q = {.lines = G_QUEUE_INIT, .status = 1};
  GIOChannel *input;
  GSource *source;
  if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
    fputs("usage: glib [SCRIPT]\n", stderr);
    return 2;
  }
  if (start(&q, argc == 2 ? argv[1] : "scripts/hosts/glib.lua") == 0) {
    q.loop = g_main_loop_new(NULL, FALSE);
    source = engine_source_new(q.engine);
    g_source_set_callback(source, on_engine_error, &q, NULL);
    g_source_attach(source, NULL);
    input = g_io_channel_unix_new(STDIN_FILENO);
    g_io_channel_set_encoding(input, NULL, NULL); /* bytes */
    g_io_add_watch(input, G_IO_IN | G_IO_HUP, on_input, &q);
    g_timeout_add_seconds(1, on_clock, &q);
    g_unix_signal_add(SIGINT, on_signal, &q);
    g_unix_signal_add(SIGTERM, on_signal, &q);
    g_main_loop_run(q.loop);
    g_io_channel_unref(input);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_loop_unref(q.loop);
  }
  ml_task_release(q.script);
  ml_close(q.engine, 1000);
  g_queue_clear_full(&q.lines, g_free);
  return q.status;
}
