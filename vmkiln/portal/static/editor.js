// Numbers beside the lines of a template that is written, a mark at those with a mistake, and a way to each.
// Without it the mistakes are told by line all the same, with the lines that have them.
const text = document.getElementById("body");
const numbers = document.createElement("div");
const wrong = new Set([...document.querySelectorAll("#wrong-lines code.bad")].map((line) => Number(line.id.slice("line-".length))));
let shown = 0;

function showNumbers() {
  const count = text.value.split("\n").length;
  if (count === shown) {
    return;
  }
  if (shown) {
    wrong.clear(); // a line was put in or taken out, so others stand where they stood
  }
  shown = count;
  numbers.textContent = Array.from({ length: count }, (_, at) => `${wrong.has(at + 1) ? "✗ " : ""}${at + 1}`).join("\n");
  numbers.scrollTop = text.scrollTop;
}

function goTo(number) {
  const lines = text.value.split("\n");
  const start = lines.slice(0, number - 1).reduce((sum, line) => sum + line.length + 1, 0);
  text.focus();
  text.setSelectionRange(start, start + (lines[number - 1] || "").length);
  text.scrollTop = Math.max(0, number - 4) * parseFloat(getComputedStyle(text).lineHeight);
}

const editor = document.createElement("div");
editor.className = "editor";
numbers.className = "numbers";
numbers.setAttribute("aria-hidden", "true");
const hadFocus = document.activeElement === text;
text.before(editor);
editor.append(numbers, text);
text.wrap = "off";
if (hadFocus) {
  text.focus();
}
text.addEventListener("input", showNumbers);
text.addEventListener("scroll", () => { numbers.scrollTop = text.scrollTop; });
for (const link of document.querySelectorAll("a[href^='#line-']")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    goTo(Number(link.hash.slice("#line-".length)));
  });
}
showNumbers();
