/*! Tributary web widget.
 *  <script src="https://chat.example.org/widget.js" data-channel="shop"></script>
 *  Text from outside only ever becomes text: nothing in this file parses HTML. */
(() => {
  "use strict";

  const script =
    document.currentScript || document.querySelector('script[data-channel][src*="widget.js"]');
  const options = script ? script.dataset : {};
  const channel = options.channel;
  if (!channel) {
    console.warn("tributary: the script tag needs data-channel");
    return;
  }
  const loaded = (window.tributaryWidgets ||= new Set());
  if (loaded.has(channel)) return;
  loaded.add(channel);

  const base = new URL(".", script.src);
  const address = (path) => new URL(`channels/${encodeURIComponent(channel)}/${path}`, base);
  const socketAddress = address("socket");
  socketAddress.protocol = base.protocol === "https:" ? "wss:" : "ws:";

  // ---- words

  const TEXTS = {
    en: {
      open: "Open chat",
      close: "Close chat",
      unread: (n) => (n === 1 ? "1 new message" : `${n} new messages`),
      title: "Chat with us",
      greeting: "Hello! Write to us, we answer right here.",
      log: "Conversation",
      label: "Message. Enter sends, Shift and Enter begins a new line.",
      placeholder: "Write a message…",
      send: "Send",
      you: "You",
      them: "Support",
      sending: "Sending…",
      sent: "Sent",
      refused: "Not sent: the message was refused",
      long: (n) => `Not sent: longer than ${n} characters`,
      stale: "Not sent",
      retry: "Send again",
      offline: "No connection. Trying again…",
      slow: "Many messages at once: the next goes out in a moment.",
      blocked: "Chat is not available on this page.",
      newer: "New messages",
      strange: "This message cannot be shown here.",
    },
    uk: {
      open: "Відкрити чат",
      close: "Закрити чат",
      unread: (n) => `Нових повідомлень: ${n}`,
      title: "Напишіть нам",
      greeting: "Вітаємо! Напишіть нам, ми відповімо просто тут.",
      log: "Розмова",
      label: "Повідомлення. Enter надсилає, Shift і Enter починає новий рядок.",
      placeholder: "Напишіть повідомлення…",
      send: "Надіслати",
      you: "Ви",
      them: "Підтримка",
      sending: "Надсилається…",
      sent: "Надіслано",
      refused: "Не надіслано: повідомлення відхилено",
      long: (n) => `Не надіслано: більше ніж ${n} символів`,
      stale: "Не надіслано",
      retry: "Надіслати ще раз",
      offline: "Немає з’єднання. Пробуємо ще раз…",
      slow: "Забагато повідомлень одразу: наступне піде за мить.",
      blocked: "Чат на цій сторінці недоступний.",
      newer: "Нові повідомлення",
      strange: "Це повідомлення не можна показати тут.",
    },
  };
  const locale =
    options.locale || document.documentElement.lang || navigator.language || "en";
  const language = locale.slice(0, 2).toLowerCase();
  const text = TEXTS[language] || TEXTS.en;
  const title = options.title || text.title;

  // ---- what outlives the page; without storage it lives as long as the page

  const kept = (() => {
    const prefix = `tributary:${base.host}${base.pathname}${channel}:`;
    const memory = new Map();
    let area = null;
    try {
      area = window.localStorage;
      area.getItem(prefix);
    } catch {
      area = null;
    }
    return {
      prefix,
      get(name) {
        if (memory.has(name)) return memory.get(name);
        try {
          return JSON.parse(area.getItem(prefix + name));
        } catch {
          return null;
        }
      },
      set(name, value) {
        try {
          area.setItem(prefix + name, JSON.stringify(value));
          memory.delete(name);
        } catch {
          memory.set(name, value);
        }
      },
      drop(name) {
        memory.delete(name);
        try {
          area.removeItem(prefix + name);
        } catch {
          // Nothing is kept there.
        }
      },
      names(start) {
        const names = new Set(memory.keys());
        try {
          for (let i = 0; i < area.length; i++) {
            const key = area.key(i);
            if (key.startsWith(prefix)) names.add(key.slice(prefix.length));
          }
        } catch {
          // Nothing is kept there.
        }
        return [...names].filter((name) => name.startsWith(start));
      },
    };
  })();

  // ---- what is shown

  const NEVER = 4102444800000;
  const STALE = 24 * 3600 * 1000;
  /** In the order of the page: by time and place, what is not sent yet at the end. */
  let items = [];
  const byClient = new Map();
  /** Places known above `cursor`; below it, every place is known. */
  const known = new Set();
  let cursor = 0;
  let readUpto = 0;
  let deliveredUpto = 0;
  let lastReply = 0;
  let limit = 4000;
  let count = 0;

  const later = (a, b) => a.order - b.order || (a.seq || a.n) - (b.seq || b.n);

  function place(item) {
    items = items.filter((other) => other !== item);
    let at = items.length;
    while (at > 0 && later(items[at - 1], item) > 0) at--;
    const next = at < items.length ? items[at].node : null;
    items.splice(at, 0, item);
    if (!item.node.isConnected || item.node.nextSibling !== next) list.insertBefore(item.node, next);
  }

  function add(item) {
    item.n = ++count;
    if (item.client) byClient.set(item.client, item);
    draw(item);
    const stick = nearEnd();
    place(item);
    if (stick || item.from === "visitor") scrollToEnd();
    else if (item.from === "agent") newer.hidden = false;
  }

  function settle(item, seq, at) {
    if (item.state === "sent") return;
    item.state = "sent";
    item.seq = seq;
    item.at = at;
    item.order = Date.parse(at);
    kept.drop(`out:${item.client}`);
    status(item);
    place(item);
  }

  function fail(item, why, again) {
    item.state = "failed";
    item.why = why;
    item.again = again;
    status(item);
  }

  /** An event of the mailbox, perhaps one that is known already. */
  function take(event) {
    if (event.t !== "msg" || event.seq <= cursor || known.has(event.seq)) return;
    note(event.seq);
    if (event.from !== "visitor") lastReply = Math.max(lastReply, event.seq);
    const own = event.client_id && byClient.get(event.client_id);
    if (own) return settle(own, event.seq, event.at);
    if (event.client_id) kept.drop(`out:${event.client_id}`);
    const body = event.body || {};
    add({
      client: event.client_id,
      from: event.from === "visitor" ? "visitor" : "agent",
      text: body.type === "text" ? String(body.text) : text.strange,
      seq: event.seq,
      at: event.at,
      order: Date.parse(event.at),
      state: "sent",
    });
  }

  function note(seq) {
    if (seq > cursor) known.add(seq);
    while (known.delete(cursor + 1)) cursor++;
  }

  function takeAll(events, quietly) {
    if (quietly) log.setAttribute("aria-live", "off");
    for (const event of events) take(event);
    if (quietly) setTimeout(() => log.setAttribute("aria-live", "polite"), 500);
    seen();
  }

  /** Forgets the conversation, and keeps what is still to be sent. */
  function forget() {
    for (const item of items.filter((item) => item.state === "sent")) {
      item.node.remove();
      byClient.delete(item.client);
    }
    items = items.filter((item) => item.state !== "sent");
    known.clear();
    cursor = readUpto = deliveredUpto = lastReply = 0;
    badge();
  }

  function unread() {
    return items.filter((item) => item.from === "agent" && item.seq > readUpto).length;
  }

  /** Tells the server what has arrived and what was read. */
  function seen() {
    if (ready && lastReply > deliveredUpto && cursor >= lastReply) {
      deliveredUpto = cursor;
      transmit({ t: "delivered", upto: cursor });
    }
    const watching = opened && document.visibilityState === "visible";
    if (ready && watching && lastReply > readUpto && cursor >= lastReply) {
      readUpto = cursor;
      transmit({ t: "read", upto: cursor });
    }
    badge();
  }

  // ---- sending: one at a time, in order, each under its own name until it is acknowledged

  let inFlight = null;
  let answerTimer = 0;
  let pausedUntil = 0;

  function uuid() {
    if (crypto.randomUUID) return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function write(words) {
    const item = { client: uuid(), from: "visitor", text: words, at: Date.now(), order: NEVER, state: "sending" };
    kept.set(`out:${item.client}`, { text: words, at: item.at, n: count });
    add(item);
    connect();
    pump();
  }

  /** What an earlier page, or another tab, had not sent yet. Twice is once: the name stays. */
  function adopt() {
    const left = kept
      .names("out:")
      .map((name) => ({ client: name.slice(4), ...kept.get(name) }))
      .filter((left) => left.text && !byClient.has(left.client))
      .sort((a, b) => a.at - b.at || a.n - b.n);
    for (const { client, text: words, at } of left) {
      const item = { client, from: "visitor", text: words, at, order: NEVER, state: "sending" };
      add(item);
      if (Date.now() - at > STALE) fail(item, text.stale, true);
    }
    return left.length;
  }

  function pump() {
    if (!ready || inFlight || Date.now() < pausedUntil) return;
    const item = items.find((item) => item.state === "sending");
    if (!item) return;
    inFlight = item;
    answerTimer = setTimeout(drop, 20000);
    transmit({ t: "send", client_id: item.client, body: { type: "text", text: item.text } });
  }

  function answered() {
    clearTimeout(answerTimer);
    inFlight = null;
  }

  function refused(frame) {
    const item = frame.client_id && byClient.get(frame.client_id);
    const wait = (frame.retry_after || 3) * 1000;
    if (!item || item.state !== "sending") {
      // Spread, since others were told the same.
      if (frame.code === "rate_limited" || frame.code === "unavailable") nextDelay = wait * (1 + Math.random());
      return;
    }
    if (item === inFlight) answered();
    if (frame.code === "rate_limited" || frame.code === "unavailable") {
      pausedUntil = Date.now() + wait;
      setTimeout(pump, wait + 50);
      banner(frame.code === "rate_limited" ? text.slow : text.offline);
      return;
    }
    kept.drop(`out:${item.client}`);
    fail(item, frame.code === "too_long" ? text.long(limit) : text.refused, false);
    pump();
  }

  // ---- the connection

  let socket = null;
  let ready = false;
  let wanted = false;
  let blocked = false;
  let parked = false;
  let attempt = 0;
  let lastTry = 0;
  let nextDelay = 0;
  let retryTimer = 0;
  let heard = 0;
  let pingSeconds = 25;
  let pingTimer = 0;
  let welcomeTimer = 0;
  let me = kept.get("me") || {};

  function transmit(frame) {
    if (socket && socket.readyState === 1) socket.send(JSON.stringify(frame));
  }

  function connect() {
    wanted = true;
    if (socket || blocked) return;
    clearTimeout(retryTimer);
    parked = false;
    lastTry = Date.now();
    me = kept.get("me") || me;
    let opening;
    try {
      opening = new WebSocket(socketAddress);
    } catch (error) {
      // Mixed content or a policy of the page: no use in trying again.
      console.warn("tributary: cannot connect", error);
      return block();
    }
    socket = opening;
    const token = me.token;
    welcomeTimer = setTimeout(drop, 15000);
    opening.onopen = () =>
      transmit({
        t: "hello",
        v: 1,
        channel,
        token,
        since: cursor,
        page: { url: location.href, title: document.title, ref: document.referrer },
        locale: (navigator.languages && navigator.languages[0]) || locale,
      });
    opening.onmessage = (message) => {
      if (opening !== socket) return;
      heard = Date.now();
      let frame;
      try {
        frame = JSON.parse(message.data);
      } catch {
        return;
      }
      receive(frame, token);
    };
    opening.onclose = (event) => {
      if (opening === socket) lost(event.code);
    };
  }

  function receive(frame, token) {
    switch (frame.t) {
      case "welcome":
        return welcome(frame, token);
      case "page":
        return takeAll(frame.events || [], true);
      case "msg":
        return takeAll([frame], false);
      case "ack": {
        const item = byClient.get(frame.client_id);
        note(frame.seq);
        if (item) settle(item, frame.seq, frame.at);
        if (item === inFlight) answered();
        if (!me.active) kept.set("me", (me = { ...me, active: true }));
        banner("");
        return pump();
      }
      case "status":
        if (frame.state === "read") readUpto = Math.max(readUpto, frame.upto);
        return badge();
      case "resync":
        return forget();
      case "err":
        return refused(frame);
    }
  }

  function welcome(frame, token) {
    const other = kept.get("me");
    if (!token && other && other.token) {
      // Another tab became somebody in the meantime: be the same.
      return drop();
    }
    clearTimeout(welcomeTimer);
    if (me.visitor && me.visitor !== frame.visitor) forget();
    const active = frame.seq > 0 || (me.visitor === frame.visitor && me.active);
    kept.set("me", (me = { token: frame.token, visitor: frame.visitor, active }));
    ready = true;
    attempt = 0;
    nextDelay = 0;
    limit = frame.limit || limit;
    pingSeconds = frame.ping || pingSeconds;
    clearInterval(pingTimer);
    pingTimer = setInterval(beat, pingSeconds * 1000);
    if (frame.since > cursor) cursor = frame.since;
    readUpto = frame.read;
    // Said again: the server may not have noted it.
    deliveredUpto = 0;
    banner("");
    takeAll(frame.events || [], true);
    adopt();
    pump();
  }

  function beat() {
    if (Date.now() - heard > pingSeconds * 3000) drop();
    else transmit({ t: "ping" });
  }

  /** Gives up a connection that may be dead. */
  function drop() {
    const dead = socket;
    if (!dead) return;
    lost(1006);
    dead.close();
  }

  function lost(code) {
    const wasReady = ready;
    socket = null;
    ready = false;
    answered();
    clearInterval(pingTimer);
    clearTimeout(welcomeTimer);
    attempt++;
    if (code === 4401) {
      // Unless another tab has begun anew already.
      if ((kept.get("me") || {}).token === me.token) kept.drop("me");
      me = {};
      forget();
    }
    if (code === 4409 && document.visibilityState !== "visible") {
      // Newer tabs took this one's place; it comes back when somebody looks at it.
      parked = true;
      return;
    }
    let delay = Math.max(250, Math.random() * 1000 * Math.min(30, 2 ** (attempt - 1)));
    if (code === 1001 || code === 1012) delay = Math.random() * 5000;
    if (code === 4409) delay += 5000;
    delay = Math.max(delay, nextDelay);
    clearTimeout(retryTimer);
    retryTimer = setTimeout(connect, delay);
    banner(text.offline);
    if (!wasReady && attempt >= 2 && code === 1006) ask();
  }

  /** Browsers do not say why a WebSocket was refused; this does. */
  function ask() {
    fetch(address("state"), { credentials: "omit", cache: "no-store" })
      .then((response) => {
        if (response.status === 403 || response.status === 404) block();
      })
      .catch(() => {});
  }

  function block() {
    blocked = true;
    clearTimeout(retryTimer);
    banner(text.blocked);
    setTimeout(() => {
      blocked = false;
      if (wanted) connect();
    }, 600000);
  }

  /** Somebody looks, or the network is back: do not wait for the timer. */
  function wake() {
    seen();
    if (!wanted || document.visibilityState === "hidden") return;
    if (!socket) {
      if (parked || Date.now() - lastTry > 1000) connect();
      return;
    }
    if (!ready) return;
    const asked = Date.now();
    const probed = socket;
    transmit({ t: "ping" });
    setTimeout(() => {
      if (probed === socket && heard < asked) drop();
    }, 5000);
  }

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

  const BUBBLE = "M20 11.5c0 4.1-3.7 7-8 7-1 0-2-.2-2.9-.5L4.5 19.5l1.3-3.6A6.6 6.6 0 0 1 4 11.5c0-4.1 3.6-7 8-7s8 2.900 8 7Z";
  const CROSS = "M6.500 6.500l11 11M17.500 6.500l-11 11";
  const ARROW = "M12 19V5.500M6 11l6-6 6 6";

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
.log{flex:1;min-height:0;overflow-y:auto;overscroll-behavior:contain;padding:16px}
.log:focus-visible{outline-offset:-3px}
.list{display:flex;flex-direction:column;gap:6px}
.message{display:flex;flex-direction:column;max-width:84%}
.visitor{align-self:flex-end;align-items:flex-end}
.agent{align-self:flex-start;align-items:flex-start}
.message:not(.visitor)+.visitor,.visitor+.agent{margin-top:8px}
.text{margin:0;padding:8px 13px;border-radius:16px;white-space:pre-wrap;overflow-wrap:anywhere}
.agent .text{background:var(--soft);border-end-start-radius:5px}
.visitor .text{background:var(--accent);color:var(--on);border-end-end-radius:5px}
.visitor.sending .text{opacity:.85}
.text a{color:inherit}
.meta{margin:2px 4px 0;font-size:12px;color:var(--dim)}
.agent:has(+.agent) .meta,.visitor.sent:has(+.visitor.sent) .meta{display:none}
.failed .meta{color:var(--alarm)}
.again{text-decoration:underline;margin-inline-start:6px;min-height:24px}
.newer{position:absolute;left:50%;transform:translateX(-50%);bottom:100%;margin-bottom:8px;padding:6px 14px;border-radius:16px;background:var(--accent);color:var(--on);font-size:13.5px;box-shadow:0 2px 10px var(--shade)}
.compose{position:relative;display:flex;align-items:flex-end;gap:8px;padding:10px 10px 12px;border-top:1px solid var(--line)}
.input{flex:1;min-width:0;font-size:16px;resize:none;height:44px;max-height:132px;padding:10px 14px;border:1px solid var(--dim);border-radius:22px;background:var(--bg);overflow-y:auto}
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
@media (prefers-reduced-motion:reduce){.panel{animation:none}.launcher{transition:none}}
@media (forced-colors:active){.text,.launcher,.send,.panel{border:1px solid}.visitor .text{border-width:2px}}
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
  const log = make("div", { class: "log", role: "log", "aria-label": text.log, "aria-live": "polite", "aria-relevant": "additions", tabindex: "0" }, list);
  const newer = make("button", { class: "newer", type: "button" }, text.newer);
  const input = make("textarea", { class: "input", rows: "1", "aria-label": text.label, placeholder: text.placeholder, enterkeyhint: "send", autocomplete: "off" });
  const sender = make("button", { class: "send", type: "submit", "aria-label": text.send }, icon(ARROW));
  const compose = make("form", { class: "compose" }, newer, input, sender);
  const alert = make("p", { class: "alert", role: "alert" });
  const head = make("div", { class: "head" }, make("span", { class: "mark", "aria-hidden": "true" }, icon(BUBBLE)), name, closer);
  const panel = make("div", { class: "panel", role: "dialog", "aria-label": title }, head, notice, log, compose, alert);
  panel.hidden = newer.hidden = true;
  root.append(panel, launcher);
  list.append(
    make("div", { class: "message agent" }, make("p", { class: "text", dir: "auto" }, options.greeting || text.greeting)),
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

  // ---- drawing

  const clock = new Intl.DateTimeFormat(locale.match(/^[\w-]+$/) ? [locale, "en"] : "en", { hour: "2-digit", minute: "2-digit" });
  const calendar = new Intl.DateTimeFormat(locale.match(/^[\w-]+$/) ? [locale, "en"] : "en", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

  function draw(item) {
    const who = make("span", { class: "hush" }, `${item.from === "visitor" ? text.you : text.them}: `);
    const words = make("p", { class: "text", dir: "auto" }, who, ...(item.from === "agent" ? links(item.text) : [item.text]));
    item.meta = make("p", { class: "meta" });
    item.node = make("div", {}, words, item.meta);
    status(item);
  }

  /** Web addresses can be followed; everything stays text. */
  function links(words) {
    return words.split(/(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]])/).map((piece, index) => {
      if (index % 2 === 0) return piece;
      return make("a", { href: piece, target: "_blank", rel: "noopener noreferrer nofollow ugc" }, piece);
    });
  }

  function status(item) {
    item.node.className = `message ${item.from} ${item.state}`;
    const when = new Date(item.at);
    const today = when.toDateString() === new Date().toDateString();
    const time = make("time", { datetime: isNaN(when) ? "" : when.toISOString() }, isNaN(when) ? "" : (today ? clock : calendar).format(when));
    item.meta.replaceChildren(time);
    if (item.from !== "visitor") return;
    const word = { sending: text.sending, sent: text.sent, failed: item.why }[item.state];
    item.meta.append(" · ", make("span", { class: "state" }, word));
    if (item.state === "failed") {
      say(item.why);
      if (!item.again) return;
      const again = make("button", { type: "button", class: "again" }, text.retry);
      again.onclick = () => {
        item.state = "sending";
        status(item);
        input.focus();
        connect();
        pump();
      };
      item.meta.append(again);
    }
  }

  function say(words) {
    alert.textContent = words;
  }

  function banner(words) {
    notice.textContent = words;
  }

  function badge() {
    const n = unread();
    badgeNode.hidden = n === 0;
    badgeNode.textContent = n > 99 ? "99+" : n || "";
    const verb = opened ? text.close : text.open;
    launcher.setAttribute("aria-label", n ? `${verb}, ${text.unread(n)}` : verb);
  }

  function nearEnd() {
    return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  }

  function scrollToEnd() {
    log.scrollTop = log.scrollHeight;
    newer.hidden = true;
  }

  // ---- opening and closing

  const narrow = matchMedia("(max-width: 480px)");
  let opened = false;

  function session(value) {
    try {
      if (value === undefined) return sessionStorage.getItem(`${kept.prefix}open`) === "1";
      sessionStorage.setItem(`${kept.prefix}open`, value ? "1" : "");
    } catch {
      return false;
    }
  }

  function show(focus) {
    opened = true;
    panel.hidden = false;
    root.classList.add("opened");
    launcher.setAttribute("aria-expanded", "true");
    launcher.replaceChildren(icon(CROSS), badgeNode);
    session(true);
    fit();
    connect();
    scrollToEnd();
    seen();
    if (focus) input.focus();
  }

  function hide() {
    opened = false;
    panel.hidden = true;
    root.classList.remove("opened");
    launcher.setAttribute("aria-expanded", "false");
    launcher.replaceChildren(icon(BUBBLE), badgeNode);
    session(false);
    fit();
    badge();
    launcher.focus();
  }

  /** On a small screen the panel is the screen: what is behind it is out of reach, and a keyboard makes it shorter. */
  function fit() {
    const modal = opened && narrow.matches;
    if (modal) panel.setAttribute("aria-modal", "true");
    else panel.removeAttribute("aria-modal");
    if (document.body && document.body.inert !== modal) document.body.inert = modal;
    const view = window.visualViewport;
    panel.style.height = modal && view ? `${view.height}px` : "";
    panel.style.top = modal && view ? `${view.offsetTop}px` : "";
  }

  function submit() {
    const words = input.value.trim();
    if (!words) return;
    const length = [...words].length;
    if (length > limit) {
      say(`${text.long(limit)} (${length})`);
      return;
    }
    say("");
    input.value = "";
    grow();
    write(words);
  }

  function grow() {
    const stick = nearEnd();
    input.style.height = "auto";
    input.style.height = `${Math.min(132, Math.max(44, input.scrollHeight + 2))}px`;
    if (stick) scrollToEnd();
  }

  launcher.onclick = () => (opened ? hide() : show(true));
  launcher.onpointerenter = launcher.onfocus = () => {
    if (me.token) connect();
  };
  closer.onclick = hide;
  newer.onclick = () => {
    scrollToEnd();
    input.focus();
  };
  log.onscroll = () => {
    if (nearEnd()) newer.hidden = true;
  };
  root.onkeydown = (event) => {
    // Keys of a conversation are no shortcuts of the page.
    if (opened) event.stopPropagation();
    if (opened && event.key === "Escape" && !event.isComposing) hide();
  };
  compose.onsubmit = (event) => {
    event.preventDefault();
    submit();
    input.focus();
  };
  input.oninput = () => {
    grow();
    say("");
  };
  input.onkeydown = (event) => {
    // 229: an input method is at work, in browsers that do not say so otherwise.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  };
  narrow.addEventListener("change", fit);
  if (window.visualViewport) visualViewport.addEventListener("resize", fit);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", (event) => event.persisted && wake());
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("storage", (event) => {
    if (event.key !== `${kept.prefix}me` || !event.newValue) return;
    const other = kept.get("me") || {};
    // Two new tabs became two visitors: the one that nobody wrote from gives way.
    if (other.token && other.visitor !== me.visitor && !items.length) drop();
    else if (other.active && !socket && !parked) connect();
  });

  function start() {
    // Beside the body: frameworks that replace the body leave it alone.
    document.documentElement.append(host);
    badge();
    const waiting = adopt();
    if (session()) show(false);
    else if (me.active || waiting) connect();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
