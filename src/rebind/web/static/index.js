// The form of the start page: links and badges as one types. The hub makes the link; see links.py.

const form = document.getElementById("form");
const share = document.getElementById("share");
const problem = document.getElementById("problem");
const base = window.pageConfig.baseUrl;
let asked = 0;
let timer;

function fields() {
  const query = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...query]) if (!value.trim()) query.delete(name);
  return query;
}

async function ask() {
  const query = fields();
  if (!query.get("address")) return { empty: true };
  const answer = await fetch(`${base}api/v1/link?${query}`);
  const body = await answer.json();
  return answer.ok ? { link: body } : { message: body.message };
}

async function update({ loud = false } = {}) {
  clearTimeout(timer);
  const mine = ++asked;
  let found;
  try {
    found = await ask();
  } catch {
    found = { message: "The hub does not answer just now. Try again in a moment." };
  }
  if (mine !== asked) return null; // somebody typed on meanwhile
  share.toggleAttribute("data-empty", !found.link);
  if (loud || !found.message) problem.textContent = found.message ?? ""; // no scolding while somebody types
  if (!found.link) return null;
  for (const name of ["url", "markdown", "html", "rst"]) document.getElementById(`out-${name}`).value = found.link[name];
  document.getElementById("launch-link").href = found.link.url;
  return found.link;
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(update, 150);
});
form.addEventListener("change", () => update({ loud: true }));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const link = await update({ loud: true });
  if (!link) return;
  const query = new URL(link.url).search;
  location.assign(`${base}v2/${link.provider}/${link.spec}${query}`);
});

share.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const area = document.getElementById(button.dataset.copy);
  area.select();
  try {
    await navigator.clipboard.writeText(area.value);
  } catch {
    document.execCommand("copy"); // the clipboard needs https or localhost
  }
  button.textContent = "Copied";
  document.getElementById("copied").textContent = "Copied to the clipboard.";
  setTimeout(() => (button.textContent = "Copy"), 1500);
});

if (form.address.value) update({ loud: true });
