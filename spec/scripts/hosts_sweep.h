/* Runs a host's main again and again, each time with another allocation of its engines failing.
** The host's source is included as it stands, behind this file: its main is host_main, and its
** ml_new hands the library an allocator that fails when its time has come. Each run is a process
** of its own, which must end with a status that the host gives - not by a signal, not by a
** sanitizer, not never - and with a message if that status is not 0.
**
**   sweep SECONDS [pty] -- ARGUMENTS OF THE HOST
**
** Its standard input is given to each run, or with `pty` a terminal.
*/
#ifndef HOSTS_SWEEP_H
#define HOSTS_SWEEP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <moonloop.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif
int sweep_new(const ml_config *c, ml_engine **out);
int host_main(int argc, char **argv);
#ifdef __cplusplus
}
#endif

#ifndef SWEEP_ITSELF
#define ml_new sweep_new
#define main host_main
#endif

#endif
