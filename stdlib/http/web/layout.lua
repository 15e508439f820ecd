--- Where responses and requests keep what every one of them has: in their array part, which is cheaper to make than
--- fields by name. Lua 5.4 has no constants that modules could share, so each that uses them says the same:
---
---   local STATUS <const>, BODY <const>, TYPE <const>, HEADERS <const> = 1, 2, 3, 4   -- of a response
---   local COOKIES <const>, X <const>, MORE <const> = 5, 6, 7
---   local X <const>, ROUTE <const>, PARAMS <const> = 1, 2, 3                         -- of a request
---
--- bindings/http/http_web.c makes responses of the same layout. By name they can be had, too (`response._body`).

return {
  response = { "status", "_body", "_type", "_headers", "_cookies", "_x", "_more" },
  request = { "_x", "_route", "_params" },
}
