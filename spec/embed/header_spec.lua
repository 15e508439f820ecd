--- moonloop.h is all that a host includes, in C and in C++.

local helper = require "spec.helper"

local function compiles(command, source)
  local file = helper.tmpfile(source, ".c")
  local flags = " -fsyntax-only -Wall -Wextra -Wpedantic -Werror -Iengine "
  local status, _, err = helper.sh(command .. flags .. file)
  assert.equal(0, status, err)
end

local source = [[
#include "moonloop.h"
#include "moonloop.h"
int main(void) {
  ml_config c;
  ml_engine *e;
  ml_config_init(&c);
  return ml_new(&c, &e) < 0 ? 1 : ml_close(e, 0);
}
]]

describe("moonloop.h", function()
  for _, standard in ipairs { "c99", "c11", "c17" } do
    it("compiles by itself as " .. standard, function() compiles("${CC:-cc} -xc -std=" .. standard, source) end)
  end

  for _, standard in ipairs { "c++11", "c++17" } do
    it("compiles by itself as " .. standard, function()
      compiles("c++ -xc++ -std=" .. standard, source)
    end)
  end
end)
