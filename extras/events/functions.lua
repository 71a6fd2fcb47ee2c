-- What is written of a user, each in one step. A name carries a digest of this file, so that servers of two versions
-- never run each other's.
-- KEYS of the first three: the log of the user's partition, the user's events that count, and those that are only noted
-- (see data_exchange_center/wire.py).

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

-- ARGV: eventids of events that change nothing any more: no request reads them, and each still counts once.
local function compact(keys, args)
  for _, id in ipairs(args) do
    local stored = redis.call('HGET', keys[2], id)
    if stored then
      redis.call('HSET', keys[3], id, string.match(stored, '^%S+'))
      redis.call('HDEL', keys[2], id)
    end
  end
end

-- Delete a user's entries from a stream, some at a time: a reply of all of them would not fit.
local function drop(stream, user)
  local from, count = '-', 1000
  repeat
    local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', count)
    for _, entry in ipairs(entries) do
      if entry[2][2] == user then redis.call('XDEL', stream, entry[1]) end
      from = '(' .. entry[1]
    end
  until #entries < count
end

-- KEYS[4]: the exposures of the user's partition. ARGV: the user's own id, as JSON, and whose exposures the user's are
-- -> how many events were deleted. The log says that somebody was forgotten, so that who has read the events forgets
-- them, too; the user's key says that no release's state counts.
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
  drop(keys[4], args[2])
  local entry = redis.call('XADD', keys[1], '*', 'forget', args[1])
  redis.call('HSET', keys[2], '', entry)
  return deleted
end

-- KEYS: the exposures of the user's partition, the user's events that count. ARGV: how many entries are kept, when the
-- user was answered in milliseconds, whose exposure it is, the exposure -> 1, or 0: the user was forgotten since
local function expose(keys, args)
  local mark = redis.call('HGET', keys[2], '')
  if mark and tonumber(string.match(mark, '^%d+')) >= tonumber(args[2]) then return 0 end
  redis.call('XADD', keys[1], 'MAXLEN', '~', args[1], '*', 'user', args[3], 'exposure', args[4])
  return 1
end

redis.register_function('recsys_record_DIGEST', record)
redis.register_function('recsys_compact_DIGEST', compact)
redis.register_function('recsys_forget_DIGEST', forget)
redis.register_function('recsys_expose_DIGEST', expose)
