"""Runs programs of the oracle's neutral form on CPython's asyncio, in virtual time.

python3.13 interpret.py < PROGRAMS > TRACES

A line of input is a program in JSON: {"id": ..., "objects": {...}, "functions": [body, ...]}. A body is a list of
statements, each a list that begins with its name; function 0 is the main one. The trace of a program is "# ID", a
line "TIME WHO EVENT VALUE" for each event, and ".". interpret.lua does the same on moonloop: the two agree line by line.

What differs from plain asyncio is there to make traces comparable: timers of one moment fire in the order in which
they were made, sets are ordered, and a task knows which CancelledError was its own (what Lua's pcall lets pass).
"""

import asyncio
import collections.abc
import contextvars
import heapq
import json
import re
import sys
from asyncio import base_events, events, tasks

DOG = 1000  # seconds after which what still waits is cancelled, again and again
CALLS = 120


class MyError(Exception):
    pass


ERRORS = {
    "ValueError": ValueError,
    "RuntimeError": RuntimeError,
    "TimeoutError": TimeoutError,
    "MyError": MyError,
    "CancelledError": asyncio.CancelledError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}
QUEUES = {"fifo": asyncio.Queue, "priority": asyncio.PriorityQueue, "lifo": asyncio.LifoQueue}
BREAK = object()


class OrderedSet(dict):
    """A set that iterates in the order of adding."""

    def __init__(self, items=()):
        super().__init__((item, True) for item in items)

    def add(self, item):
        self[item] = True

    def discard(self, item):
        self.pop(item, None)

    def remove(self, item):
        del self[item]


class OrderedAsCompleted(tasks._AsCompletedIterator):
    def __init__(self, aws, timeout):
        super().__init__([], None)
        todo = OrderedSet(asyncio.ensure_future(aw) for aw in OrderedSet(aws))
        for future in todo:
            future.add_done_callback(self._handle_completion)
        if todo and timeout is not None:
            self._timeout_handle = asyncio.get_running_loop().call_later(timeout, self._handle_timeout)
        self._todo, self._todo_left = todo, len(todo)


class Group(asyncio.TaskGroup):
    """Waits for all its tasks, as since 3.13.2: before, those that were done eagerly did not count."""

    def __init__(self):
        super().__init__()
        self._tasks = OrderedSet()

    def _on_task_done(self, task):
        if task in self._tasks:
            super()._on_task_done(task)
        else:
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)


class Timer(events.TimerHandle):
    made = 0

    def __init__(self, *args):
        super().__init__(*args)
        Timer.made += 1
        self._place = Timer.made

    def __lt__(self, other):
        return (self._when, self._place) < (other._when, other._place)


class Loop(base_events.BaseEventLoop):
    """No sockets: its selector moves the clock instead of waiting."""

    def __init__(self):
        super().__init__()
        self._now = 0.0
        self._selector = self
        self._clock_resolution = 1e-9

    def time(self):
        return self._now

    def select(self, timeout):
        if timeout is None:
            raise SystemError("nothing is left that could happen")
        self._now += timeout
        return []

    def call_at(self, when, callback, *args, context=None):
        timer = Timer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def _process_events(self, _):
        pass

    def _write_to_self(self):
        pass


class Steps(collections.abc.Coroutine):
    """A task's coroutine; marks the CancelledError by which a cancel of the task reaches it."""

    def __init__(self, coroutine):
        self.coroutine = coroutine
        self.asked = set()  # by which ways a cancel is on its way: "soon", "handed on"

    def send(self, value):
        self.asked.clear()
        return self.coroutine.send(value)

    def throw(self, *args):
        if self.asked and isinstance(args[0], asyncio.CancelledError):
            # Another object than the one that others may get from the same future.
            args = (asyncio.CancelledError(*args[0].args),)
            args[0].owner = self
        self.asked.clear()
        return self.coroutine.throw(*args)

    def close(self):
        self.coroutine.close()

    def __await__(self):
        return self.coroutine.__await__()


