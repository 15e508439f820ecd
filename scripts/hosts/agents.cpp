/* A market of agents, in C++17: the market is the host's, traders are scripts. Each trader is a
** coroutine that reads prices, waits, asks a slow oracle (a std::thread answers) and places
** orders; a trader that breaks the rules gets the host's exception as an error, and may catch it.
**
**   build/hosts/agents [SCRIPT [TRADERS]]      (scripts/hosts/agents.lua 5)
**
** moonloop.hpp has the wrappers. Time is virtual: a year of trading takes no time.
*/
#include "moonloop.hpp"

#include <atomic>
#include <iostream>
#include <map>
#include <mutex>
#include <thread>

using moonloop::Call;
using moonloop::Engine;
using moonloop::Error;
using moonloop::Task;
using moonloop::Values;

namespace {

/* One good, whose price follows what is bought and sold. */
class Market {
public:
  double price() const noexcept { return price_; }
  double cash(const std::string &who) const { return account(who).cash; }
  std::int64_t stock(const std::string &who) const { return account(who).stock; }
  void enter(const std::string &who, double cash) {
    if (!accounts_.emplace(who, Account{cash, 0}).second)
      throw std::invalid_argument(who + " is here already");
  }

  /* n > 0: buys, n < 0: sells. Returns what it cost. */
  double order(const std::string &who, std::int64_t n) {
    auto &a = const_cast<Account &>(account(who));
    double cost = price_ * static_cast<double>(n);
    if (cost > a.cash) throw std::domain_error(who + " cannot pay " + std::to_string(n));
    if (a.stock + n < 0)
      throw std::domain_error(who + " has no " + std::to_string(-n) + " to sell");
    a.cash -= cost;
    a.stock += n;
    price_ *= 1 + 0.01 * static_cast<double>(n);
    return cost;
  }

private:
  struct Account {
    double cash;
    std::int64_t stock;
  };
  const Account &account(const std::string &who) const {
    auto it = accounts_.find(who);
    if (it == accounts_.end()) throw std::invalid_argument("there is no trader " + who);
    return it->second;
  }
  std::map<std::string, Account> accounts_;
  double price_ = 100;
};

/* Answers from threads of its own, all of which are joined when it goes. */
class Oracle {
public:
  ~Oracle() {
    for (auto &t : threads_) t.join();
  }
  void ask(Call &call, double price) {
    if (price < 50) throw std::domain_error("the oracle does not speak of such prices");
    if (++asked_ % 7 == 0) return; /* forgets: dropping the call fails it */
    threads_.emplace_back([call = std::move(call), price]() mutable {
      call.finish({price > 100 ? std::string("sell") : std::string("buy")});
    });
  }

private:
  std::vector<std::thread> threads_;
  int asked_ = 0;
};

void define(Engine &engine, Market &market, Oracle &oracle) {
  using moonloop::get;
  engine.def("market.price", [&](const Values &) -> Values { return {market.price()}; });
  engine.def("market.order", [&](const Values &args) -> Values {
    return {market.order(get<std::string>(args, 0), get<std::int64_t>(args, 1))};
  });
  engine.def("market.account", [&](const Values &args) -> Values {
    auto who = get<std::string>(args, 0);
    return {market.cash(who), market.stock(who)};
  });
  engine.def_async("oracle.ask",
                   [&](Call &call, const Values &args) { oracle.ask(call, get<double>(args, 0)); });
}

int run(const std::string &script, int traders) {
  Market market;
  Oracle oracle; /* outlives the engine: a call may be under way when that is closed */
  ml_config config;
  ml_config_init(&config);
  config.clock = ML_CLOCK_VIRTUAL;
  Engine engine(config);
  define(engine, market, oracle);

  Task setup = engine.load_file(script);
  engine.run();
  setup.result();

  std::map<std::string, Task> tasks;
  for (int i = 1; i <= traders; i++) {
    std::string name = "trader" + std::to_string(i);
    market.enter(name, 1000);
    tasks.emplace(name, engine.spawn("trader", {name, static_cast<std::int64_t>(i)}));
  }
  engine.run();

  int failed = 0;
  for (auto &[name, task] : tasks) {
    std::cout << name << ": ";
    try {
      std::cout << std::get<std::string>(task.result().at(0)) << "\n";
    } catch (const Error &e) {
      std::cout << "failed: " << e.what() << "\n";
      failed++;
    }
  }
  std::cout << "price " << market.price() << std::endl;
  return failed == traders;
}

} // namespace

int main(int argc, char **argv) {
  if (argc > 3 || (argc > 1 && argv[1][0] == '-')) {
    std::cerr << "usage: agents [SCRIPT [TRADERS]]\n";
    return 2;
  }
  try {
    return run(argc > 1 ? argv[1] : "scripts/hosts/agents.lua", argc > 2 ? std::stoi(argv[2]) : 5);
  } catch (const Error &e) {
    std::cerr << "agents: " << e.what() << "\n" << e.traceback() << "\n";
  } catch (const std::exception &e) {
    std::cerr << "agents: " << e.what() << "\n";
  }
  return 1;
}
