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
  // Once in a page. Another inclusion brings the widget back, should the page have lost it.
  const loaded = (window.tributaryWidgets ||= new Map());
  if (loaded.has(channel)) return loaded.get(channel)();
  loaded.set(channel, () => (started ? stay() : start()));

  const base = new URL(".", script.src);
  const address = (path) => new URL(`channels/${encodeURIComponent(channel)}/${path}`, base);
  const socketAddress = address("socket");
  socketAddress.protocol = base.protocol === "https:" ? "wss:" : "ws:";

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

