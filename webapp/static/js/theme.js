// Runs before the page is painted, so that a remembered theme does not flash. A classic script on purpose.
(function () {
  const root = document.documentElement;
  root.classList.add("has-js");
  const names = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" };
  const order = ["auto", "light", "dark"];

  function remembered() {
    try {
      const value = localStorage.getItem("paretobox-theme");
      return order.includes(value) ? value : "auto";
    } catch {
      return "auto";
    }
  }

  function apply(theme) {
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
  }

  function changed() {
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  apply(remembered());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  document.addEventListener("DOMContentLoaded", function () {
    const button = document.querySelector("[data-theme-toggle]");
    if (!button) return;
    button.hidden = false;
    button.textContent = names[remembered()];
    button.addEventListener("click", function () {
      const next = order[(order.indexOf(remembered()) + 1) % order.length];
      try {
        localStorage.setItem("paretobox-theme", next);
      } catch {
        // Storage is off: the choice lasts for this page only.
      }
      apply(next);
      button.textContent = names[next];
      changed();
    });
  });
})();
