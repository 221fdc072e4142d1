// Light or dark, before anything is painted: what the reader chose here, else what the system has.
const DARK = matchMedia("(prefers-color-scheme: dark)");

function chosenTheme() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // a browser that keeps nothing for files
  }
}

function applyTheme() {
  document.documentElement.dataset.theme = chosenTheme() ?? (DARK.matches ? "dark" : "light");
}

applyTheme();
