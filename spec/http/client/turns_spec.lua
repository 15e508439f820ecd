--- Turns: pools come out by the ticket of the first who waits there.

local new_turns = require "http.client.turns"

local function pool(ticket) return { first = ticket and { ticket = ticket } } end

describe("turns", function()
  it("come in the order of tickets, each pool once", function()
    math.randomseed(7)
    for _ = 1, 50 do
      local turns, model = new_turns(), {}
      for step = 1, 200 do
        if math.random(3) > 1 then
          local p = pool(step * 1000 + math.random(999) - (math.random(2) == 1 and 100000 or 0))
          turns:add(p)
          turns:add(p)
          model[#model + 1] = p
        else
          table.sort(model, function(a, b) return a.first.ticket < b.first.ticket end)
          assert.equal(table.remove(model, 1), turns:take())
        end
        assert.equal(#model, turns.n)
      end
    end
  end)

  it("are for pools in which somebody waits", function()
    local turns = new_turns()
    turns:add(pool())
    assert.is_nil(turns:take())
    local p = pool(1)
    turns:add(p)
    assert.equal(p, turns:take())
    assert.is_nil(turns:take())
    turns:add(p) -- it may come back
    assert.equal(p, turns:take())
  end)
end)
