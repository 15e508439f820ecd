--- make install: what it puts where, that hosts find it by pkg-config and by CMake wherever the tree lies, that
--- uninstall leaves nothing behind.

local helper = require "spec.helper"

local build = helper.moonloop:match("^(.*)/moonloop$") or "build"
local sanitized = build ~= "build"

local function sh(command, opts)
  local status, out, err = helper.sh(command, opts)
  assert.equal(0, status, command .. "\n" .. out .. err)
  return out
end

--- Nothing is built again: `all` counts as done.
local function make(target, dir, variables)
  return sh(("make -o all %s BUILD=%s DESTDIR=%s %s"):format(target, build, dir, variables or ""))
end

--- The files below dir, as a set.
local function tree(dir)
  local set = {}
  for path in sh("cd " .. dir .. " && find . ! -type d"):gmatch("%./([^\n]+)") do set[path] = true end
  return set
end

local host = [[
#include <moonloop.h>
#include <stdio.h>
#include <string.h>
int main(void) {
  static const char script[] = "local asyncio = require 'asyncio' print(await(asyncio.sleep(0.001, 'slept')))";
  ml_engine *e;
  if (ml_new(NULL, &e) < 0 || ml_load(e, "=host", script, strlen(script), NULL) < 0) return 1;
  return ml_run(e) < 0 || ml_close(e, 0) < 0;
}
]]

--- An installed tree, under another root than the one it was staged in.
local function installed(variables)
  local staged, dir = helper.tmpdir(), helper.tmpdir() .. "/elsewhere"
  make("install", staged .. "/root", variables)
  sh(("mv %s/root %s"):format(staged, dir))
  return dir
end

describe("make install", function()
  it("installs the command, the libraries, what hosts build with, and the documents", function()
    local dir = installed("PREFIX=/opt/moonloop")
    local files = tree(dir .. "/opt/moonloop")
    for _, name in ipairs {
      "bin/moonloop", "include/moonloop.h", "lib/libmoonloop.a", "lib/libmoonloop.so", "lib/libmoonloop.so.0",
      "lib/lua/5.4/asyncio.so",
      "lib/pkgconfig/moonloop.pc", "lib/cmake/moonloop/moonloopConfig.cmake",
      "lib/cmake/moonloop/moonloopConfigVersion.cmake", "share/man/man1/moonloop.1", "share/doc/moonloop/LICENSE",
      "share/doc/moonloop/README.md", "share/doc/moonloop/docs/embedding.md",
    } do
      assert.truthy(files[name], name)
    end
    local out = sh(dir .. "/opt/moonloop/bin/moonloop -e 'print(await(require(\"asyncio\").sleep(0, 42)))'",
      { cwd = "/", env = { MOONLOOP_STDLIB = "" } })
    assert.equal("42\n", out)
  end)

  it("keeps to PREFIX and LIBDIR, and uninstall removes every file again", function()
    local dir = helper.tmpdir()
    local where = "PREFIX=/usr LIBDIR=/usr/lib/some-place"
    make("install", dir, where)
    local files = tree(dir)
    assert.truthy(files["usr/lib/some-place/libmoonloop.a"])
    assert.truthy(files["usr/lib/some-place/pkgconfig/moonloop.pc"])
    assert.truthy(files["usr/bin/moonloop"])
    make("uninstall", dir, where)
    assert.same({}, tree(dir))
    assert.equal("", sh(("find %s -path '*moonloop*'"):format(dir)))
  end)

  it("names absolute folders in the .pc file if asked to", function()
    local dir = helper.tmpdir()
    make("install", dir, "PREFIX=/usr LIBDIR=/usr/lib/some-place RELOCATABLE=0")
    local text = sh("cat " .. dir .. "/usr/lib/some-place/pkgconfig/moonloop.pc")
    assert.truthy(text:find("prefix=/usr\nlibdir=${prefix}/lib/some-place\nincludedir=${prefix}/include\n", 1, true), text)
  end)
end)

