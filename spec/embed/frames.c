/* Frames and clocks of a host: next_frame, pause, slow motion, jumps. */
#include "expect.h"
#include <math.h>

static const char entities[] =
    "local asyncio = require 'asyncio'\n"
    "log, dts, wakes = {}, {}, 0\n"
    "local function entity(name)\n"
    "  return asyncio.create_task(function()\n"
    "    while true do\n"
    "      local dt, n = await(asyncio.next_frame())\n"
    "      log[#log + 1] = name .. n\n"
    "      dts[#dts + 1] = dt\n"
    "    end\n"
    "  end)\n"
    "end\n"
    "entity 'a' entity 'b'\n"
    "function said() local s = table.concat(log, ' ') log = {} return s end\n"
    "function waited() local s = 0 for _, d in ipairs(dts) do s = s + d end dts = {} return s end\n"
    "function alarm(s) asyncio.create_task(function() await(asyncio.sleep(s)) wakes = wakes + 1 "
    "end) end\n"
    "function woken() return wakes end\n";

static double number;
static char text[512];

static int tell(ml_call *c, void *ud) {
  ml_value v;
  (void)ud;
  expect_ok(ml_arg(c, 0, &v));
  number = v.type == ML_INT ? (double)v.u.i : v.type == ML_FLOAT ? v.u.n : 0;
  text[0] = '\0';
  if (v.type == ML_STRING) snprintf(text, sizeof text, "%s", v.u.str.s);
  return 0;
}

/* Runs `tell(NAME())` without a frame: by an engine that is hosted, or never with one more. */
static void ask(ml_engine *e, const char *name) {
  char source[64];
  ml_task *t;
  snprintf(source, sizeof source, "tell(%s())", name);
  t = load(e, source);
  while (ml_task_status(t) == ML_PENDING) expect(ml_step(e, 0) >= 0);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
}

static const char *said(ml_engine *e) {
  ask(e, "said");
  return text;
}

static double asked(ml_engine *e, const char *name) {
  ask(e, name);
  return number;
}

static void alarm_in(ml_engine *e, double seconds) {
  ml_value v = {.type = ML_FLOAT, .u.n = seconds};
  expect_ok(ml_spawn(e, "alarm", &v, 1, NULL));
  for (int i = 0; i < 4; i++) expect(ml_step(e, 0) >= 0);
}

static ml_engine *engine(ml_clock clock, double (*now)(void *)) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.clock = clock;
  c.now = now;
  expect_ok(ml_new(&c, &e));
  expect_ok(ml_def(e, "tell", tell, NULL));
  ml_task_release(load(e, entities));
  expect(ml_step(e, 0) >= 0); /* the script: a first frame, before anybody waits for one */
  return e;
}

/* A step is a frame, and everybody is resumed in it once, however long the step. */
static void steps_are_frames(void) {
  ml_engine *e = engine(ML_CLOCK_REAL, NULL);
  expect(ml_step(e, 0) >= 0); /* the tasks begin */
  for (int i = 0; i < 3; i++) expect(ml_step(e, 1000) == 0);
  /* the question's own step is a frame, too, but it is asked before them */
  expect(strcmp(said(e), "a3 b3 a4 b4 a5 b5") == 0);
  expect(ml_alive(e) == 1);
  expect_ok(ml_close(e, 0));
}

/* From the first ml_frame on only that begins one, in the step after it. */
static void hosts_say_when(void) {
  ml_engine *e = engine(ML_CLOCK_REAL, NULL);
  expect_ok(ml_frame(e, 0.5));
  for (int i = 0; i < 5; i++) expect(ml_step(e, 1000) >= 0);
  expect(strcmp(said(e), "") == 0);
  expect_ok(ml_frame(e, 0.25));
  for (int i = 0; i < 5; i++) expect(ml_step(e, 0) >= 0);
  expect(strcmp(said(e), "a3 b3") == 0);
  expect(asked(e, "waited") == 0.5);
  expect_ok(ml_frame(e, 0.25)); /* two in one: their times add up */
  expect_ok(ml_frame(e, 0.5));
  expect(ml_step(e, 0) >= 0);
  expect(strcmp(said(e), "a4 b4") == 0);
  expect(asked(e, "waited") == 1.5);
  expect_ok(ml_frame(e, -1)); /* measured */
  expect(ml_step(e, 0) >= 0);
  expect(asked(e, "waited") >= 0 && number < 60);
  expect_ok(ml_close(e, 0));
}

