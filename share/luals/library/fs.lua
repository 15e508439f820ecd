---@meta fs

-- Module fs. Written by tools/definitions.lua.

---@class fs.path
local path = {}

--- Joins names; an absolute one begins anew.
---@param first string
---@param ... string
---@return string
function path.join(first, ...) end

--- Folder and name.
---@param path string
---@return string
---@return string
function path.split(path) end

--- The folder.
---@param path string
---@return string
function path.dirname(path) end

--- The name.
---@param path string
---@return string
function path.basename(path) end

--- What stands before the last point of the name, and the rest with it.
---@param path string
---@return string
---@return string
function path.splitext(path) end

--- Without `.`, `..` and double slashes.
---@param path string
---@return string
function path.normpath(path) end

--- Does it begin with a slash?
---@param path string
---@return boolean
function path.isabs(path) end

--- The way there from a folder.
---@param path string
---@param start? string
---@return string
function path.relpath(path, start) end

---@class fs.WriteOptions
---@field atomic? boolean a reader finds the old or the new content at any time
---@field append? boolean
---@field exclusive? boolean EEXIST if it is there
---@field mode? integer permissions
---@field fsync? boolean

---@class fs.WalkOptions
---@field topdown? boolean
---@field followlinks? boolean
---@field onerror? fun(err: any)

---@class fs.TemporaryOptions
---@field dir? string
---@field prefix? string
---@field suffix? string
---@field delete? boolean of NamedTemporaryFile: false: it is left

---@class fs.Stat
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"char"|"block"
---@field is_file boolean
---@field is_dir boolean
---@field is_link boolean
---@field size integer
---@field mode integer permissions
---@field mtime number
---@field atime number
---@field ctime number
---@field birthtime number
---@field ino integer
---@field dev integer
---@field nlink integer
---@field uid integer
---@field gid integer
---@field rdev integer
---@field blocks integer
---@field blksize integer

---@class fs.FileSystem
---@field type integer
---@field bsize integer
---@field blocks integer
---@field bfree integer
---@field bavail integer
---@field files integer
---@field ffree integer

---@class fs.Event
---@field type "created"|"modified"|"deleted"|"moved"|"overflow"
---@field path string
---@field is_dir boolean
---@field old_path? string for "moved"

--- The methods, as a table.
---@class fs.File
---@field path string
---@field mode string|integer
---@field closed boolean
local File = {}

--- Awaits to the next `n` bytes, fewer only at the end; nil there. `file:read("a")`, `file:read()`: all there is, ""
--- at the end. `file:read("l")`: a line without its break, `file:read("L")` with it.
---@async
---@param n? integer|"a"|"l"|"L"
---@return string?
function File:read(n) end

--- A line with its break; nil at the end.
---@async
---@return string?
function File:readline() end

--- An iterator over lines without their breaks that awaits by itself. `for line in asyncio.aiter(file)` is the same.
---@return fun(): string?
function File:lines() end

--- Strings and numbers; awaits to the number of bytes. Cancelled under way, a part of at most 1 MiB may still be
--- written; the position is behind what was.
---@async
---@param data string|number
---@param ... string|number
---@return integer
function File:write(data, ...) end

--- Without regard to the position, which stays.
---@async
---@param n integer
---@param offset integer
---@return string?
function File:pread(n, offset) end

--- Without regard to the position, which stays.
---@async
---@param data string
---@param offset integer
---@return integer
function File:pwrite(data, offset) end

--- As Lua's: "set", "cur" (default), "end"; awaits to the position. ESPIPE for pipes.
---@async
---@param whence? "set"|"cur"|"end"
---@param offset? integer
---@return integer
function File:seek(whence, offset) end

--- The position.
---@async
---@return integer
function File:tell() end

--- Cuts or lengthens; by default at the position.
---@async
---@param length? integer
function File:truncate(length) end

--- Until it is on the disk.
---@async
function File:fsync() end

--- Until it is on the disk.
---@async
function File:datasync() end

--- As `fs.stat`.
---@async
---@return fs.Stat
function File:stat() end

--- Sets the permissions.
---@async
---@param mode integer
function File:chmod(mode) end

--- Sets the times.
---@async
---@param atime number
---@param mtime number
function File:utime(atime, mtime) end

--- Locks the whole file against others that lock it (flock); awaits to true. `opts`: `shared`, `nowait` (then false
--- if it is locked). `file:unlock()`.
---@async
---@param opts? { shared?: boolean, nowait?: boolean }
---@return boolean
function File:lock(opts) end

--- Lets go of the lock.
---@async
function File:unlock() end

--- The descriptor.
---@return integer
function File:fileno() end

--- After what is under way. The second time nothing happens; other operations then raise EBADF.
---@async
function File:close() end

