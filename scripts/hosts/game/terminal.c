/* The game in a terminal, by ncurses: 60 frames a second, of which curses sends what has changed.
**
**   build/hosts/game [--fast] [--frames N] [--keys KEYS] [--screenshot FILE] [scripts/hosts/game]
**
** Standard input and output are the terminal. SIGTERM and SIGINT end the game as q does: the
** terminal is as it was before.
*/
#define _GNU_SOURCE /* clock_gettime */
#include <ncurses.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core.h"

static volatile sig_atomic_t interrupted;
static void on_signal(int sig) { interrupted = sig; }

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void open_terminal(void) {
  static const short colours[COLOURS] = {COLOR_WHITE,  COLOR_WHITE, COLOR_RED,     COLOR_GREEN,
                                         COLOR_YELLOW, COLOR_BLUE,  COLOR_MAGENTA, COLOR_CYAN};
  cbreak();
  noecho();
  keypad(stdscr, TRUE);
  set_escdelay(25);
  curs_set(0);
  if (!has_colors()) return;
  start_color();
  for (short i = 0; i < COLOURS; i++) init_pair((short)(i + 1), colours[i], COLOR_BLACK);
}

static void draw(const game *g) {
  const game_cell *cells = game_cells(g);
  for (int y = 0; y < GAME_ROWS; y++) {
    move(y, 0);
    for (int x = 0; x < GAME_COLUMNS; x++, cells++) {
      attr_t look = (attr_t)COLOR_PAIR(cells->colour + 1);
      if (cells->colour == GREY) look |= A_DIM;
      if (x < COLS && y < LINES) addch((chtype)(unsigned char)cells->glyph | look);
    }
  }
  refresh();
}

/* Hands on the keys that come until the next frame is due. */
static void read_keys(game *g, double due) {
  for (;;) {
    double left = due - now();
    char text[2] = "";
    int key;
    timeout(left > 0 ? (int)(left * 1000) : 0);
    key = getch();
    switch (key) {
    case ERR: break;
    case KEY_UP: game_key(g, "up"); continue;
    case KEY_DOWN: game_key(g, "down"); continue;
    case KEY_LEFT: game_key(g, "left"); continue;
    case KEY_RIGHT: game_key(g, "right"); continue;
    case ' ': game_key(g, "space"); continue;
    case '\n':
    case KEY_ENTER: game_key(g, "enter"); continue;
    case 27: game_key(g, "escape"); continue;
    default:
      text[0] = (char)key;
      if (key > ' ' && key <= '~') game_key(g, text);
      continue;
    }
    left = due - now(); /* less than a millisecond */
    if (left > 0) nanosleep(&(struct timespec){.tv_nsec = (long)(left * 1e9)}, NULL);
    return;
  }
}

static int save(const game *g, const char *path) {
  const game_cell *cells = game_cells(g);
  FILE *f = fopen(path, "w");
  if (f == NULL) return -1;
  for (int y = 0; y < GAME_ROWS; y++) {
    for (int x = 0; x < GAME_COLUMNS; x++, cells++) putc(cells->glyph, f);
    putc('\n', f);
  }
  return fclose(f);
}

int main(int argc, char **argv) {
  struct sigaction action = {.sa_handler = on_signal};
  game_options o;
  SCREEN *screen;
  game *g;
  double start, due;
  long frames = 0;
  bool on = true;
  int status = game_parse("game", argc, argv, &o);
  if (status != 0) return status;
  g = game_new("game", &o);
  if (g == NULL) return 1;
  screen = isatty(STDIN_FILENO) ? newterm(NULL, stdout, stdin) : NULL;
  if (screen == NULL) {
    fprintf(stderr, isatty(STDIN_FILENO) ? "game: TERM names no terminal that curses can draw on\n"
                                         : "game: this is no terminal\n");
    game_free(g);
    return 1;
  }
  open_terminal();
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  start = due = now();
  while (on && !interrupted) {
    on = game_frame(g);
    draw(g);
    frames++;
    due += o.fast ? 0 : 1.0 / GAME_FPS;
    if (o.fast || due < now() - 0.1)
      due = now(); /* we were stopped, or are too slow: no catching up */
    read_keys(g, due);
  }
  endwin();
  delscreen(screen);
  if (o.screenshot != NULL && save(g, o.screenshot) < 0) perror(o.screenshot);
  printf("%ld frames, %.1f a second\n", frames, (double)frames / (now() - start));
  return game_free(g);
}
