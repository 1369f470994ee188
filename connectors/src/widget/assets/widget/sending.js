  // ---- sending: one at a time, in order, each under its own name until it is acknowledged

  let inFlight = null;
  let answerTimer = 0;
  let pausedUntil = 0;
  /** When the latest message was written. */
  let writtenAt = 0;

  function uuid() {
    if (crypto.randomUUID) return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** Sends something under a name of its own: `say` as a message's body, or the `press` of a button. */
  function write(item) {
    // A clock that was set back in between does not change the order.
    writtenAt = Math.max(Date.now(), writtenAt + 1);
    Object.assign(item, { client: uuid(), from: "visitor", at: writtenAt, order: NEVER });
    item.state ||= "sending";
    keep(item);
    add(item);
    connect();
    pump();
  }

  /** What outlives the page: everything but bytes. */
  function keep({ client, say, press, reply, at, n, body }) {
    if (!say && !press) return;
    const { url, ...media } = body.media || {};
    kept.set(`out:${client}`, { say, press, reply, at, n: n || count, body: body.media ? { ...body, media } : body });
  }

  /** What an earlier page, or another tab, had not sent yet. Twice is once: the name stays. */
  function adopt() {
    const left = kept
      .names("out:")
      .map((name) => ({ client: name.slice(4), ...kept.get(name) }))
      .filter((left) => left.body && !byClient.has(left.client))
      .sort((a, b) => a.at - b.at || a.n - b.n);
    for (const old of left) {
      const item = { ...old, from: "visitor", order: NEVER, state: "sending" };
      writtenAt = Math.max(writtenAt, old.at);
      add(item);
      if (Date.now() - item.at > STALE) fail(item, text.stale, true);
    }
    return left.length;
  }

  let toldPage = "";

  function page() {
    toldPage = location.href;
    return { url: toldPage, title: document.title, ref: document.referrer };
  }

  function pump() {
    upload();
    if (!ready || inFlight || tick() < pausedUntil) return;
    const item = items.find((item) => item.state === "sending");
    if (!item) return;
    inFlight = item;
    answerTimer = setTimeout(drop, 20000);
    const { client, press, say, reply } = item;
    if (press) return transmit({ t: "press", client_id: client, ...press });
    const frame = { t: "send", client_id: client, body: say, reply_to: reply };
    if (location.href !== toldPage) frame.page = page();
    transmit(frame);
  }

  function answered() {
    clearTimeout(answerTimer);
    inFlight = null;
  }

  function refused(frame) {
    const item = frame.client_id && byClient.get(frame.client_id);
    const wait = (frame.retry_after || 3) * 1000;
    if (!item || item.state !== "sending") {
      if (frame.code === "bad_version") block(text.outdated);
      // Spread, since others were told the same.
      if (frame.code === "rate_limited" || frame.code === "unavailable") nextDelay = wait * (1 + Math.random());
      return;
    }
    if (item === inFlight) answered();
    if (frame.code === "rate_limited" || frame.code === "unavailable") {
      pausedUntil = tick() + wait;
      setTimeout(pump, wait + 50);
      banner(frame.code === "rate_limited" ? text.slow : text.busy);
      return;
    }
    if (frame.code === "already_pressed") remove(item);
    else {
      kept.drop(`out:${item.client}`);
      const known = { too_long: text.long(limit), bad_upload: text.expired, not_offered: text.withdrawn };
      fail(item, known[frame.code] || text.refused, false);
      if (item.press) repaint(item.press.seq);
    }
    pump();
  }

