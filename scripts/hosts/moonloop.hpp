/* moonloop for C++17, as a host may write it for itself: owners for engines, tasks and calls,
** std::function as host functions, exceptions on this side of the fence only.
**
** What a host function throws becomes an error of the script; what a script raises becomes an
** exception of Task::result. No exception crosses the C library and no longjmp crosses C++: the
** library promises the second, `guarded` below sees to the first.
*/
#pragma once

#include <moonloop.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace moonloop {

/* nil, boolean, integer, float, string; what else a script hands over is its tostring. */
using Value = std::variant<std::monostate, bool, std::int64_t, double, std::string>;
using Values = std::vector<Value>;

class Error : public std::runtime_error {
public:
  Error(int code, const std::string &what, std::string traceback = {})
      : std::runtime_error(what), code_(code), traceback_(std::move(traceback)) {}
  int code() const noexcept { return code_; }
  const std::string &traceback() const noexcept { return traceback_; }

private:
  int code_;
  std::string traceback_;
};

namespace detail {

inline ml_value to_c(const Value &v) {
  ml_value out{};
  if (auto b = std::get_if<bool>(&v)) out.type = ML_BOOL, out.u.b = *b;
  if (auto i = std::get_if<std::int64_t>(&v)) out.type = ML_INT, out.u.i = *i;
  if (auto n = std::get_if<double>(&v)) out.type = ML_FLOAT, out.u.n = *n;
  if (auto s = std::get_if<std::string>(&v)) {
    out.type = ML_STRING;
    out.u.str.s = s->data();
    out.u.str.len = s->size();
  }
  return out; /* {}: nil */
}

/* Borrows the strings of `values`. */
inline std::vector<ml_value> to_c(const Values &values) {
  std::vector<ml_value> out;
  out.reserve(values.size());
  for (const auto &v : values) out.push_back(to_c(v));
  return out;
}

inline Value from_c(const ml_value &v) {
  switch (v.type) {
  case ML_BOOL: return v.u.b != 0;
  case ML_INT: return v.u.i;
  case ML_FLOAT: return v.u.n;
  case ML_STRING:
  case ML_OTHER:
  case ML_TABLE:
  case ML_FUNCTION: return std::string(v.u.str.s, v.u.str.len);
  default: return std::monostate{};
  }
}

inline Values arguments(ml_call *c) {
  Values out;
  for (int i = 0, n = ml_argc(c); i < n; i++) {
    ml_value v;
    int err = ml_arg(c, i, &v);
    if (err < 0) throw Error(err, ml_strerror(err));
    struct Free { /* a string is copied, and that may throw */
      ml_engine *e;
      ml_value *v;
      ~Free() {
        if (v->type >= ML_OTHER) ml_value_free(e, v);
      }
    } freed{ml_call_engine(c), &v};
    out.push_back(from_c(v));
  }
  return out;
}

/* Runs f, and gives what it threw to `tell(code, text)`. */
template <class F, class Tell> int guarded(F &&f, Tell &&tell) noexcept {
  try {
    return f();
  } catch (const Error &e) {
    return tell(e.code(), e.what());
  } catch (const std::bad_alloc &) {
    return ML_ENOMEM;
  } catch (const std::invalid_argument &e) {
    return tell(ML_EINVAL, e.what()); /* ValueError */
  } catch (const std::exception &e) {
    return tell(ML_ESCRIPT, e.what()); /* RuntimeError */
  } catch (...) {
    return tell(ML_ESCRIPT, "an exception of an unknown kind");
  }
}

} // namespace detail

/* The i-th argument as T, or std::invalid_argument: ValueError for the script. */
template <class T> T get(const Values &args, std::size_t i) {
  if (i < args.size()) {
    if (auto v = std::get_if<T>(&args[i])) return *v;
    if constexpr (std::is_same_v<T, double>)
      if (auto n = std::get_if<std::int64_t>(&args[i])) return static_cast<double>(*n);
  }
  throw std::invalid_argument("argument " + std::to_string(i + 1) +
                              " is missing, or of another type");
}

