// The launch page: starts a launch once, watches its events (and comes back to them after a lost connection), goes to
// the session.

import { Log } from "./log.js";
import { Progress, STEPS } from "./steps.js";

const page = document.getElementById("launch");
const { provider, spec, asOf, before, after } = page.dataset;
const base = window.pageConfig.baseUrl;
const remembered = `rebind:${location.pathname}${location.search}`;
const byId = (id) => document.getElementById(id);
const log = new Log(byId("log"), byId("follow"));
const progress = new Progress(performance.now());
let over = false;

const SAID = {
  waiting: "Waiting for a free place to build …",
  fetching: "Getting the repository's files …",
  building: "Building the environment. The first time takes longest; the next launch finds it ready.",
  pushing: "Storing the environment …",
  built: "The environment is ready.",
  launching: "Starting the session …",
  ready: "Ready. Opening the session …",
};

function say(text) {
  const state = byId("state");
  if (state.textContent !== text) state.textContent = text;
}

function draw() {
  const now = performance.now();
  STEPS.forEach((name, index) => {
    const item = document.querySelector(`[data-step=${name}]`);
    const state = progress.state(index);
    item.dataset.state = state;
    if (state === "now") item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
    item.querySelector(".note").textContent = state === "skipped" ? "there already" : "";
    const seconds = progress.seconds(index, now);
    item.querySelector(".time").textContent = seconds === null ? "" : clock(seconds);
  });
  const bar = byId("bar");
  bar.firstElementChild.style.width = `${progress.percent}%`;
  bar.setAttribute("aria-valuenow", String(progress.percent));
  bar.dataset.state = progress.failed ? "failed" : "";
}

function clock(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

function icon(state) {
  byId("icon").href = `${base}favicon_${state}.ico`;
}

// The token goes to the session's own address and nowhere else.
function destination(event) {
  const url = new URL(event.url);
  if (!/^https?:$/.test(url.protocol) || !url.pathname.endsWith("/")) throw new Error("not a session");
  const joint = before.includes("?") ? "&" : "?";
  const target = new URL(`${url.href}${before}${joint}token=${encodeURIComponent(event.token)}${after}`);
  if (target.origin !== url.origin || !target.pathname.startsWith(url.pathname)) throw new Error("outside the session");
  return target.href;
}

function ready(event) {
  finish();
  icon("success");
  let target;
  try {
    target = destination(event);
  } catch {
    fail("The hub named an address that is not a session's.");
    return;
  }
  const open = byId("open");
  open.href = target;
  open.hidden = false;
  byId("actions").hidden = false;
  location.replace(target);
}

function fail(message) {
  finish();
  icon("fail");
  progress.failed = true;
  const [what, ...rest] = message.trim().split("\n");
  say(what || "The launch failed. The log says more.");
  byId("state").classList.add("problem");
  byId("kicker").textContent = "Not launched";
  byId("kicker").classList.add("bad");
  if (rest.length > 0 && rest.length <= 4) {
    byId("remedy").textContent = rest.join("\n"); // a longer explanation stands in the log
    byId("remedy").hidden = false;
  }
  for (const id of ["again", "change"]) byId(id).hidden = false;
  byId("actions").hidden = false;
  byId("again").focus();
}

function finish() {
  over = true;
  sessionStorage.removeItem(remembered);
}

function take(event) {
  const phase = String(event.phase ?? "unknown").toLowerCase();
  if (event.message) log.add(event.message, phase);
  progress.phase(phase, performance.now());
  if (SAID[phase]) say(SAID[phase]);
  if (phase === "ready") ready(event);
  else if (phase === "failed" || phase === "failure") fail(event.message ?? "");
  draw();
}

async function create() {
  const answer = await fetch(`${base}api/v1/launches`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ provider, spec, as_of: asOf || null }),
  });
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body.id;
  if (answer.status >= 502) throw new TypeError("away");
  take({ phase: "failed", message: body.message ?? `The hub answered ${answer.status}.` });
  return null;
}

// A page that is loaded again goes on watching the launch that it began.
async function resume() {
  const id = sessionStorage.getItem(remembered);
  if (!id) return null;
  const answer = await fetch(`${base}api/v1/launches/${encodeURIComponent(id)}`);
  if (!answer.ok) return null;
  const launch = await answer.json();
  return ["queued", "running"].includes(launch.state) ? id : null;
}

function watch(id, seen = 0) {
  const source = new EventSource(`${base}api/v1/launches/${encodeURIComponent(id)}/events?after=${seen}`);
  source.onmessage = (message) => {
    if (message.lastEventId) seen = Number(message.lastEventId);
    take(JSON.parse(message.data));
    if (over) source.close();
  };
  source.onerror = () => {
    if (over) return source.close();
    say("The connection was lost; the launch goes on. Connecting again …");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => watch(id, seen), 2000);
  };
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function begin() {
  while (!over) {
    try {
      const id = (await resume()) ?? (await create());
      if (!id) return;
      sessionStorage.setItem(remembered, id);
      watch(id);
      return;
    } catch {
      say("The hub does not answer just now. Trying again …");
      await pause(2000);
    }
  }
}

byId("again").addEventListener("click", () => location.reload());
byId("copy-log").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  await navigator.clipboard?.writeText(byId("log").innerText);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
});
setInterval(() => over || draw(), 100);
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
draw();
begin();
