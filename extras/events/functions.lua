-- What is written of a user, each in one step. A name carries a digest of this file, so that servers of two versions
-- never run each other's.
-- KEYS of the first three: the log of the user's partition, the user's events that count, and those that are only noted
-- (see data_exchange_center/wire.py).

-- ARGV: how many events of a user may count, then eventid, event, '1' where it counts or '0'; and so on
-- -> for each 1, or 0 where an event of that id is there already; or a single -1: too many that count, and none is
-- recorded
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

-- ARGV: eventids of events that no request reads any more; each still counts once, and the log keeps them
local function compact(keys, args)
  for _, id in ipairs(args) do
    local stored = redis.call('HGET', keys[2], id)
    if stored then
      redis.call('HSET', keys[3], id, string.match(stored, '^%S+'))
      redis.call('HDEL', keys[2], id)
    end
  end
end

-- Forgetting takes several calls, as one that deletes everything would keep the server from answering others: `forget`
-- first, then `forget_noted` and `forget_exposures` until nothing is left.

-- KEYS[4]: the noted events that are to be deleted. ARGV: the user's own id, as JSON
-- -> how many events that count were deleted; or -1 where noted events of an earlier call are left: delete them first.
-- The log says that somebody was forgotten, so that who has read the events forgets them, too; the user's key says that
-- no release's state counts.
local function forget(keys, args)
  if redis.call('EXISTS', keys[4]) == 1 then return -1 end
  local deleted = 0
  local fields = redis.call('HGETALL', keys[2])
  for n = 1, #fields, 2 do
    if fields[n] ~= '' then deleted = deleted + 1 end
    redis.call('XDEL', keys[1], string.match(fields[n + 1], '^%S+'))
  end
  redis.call('DEL', keys[2])
  if redis.call('EXISTS', keys[3]) == 1 then redis.call('RENAME', keys[3], keys[4]) end
  local entry = redis.call('XADD', keys[1], '*', 'forget', args[1])
  redis.call('HSET', keys[2], '', entry)
  return deleted
end

-- KEYS: the log, noted events. ARGV: how many of them to delete at most -> how many were deleted; 0: none is left
local function forget_noted(keys, args)
  local fields = redis.call('HRANDFIELD', keys[2], args[1], 'WITHVALUES')
  for n = 1, #fields, 2 do
    redis.call('XDEL', keys[1], string.match(fields[n + 1], '^%S+'))
    redis.call('HDEL', keys[2], fields[n])
  end
  return #fields / 2
end

-- KEYS: the exposures of the user's partition. ARGV: whose exposures the user's are, where to begin, how many entries to
-- read -> where to go on; or '': that was the end
local function forget_exposures(keys, args)
  local entries, last = redis.call('XRANGE', keys[1], args[2], '+', 'COUNT', args[3]), ''
  for _, entry in ipairs(entries) do
    if entry[2][2] == args[1] then redis.call('XDEL', keys[1], entry[1]) end
    last = '(' .. entry[1]
  end
  return #entries < tonumber(args[3]) and '' or last
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
redis.register_function('recsys_forget_noted_DIGEST', forget_noted)
redis.register_function('recsys_forget_exposures_DIGEST', forget_exposures)
redis.register_function('recsys_expose_DIGEST', expose)
