// Keeps the page of a container group or VM as it is now: its parts are put in place as they change.
import { follow } from "./following.js";
import { replacePart, standStill } from "./page.js";

const page = document.getElementById("resource");

if (page.dataset.follow) {
  follow(page.dataset.follow, { part: replacePart, end: () => { page.dataset.ended = "yes"; } }, standStill);
}
