--- fs: files and folders. What waits is an awaitable, errors are OSErrors with `code`, `path` and, where there are two
--- paths, `dest`. Text is bytes. This is the facade: it names the parts.

local core = require "fs.core"
local files = require "fs.files"
local temporary = require "fs.temporary"
local trees = require "fs.trees"

local M = {
  path = require "fs.path",
  File = files.File,
  open = files.open,
  read_file = core.read_file,
  write_file = files.write_file,
  copyfile = files.copyfile,
  utime = files.utime,

  scandir = trees.scandir,
  listdir = trees.listdir,
  walk = trees.walk,
  glob = trees.glob,
  mkdir = trees.mkdir,
  rmtree = trees.rmtree,
  copytree = trees.copytree,

  mkstemp = temporary.mkstemp,
  mkdtemp = temporary.mkdtemp,
  gettempdir = temporary.gettempdir,
  TemporaryDirectory = temporary.TemporaryDirectory,
  NamedTemporaryFile = temporary.NamedTemporaryFile,
}

-- The core's own: each takes a path (or two) and gives an awaitable.
for _, name in ipairs { "stat", "lstat", "exists", "is_file", "is_dir", "is_link", "access", "rmdir", "unlink",
  "rename", "link", "symlink", "readlink", "realpath", "chmod", "chown", "lchown", "truncate", "statfs" } do
  M[name] = core[name]
end
M.remove, M.replace = core.unlink, core.rename

for name, value in pairs(core.flags) do M[name] = value end

--- Watches a folder, a tree or a file: see fs.watch.
function M.watch(...)
  return require("fs.watch").watch(...)
end

return M
