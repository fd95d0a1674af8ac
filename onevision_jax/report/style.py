"""The look of a report, and the one script it holds: both are constants, no data enters them."""

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1d2126; --muted: #5d6670; --line: #dfe2e6;
  --track: #e9ebee; --good: #1a7f4b; --bad: #c0362c; --odd: #9a6700;
  --c0: #2563b8; --c1: #c2570c; --c2: #1a7f5a; --c3: #9333a8; --c4: #8a6d00; --c5: #5d6670; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171a; --card: #1c2024; --ink: #e6e8ea; --muted: #9aa4ae; --line: #32383f;
  --track: #2b3138; --good: #4cc38a; --bad: #f2766b; --odd: #e0ad3a;
  --c0: #6ea8fe; --c1: #f59e5b; --c2: #4cc9a0; --c3: #cf8ae0; --c4: #d8bd4a; --c5: #9aa4ae; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; line-height: 1.3; margin: 0; grid-column: 1 / -1; }
section { display: grid; gap: 16px; margin-top: 36px; padding-top: 20px;
  border-top: 1px solid var(--line); align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
section > * { grid-column: 1 / -1; min-width: 0; margin: 0; }
section > figure { grid-column: auto; }
.note { color: var(--muted); max-width: 75ch; overflow-wrap: anywhere; }
.facts { display: grid; gap: 10px 24px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 210px), 1fr)); }
.facts dt { color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: left; padding: 5px 22px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--muted); font-weight: 500; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px 10px; }
figcaption { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline;
  margin-bottom: 6px; overflow-wrap: anywhere; }
figcaption b { font-weight: 600; flex: 1 0 100%; }
figcaption span { color: var(--muted); font-size: 13px; font-variant-numeric: tabular-nums; }
figcaption i { display: inline-block; width: 14px; height: 3px; border-radius: 2px;
  vertical-align: middle; margin-right: 6px; background: currentColor; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 13px; fill: var(--muted); font-variant-numeric: tabular-nums; }
svg .name { fill: var(--ink); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--muted); stroke-width: 1; }
svg .line { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round;
  stroke-linecap: round; }
svg .faint { stroke-width: 1; opacity: .38; }
svg .dot { fill: currentColor; }
svg .track { fill: var(--track); } svg .bar { fill: var(--c0); opacity: .8; }
svg .whisker { stroke: var(--ink); stroke-width: 1.6; fill: none; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); }
.c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
.filters { display: none; flex-wrap: wrap; gap: 6px 18px; margin-bottom: 14px; }
.scripted .filters { display: flex; }
.filters > span { display: flex; flex-wrap: wrap; gap: 6px; align-items: center;
  color: var(--muted); font-size: 13px; }
button { font: inherit; color: var(--ink); background: var(--card); cursor: pointer;
  border: 1px solid var(--line); border-radius: 999px; padding: 2px 11px; max-width: 100%;
  overflow-wrap: anywhere; }
button[aria-pressed=true] { border-color: var(--c0); box-shadow: inset 0 0 0 1px var(--c0); }
.cards { display: grid; gap: 14px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); }
article { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 14px; display: flex; flex-wrap: wrap; gap: 12px 16px; overflow: hidden; min-width: 0; }
article[hidden] { display: none; }
article > header { flex: 1 0 100%; display: flex; flex-wrap: wrap; gap: 4px 10px;
  align-items: baseline; font-size: 13px; color: var(--muted); overflow-wrap: anywhere; }
article > .picture { flex: 0 0 168px; }
article > .words { flex: 1 1 240px; min-width: 0; }
.words > * { margin: 0 0 8px; overflow-wrap: anywhere; }
.words > :last-child { margin-bottom: 0; }
.picture img { display: block; width: 100%; max-height: 340px; object-fit: contain;
  background: #fff; border: 1px solid var(--line); border-radius: 4px; }
.picture .none { display: grid; place-items: center; height: 96px; color: var(--muted);
  background: var(--track); border-radius: 4px; font-size: 13px; }
.verdict { font-weight: 600; color: var(--odd); }
.verdict.correct { color: var(--good); } .verdict.wrong { color: var(--bad); }
.question { font-weight: 600; white-space: pre-wrap; }
.choices { padding-left: 1.6em; }
h3 { font-size: 12px; font-weight: 500; color: var(--muted); margin: 0 0 2px; }
.reasoning, pre { max-height: 240px; overflow: auto; white-space: pre-wrap; font-size: 14px; }
pre { margin: 0; padding: 8px 10px; background: var(--page); border: 1px solid var(--line);
  border-radius: 4px; font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.pair { display: flex; flex-wrap: wrap; gap: 8px 28px; }
.pair > div { min-width: 0; }
.pair p { margin: 0; white-space: pre-wrap; max-height: 120px; overflow: auto; }
.reason { margin: 0; color: var(--muted); font-size: 13px; }
@media (max-width: 520px) { main { padding: 20px 12px 48px; }
  article > .picture { flex-basis: 100%; } .picture img { max-width: 220px; } }
"""

# Buttons carry data-key and data-value, cards an attribute data-KEY; "" shows every card.
SCRIPT = """
document.documentElement.classList.add("scripted");
for (const box of document.querySelectorAll(".samples")) {
  const wanted = {};
  box.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-key]");
    if (!button) return;
    wanted[button.dataset.key] = button.dataset.value;
    for (const other of button.parentElement.querySelectorAll("button"))
      other.setAttribute("aria-pressed", String(other === button));
    for (const card of box.querySelectorAll("article"))
      card.hidden = Object.entries(wanted).some(([k, v]) => v && card.dataset[k] !== v);
  });
}
"""

_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
# Nothing is fetched, and of all scripts only the one above runs.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
)
