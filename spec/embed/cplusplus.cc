/* A host in C++11: an engine and its tasks as objects that release themselves, functions
** of the host's as lambdas and as members, worker threads of the C++ library. */
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <moonloop.h>

namespace {

#define expect(cond)                                                          \
  do {                                                                        \
    if (!(cond)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
      std::exit(1);                                                           \
    }                                                                         \
  } while (0)

struct failed : std::runtime_error {
  failed(int code, const std::string &what) : std::runtime_error(what + ": " + ml_strerror(code)) {}
};

void check(int code, const char *what) {
  if (code < 0) throw failed(code, what);
}

struct task_release {
  void operator()(ml_task *t) const { ml_task_release(t); }
};
using task = std::unique_ptr<ml_task, task_release>;

ml_value integer(int64_t i) {
  ml_value v{};
  v.type = ML_INT;
  v.u.i = i;
  return v;
}

ml_value text(const char *s, size_t n) {
  ml_value v{};
  v.type = ML_STRING;
  v.u.str.s = s;
  v.u.str.len = n;
  return v;
}

class host {
public:
  host() {
    ml_config c;
    ml_config_init(&c);
    c.clock = ML_CLOCK_VIRTUAL;
    c.ud = this;
    c.print = [](void *ud, const char *s, size_t n) {
      static_cast<host *>(ud)->printed_.append(s, n);
    };
    c.log = [](void *ud, const char *s, size_t n) {
      static_cast<host *>(ud)->logged_.append(s, n).append("\n");
    };
    check(ml_new(&c, &engine_), "ml_new");
    check(ml_def(engine_, "host.add", &host::add, this), "ml_def");
    check(ml_def(
              engine_, "host.refuse", [](ml_call *, void *) -> int { return ML_EINVAL; }, nullptr),
          "ml_def");
    check(ml_def_async(engine_, "host.square", &host::square, this), "ml_def_async");
  }
  host(const host &) = delete;
  host &operator=(const host &) = delete;
  ~host() {
    ml_close(engine_, 1000);
    for (auto &t : workers_) t.join();
  }

  task load(const std::string &name, const std::string &source) {
    ml_task *t = nullptr;
    int code = ml_load(engine_, name.c_str(), source.data(), source.size(), &t);
    if (code < 0) {
      const ml_error *e = ml_last_error(engine_, nullptr);
      throw failed(code, e != nullptr ? e->message : name);
    }
    return task(t);
  }

  ml_engine *engine() const { return engine_; }
  const std::string &printed() const { return printed_; }
  const std::string &logged() const { return logged_; }
  int sum() const { return sum_; }

private:
  /* A function of C++ may throw: not past the engine, which is C. */
  static int add(ml_call *c, void *ud) noexcept {
    try {
      ml_value v;
      if (ml_arg(c, 0, &v) < 0 || v.type != ML_INT) throw std::invalid_argument("a number, please");
      static_cast<host *>(ud)->sum_ += static_cast<int>(v.u.i);
      ml_value sum = integer(static_cast<host *>(ud)->sum_);
      return ml_return(c, &sum, 1);
    } catch (const std::exception &e) {
      ml_value why = text(e.what(), std::strlen(e.what()));
      ml_return(c, &why, 1);
      return ML_EINVAL;
    }
  }

  /* Answered by a thread. */
  static int square(ml_call *c, void *ud) noexcept {
    ml_value v;
    if (ml_arg(c, 0, &v) < 0 || v.type != ML_INT) return ML_EINVAL;
    int64_t n = v.u.i;
    try {
      static_cast<host *>(ud)->workers_.emplace_back([c, n] {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ml_value answer = integer(n * n);
        ml_call_finish(c, 0, &answer, 1);
      });
    } catch (const std::exception &) {
      return ML_ENOMEM;
    }
    return 0;
  }

  ml_engine *engine_ = nullptr;
  std::string printed_, logged_;
  std::vector<std::thread> workers_;
  int sum_ = 0;
};

void functions() {
  host h;
  task t = h.load("=script", "local asyncio = require 'asyncio'\n"
                             "host.add(2) print(host.add(40))\n"
                             "print(select(2, pcall(host.add, 'x')))\n"
                             "print(pcall(host.refuse))\n"
                             "local all = await(asyncio.gather(host.square(3), host.square(4)))\n"
                             "return all[1] + all[2], 'done'");
  check(ml_run(h.engine()), "ml_run");
  const ml_value *v;
  size_t n;
  check(ml_task_result(t.get(), &v, &n), "ml_task_result");
  expect(n == 2 && v[0].type == ML_INT && v[0].u.i == 25);
  expect(std::string(v[1].u.str.s, v[1].u.str.len) == "done");
  expect(h.sum() == 42);
  expect(h.printed().find("42\n") == 0);
  expect(h.printed().find("a number, please") != std::string::npos);
  expect(h.logged().empty());
}

void errors() {
  host h;
  bool caught = false;
  try {
    h.load("=broken", "local = 1");
  } catch (const failed &e) {
    caught = std::string(e.what()).find("broken:1:") != std::string::npos;
  }
  expect(caught);
  task t = h.load("=script", "error('oh')");
  check(ml_run(h.engine()), "ml_run");
  expect(ml_task_status(t.get()) == ML_FAILED);
  expect(std::strstr(ml_task_error(t.get())->message, "oh") != nullptr);
}

/* Each thread has an engine of its own. */
void threads() {
  std::atomic<int> right{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 4; i++)
    all.emplace_back([i, &right] {
      host h;
      ml_value v = integer(i);
      task t = h.load("=script", "function twice(n) return 2 * await(host.square(n)) end");
      check(ml_run(h.engine()), "ml_run");
      ml_task *spawned = nullptr;
      check(ml_spawn(h.engine(), "twice", &v, 1, &spawned), "ml_spawn");
      task call(spawned);
      check(ml_run(h.engine()), "ml_run");
      const ml_value *results;
      size_t n;
      check(ml_task_result(call.get(), &results, &n), "ml_task_result");
      if (n == 1 && results[0].u.i == 2 * i * i) right++;
    });
  for (auto &t : all) t.join();
  expect(right == 4);
}

/* The engine may go before its tasks' references do. */
void order() {
  task left;
  {
    host h;
    left = h.load("=script", "await(require('asyncio').sleep(3600))");
    check(ml_step(h.engine(), 0), "ml_step");
  }
  expect(ml_task_status(left.get()) == ML_CANCELLED);
}

} // namespace

int main() {
  functions();
  errors();
  threads();
  order();
  return 0;
}
