--- .ci/run from outside, with a make that fails in each of the ways there are: what its last lines say.

local helper = require "spec.helper"

local make = [=[
#!/bin/bash
case $1 in
test) printf 'spec/a_spec.lua 3 passed\n\nwhat failed:\n  spec/a_spec.lua:1: adds\n      not so\n\nflaky: spec/b_spec.lua:1: once\n\n3 s\n9 passed, 1 failed\n'
  exit 1 ;;
lint) printf '  ok      tidy\n  FAILED  arrows\n    up\n    and down\n  ok      exports\n4 passed, 1 failed\n'
  exit 1 ;;
asan) printf 'cc a.c\na.c:1: error: no\n'
  exit 2 ;;
oom) printf '\n3 s\n9 passed, 0 failed\n' ;;
esac
]=]

describe(".ci/run", function()
  it("names again in its last lines what failed in which step", function()
    local tree = helper.tmpdir()
    assert(os.execute(("mkdir %s/.ci && cp .ci/run %s/.ci/run"):format(tree, tree)))
    do
      local f <close> = assert(io.open(tree .. "/make", "w"))
      f:write(make)
    end
    assert(os.execute(("chmod +x %s/make"):format(tree)))
    local status, out, err = helper.sh(("PATH=%s:$PATH %s/.ci/run"):format(tree, tree))
    assert.same({ 1, "" }, { status, err })
    assert.equal([[
== make test
what failed:
  spec/a_spec.lua:1: adds
      not so
flaky: spec/b_spec.lua:1: once

== make lint
  FAILED  arrows
    up
    and down

== make asan
cc a.c
a.c:1: error: no

22 passed, 3 failed
]], out:match("== make oom: status 0, %d+ s\n\n(.*)$"))
  end)
end)
