---@meta json

-- Module json. Written by tools/definitions.lua.

---@class json.DecodeOptions
---@field max_depth? integer 512: containers in containers
---@field big_integers? "float"|"error" what becomes of integers beyond 64 bits

---@class json.EncodeOptions
---@field indent? integer|string blanks (or their number) for each level
---@field sort_keys? boolean
---@field ensure_ascii? boolean
---@field default? fun(value: any): any is given what has no JSON form
---@field max_depth? integer 512

--- A ValueError: `msg` (what was wrong), `pos` (the byte, from 1), `lineno`, `colno` (in characters).
---@class json.JSONDecodeError: asyncio.ValueError
---@field msg string what was wrong
---@field pos integer the byte, from 1
---@field lineno integer
---@field colno integer in characters
local JSONDecodeError = {}

---@class json
---@field null userdata
local json = {}
json.JSONDecodeError = JSONDecodeError

--- The value of a text. JSONDecodeError. `opts`: `max_depth` (512: containers in containers), `big_integers`
--- ("float", or "error": integers beyond 64 bits are refused). Of two members with one name the last counts. Refused
--- are, as RFC 8259 has them: control characters in strings, lone surrogates, malformed UTF-8, a byte order mark;
--- also numbers that no double is near to.
---@param text string
---@param opts? json.DecodeOptions
---@return any
function json.decode(text, opts) end

--- A text, without spaces. A table with elements from 1 on is an array, any other an object; `{}` is an object,
--- `json.array()` an array. A list with the field `n` (`table.pack`, `gather`) has so many elements, nil is null.
---@param value any
---@param opts? json.EncodeOptions
---@return string
function json.encode(value, opts) end

--- Marks a table (a new one without `t`), which is given back: it is written as an array, as an object. Integers are
--- fit as keys of a marked object: they are written as strings.
---@generic T: table
---@param t? T
---@return T
function json.array(t) end

--- Marks a table (a new one without `t`), which is given back: it is written as an array, as an object. Integers are
--- fit as keys of a marked object: they are written as strings.
---@generic T: table
---@param t? T
---@return T
function json.object(t) end

return json
