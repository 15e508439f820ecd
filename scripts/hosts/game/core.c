/* The game's host: one engine whose time is its frames, and what scripts see of the game -
** tiles, sprites, captions, keys. A frame hands the engine 1/60 second (none while the game is
** paused, a quarter in slow motion), lets scripts run for at most 8 ms, and composes the picture.
**
** Scripts are read again while they run: a file that has changed is reloaded as the module that
** it is, and what is wrong with it is shown in the last row.
*/
#define _GNU_SOURCE /* getopt_long */
#include "core.h"

#include <dirent.h>
#include <getopt.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../host.h"

enum {
  SPRITES = 256,
  KEYS = 32,
  WAITING = 16,
  MODULES = 32,
  TEXT = 512,
  MAP_TOP = 1,
  MAP_ROWS = 20
};

typedef struct sprite {
  bool used;
  int x, y;
  game_cell look;
} sprite;

typedef struct module {
  char name[64];
  struct timespec changed;
} module;

struct game {
  const char *program, *folder, *planned; /* planned: what is left of --keys */
  ml_engine *engine;
  ml_task *script;
  long frame, frames;
  bool over, paused, slow;
  int status;
  double speed; /* as scripts want it */
  game_cell cells[GAME_ROWS * GAME_COLUMNS], map[MAP_ROWS * GAME_COLUMNS];
  sprite sprites[SPRITES];
  int lit; /* columns of the map that are seen */
  char title[TEXT], caption[TEXT], speaker[TEXT], speech[TEXT], notice[TEXT];
  char keys[KEYS][16]; /* typed, not asked for yet */
  int nkeys;
  ml_call *waiting[WAITING]; /* for a key; the last one gets it */
  int nwaiting;
  module modules[MODULES];
  int nmodules;
};

/* ---- keys ---- */

/* While somebody waits and there is a key. */
static void hand_out_keys(game *g) {
  while (g->nwaiting > 0 && g->nkeys > 0) {
    ml_value v = host_text(g->keys[0]);
    ml_call_finish(g->waiting[--g->nwaiting], 0, &v, 1);
    memmove(g->keys, g->keys + 1, sizeof g->keys[0] * (size_t)--g->nkeys);
  }
}

static void forget_waiter(ml_call *c, void *ud) {
  game *g = ud;
  for (int i = 0; i < g->nwaiting; i++) {
    if (g->waiting[i] != c) continue;
    memmove(g->waiting + i, g->waiting + i + 1, sizeof c * (size_t)(--g->nwaiting - i));
    ml_call_finish(c, 0, NULL, 0);
    return;
  }
}

/* await(game.key()): the next key. Of several who wait the last one gets it: a dialogue takes
** the keys from the player, and gives them back when it is over. */
static int fn_key(ml_call *c, void *ud) {
  game *g = ud;
  int err = g->nwaiting < WAITING ? ml_call_on_cancel(c, forget_waiter, g) : ML_ELIMIT;
  if (err < 0) return err;
  g->waiting[g->nwaiting++] = c;
  hand_out_keys(g);
  return 0;
}

void game_key(game *g, const char *name) {
  if (strcmp(name, "p") == 0)
    g->paused = !g->paused;
  else if (strcmp(name, "o") == 0)
    g->slow = !g->slow;
  else if (strcmp(name, "q") == 0)
    g->over = true;
  else if (!g->paused && g->nkeys < KEYS)
    snprintf(g->keys[g->nkeys++], sizeof g->keys[0], "%s", name);
}

/* Presses what --keys has for this frame. */
static void press_planned(game *g) {
  while (g->planned != NULL) {
    long at;
    char name[16];
    int end = 0;
    if (sscanf(g->planned, "%ld:%15[^,]%n", &at, name, &end) != 2) {
      g->planned = NULL;
      return;
    }
    if (at > g->frame) return;
    game_key(g, name);
    g->planned = g->planned[end] == ',' ? g->planned + end + 1 : NULL;
  }
}

