// The lines of a log in the page: what a guest wrote becomes text nodes, never markup.
const MOST_ROWS = 5000; // of a group in the page; what is farther away is loaded again when it is wanted
const LOADED_AT_ONCE = 500;
const WORDS = { ok: "done", live: "running", failed: "failed", over: "not finished" };
const SIGNS = { ok: "\u2713", live: "\u25B6", failed: "\u2717", over: "\u2013" };

function element(name, className, ...content) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...content);
  return made;
}

function countText({ lines, errors }) {
  return `${lines} line${lines === 1 ? "" : "s"}${errors ? `, ${errors} of stderr` : ""}`;
}

function durationText(seconds) {
  if (seconds === null || seconds === undefined) {
    return "";
  }
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
}

export class Log {
  constructor(page) {
    this.run = page.dataset.run;
    this.origin = Number(page.dataset.origin);
    this.isFollowed = page.dataset.live === "yes";
    this.onLines = () => {};
    this.onTrouble = () => {};
    this.watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          this.loadMore(entry.target);
        }
      }
    }, { rootMargin: "300px" });
    for (const group of this.groups()) {
      this.prepare(group);
    }
    if (this.isFollowed) {
      this.toEnd();
    }
  }

  groups(kind) {
    return [...document.querySelectorAll(kind ? `#log-${kind} .log-group` : ".log-group")];
  }

  kindOf(group) {
    return group.closest(".log-kind").dataset;
  }

  groupOf(kind, number) {
    return this.groups(kind).findLast((group) => Number(group.dataset.first) <= number);
  }

  prepare(group) {
    group.addEventListener("toggle", () => {
      if (group.open && !group.querySelector(".log-line") && Number(group.dataset.lines)) {
        this.load(group, Number(group.dataset.first));
      }
    });
    for (const link of group.querySelectorAll(".log-more")) {
      this.prepareMore(link);
    }
  }

  prepareMore(link) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      this.loadMore(link);
    });
    if (link.closest(".log-group").querySelector(".log-line")) {
      this.watcher.observe(link);
    }
  }

  row([number, time, isError, pieces], anchor) {
    const link = element("a", "log-number", String(number));
    link.href = `#${anchor}${number}`;
    const clock = element(time === null ? "span" : "time", "log-time");
    if (time !== null) {
      clock.dataset.at = time;
      const seconds = Math.max(0, Math.floor(time - this.origin));
      clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    }
    const text = element("span", "log-text");
    if (isError) {
      text.append(element("span", "log-stderr", "stderr"), " ");
    }
    for (const piece of pieces) {
      text.append(typeof piece === "string" ? piece : element("span", piece[1], piece[0]));
    }
    const row = element("div", isError ? "log-line stderr" : "log-line", link, clock, text);
    row.id = `${anchor}${number}`;
    return row;
  }

  rows(kind, lines) {
    const { anchor } = document.getElementById(`log-${kind}`).dataset;
    const made = document.createDocumentFragment();
    made.append(...lines.map((line) => this.row(line, anchor)));
    return made;
  }

  // Lines that were written while the page is open, at the end of the log.
  add(kind, lines) {
    const atEnd = this.isFollowed;
    let index = 0;
    while (index < lines.length) {
      const group = this.groupOf(kind, lines[index][0]) ?? this.setGroups(kind, [{ key: `${kind}-0`, name: "", state: "live", first_line: 1, lines: 0, errors: 0, seconds: null, is_open: true }])[0];
      const next = group.nextElementSibling;
      const before = next ? Number(next.dataset.first) : Infinity;
      let until = index;
      while (until < lines.length && lines[until][0] < before) {
        until += 1;
      }
      this.append(group, kind, lines.slice(index, until));
      index = until;
    }
    if (atEnd) {
      this.toEnd();
    }
    this.onLines(lines.length);
  }

  append(group, kind, lines) {
    const place = group.querySelector(".log-lines");
    const last = this.numberOf(place.lastElementChild);
    const first = Number(group.dataset.first);
    if (!place.lastElementChild && lines[0][0] > first && !group.open) {
      return; // folded, and its beginning is not here: it is loaded when it is opened
    }
    if (last && lines[0][0] > last + 1) {
      place.replaceChildren(); // the viewer was too far behind: what is between can be loaded
    }
    const new_lines = last ? lines.filter(([number]) => number > last) : lines;
    place.append(this.rows(kind, new_lines));
    this.trim(place, "firstElementChild");
    this.link(group);
  }

  trim(place, side) {
    while (place.childElementCount > MOST_ROWS) {
      place[side].remove();
    }
  }

  numberOf(row) {
    return row ? Number(row.id.slice(1)) : 0;
  }

  // What the steps of a log that changed are now. Lines that came before their step was told move to it.
  setGroups(kind, groups) {
    const section = document.getElementById(`log-${kind}`);
    section.hidden = section.hidden && groups.length === 0;
    const place = section.querySelector(".log-groups");
    for (const group of groups) {
      let made = document.getElementById(group.key);
      if (!made) {
        made = this.newGroup(group);
        const before = place.lastElementChild;
        place.append(made);
        if (before) {
          const late = [...before.querySelectorAll(".log-line")].filter((row) => this.numberOf(row) >= group.first_line);
          made.querySelector(".log-lines").append(...late);
        }
        this.prepare(made);
      }
      this.showGroup(made, group);
    }
    return this.groups(kind);
  }

  newGroup(group) {
    const parts = ["log-state", "log-name", "log-word", "log-lines-count", "log-took"].map((name) => element("span", name));
    parts[0].setAttribute("aria-hidden", "true");
    const made = element("details", "log-group", element("summary", "", ...parts.flatMap((part) => [part, " "])), element("div", "log-lines"));
    made.id = group.key;
    made.open = group.is_open;
    return made;
  }

  showGroup(made, group) {
    const say = (name, text) => {
      made.querySelector(name).textContent = text;
    };
    const was = made.classList.contains("s-live") ? "live" : "";
    made.className = `log-group s-${group.state}`;
    made.dataset.first = group.first_line;
    made.dataset.lines = group.lines;
    say(".log-state", SIGNS[group.state]);
    say(".log-name", group.name);
    say(".log-word", WORDS[group.state]);
    say(".log-lines-count", countText(group));
    say(".log-took", durationText(group.seconds));
    if (group.state === "failed") {
      made.open = true;
    } else if (was && group.state === "ok" && this.isFollowed) {
      made.open = false;
    }
  }

  // Where a group's other lines are, if there are any.
  link(group) {
    const place = group.querySelector(".log-lines");
    const first = Number(group.dataset.first);
    const last = first + Number(group.dataset.lines) - 1;
    const from = this.numberOf(place.firstElementChild);
    const to = this.numberOf(place.lastElementChild);
    this.more(group, "log-earlier", from > first, Math.max(first, from - LOADED_AT_ONCE), "earlier lines");
    this.more(group, "log-later", to < last && !group.classList.contains("s-live"), to + 1, "later lines");
  }

  more(group, name, isThere, line, text) {
    let link = group.querySelector(`.${name}`);
    if (!isThere) {
      link?.remove();
      return;
    }
    if (!link) {
      link = element("a", `log-more ${name}`, text);
      const place = group.querySelector(".log-lines");
      if (name === "log-earlier") {
        place.before(link);
      } else {
        place.after(link);
      }
      this.prepareMore(link);
    }
    const { kind, anchor } = this.kindOf(group);
    link.textContent = text;
    link.href = `?kind=${kind}&line=${line}#${anchor}${line}`;
  }

  // Lines that are not in the page; null, and a word about it, when they cannot be had now.
  async fetched(kind, line, count) {
    const answer = await fetch(`${this.run}/lines?kind=${kind}&line=${line}&count=${count}`, { redirect: "manual" }).catch(() => null);
    if (!answer?.ok) {
      this.onTrouble("These lines could not be loaded: try again.");
      return null;
    }
    return (await answer.json()).lines;
  }

  within(group, lines) {
    const first = Number(group.dataset.first);
    const next = group.nextElementSibling;
    const before = next ? Number(next.dataset.first) : Infinity;
    return lines.filter(([number]) => number >= first && number < before);
  }

  // The lines from one on in place of those that are here; null when they cannot be had.
  async load(group, line) {
    const { kind } = this.kindOf(group);
    const lines = await this.fetched(kind, line, LOADED_AT_ONCE);
    if (lines) {
      group.querySelector(".log-lines").replaceChildren(this.rows(kind, this.within(group, lines)));
      this.link(group);
    }
    return lines;
  }

  async loadMore(link) {
    if (link.dataset.busy || !link.isConnected) {
      return; // it came into sight before it was taken away, and is told only now
    }
    link.dataset.busy = "yes";
    const group = link.closest(".log-group");
    const { kind } = this.kindOf(group);
    const place = group.querySelector(".log-lines");
    let lines = null;
    try {
      if (!place.firstElementChild) {
        lines = await this.load(group, Number(group.dataset.first));
      } else if (link.classList.contains("log-earlier")) {
        const from = this.numberOf(place.firstElementChild);
        const line = Math.max(Number(group.dataset.first), from - LOADED_AT_ONCE);
        lines = await this.fetched(kind, line, from - line);
        const seen = place.firstElementChild;
        const top = seen.getBoundingClientRect().top;
        place.prepend(this.rows(kind, lines ?? []));
        window.scrollBy(0, seen.getBoundingClientRect().top - top);
        if (!this.isFollowed) {
          this.trim(place, "lastElementChild");
        }
      } else {
        lines = await this.fetched(kind, this.numberOf(place.lastElementChild) + 1, LOADED_AT_ONCE);
        place.append(this.rows(kind, this.within(group, lines ?? [])));
        this.trim(place, "firstElementChild");
      }
      this.link(group);
    } finally {
      delete link.dataset.busy;
      if (lines && link.isConnected) {
        this.watcher.unobserve(link);
        this.watcher.observe(link); // it may be in sight still
      }
    }
  }

  // Opens the step of a line, loads what is around it, and brings it into sight.
  async show(anchor) {
    const kind = anchor.startsWith("V") ? "validation" : "customization";
    const group = this.groupOf(kind, Number(anchor.slice(1)));
    if (!group) {
      return null;
    }
    const first = Number(group.dataset.first);
    const last = Math.max(first, first + Number(group.dataset.lines) - 1);
    const isThere = document.getElementById(anchor) !== null; // it may be newer than what is known of its step
    const number = isThere ? Number(anchor.slice(1)) : Math.min(Number(anchor.slice(1)), last); // or not be there at all
    const id = `${anchor[0]}${number}`;
    if (!document.getElementById(id)) {
      await this.load(group, Math.max(first, number - LOADED_AT_ONCE / 4));
    }
    group.open = true;
    const row = document.getElementById(id);
    row?.scrollIntoView({ block: "center" });
    return row;
  }

  toEnd() {
    const group = document.querySelector(".log-group.s-live") ?? this.groups().at(-1);
    const last = group?.open ? group.querySelector(".log-lines").lastElementChild : null;
    last?.scrollIntoView({ block: "end" });
  }

  end() {
    for (const group of this.groups()) {
      if (group.querySelector(".log-line")) {
        this.link(group);
      }
    }
  }
}
