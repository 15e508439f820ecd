/* A job server: scripts await work that a pool of threads does - checksums, compression, naps -
** and go on with other things meanwhile. The engine's thread queues a job, a worker does it in
** small pieces and finishes the call from where it is. A job that nobody waits for any more (its
** task was cancelled, its client hung up, the process is asked to end) is taken out of the queue,
** or stopped at its next piece.
**
**   build/hosts/jobs [-t THREADS] [SCRIPT [ARGUMENTS]]      (scripts/hosts/jobs.lua)
**
** A job belongs to the pool's lists, under its lock, until somebody unlinks it: whoever does that
** finishes its call. SIGINT and SIGTERM interrupt the script, whose clean-up still runs.
*/
#define _GNU_SOURCE /* getopt */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "host.h"

enum { THREADS = 64, PIECE = 16 * 1024 };

typedef struct pool pool;
typedef struct job job;

struct job {
  job *next;
  ml_call *call;
  int (*work)(pool *p, job *j); /* a code; the results go to data, len and number */
  int cancelled;                /* under the lock */
  double number;
  char *data; /* malloc'd: what goes in, then what comes out */
  size_t len;
};

struct pool {
  pthread_mutex_t lock;
  pthread_cond_t more, cancel; /* a job is queued; one that runs is cancelled */
  job *first, **last;          /* queued */
  job *running;
  int stopping, threads;
  long done, dropped, queued;
  pthread_t thread[THREADS];
};

/* ---- the work, on the pool's threads ---- */

static int is_cancelled(pool *p, job *j) {
  int cancelled;
  pthread_mutex_lock(&p->lock);
  cancelled = j->cancelled;
  pthread_mutex_unlock(&p->lock);
  return cancelled;
}

static int work_crc32(pool *p, job *j) {
  uLong crc = crc32(0, NULL, 0);
  for (size_t at = 0; at < j->len; at += PIECE) {
    size_t n = j->len - at < PIECE ? j->len - at : PIECE;
    if (is_cancelled(p, j)) return -ECANCELED;
    crc = crc32(crc, (const Bytef *)j->data + at, (uInt)n);
  }
  j->number = (double)crc;
  return 0;
}

static int work_deflate(pool *p, job *j) {
  z_stream z = {0};
  char *out;
  size_t at = 0, room;
  int rc, err = 0;
  if (deflateInit(&z, (int)j->number) != Z_OK) return ML_EINVAL;
  room = deflateBound(&z, j->len);
  out = malloc(room);
  if (out == NULL) err = ML_ENOMEM;
  z.next_out = (Bytef *)out;
  z.avail_out = (uInt)room;
  for (rc = Z_OK; err == 0 && rc == Z_OK;) {
    size_t n = j->len - at < PIECE ? j->len - at : PIECE;
    if (is_cancelled(p, j)) err = -ECANCELED;
    z.next_in = (Bytef *)j->data + at;
    z.avail_in = (uInt)n;
    at += n;
    rc = deflate(&z, at == j->len ? Z_FINISH : Z_NO_FLUSH);
  }
  deflateEnd(&z);
  if (err < 0) {
    free(out);
    return err;
  }
  free(j->data);
  j->data = out;
  j->len = z.total_out;
  return 0;
}

static int work_nap(pool *p, job *j) {
  struct timespec end;
  int cancelled, rc = 0;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += (time_t)j->number;
  end.tv_nsec += (long)((j->number - (double)(time_t)j->number) * 1e9);
  if (end.tv_nsec >= 1000000000) end.tv_sec++, end.tv_nsec -= 1000000000;
  pthread_mutex_lock(&p->lock);
  while (!j->cancelled && rc != ETIMEDOUT) rc = pthread_cond_timedwait(&p->cancel, &p->lock, &end);
  cancelled = j->cancelled;
  pthread_mutex_unlock(&p->lock);
  return cancelled ? -ECANCELED : 0;
}

/* ---- the pool ---- */

