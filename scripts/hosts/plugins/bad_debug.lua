-- Reaches for the registry.
return tostring(debug.getregistry())
