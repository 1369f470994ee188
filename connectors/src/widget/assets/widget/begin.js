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
      attach: "Attach a file",
      drop: "Drop files here",
      uploading: "Uploading",
      cancel: "Cancel",
      big: (size) => `Not sent: files may have up to ${size}`,
      kind: "Not sent: files of this kind are not accepted",
      failed: "Not sent: the upload broke off",
      picture: "Picture",
      file: "File",
      typing: "is writing…",
      read: "Read",
      edited: "edited",
      deleted: "This message was deleted.",
      reply: "Reply to",
      unreply: "Do not reply to this message",
      earlier: "An earlier message",
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
      attach: "Додати файл",
      drop: "Перетягніть файли сюди",
      uploading: "Завантажується",
      cancel: "Скасувати",
      big: (size) => `Не надіслано: файли можуть мати до ${size}`,
      kind: "Не надіслано: такі файли не приймаються",
      failed: "Не надіслано: завантаження перервалося",
      picture: "Зображення",
      file: "Файл",
      typing: "пише…",
      read: "Прочитано",
      edited: "змінено",
      deleted: "Це повідомлення видалено.",
      reply: "Відповісти на",
      unreply: "Не відповідати на це повідомлення",
      earlier: "Давніше повідомлення",
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

