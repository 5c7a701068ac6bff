// The review page: one key, one decision. The page goes on when the server has said that the decision is on disk.
"use strict";
const at = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("[data-label]")];
const byKey = new Map(buttons.filter((b) => b.dataset.key).map((b) => [b.dataset.key, b]));
let call = null, busy = false, done = 0;

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw Object.assign(new Error(told.detail || `the service answers ${answer.status}`), { status: answer.status });
}

// A decision is sent until it is taken or refused: a server that is away for a moment loses nothing.
async function insist(path, body) {
  for (;;) {
    try { return await post(path, body); } catch (error) {
      if (error.status && error.status !== 503 && error.status !== 429) throw error;
      alarm(`Not saved yet: ${error.status ? error.message : "the service cannot be reached"}. It is tried again.`);
      await new Promise((go) => setTimeout(go, 1000));
    }
  }
}

function alarm(text) { if (at("alarm").textContent !== text) at("alarm").textContent = text; }
function status(text) { at("status").textContent = text; }
function made(tag, css, text) {
  const one = document.createElement(tag);
  one.className = css; one.textContent = text; one.dir = "auto";
  return one;
}

function show(told) {
  call = told.call;
  at("waiting").textContent = told.waiting.toLocaleString("en");
  at("call").hidden = at("choices").hidden = !call;
  at("empty").hidden = Boolean(call);
  if (at("find")) { at("find").value = ""; narrow(); }
  if (!call) {
    at("rest").textContent = told.waiting ? "What waits is with another reviewer, or is for a second one." : "New calls come as they are answered.";
    return;
  }
  at("call-name").textContent = `Call of ${call.at.slice(0, 16).replace("T", " ")} UTC`;
  at("text").replaceChildren(
    ...call.history.map(([role, text]) => made("p", "turn", `${role}: ${text}`)),
    ...call.fields.flatMap(([name, text]) => [...(call.fields.length > 1 ? [made("p", "meta", name)] : []), made("p", "text", text)]));
  at("answered").textContent = call.answered;
  const own = buttons.find((b) => b.dataset.label === call.answered);
  at("about").textContent = own ? own.dataset.about : "";
  at("about").hidden = !at("about").textContent;
  buttons.forEach((b) => b.classList.toggle("own", b === own));
  at("call").dataset.review = call.review;
  at("call").focus({ preventScroll: true });
  if (scrollY > at("call").offsetTop) at("call").scrollIntoView({ block: "start" });
}

async function go(path, body, said) {
  if (busy) return;
  busy = true;
  document.body.classList.add("busy");
  try {
    const told = await insist(path, body);
    alarm("");
    done += told.change || 0;
    at("done").textContent = done;
    status(told.change ? said : told.said || said);
    show(told);
  } catch (error) {
    alarm(error.message);
    if (error.status === 409) { try { show(await post("/review/next", {})); } catch (again) { alarm(again.message); } }
  }
  busy = false;
  document.body.classList.remove("busy");
}

function decide(label) { if (call) go("/review/decide", { review: call.review, label }, label === call.answered ? "Saved: right" : `Saved: ${label}`); }
function undo() { go("/review/undo", { current: call ? call.review : null }, "Taken back"); }
function skip() { if (call) go("/review/next", { skip: call.review }, "Put off"); }

function narrow() {
  const part = at("find").value.trim().toLowerCase();
  buttons.forEach((b) => { b.parentElement.hidden = !`${b.dataset.label} ${b.dataset.about}`.toLowerCase().includes(part); });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const typing = event.target.id === "find";
  if (typing) {
    if (event.key === "Escape") { at("find").value = ""; narrow(); at("call").focus(); }
    if (event.key === "Enter") { const first = buttons.find((b) => !b.parentElement.hidden); if (first && at("find").value.trim()) decide(first.dataset.label); event.preventDefault(); }
    return;
  }
  const pressed = event.target.closest("button, a, summary, input");
  if (pressed && (event.key === " " || event.key === "Enter")) return; // what has the focus is pressed
  const key = event.key.toLowerCase();
  if (key === " " || key === "enter") { if (call) decide(call.answered); }
  else if (key === "u") undo();
  else if (key === "s") skip();
  else if (key === "/" && at("find")) at("find").focus();
  else if (byKey.has(key)) decide(byKey.get(key).dataset.label);
  else return;
  event.preventDefault();
});
buttons.forEach((b) => b.addEventListener("click", () => decide(b.dataset.label)));
at("right").addEventListener("click", () => call && decide(call.answered));
at("undo").addEventListener("click", undo);
at("skip").addEventListener("click", skip);
at("again").addEventListener("click", () => go("/review/next", {}, ""));
if (at("find")) at("find").addEventListener("input", narrow);
go("/review/next", {}, "");
