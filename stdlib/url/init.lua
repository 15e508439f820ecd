--- url: URLs, percent-encoding, query strings. This is the facade: it names the parts.

local quoting = require "url.quoting"
local urls = require "url.url"

return {
  URL = urls.URL,
  parse = urls.parse,
  join = urls.join,
  quote = quoting.quote,
  quote_plus = quoting.quote_plus,
  unquote = quoting.unquote,
  unquote_plus = quoting.unquote_plus,
  parse_qs = quoting.parse_qs,
  parse_qsl = quoting.parse_qsl,
  urlencode = quoting.urlencode,
}
