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
  /** Every change up to this number is known. */
  let changes = 0;
  /** Somebody has read what the visitor wrote up to here. */
  let seenUpto = 0;
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
    if (item.press) repaint(item.press.seq);
    if (stick || item.from === "visitor") scrollToEnd();
    else if (item.from === "agent") newer.hidden = false;
  }

  const at = (seq) => items.find((item) => item.seq === seq);

  function repaint(seq) {
    const item = at(seq);
    if (item) paint(item);
  }

  function remove(item) {
    items = items.filter((other) => other !== item);
    byClient.delete(item.client);
    kept.drop(`out:${item.client}`);
    item.node.remove();
    if (item.press) repaint(item.press.seq);
  }

  function settle(item, seq, at) {
    if (item.state === "sent") return;
    item.state = "sent";
    item.seq = seq;
    item.at = at;
    item.order = Date.parse(at);
    item.file = null;
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
    else typing(false);
    add({
      client: event.client_id,
      from: event.from === "visitor" ? "visitor" : "agent",
      seq: event.seq,
      at: event.at,
      order: Date.parse(event.at),
      state: "sent",
      ...variable(event),
    });
  }

  /** What can change of a message. */
  function variable(event) {
    return {
      body: event.body || {},
      reply: event.reply_to,
      edited: event.edited,
      pressed: event.pressed,
      got: tick(),
    };
  }

  /** Messages that are different now. */
  function change(frame) {
    changes = Math.max(changes, frame.changes || 0);
    for (const event of frame.events || []) {
      const item = at(event.seq);
      if (!item) continue;
      Object.assign(item, variable(event));
      paint(item);
      // Whoever quotes it shows it as it is.
      items.filter((other) => other.reply === event.seq).forEach(paint);
    }
  }

  function sawUpto(upto) {
    if (!(upto > seenUpto)) return;
    seenUpto = upto;
    items.filter((item) => item.from === "visitor").forEach(status);
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
    cursor = readUpto = deliveredUpto = lastReply = changes = seenUpto = 0;
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

