// What every page has: times relative to now, buttons that copy, and parts that are read anew while something goes on.
// A page is whole without it: times are exact, ids can be selected, and the browser reloads (<noscript>).
const STEPS = [[60, 1, "second"], [3600, 60, "minute"], [86400, 3600, "hour"], [2592000, 86400, "day"]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

export function ago(seconds) {
  const found = STEPS.find(([most]) => Math.abs(seconds) < most);
  return found ? relative.format(-Math.round(seconds / found[1]), found[2]) : "";
}

export function showTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]:not([data-exact])")) {
    const moment = new Date(element.dateTime);
    const seconds = (Date.now() - moment) / 1000;
    // what was is never to come: the clock here, or that of the service, may be wrong
    const text = ago("comes" in element.dataset ? seconds : Math.max(0, seconds));
    if (text) {
      element.title = exact.format(moment);
      element.textContent = text;
    }
  }
}

function copyButton(element) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  const what = element.dataset.copy || "the text";
  button.setAttribute("aria-label", `Copy ${what.length > 60 ? "…" + what.slice(-40) : what}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(element.dataset.copy || element.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}

export function addCopyButtons(root = document) {
  for (const element of root.querySelectorAll("[data-copy]:not([data-has-copy])")) {
    element.dataset.hasCopy = "yes";
    element.tagName === "PRE" ? element.before(copyButton(element)) : element.append(copyButton(element));
  }
}

const COME_TO = "a[href], button, summary, input, select, textarea, [tabindex]";
const waiting = new Map(); // parts in which the visitor has chosen text: they are put in place when that is let go

function isChosenIn(place) {
  const chosen = document.getSelection();
  return !chosen.isCollapsed && chosen.rangeCount > 0 && chosen.getRangeAt(0).intersectsNode(place);
}

document.addEventListener("selectionchange", () => {
  for (const [id, html] of waiting) {
    if (!isChosenIn(document.getElementById(id))) {
      replacePart({ id, html });
    }
  }
});

// Puts a part in place of the old one. The part is of our own templates, in which everything a guest wrote is text.
// Who came to something in it by the keyboard is at the same thing afterwards.
export function replacePart({ id, html }) {
  const place = document.getElementById(id);
  if (isChosenIn(place)) {
    waiting.set(id, html);
    return;
  }
  waiting.delete(id);
  const active = place.contains(document.activeElement) ? document.activeElement : null;
  const same = (element) => element.tagName === active.tagName && element.getAttribute("href") === active.getAttribute("href");
  const alike = () => [...place.querySelectorAll(COME_TO)].filter(same);
  const at = active ? alike().indexOf(active) : -1;
  place.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  showTimes(place);
  addCopyButtons(place);
  if (active) {
    const again = (active.id && document.getElementById(active.id)) || alike()[at];
    again?.focus({ preventScroll: true });
  }
}

export const NO_ANSWER = "The service does not answer. What is shown is as it was; it is asked again.";
export const STANDS_STILL = "This page stands still: log in again, your session may have ended.";
export const IS_GONE = "What this page shows is not there any more, or you may not see it any more.";
const LONGEST_ANSWER = 30000;
const SENT_AGAIN = 10000;

// Why a page stands still after an answer that is no success; a redirection is one to the login.
export function wordsFor({ status }) {
  if (status >= 500 || status === 429 || status === 408) {
    return NO_ANSWER;
  }
  return status === 403 || status === 404 ? IS_GONE : STANDS_STILL;
}

// Says on top of the page why it does not change any more; nothing when it does again.
export function standStill(words) {
  const place = document.getElementById("stands-still");
  if (place && place.textContent !== words) {
    place.textContent = words;
  }
}

// Parts with data-live are put in place of the old ones, unless the visitor is in them; what else is open stays open.
async function readAnew() {
  if (document.hidden) {
    return;
  }
  let anew;
  try {
    const signal = AbortSignal.timeout(LONGEST_ANSWER);
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual", signal });
    if (!answer.ok) {
      standStill(wordsFor(answer));
      return;
    }
    anew = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    standStill(NO_ANSWER);
    return;
  }
  if (!anew.getElementById("stands-still")) {
    standStill(NO_ANSWER); // a page of a proxy
    return;
  }
  standStill("");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = anew.getElementById(part.id);
    if (other && !part.contains(document.activeElement)) {
      for (const details of part.querySelectorAll("details[id][open]")) {
        other.querySelector(`#${CSS.escape(details.id)}`)?.setAttribute("open", "");
      }
      const fresh = document.importNode(other, true);
      showTimes(fresh);
      addCopyButtons(fresh);
      part.replaceWith(fresh);
    }
  }
  document.title = anew.title;
  document.body.dataset.refresh = anew.body.dataset.refresh || "";
}

async function keepAnew() {
  const seconds = Number(document.body.dataset.refresh);
  if (seconds) {
    setTimeout(async () => {
      try {
        await readAnew();
      } finally {
        keepAnew();
      }
    }, seconds * 1000);
  }
}

// The colours change in place, so that what was written and not sent yet stays.
function chooseScheme() {
  const form = document.getElementById("scheme");
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const scheme = event.submitter.value;
    try {
      await fetch(form.action, { method: "POST", body: new URLSearchParams({ scheme }), redirect: "manual" });
    } catch {
      standStill(NO_ANSWER);
      return;
    }
    document.documentElement.dataset.scheme = scheme;
    document.querySelector("meta[name=color-scheme]").content = scheme === "system" ? "light dark" : scheme;
    for (const button of form.elements) {
      button.setAttribute("aria-pressed", String(button.value === scheme));
    }
  });
}

// A form is sent once: of a double click the second would be refused, and its refusal shown in place of what was done.
function sendOnce() {
  const sent = new Set();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") {
      return;
    }
    if (sent.has(form)) {
      event.preventDefault();
      return;
    }
    sent.add(form);
    setTimeout(() => sent.delete(form), SENT_AGAIN); // who stopped the browser may send it again
  });
  addEventListener("pageshow", () => sent.clear()); // and who came back to the page
}

showTimes();
addCopyButtons();
chooseScheme();
sendOnce();
setInterval(showTimes, 30000);
keepAnew();