/* ---- what scripts may do ---- */

static const char *const colours[] = {"white",  "grey", "red",     "green",
                                      "yellow", "blue", "magenta", "cyan"};

/* Arguments i and i + 1: a glyph and a colour's name. */
static int arg_look(ml_call *c, int i, game_cell *out) {
  ml_value glyph, colour;
  if (host_arg_text(c, i, &glyph) < 0 || host_arg_text(c, i + 1, &colour) < 0 ||
      glyph.u.str.len != 1 || glyph.u.str.s[0] < ' ' || glyph.u.str.s[0] > '~')
    return host_refuse(c, "a character and a colour were expected");
  for (int k = 0; k < COLOURS; k++) {
    if (strcmp(colours[k], colour.u.str.s) != 0) continue;
    *out = (game_cell){glyph.u.str.s[0], (unsigned char)k};
    return 0;
  }
  return host_refuse(c, "there is no such colour");
}

/* Arguments i and i + 1: a column and a row of the map, from 0. */
static int arg_place(ml_call *c, int i, int *x, int *y) {
  double column, row;
  if (host_arg_number(c, i, &column) < 0 || host_arg_number(c, i + 1, &row) < 0 || !(column >= 0) ||
      !(row >= 0) || column >= GAME_COLUMNS || row >= MAP_ROWS)
    return host_refuse(c, "a place of the map was expected");
  *x = (int)column;
  *y = (int)row;
  return 0;
}

static int arg_sprite(ml_call *c, game *g, sprite **out) {
  double id;
  if (host_arg_number(c, 0, &id) < 0 || !(id >= 0) || id >= SPRITES || !g->sprites[(int)id].used)
    return host_refuse(c, "there is no such sprite");
  *out = &g->sprites[(int)id];
  return 0;
}

/* Argument i as text, cut to what fits; without it "". */
static int arg_text(ml_call *c, int i, char out[TEXT]) {
  ml_value v;
  out[0] = '\0';
  if (ml_arg(c, i, &v) < 0 || v.type == ML_NIL) return 0;
  if (host_arg_text(c, i, &v) < 0) return host_refuse(c, "a text was expected");
  snprintf(out, TEXT, "%s", v.u.str.s);
  return 0;
}

/* game.tile(x, y, glyph, colour) */
static int fn_tile(ml_call *c, void *ud) {
  int x, y, err = arg_place(c, 0, &x, &y);
  game_cell look;
  if (err == 0) err = arg_look(c, 2, &look);
  if (err == 0) ((game *)ud)->map[y * GAME_COLUMNS + x] = look;
  return err;
}

/* game.sprite(x, y, glyph, colour): a number */
static int fn_sprite(ml_call *c, void *ud) {
  game *g = ud;
  sprite s = {.used = true};
  int id = 0, err = arg_place(c, 0, &s.x, &s.y);
  ml_value v;
  if (err == 0) err = arg_look(c, 2, &s.look);
  if (err < 0) return err;
  while (id < SPRITES && g->sprites[id].used) id++;
  if (id == SPRITES) return ML_ELIMIT;
  v = host_int(id);
  err = ml_return(c, &v, 1);
  if (err == 0) g->sprites[id] = s;
  return err;
}

/* game.move(sprite, x, y) */
static int fn_move(ml_call *c, void *ud) {
  sprite *s;
  int err = arg_sprite(c, ud, &s);
  return err < 0 ? err : arg_place(c, 1, &s->x, &s->y);
}

/* game.look(sprite, glyph, colour) */
static int fn_look(ml_call *c, void *ud) {
  sprite *s;
  int err = arg_sprite(c, ud, &s);
  return err < 0 ? err : arg_look(c, 1, &s->look);
}

/* game.remove(sprite) */
static int fn_remove(ml_call *c, void *ud) {
  sprite *s;
  int err = arg_sprite(c, ud, &s);
  if (err == 0) s->used = false;
  return err;
}

