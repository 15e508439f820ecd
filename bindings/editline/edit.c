/* Module asyncio.edit: a line of input that is edited at the terminal while the loop goes on.
**
** libedit edits, and it reads by waiting: so it has a thread of its own, which is handed what was
** typed and gives the turn back when it wants more. Either that thread runs or the engine's, never
** both: no lock is held by anybody who computes. It draws into memory; the engine's thread writes
** that to the terminal, and takes the line off the screen while others print.
**
** Owner: the userdata `Editor`, one for an engine. Its thread has the locale C.UTF-8 for itself.
*/
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "stream.h"

#define EDITOR "asyncio.edit.Editor"
#define PROMPT_MAX 512
#define HISTORY_MAX 10000
#define ESCAPE '\1' /* around what a prompt has for the terminal alone */

/* What the engine's thread wants when it gives the turn away. */
typedef enum wish {
  W_READ,
  W_INPUT,
  W_ANSWER,
  W_REFRESH,
  W_RESIZE,
  W_RESUME,
  W_ABORT,
  W_QUIT
} wish;
/* Why the editor's thread gives it back. */
typedef enum event { E_IDLE, E_MORE, E_COMPLETE, E_LINE, E_EOF, E_ABORTED } event;

static const char *const event_names[] = {"idle", "more", "complete", "line", "eof", "aborted"};

typedef struct bytes {
  char *p;
  size_t n, cap;
} bytes;

typedef struct ml_editor {
  ml_engine *engine;
  uv_thread_t thread;
  uv_mutex_t lock; /* guards `theirs` alone */
  uv_cond_t turned;
  bool theirs;  /* the editor's thread has the turn */
  bool running; /* it was started and not joined */
  /* of who has the turn */
  wish wish;
  event event;
  EditLine *el; /* NULL: no memory for it */
  History *history;
  FILE *screen;
  bytes out; /* to be written to the terminal */
  bytes in;  /* typed, from `at` on not yet read */
  size_t at;
  bytes text; /* the line that was entered, or is to be completed, and a zero */
  size_t cursor;
  size_t drop; /* the answer: characters to remove before the cursor, and text to insert */
  const char *insert;
  char prompt[PROMPT_MAX];
  bool editrc;  /* the user's own bindings are read */
  int row;      /* of the cursor, from the first one of the line */
  bool reading; /* a line is being edited */
  int hidden;   /* how often hide was called */
  bool shown;   /* the line is on the screen */
} ml_editor;

static bool append(bytes *b, const char *p, size_t n) {
  if (b->n + n > b->cap) {
    size_t cap = b->cap == 0 ? 256 : b->cap;
    char *q;
    while (cap < b->n + n) cap *= 2;
    q = realloc(b->p, cap);
    if (q == NULL) return false;
    b->p = q;
    b->cap = cap;
  }
  if (n > 0) memcpy(b->p + b->n, p, n);
  b->n += n;
  return true;
}

/* ---- the editor's thread ---- */

static ml_editor *editor_of(EditLine *el) {
  ml_editor *e = NULL;
  el_get(el, EL_CLIENTDATA, &e);
  return e;
}

static char *prompt_of(EditLine *el) { return editor_of(el)->prompt; }

static ssize_t draw(void *ud, const char *p, size_t n) {
  ml_editor *e = ud;
  append(&e->out, p, n); /* without memory it is not seen */
  return (ssize_t)n;
}

/* Where the cursor goes when the character is drawn, as libedit draws it. */
static void advance(wchar_t c, int columns, int *row, int *column) {
  int w = wcwidth(c);
  if (c == L'\n') {
    ++*row;
    *column = 0;
    return;
  }
  if (c == L'\t')
    w = 8 - *column % 8;
  else if (c < 0x20 || c == 0x7F)
    w = 2;
  else if (w < 0 || !iswprint((wint_t)c))
    w = c > 0xFFFF ? 8 : 7; /* \U+XXXX */
  if (w > 1 && c >= 0x80 && w <= 2 && *column + w > columns) {
    ++*row;
    *column = 0;
  }
  *column += w;
  while (*column >= columns) {
    ++*row;
    *column -= columns;
  }
}