class Task(asyncio.Task):
    def __init__(self, coroutine, **options):
        self.steps = Steps(coroutine)
        super().__init__(self.steps, **options)

    def cancel(self, msg=None):
        asked = super().cancel(msg=msg)
        if asked:
            self.steps.asked.add("soon" if self._must_cancel else "handed on")
        return asked

    def uncancel(self):
        due = self._must_cancel
        left = super().uncancel()
        if due and not self._must_cancel:
            self.steps.asked.discard("soon")
        return left


class Object:
    """Has __await__ and nothing else."""

    def __init__(self, awaitable):
        self.awaitable = awaitable

    def __await__(self):
        return self.awaitable.__await__()


def number(x):
    return ("%.6f" % x).rstrip("0").rstrip(".")


def show(v):
    if v is None:
        return "nil"
    if v is True or v is False:
        return "true" if v else "false"
    if isinstance(v, (int, float)):
        return number(v)
    if isinstance(v, BaseExceptionGroup):
        return "!" + type(v).__name__ + "[" + ",".join(map(show, v.exceptions)) + "]"
    if isinstance(v, BaseException):
        name, text = type(v).__name__, str(v)
        return "!" + name + (":" + text if re.fullmatch(r"m\d+|dog", text) else "")
    if isinstance(v, (list, tuple)):
        return "[" + ",".join(map(show, v)) + "]"
    return str(v)


def optional(x):
    """-1 and "" stand for None."""
    return None if x == -1 or x == "" else x