/* game.title(text): the first row. game.caption(text): in the middle of the picture. Without
** text nothing. game.say(speaker, text): a box; without speaker none. */
static int fn_title(ml_call *c, void *ud) { return arg_text(c, 0, ((game *)ud)->title); }
static int fn_caption(ml_call *c, void *ud) { return arg_text(c, 0, ((game *)ud)->caption); }
static int fn_say(ml_call *c, void *ud) {
  int err = arg_text(c, 0, ((game *)ud)->speaker);
  return err < 0 ? err : arg_text(c, 1, ((game *)ud)->speech);
}

/* game.light(columns): how much of the map is seen, from the left */
static int fn_light(ml_call *c, void *ud) {
  double n;
  if (host_arg_number(c, 0, &n) < 0) return host_refuse(c, "a number was expected");
  ((game *)ud)->lit = n < 0 ? 0 : n > GAME_COLUMNS ? GAME_COLUMNS : (int)n;
  return 0;
}

/* game.speed(scale): how fast time goes: 1, slow motion, 0 */
static int fn_speed(ml_call *c, void *ud) {
  double n;
  if (host_arg_number(c, 0, &n) < 0 || !(n >= 0 && n <= 10))
    return host_refuse(c, "a number from 0 to 10 was expected");
  ((game *)ud)->speed = n;
  return 0;
}

/* game.folder(): where the scripts are */
static int fn_folder(ml_call *c, void *ud) {
  ml_value v = host_text(((game *)ud)->folder);
  return ml_return(c, &v, 1);
}

static const host_function functions[] = {{"game.key", NULL, fn_key},
                                          {"game.tile", fn_tile, NULL},
                                          {"game.sprite", fn_sprite, NULL},
                                          {"game.move", fn_move, NULL},
                                          {"game.look", fn_look, NULL},
                                          {"game.remove", fn_remove, NULL},
                                          {"game.title", fn_title, NULL},
                                          {"game.caption", fn_caption, NULL},
                                          {"game.say", fn_say, NULL},
                                          {"game.light", fn_light, NULL},
                                          {"game.speed", fn_speed, NULL},
                                          {"game.folder", fn_folder, NULL},
                                          {NULL, NULL, NULL}};

/* ---- reports ---- */

/* Reports and what scripts print: the first line is shown, since there is no other place. */
static void on_log(void *ud, const char *text, size_t n) {
  game *g = ud;
  size_t length = 0;
  while (length < n && length < TEXT - 1 && text[length] != '\n') length++;
  memcpy(g->notice, text, length);
  g->notice[length] = '\0';
}

/* The last line tells file and line; the folder is known. */
static void show_error(game *g, int err) {
  const ml_error *why = ml_last_error(g->engine, NULL);
  const char *text = why != NULL ? why->message : ml_strerror(err), *line = strrchr(text, '\n');
  size_t folder = strlen(g->folder);
  if (line != NULL) text = line + 1 + strspn(line + 1, " \t");
  if (strncmp(text, g->folder, folder) == 0 && text[folder] == '/') text += folder + 1;
  on_log(g, text, strlen(text));
}

/* The game is its main script: when that ends, it is over. */
static void on_done(ml_task *t, void *ud) {
  game *g = ud;
  g->over = true;
  if (ml_task_status(t) == ML_FAILED) g->status = 1;
}

/* ---- reloading ---- */

static bool changed(game *g, module *m) {
  char path[1024];
  struct stat st;
  bool differs;
  snprintf(path, sizeof path, "%s/%s.lua", g->folder, m->name);
  if (stat(path, &st) < 0) return false; /* just being written */
  differs = m->changed.tv_sec != st.st_mtim.tv_sec || m->changed.tv_nsec != st.st_mtim.tv_nsec;
  m->changed = st.st_mtim;
  return differs;
}

