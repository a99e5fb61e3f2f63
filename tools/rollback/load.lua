-- wrk's script: GETs of 1,000 users in turn; each connection waits `delay` ms between an answer and its next request, which
-- makes the rate; at the end one line of JSON for load.py. Arguments after `--`: the delay.
local users, count, turn, pause = {}, 1000, 0, 0

function init(args)
  pause = tonumber(args[1])
  for user = 1, count do
    users[user] = wrk.format("GET", "/api/v1/cameras", { ["X-User-Id"] = "user-" .. user }) -- wrk adds Host
  end
  turn = math.random(count)
end

function delay()
  return pause
end

function request()
  turn = turn % count + 1
  return users[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, ' ..
    '"failed": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
