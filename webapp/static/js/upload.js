// The import form: shows how far an upload is, refuses a file that is too large before it is sent. Works without this script, too.

const form = document.getElementById("import");
const errors = document.getElementById("upload-errors");
const line = document.getElementById("upload-progress");
const bar = line.querySelector("progress");
const words = line.querySelector("span");

function showOrigin() {
  const upload = form.elements.origin.value === "upload";
  for (const part of form.querySelectorAll("[data-upload-only]")) part.hidden = !upload;
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

function send(file) {
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
  request.addEventListener("error", () => fail([`The connection broke while '${file.name}' was sent; nothing was queued, so send it again.`]));
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRFToken", form.elements.csrfmiddlewaretoken.value);
  request.send(new FormData(form));
}

form.addEventListener("change", showOrigin);
form.addEventListener("submit", (event) => {
  const file = form.elements.file.files[0];
  if (form.elements.origin.value !== "upload" || !file) return;
  event.preventDefault();
  errors.hidden = true;
  const most = Number(form.dataset.max);
  if (file.size > most) {
    fail([`'${file.name}' has ${megabytes(file.size)}; this site takes at most ${megabytes(most)}. Leave out what is not needed, or split it.`]);
    return;
  }
  line.hidden = false;
  bar.removeAttribute("value");
  words.textContent = "Sending";
  form.querySelector("button").disabled = true;
  send(file);
});
showOrigin();
