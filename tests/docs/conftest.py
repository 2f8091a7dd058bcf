"""Opens a page of docs/ in headless Chromium: a copy of it with a script that operates it and writes its results as JSON."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFFLINE = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
ERRORS = """<script>
window.found = [];
console.error = console.warn = (...x) => found.push(x.join(" "));
addEventListener("error", (event) => found.push(event.message));
addEventListener("unhandledrejection", (event) => found.push(String(event.reason)));
Element.prototype.setPointerCapture = () => {}; // made-up pointers cannot be captured
</script>"""
WORK = """<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const open_ = (hash) => { history.replaceState(null, "", "#" + hash); window.onhashchange(); };
const find = (id) => document.getElementById(id);
const set = (id, value, event = "input") => { find(id).value = value; find(id).dispatchEvent(new Event(event)); };
const click = (id) => find(id).click();
const key = (id, name) => find(id).dispatchEvent(new KeyboardEvent("keydown", { key: name, cancelable: true }));
const column = (name) => {
  const i = [...document.querySelectorAll("#table thead th")].findIndex((cell) => cell.textContent === name);
  return [...document.querySelectorAll("#table tbody tr")].map((row) => Number(row.children[i].dataset.exact));
};
const exact = (id) => Number(find(id).dataset.exact);
const shown = () => ({
  I: column("I[t]"), m: column("m[t]"), z: column("z[t]"), s: column("s[t]"), f: column("f(z[t])"), g: column("g[t]"),
  d: column("d[t] = ∂L/∂I[t]"), loss: exact("loss-value"), leak: exact("grad-leak"), threshold: exact("grad-threshold"),
});
(async () => {
  let result = null;
  try { result = await (async () => { %s })(); } catch (error) { found.push(String(error.stack)); }
  parent.postMessage(JSON.stringify({ result, found }), "*");
  for (let timer = setTimeout(() => {}); timer > 0; timer--) clearTimeout(timer); // the page's own work need not go on
})();
</script></body>"""
FRAME = """<!DOCTYPE html><body style="margin: 0">
<iframe src="page.html#%s" style="border: 0; width: %dpx; height: 900px"></iframe>
<pre id="result"></pre><script>onmessage = (event) => (document.getElementById("result").textContent = event.data);</script>"""


@pytest.fixture
def visit(tmp_path):
    """visit(script, width=1200, address="", page="lif.html"): what the script returns on the page.

    Fails on any error or console message. address: the part after the #.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path: the page cannot be opened")

    def go(script, width=1200, address="", page="lif.html"):
        text = (DOCS / page).read_text(encoding="utf-8")
        text = text.replace("<head>", "<head>" + ERRORS, 1).replace("</body>", WORK % script, 1)
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        # a frame, for Chromium's own window is never narrower than 500 pixels
        (tmp_path / "frame.html").write_text(FRAME % (html.escape(address), width), encoding="utf-8")
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *OFFLINE, "--dump-dom"]
        command += ["--enable-logging=stderr", "--window-size=1300,900", "--virtual-time-budget=30000"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "frame.html").as_uri()]
        # a minute is usual, but not on a busy machine
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600)
        written = re.search(r'<pre id="result">(.+?)</pre>', done.stdout, re.S)
        assert written, done.stderr[-2000:]
        answer = json.loads(html.unescape(written.group(1)))
        assert answer["found"] == [] and "CONSOLE" not in done.stderr, (answer["found"], done.stderr[-2000:])
        return answer["result"]

    return go
