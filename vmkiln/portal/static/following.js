// Follows a stream of server-sent events, and comes back to it by itself: when the connection broke, when the service or
// a proxy before it answered with an error, when nothing was heard for long. The waits between two tries grow to a
// bound; who comes back to the page, or to the network, does not wait for them. The browser's own `EventSource` gives up
// for ever at the first answer that is an error, and does not tell which it was.
import { NO_ANSWER, wordsFor } from "./page.js";

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 20000;
const LONGEST_SILENCE = 30000; // the service says something every two seconds
const IS_STREAM = /^text\/event-stream\b/;

// The events that a piece of a stream has, and what is left of it.
export function parsed(text) {
  const parts = text.split("\n\n");
  const rest = parts.pop();
  const events = parts.map((part) => {
    const fields = {};
    for (const line of part.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) {
        fields[line.slice(0, colon)] = line.slice(colon + 2);
      }
    }
    return fields;
  });
  return { events: events.filter((fields) => fields.event), rest };
}

// How long to wait before the next try; not all viewers of a service that was away come at one moment.
function waitAfter(tries) {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries) * (0.5 + Math.random() / 2);
}

// Waits for so long, or until somebody looks at the page again or the network is back.
function rest(milliseconds) {
  return new Promise((resolve) => {
    const wake = new AbortController();
    const end = () => {
      wake.abort();
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    window.addEventListener("online", end, { signal: wake.signal });
    document.addEventListener("visibilitychange", () => document.hidden || end(), { signal: wake.signal });
  });
}

// One connection to the stream: every event goes to `take`. Gives why it broke off, '' when it only ended.
async function listen(address, take, heard) {
  const silence = new AbortController();
  let timer;
  const hear = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), LONGEST_SILENCE);
  };
  hear();
  try {
    const answer = await fetch(address, { headers: { Accept: "text/event-stream" }, redirect: "manual", signal: silence.signal });
    if (!answer.ok) {
      return wordsFor(answer);
    }
    if (!IS_STREAM.test(answer.headers.get("content-type") ?? "")) {
      return NO_ANSWER; // a page of a proxy
    }
    heard();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = "", piece = await reader.read(); !piece.done; piece = await reader.read()) {
      hear();
      const found = parsed(text + piece.value);
      text = found.rest;
      for (const event of found.events) {
        if (!take(event)) {
          silence.abort();
          return "";
        }
      }
    }
    return ""; // cut off in order: the session is to be renewed
  } catch (error) {
    if (error instanceof TypeError || error.name === "AbortError") {
      return NO_ANSWER;
    }
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

// Follows until an event `end`. `does` has what is done with each event, by its name; `tell` is told why the page stands
// still, and '' when it does not. The `id` of an event is where the stream goes on for who comes back: `?from=`.
export async function follow(address, does, tell) {
  const wanted = new URL(address, location.href);
  let isOver = false;
  let tries = 0;
  const take = ({ event, id, data }) => {
    if (id) {
      wanted.searchParams.set("from", id);
    }
    does[event]?.(JSON.parse(data));
    isOver = event === "end";
    return !isOver;
  };
  const heard = () => {
    tries = 0;
    tell("");
  };
  while (!isOver) {
    const words = await listen(wanted, take, heard);
    if (!isOver) {
      if (words) {
        tell(words);
      }
      await rest(waitAfter(tries));
      tries += 1;
    }
  }
}
