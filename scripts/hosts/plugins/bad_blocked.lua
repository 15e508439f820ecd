-- One call that takes years, in C: no meter stops that.
require "time".sleep(1e9)
