-- What is written of a user, each in one step. A name carries a digest of this file, so that servers of two versions
-- never run each other's.
-- KEYS of both: the log of the user's partition, the user's events that count, and those that are only noted (see
-- data_exchange_center/wire.py).

-- ARGV: how many events of a user may count, then eventid, event, '1' where it counts or '0'; and so on
-- -> for each 1, or 0 where an event of that id is there already; or a single -1: too many, and none is recorded
local function record(keys, args)
  local known, more = {}, 0
  for n = 2, #args, 3 do
    local id = args[n]
    if known[id] == nil then
      known[id] = redis.call('HEXISTS', keys[2], id) == 1 or redis.call('HEXISTS', keys[3], id) == 1
      if not known[id] and args[n + 2] == '1' then more = more + 1 end
    end
  end
  if more > 0 and redis.call('HLEN', keys[2]) + more > tonumber(args[1]) then return {-1} end
  local answers = {}
  for n = 2, #args, 3 do
    local id = args[n]
    if known[id] then
      answers[#answers + 1] = 0
    else
      local entry = redis.call('XADD', keys[1], '*', 'event', args[n + 1])
      if args[n + 2] == '1' then
        redis.call('HSET', keys[2], id, entry .. ' ' .. args[n + 1])
      else
        redis.call('HSET', keys[3], id, entry)
      end
      known[id] = true
      answers[#answers + 1] = 1
    end
  end
  return answers
end

-- ARGV: the user's own id, as JSON -> how many events were deleted. The log says that somebody was forgotten, so that
-- who has read the events forgets them, too; the user's key says that no release's state counts.
local function forget(keys, args)
  local deleted = 0
  for _, key in ipairs({keys[2], keys[3]}) do
    local fields = redis.call('HGETALL', key)
    for n = 1, #fields, 2 do
      if fields[n] ~= '' then deleted = deleted + 1 end
      redis.call('XDEL', keys[1], string.match(fields[n + 1], '^%S+'))
    end
    redis.call('DEL', key)
  end
  local entry = redis.call('XADD', keys[1], '*', 'forget', args[1])
  redis.call('HSET', keys[2], '', entry)
  return deleted
end

redis.register_function('recsys_record_DIGEST', record)
redis.register_function('recsys_forget_DIGEST', forget)
