// Follows a run's log: lines become text, never markup. The page is read anew when the run has ended.
"use strict";
const MOST_LINES = 5000;
const log = document.getElementById("live-log");
if (log) {
  const source = new EventSource(log.dataset.follow);
  source.onmessage = (event) => {
    const atEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 40;
    for (const line of JSON.parse(event.data)) {
      log.append(document.createTextNode(line + "\n"));
    }
    while (log.childNodes.length > MOST_LINES) {
      log.firstChild.remove();
    }
    if (atEnd) {
      window.scrollTo(0, document.body.scrollHeight);
    }
  };
  source.addEventListener("end", () => {
    source.close();
    window.location.reload();
  });
}
