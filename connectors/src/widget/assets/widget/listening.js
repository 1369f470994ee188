  // ---- what listens

  function dropping(event, on) {
    if (!accepts || ![...event.dataTransfer.types].includes("Files")) return false;
    event.preventDefault();
    event.stopPropagation();
    panel.classList.toggle("dropping", on);
    return true;
  }

  /** Keys whose page was not told that they went down; it is not told either that they came up. */
  const held = new Set();

  /** What is done in a conversation is nothing to the page: no shortcut, nothing to paste there. */
  function hold(event) {
    if (event.type === "keydown" && opened) held.add(event.code);
    const own = event.type === "keyup" && held.delete(event.code);
    if (opened || own) event.stopPropagation();
  }

  /** Asked a little later: who is taken out of the page loses the focus without having left it. */
  function entered() {
    setTimeout(() => {
      if (host.isConnected) inside = Boolean(shadow.activeElement);
    });
  }

  function back(event) {
    if (event.persisted) wake();
  }

  function stored(event) {
    if (event.key !== `${kept.prefix}me` || !event.newValue) return;
    const other = kept.get("me") || {};
    // Two new tabs became two visitors: the one that nobody wrote from gives way.
    if (other.token && other.visitor !== me.visitor && !items.length) drop();
    else if (other.active && !socket && !parked) connect();
  }

  /** Whether the keyboard was in the conversation last, and how far that was scrolled. */
  let inside = false;
  let scrolled = 0;

  /** Listens; doing it again changes nothing. `document.open()` takes every listener away, of the widget too. */
  function listen() {
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
      scrolled = log.scrollTop;
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
    panel.ondragover = (event) => dropping(event, true);
    panel.ondragleave = (event) => panel.contains(event.relatedTarget) || dropping(event, false);
    panel.ondrop = (event) => dropping(event, false) && attach([...event.dataTransfer.files]);
    root.onkeydown = (event) => {
      hold(event);
      if (!opened || event.key !== "Escape" || event.isComposing) return;
      if (answers) answer(null);
      else hide();
    };
    // No form: in a sandboxed frame without `allow-forms` it would never be submitted.
    sender.onclick = () => {
      submit();
      input.focus();
    };
    input.oninput = () => {
      grow();
      say("");
      if (!ready || !input.value || tick() - typedAt < 3000) return;
      typedAt = tick();
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
    for (const kind of ["keypress", "keyup", "copy", "cut", "paste"]) root.addEventListener(kind, hold);
    root.addEventListener("focusin", entered);
    root.addEventListener("focusout", entered);
    window.addEventListener("pageshow", back);
    document.addEventListener("visibilitychange", wake);
    window.addEventListener("storage", stored);
  }

