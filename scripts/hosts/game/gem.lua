--- A gem: lies there.
return { GLYPH = "*", COLOUR = "green" }