describe("a host finds the installed library", function()
  if sanitized then return end -- its hosts need flags that no .pc file gives

  for _, libdir in ipairs { "/usr/lib", "/usr/lib/some-place" } do
    it("by pkg-config, below " .. libdir, function()
      local dir = installed("PREFIX=/usr LIBDIR=" .. libdir)
      local lib, source = dir .. libdir, helper.tmpfile(host, ".c")
      local pc = "PKG_CONFIG_PATH=" .. lib .. "/pkgconfig pkg-config moonloop"
      sh(("${CC:-cc} -Wall -Werror -o %s/shared %s $(%s --cflags --libs)"):format(dir, source, pc))
      assert.equal("slept\n", sh(dir .. "/shared", { env = { LD_LIBRARY_PATH = lib } }))
      assert.truthy(sh("readelf -d " .. dir .. "/shared"):find("[libmoonloop.so.0]", 1, true))
      -- static: the archive by name, with all that it needs
      local libs = sh(pc .. " --libs --static"):gsub("%-lmoonloop", "-l:libmoonloop.a"):gsub("\n", "")
      sh(("${CC:-cc} -Wall -Werror -o %s/static %s $(%s --cflags) %s"):format(dir, source, pc, libs))
      assert.equal("slept\n", sh(dir .. "/static"))
      assert.falsy(sh("readelf -d " .. dir .. "/static"):find("libmoonloop", 1, true))
      assert.equal(0, (helper.sh(pc .. " --atleast-version=0.1")))
    end)
  end

  it("by CMake, as moonloop::moonloop and moonloop::static", function()
    local dir = installed("PREFIX=/usr LIBDIR=/usr/lib/some-place")
    local project = helper.tmpdir()
    for name, text in pairs {
      ["host.c"] = host,
      ["CMakeLists.txt"] = [[
cmake_minimum_required(VERSION 3.10)
project(host C)
find_package(moonloop 0.1 REQUIRED CONFIG)
find_package(moonloop 0.1 REQUIRED CONFIG) # again, as in a sub-project
foreach(kind moonloop static)
  add_executable(host-${kind} host.c)
  target_link_libraries(host-${kind} PRIVATE moonloop::${kind})
endforeach()
find_package(moonloop 99 QUIET CONFIG)
if(moonloop_FOUND)
  message(FATAL_ERROR "version 99?")
endif()
find_package(moonloop 0.0.9 QUIET CONFIG)
if(moonloop_FOUND)
  message(FATAL_ERROR "0.0 is not compatible")
endif()
]] } do
      local f <close> = assert(io.open(project .. "/" .. name, "w"))
      f:write(text)
    end
    sh(("cmake -S %s -B %s/build -DCMAKE_PREFIX_PATH=%s/usr -Dmoonloop_DIR=%s/usr/lib/some-place/cmake/moonloop"):format(
      project, project, dir, dir))
    sh(("env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS cmake --build %s/build"):format(project))
    assert.equal("slept\n", sh(project .. "/build/host-moonloop"))
    assert.equal("slept\n", sh(project .. "/build/host-static"))
  end)
end)

describe("an interpreter of Lua 5.4", function()
  if sanitized then return end
  it("finds the installed module", function()
    local dir = installed("PREFIX=/usr")
    local script = "local a = require 'asyncio' print(a.run(a.async(function() return a.await(a.sleep(0.001, 42)) end)()))"
    assert.equal("42\n", sh("lua5.4 -e " .. helper.quote(script),
      { env = { LUA_CPATH = dir .. "/usr/lib/lua/5.4/?.so", LUA_PATH = "" } }))
  end)
end)

describe("debian/", function()
  it("is of moonloop.h's version", function()
    local version = sh("sed -n 's/^.define ML_VERSION_STRING \"\\(.*\\)\"/\\1/p' engine/moonloop.h"):gsub("\n", "")
    assert.truthy(sh("head -n 1 debian/changelog"):find("(" .. version .. ")", 1, true))
    assert.truthy(sh("cat debian/rules"):find("@Base " .. version, 1, true))
  end)

  -- What the .pc file requires comes with the package that has it; libedit is the command's alone.
  it("has libmoonloop-dev depend on each library that the build does", function()
    local control = sh "cat debian/control"
    local own = control:match("Package: libmoonloop%-dev\n.-\nDepends: ([^\n]+)")
    local missing = {}
    for name in control:match("\nBuild%-Depends: ([^\n]+)"):gmatch("[%w+.-]+%-dev") do
      if name ~= "libedit-dev" and not own:find(name, 1, true) then missing[#missing + 1] = name end
    end
    assert.same({}, missing)
  end)

  it("puts each file that is installed into one package", function()
    local dir = helper.tmpdir()
    make("install", dir, "PREFIX=/usr LIBDIR=/usr/lib/triplet")
    local taken, unused, twice = {}, {}, {}
    for pattern in sh("cat debian/*.install debian/not-installed | grep -v '^#'"):gmatch("%S+") do
      local any = false
      for path in sh(("cd %s && find %s ! -type d 2>/dev/null || true"):format(dir, pattern)):gmatch("[^\n]+") do
        if taken[path] then twice[#twice + 1] = path end
        taken[path], any = true, true
      end
      if not any then unused[#unused + 1] = pattern end
    end
    local left = {}
    for path in pairs(tree(dir)) do
      if not taken[path] then left[#left + 1] = path end
    end
    assert.same({ left = {}, unused = {}, twice = {} }, { left = left, unused = unused, twice = twice })
  end)
end)

describe("the tree's own .pc file", function()
  it("links hosts with and without --static", function()
    if sanitized then return end
    local source, out = helper.tmpfile(host, ".c"), helper.tmpdir()
    for _, static in ipairs { "", "--static" } do
      sh(("${CC:-cc} -o %s/host %s $(PKG_CONFIG_PATH=%s pkg-config --cflags --libs %s moonloop)"):format(out, source,
        build, static))
      assert.equal("slept\n", sh(out .. "/host", { cwd = "/" }))
    end
  end)
end)
