-- Much at once.
return ("x"):rep(1e9)
