// Evaluated images: the score slider moves the numbers of the whole split and every drawn box together; arrow keys turn the page.

const form = document.getElementById("threshold");
const range = document.getElementById("score-range");
const field = document.getElementById("score");
const { scores, words } = JSON.parse(document.getElementById("summary").textContent);
const operating = Number(range.dataset.operating);
const KEYS = new Set(["ArrowLeft", "ArrowRight"]);

// Detections are hidden below the score; an object is missed where the detection that finds it is below, or where none does.
const scored = (selector, name = "score") => [...document.querySelectorAll(selector)].map((element) => [element, Number(element.dataset[name] || -1)]);
const seen = scored(".evaluated .seen[data-score]");
const truth = scored(".evaluated .truth[data-score]:not(.truth-crowd)");
const detectionRows = scored("tr[data-score]");
const objectRows = scored("tr[data-found]:not([data-crowd])", "found");
const pictures = [...document.querySelectorAll(".evaluated")];

function count(picture, name, selector) {
  for (const cell of picture.querySelectorAll(`[data-count=${name}]`)) cell.textContent = picture.querySelectorAll(selector).length;
}

function drawBoxes(score) {
  for (const [element, own] of seen) element.classList.toggle("off", own < score);
  for (const [element, own] of truth) element.classList.toggle("missed", own < score);
  for (const picture of pictures) {
    count(picture, "right", ".seen-tp[data-score]:not(.off) rect");
    count(picture, "false", ".seen[data-score]:not(.seen-tp, .seen-ignored, .off) rect");
    count(picture, "missed", ".truth[data-score].missed rect.under");
    count(picture, "below", ".seen[data-score].off rect");
  }
}

function fillTables(score) {
  for (const [row, own] of detectionRows) row.hidden = own < score;
  for (const [row, own] of objectRows) {
    row.querySelector("[data-when=found]").hidden = own < score;
    row.querySelector("[data-when=missed]").hidden = own >= score;
  }
}

function show(place) {
  for (const cell of form.querySelectorAll("[data-number]")) cell.textContent = words[cell.dataset.number][place];
  range.setAttribute("aria-valuetext", `${words.score[place]}: precision ${words.precision[place]} %, recall ${words.recall[place]} %, F1 ${words.f1[place]}`);
  field.value = words.score[place];
  drawBoxes(scores[place]);
  fillTables(scores[place]);
}

// Wherever the page leads to from here, the score goes along, and the score that the list was made at, so that no image is passed over.
function remember(place) {
  const score = place === operating ? "" : words.score[place];
  for (const link of document.querySelectorAll("a[data-at-score]")) link.href = withScore(link.href, score);
  for (const input of document.querySelectorAll("form.chips input[name=score]")) input.value = score;
  history.replaceState(history.state, "", withScore(location.href, score));
}

function withScore(address, score) {
  const url = new URL(address);
  if (score) url.searchParams.set("score", score);
  else url.searchParams.delete("score");
  if (range.dataset.listed === (score || words.score[operating])) url.searchParams.delete("listed");
  else url.searchParams.set("listed", range.dataset.listed);
  return url.href;
}

function nearest(score) {
  let best = 0;
  for (let place = 1; place < scores.length; place++) if (Math.abs(scores[place] - score) < Math.abs(scores[best] - score)) best = place;
  return best;
}

// A score as the server reads it: with a comma or a point, the operating point where it is none.
function written(text) {
  const score = Number(text.trim().replace(",", "."));
  return text.trim() === "" || !Number.isFinite(score) ? scores[operating] : score;
}

function move(place) {
  range.value = place;
  show(place);
  remember(place);
}

function turnPage(event) {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("input, select, textarea, .table-wrap")) return;
  if (!KEYS.has(event.key)) return;
  document.querySelector(`a[data-key="${event.key}"]`)?.click();
}

range.addEventListener("input", () => show(Number(range.value)));
range.addEventListener("change", () => remember(Number(range.value)));
field.addEventListener("change", () => {
  if (field.value !== "") move(nearest(written(field.value)));
});
document.getElementById("operating").addEventListener("click", (event) => {
  event.preventDefault();
  move(operating);
});
document.addEventListener("keydown", turnPage);
// A page that is returned to may have kept the place of the slider from before.
addEventListener("pageshow", () => move(nearest(written(new URL(location.href).searchParams.get("score") || ""))));
range.hidden = false;
