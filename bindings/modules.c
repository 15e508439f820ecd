/* The bindings that are built in, by the name that require knows. */
#include "core.h"

const ml_module ml__bindings[] = {{NULL, NULL}};