static int cursor_row(ml_editor *e) {
  const LineInfoW *line = el_wline(e->el);
  int columns = 80, row = 0, column = 0;
  mbstate_t state;
  wchar_t c;
  size_t n, left = strlen(e->prompt);
  const char *p = e->prompt;
  bool literal = false;
  el_get(e->el, EL_GETTC, "co", &columns);
  if (columns < 2) columns = 80;
  memset(&state, 0, sizeof state);
  for (; left > 0; p += n, left -= n) {
    n = mbrtowc(&c, p, left, &state);
    if (n == 0 || n > left) break;
    if (c == ESCAPE)
      literal = !literal;
    else if (!literal)
      advance(c, columns, &row, &column);
  }
  for (const wchar_t *q = line->buffer; q < line->cursor; q++) advance(*q, columns, &row, &column);
  return row;
}

/* Gives the turn to the engine's thread and waits for it to come back. */
static void give_back(ml_editor *e, event why) {
  e->event = why;
  if (e->el != NULL) {
    fflush(e->screen);
    if (why == E_MORE || why == E_COMPLETE) e->row = cursor_row(e);
  }
  uv_mutex_lock(&e->lock);
  e->theirs = false;
  uv_cond_signal(&e->turned);
  while (!e->theirs) uv_cond_wait(&e->turned, &e->lock);
  uv_mutex_unlock(&e->lock);
}

static bool stopped(const ml_editor *e) { return e->wish == W_ABORT || e->wish == W_QUIT; }

/* What may be wished for while a line is edited. */
static void obey(ml_editor *e) {
  if (e->wish == W_RESIZE) el_resize(e->el);
  if (e->wish == W_RESUME) {
    el_set(e->el, EL_PREP_TERM, 0);
    el_set(e->el, EL_PREP_TERM, 1);
  }
  if (e->wish == W_RESIZE || e->wish == W_RESUME || e->wish == W_REFRESH) el_set(e->el, EL_REFRESH);
}

/* One character of UTF-8, 1; or 0: its end has not come. What is none is a question mark. */
static int decode(ml_editor *e, wchar_t *c) {
  const unsigned char *p = (const unsigned char *)e->in.p + e->at;
  size_t left = e->in.n - e->at, need;
  wchar_t code;
  if (left == 0) return 0;
  need = *p < 0x80 ? 1 : *p < 0xC2 ? 0 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : *p < 0xF5 ? 4 : 0;
  code = need == 1 ? *p : need == 0 ? L'?' : *p & (0xFF >> (need + 1));
  for (size_t i = 1; i < need; i++) {
    if (i == left) return 0;
    if ((p[i] & 0xC0) != 0x80) {
      code = L'?';
      need = i;
      break;
    }
    code = (code << 6) | (p[i] & 0x3F);
  }
  e->at += need == 0 ? 1 : need;
  *c = code;
  return 1;
}

static int next_char(EditLine *el, wchar_t *c) {
  ml_editor *e = editor_of(el);
  while (!stopped(e)) {
    if (decode(e, c)) return 1;
    give_back(e, E_MORE);
    obey(e);
  }
  errno = 0;
  return 0;
}

/* Tab. */
static unsigned char complete(EditLine *el, int ch) {
  ml_editor *e = editor_of(el);
  const LineInfo *line = el_line(el);
  size_t drop;
  (void)ch;
  e->text.n = 0;
  e->cursor = (size_t)(line->cursor - line->buffer);
  if (!append(&e->text, line->buffer, (size_t)(line->lastchar - line->buffer)) ||
      !append(&e->text, "", 1))
    return CC_ERROR;
  for (;;) {
    give_back(e, E_COMPLETE);
    if (e->wish == W_ANSWER || stopped(e)) break;
    obey(e);
  }
  if (stopped(e)) return CC_EOF;
  drop = e->drop;
  if (drop > 0) el_deletestr(el, (int)drop);
  if (e->insert != NULL && e->insert[0] != '\0') {
    if (el_insertstr(el, e->insert) < 0) return CC_ERROR;
  } else if (drop == 0)
    return CC_REFRESH_BEEP;
  return CC_REFRESH;
}

static void bind_keys(EditLine *el) {
  static const char *const keys[][2] = {
      {"^I", "ml-complete"},        {"^R", "em-inc-search-prev"}, {"\\e[3~", "ed-delete-next-char"},
      {"\\e[1~", "ed-move-to-beg"}, {"\\e[4~", "ed-move-to-end"}, {"\\e[H", "ed-move-to-beg"},
      {"\\e[F", "ed-move-to-end"},  {"\\e[1;5C", "em-next-word"}, {"\\e[1;5D", "ed-prev-word"},
      {"^W", "ed-delete-prev-word"}};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    el_set(el, EL_BIND, keys[i][0], keys[i][1], NULL);
}

