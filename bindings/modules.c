/* The C modules that `require` finds in the binary. */
#include "stream.h"

const ml_module ml__bindings[] = {
    {"asyncio.net", ml__open_net},
    {"time", ml__open_time},
    {NULL, NULL},
};