static double now;
static double host_clock(void *ud) {
  (void)ud;
  return now;
}

static void pass(ml_engine *e) {
  for (int i = 0; i < 4; i++) {
    expect_ok(ml_frame(e, -1));
    expect(ml_step(e, 0) >= 0);
  }
}

/* The host's clock: paused, slow, jumping ahead, going back. */
static void host_clocks(void) {
  double t0, t1;
  ml_engine *e;
  now = 1000;
  e = engine(ML_CLOCK_HOST, host_clock);
  pass(e);
  asked(e, "waited");
  expect_ok(ml_time(e, &t0));
  expect(t0 == 1000);
  alarm_in(e, 10);
  pass(e); /* paused: frames of no length */
  expect(asked(e, "waited") == 0);
  expect(asked(e, "woken") == 0);
  now = 1009; /* ahead, but not far enough */
  pass(e);
  expect(asked(e, "waited") == 18); /* two entities */
  expect(asked(e, "woken") == 0);
  now = 900; /* back: time stands still until it is made good */
  pass(e);
  expect_ok(ml_time(e, &t1));
  expect(t1 == 1009);
  expect(asked(e, "waited") == 0);
  now = NAN;
  pass(e);
  expect_ok(ml_time(e, &t1));
  expect(t1 == 1009);
  alarm_in(e, 2);
  now = 5000; /* far ahead: all that is due is done, in the order of the deadlines */
  pass(e);
  expect(asked(e, "woken") == 2);
  expect_ok(ml_close(e, 0));
}

/* A host without a clock: ml_frame says how time goes. */
static void frames_are_time(void) {
  ml_engine *e = engine(ML_CLOCK_HOST, NULL);
  double t;
  expect_ok(ml_frame(e, 0));
  expect(ml_step(e, 1000) >= 0);
  alarm_in(e, 1);
  for (int i = 0; i < 4; i++) {
    expect(asked(e, "woken") == 0);
    expect_ok(ml_frame(e, 0.25));
    expect(ml_step(e, 1000) >= 0);
  }
  expect_ok(ml_time(e, &t));
  expect(t == 1);
  expect(asked(e, "woken") == 1);
  expect(asked(e, "waited") == 2);
  expect_ok(ml_time_scale(e, 0.5)); /* slow motion */
  expect_ok(ml_frame(e, 0.25));
  expect(ml_step(e, 1000) >= 0);
  expect(asked(e, "waited") == 0.25);
  expect_ok(ml_time_scale(e, 0)); /* pause */
  alarm_in(e, 0.1);
  expect_ok(ml_frame(e, 100));
  expect(ml_step(e, 1000) >= 0);
  expect(asked(e, "waited") == 0);
  expect(asked(e, "woken") == 1);
  expect_ok(ml_time_scale(e, 1));
  expect_ok(ml_frame(e, 1));
  expect(ml_step(e, 1000) >= 0);
  expect(asked(e, "woken") == 2);
  expect_ok(ml_time(e, &t));
  expect(t == 2.125);
  /* nothing but ml_frame makes it go on: who runs to the end is told */
  ml_task *nap = load(e, "await(require('asyncio').sleep(1))");
  int fd, timeout;
  for (int i = 0; i < 3; i++) expect(ml_step(e, 0) >= 0);
  expect_ok(ml_poll_info(e, &fd, &timeout));
  expect(timeout == -1);
  ml_task_release(nap);
  expect_ok(ml_close(e, 0));
}

/* Scaled time of the real clock. */
static void slow_motion(void) {
  ml_engine *e = engine(ML_CLOCK_REAL, NULL);
  double a, b;
  expect_ok(ml_time_scale(e, 0));
  expect_ok(ml_time(e, &a));
  alarm_in(e, 0.0001);
  expect_ok(ml_time(e, &b));
  expect(a == b);
  expect(asked(e, "woken") == 0);
  expect_ok(ml_time_scale(e, 1000));
  while (asked(e, "woken") == 0) continue;
  expect_ok(ml_time(e, &b));
  expect(b > a);
  expect_ok(ml_close(e, 0));
}