static bool set_up(ml_editor *e) {
  static const cookie_io_functions_t io = {NULL, draw, NULL, NULL};
  HistEvent ev;
  EditLine *el;
  e->screen = fopencookie(e, "w", io);
  e->history = history_init();
  if (e->screen == NULL || e->history == NULL) return false;
  el = el_init_fd("moonloop", stdin, e->screen, e->screen, STDIN_FILENO, STDOUT_FILENO,
                  STDOUT_FILENO);
  if (el == NULL) return false;
  e->el = el;
  el_set(el, EL_CLIENTDATA, e);
  el_set(el, EL_SIGNAL, 0);
  el_set(el, EL_GETCFN, next_char);
  el_set(el, EL_PROMPT_ESC, prompt_of, ESCAPE);
  history(e->history, &ev, H_SETSIZE, HISTORY_MAX);
  history(e->history, &ev, H_SETUNIQUE, 1);
  el_set(el, EL_HIST, history, e->history);
  el_set(el, EL_EDITOR, "emacs");
  el_wset(el, EL_ADDFN, L"ml-complete", L"Complete the name before the cursor",
          complete); /* el_set's would leak */
  bind_keys(el);
  if (e->editrc) el_source(el, NULL);
  return true;
}

/* A line: why it has ended. */
static event read_line(ml_editor *e) {
  int n = 0;
  const char *s = el_gets(e->el, &n);
  if (stopped(e)) return E_ABORTED;
  if (s == NULL || n <= 0) return E_EOF;
  e->text.n = 0;
  if (s[n - 1] == '\n') n--;
  return append(&e->text, s, (size_t)n) && append(&e->text, "", 1) ? E_LINE : E_ABORTED;
}

static void run_editor(void *ud) {
  ml_editor *e = ud;
  locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before = (locale_t)0;
  event last = E_IDLE;
  uv_mutex_lock(&e->lock);
  while (!e->theirs) uv_cond_wait(&e->turned, &e->lock);
  uv_mutex_unlock(&e->lock);
  if (utf8 != (locale_t)0) before = uselocale(utf8);
  if (!set_up(e)) e->wish = W_QUIT;
  while (e->wish != W_QUIT) {
    give_back(e, last);
    if (e->wish == W_READ)
      last = read_line(e);
    else if (e->wish == W_RESIZE)
      el_resize(e->el);
  }
  if (e->el != NULL) el_end(e->el);
  e->el = NULL;
  if (e->history != NULL) history_end(e->history);
  e->history = NULL;
  if (e->screen != NULL) fclose(e->screen);
  e->screen = NULL;
  if (utf8 != (locale_t)0) {
    uselocale(before);
    freelocale(utf8);
  }
  uv_mutex_lock(&e->lock);
  e->theirs = false;
  e->event = E_EOF;
  uv_cond_signal(&e->turned);
  uv_mutex_unlock(&e->lock);
}

/* ---- the engine's thread ---- */

static void put(const char *p, size_t n) {
  while (n > 0) {
    ssize_t sent = write(STDOUT_FILENO, p, n);
    if (sent < 0 && errno == EAGAIN) {
      struct pollfd q = {STDOUT_FILENO, POLLOUT, 0};
      poll(&q, 1, 100);
    } else if (sent < 0 && errno != EINTR)
      return;
    if (sent > 0) {
      p += sent;
      n -= (size_t)sent;
    }
  }
}

/* Gives the turn to the editor, until it wants something. What it has drawn is written. */
static event turn(ml_editor *e, wish w) {
  e->wish = w;
  uv_mutex_lock(&e->lock);
  e->theirs = true;
  uv_cond_signal(&e->turned);
  while (e->theirs) uv_cond_wait(&e->turned, &e->lock);
  uv_mutex_unlock(&e->lock);
  if (e->out.n > 0) put(e->out.p, e->out.n);
  e->out.n = 0;
  if (e->event != E_MORE && e->event != E_COMPLETE) e->reading = e->shown = false;
  return e->event;
}

