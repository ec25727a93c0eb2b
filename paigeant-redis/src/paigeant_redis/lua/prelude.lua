-- Shared by all scripts. KEYS[1] is the prefix '{paigeant:<namespace>}': one hash tag, so one slot of a cluster.
--   <p>:queues      hash  queue -> '<lease ms> <kind>'; kind: '' kept, 't' made by a publication with ttl, 'r' of one process
--   <p>:temporary   zset  queue -> time at which a queue of kind 't' or 'r' may be dropped
--   <p>:q:<queue>   stream of messages, field 'm'; the group 'w' remembers what was never delivered
--   <p>:l:<queue>   zset  '<entry> <deliveries> <owner>' -> end of the lease; without owner: given back
--   <p>:d:<queue>   zset  '<16 digits><message>' -> time at which it becomes ready
--   <p>:b:<queue>   list  the doorbell: one element if there may be something
--   <p>:u:<name>    list  the doorbell of one consumer, to end its waiting
--   <p>:c:<queue>   zset  consumer -> time until which it counts as alive
--   <p>:e:<key>     string  entry of the store: revision (16), due (24), 't' or ' ', value
--   <p>:keys <p>:due <p>:ttl  zsets over keys: for scan; by due time; by end of life
--   <p>:revision    the last revision
-- Times are milliseconds of the server's clock.
local P = KEYS[1]
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000

-- When 'maxmemory' is reached, Redis refuses a script's first write if it needs memory, and lets all later ones pass.
-- What finishes work that is there begins with a write that needs none.
local function go_on_when_full() call('ZREM', P .. ':temporary', '') end

local function number(x) return string.format('%.17g', x) end

-- A revision is a time in microseconds, or one more than the last: never reused, not even after a wipe or failover.
local last_revision
local function revision()
  if not last_revision then
    last_revision = math.max(tonumber(call('GET', P .. ':revision') or '0'), clock[1] * 1000000 + clock[2] - 1)
  end
  last_revision = last_revision + 1
  return string.format('%.0f', last_revision)
end

local function meta_of(queue)
  local meta = call('HGET', P .. ':queues', queue)
  if not meta then return nil end
  local lease, kind = string.match(meta, '^(%S+) (%a?)')
  return tonumber(lease), kind
end

local function set_meta(queue, lease, kind)
  call('HSET', P .. ':queues', queue, number(lease) .. ' ' .. kind)
end

local function make_stream(queue)
  local made = redis.pcall('XGROUP', 'CREATE', P .. ':q:' .. queue, 'w', '0', 'MKSTREAM')
  if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
    error(made.err .. ', key ' .. P .. ':q:' .. queue, 0)
  end
end

local function keep_until(queue, time)
  call('ZADD', P .. ':temporary', 'GT', number(time), queue)
end

local function ring(queue)
  local bell = P .. ':b:' .. queue
  if call('EXISTS', bell) == 0 then call('RPUSH', bell, '1') end
end

local function drop_expired_queues()
  for _, queue in ipairs(call('ZRANGEBYSCORE', P .. ':temporary', '-inf', number(now), 'LIMIT', 0, 20)) do
    for kind in string.gmatch('qldbc', '.') do call('UNLINK', P .. ':' .. kind .. ':' .. queue) end
    call('HDEL', P .. ':queues', queue)
    call('ZREM', P .. ':temporary', queue)
  end
end

-- The message of a stream entry; what somebody else put there is passed on as it is.
local function message_of(entry, fields)
  if fields[1] == 'm' and #fields == 2 then return fields[2] end
  return entry .. '\n\n' .. table.concat(fields, '\n')
end
