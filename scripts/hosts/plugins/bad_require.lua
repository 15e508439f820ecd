-- Loads a library of C.
return assert(package.loadlib("libm.so.6", "sin"))
