--- The controllers of scripts/web_mvc.lua: what is done for each route.

local web = require "http.web"

local routes = web.RouteTableDef()

local function render(request, name, values, status) return request.app.views:response(name, values, status) end

routes:get("/", { name = "notes" })(async function(request)
  return render(request, "notes.html", { notes = await request.app.notes:all() })
end)

routes:get("/notes/{id:%d+}", { name = "note" })(async function(request)
  local note = await request.app.notes:get(math.tointeger(request.match_info.id))
  if not note then error(web.HTTPNotFound()) end
  return render(request, "note.html", { note = note })
end)

routes:get("/new/")(async function(request)
  return render(request, "new.html", { title = "", text = "" })
end)

routes:post("/new/")(async function(request)
  local form = await request:post()
  local title, text = form.title or "", form.text or ""
  if not title:find("%S") then
    return render(request, "new.html", { title = title, text = text, problem = "A note needs a title." }, 422)
  end
  local id = request.app.notes:add(title, text)
  error(web.HTTPSeeOther(request.app.router.note:url_for { id = id }))
end)

routes:get("/broken")(async function()
  error("this page is broken on purpose")
end)

return routes
