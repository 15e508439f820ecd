/* A game on a grid of cells, without a screen: terminal.c and window.c draw the cells, bring keys
** and keep 60 frames a second; everything that happens is in the scripts beside this file.
*/
#ifndef GAME_CORE_H
#define GAME_CORE_H

#include <stdbool.h>

enum { GAME_COLUMNS = 80, GAME_ROWS = 24, GAME_FPS = 60 };

typedef enum { WHITE, GREY, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, COLOURS } game_colour;

typedef struct game_cell {
  char glyph; /* printable ASCII */
  unsigned char colour;
} game_cell;

typedef struct game game;

/* The command line of both front-ends. */
typedef struct game_options {
  const char *folder;     /* of the scripts */
  bool fast;              /* as many frames a second as there can be */
  long frames;            /* after so many it ends; 0: it does not */
  const char *keys;       /* "60:right,75:space": keys at frames, beside those that are typed */
  const char *screenshot; /* a file that gets the last picture: text, or a BMP */
} game_options;

/* 0, or the exit status that main ends with: a message was written. */
int game_parse(const char *program, int argc, char **argv, game_options *out);

/* A game that has not begun, or NULL: a message was written. */
game *game_new(const char *program, const game_options *o);
/* Ends what still runs; the status that main ends with. g may be NULL. */
int game_free(game *g);

/* A key: a character, or "up", "down", "left", "right", "space", "enter", "escape". Some are
** the host's own: p pauses, o is slow motion, q ends. */
void game_key(game *g, const char *name);
/* One frame of 1/60 second: false if the game is over. */
bool game_frame(game *g);
/* What is to be seen now: GAME_ROWS rows of GAME_COLUMNS. */
const game_cell *game_cells(const game *g);

#endif
