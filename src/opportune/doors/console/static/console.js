// What the pages cannot do by themselves: pause, keys, copying, the viewer's zone, filtering as one types.
(() => {
  "use strict";
  const ROWS = 50, SAY_EVERY_MS = 15000;
  const byId = (id) => document.getElementById(id);
  const line = byId("line"), pause = byId("pause"), said = byId("said");
  let paused = line?.dataset.state === "paused", missed = 0, lastSaidMs = Date.now();

  const show = (state, text) => {
    if (!line || (paused && state !== "paused")) return;
    if (line.dataset.state === state && line.querySelector(".text").textContent === text) return;
    line.dataset.state = state;
    line.querySelector(".text").textContent = text;
  };

  // The stream
  if (byId("stream")) show("off", "Connecting");
  document.addEventListener("htmx:sse:after:connection", (event) => {
    if (event.detail.connection.status < 400) show("on", "Streaming");
  });
  document.addEventListener("htmx:sse:error", () => show("lost", "Reconnecting"));
  document.addEventListener("htmx:sse:before:message", (event) => {
    if (!paused) return;
    missed += (event.detail.message.data.match(/data-id="/g) || []).length;
    event.detail.cancelled = true;
    show("paused", missed ? `Paused, ${missed >= ROWS ? ROWS + " or more" : missed} new` : "Paused");
  });
  document.addEventListener("htmx:sse:after:message", () => {
    show("on", "Streaming");
    const rows = byId("rows");
    while (rows && rows.rows.length > ROWS) rows.deleteRow(-1);
    if (rows?.rows.length) byId("empty")?.remove();
    const next = byId("next-said")?.textContent;
    if (next && Date.now() - lastSaidMs >= SAY_EVERY_MS && said.textContent !== next) {
      said.textContent = next;
      lastSaidMs = Date.now();
    }
  });
  pause?.addEventListener("click", (event) => {
    if (paused) return; // the link leads to the newest state, streaming again
    event.preventDefault();
    history.replaceState(null, "", pause.href);
    paused = true;
    show("paused", "Paused");
    pause.href = pause.dataset.resume;
    pause.querySelector("use").setAttribute("href", "#i-play");
    pause.querySelector("span").textContent = "Resume";
    said.textContent = "Paused";
  });

  // Keys
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      byId("q")?.focus();
      byId("q")?.select();
    }
    if (event.key === "Escape" && typing) event.target.blur();
  });

  // Colours, without leaving the page
  document.querySelector(".themes")?.addEventListener("submit", (event) => {
    const theme = event.submitter?.value;
    if (!theme) return;
    event.preventDefault();
    document.documentElement.dataset.theme = theme;
    document.cookie = `opportune_theme=${theme}; path=/console; samesite=strict; max-age=31536000`;
    for (const button of event.currentTarget.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === theme));
    }
  });

  // Times in the viewer's zone, when looked at
  const local = (event) => {
    const time = event.target.closest?.("time");
    if (!time || time.dataset.local) return;
    const at = new Date(time.dateTime);
    time.title = `${at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" })}\n${time.title}`;
    time.dataset.local = "1";
  };
  document.addEventListener("pointerover", local);

  // Copying a command
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copies]");
    if (!button) return;
    const label = button.querySelector("span"), before = label.textContent;
    try {
      await navigator.clipboard.writeText(byId(button.dataset.copies).textContent);
      label.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(byId(button.dataset.copies));
      label.textContent = "Selected";
    }
    said.textContent = label.textContent;
    setTimeout(() => { label.textContent = before; }, 2000);
  });

  // Filtering a table as one types; the address keeps what was typed
  for (const box of document.querySelectorAll("input[data-filters]")) {
    if (box.value) continue; // the server has filtered already: typing on goes through the form
    const body = byId(box.dataset.filters), none = byId(`${box.dataset.filters}-none`);
    const rows = [...body.rows].map((row) => [row, row.textContent.toLowerCase()]);
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const [row, text] of rows) {
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      none.hidden = shown > 0;
      none.querySelector("code") && (none.querySelector("code").textContent = box.value);
      const url = new URL(location.href);
      box.value ? url.searchParams.set("find", box.value) : url.searchParams.delete("find");
      history.replaceState(null, "", url);
    });
  }
})();
