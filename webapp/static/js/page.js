// What every page does: chips apply themselves, table rows open, times are told in the reader's zone.

function followRow(event) {
  const row = event.target.closest("tr[data-href]");
  if (!row || event.defaultPrevented || event.target.closest("a, button, input, select, summary, label")) return;
  if (String(getSelection())) return;
  if (event.metaKey || event.ctrlKey) window.open(row.dataset.href, "_blank", "noopener");
  else location.assign(row.dataset.href);
}

function applyChips(event) {
  const form = event.target.closest("form.chips");
  if (form && event.target.matches("select, input[type=checkbox]")) form.requestSubmit();
}

function leaveOutEmptyFields(event) {
  if (!event.target.matches("form.chips")) return;
  for (const field of event.target.elements) if (field.name && field.value === "") field.disabled = true;
}

function tellLocalTimes(root) {
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const time of root.querySelectorAll("time[datetime]")) time.title = exact.format(new Date(time.dateTime));
}

// What scrolls must be reachable by keyboard.
function markScrollable(root) {
  for (const wrap of root.querySelectorAll(".table-wrap")) if (wrap.scrollWidth > wrap.clientWidth + 1) wrap.tabIndex = 0;
}

function restoreFields() {
  for (const field of document.querySelectorAll("form.chips :disabled")) field.disabled = false;
}

async function copyText(event) {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
  }
}

document.addEventListener("click", followRow);
document.addEventListener("click", copyText);
document.addEventListener("change", applyChips);
document.addEventListener("submit", leaveOutEmptyFields);
addEventListener("pageshow", restoreFields);
document.addEventListener("htmx:afterSwap", (event) => {
  tellLocalTimes(event.target);
  markScrollable(event.target);
});
tellLocalTimes(document);
markScrollable(document);
addEventListener("resize", () => markScrollable(document));
for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
