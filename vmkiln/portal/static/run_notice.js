// Tells by a notification of the browser that a run ended. The browser is asked for leave only when the button is
// pressed, and the wish lasts as long as the page: nothing of it is stored.
export function offerNotice(page) {
  const button = document.getElementById("run-notice");
  const told = document.getElementById("run-notice-told");
  let isWanted = false;

  function show(title, body) {
    try {
      const notice = new Notification(title, { body, tag: page.dataset.run, icon: document.querySelector("link[rel~=icon]")?.href });
      notice.addEventListener("click", () => {
        window.focus();
        notice.close();
      });
    } catch {
      told.textContent = "This browser shows no notifications of a page.";
    }
  }

  async function turn() {
    const leave = isWanted ? "" : await Notification.requestPermission();
    isWanted = leave === "granted";
    button.setAttribute("aria-pressed", String(isWanted));
    if (isWanted) {
      told.textContent = "You are told when it ends, as long as this page is open.";
    } else {
      told.textContent = leave ? "This browser does not let the portal notify you." : "";
    }
  }

  if ("Notification" in window && window.isSecureContext) {
    button.hidden = page.dataset.live !== "yes";
    button.addEventListener("click", turn);
  }
  // Ends the offer; who wanted to be told is told once.
  return (title, body) => {
    button.hidden = true;
    told.textContent = "";
    if (isWanted) {
      isWanted = false;
      show(title, body);
    }
  };
}
