// Follows the one link of the page; without scripts it is there to be pressed.
const link = document.getElementById("go-on");
location.replace(link.href);
