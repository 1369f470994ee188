  // ---- drawing

  const tags = locale.match(/^[\w-]+$/) ? [locale, "en"] : "en";
  const clock = new Intl.DateTimeFormat(tags, { hour: "2-digit", minute: "2-digit" });
  const calendar = new Intl.DateTimeFormat(tags, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

  function draw(item) {
    item.meta = make("p", { class: "meta" });
    item.node = make("div", {});
    item.node.item = item;
    paint(item);
  }

  /** The words of a message, for who cannot see the rest. */
  function words({ type, text: said, caption, title: chosen, media, cards }) {
    if (type === "deleted") return text.deleted;
    if (cards) return said || cards.map((card) => card.title).join(", ");
    if (media) return caption || media.name || (type === "image" ? text.picture : text.file);
    return String(said || chosen || text.strange);
  }

  function paint(item) {
    const { body, from } = item;
    const focus = shadow.activeElement && item.node.contains(shadow.activeElement);
    const who = make("span", { class: "hush" }, `${from === "visitor" ? text.you : text.them}: `);
    const bubble = make("div", { class: body.type === "deleted" ? "bubble deleted" : "bubble" });
    if (item.reply && body.type !== "choice_reply") bubble.append(quote(item.reply));
    if (body.media) bubble.append(who, ...media(item));
    const said = body.media ? body.caption : body.type === "carousel" ? body.text : words(body);
    if (said) {
      const shown = from === "agent" && body.type !== "deleted" ? links(said) : [said];
      bubble.append(make("p", { class: "text", dir: "auto" }, who, ...shown));
    }
    const back = make("button", { type: "button", class: "back", tabindex: "-1", "aria-label": `${text.reply}: ${words(body).slice(0, 80)}` }, icon(BACK));
    back.onclick = () => answer(item);
    const row = make("div", { class: "row" }, bubble, back);
    item.node.replaceChildren(...(bubble.childNodes.length ? [row] : []), ...extras(item), item.meta);
    status(item);
    if (focus) input.focus();
  }

  /** What is below the words: cards, and buttons to choose from. */
  function extras(item) {
    const { body } = item;
    if (body.cards) {
      const cards = body.cards.map((card) => {
        const node = make("div", { class: "card", role: "group", "aria-label": card.title });
        if (card.media) node.append(picture(item, card.media, card.title));
        node.append(make("strong", {}, card.title));
        if (card.text) node.append(make("p", {}, ...links(card.text)));
        node.append(...choices(item, card.options, card.title));
        return node;
      });
      return [make("div", { class: "cards", role: "group", "aria-label": words(body), tabindex: "0" }, ...cards)];
    }
    return choices(item, body.options, words(body), body.style);
  }

  function choices(item, options, label, style) {
    if (!options || !options.length) return [];
    const pending = items.find(({ press, state }) => press && press.seq === item.seq && state !== "failed");
    const pressed = item.pressed || (pending && pending.press.button);
    const group = make("div", { class: `options ${style || ""}`, role: "group", "aria-label": label });
    let section = "";
    for (const option of options) {
      if (option.section && option.section !== section) group.append(make("p", { class: "section" }, (section = option.section)));
      const inside = [option.title];
      if (option.description) inside.push(make("small", {}, option.description));
      if (option.url) {
        const url = safe(option.url);
        if (url) group.append(link(url, { class: "option" }, ...inside));
        continue;
      }
      const button = make("button", { type: "button", class: "option" }, ...inside);
      if (pressed) {
        button.disabled = true;
        button.setAttribute("aria-pressed", option.id === pressed);
      }
      button.onclick = () => {
        input.focus();
        write({
          press: { seq: item.seq, button: option.id },
          body: { type: "choice_reply", title: option.title },
          reply: item.seq,
        });
      };
      group.append(button);
    }
    return [group];
  }

  /** An address that can be followed; empty when it could do anything else. */
  function safe(address) {
    if (!address) return "";
    try {
      const url = new URL(address, base);
      return /^(https?|mailto|tel):$/.test(url.protocol) ? url.href : "";
    } catch {
      return "";
    }
  }

  function link(url, attributes, ...children) {
    return make("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow ugc", ...attributes }, ...children);
  }

  /** Web addresses can be followed; everything stays text. */
  function links(said) {
    return String(said)
      .split(/((?:https?:\/\/|mailto:|tel:\+?\d)[^\s<>"']*[^\s<>"'.,;:!?)\]])/)
      .map((piece, index) => (index % 2 && safe(piece) ? link(piece, {}, piece) : piece));
  }

  /** The message that is answered; leads to it. */
  function quote(seq) {
    const target = at(seq);
    const node = make("button", { type: "button", class: "quote" }, target ? words(target.body).slice(0, 200) : text.earlier);
    node.onclick = () => {
      const there = at(seq);
      if (!there) return;
      there.node.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
      there.node.classList.add("found");
      setTimeout(() => there.node.classList.remove("found"), 1500);
    };
    return node;
  }

  function status(item) {
    const { from, state, node, meta } = item;
    const seen = state === "sent" && from === "visitor" && item.seq <= seenUpto;
    node.className = `message ${from} ${state}${seen ? " seen" : ""}${item.edited ? " edited" : ""}`;
    const when = new Date(item.at);
    const today = when.toDateString() === new Date().toDateString();
    const time = make("time", { datetime: isNaN(when) ? "" : when.toISOString() }, isNaN(when) ? "" : (today ? clock : calendar).format(when));
    meta.replaceChildren(time);
    if (item.edited && item.body.type !== "deleted") meta.append(" · ", text.edited);
    if (from !== "visitor") return;
    if (state === "waiting") {
      item.bar = make("progress", { max: "1", value: "0", "aria-label": `${text.uploading}: ${words(item.body)}` });
      const cancel = make("button", { type: "button", class: "again" }, text.cancel);
      cancel.onclick = () => {
        remove(item);
        if (item.request) item.request.abort();
        input.focus();
      };
      return meta.replaceChildren(item.bar, cancel);
    }
    const word = { sending: text.sending, sent: seen ? text.read : text.sent, failed: item.why }[state];
    meta.append(" · ", make("span", { class: "state" }, word));
    if (state === "failed") {
      say(item.why);
      if (!item.again) return;
      const again = make("button", { type: "button", class: "again" }, text.retry);
      again.onclick = () => {
        item.state = item.say || item.press ? "sending" : "waiting";
        say("");
        status(item);
        input.focus();
        connect();
        pump();
      };
      meta.append(again);
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

  /** The end is in sight; kept as it was before something grew. */
  let atEnd = true;

  function nearEnd() {
    return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  }

  function scrollToEnd() {
    log.scrollTop = log.scrollHeight;
    newer.hidden = atEnd = true;
  }

  let typingTimer = 0;

  /** Somebody writes; without further notice they stopped. */
  function typing(on) {
    clearTimeout(typingTimer);
    typer.hidden = !on;
    if (on) typingTimer = setTimeout(typing, 8000);
    if (on && nearEnd()) scrollToEnd();
  }