static void hide(ml_editor *e) {
  char up[32];
  int n;
  fflush(stdout);
  e->hidden++;
  if (!e->shown) return;
  n = e->row > 0 ? snprintf(up, sizeof up, "\33[%dA\r\33[J", e->row)
                 : snprintf(up, sizeof up, "\r\33[J");
  put(up, (size_t)n);
  e->shown = false;
}

static void show(ml_editor *e) {
  if (e->hidden > 0) e->hidden--;
  if (e->hidden > 0 || !e->reading || e->shown) return;
  fflush(stdout);
  fflush(stderr);
  e->shown = true;
  turn(e, W_REFRESH);
}

/* The engine writes to its log: no Lua here. */
static void on_log(ml_engine *engine, bool over) {
  ml_editor *e = engine->editor;
  if (e == NULL || !e->running) return;
  if (over)
    show(e);
  else
    hide(e);
}

/* Its thread has ended, or is about to. */
static void stopped_for_good(ml_editor *e) {
  uv_thread_join(&e->thread);
  e->running = false;
  uv_mutex_destroy(&e->lock);
  uv_cond_destroy(&e->turned);
  e->engine->editor = NULL;
  e->engine->on_log = NULL;
}

static void stop(ml_editor *e) {
  if (!e->running) return;
  hide(e);
  turn(e, W_QUIT);
  stopped_for_good(e);
}

/* ---- Lua ---- */

static ml_editor *check(lua_State *L) {
  ml_editor *e = luaL_checkudata(L, 1, EDITOR);
  if (!e->running) ml__error(L, "RuntimeError", "the editor is closed");
  return e;
}

static int answer(lua_State *L, ml_editor *e, event ev) {
  lua_pushstring(L, event_names[ev]);
  if (ev != E_LINE && ev != E_COMPLETE) return 1;
  lua_pushlstring(L, e->text.p, e->text.n - 1);
  if (ev == E_LINE) return 2;
  lua_pushinteger(L, (lua_Integer)e->cursor);
  return 3;
}

static void need_line(lua_State *L, const ml_editor *e, bool is) {
  if (e->reading != is)
    ml__error(L, "RuntimeError", is ? "no line is being edited" : "a line is being edited already");
}

/* editor:start(prompt): a new line -> event, ...: "more" (bytes are wanted), "complete", text, cursor
** (an answer is), "line", text; "eof"; "aborted" */
static int ed_start(lua_State *L) {
  ml_editor *e = check(L);
  size_t n;
  const char *prompt = luaL_checklstring(L, 2, &n);
  luaL_argcheck(L, n < PROMPT_MAX, 2, "the prompt is too long");
  need_line(L, e, false);
  memcpy(e->prompt, prompt, n + 1);
  fflush(stdout);
  e->reading = e->shown = true;
  e->hidden = 0;
  e->row = 0;
  return answer(L, e, turn(e, W_READ));
}

/* editor:feed(bytes): what was typed -> as start */
static int ed_feed(lua_State *L) {
  ml_editor *e = check(L);
  size_t n;
  const char *p = luaL_checklstring(L, 2, &n);
  need_line(L, e, true);
  if (e->event != E_MORE) return ml__error(L, "RuntimeError", "an answer is wanted, not input");
  if (e->at > 0) {
    e->in.n -= e->at;
    memmove(e->in.p, e->in.p + e->at, e->in.n);
    e->at = 0;
  }
  if (!append(&e->in, p, n)) return luaL_error(L, "not enough memory");
  return answer(L, e, turn(e, W_INPUT));
}

/* editor:complete(drop, text): answers "complete" -> as start */
static int ed_complete(lua_State *L) {
  ml_editor *e = check(L);
  lua_Integer drop = luaL_checkinteger(L, 2);
  const char *text = luaL_checkstring(L, 3);
  need_line(L, e, true);
  if (e->event != E_COMPLETE) return ml__error(L, "RuntimeError", "no answer is wanted");
  luaL_argcheck(L, drop >= 0 && (size_t)drop <= e->cursor, 2, "no more than is before the cursor");
  e->drop = (size_t)drop;
  e->insert = text;
  return answer(L, e, turn(e, W_ANSWER));
}

