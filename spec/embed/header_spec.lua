--- moonloop.h is all that a host includes: in C and in C++, by every compiler that is here, with every warning that a
--- host may have turned on.

local helper = require "spec.helper"

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

local warnings = "-Wall -Wextra -Wpedantic -Werror -Wshadow -Wundef -Wconversion -Wsign-conversion -Wcast-qual "
  .. "-Wredundant-decls "
local languages = {
  { flag = "-xc", compilers = { "${CC:-cc}", "gcc", "clang" }, standards = { "c99", "c11", "c17", "gnu11" },
    warnings = "-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition" },
  { flag = "-xc++", compilers = { "${CXX:-c++}", "g++", "clang++" },
    standards = { "c++11", "c++14", "c++17", "c++20" },
    warnings = "-Wold-style-cast -Wzero-as-null-pointer-constant -Wnon-virtual-dtor -Wuseless-cast" },
}

local function has(compiler) return (helper.sh("command -v " .. compiler)) == 0 end

--- Those of the compilers that are here and are not the same program under another name.
local function here(compilers)
  local list, seen = {}, {}
  for _, compiler in ipairs(compilers) do
    if has(compiler) then
      local _, version = helper.sh(compiler .. " --version")
      version = version:gsub("^%S+", "")
      if not seen[version] then list[#list + 1] = compiler end
      seen[version] = true
    end
  end
  return list
end

describe("moonloop.h", function()
  for _, language in ipairs(languages) do
    for _, compiler in ipairs(here(language.compilers)) do
      for _, standard in ipairs(language.standards) do
        it(("compiles by itself as %s (%s)"):format(standard, compiler), function()
          local more = language.warnings
          if compiler:find("clang", 1, true) then more = more:gsub("%-Wuseless%-cast", "") end
          local status, _, err = helper.sh(("%s %s -std=%s -fsyntax-only %s %s -Iengine %s"):format(compiler,
            language.flag, standard, warnings, more, helper.tmpfile(source, ".c")))
          assert.equal(0, status, err)
        end)
      end
    end
  end
end)
