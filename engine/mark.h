/* What of a line an error is about. The command, the REPL and the test runner show it.
**
** Lua's errors have a line and no column. Where the message names a variable, a field or a
** token, and the line has it once, that is marked; otherwise nothing is. Any thread.
*/
#ifndef ML_MARK_H
#define ML_MARK_H

#include <stdbool.h>

typedef struct lua_State lua_State;

/* Writes what stands under the line, spaces and carets: at most as long as the line is, and its
** end. False: nothing is certain. */
bool ml__error_mark(const char *message, const char *line, char *mark);

void ml__open_mark(lua_State *L);

#endif
