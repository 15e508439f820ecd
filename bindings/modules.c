/* The C modules that `require` finds in the binary. */
#include "fs.h"
#include "stream.h"

const ml_module ml__bindings[] = {
    {"asyncio.net", ml__open_net},
    {"fs.core", ml__open_fs},
    {"time", ml__open_time},
    {NULL, NULL},
};