/* editor:abort(): the line is given up, and with it what was typed ahead; nothing if there is none */
static int ed_abort(lua_State *L) {
  ml_editor *e = check(L);
  if (!e->reading) return 0;
  e->in.n = e->at = 0;
  turn(e, W_ABORT);
  return 0;
}

static int ed_hide(lua_State *L) {
  hide(check(L));
  return 0;
}

static int ed_show(lua_State *L) {
  show(check(L));
  return 0;
}

/* editor:resized(): the window has another size */
static int ed_resized(lua_State *L) {
  ml_editor *e = check(L);
  if (!e->reading) {
    turn(e, W_RESIZE);
    return 0;
  }
  hide(e);
  e->hidden--;
  e->shown = true;
  turn(e, W_RESIZE);
  return 0;
}

/* editor:resumed(): the process goes on after it was stopped */
static int ed_resumed(lua_State *L) {
  ml_editor *e = check(L);
  if (!e->reading) return 0;
  e->shown = true;
  turn(e, W_RESUME);
  return 0;
}

/* editor:remember(text): for the history */
static int ed_remember(lua_State *L) {
  ml_editor *e = check(L);
  HistEvent ev;
  history(e->history, &ev, H_ENTER, luaL_checkstring(L, 2));
  return 0;
}

static int ed_close(lua_State *L) {
  ml_editor *e = luaL_checkudata(L, 1, EDITOR);
  stop(e);
  free(e->in.p);
  free(e->out.p);
  free(e->text.p);
  memset(&e->in, 0, sizeof e->in);
  memset(&e->out, 0, sizeof e->out);
  memset(&e->text, 0, sizeof e->text);
  e->at = 0;
  return 0;
}

/* No signal is the thread's: the handlers are to run on the engine's. */
static int start_thread(ml_editor *e) {
  sigset_t all, was;
  int rc;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &was);
  rc = uv_thread_create(&e->thread, run_editor, e);
  pthread_sigmask(SIG_SETMASK, &was, NULL);
  return rc;
}

/* open(editrc): the editor of standard input and output, which are a terminal; editrc: with the
** user's bindings from ~/.editrc. Closed with <close>. */
static int f_open(lua_State *L) {
  ml_engine *engine = ml__engine(L);
  ml_editor *e;
  int rc;
  ml__check_may(L, ML_P_STDIO, "use of the terminal", NULL);
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
    return ml__error(L, "RuntimeError", "standard input and output are no terminal");
  if (engine->editor != NULL) return ml__error(L, "RuntimeError", "the editor is open already");
  e = lua_newuserdatauv(L, sizeof *e, 0);
  memset(e, 0, sizeof *e);
  e->engine = engine;
  e->editrc = lua_toboolean(L, 1);
  luaL_setmetatable(L, EDITOR);
  ml__finalized(L);
  if (uv_mutex_init(&e->lock) != 0) return luaL_error(L, "not enough memory");
  if (uv_cond_init(&e->turned) != 0) {
    uv_mutex_destroy(&e->lock);
    return luaL_error(L, "not enough memory");
  }
  rc = start_thread(e);
  if (rc < 0) {
    uv_mutex_destroy(&e->lock);
    uv_cond_destroy(&e->turned);
    ml__error_uv(L, rc, "the editor's thread");
    return lua_error(L);
  }
  e->running = true;
  engine->editor = e;
  engine->on_log = on_log;
  if (turn(e, W_READ) == E_EOF) { /* its first event is E_IDLE */
    stopped_for_good(e);
    return luaL_error(L, "not enough memory");
  }
  return 1;
}

static int open_edit(lua_State *L) {
  static const luaL_Reg methods[] = {{"start", ed_start},
                                     {"feed", ed_feed},
                                     {"complete", ed_complete},
                                     {"abort", ed_abort},
                                     {"hide", ed_hide},
                                     {"show", ed_show},
                                     {"resized", ed_resized},
                                     {"resumed", ed_resumed},
                                     {"remember", ed_remember},
                                     {"close", ed_close},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"open", f_open}, {NULL, NULL}};
  if (luaL_newmetatable(L, EDITOR)) {
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, ed_close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, ed_close);
    lua_setfield(L, -2, "__close");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}

static int preload(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open_edit);
  lua_setfield(L, -2, "asyncio.edit");
  return 0;
}

bool ml__edit_preload(lua_State *L) {
  lua_pushcfunction(L, preload);
  if (lua_pcall(L, 0, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}