static int find_modules(game *g) {
  DIR *folder = opendir(g->folder);
  struct dirent *entry;
  if (folder == NULL) return -1;
  while (g->nmodules < MODULES && (entry = readdir(folder)) != NULL) {
    size_t n = strlen(entry->d_name);
    module *m = &g->modules[g->nmodules];
    if (n < 5 || n - 4 >= sizeof m->name || strcmp(entry->d_name + n - 4, ".lua") != 0) continue;
    memcpy(m->name, entry->d_name, n - 4);
    if (strcmp(m->name, "main") == 0) {
      memset(m, 0, sizeof *m);
      continue;
    }
    changed(g, m);
    g->nmodules++;
  }
  closedir(folder);
  return 0;
}

static void reload(game *g) {
  for (int i = 0; i < g->nmodules; i++) {
    int err;
    if (!changed(g, &g->modules[i])) continue;
    err = ml_reload(g->engine, g->modules[i].name);
    if (err < 0)
      show_error(g, err);
    else
      snprintf(g->notice, sizeof g->notice, "reloaded: %s", g->modules[i].name);
  }
}

/* ---- the picture ---- */

static void put(game *g, int x, int y, char glyph, game_colour colour) {
  if (x < 0 || y < 0 || x >= GAME_COLUMNS || y >= GAME_ROWS) return;
  g->cells[y * GAME_COLUMNS + x] = (game_cell){glyph >= ' ' && glyph <= '~' ? glyph : '?',
                                               (unsigned char)colour};
}

/* Up to `width` columns; goes on in the next row at a line's end, or between words. */
static void write_text(game *g, int x, int y, int width, const char *text, game_colour colour) {
  int column = 0;
  for (; *text != '\0'; text++) {
    size_t word = strcspn(text, " \n");
    if (*text == '\n' || (column > 0 && column + (int)word > width)) {
      column = 0;
      y++;
      if (*text == '\n' || *text == ' ') continue;
    }
    put(g, x + column++, y, *text, colour);
  }
}

static void compose_speech(game *g) {
  enum { LEFT = 8, TOP = 15, WIDTH = 64, HEIGHT = 6 };
  if (g->speaker[0] == '\0') return;
  for (int y = 0; y < HEIGHT; y++)
    for (int x = 0; x < WIDTH; x++) {
      bool side = x == 0 || x == WIDTH - 1, edge = y == 0 || y == HEIGHT - 1;
      put(g, LEFT + x, TOP + y, side && edge ? '+' : edge ? '-' : side ? '|' : ' ', WHITE);
    }
  write_text(g, LEFT + 2, TOP, WIDTH - 4, g->speaker, YELLOW);
  write_text(g, LEFT + 2, TOP + 1, WIDTH - 4, g->speech, WHITE);
}

static void compose(game *g) {
  for (int i = 0; i < GAME_ROWS * GAME_COLUMNS; i++) g->cells[i] = (game_cell){' ', WHITE};
  for (int y = 0; y < MAP_ROWS; y++)
    for (int x = 0; x < g->lit; x++) {
      game_cell t = g->map[y * GAME_COLUMNS + x];
      if (t.glyph != '\0') put(g, x, y + MAP_TOP, t.glyph, t.colour);
    }
  for (int i = 0; i < SPRITES; i++) {
    sprite *s = &g->sprites[i];
    if (s->used && s->x < g->lit) put(g, s->x, s->y + MAP_TOP, s->look.glyph, s->look.colour);
  }
  write_text(g, 0, 0, GAME_COLUMNS, g->title, WHITE);
  if (g->paused || g->slow) write_text(g, 72, 0, 8, g->paused ? "PAUSED" : "SLOW", YELLOW);
  write_text(g, (GAME_COLUMNS - (int)strcspn(g->caption, "\n")) / 2, 9, GAME_COLUMNS, g->caption,
             CYAN);
  compose_speech(g);
  write_text(g, 0, GAME_ROWS - 2, GAME_COLUMNS,
             "arrows: go  space: shoot  p: pause  o: slow  q: quit", GREY);
  write_text(g, 0, GAME_ROWS - 1, GAME_COLUMNS, g->notice, RED);
}

