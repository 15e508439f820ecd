/* The game in a window, by SDL 2: the same core and the same scripts as in the terminal. A cell
** is 12 x 20 pixels; only cells that have changed are drawn.
**
**   build/hosts/window [--fast] [--frames N] [--keys KEYS] [--screenshot FILE.bmp] [scripts/hosts/game]
*/
#define SDL_MAIN_HANDLED
#include <SDL.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

enum { WIDTH = 12, HEIGHT = 20, DOT = 3 };

/* 3 x 5 dots from ' ' to '_': five rows from the top, an octal digit each. */
static const char font[64][6] = {
    "00000", "22202", "55000", "57575", "36263", "51245", "25253", "22000", /*  !"#$%&' */
    "12221", "42224", "05250", "02720", "00024", "00700", "00002", "11244", /* ()*+,-./ */
    "75557", "26227", "71747", "71317", "55711", "74717", "74757", "71122", /* 01234567 */
    "75757", "75717", "02020", "02024", "12421", "07070", "42124", "71202", /* 89:;<=>? */
    "75743", "25755", "65656", "34443", "65556", "74647", "74644", "34553", /* @ABCDEFG */
    "55755", "72227", "11152", "55655", "44447", "57755", "65555", "25552", /* HIJKLMNO */
    "65644", "25563", "65655", "34216", "72222", "55557", "55522", "55775", /* PQRSTUVW */
    "55255", "55222", "71247", "64446", "44211", "31113", "25000", "00007", /* XYZ[\]^_ */
};

static const unsigned char rgb[COLOURS][3] = {{230, 230, 220}, {90, 90, 100},  {230, 70, 60},
                                              {90, 210, 90},   {240, 200, 70}, {50, 60, 110},
                                              {210, 90, 210},  {80, 200, 220}};

static void draw_cell(SDL_Surface *s, int column, int row, game_cell c) {
  const unsigned char *p = rgb[c.colour % COLOURS];
  Uint32 ink = SDL_MapRGB(s->format, p[0], p[1], p[2]);
  Uint32 paper = SDL_MapRGB(s->format, 12, 12, 18);
  SDL_Rect place = {column * WIDTH, row * HEIGHT, WIDTH, HEIGHT};
  int glyph = c.glyph >= 'a' && c.glyph <= 'z' ? c.glyph - 'a' + 'A' : c.glyph;
  SDL_FillRect(s, &place, c.glyph == '#' ? ink : paper); /* walls are walls */
  if (c.glyph == '#' || glyph < ' ') return;
  if (glyph > '_') glyph = c.glyph == '|' ? '!' : '-';
  for (int y = 0; y < 5; y++)
    for (int x = 0; x < 3; x++) {
      SDL_Rect dot = {place.x + 1 + x * DOT, place.y + 2 + y * DOT, DOT, DOT};
      if ((font[glyph - ' '][y] - '0') & (4 >> x)) SDL_FillRect(s, &dot, ink);
    }
}

/* Draws what differs from what is shown. */
static int draw(SDL_Window *window, const game *g, game_cell *shown) {
  SDL_Surface *s = SDL_GetWindowSurface(window);
  const game_cell *cells = game_cells(g);
  if (s == NULL) return -1;
  for (int i = 0; i < GAME_ROWS * GAME_COLUMNS; i++) {
    if (cells[i].glyph == shown[i].glyph && cells[i].colour == shown[i].colour) continue;
    draw_cell(s, i % GAME_COLUMNS, i / GAME_COLUMNS, cells[i]);
    shown[i] = cells[i];
  }
  return SDL_UpdateWindowSurface(window);
}

static void press(game *g, SDL_Keycode key) {
  static const struct {
    SDL_Keycode key;
    const char *name;
  } names[] = {{SDLK_UP, "up"},        {SDLK_DOWN, "down"},   {SDLK_LEFT, "left"},
               {SDLK_RIGHT, "right"},  {SDLK_SPACE, "space"}, {SDLK_RETURN, "enter"},
               {SDLK_ESCAPE, "escape"}};
  char text[2] = {(char)key, '\0'};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].key == key) {
      game_key(g, names[i].name);
      return;
    }
  if (key > ' ' && key <= '~') game_key(g, text);
}

/* What happens until the next frame is due. False: the window is closed. */
static bool read_events(game *g, game_cell *shown, Uint64 due) {
  for (;;) {
    Uint64 now = SDL_GetTicks64();
    SDL_Event event;
    if (!SDL_WaitEventTimeout(&event, now < due ? (int)(due - now) : 0)) {
      if (SDL_GetTicks64() >= due) return true;
      continue;
    }
    if (event.type == SDL_QUIT) return false;
    if (event.type == SDL_KEYDOWN) press(g, event.key.keysym.sym);
    if (event.type == SDL_WINDOWEVENT && event.window.event == SDL_WINDOWEVENT_EXPOSED)
      memset(shown, 0, sizeof *shown * GAME_ROWS * GAME_COLUMNS); /* all of it again */
  }
}

static int play(game *g, SDL_Window *window, const game_options *o) {
  static game_cell shown[GAME_ROWS * GAME_COLUMNS];
  Uint64 start = SDL_GetTicks64();
  double due = (double)start;
  long frames = 0;
  bool on = true;
  while (on) {
    on = game_frame(g);
    if (draw(window, g, shown) < 0) break;
    frames++;
    due += o->fast ? 0 : 1000.0 / GAME_FPS;
    if (o->fast || due < (double)SDL_GetTicks64() - 100) due = (double)SDL_GetTicks64();
    if (!read_events(g, shown, (Uint64)due)) break;
  }
  printf("%ld frames, %.1f a second\n", frames,
         (double)frames * 1000 / (double)(SDL_GetTicks64() - start + 1));
  if (o->screenshot == NULL) return 0;
  return SDL_SaveBMP(SDL_GetWindowSurface(window), o->screenshot);
}

int main(int argc, char **argv) {
  game_options o;
  SDL_Window *window = NULL;
  game *g;
  int status = game_parse("window", argc, argv, &o);
  if (status != 0) return status;
  g = game_new("window", &o);
  if (g == NULL) return 1;
  SDL_SetMainReady();
  if (SDL_Init(SDL_INIT_VIDEO) == 0)
    window = SDL_CreateWindow("Lantern", 0, 0, GAME_COLUMNS * WIDTH, GAME_ROWS * HEIGHT, 0);
  if (window == NULL || play(g, window, &o) < 0) {
    fprintf(stderr, "window: %s\n", SDL_GetError());
    status = 1;
  }
  SDL_DestroyWindow(window);
  SDL_Quit();
  return game_free(g) != 0 ? 1 : status;
}
