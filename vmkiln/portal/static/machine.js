// Keeps the page of a container group or VM as it is now: its parts are put in place as they change.
import { follow } from "./following.js";
import { IS_GONE, replacePart, standStill } from "./page.js";

const page = document.getElementById("resource");

const does = {
  part: replacePart,
  end: ({ isGone }) => {
    page.dataset.ended = "yes";
    if (isGone) {
      standStill(IS_GONE);
    }
  },
};

if (page.dataset.follow) {
  follow(page.dataset.follow, does, standStill);
}