/* A virtual clock goes on by a frame with each step that somebody awaits one in. */
static void virtual_frames(void) {
  ml_engine *e = engine(ML_CLOCK_VIRTUAL, NULL);
  double t;
  alarm_in(e, 1);
  for (int i = 0; i < 70; i++) expect(ml_step(e, 0) >= 0);
  expect(asked(e, "woken") == 1);
  expect_ok(ml_time(e, &t));
  expect(t > 1 && t < 1.5);
  expect_ok(ml_close(e, 0));
}

/* A host that polls is told when the next frame is due; frames are paced. */
static void polled(void) {
  ml_engine *e = engine(ML_CLOCK_REAL, NULL);
  int fd, timeout;
  expect_ok(ml_poll_info(e, &fd, &timeout));
  expect(timeout == 0);
  for (int i = 0; i < 20; i++) expect(ml_step(e, 0) >= 0);
  expect_ok(ml_poll_info(e, &fd, &timeout));
  expect(timeout >= 0 && timeout <= 17);
  for (int frames = 0; frames == 0; frames = said(e)[0] != '\0') continue;
  expect(asked(e, "waited") > 0.02); /* two entities, at least a frame each */
  expect_ok(ml_frame(e, -1));        /* its own from now on */
  expect_ok(ml_poll_info(e, &fd, &timeout));
  expect(timeout == 0);
  for (int i = 0; i < 5; i++) expect(ml_step(e, 0) >= 0);
  expect_ok(ml_poll_info(e, &fd, &timeout));
  expect(timeout == -1);
  expect_ok(ml_close(e, 0));
}

/* Clean-up that awaits frames gets them from ml_close. */
static void closing(void) {
  ml_engine *e = engine(ML_CLOCK_HOST, NULL);
  ml_task *t = load(e, "local asyncio = require 'asyncio'\n"
                       "local done = 0\n"
                       "local _ <close> = setmetatable({}, {__close = function()\n"
                       "  for i = 1, 3 do await(asyncio.next_frame()) end tell(77)\n"
                       "end})\n"
                       "while true do await(asyncio.next_frame()) end\n");
  for (int i = 0; i < 5; i++) expect(ml_step(e, 0) >= 0);
  expect_ok(ml_frame(e, 1));
  expect(ml_step(e, 0) >= 0);
  expect_ok(ml_close(e, 1000));
  expect(number == 77);
  expect(ml_task_status(t) == ML_CANCELLED);
  ml_task_release(t);
}

/* One that is cancelled does not wait for the frame. */
static void cancelled(void) {
  ml_engine *e = engine(ML_CLOCK_REAL, NULL);
  ml_task *t = load(e, "await(require('asyncio').next_frame())");
  expect_ok(ml_frame(e, 0));
  for (int i = 0; i < 5; i++) expect(ml_step(e, 0) >= 0);
  expect(ml_task_status(t) == ML_PENDING);
  expect(ml_task_cancel(t, "enough") == 1);
  while (ml_step(e, 0) > 0) continue;
  expect(ml_task_status(t) == ML_CANCELLED);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
}

static ml_engine *inside;
static int calls_back(ml_call *c, void *ud) {
  (void)c, (void)ud;
  expect(ml_frame(inside, 0) == ML_EBUSY);
  expect_ok(ml_time_scale(inside, 0.5));
  return 0;
}

static void misuse(void) {
  ml_engine *e = engine(ML_CLOCK_REAL, NULL);
  double t;
  inside = e;
  expect(ml_frame(NULL, 0) == ML_EINVAL);
  expect(ml_frame(e, NAN) == ML_EINVAL && ml_frame(e, INFINITY) == ML_EINVAL);
  expect(ml_time_scale(NULL, 1) == ML_EINVAL);
  expect(ml_time_scale(e, -1) == ML_EINVAL && ml_time_scale(e, NAN) == ML_EINVAL &&
         ml_time_scale(e, INFINITY) == ML_EINVAL);
  expect(ml_time(NULL, &t) == ML_EINVAL && ml_time(e, NULL) == ML_EINVAL);
  expect_ok(ml_def(e, "calls_back", calls_back, NULL));
  ml_task *task = load(e, "calls_back()");
  while (ml_task_status(task) == ML_PENDING) expect(ml_step(e, 0) >= 0);
  expect(ml_task_status(task) == ML_DONE);
  ml_task_release(task);
  expect_ok(ml_close(e, 0));
}

int main(void) {
  steps_are_frames();
  hosts_say_when();
  host_clocks();
  frames_are_time();
  slow_motion();
  virtual_frames();
  polled();
  closing();
  cancelled();
  misuse();
  return 0;
}
