/* The size in ml_config is the version of the ABI: hosts that were compiled with an older
** or a newer moonloop.h than the library's. */
#include "expect.h"

/* What a struct of `size` bytes makes ml_new answer. The bytes behind it are not the
** host's: they must neither be read nor written. */
static int answer(size_t size, size_t at, char byte, ml_engine **e) {
  union {
    ml_config c;
    char bytes[8192];
  } u;
  memset(u.bytes, 0x5a, sizeof u.bytes);
  u.c.size = 0;
  ml_config_init_size(&u.c, size);
  for (size_t i = size < sizeof u.c.size ? sizeof u.c.size : size; i < sizeof u.bytes; i++)
    expect(u.bytes[i] == 0x5a);
  if (at != 0) u.bytes[at] = byte;
  if (size > offsetof(ml_config, ud)) u.c.ud = e;
  return ml_new(&u.c, e);
}

static void works(size_t size) {
  static const char script[] = "return 6 * 7";
  const ml_value *v;
  ml_engine *e;
  ml_task *t;
  size_t n;
  expect_ok(answer(size, 0, 0, &e));
  expect(ml_userdata(e) == (void *)&e);
  expect_ok(ml_load(e, "=x", script, strlen(script), &t));
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 1 && v[0].u.i == 42);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
}

static void refused(size_t size, size_t at, char byte) {
  ml_engine *e = (ml_engine *)&e;
  expect(answer(size, at, byte, &e) == ML_EINVAL && e == NULL);
}

/* So it is with classes. */
static int define(ml_engine *e, size_t size, size_t at) {
  static union {
    ml_class c;
    char bytes[512];
  } u[8];
  static int n;
  memset(&u[n], 0, sizeof u[n]);
  u[n].c.size = size;
  u[n].c.name = "versions.Thing";
  if (at != 0) u[n].bytes[at] = 1;
  return ml_def_class(e, &u[n++].c);
}

static void classes(void) {
  static const size_t fine[] = {offsetof(ml_class, parent), sizeof(ml_class),
                                sizeof(ml_class) + 16};
  ml_engine *e;
  for (int i = 0; i < 3; i++) {
    expect_ok(ml_new(NULL, &e));
    expect_ok(define(e, fine[i], 0));
    expect_ok(ml_close(e, 0));
  }
  expect_ok(ml_new(NULL, &e));
  expect(define(e, 0, 0) == ML_EINVAL);
  expect(define(e, sizeof(size_t), 0) == ML_EINVAL);
  expect(define(e, sizeof(ml_class) + 16, sizeof(ml_class) + 8) == ML_EINVAL);
  expect_ok(ml_close(e, 0));
}

int main(void) {
  ml_config c;
  ml_config_init(&c);
  ml_config_init_size(NULL, sizeof c);
  expect(c.size == sizeof c);
  works(sizeof c);
  works(offsetof(ml_config, memory_limit)); /* of the first version */
  works(sizeof c + 8);                      /* of later ones, with nothing in what they added */
  works(sizeof c + 160);
  refused(sizeof c + 8, sizeof c, 1); /* asks for something that this library cannot do */
  refused(sizeof c + 160, sizeof c + 159, 1);
  refused(0, 0, 0); /* not of any version */
  refused(sizeof c.size, 0, 0);
  refused(offsetof(ml_config, ud), 0, 0);
  refused(5000, 0, 0);

  classes();

  expect(ml_version() == ML_VERSION_MAJOR * 10000 + ML_VERSION_MINOR * 100 + ML_VERSION_PATCH);
  char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", ML_VERSION_MAJOR, ML_VERSION_MINOR, ML_VERSION_PATCH);
  expect(strcmp(text, ML_VERSION_STRING) == 0);
  return 0;
}
