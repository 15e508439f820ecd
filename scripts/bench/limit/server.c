/*
** The child is killed when its parent dies, so that no server outlives a run that
** is broken off.
*/

#include "server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_TIMEOUT 10.0 /* seconds for a server to listen */

/* Without a second CPU everything runs where it can. */
static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

static void raise_file_limit(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static struct sockaddr_in address_of(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/* Below the ports that the kernel gives to clients: a connection to one of those
** can meet itself while nobody listens. */
static int free_port(int type) {
  for (int port = 20000 + getpid() % 8000; port < 32000; port++) {
    struct sockaddr_in address = address_of(port);
    int fd = socket(AF_INET, type, 0);
    int err = bind(fd, (struct sockaddr *)&address, sizeof address);
    close(fd);
    if (err == 0) return port;
  }
  errno = EADDRINUSE;
  bench_die("no free port");
  return -1;
}

/* Returns a connection, or -1 with errno. */
static int try_connect(const server *s) {
  struct sockaddr_in address = address_of(s->port);
  int one = 1, fd = socket(AF_INET, s->type | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    int err = errno;
    close(fd);
    errno = err;
    return -1;
  }
  if (s->type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

/* In the child: becomes the server. Its output is not the benchmark's. */
static void become(int argc, char **argv, int port) {
  char number[16], **command = calloc((size_t)argc + 2, sizeof *command);
  snprintf(number, sizeof number, "%d", port);
  memcpy(command, argv, (size_t)argc * sizeof *command);
  command[argc] = number;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pin(0);
  if (!freopen("/dev/null", "w", stdout)) _exit(127);
  execvp(command[0], command);
  perror(command[0]);
  _exit(127);
}

/* Does an answer come? A datagram to nobody is refused, or lost. */
static int try_datagram(const server *s) {
  struct timeval patience = {.tv_usec = 50000};
  char byte = 0;
  int fd = try_connect(s), answered;
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  answered = send(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1;
  if (answered) return fd;
  close(fd);
  return -1;
}

static void wait_until_listening(const server *s) {
  struct timespec pause = {.tv_nsec = 5000000};
  double deadline = bench_now() + START_TIMEOUT;
  int fd;
  while ((fd = s->type == SOCK_DGRAM ? try_datagram(s) : try_connect(s)) < 0) {
    if (waitpid(s->pid, NULL, WNOHANG) != 0 || bench_now() > deadline)
      bench_die("server did not start");
    nanosleep(&pause, NULL);
  }
  close(fd);
}

void server_start(server *s, int argc, char **argv) {
  raise_file_limit();
  s->port = free_port(s->type);
  s->pid = fork();
  if (s->pid < 0) bench_die("fork");
  if (s->pid == 0) become(argc, argv, s->port);
  pin(1);
  wait_until_listening(s);
}

int server_connect(const server *s) {
  int fd = try_connect(s);
  if (fd < 0) bench_die("connect");
  return fd;
}

double server_cpu(const server *s) {
  char path[300];
  double sum = 0;
  snprintf(path, sizeof path, "/proc/%d/task", (int)s->pid);
  DIR *threads = opendir(path);
  if (!threads) bench_die(path);
  for (struct dirent *thread; (thread = readdir(threads));) {
    unsigned long long ns = 0;
    if (thread->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)s->pid, thread->d_name);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%llu", &ns) == 1) sum += (double)ns;
    if (file) fclose(file);
  }
  closedir(threads);
  return sum;
}

double server_rss(const server *s) {
  char path[64], line[128];
  long kilobytes = -1;
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)s->pid);
  FILE *file = fopen(path, "r");
  if (!file) bench_die(path);
  while (kilobytes < 0 && fgets(line, sizeof line, file)) sscanf(line, "Rss: %ld kB", &kilobytes);
  fclose(file);
  return (double)kilobytes * 1024;
}

void server_stop(server *s) {
  kill(s->pid, SIGKILL);
  waitpid(s->pid, NULL, 0);
}
