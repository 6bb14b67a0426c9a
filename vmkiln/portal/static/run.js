// Keeps a run's page as it is now: one stream of events changes its parts in place, and lines are put into the log.
import { follow } from "./following.js";
import { Log } from "./log.js";
import { useTools } from "./log_tools.js";
import { IS_GONE, NO_ANSWER, replacePart, standStill } from "./page.js";
import { offerNotice } from "./run_notice.js";

const page = document.getElementById("run");
const clockIsAhead = Date.now() / 1000 - Number(page.dataset.now);
const log = new Log(page);
const notifyOnce = offerNotice(page);
let isCutOff = false;

function now() {
  return Date.now() / 1000 - clockIsAhead;
}

function duration(seconds) {
  if (seconds < 60) {
    return `${seconds.toFixed(1)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  const two = (number) => String(number).padStart(2, "0");
  return minutes < 60 ? `${minutes} min ${two(Math.floor(seconds % 60))} s` : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

function showIcon(name) {
  let link = document.querySelector("link[rel~=icon]");
  if (!link) {
    link = document.createElement("link");
    link.rel = "icon";
    document.head.append(link);
  }
  link.type = "image/svg+xml";
  link.href = `/portal/static/state-${name}.svg`;
}

function showState({ title, icon, isLive }) {
  document.title = document.title.includes(" - ") ? `${title} - vmkiln` : title;
  const heading = document.querySelector("h1");
  if (heading) {
    heading.textContent = title.replace(/^\S+ /u, ""); // its mark is the chip below
  }
  showIcon(icon);
  page.dataset.live = isLive ? "yes" : "no";
  for (const [id, isHidden] of [["run-cancel", !isLive], ["run-again", isLive]]) {
    const form = document.getElementById(id); // not there for who may only read
    if (form) {
      form.hidden = isHidden;
    }
  }
  if (!isLive) {
    notifyOnce(title, "The run has ended.");
  }
}

// The clock and the bars of what goes on grow by themselves, once a second; not while nobody knows whether it goes on.
function tick() {
  if (page.dataset.live !== "yes" || isCutOff) {
    return;
  }
  const took = document.getElementById("run-took");
  if (took?.dataset.since) {
    took.textContent = duration(Math.max(0, now() - Date.parse(took.dataset.since) / 1000));
  }
  const bars = [...document.querySelectorAll(".run-bar svg")];
  if (!bars.some((bar) => bar.dataset.end === "")) {
    return;
  }
  const begin = Math.min(...bars.map((bar) => Number(bar.dataset.start)));
  const end = (bar) => (bar.dataset.end === "" ? now() : Number(bar.dataset.end));
  const whole = Math.max(0.001, Math.max(...bars.map(end)) - begin);
  for (const bar of bars) {
    const start = Number(bar.dataset.start);
    const rect = bar.querySelector(".bar");
    rect.setAttribute("x", `${(100 * (start - begin)) / whole}%`);
    rect.setAttribute("width", `${Math.max(0.4, (100 * (end(bar) - start)) / whole)}%`);
    if (bar.dataset.end === "") {
      bar.closest("tr").querySelector(".run-seconds").textContent = duration(Math.max(0, now() - start));
    }
  }
}

const does = {
  state: showState,
  part: replacePart,
  groups: ({ kind, groups }) => log.setGroups(kind, groups),
  lines: ({ kind, lines }) => log.add(kind, lines),
  end: ({ isGone }) => {
    page.dataset.live = "no";
    page.dataset.ended = "yes";
    log.end();
    if (isGone) {
      standStill(IS_GONE);
    }
  },
};

function tell(words) {
  isCutOff = words !== "";
  standStill(words);
  if (isCutOff && words !== NO_ANSWER) {
    notifyOnce(document.title, words);
  }
}

showIcon(page.dataset.icon);
useTools(page, log);
if (page.dataset.follow) {
  follow(page.dataset.follow, does, tell);
  setInterval(tick, 1000);
}
