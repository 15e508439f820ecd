-- Kills the host.
require "signal".kill(require "signal".getpid(), "SIGKILL")
