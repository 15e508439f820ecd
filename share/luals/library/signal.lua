---@meta signal

-- Module signal. Written by tools/definitions.lua.

---@class signal
---@field SIGABRT integer
---@field SIGALRM integer
---@field SIGBUS integer
---@field SIGCHLD integer
---@field SIGCONT integer
---@field SIGFPE integer
---@field SIGHUP integer
---@field SIGILL integer
---@field SIGINT integer
---@field SIGIO integer
---@field SIGKILL integer
---@field SIGPIPE integer
---@field SIGPROF integer
---@field SIGPWR integer
---@field SIGQUIT integer
---@field SIGSEGV integer
---@field SIGSTOP integer
---@field SIGSYS integer
---@field SIGTERM integer
---@field SIGTRAP integer
---@field SIGTSTP integer
---@field SIGTTIN integer
---@field SIGTTOU integer
---@field SIGURG integer
---@field SIGUSR1 integer
---@field SIGUSR2 integer
---@field SIGVTALRM integer
---@field SIGWINCH integer
---@field SIGXCPU integer
---@field SIGXFSZ integer
local signal = {}

--- Send a signal; 0 only asks whether it could be sent. OSError (ESRCH, EPERM).
---@param pid integer
---@param signal asyncio.Signal
function signal.kill(pid, signal) end

--- Send a signal; 0 only asks whether it could be sent. OSError (ESRCH, EPERM).
---@param group integer
---@param signal asyncio.Signal
function signal.killpg(group, signal) end

--- To this process.
---@param signal asyncio.Signal
function signal.raise_signal(signal) end

--- Its id.
---@return integer
function signal.getpid() end

--- "Terminated".
---@param signal asyncio.Signal
---@return string
function signal.strsignal(signal) end

--- "SIGTERM", or nil.
---@param signal asyncio.Signal
---@return string?
function signal.signame(signal) end

--- 15.
---@param signal asyncio.Signal
---@return integer
function signal.signum(signal) end

return signal
