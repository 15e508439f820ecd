/* How the command shows an error that nothing handled. */
#ifndef ML_CLI_ERRORS_H
#define ML_CLI_ERRORS_H

#include <stdio.h>

/* Writes the message, the line of the source that it or the traceback names, a caret under the
** word it is about where that is certain, a hint for common slips, and the traceback. code: what
** -e was given, or NULL. In colours on a terminal, unless NO_COLOR or TERM=dumb say no. */
void cli_print_error(FILE *out, const char *message, const char *traceback, const char *code);

#endif
