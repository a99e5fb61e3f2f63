// The live connection: server-sent events, and coming back when it breaks. Knows nothing of what the messages mean.

const PATH = "/api/v1/rollout/stream";
const NAMES = ["status", "event", "stats", "history", "point"];
const AGAIN_MS = 2000;
const SILENT_MS = 30000; // the splitter sends something each second; a silent connection is a dead one that nobody has noticed

/** Calls `on(name, body)` for each message and `onState("live" | "lost")`. Goes on for ever. */
export function listen(on, onState) {
  let source, watch;

  function heard() {
    clearTimeout(watch);
    watch = setTimeout(again, SILENT_MS);
  }

  function again() {
    source.close();
    onState("lost");
    clearTimeout(watch);
    watch = setTimeout(open, AGAIN_MS);
  }

  function open() {
    source = new EventSource(PATH);
    heard();
    source.onopen = () => onState("live");
    source.onerror = () => {
      // CONNECTING: the browser tries again by itself, with Last-Event-ID. CLOSED: it was refused, and that is up to us.
      if (source.readyState === EventSource.CLOSED) again(); else onState("lost");
    };
    for (const name of NAMES) {
      source.addEventListener(name, message => { heard(); on(name, JSON.parse(message.data)); });
    }
  }

  open();
}
