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
    root.classList.remove("returned");
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

  /** Nothing to see, though it may have characters: the server refuses it too. */
  const BLANK = /^[\s\p{Cc}\p{Default_Ignorable_Code_Point}\u2800]*$/u;

  function submit() {
    const words = input.value.trim();
    if (BLANK.test(words)) return;
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
  let typedAt = -Infinity;

  function grow() {
    const stick = nearEnd();
    input.style.height = "auto";
    input.style.height = `${Math.min(132, Math.max(44, input.scrollHeight + 2))}px`;
    if (stick) scrollToEnd();
  }

