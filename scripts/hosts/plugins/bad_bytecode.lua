-- Loads what no compiler has made.
return assert(load(string.dump(function() return 1 end), "x", "b"))()
