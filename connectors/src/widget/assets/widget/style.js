  // ---- the page

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  function icon(path) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  }

  const BUBBLE = "M20 11.5c0 4.1-3.7 7-8 7-1 0-2-.2-2.9-.5L4.5 19.5l1.3-3.6A6.6 6.6 0 0 1 4 11.5c0-4.1 3.6-7 8-7s8 2.9 8 7Z";
  const CROSS = "M6.5 6.5l11 11M17.5 6.5l-11 11";
  const CLIP = "M19.5 11.5l-7.7 7.7a4.9 4.9 0 0 1-7-7l8-8a3.3 3.3 0 0 1 4.7 4.7l-8 8a1.6 1.6 0 0 1-2.3-2.3l7.2-7.2";
  const FILE = "M13.5 4H7.5a1.5 1.5 0 0 0-1.5 1.5v13A1.5 1.5 0 0 0 7.5 20h9a1.5 1.5 0 0 0 1.5-1.5V8.5zM13.5 4v4.5H18";
  const BACK = "M9.5 7L5 11.5 9.5 16M5 11.5h8.5a5.5 5.5 0 0 1 5.5 5.5v1";
  const ARROW = "M12 19V5.5M6 11l6-6 6 6";

  const dark = "--ring:color-mix(in srgb,var(--accent),#fff 45%);--bg:#15181d;--soft:#242931;--line:#353b45;--ink:#eceff3;--dim:#a5adb9;--alarm:#ffb4a8;--shade:rgba(0,0,0,.5);color-scheme:dark;";
  const css = `
.root{all:initial;--accent:#0f6b63;--ring:var(--accent);--on:#fff;--bg:#fff;--soft:#f0f2f4;--line:#dde1e6;--ink:#1b2026;--dim:#5a6370;--alarm:#b3261e;--shade:rgba(20,30,40,.18);color-scheme:light;
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;color:var(--ink)}
.root.dark{${dark}}
@media (prefers-color-scheme:dark){.root.auto{${dark}}}
.root *{box-sizing:border-box}
[hidden]{display:none!important}
button,textarea{font:inherit;color:inherit;margin:0}
button{cursor:pointer;border:0;background:none;padding:0}
svg{width:24px;height:24px;fill:none;stroke:currentColor;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round;display:block}
:focus-visible{outline:2px solid var(--ink);outline-offset:2px;box-shadow:0 0 0 2px var(--bg)}
.launcher{position:fixed;z-index:2147483000;bottom:20px;right:20px;width:56px;height:56px;border-radius:50%;background:var(--accent);color:var(--on);display:grid;place-items:center;box-shadow:0 4px 18px var(--shade);transition:transform .15s}
.launcher:hover{transform:scale(1.05)}
.launcher svg{width:28px;height:28px}
.badge{position:absolute;top:-3px;right:-3px;min-width:22px;height:22px;padding:0 6px;border-radius:11px;background:#b3261e;color:#fff;font-size:12px;line-height:22px;font-weight:600;text-align:center}
.panel{position:fixed;z-index:2147483000;bottom:88px;right:20px;width:376px;max-width:calc(100vw - 40px);height:600px;max-height:calc(100vh - 108px);max-height:calc(100dvh - 108px);display:flex;flex-direction:column;background:var(--bg);border:1px solid var(--line);border-radius:16px;box-shadow:0 12px 40px var(--shade);overflow:hidden;animation:rise .18s ease-out}
.returned .panel{animation:none}
.left .launcher,.left .panel{right:auto;left:20px}
@keyframes rise{from{opacity:0;transform:translateY(8px)}}
.head{display:flex;align-items:center;gap:10px;padding:12px 10px 12px 16px;border-bottom:1px solid var(--line)}
.mark{width:32px;height:32px;border-radius:50%;background:var(--accent);color:var(--on);display:grid;place-items:center;flex:none}
.mark svg{width:18px;height:18px}
.name{flex:1;min-width:0;margin:0;font-size:16px;font-weight:600;overflow-wrap:anywhere}
.close{width:44px;height:44px;border-radius:10px;display:grid;place-items:center;color:var(--dim);flex:none}
.close:hover{background:var(--soft);color:var(--ink)}
.close svg{width:20px;height:20px}
.note{margin:0;padding:8px 16px;font-size:13.5px;background:var(--soft);border-bottom:1px solid var(--line)}
.log,.cards{scrollbar-width:thin}
.log{flex:1;min-height:0;overflow-y:auto;overscroll-behavior:contain;padding:16px}
.log:focus-visible{outline-offset:-3px}
.list{display:flex;flex-direction:column;gap:6px}
.message{display:flex;flex-direction:column;max-width:84%}
.visitor{align-self:flex-end;align-items:flex-end}
.agent{align-self:flex-start;align-items:flex-start}
.message:not(.visitor)+.visitor,.visitor+.agent{margin-top:8px}
.row{display:flex;align-items:center;gap:4px;max-width:100%}
.visitor .row{flex-direction:row-reverse}
.bubble{min-width:0;border-radius:16px;overflow:hidden}
.agent .bubble{background:var(--soft);border-end-start-radius:5px}
.visitor .bubble{background:var(--accent);color:var(--on);border-end-end-radius:5px}
.sending .bubble,.waiting .bubble{box-shadow:inset 0 0 0 2px color-mix(in srgb,var(--on) 45%,transparent)}
.bubble.deleted{background:none;border:1px solid var(--line);color:var(--dim)}
.found .bubble{animation:found 1.5s}
@keyframes found{25%{box-shadow:0 0 0 3px var(--ring)}}
.text{margin:0;padding:8px 13px;white-space:pre-wrap;overflow-wrap:anywhere}
.bubble a{color:inherit}
.back{width:28px;height:28px;border-radius:50%;flex:none;display:grid;place-items:center;color:var(--dim);opacity:0}
.back svg{width:18px;height:18px}
.message:hover .back,.back:focus{opacity:1}.back:hover{background:var(--soft);color:var(--ink)}
.sending .back,.waiting .back,.failed .back,.deleted+.back{visibility:hidden}
.quote{display:block;width:calc(100% - 16px);margin:8px 8px 0;padding:4px 10px;border-inline-start:3px solid;border-radius:4px;background:color-mix(in srgb,currentColor 10%,transparent);font-size:13px;text-align:start;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.picture,.bubble img,.card img{display:block}
.bubble img,video{display:block;max-width:100%;max-height:260px;min-width:60px;object-fit:cover;background:var(--line)}
audio{display:block;width:250px;max-width:100%}
.chip{display:flex;align-items:center;gap:8px;padding:10px 14px;text-decoration:none}
.chip svg{flex:none}.chip .name{font-size:inherit;font-weight:500;text-decoration:underline}.chip .size{flex:none;font-size:12px;opacity:.85}
span.chip .name{text-decoration:none}
.options{display:flex;flex-direction:column;gap:6px;margin-top:6px;width:100%;max-width:300px}
.options.quick_replies{flex-direction:row;flex-wrap:wrap;max-width:none}
.message:has(~.visitor)>.quick_replies{display:none}
.option{min-height:40px;padding:8px 14px;border:1px solid var(--ring);border-radius:12px;background:var(--bg);color:var(--ink);text-align:center;text-decoration:none;overflow-wrap:anywhere}
.quick_replies .option{border-radius:20px}
.options.list .option{text-align:start}
a.option::after{content:" ↗" / ""}
.option small{display:block;font-weight:400;color:var(--dim);font-size:13px}
.option:hover:enabled,a.option:hover{background:var(--soft)}
.option:disabled{cursor:default;color:var(--dim);border-color:var(--line)}
.option[aria-pressed=true]{background:var(--soft);color:var(--ink);border-color:var(--ring);font-weight:600}
.option[aria-pressed=true]::before{content:"✓ " / ""}
.section{margin:6px 2px 0;font-size:13px;font-weight:600;color:var(--dim)}
.message:has(>.cards){max-width:100%}
.cards{display:flex;gap:8px;width:100%;margin-top:6px;overflow-x:auto;scroll-snap-type:x mandatory;padding-bottom:6px}
.card{flex:0 0 220px;scroll-snap-align:start;display:flex;flex-direction:column;border:1px solid var(--line);border-radius:14px;overflow:hidden;padding-bottom:12px}
.card img{width:100%;height:130px;object-fit:cover;background:var(--line)}
.card strong,.card p{margin:8px 12px 0;overflow-wrap:anywhere}.card p{margin-top:2px;font-size:14px;color:var(--dim)}
.card .options{width:auto;margin:auto 12px 0;padding-top:8px}
.typing{width:max-content;margin-top:8px;padding:12px 14px;border-radius:16px;border-end-start-radius:5px;background:var(--soft);display:flex;gap:4px}
.typing i{width:7px;height:7px;border-radius:50%;background:var(--dim);animation:dot 1.2s infinite}
.typing i:nth-of-type(2){animation-delay:.2s}.typing i:nth-of-type(3){animation-delay:.4s}
@keyframes dot{30%{transform:translateY(-3px);opacity:.5}60%{transform:none}}
.meta{margin:2px 4px 0;font-size:12px;color:var(--dim)}
.agent:not(.edited):has(+.agent) .meta,.visitor.sent:has(+.visitor.sent) .meta{display:none}
.failed .meta{color:var(--alarm)}
.sent .state::before{content:"✓ " / ""}.seen .state::before{content:"✓✓ " / ""}
progress{width:110px;height:6px;vertical-align:middle;accent-color:var(--ring)}
.again{text-decoration:underline;margin-inline-start:6px;min-height:24px}
.newer{position:absolute;left:50%;transform:translateX(-50%);bottom:100%;margin-bottom:8px;padding:6px 14px;border-radius:16px;background:var(--accent);color:var(--on);font-size:13.5px;box-shadow:0 2px 10px var(--shade)}
.compose{position:relative;display:flex;align-items:flex-end;gap:8px;padding:10px 10px 12px;border-top:1px solid var(--line)}
.compose{flex-wrap:wrap}
.answer{flex:1 0 100%;margin-inline-start:6px;display:flex;align-items:center;gap:8px;font-size:13px;color:var(--dim);border-inline-start:3px solid var(--ring);padding-inline-start:10px;min-width:0}
.answer span{flex:1;min-width:0;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.answer .close{width:32px;height:32px}
.attach{width:44px;height:44px;border-radius:50%;display:grid;place-items:center;color:var(--dim);flex:none;margin-inline-end:-6px}
.attach:hover{background:var(--soft);color:var(--ink)}
.dropping::after{content:attr(data-drop);position:absolute;inset:8px;display:grid;place-items:center;border:2px dashed var(--ring);border-radius:12px;background:var(--bg);opacity:.94;font-weight:600}
.input{flex:1;min-width:0;font-size:16px;resize:none;height:44px;max-height:132px;padding:9px 14px;border:1px solid var(--dim);border-radius:22px;background:var(--bg);overflow-y:auto}
.input::placeholder{color:var(--dim);opacity:1}
.input:focus{outline:2px solid var(--ring);box-shadow:none;outline-offset:0;border-color:transparent}
.send{width:44px;height:44px;border-radius:50%;background:var(--accent);color:var(--on);display:grid;place-items:center;flex:none}
.alert{margin:0;padding:0 16px 8px;font-size:13.5px;color:var(--alarm)}
.note:empty{padding:0;border:0}.alert:empty{padding:0}
.hush{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media (max-width:480px){
.panel,.left .panel{inset:0;width:100%;max-width:none;height:100%;height:100dvh;max-height:none;border:0;border-radius:0}
.opened .launcher{display:none}
}
@media (prefers-reduced-motion:reduce){.panel,.typing i,.found .bubble{animation:none}.found .bubble{outline:3px solid var(--ring)}.launcher{transition:none}}
@media (forced-colors:active){.bubble,.launcher,.send,.panel{border:1px solid}.visitor .bubble{border-width:2px}}
`;

  const root = make("div", { class: "root", lang: TEXTS[language] ? language : "en" });
  root.classList.add({ dark: "dark", light: "light" }[options.theme] || "auto");
  if (options.position === "left") root.classList.add("left");
  if (/^#[0-9a-f]{6}$/i.test(options.color || "")) {
    root.style.setProperty("--accent", options.color);
    const bright = luminance(options.color) > 0.179;
    root.style.setProperty("--on", bright ? "#000" : "#fff");
    if (bright) root.style.setProperty("--ring", "var(--ink)");
  }

  /** WCAG 2.2, relative luminance: above 0.179 black is the better ink. */
  function luminance(color) {
    const [r, g, b] = [1, 3, 5].map((at) => {
      const part = parseInt(color.slice(at, at + 2), 16) / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  const badgeNode = make("span", { class: "badge", "aria-hidden": "true" });
  const launcher = make("button", { class: "launcher", type: "button", "aria-haspopup": "dialog", "aria-expanded": "false" }, icon(BUBBLE), badgeNode);
  const name = make("h2", { class: "name" }, title);
  const closer = make("button", { class: "close", type: "button", "aria-label": text.close }, icon(CROSS));
  const notice = make("p", { class: "note", role: "status" });
  const list = make("div", { class: "list" });
  const typer = make("div", { class: "typing" }, make("span", { class: "hush" }, `${text.them} ${text.typing}`), make("i", {}), make("i", {}), make("i", {}));
  const log = make("div", { class: "log", role: "log", "aria-label": text.log, "aria-live": "polite", "aria-relevant": "additions", tabindex: "0" }, list, typer);
  const newer = make("button", { class: "newer", type: "button" }, text.newer);
  const input = make("textarea", { class: "input", rows: "1", "aria-label": text.label, placeholder: text.placeholder, enterkeyhint: "send", autocomplete: "off" });
  const sender = make("button", { class: "send", type: "button", "aria-label": text.send }, icon(ARROW));
  const attacher = make("button", { class: "attach", type: "button", "aria-label": text.attach }, icon(CLIP));
  const picker = make("input", { type: "file", multiple: "", hidden: "", tabindex: "-1" });
  const answerWords = make("span", {});
  const unanswer = make("button", { class: "close", type: "button", "aria-label": text.unreply }, icon(CROSS));
  const answerBar = make("div", { class: "answer" }, answerWords, unanswer);
  const compose = make("div", { class: "compose" }, newer, answerBar, attacher, picker, input, sender);
  const alert = make("p", { class: "alert", role: "alert" });
  const head = make("div", { class: "head" }, make("span", { class: "mark", "aria-hidden": "true" }, icon(BUBBLE)), name, closer);
  const panel = make("div", { class: "panel", role: "dialog", "aria-label": title, "data-drop": text.drop }, head, notice, log, compose, alert);
  panel.hidden = newer.hidden = typer.hidden = answerBar.hidden = attacher.hidden = true;
  root.append(panel, launcher);
  list.append(
    make("div", { class: "message agent" }, make("div", { class: "bubble" }, make("p", { class: "text", dir: "auto" }, options.greeting || text.greeting))),
  );

  const host = document.createElement("tributary-widget");
  const shadow = host.attachShadow({ mode: "closed" });
  try {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    shadow.adoptedStyleSheets = [sheet];
  } catch {
    shadow.append(make("style", {}, css));
  }
  shadow.append(root);