/* A call that is answered later, from any thread: whoever will answer moves it to himself. One
** that is dropped unanswered fails. */
class Call {
public:
  explicit Call(ml_call *c) noexcept : call_(c) {}
  Call(Call &&other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
  Call &operator=(Call &&) = delete;
  ~Call() { fail(ML_ESCRIPT, "the host has forgotten it"); }

  void finish(const Values &results = {}) {
    auto v = detail::to_c(results);
    if (auto c = std::exchange(call_, nullptr)) ml_call_finish(c, 0, v.data(), v.size());
  }
  void fail(int code, std::string_view why) noexcept {
    ml_value v{};
    v.type = ML_STRING;
    v.u.str.s = why.data();
    v.u.str.len = why.size();
    if (auto c = std::exchange(call_, nullptr)) ml_call_finish(c, code, &v, 1);
  }
  void release() noexcept { call_ = nullptr; } /* it is not to be finished */

private:
  ml_call *call_;
};

using Function = std::function<Values(const Values &)>;
using AsyncFunction = std::function<void(Call &, const Values &)>;

/* A reference to a task. */
class Task {
public:
  explicit Task(ml_task *t) noexcept : task_(t) {}
  bool done() const noexcept { return ml_task_status(task_.get()) != ML_PENDING; }
  void cancel(const std::string &why) { ml_task_cancel(task_.get(), why.c_str()); }

  /* What it returned; throws what it raised. */
  Values result() const {
    const ml_value *v;
    std::size_t n;
    int err = ml_task_result(task_.get(), &v, &n);
    if (err < 0) {
      const ml_error *e = ml_task_error(task_.get());
      throw e != nullptr ? Error(e->code, e->message, e->traceback) : Error(err, ml_strerror(err));
    }
    Values out;
    for (std::size_t i = 0; i < n; i++) out.push_back(detail::from_c(v[i]));
    return out;
  }

private:
  struct Release {
    void operator()(ml_task *t) const noexcept { ml_task_release(t); }
  };
  std::unique_ptr<ml_task, Release> task_;
};

/* An engine and the functions that it was given, which live as long. */
class Engine {
public:
  explicit Engine(const ml_config &config) {
    ml_engine *e;
    int err = ml_new(&config, &e);
    if (err < 0) throw Error(err, std::string("no engine: ") + ml_strerror(err));
    engine_.reset(e);
  }

  void def(const char *name, Function f) {
    auto &kept = functions_.emplace_back(std::move(f));
    check(ml_def(engine_.get(), name, call_now, &kept));
  }
  void def_async(const char *name, AsyncFunction f) {
    auto &kept = async_functions_.emplace_back(std::move(f));
    check(ml_def_async(engine_.get(), name, call_later, &kept));
  }

  Task load_file(const std::string &path) {
    ml_task *t;
    check(ml_load_file(engine_.get(), path.c_str(), &t));
    return Task(t);
  }
  Task spawn(const char *fn, const Values &arguments) {
    auto v = detail::to_c(arguments);
    ml_task *t;
    check(ml_spawn(engine_.get(), fn, v.data(), v.size(), &t));
    return Task(t);
  }

  void run() { check(ml_run(engine_.get())); }
  void wakeup() noexcept { ml_wakeup(engine_.get()); }

private:
  void check(int err) const {
    if (err >= 0) return;
    const ml_error *e = ml_last_error(engine_.get(), nullptr);
    throw e != nullptr ? Error(err, e->message, e->traceback) : Error(err, ml_strerror(err));
  }

  static int call_now(ml_call *c, void *ud) noexcept {
    return detail::guarded(
        [&] {
          Values results = (*static_cast<Function *>(ud))(detail::arguments(c));
          auto v = detail::to_c(results);
          return ml_return(c, v.data(), v.size());
        },
        [&](int code, const char *why) {
          ml_value v = {};
          v.type = ML_STRING;
          v.u.str.s = why;
          v.u.str.len = std::char_traits<char>::length(why);
          ml_return(c, &v, 1);
          return code;
        });
  }

  /* What is thrown before the call was passed on finishes it. */
  static int call_later(ml_call *c, void *ud) noexcept {
    Call call(c);
    int err = detail::guarded(
        [&] {
          Values args = detail::arguments(c);
          (*static_cast<AsyncFunction *>(ud))(call, args);
          return 0;
        },
        [&](int code, const char *why) {
          call.fail(code, why);
          return 0;
        });
    if (err < 0) call.release(); /* less than 0: it is not finished any more */
    return err;
  }

  struct Close {
    void operator()(ml_engine *e) const noexcept { ml_close(e, 1000); }
  };
  std::list<Function> functions_; /* lists: their places do not change */
  std::list<AsyncFunction> async_functions_;
  std::unique_ptr<ml_engine, Close> engine_; /* last: closed first */
};

} // namespace moonloop