class Machine:
    def __init__(self, program):
        self.functions = program["functions"]
        self.out = []
        self.loop = Loop()
        self.all = []  # tasks in the order of making
        self.calls = 0
        self.places = 0
        self.place = {}  # future -> the lowest place in the order of making that it leads to
        self.slots = {}
        self.handles = {}
        self.callbacks = {}
        self.groups = {}
        self.vars = {}
        self.var = contextvars.ContextVar("var", default=0)
        self.contexts = {}
        o = program.get("objects", {})
        self.eager = o.get("eager", False)
        self.bare = o.get("run", False)  # asyncio.run(main) alone, no watchdog
        self.turns = 0 if self.bare else o.get("turns", 0)  # so many functions are run one after the other, and what they leave goes on
        self.locks = [asyncio.Lock() for _ in range(o.get("locks", 0))]
        self.events = [asyncio.Event() for _ in range(o.get("events", 0))]
        self.conditions = [
            asyncio.Condition(self.locks[i]) if i >= 0 else asyncio.Condition() for i in o.get("conditions", [])
        ]
        self.semaphores = [
            asyncio.Semaphore(n) if n >= 0 else asyncio.BoundedSemaphore(-n) for n in o.get("semaphores", [])
        ]
        self.barriers = [asyncio.Barrier(n) for n in o.get("barriers", [])]
        self.queues = [QUEUES[kind](size) for kind, size in o.get("queues", [])]
        self.futures = {}
        for i in range(o.get("futures", 0)):
            self.futures[i] = self.loop.create_future()
        self.loop.set_task_factory(self.make_task)
        self.loop.set_exception_handler(self.on_exception)

    # ---- the harness

    def make_task(self, loop, coroutine, eager=None, **options):
        at = len(self.all)
        self.all.append(None)
        eager = self.eager if eager is None else eager
        task = Task(coroutine, loop=loop, eager_start=eager, **options)
        self.all[at] = task
        return task

    def log(self, who, event, *values):
        values = " ".join(map(show, values))
        self.out.append(f"{number(self.loop.time())} {who} {event} {values}".rstrip())

    def on_exception(self, _, context):
        if "handle" in context or "errored out but its parent" in context["message"]:
            self.log("loop", "exception", context.get("exception"))

    async def root(self):
        if self.turns == 0:
            self.slots[0] = self.spawn(0)
        me = asyncio.current_task()
        for _ in range(60):
            await asyncio.sleep(DOG)
            left = [t for t in self.all if t is not None and t is not me and not t.done()]
            if not left:
                return
            for t in left:
                if not t.done():
                    t.cancel("dog")
        self.log("loop", "stuck")

    def run(self):
        if self.bare:
            self.run_main()
        else:
            for f in range(self.turns):
                self.run_turn(f)
            self.run_root(self.make_task(self.loop, self.root(), eager=False))
        for i in sorted(self.slots):
            future = self.slots[i]
            self.log("slot%d" % i, "ends", *self.state(future))
        self.loop._ready.clear()
        self.loop._scheduled.clear()
        self.loop.close()
        return self.out

    def run_turn(self, f):
        task = self.spawn(f)
        self.slots[0] = task
        try:
            self.loop.run_until_complete(task)
        except BaseException:  # its own error, or the loop was left, or nothing can happen any more
            pass
        self.log("loop", "turn ends", *self.state(task))

    def run_root(self, root):
        """Runs on when the loop was stopped, or was left by an error that leaves every loop."""
        while not root.done():
            try:
                self.loop.run_until_complete(root)
            except (KeyboardInterrupt, SystemExit) as e:
                self.log("loop", "left", e)
            except RuntimeError:
                self.log("loop", "stopped")

    def run_main(self):
        """As asyncio.run does it, but what is left is cancelled in the order of making."""
        task = self.make_task(self.loop, self.call(0, self.new_place()), eager=self.eager)
        self.place[task] = 1
        self.slots[0] = task
        try:
            self.loop.run_until_complete(task)
        except BaseException:  # its own error, or nothing can happen any more
            pass
        self.log("loop", "main ends", *self.state(task))
        left = [t for t in self.all if t is not None and not t.done()]
        for t in left:
            t.cancel()
        if not left:
            return
        try:
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        except BaseException:
            self.log("loop", "hangs")

    @staticmethod
    def state(f):
        if not f.done():
            return ("pending",)
        if f.cancelled():
            return ("cancelled",)
        e = f.exception()
        return ("failed", e) if e is not None else ("done", f.result())

    # ---- functions

    def count(self):
        """True while the program has not made too many calls: callbacks may schedule themselves for ever."""
        self.calls += 1
        return self.calls <= CALLS

    async def call(self, f, place):
        if not self.count():
            return None
        env = Env("f%d#%d" % (f, self.calls), place)
        self.log(env.who, "starts")
        try:
            r = await self.body(self.functions[f], env)
            v = r[1] if isinstance(r, tuple) else None
        except BaseException as e:
            self.log(env.who, "raises", e)
            raise
        self.log(env.who, "returns", v)
        return v

    def new_place(self):
        self.places += 1
        return self.places

    def spawn(self, f, how=0):
        """A task for function f; how: 0 as usual, 1 eager, 2 not eager."""
        place = self.new_place()
        coroutine = self.call(f, place)
        if how != 0:
            task = self.make_task(self.loop, coroutine, eager=how == 1)
        else:
            task = self.loop.create_task(coroutine)
        self.place[task] = place
        return task

    # ---- awaitables; gives (awaitable, place)

    def aw(self, a, env):
        return self.aw_place(a, env)[0]

    def aw_place(self, a, env, inside=False):
        """inside: it will be a task of its own if it is a coroutine."""
        kind = a[0]
        inf = float("inf")
        if kind == "call":
            place = self.new_place() if inside else env.place
            return self.call(a[1], place), place
        if kind == "task":
            t = self.slots.get(a[1])
            if t is None or self.place[t] <= env.place:
                return asyncio.sleep(0, "none"), inf
            return t, self.place[t]
        if kind == "future":
            return self.futures[a[1]], inf
        if kind == "sleep":
            return asyncio.sleep(a[1], a[2]), inf
        if kind == "object":
            x, place = self.aw_place(a[1], env, inside)
            return Object(x), place
        if kind == "gather":
            pairs = [self.aw_place(x, env, True) for x in a[1]]
            return (
                asyncio.gather(*(p[0] for p in pairs), return_exceptions=a[2]),
                min((p[1] for p in pairs), default=inf),
            )
        if kind == "shield":
            x, place = self.aw_place(a[1], env, True)
            return asyncio.shield(x), place
        if kind == "wait_for":
            x, place = self.aw_place(a[1], env)
            return asyncio.wait_for(x, optional(a[2])), place
        if kind == "acquire":
            return self.locks[a[1]].acquire(), inf
        if kind == "event":
            return self.events[a[1]].wait(), inf
        if kind == "cwait":
            return self.conditions[a[1]].wait(), inf
        if kind == "cwait_for":
            return self.conditions[a[1]].wait_for(lambda: self.vars.get(a[2], 0) >= a[3]), inf
        if kind == "sacquire":
            return self.semaphores[a[1]].acquire(), inf
        if kind == "bwait":
            return self.barriers[a[1]].wait(), inf
        if kind == "breset":
            return self.barriers[a[1]].reset(), inf
        if kind == "babort":
            return self.barriers[a[1]].abort(), inf
        if kind == "get":
            return self.queues[a[1]].get(), inf
        if kind == "put":
            return self.queues[a[1]].put(a[2]), inf
        if kind == "join":
            return self.queues[a[1]].join(), inf
        raise SystemError("unknown awaitable " + kind)

    def futures_of(self, aws):
        """What wait and as_completed take: tasks and futures; empty slots are left out."""
        found = []
        for a in aws:
            f = self.futures[a[1]] if a[0] == "future" else self.slots.get(a[1])
            if f is not None:
                found.append(f)
        return found

    def target(self, a):
        return self.futures.get(a[1]) if a[0] == "future" else self.slots.get(a[1])

    # ---- statements that do not wait; False if it is none

    def sync(self, s, env):
        op, log, who = s[0], self.log, env.who
        if op == "log":
            log(who, "log", s[1])
        elif op == "spawn":
            self.slots[s[1]] = self.spawn(s[2], s[3])
        elif op == "stop":
            # It would stay around in CPython: what ends run_until_complete is called in the next one, too.
            if not self.bare and self.turns == 0:
                self.loop.stop()
        elif op == "vset":
            self.var.set(s[1])
        elif op == "vget":
            log(who, "var", self.var.get())
        elif op == "vcopy":
            self.contexts[s[1]] = contextvars.copy_context()
        elif op == "vpeek":
            if s[1] in self.contexts:
                log(who, "peek", self.contexts[s[1]].get(self.var, 0))
        elif op == "vspawn":
            place = self.new_place()
            task = self.loop.create_task(self.call(s[2], place), context=self.contexts.get(s[3]))
            self.place[task] = place
            self.slots[s[1]] = task
        elif op == "raise_group":
            raise ExceptionGroup("several", [ERRORS[name]() for name in s[1]])
        elif op == "keep":
            x, place = self.aw_place(s[2], env, True)
            t = asyncio.ensure_future(x)
            self.place[t] = place
            self.slots[s[1]] = t
        elif op == "cancel":
            t = self.target(s[1])
            if t is not None:
                log(who, "cancels", t.cancel(msg=optional(s[2])))
        elif op == "uncancel":
            t = self.slots.get(s[1])
            if isinstance(t, Task):
                log(who, "uncancels", t.uncancel())
        elif op == "cancelling":
            t = self.slots.get(s[1])
            if isinstance(t, Task):
                log(who, "cancelling", t.cancelling())
        elif op == "state":
            t = self.target(s[1])
            if t is not None:
                log(who, "state", *self.state(t))
        elif op == "raise":
            raise ERRORS[s[1]](*([s[2]] if s[2] else []))
        elif op == "gspawn":
            group = self.groups.get(s[1])
            if group is not None:
                place = self.new_place()
                task = group.create_task(self.call(s[3], place))
                self.place[task] = place
                self.slots[s[2]] = task
        elif op == "release":
            self.locks[s[1]].release()
        elif op == "locked":
            log(who, "locked", self.locks[s[1]].locked())
        elif op == "srelease":
            self.semaphores[s[1]].release()
        elif op == "slocked":
            log(who, "slocked", self.semaphores[s[1]].locked())
        elif op == "notify":
            self.conditions[s[1]].notify(s[2])
        elif op == "notify_all":
            self.conditions[s[1]].notify_all()
        elif op == "inc":
            self.vars[s[1]] = self.vars.get(s[1], 0) + 1
        elif op == "set":
            self.events[s[1]].set()
        elif op == "clear":
            self.events[s[1]].clear()
        elif op == "is_set":
            log(who, "is_set", self.events[s[1]].is_set())
        elif op == "bstate":
            b = self.barriers[s[1]]
            log(who, "barrier", b.n_waiting, b.broken)
        elif op == "put_nowait":
            self.queues[s[1]].put_nowait(s[2])
        elif op == "get_nowait":
            log(who, "got", self.queues[s[1]].get_nowait())
        elif op == "task_done":
            self.queues[s[1]].task_done()
        elif op == "shutdown":
            self.queues[s[1]].shutdown(immediate=s[2])
        elif op == "queue":
            q = self.queues[s[1]]
            log(who, "queue", q.qsize(), q.empty(), q.full())
        elif op == "set_result":
            self.futures[s[1]].set_result(s[2])
        elif op == "set_exception":
            self.futures[s[1]].set_exception(ERRORS[s[2]](*([s[3]] if s[3] else [])))
        elif op == "renew":
            self.futures[s[1]] = self.loop.create_future()
        elif op == "add_callback":
            t = self.target(s[1])
            if t is not None:
                t.add_done_callback(self.callback(s[2], s[3], env))
        elif op == "remove_callback":
            t, f = self.target(s[1]), self.callbacks.get(s[2])
            if t is not None and f is not None:
                log(who, "removed", t.remove_done_callback(f))
        elif op == "call_soon":
            self.handles[s[1]] = self.loop.call_soon(self.later, s[1], s[2], env)
        elif op == "call_later":
            self.handles[s[1]] = self.loop.call_later(s[3], self.later, s[1], s[2], env)
        elif op == "call_at":
            self.handles[s[1]] = self.loop.call_at(s[3], self.later, s[1], s[2], env)
        elif op == "hcancel":
            h = self.handles.get(s[1])
            if h is not None:
                h.cancel()
                log(who, "hcancelled", h.cancelled())
        elif op == "resched":
            if env.timeouts:
                d = optional(s[1])
                env.timeouts[-1].reschedule(None if d is None else self.loop.time() + d)
        elif op == "reraise":
            pass  # not in a handler
        elif op == "time":
            log(who, "time", self.loop.time())
        else:
            return False
        return True

    def callback(self, name, statements, env):
        """The callback of that name: made once."""
        if name not in self.callbacks:

            def on_done(future):
                if not self.count():
                    return
                self.log("cb%d" % name, "called", *self.state(future))
                for s in statements:
                    self.sync(s, env)

            self.callbacks[name] = on_done
        return self.callbacks[name]

    def later(self, name, statements, env):
        if not self.count():
            return
        self.log("handle%d" % name, "called")
        for s in statements:
            self.sync(s, env)

    # ---- statements

    async def body(self, statements, env):
        """None, BREAK, or (True, value) after a return."""
        for s in statements:
            if not self.sync(s, env):
                r = await getattr(self, "do_" + s[0])(s, env)
                if r is not None:
                    return r

    async def do_await(self, s, env):
        v = await self.aw(s[1], env)
        self.log(env.who, s[1][0], v)

    async def do_return(self, s, env):
        return (True, s[1])

    async def do_break(self, s, env):
        return BREAK

    async def do_loop(self, s, env):
        for _ in range(s[1]):
            r = await self.body(s[2], env)
            if r is BREAK:
                break
            if r is not None:
                return r

    async def do_self(self, s, env):
        task = asyncio.current_task()
        if s[1] == "cancel":
            self.log(env.who, "cancels itself", task.cancel(msg=optional(s[2])))
        elif s[1] == "uncancel":
            self.log(env.who, "uncancels itself", task.uncancel())
        else:
            self.log(env.who, "cancelling", task.cancelling())

    async def do_pcall(self, s, env):
        try:
            return await self.body(s[1], env)
        except asyncio.CancelledError as e:
            if getattr(e, "owner", None) is asyncio.current_task().steps:
                raise
            caught = e
        except (Exception, KeyboardInterrupt, SystemExit) as e:
            caught = e
        self.log(env.who, "pcall", caught)
        return await self.handle(s[2], env, caught)

    async def do_catch(self, s, env):
        try:
            return await self.body(s[1], env)
        except BaseException as e:
            caught = e
        self.log(env.who, "catch", caught)
        return await self.handle(s[2], env, caught)

    async def handle(self, statements, env, caught):
        for s in statements:
            if s[0] == "reraise":
                raise caught
            if not self.sync(s, env):
                r = await getattr(self, "do_" + s[0])(s, env)
                if r is not None:
                    return r

    async def do_finally(self, s, env):
        try:
            return await self.body(s[1], env)
        finally:
            self.log(env.who, "finally")
            await self.body(s[2], env)

    async def do_timeout(self, s, env):
        return await self.timed(asyncio.timeout(optional(s[1])), s[2], env)

    async def do_timeout_at(self, s, env):
        return await self.timed(asyncio.timeout_at(optional(s[1])), s[2], env)

    async def timed(self, timeout, statements, env):
        try:
            async with timeout:
                env.timeouts.append(timeout)
                try:
                    return await self.body(statements, env)
                finally:
                    env.timeouts.pop()
        finally:
            self.log(env.who, "expired", timeout.expired())

    async def do_group(self, s, env):
        group = Group()
        async with group:
            self.groups[s[1]] = group
            r = await self.body(s[2], env)
        self.log(env.who, "group done")
        return r

    async def do_lock(self, s, env):
        async with self.locks[s[1]]:
            self.log(env.who, "has lock")
            return await self.body(s[2], env)

    async def do_condition(self, s, env):
        async with self.conditions[s[1]]:
            self.log(env.who, "has condition")
            return await self.body(s[2], env)

    async def do_semaphore(self, s, env):
        async with self.semaphores[s[1]]:
            self.log(env.who, "has permit")
            return await self.body(s[2], env)

    async def do_barrier(self, s, env):
        async with self.barriers[s[1]] as at:
            self.log(env.who, "passed barrier", at)
            return await self.body(s[2], env)

    async def do_wait(self, s, env):
        found = self.futures_of(s[1])
        if found:
            done, pending = await asyncio.wait(found, timeout=optional(s[2]), return_when=s[3])
            which = [i for i, f in enumerate(OrderedSet(found)) if f in done]
            rest = [i for i, f in enumerate(OrderedSet(found)) if f in pending]
            self.log(env.who, "wait", which, rest)

    async def do_as_completed(self, s, env):
        found = self.futures_of(s[1])
        order = list(OrderedSet(found))
        iterator = OrderedAsCompleted(found, optional(s[2]))
        async for future in iterator:
            self.log(env.who, "next", order.index(future), *self.state(future))
            r = await self.body(s[3], env)
            if r is BREAK:
                break
            if r is not None:
                return r
        if s[4]:  # go on after a break
            async for future in iterator:
                self.log(env.who, "next again", order.index(future), *self.state(future))


class Env:
    """One call of a function."""

    def __init__(self, who, place):
        self.who = who
        self.place = place
        self.timeouts = []


tasks.set = OrderedSet  # what asyncio.wait makes of its argument


def trace(line):
    program = json.loads(line)
    events._set_running_loop(None)
    return ["# " + str(program["id"]), *contextvars.Context().run(lambda: Machine(program).run()), "."]


def main():
    for line in sys.stdin:
        if line.strip():
            print("\n".join(trace(line)), flush=False)


if __name__ == "__main__":
    main()
