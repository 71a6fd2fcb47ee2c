-- What is written of a user, each in one step. A name carries a digest of this file, so that servers of two versions
-- never run each other's.
-- KEYS of both: the log of the user's partition, the user's events (see data_exchange_center/wire.py).

-- ARGV: eventid, event, eventid, event, ... -> for each 1, or 0 where an event of that id is there already
local function record(keys, args)
  local answers = {}
  for n = 1, #args, 2 do
    if redis.call('HEXISTS', keys[2], args[n]) == 1 then
      answers[#answers + 1] = 0
    else
      local entry = redis.call('XADD', keys[1], '*', 'event', args[n + 1])
      redis.call('HSET', keys[2], args[n], entry .. ' ' .. args[n + 1])
      answers[#answers + 1] = 1
    end
  end
  return answers
end

-- ARGV: the user's own id, as JSON -> how many events were deleted. The log says that somebody was forgotten, so that
-- who has read the events forgets them, too; the user's key says that no release's state counts.
local function forget(keys, args)
  local deleted = 0
  for _, value in ipairs(redis.call('HVALS', keys[2])) do
    local entry = string.match(value, '^%S+')
    deleted = deleted + (string.find(value, ' ', 1, true) and 1 or 0)
    redis.call('XDEL', keys[1], entry)
  end
  redis.call('DEL', keys[2])
  local entry = redis.call('XADD', keys[1], '*', 'forget', args[1])
  redis.call('HSET', keys[2], '', entry)
  return deleted
end

redis.register_function('recsys_record_DIGEST', record)
redis.register_function('recsys_forget_DIGEST', forget)
