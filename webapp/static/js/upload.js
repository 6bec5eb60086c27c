// Forms with a file: shows how far an upload is, refuses a file that is too large before it is sent. They work without this script, too.

const form = document.getElementById("import");
const origin = form.elements.origin;
const errors = document.getElementById("upload-errors");
const line = document.getElementById("upload-progress");
const bar = line.querySelector("progress");
const words = line.querySelector("span");

function showOrigin() {
  if (!origin) return;
  const chosen = origin.value;
  for (const part of form.querySelectorAll("[data-upload-only]")) part.hidden = chosen !== "upload";
  for (const part of form.querySelectorAll("[data-folder-only]")) part.hidden = chosen !== "folder";
  for (const part of form.querySelectorAll("[data-own-data]")) part.hidden = chosen !== "upload" && chosen !== "folder";
}

function megabytes(bytes) {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(bytes >= 1e8 ? 0 : 1)} MB`;
}

function fail(problems) {
  errors.replaceChildren(...problems.map((problem) => Object.assign(document.createElement("p"), { textContent: problem })));
  errors.hidden = false;
  line.hidden = true;
  form.querySelector("button").disabled = false;
  errors.scrollIntoView({ block: "nearest" });
}

function told(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return {};
  }
}

function send(name) {
  const request = new XMLHttpRequest();
  const started = performance.now();
  request.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable) return;
    const rate = event.loaded / ((performance.now() - started) / 1000);
    const left = Math.ceil((event.total - event.loaded) / rate);
    bar.value = (100 * event.loaded) / event.total;
    words.textContent =
      event.loaded < event.total
        ? `${megabytes(event.loaded)} of ${megabytes(event.total)}, ${megabytes(rate)} a second, about ${left < 90 ? `${left} s` : `${Math.round(left / 60)} min`} left`
        : "All is sent; the site stores it";
  });
  request.addEventListener("load", () => {
    const answer = told(request);
    if (request.status === 200 && answer.url) location.assign(answer.url);
    else fail(answer.problems ?? [`The site answered ${request.status}; try again, and look at its log if it stays so.`]);
  });
  request.addEventListener("error", () => fail([`The connection broke while '${name}' was sent; nothing was queued, so send it again.`]));
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRFToken", form.elements.csrfmiddlewaretoken.value);
  request.send(new FormData(form));
}

form.addEventListener("change", showOrigin);
form.addEventListener("submit", (event) => {
  const files = [...form.querySelectorAll("input[type=file]")].flatMap((input) => [...input.files]);
  if ((origin && origin.value !== "upload") || !files.length) return;
  event.preventDefault();
  errors.hidden = true;
  const most = Number(form.dataset.max);
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const name = files.map((file) => file.name).join(", ");
  if (size > most) {
    fail([`'${name}' has ${megabytes(size)}; this site takes at most ${megabytes(most)}. Leave out what is not needed, or split it.`]);
    return;
  }
  line.hidden = false;
  bar.removeAttribute("value");
  words.textContent = "Sending";
  form.querySelector("button").disabled = true;
  send(name);
});
showOrigin();