const game_cell *game_cells(const game *g) { return g->cells; }

/* ---- the course of a game ---- */

bool game_frame(game *g) {
  double seconds = g->paused ? 0 : g->speed * (g->slow ? 0.25 : 1) / GAME_FPS;
  int err;
  if (g->frame++ % (GAME_FPS / 4) == 0) reload(g);
  press_planned(g);
  hand_out_keys(g);
  err = ml_frame(g->engine, seconds);
  if (err == 0) err = ml_step(g->engine, 8000);
  if (err < 0 && err != ML_ESCRIPT) {
    show_error(g, err);
    g->status = 1;
    g->over = true;
  }
  compose(g);
  return !g->over && (g->frames == 0 || g->frame < g->frames);
}

int game_parse(const char *program, int argc, char **argv, game_options *out) {
  static const struct option known[] = {{"fast", no_argument, NULL, 'q'},
                                        {"frames", required_argument, NULL, 'f'},
                                        {"keys", required_argument, NULL, 'k'},
                                        {"screenshot", required_argument, NULL, 's'},
                                        {NULL, 0, NULL, 0}};
  int option;
  *out = (game_options){.folder = "scripts/hosts/game"};
  while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
    char *end = "";
    if (option == 'f') out->frames = strtol(optarg, &end, 10);
    if (option == 'q') out->fast = true;
    if (option == 'k') out->keys = optarg;
    if (option == 's') out->screenshot = optarg;
    if (option != '?' && *end == '\0' && out->frames >= 0) continue;
    optind = argc + 1;
    break;
  }
  if (optind < argc) out->folder = argv[optind++];
  if (optind == argc) return 0;
  fprintf(stderr, "usage: %s [--fast] [--frames N] [--keys KEYS] [--screenshot FILE] [FOLDER]\n",
          program);
  return 2;
}

static int begin(game *g) {
  char path[1024];
  ml_config config;
  int err;
  ml_config_init(&config);
  config.clock = ML_CLOCK_HOST; /* without `now`: its time is what frames add up to */
  config.log = on_log;
  config.print = on_log;
  config.ud = g;
  snprintf(path, sizeof path, "%s/main.lua", g->folder);
  err = ml_new(&config, &g->engine);
  if (err == 0) err = host_define(g->engine, functions, g);
  if (err == 0) err = ml_load_file(g->engine, path, &g->script);
  if (err == 0) err = ml_task_on_done(g->script, on_done, g);
  if (err < 0) host_complain(g->program, path, g->engine, err);
  return err;
}

game *game_new(const char *program, const game_options *o) {
  game *g = calloc(1, sizeof *g);
  if (g == NULL) {
    fprintf(stderr, "%s: not enough memory\n", program);
    return NULL;
  }
  g->program = program;
  g->folder = o->folder;
  g->planned = o->keys;
  g->frames = o->frames;
  g->speed = 1;
  if (find_modules(g) < 0)
    fprintf(stderr, "%s: there is no folder %s\n", program, g->folder);
  else if (begin(g) == 0)
    return g;
  g->status = 1;
  game_free(g);
  return NULL;
}

int game_free(game *g) {
  int status;
  if (g == NULL) return 1;
  if (g->script != NULL && ml_task_status(g->script) == ML_FAILED)
    host_verdict(g->program, g->script);
  else if (g->status != 0 && g->notice[0] != '\0')
    fprintf(stderr, "%s: %s\n", g->program, g->notice);
  if (g->script != NULL) ml_task_on_done(g->script, NULL, NULL);
  ml_task_release(g->script);
  ml_close(g->engine, 200); /* finishes who waits for keys: forget_waiter */
  status = g->status;
  free(g);
  return status;
}
