-- Just fails.
error { "no text" }
