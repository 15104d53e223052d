// The log: lines as text, never as HTML; terminal escapes are taken out, a carriage return begins the line anew.

const ESCAPES = /\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;
const MOST = 5000; // lines kept in the page

export class Log {
  constructor(element, follow) {
    this.element = element;
    this.follow = follow;
    this.line = null;
    this.text = "";
    this.waiting = document.createDocumentFragment();
    this.planned = false;
  }

  add(message, phase) {
    const parts = message.replace(ESCAPES, "").replaceAll("\r\n", "\n").split("\n");
    parts.forEach((part, index) => {
      if (index > 0) this.end();
      if (part) this.write(part, phase);
    });
    if (phase !== "building" && phase !== "fetching") this.end(); // only logs of a builder come in pieces of lines
    if (!this.planned) {
      this.planned = true;
      requestAnimationFrame(() => this.show());
    }
  }

  write(part, phase) {
    if (!this.line) {
      this.line = document.createElement("div");
      this.line.className = String(phase).replace(/[^a-z]/g, "");
      this.text = "";
      this.waiting.append(this.line);
    }
    const whole = (this.text + part).replace(/\r+$/, "");
    this.text = whole.slice(whole.lastIndexOf("\r") + 1) + (part.endsWith("\r") ? "\r" : "");
    this.line.textContent = this.text;
  }

  end() {
    this.line = null;
  }

  show() {
    this.planned = false;
    this.element.append(this.waiting);
    while (this.element.childElementCount > MOST) this.element.firstElementChild.remove();
    if (this.follow.checked) this.element.scrollTop = this.element.scrollHeight;
  }
}
