-- What is asked of the store beside reading and writing entries. ARGV[1] names it.
local asked = {}

-- ARGV: prefix, after, limit. Answers: the last key looked at (nothing: the end), then key and entry by turns.
-- Keys are ASCII, so everything that starts with the prefix lies between it and the prefix followed by byte 255.
function asked.scan()
  local prefix, after, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
  local low = after >= prefix and '(' .. after or '[' .. prefix
  local keys = call('ZRANGEBYLEX', P .. ':keys', low, '[' .. prefix .. '\255', 'LIMIT', 0, limit)
  local answers = {#keys == limit and keys[limit] or ''}
  for _, key in ipairs(keys) do
    local entry = redis.pcall('GET', P .. ':e:' .. key)
    if entry then
      answers[#answers + 1] = key
      answers[#answers + 1] = type(entry) == 'string' and entry or '' -- of another type: another program's
    else
      call('ZREM', P .. ':keys', key) -- its time was over
    end
  end
  return answers
end

-- ARGV: before, limit. Answers keys; first it mends what expiry left behind in the index.
function asked.due()
  local before, limit = ARGV[2], tonumber(ARGV[3])
  while true do
    local stale, keys = false, call('ZRANGEBYSCORE', P .. ':due', '-inf', before, 'LIMIT', 0, limit)
    for _, key in ipairs(keys) do
      local due = redis.pcall('GETRANGE', P .. ':e:' .. key, 16, 39)
      if type(due) ~= 'string' or not string.find(due, '%S') then
        call('ZREM', P .. ':due', key)
        stale = true
      end
    end
    if not stale then return keys end
  end
end

return asked[ARGV[1]]()
