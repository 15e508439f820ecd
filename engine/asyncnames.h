/* The names that async functions of a source have: what translate.c learns on its way.
**
** A set of places in the text; it copies nothing. A name that is given to something else is
** left out, and comes back when an async function has it again. Any thread.
*/
#ifndef ML_ASYNCNAMES_H
#define ML_ASYNCNAMES_H

#include "core.h"
#include "tokens.h"

typedef struct ml_asyncname ml_asyncname;

typedef struct ml_asyncnames {
  ml_allocator *alloc;
  const char *text;
  ml_asyncname *list; /* a hash table; NULL as long as there is none */
  size_t n, cap;      /* cap: a power of 2 */
  unsigned seed;
} ml_asyncnames;

void ml__asyncnames_init(ml_asyncnames *set, ml_allocator *alloc, const char *text);
void ml__asyncnames_free(ml_asyncnames *set);

/* An async function has that name. False: no memory, the set is unaltered. */
bool ml__asyncnames_add(ml_asyncnames *set, ml_token name);
/* The name is that of something else, too, from here on. */
void ml__asyncnames_remove(ml_asyncnames *set, ml_token name);
bool ml__asyncnames_has(const ml_asyncnames *set, ml_token name);

#endif
