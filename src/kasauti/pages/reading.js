// Decide rows with keys, mouse or touch. Walks in: the rows as the page holds them. Walks out: one POST a decision, one
// after the other. A row is shown as decided only when the server has answered that the decision is on disk.
"use strict";

(() => {
  // the key to this page is in a cookie by now; an address that is copied or photographed should not give it away
  if (location.search.includes("token=")) {
    const address = new URL(location.href);
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }

  const by = (id) => document.getElementById(id);
  const desk = by("desk");
  if (!desk) return;
  const rows = [...desk.querySelectorAll(".read")];
  const relabel = by("relabel");
  const field = by("choose");
  const options = [...relabel.querySelectorAll("[role=option]")];
  const made = desk.dataset.order.split(" ").map((key) => rows.find((row) => row.dataset.key === key)).filter(Boolean);
  const waiting = new Map(); // row → decisions on their way
  let current = 0;
  let queue = Promise.resolve();

  const decided = (row) => row.dataset.choice !== "";
  const open = (row) => !decided(row) && !waiting.get(row);
  const tell = (text) => { by("status").textContent = text; };

  function go(index, focus = true, scroll = focus) {
    rows[current].removeAttribute("aria-current");
    for (const each of rows[current].querySelectorAll("button, summary")) each.tabIndex = -1;
    current = Math.max(0, Math.min(rows.length - 1, index));
    const row = rows[current];
    row.setAttribute("aria-current", "true");
    for (const each of row.querySelectorAll("button, summary")) each.tabIndex = 0;
    by("place").textContent = `Row ${current + 1} of ${rows.length}`;
    if (focus) row.focus({ preventScroll: true });
    if (scroll) row.scrollIntoView({ block: "start", behavior: "instant" });
  }

  function nextOpen(from) {
    const later = rows.findIndex((row, index) => index > from && open(row));
    return later >= 0 ? later : rows.findIndex(open);
  }

  function count() {
    const done = rows.filter(decided);
    by("done").textContent = done.length;
    by("progress").value = done.length;
    for (const choice of ["accept", "relabel", "drop"]) {
      by(`count-${choice}`).textContent = done.filter((row) => row.dataset.choice === choice).length;
    }
    return done.length;
  }

  // Puts a decision on its way. The reader goes on at once; the row says "saving" until the answer is there.
  function decide(row, choice, label) {
    waiting.set(row, (waiting.get(row) ?? 0) + 1);
    row.classList.add("saving");
    row.classList.remove("failed");
    row.querySelector(".outcome").textContent = "Saving…";
    queue = queue.then(() => send(row, choice, label));
    if (choice === "undo") return go(rows.indexOf(row));
    const next = nextOpen(rows.indexOf(row));
    go(next >= 0 ? next : rows.indexOf(row));
  }

  async function send(row, choice, label) {
    let fault = "";
    let stands = null;
    try {
      const answer = await fetch("/decisions", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ row: row.dataset.key, choice, label: label ?? null }),
      });
      const body = await answer.json().catch(() => ({}));
      if (answer.ok) stands = body;
      else fault = body.detail || `the server answered ${answer.status}.`;
    } catch {
      fault = "Kasauti does not answer. Start `kasauti audit --read` again and open the address that it prints.";
    }
    waiting.set(row, waiting.get(row) - 1);
    if (!waiting.get(row)) row.classList.remove("saving");
    if (fault) failed(row, fault);
    else saved(row, stands);
  }

  function saved(row, stands) {
    row.dataset.choice = stands.choice;
    row.querySelector(".outcome").textContent = stands.said;
    const before = made.indexOf(row);
    if (before >= 0) made.splice(before, 1);
    if (stands.choice) made.push(row);
    const done = count();
    if (!document.querySelector(".failed")) by("alarm").textContent = "";
    const rest = done === rows.length ? `All ${rows.length} rows are decided.` : `${done} of ${rows.length} decided.`;
    tell(`Saved: ${row.dataset.name}, ${(stands.said || "undecided").toLowerCase()}. ${rest}`);
  }

  function failed(row, fault) {
    row.classList.add("failed");
    row.querySelector(".outcome").textContent = "Not saved";
    by("alarm").textContent = `Not saved (${row.dataset.name}): ${fault}`;
    tell("");
  }

  function undo(row) {
    const meant = decided(row) || waiting.get(row) ? row : made.at(-1);
    if (meant) decide(meant, "undo");
    else tell("There is nothing to undo.");
  }

  // ---- relabel: type a part of the label, Enter

  const plain = (text) => text.toLowerCase().replaceAll(/[_\-/]/g, " ");

  // 0 where the label begins so, 1 where a word of it does, 2 where it stands anywhere in it; then its description
  function rank(option, typed) {
    const label = plain(option.dataset.label);
    if (label.startsWith(typed)) return 0;
    if (label.includes(` ${typed}`)) return 1;
    if (label.includes(typed)) return 2;
    return plain(option.textContent).includes(typed) ? 3 : Infinity;
  }

  function choose(option) {
    for (const each of options) each.setAttribute("aria-selected", String(each === option));
    if (!option) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  const fitting = () => [...by("options").children].filter((option) => !option.hidden);
  const chosen = () => options.find((option) => option.getAttribute("aria-selected") === "true");

  function filter() {
    const typed = plain(field.value.trim());
    const ranked = options.map((option, index) => [typed ? rank(option, typed) : 0, index, option]);
    ranked.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (const [place, , option] of ranked) {
      option.hidden = place === Infinity;
      by("options").append(option);
    }
    const fit = fitting();
    choose(typed ? fit[0] : undefined);
    by("none").textContent = fit.length ? "" : "No label fits.";
  }

  function ask(row) {
    relabel.dataset.row = rows.indexOf(row);
    const text = row.querySelector(".text").textContent;
    by("relabel-text").textContent = text.length > 280 ? `${text.slice(0, 279)}…` : text;
    field.value = options.length ? "" : row.querySelector(".answer b").textContent;
    if (options.length) filter();
    relabel.showModal();
    choose(options.find((option) => option.dataset.label === row.dataset.suggested));
    field.focus();
  }

  function save() {
    const label = options.length ? chosen()?.dataset.label : field.value;
    if (!label?.trim()) return;
    const row = rows[Number(relabel.dataset.row)];
    relabel.close();
    decide(row, "relabel", label);
  }

  field.addEventListener("input", () => options.length && filter());
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && (options.length || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      save();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && options.length) {
      event.preventDefault();
      const fit = fitting();
      const at = fit.indexOf(chosen());
      choose(fit[at < 0 && step < 0 ? fit.length - 1 : (at + step + fit.length) % fit.length]);
    }
  });
  for (const option of options) option.addEventListener("click", () => { choose(option); save(); });
  by("save").addEventListener("click", save);
  by("cancel").addEventListener("click", () => relabel.close());
  relabel.addEventListener("close", () => rows[current].focus({ preventScroll: true }));
  by("help").addEventListener("close", () => rows[current].focus({ preventScroll: true }));
  by("help-button").addEventListener("click", () => by("help").showModal());

  // ---- keys

  const acts = {
    accept: (row) => decide(row, "accept"),
    drop: (row) => decide(row, "drop"),
    relabel: ask,
    undo,
  };
  const keys = {
    j: () => go(current + 1),
    k: () => go(current - 1),
    n: () => (nextOpen(current) >= 0 ? go(nextOpen(current)) : tell("Every row is decided.")),
    a: () => acts.accept(rows[current]),
    r: () => acts.relabel(rows[current]),
    d: () => acts.drop(rows[current]),
    u: () => acts.undo(rows[current]),
    t: () => { const box = rows[current].querySelector("details"); if (box) box.open = !box.open; },
    "?": () => by("help").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !by("keys").checked) return;
    if (document.querySelector("dialog[open]") || event.target.closest("textarea, select, input:not(#keys)")) return;
    // where letters are not Latin, the place of the key counts
    const name = /^[a-z?]$/i.test(event.key) ? event.key.toLowerCase() : event.code.replace(/^Key/, "").toLowerCase();
    if (!Object.hasOwn(keys, name) || (event.repeat && !"jk".includes(name))) return;
    event.preventDefault();
    keys[name]();
  });

  for (const [index, row] of rows.entries()) {
    row.addEventListener("click", (event) => {
      if (index !== current) go(index, false);
      const act = event.target.closest("[data-act]")?.dataset.act;
      if (act) acts[act](row);
    });
  }

  try {
    by("keys").checked = localStorage.getItem("kasauti-keys") !== "off";
    by("keys").addEventListener("change", () => localStorage.setItem("kasauti-keys", by("keys").checked ? "on" : "off"));
  } catch { /* a browser that stores nothing: the choice lasts as long as the page */ }

  const first = nextOpen(-1);
  go(Math.max(0, first), true, first > 0); // who begins sees the head of the page first
  if (first < 0) tell(`All ${rows.length} rows are decided.`);
})();
