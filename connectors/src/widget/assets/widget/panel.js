  // ---- opening and closing

  const calm = matchMedia("(prefers-reduced-motion: reduce)");
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
    const said = { type: "text", text: words };
    write({ say: said, body: said, reply: answering() });
  }

  // ---- answering one message

  let answers = null;

  function answer(item) {
    answers = item && item.seq ? item : null;
    answerBar.hidden = !answers;
    if (answers) answerWords.textContent = words(answers.body).slice(0, 200);
    input.focus();
  }

  /** The place of the message that the next one answers; only the next. */
  function answering() {
    const seq = answers ? answers.seq : undefined;
    if (answers) answer(null);
    return seq;
  }

  /** Up and down from message to message, so that the keyboard reaches what a pointer does. */
  function walk(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    const backs = [...list.querySelectorAll(".sent .back")];
    const now = backs.indexOf(shadow.activeElement);
    const next = now < 0 ? backs[backs.length - 1] : backs[now + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  let pressTimer = 0;
  let typedAt = 0;

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
    atEnd = nearEnd();
    if (atEnd) newer.hidden = true;
  };
  log.onkeydown = walk;
  // A finger that rests on a message answers it.
  list.onpointerdown = (event) => {
    const node = event.target.closest(".sent");
    if (event.pointerType !== "mouse" && node) pressTimer = setTimeout(() => answer(node.item), 550);
  };
  list.onpointerup = list.onpointercancel = list.onpointerleave = () => clearTimeout(pressTimer);
  unanswer.onclick = () => answer(null);
  attacher.onclick = () => picker.click();
  picker.onchange = () => {
    attach([...picker.files]);
    picker.value = "";
    input.focus();
  };
  input.onpaste = (event) => {
    const { files } = event.clipboardData;
    if (!accepts || !files.length) return;
    event.preventDefault();
    attach([...files]);
  };
  const dropping = (event, on) => {
    if (!accepts || ![...event.dataTransfer.types].includes("Files")) return false;
    event.preventDefault();
    panel.classList.toggle("dropping", on);
    return true;
  };
  panel.ondragover = (event) => dropping(event, true);
  panel.ondragleave = (event) => panel.contains(event.relatedTarget) || dropping(event, false);
  panel.ondrop = (event) => dropping(event, false) && attach([...event.dataTransfer.files]);
  root.onkeydown = (event) => {
    // Keys of a conversation are no shortcuts of the page.
    if (opened) event.stopPropagation();
    if (!opened || event.key !== "Escape" || event.isComposing) return;
    if (answers) answer(null);
    else hide();
  };
  compose.onsubmit = (event) => {
    event.preventDefault();
    submit();
    input.focus();
  };
  input.oninput = () => {
    grow();
    say("");
    if (!ready || !input.value || Date.now() - typedAt < 3000) return;
    typedAt = Date.now();
    transmit({ t: "typing", on: true });
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
