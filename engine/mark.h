/* Where an error comes from, and what of that line it is about. The command, the REPL and the
** test runner show it.
**
** Lua's errors have a line and no column. Where the message names a variable, a field or a
** token, and the line has it once, that is marked; otherwise nothing is. Any thread.
*/
#ifndef ML_MARK_H
#define ML_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct lua_State lua_State;

#define ML_LINE_SHOWN 500 /* a line that is longer is not shown */

typedef struct ml_place {
  char file[512];
  long line;
} ml_place;

/* Where the error was raised: what the message says, behind its class, or the first place of the
** traceback (may be ""). */
bool ml__error_place(const char *message, const char *traceback, ml_place *p);
/* Opens a file; nothing else: a message may name anything, and a pipe or a device never ends. */
FILE *ml__source_open(const char *path);
/* Line n of f, without its end and blanks before that, and closes f (may be NULL). False: there is
** none that can be shown. */
bool ml__source_line(FILE *f, long n, char *buf, size_t size);

/* Writes what stands under the line, spaces and carets: at most as long as the line is, and its
** end. False: nothing is certain. */
bool ml__error_mark(const char *message, const char *line, char *mark);

void ml__open_mark(lua_State *L);

#endif