--- Awaits to an object with `path`, `<close>` and `cleanup()`, `close()`: the folder is removed with all that is in
--- it.
---@class fs.TemporaryDirectory
---@field path string
local TemporaryDirectory = {}

--- Removes the folder with all that is in it.
---@async
function TemporaryDirectory:cleanup() end

--- The same.
---@async
function TemporaryDirectory:close() end

---@class fs.Watch
---@overload fun(): fs.Event?
local Watch = {}

--- Watches no more.
function Watch:close() end

---@class fs
---@field path fs.path
---@field O_APPEND integer
---@field O_CREAT integer
---@field O_DSYNC integer
---@field O_EXCL integer
---@field O_NOFOLLOW integer
---@field O_RDONLY integer
---@field O_RDWR integer
---@field O_SYNC integer
---@field O_TRUNC integer
---@field O_WRONLY integer
local fs = {}
fs.File = File

--- Awaits to its content, one string. What is read becomes that string without being copied. Pipes are read to their
--- end.
---@async
---@param path string
---@return string
function fs.read_file(path) end

--- Writes it. `opts`: `atomic` (beside it, synced and renamed over it: under its name there is the old or the new
--- content at any time, permissions are kept, links followed, and no temporary file is left, whatever happens),
--- `append`, `exclusive` (EEXIST if it is there), `mode` (permissions; 0666 less the umask), `fsync` (with `atomic`
--- true, else false). With `atomic` that means the folder, too: once it has been awaited the new content survives a
--- power cut (as far as a folder that may not be read, or a file system that cannot sync folders, lets it). An
--- OSError whose `syscall` is "fsync" and whose `path` is the folder: the new content is in place, but may not be on
--- the disk.
---@async
---@param path string
---@param data string
---@param opts? fs.WriteOptions
---@return integer
function fs.write_file(path, data, opts) end

--- Content and permissions. `opts`: `excl` (`dst` must not be there), `reflink` (true: share the blocks where the
--- file system can; "force"). EINVAL for a FIFO.
---@async
---@param src string
---@param dst string
---@param opts? { excl?: boolean, reflink?: boolean|"force" }
function fs.copyfile(src, dst, opts) end

--- Cuts or lengthens a file.
---@async
---@param path string
---@param length integer
function fs.truncate(path, length) end

--- Awaits to a File. `mode`: "r" (default), "r+", "w", "w+", "a", "a+", "x", "x+" (must be new), a "b" is ignored; or
--- flags, `fs.O_RDONLY`, `fs.O_WRONLY`, `fs.O_RDWR`, with any of `fs.O_CREAT`, `fs.O_EXCL`, `fs.O_TRUNC`,
--- `fs.O_APPEND`, `fs.O_SYNC`, `fs.O_DSYNC`, `fs.O_NOFOLLOW`. `perm`: permissions of a file that is made (0666). A
--- FIFO is opened for reading without waiting for a writer; its first read waits. For writing it is opened when it
--- has a reader.
---@async
---@param path string
---@param mode? string|integer
---@param perm? integer
---@return fs.File
function fs.open(path, mode, perm) end

--- Awaits to a table: `type` ("file", "directory", "link", "fifo", "socket", "char", "block"), `is_file`, `is_dir`,
--- `is_link`, `size`, `mode` (permissions), `mtime`, `atime`, `ctime`, `birthtime` (seconds), `ino`, `dev`, `nlink`,
--- `uid`, `gid`, `rdev`, `blocks`, `blksize`.
---@async
---@param path string
---@return fs.Stat
function fs.stat(path) end

--- Awaits to a table: `type` ("file", "directory", "link", "fifo", "socket", "char", "block"), `is_file`, `is_dir`,
--- `is_link`, `size`, `mode` (permissions), `mtime`, `atime`, `ctime`, `birthtime` (seconds), `ino`, `dev`, `nlink`,
--- `uid`, `gid`, `rdev`, `blocks`, `blksize`.
---@async
---@param path string
---@return fs.Stat
function fs.lstat(path) end

--- Awaits to a boolean, and raise nothing.
---@async
---@param path string
---@return boolean
function fs.exists(path) end

--- Awaits to a boolean, and raise nothing.
---@async
---@param path string
---@return boolean
function fs.is_file(path) end

--- Awaits to a boolean, and raise nothing.
---@async
---@param path string
---@return boolean
function fs.is_dir(path) end

--- Awaits to a boolean, and raise nothing.
---@async
---@param path string
---@return boolean
function fs.is_link(path) end

--- Whether it may be read, written, executed ("r", "rw", "x", ...; nothing: is there).
---@async
---@param path string
---@param mode? string
---@return boolean
function fs.access(path, mode) end

