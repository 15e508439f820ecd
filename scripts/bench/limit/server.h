/*
** A server under test, as a child process: it runs on CPU 0, whoever loads it on
** CPU 1. Failures end the program with a message, and the server with it.
*/

#ifndef SERVER_H
#define SERVER_H

#include "bench.h"

#include <sys/socket.h>
#include <sys/types.h>

typedef struct server {
  pid_t pid;
  int port;
  int type; /* SOCK_STREAM; SOCK_DGRAM: it echoes datagrams */
} server;

/* Starts the command with a free port as its last argument; `type` is set. Returns when
** the port accepts, or has answered a datagram; moves the caller to CPU 1 and lets both open many files. */
void server_start(server *s, int argc, char **argv);

/* Returns a blocking connection to the server; TCP_NODELAY. */
int server_connect(const server *s);

/* CPU nanoseconds that the server's threads have used. Exact while it sleeps. */
double server_cpu(const server *s);

/* Resident bytes. */
double server_rss(const server *s);

void server_stop(server *s);

#endif
