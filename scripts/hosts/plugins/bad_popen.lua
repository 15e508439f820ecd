-- Runs a program and listens to it.
return io.popen "id":read "a"