--- The file system: `type`, `bsize`, `blocks`, `bfree`, `bavail`, `files`, `ffree`.
---@async
---@param path string
---@return fs.FileSystem
function fs.statfs(path) end

--- The path without links, `.` and `..`.
---@async
---@param path string
---@return string
function fs.realpath(path) end

--- Where a link leads.
---@async
---@param path string
---@return string
function fs.readlink(path) end

--- `for name, type in fs.scandir(path) do`: in no order, awaits by itself. A large folder is read in parts.
---@param path string
---@return fun(): string?, string?
function fs.scandir(path) end

--- Awaits to an array of names, sorted. Default: ".".
---@async
---@param path? string
---@return string[]
function fs.listdir(path) end

--- `for folder, dirs, files in fs.walk(path) do`: a tree, names sorted, awaits by itself. What is removed from `dirs`
--- is not entered. `opts`: `topdown` (true), `followlinks` (false), `onerror` (called with the error of a folder that
--- cannot be read, which is left out).
---@param path string
---@param opts? fs.WalkOptions
---@return fun(): string?, string[], string[]
function fs.walk(path, opts) end

--- Awaits to a sorted array of paths: `*`, `?`, `[a-z]`, `[!a-z]`, and `**` for any folders. Names with a dot in
--- front must be asked for.
---@async
---@param pattern string
---@return string[]
function fs.glob(pattern) end

--- `opts`: `parents`, `exist_ok`, `mode` (0777 less the umask).
---@async
---@param path string
---@param opts? { parents?: boolean, exist_ok?: boolean, mode?: integer }
function fs.mkdir(path, opts) end

--- An empty one.
---@async
---@param path string
function fs.rmdir(path) end

--- With all in it; links are removed, not followed, not even one that takes a folder's place meanwhile. `opts`:
--- `ignore_errors` (what cannot be removed is left).
---@async
---@param path string
---@param opts? { ignore_errors?: boolean }
function fs.rmtree(path, opts) end

--- With permissions; links stay links. `opts`: `dirs_exist_ok`.
---@async
---@param src string
---@param dst string
---@param opts? { dirs_exist_ok?: boolean }
function fs.copytree(src, dst, opts) end

--- The same; replaces a file.
---@async
---@param src string
---@param dst string
function fs.rename(src, dst) end

--- The same; replaces a file.
---@async
---@param src string
---@param dst string
function fs.replace(src, dst) end

--- The same; a file or link.
---@async
---@param path string
function fs.unlink(path) end

--- The same; a file or link.
---@async
---@param path string
function fs.remove(path) end

--- A second name for a file.
---@async
---@param path string
---@param new string
function fs.link(path, new) end

--- A symbolic link.
---@async
---@param target string
---@param new string
function fs.symlink(target, new) end

--- Sets the permissions.
---@async
---@param path string
---@param mode integer
function fs.chmod(path, mode) end

--- Sets owner and group; -1: unchanged.
---@async
---@param path string
---@param uid integer
---@param gid integer
function fs.chown(path, uid, gid) end

--- The same of a link itself.
---@async
---@param path string
---@param uid integer
---@param gid integer
function fs.lchown(path, uid, gid) end

--- `opts`: `follow_symlinks` (true).
---@async
---@param path string
---@param atime number
---@param mtime number
---@param opts? { follow_symlinks?: boolean }
function fs.utime(path, atime, mtime, opts) end

--- Awaits to an object with `path`, `<close>` and `cleanup()`, `close()`: the folder is removed with all that is in
--- it.
---@async
---@param opts? fs.TemporaryOptions
---@return fs.TemporaryDirectory
function fs.TemporaryDirectory(opts) end

--- Awaits to a File that is removed when it is closed (unless `delete = false`).
---@async
---@param opts? fs.TemporaryOptions
---@return fs.File
function fs.NamedTemporaryFile(opts) end

--- Awaits to a File and its path.
---@async
---@param opts? fs.TemporaryOptions
---@return fs.File
---@return string
function fs.mkstemp(opts) end

--- Awaits to a path. Nobody removes them.
---@async
---@param opts? fs.TemporaryOptions
---@return string
function fs.mkdtemp(opts) end

--- `TMPDIR`, or "/tmp".
---@return string
function fs.gettempdir() end

--- `for event in fs.watch(path) do`: tells what happens to the files of a folder, or to one file. When it returns it
--- is watching; it and its iteration await by themselves. `opts`: `recursive` (all folders below, also new ones),
--- `debounce` (0.05: how long nothing must happen before it is told; ten times that at most).
---@async
---@param path string
---@param opts? { recursive?: boolean, debounce?: number }
---@return fs.Watch
function fs.watch(path, opts) end

return fs
