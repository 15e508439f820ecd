--- x:sendfile of the client's exchanges: a file as (a part of) a request's body, as the server sends it.

local core = require "http.client.core"

core.Exchange.sendfile = require("http.sendfile").sendfile
if core.Exchange2 then core.Exchange2.sendfile = require("http.core").Exchange2.sendfile end

return core.Exchange
