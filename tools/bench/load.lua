-- wrk's script: GETs with eight request headers from 1,000 users in turn; at the end one line of JSON for load.py.
-- Arguments after `--`: the path, and "close" for a new connection each request or "keep".
local users, count, turn = {}, 1000, 0

function init(args)
  local path, connection = args[1], args[2]
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
    users[user] = wrk.format("GET", path, headers) -- wrk adds Host
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
