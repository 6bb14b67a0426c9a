// What one does with a log: find, go to a line, follow, wrap, copy; each with a key.
const AN_ANCHOR = /^#([LV])(\d+)(?:-\1?(\d+))?$/;

export function useTools(page, log) {
  const by = (id) => document.getElementById(id);
  const [text, errors, count] = [by("log-text"), by("log-errors"), by("log-count")];
  let found = [];
  let current = -1;
  let unseen = 0;
  document.querySelector(".log-switches").hidden = false;

  // Nothing is read aloud for each line: it is a button, and no announcement.
  function showUnseen() {
    const button = by("log-new");
    button.hidden = unseen === 0;
    button.textContent = `${unseen} new line${unseen === 1 ? "" : "s"} \u2193`;
  }

  function tell(words) {
    by("log-told").textContent = words;
  }

  function setFollow(isOn) {
    log.isFollowed = isOn && page.dataset.ended !== "yes";
    by("log-follow").checked = log.isFollowed;
    unseen = 0;
    showUnseen();
    if (log.isFollowed) {
      log.toEnd();
    }
  }

  function choose(hash) {
    for (const row of document.querySelectorAll(".log-line.chosen")) {
      row.classList.remove("chosen");
    }
    const match = AN_ANCHOR.exec(hash);
    if (!match) {
      return null;
    }
    const [, anchor, first, last] = match;
    const [from, to] = [Number(first), Number(last ?? first)].sort((one, other) => one - other);
    for (const row of document.querySelectorAll(".log-line")) {
      const number = Number(row.id.slice(1));
      if (row.id.startsWith(anchor) && number >= from && number <= to) {
        row.classList.add("chosen");
      }
    }
    return `${anchor}${from}`;
  }

  async function goTo(hash) {
    const match = AN_ANCHOR.exec(hash);
    const group = match ? null : log.groups().find(({ id }) => `#${id}` === hash);
    if (group) {
      setFollow(false);
      group.open = true;
      group.scrollIntoView();
    } else if (match) {
      setFollow(false);
      await log.show(`${match[1]}${Math.min(Number(match[2]), Number(match[3] ?? match[2]))}`);
      choose(hash);
    }
  }

  function mark() {
    const anchors = new Set(found.map((item) => item.anchor));
    for (const row of document.querySelectorAll(".log-line.found, .log-line.now")) {
      row.classList.remove("found", "now");
    }
    for (const row of document.querySelectorAll(".log-line")) {
      if (anchors.has(row.id)) {
        row.classList.add("found");
      }
    }
    by(found[current]?.anchor)?.classList.add("now");
  }

  async function step(by_how_many) {
    if (!found.length) {
      return;
    }
    setFollow(false);
    current = (current + by_how_many + found.length) % found.length;
    await log.show(found[current].anchor);
    showCount();
    mark();
  }

  let total = 0;
  function showCount() {
    const more = total > found.length ? ` (the first ${found.length} can be stepped through)` : "";
    count.textContent = total ? `${current + 1} of ${total}${more}` : "nothing found";
  }

  function listFound() {
    const list = by("log-found");
    list.hidden = found.length === 0;
    list.querySelector("ol").replaceChildren(
      ...found.map((item, index) => {
        const link = document.createElement("a");
        const number = document.createElement("span");
        number.className = "log-number";
        number.textContent = item.anchor;
        link.href = `#${item.anchor}`;
        link.append(number, ` ${item.text.slice(0, 300)}`);
        link.addEventListener("click", (event) => {
          event.preventDefault();
          current = index - 1;
          step(1);
        });
        const entry = document.createElement("li");
        entry.append(link);
        return entry;
      }),
    );
    list.open = errors.checked && found.length > 0;
  }

  async function find() {
    if (!text.value && !errors.checked) {
      [found, total, current] = [[], 0, -1];
      count.textContent = "";
    } else {
      count.textContent = "looking ...";
      const asked = new URLSearchParams({ text: text.value, errors: errors.checked ? "true" : "" });
      const answer = await fetch(`${log.run}/find?${asked}`, { redirect: "manual" }).catch(() => null);
      if (!answer?.ok) {
        count.textContent = answer?.status === 429 ? "others search already: try again" : "the log could not be searched: try again";
        return;
      }
      const content = await answer.json();
      [found, total, current] = [content.lines, content.total, -1];
      showCount();
    }
    const isThere = found.length > 0;
    by("log-before").hidden = by("log-after").hidden = !isThere;
    listFound();
    mark();
    if (isThere) {
      await step(1);
    }
  }

  async function toFailure() {
    const link = document.querySelector(".run-failure .to-line");
    const failed = document.querySelector(".log-group.s-failed");
    if (link) {
      history.replaceState(null, "", `#${link.dataset.anchor}`);
      await goTo(`#${link.dataset.anchor}`);
    } else {
      failed?.scrollIntoView();
    }
  }

  async function copy() {
    let rows = [...document.querySelectorAll(".log-line.chosen")];
    if (!rows.length) {
      rows = [...document.querySelectorAll(".log-group[open] .log-line")];
    }
    const lines = rows.map((row) => {
      const said = row.querySelector(".log-text").cloneNode(true);
      said.querySelector(".log-stderr")?.nextSibling?.remove();
      said.querySelector(".log-stderr")?.remove();
      return said.textContent;
    });
    try {
      await navigator.clipboard.writeText(`${lines.join("\n")}\n`);
      tell(`${lines.length} lines copied`);
    } catch {
      tell("the browser did not let us copy");
    }
  }

  const wrap = by("log-wrap");
  const times = by("log-times");
  const showLook = () => {
    by("log").classList.toggle("no-wrap", !wrap.checked);
    by("log").classList.toggle("no-times", !times.checked);
  };
  const toggle = (box) => {
    if (!box.disabled) {
      box.checked = !box.checked;
      box.dispatchEvent(new Event("change"));
    }
  };

  by("log-find").addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });
  errors.addEventListener("change", find);
  by("log-after").addEventListener("click", () => step(1));
  by("log-before").addEventListener("click", () => step(-1));
  by("log-follow").addEventListener("change", (event) => setFollow(event.target.checked));
  wrap.addEventListener("change", showLook);
  times.addEventListener("change", showLook);
  by("log-failure").addEventListener("click", toFailure);
  by("log-new").addEventListener("click", () => {
    setFollow(true);
    by("log-follow").focus({ preventScroll: true });
    log.toEnd(); // of a run that has ended, too
  });
  by("log-copy").addEventListener("click", copy);

  // The page may be told of a failure later: links into the log are taken here.
  document.addEventListener("click", (event) => {
    const line = event.target.closest?.(".to-line");
    if (line) {
      event.preventDefault();
      history.replaceState(null, "", `#${line.dataset.anchor}`);
      goTo(`#${line.dataset.anchor}`);
      return;
    }
    const part = event.target.closest?.(".to-step"); // also for who has been there, and folded it again
    if (part && part.hash === location.hash) {
      goTo(part.hash);
    }
    const number = event.target.closest?.(".log-line .log-number");
    if (!number) {
      return;
    }
    event.preventDefault();
    const here = number.hash;
    const before = AN_ANCHOR.exec(location.hash);
    const hash = event.shiftKey && before && here.startsWith(`#${before[1]}`) ? `#${before[1]}${before[2]}-${here.slice(2)}` : here;
    history.replaceState(null, "", hash);
    setFollow(false);
    choose(hash);
  });
  document.addEventListener("pointerover", (event) => {
    const clock = event.target.closest?.("time.log-time");
    if (clock && !clock.title) {
      clock.title = new Date(Number(clock.dataset.at) * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
    }
  });
  window.addEventListener("hashchange", () => goTo(location.hash));

  // Who scrolls up wants to read: following lets go, and says what came meanwhile.
  const letGo = () => {
    if (log.isFollowed) {
      setFollow(false);
    }
  };
  window.addEventListener("wheel", (event) => event.deltaY < 0 && letGo(), { passive: true });
  window.addEventListener("touchmove", letGo, { passive: true });
  let heldAt = null; // where the page was when its scroll bar was taken
  window.addEventListener("mousedown", (event) => {
    heldAt = event.target === document.documentElement ? window.scrollY : null;
  });
  window.addEventListener("mouseup", () => {
    heldAt = null;
  });
  window.addEventListener("scroll", () => heldAt !== null && window.scrollY < heldAt && letGo(), { passive: true });
  log.onTrouble = tell;
  log.onLines = (lines) => {
    if (!log.isFollowed) {
      unseen += lines;
      showUnseen();
    }
    if (found.length) {
      mark();
    }
  };

  // Single letters are in the way of who speaks to the browser: they can be turned off, for this browser.
  const hasKeys = by("log-has-keys");
  const KEPT = "vmkiln-log-keys";
  try {
    hasKeys.checked = localStorage.getItem(KEPT) !== "off";
  } catch {
    // a browser that keeps nothing
  }
  hasKeys.addEventListener("change", () => {
    try {
      localStorage.setItem(KEPT, hasKeys.checked ? "on" : "off");
    } catch {
      tell("The browser keeps that for this page alone.");
    }
  });

  const keys = {
    "/": () => text.focus(),
    n: () => step(1),
    p: () => step(-1),
    f: toFailure,
    e: () => toggle(errors),
    w: () => toggle(wrap),
    t: () => toggle(times),
    l: () => toggle(by("log-follow")),
  };
  document.addEventListener("keydown", (event) => {
    if (["PageUp", "ArrowUp", "Home"].includes(event.key)) {
      letGo();
    }
    const isTyping = event.target.closest?.("input:not([type=checkbox]), textarea, select");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !hasKeys.checked || !keys[event.key]) {
      return;
    }
    event.preventDefault();
    keys[event.key]();
  });

  if (text.value || errors.checked) {
    find();
  } else if (location.hash) {
    goTo(location.hash);
  }
}
