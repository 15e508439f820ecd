---@meta url

-- Module url. Written by tools/definitions.lua.

---@class url.Parts
---@field scheme? string
---@field user? string
---@field password? string
---@field host? string
---@field port? integer
---@field path? string
---@field query? string|table|http.MultiDict
---@field fragment? string

--- A URL, or a reference relative to one. ValueError for what is none. A second argument `{ encoded = true }` leaves
--- path, query and fragment as they are written (`%30` is not made `0`, `/../` stays), for servers that sign or
--- compare URLs by the byte.
---@class url.URL
---@field scheme string? in small letters
---@field user string?
---@field password string?
---@field host string? in small letters, as people read it; IPv6 without brackets
---@field port integer? the scheme's when none is written
---@field explicit_port integer? as it is written
---@field authority string? user:password@host:port
---@field path string "/" when there is a host and no path
---@field query http.MultiDict made from the query string; changing it changes no URL
---@field query_string string
---@field fragment string
---@field path_qs string path and query as they are sent
---@field parts string[] {"/", "segment"...}
---@field name string the last segment
---@field suffix string of the name, with its point
---@field parent url.URL without the last segment, query and fragment
---@field raw_host string? as DNS has it: "xn--..." for names that are not ASCII
---@field raw_user string?
---@field raw_password string?
---@field raw_authority string?
---@field raw_path string
---@field raw_query_string string
---@field raw_fragment string
---@operator div(string): url.URL
---@operator mod(table): url.URL
---@overload fun(text: string|url.URL): url.URL
local URL = {}

--- Of `scheme`, `user`, `password`, `host`, `port`, `path`, `query`, `fragment`, as people write them.
---@param parts url.Parts
---@return url.URL
function URL.build(parts) end

--- Booleans.
---@return boolean
function URL:is_absolute() end

--- Booleans.
---@return boolean
function URL:is_default_port() end

--- Scheme, host and port alone; the rest alone.
---@return url.URL
function URL:origin() end

--- Scheme, host and port alone; the rest alone.
---@return url.URL
function URL:relative() end

--- As `url.join`, a URL.
---@param ref string|url.URL
---@return url.URL
function URL:join(ref) end

--- More segments; `u / segment` is the same for one.
---@param ... string
---@return url.URL
function URL:joinpath(...) end

--- With another one.
---@param s string
---@return url.URL
function URL:with_scheme(s) end

--- With another one.
---@param s? string
---@return url.URL
function URL:with_user(s) end

--- With another one.
---@param s? string
---@return url.URL
function URL:with_password(s) end

--- With another one.
---@param s string
---@return url.URL
function URL:with_host(s) end

--- With another one.
---@param n? integer
---@return url.URL
function URL:with_port(n) end

--- With another one.
---@param s string
---@return url.URL
function URL:with_path(s) end

--- With another one.
---@param q? string|table|http.MultiDict
---@return url.URL
function URL:with_query(q) end

--- With another one.
---@param s? string
---@return url.URL
function URL:with_fragment(s) end

--- With another one.
---@param s string
---@return url.URL
function URL:with_name(s) end

--- With another one.
---@param s string
---@return url.URL
function URL:with_suffix(s) end

--- With more fields; with fields in place of others (also `u % q`); without some.
---@param q string|table|http.MultiDict
---@return url.URL
function URL:extend_query(q) end

--- With more fields; with fields in place of others (also `u % q`); without some.
---@param q string|table|http.MultiDict
---@return url.URL
function URL:update_query(q) end

--- With more fields; with fields in place of others (also `u % q`); without some.
---@param ... string
---@return url.URL
function URL:without_query_params(...) end

--- As people read it.
---@return string
function URL:human_repr() end

---@class url
local url = {}
url.URL = URL

--- A URL, or a reference relative to one. ValueError for what is none. A second argument `{ encoded = true }` leaves
--- path, query and fragment as they are written (`%30` is not made `0`, `/../` stays), for servers that sign or
--- compare URLs by the byte.
---@param text string|url.URL
---@return url.URL
function url.parse(text) end

--- What a link means on a page, as a string (RFC 3986, 5.2).
---@param base string|url.URL
---@param ref string|url.URL
---@return string
function url.join(base, ref) end

--- Escapes all but letters, digits, `_.-~` and the characters of `safe` ("/"), and undoes it. A "%" that two
--- hexadecimal digits don't follow is left alone.
---@param text string
---@param safe? string
---@return string
function url.quote(text, safe) end

--- Escapes all but letters, digits, `_.-~` and the characters of `safe` ("/"), and undoes it. A "%" that two
--- hexadecimal digits don't follow is left alone.
---@param text string
---@return string
function url.unquote(text) end

--- The same for query strings, where "+" is a space.
---@param text string
---@param safe? string
---@return string
function url.quote_plus(text, safe) end

--- The same for query strings, where "+" is a space.
---@param text string
---@return string
function url.unquote_plus(text) end

--- A MultiDict of the fields.
---@param query string
---@param max_fields? integer
---@return http.MultiDict
function url.parse_qs(query, max_fields) end

--- An array `{name, value, name, value...}`. Fields end with "&" alone. ValueError for more than `max_fields`.
---@param query string
---@param max_fields? integer
---@return string[]
function url.parse_qsl(query, max_fields) end

--- A query string of a MultiDict, an array of `{name, value}`, or a table by name, in the order of its names; a list
--- gives a field for each value. ValueError for numbers that are none (0/0) or without end.
---@param fields table|http.MultiDict
---@param safe? string
---@return string
function url.urlencode(fields, safe) end

return url
