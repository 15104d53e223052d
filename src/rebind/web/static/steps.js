// The steps of a launch as the page shows them, from the phases of the event stream. No page in here.

export const STEPS = ["find", "fetch", "build", "start"];
const OF_PHASE = { waiting: 0, fetching: 1, building: 2, pushing: 2, built: 3, launching: 3, ready: 4 };
const PERCENT = [4, 18, 35, 80, 100];

export class Progress {
  constructor(now) {
    this.at = 0;
    this.failed = false;
    this.began = now;
    this.entered = [now, null, null, null];
    this.left = [null, null, null, null];
    this.seen = new Set();
  }

  // Takes the phase of one event; a phase that it does not know changes nothing.
  phase(phase, now) {
    this.seen.add(phase);
    if (phase === "failed" || phase === "failure") {
      this.failed = true;
      if (this.at < STEPS.length) this.left[this.at] = now;
      return;
    }
    const next = OF_PHASE[phase];
    if (next === undefined || next <= this.at) return;
    for (let step = this.at; step < next; step++) this.left[step] ??= now;
    if (next < STEPS.length) this.entered[next] = now;
    this.at = next;
  }

  // later, now, done, skipped (was there already) or failed
  state(step) {
    if (step === this.at && this.failed) return "failed";
    if (step > this.at) return "later";
    if (step === this.at) return "now";
    return this.entered[step] === null ? "skipped" : "done";
  }

  seconds(step, now) {
    if (this.entered[step] === null) return null;
    return ((this.left[step] ?? now) - this.entered[step]) / 1000;
  }

  get percent() {
    return PERCENT[this.at];
  }
}