/* Ends a job that is in no list any more. */
static void finish(job *j, int err) {
  ml_value v = j->work == work_deflate ? host_bytes(j->data, j->len) : host_float(j->number);
  if (j->work == work_crc32) v = host_int((int64_t)j->number);
  if (ml_call_finish(j->call, err, &v, err < 0 || j->work == work_nap ? 0 : 1) == ML_ENOMEM)
    ml_call_finish(j->call, ML_ENOMEM, NULL, 0);
  free(j->data);
  free(j);
}

static job *unlink_job(job **list, const ml_call *call) {
  for (; *list != NULL; list = &(*list)->next) {
    job *j = *list;
    if (j->call != call) continue;
    *list = j->next;
    return j;
  }
  return NULL;
}

static void *worker(void *ud) {
  pool *p = ud;
  pthread_mutex_lock(&p->lock);
  for (;;) {
    job *j;
    int err;
    while (p->first == NULL && !p->stopping) pthread_cond_wait(&p->more, &p->lock);
    j = p->first;
    if (j == NULL) break;
    p->first = j->next;
    if (p->first == NULL) p->last = &p->first;
    p->queued--;
    j->next = p->running;
    p->running = j;
    pthread_mutex_unlock(&p->lock);
    err = j->work(p, j);
    pthread_mutex_lock(&p->lock);
    unlink_job(&p->running, j->call);
    if (err < 0)
      p->dropped++;
    else
      p->done++;
    pthread_mutex_unlock(&p->lock);
    finish(j, err);
    pthread_mutex_lock(&p->lock);
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

static int pool_start(pool *p, int threads) {
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->more, NULL);
  pthread_cond_init(&p->cancel, NULL);
  p->last = &p->first;
  while (p->threads < threads) {
    int rc = pthread_create(&p->thread[p->threads], NULL, worker, p);
    if (rc != 0) return -rc;
    p->threads++;
  }
  return 0;
}

/* After the engine is closed: what is left is finished, too late, which releases it. */
static void pool_stop(pool *p) {
  job *left;
  pthread_mutex_lock(&p->lock);
  p->stopping = 1;
  left = p->first;
  p->first = NULL;
  p->last = &p->first;
  for (job *j = p->running; j != NULL; j = j->next) j->cancelled = 1;
  pthread_cond_broadcast(&p->more);
  pthread_cond_broadcast(&p->cancel);
  pthread_mutex_unlock(&p->lock);
  while (left != NULL) {
    job *j = left;
    left = j->next;
    finish(j, -ECANCELED);
  }
  for (int i = 0; i < p->threads; i++) pthread_join(p->thread[i], NULL);
  pthread_cond_destroy(&p->cancel);
  pthread_cond_destroy(&p->more);
  pthread_mutex_destroy(&p->lock);
}

/* ---- what scripts may do, on the engine's thread ---- */

/* The script waits no longer. The job is found by its call: a worker may just be finishing it. */
static void on_cancel(ml_call *c, void *ud) {
  pool *p = ud;
  job *j;
  pthread_mutex_lock(&p->lock);
  j = unlink_job(&p->first, c);
  if (j != NULL) {
    p->queued--;
    p->dropped++;
    for (p->last = &p->first; *p->last != NULL; p->last = &(*p->last)->next) continue;
  } else {
    for (job *r = p->running; r != NULL; r = r->next)
      if (r->call == c) r->cancelled = 1;
    pthread_cond_broadcast(&p->cancel);
  }
  pthread_mutex_unlock(&p->lock);
  if (j != NULL) finish(j, -ECANCELED);
}

/* Arguments are copied: the script's own text is gone once it waits no longer. */
static int submit(ml_call *c, pool *p, int (*work)(pool *, job *), const ml_value *text, double n) {
  job *j = calloc(1, sizeof *j);
  int err = j != NULL ? ml_call_on_cancel(c, on_cancel, p) : ML_ENOMEM;
  if (err == 0 && text != NULL) {
    j->data = malloc(text->u.str.len + 1);
    if (j->data == NULL) err = ML_ENOMEM;
  }
  if (err < 0) {
    free(j);
    return err;
  }
  if (text != NULL) memcpy(j->data, text->u.str.s, j->len = text->u.str.len);
  j->call = c;
  j->work = work;
  j->number = n;
  pthread_mutex_lock(&p->lock);
  *p->last = j;
  p->last = &j->next;
  p->queued++;
  pthread_cond_signal(&p->more);
  pthread_mutex_unlock(&p->lock);
  return 0;
}

/* await(jobs.crc32(text)) */
static int jobs_crc32(ml_call *c, void *ud) {
  ml_value text;
  int err = host_arg_text(c, 0, &text);
  return err < 0 ? err : submit(c, ud, work_crc32, &text, 0);
}

/* await(jobs.deflate(text[, level])): the text, compressed as zlib does */
static int jobs_deflate(ml_call *c, void *ud) {
  ml_value text;
  double level = 6;
  int err = host_arg_text(c, 0, &text);
  if (err == 0 && ml_argc(c) > 1) err = host_arg_number(c, 1, &level);
  if (err == 0 && !(level >= 0 && level <= 9)) err = ML_EINVAL;
  return err < 0 ? err : submit(c, ud, work_deflate, &text, level);
}

/* await(jobs.nap(seconds)): keeps a thread busy with nothing */
static int jobs_nap(ml_call *c, void *ud) {
  double seconds;
  int err = host_arg_number(c, 0, &seconds);
  if (err == 0 && !(seconds >= 0 && seconds <= 86400)) err = ML_EINVAL;
  return err < 0 ? err : submit(c, ud, work_nap, NULL, seconds);
}

/* jobs.stats(): how many are done, dropped, waiting; how many threads */
static int jobs_stats(ml_call *c, void *ud) {
  pool *p = ud;
  ml_value v[4];
  pthread_mutex_lock(&p->lock);
  v[0] = host_int(p->done);
  v[1] = host_int(p->dropped);
  v[2] = host_int(p->queued);
  v[3] = host_int(p->threads);
  pthread_mutex_unlock(&p->lock);
  return ml_return(c, v, 4);
}

static const host_function functions[] = {{"jobs.crc32", NULL, jobs_crc32},
                                          {"jobs.deflate", NULL, jobs_deflate},
                                          {"jobs.nap", NULL, jobs_nap},
                                          {"jobs.stats", jobs_stats, NULL},
                                          {NULL, NULL, NULL}};

/* ---- main ---- */

static ml_engine *engine; /* for the signal handler */

static void on_signal(int sig) {
  (void)sig;
  ml_interrupt(engine, ML_INTERRUPT_ASK);
}

static int run(pool *p, const char *script, int argc, char **argv) {
  struct sigaction action = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
  ml_config config;
  int err, status = 0;
  ml_config_init(&config);
  err = ml_new(&config, &engine);
  if (err == 0) err = host_define(engine, functions, p);
  if (err < 0) {
    host_complain("jobs", "no engine", engine, err);
    ml_close(engine, 0);
    return 1;
  }
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  err = ml_main_file(engine, script, argc, (const char *const *)argv);
  if (err < 0) {
    const ml_error *why = ml_last_error(engine, &status);
    if (status != 0 && status != 130)
      fprintf(stderr, "jobs: %s\n%s\n", why != NULL ? why->message : ml_strerror(err),
              why != NULL ? why->traceback : "");
  }
  sigaction(SIGINT, &ignore, NULL);
  sigaction(SIGTERM, &ignore, NULL);
  ml_close(engine, 1000);
  return status;
}

static int usage(void) {
  fprintf(stderr, "usage: jobs [-t THREADS (1 to %d)] [SCRIPT [ARGUMENTS]]\n", THREADS);
  return 2;
}

int main(int argc, char **argv) {
  static pool p;
  int option, threads = 4, status, err;
  while ((option = getopt(argc, argv, "+t:")) != -1) {
    char *end = NULL;
    if (option == 't') threads = (int)strtol(optarg, &end, 10);
    if (end == NULL || *end != '\0' || threads < 1 || threads > THREADS) return usage();
  }
  signal(SIGPIPE, SIG_IGN);
  err = pool_start(&p, threads);
  if (err < 0) {
    fprintf(stderr, "jobs: no threads: %s\n", strerror(-err));
    status = 1;
  } else if (optind == argc)
    status = run(&p, "scripts/hosts/jobs.lua", 0, NULL);
  else
    status = run(&p, argv[optind], argc - optind - 1, argv + optind + 1);
  pool_stop(&p);
  return status;
}
