"""The look of a report, and the one script it holds: both are constants, no data enters them."""

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1d2126; --muted: #5d6670; --line: #dfe2e6;
  --track: #e9ebee; --good: #1a7f4b; --bad: #c0362c; --odd: #9a6700;
  --c0: #2563b8; --c1: #c2570c; --c2: #1a7f5a; --c3: #9333a8; --c4: #8a6d00; --c5: #5d6670;
  --h0: #f1f5fb; --h1: #d6dfed; --h2: #bccae0; --h3: #a2b5d2; --h4: #88a0c4; --h5: #6f8cb6;
  --h6: #5778a8; --h7: #3f649a; --h8: #27508b; --h9: #0b3c7d;
  --pale: #1d2126; --middle: #1d2126; --strong: #ffffff; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171a; --card: #1c2024; --ink: #e6e8ea; --muted: #9aa4ae; --line: #32383f;
  --track: #2b3138; --good: #4cc38a; --bad: #f2766b; --odd: #e0ad3a;
  --c0: #6ea8fe; --c1: #f59e5b; --c2: #4cc9a0; --c3: #cf8ae0; --c4: #d8bd4a; --c5: #9aa4ae;
  --h0: #1d2733; --h1: #2b3847; --h2: #3b495b; --h3: #4b5c71; --h4: #5b6f87; --h5: #6c829e;
  --h6: #7e97b5; --h7: #90abcd; --h8: #a2c0e6; --h9: #b5d6ff;
  --pale: #ffffff; --middle: #0d1117; --strong: #0d1117; } }
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
.heat { border-collapse: separate; border-spacing: 3px; font-size: 14px; }
.heat th, .heat td { border: 0; padding: 5px 9px; vertical-align: middle; }
.heat th { white-space: normal; max-width: 150px; overflow-wrap: break-word; }
.heat thead th { text-align: center; vertical-align: bottom; min-width: 74px; }
.heat tbody th, .heat tfoot th { text-align: right; min-width: 84px; }
.heat td { text-align: center; border-radius: 4px; white-space: nowrap; }
.heat td b { display: block; font-weight: 600; } .heat td small { font-size: 12px; }
.heat .empty { color: var(--muted); }
.heat td.few { outline: 2px dashed var(--odd); outline-offset: -2px; }
.heat .sum { box-shadow: inset 0 0 0 1px var(--line); }
.h0, .h1, .h2, .h3, .h4 { color: var(--pale); } .h5 { color: var(--middle); }
.h6, .h7, .h8, .h9 { color: var(--strong); }
.h0 { background: var(--h0); } .h1 { background: var(--h1); } .h2 { background: var(--h2); }
.h3 { background: var(--h3); } .h4 { background: var(--h4); } .h5 { background: var(--h5); }
.h6 { background: var(--h6); } .h7 { background: var(--h7); } .h8 { background: var(--h8); }
.h9 { background: var(--h9); }
figcaption .scale i { width: 14px; height: 12px; margin: 0; border-radius: 0; }
figcaption i.few { height: 12px; background: none; outline: 2px dashed var(--odd);
  outline-offset: -2px; }
.headline { display: grid; gap: 4px 24px; align-items: center;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.headline p { margin: 0; } .headline b { display: block; font-size: 44px; line-height: 1.1;
  font-weight: 650; font-variant-numeric: tabular-nums; }
.headline span { color: var(--muted); }
.headline figure { border: 0; background: none; padding: 0; }
figcaption em { font-style: normal; } figcaption i.block { height: 10px; opacity: .8; }
svg .bar.other { fill: var(--c5); opacity: .55; }
svg .mark { fill: currentColor; stroke: var(--card); stroke-width: 1; }
summary { font-size: 12px; color: var(--muted); cursor: pointer; margin-bottom: 4px; }
section > figure.wide { grid-column: 1 / -1; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); }
.c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
.filters { display: none; flex-wrap: wrap; gap: 6px 18px; margin-bottom: 14px; }
.scripted .filters { display: flex; }
.filters > * { display: flex; flex-wrap: wrap; gap: 6px; align-items: center;
  color: var(--muted); font-size: 13px; }
select, input { font: inherit; color: var(--ink); background: var(--card); min-width: 0;
  border: 1px solid var(--line); border-radius: 6px; padding: 2px 8px; max-width: 100%; }
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
  article > .picture { flex-basis: 100%; } .picture img { max-width: 220px; }
  .facts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 150px), 1fr)); }
  .heat { font-size: 12.5px; border-spacing: 2px; } .heat th, .heat td { padding: 3px 5px; }
  .heat thead th { min-width: 52px; } .heat tbody th, .heat tfoot th { min-width: 0; } }
"""

# Buttons and lists carry data-key, cards an attribute data-KEY with a value on each line; ""
# shows every card. A card is also hidden unless it holds every word that is searched for.
SCRIPT = """
document.documentElement.classList.add("scripted");
for (const box of document.querySelectorAll(".samples")) {
  const wanted = {}, cards = [...box.querySelectorAll("article")], texts = new Map();
  let words = [];
  const text = (card) => {
    if (!texts.has(card)) texts.set(card, card.textContent.toLowerCase());
    return texts.get(card);
  };
  const choose = () => {
    let count = 0;
    for (const card of cards) {
      card.hidden = Object.entries(wanted).some(
        ([k, v]) => v && !(card.dataset[k] || "").split("\\n").includes(v)
      ) || words.some((word) => !text(card).includes(word));
      count += !card.hidden;
    }
    for (const shown of box.querySelectorAll("output.shown"))
      shown.textContent = count < cards.length ? `${count} of ${cards.length} cards` : "";
  };
  box.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-key]");
    if (!button) return;
    wanted[button.dataset.key] = button.dataset.value;
    for (const other of button.parentElement.querySelectorAll("button"))
      other.setAttribute("aria-pressed", String(other === button));
    choose();
  });
  box.addEventListener("input", (event) => {
    if (event.target.matches("select")) wanted[event.target.dataset.key] = event.target.value;
    if (event.target.matches("input"))
      words = event.target.value.toLowerCase().split(/\\s+/).filter(Boolean);
    choose();
  });
}
"""

_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
# Nothing is fetched, and of all scripts only the one above runs.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
)
