-- wrk's script: requests with eight header fields from 1,000 users in turn; at the end one line of JSON for load.py.
-- Arguments after `--`: the path, "close" for a new connection each request or "keep", the bytes of a body (0: a GET), and
-- the milliseconds a connection rests before each request, on average (0: none).
local users, count, turn = {}, 1000, 0

function init(args)
  local path, connection, body_bytes = args[1], args[2], tonumber(args[3])
  local rest_ms = tonumber(args[4])
  if rest_ms > 0 then -- wrk asks before each request if there is such a function
    delay = function() return math.random(0, 2 * rest_ms) end
  end
  local method, body = "GET", nil
  if body_bytes > 0 then
    method, body = "POST", string.rep("x", body_bytes)
  end
  for user = 1, count do
    local headers = {
      ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
      ["Accept"] = "application/json, text/plain, */*",
      ["Accept-Language"] = "en-GB,en;q=0.9,zh;q=0.8",
      ["Accept-Encoding"] = "gzip, deflate, br",
      ["Referer"] = "http://cameras.example/dashboard",
      ["Cookie"] = "session_id=4f2a9c61d7e84b0f; theme=dark",
      ["X-User-Id"] = "user-" .. user,
    }
    if connection == "close" then
      headers["Accept-Language"] = nil -- still eight, with the one that closes
      headers["Connection"] = "close"
    end
    -- wrk adds Host. A large body is the same text for all users: one copy of it is enough.
    users[user] = body_bytes < 65536 and wrk.format(method, path, headers, body) or headers
  end
  if body_bytes >= 65536 then
    count = 8
    for user = 1, count do users[user] = wrk.format(method, path, users[user], body) end
  end
end

function request()
  turn = turn % count + 1
  return users[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
