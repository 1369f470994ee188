  // ---- the connection

  let socket = null;
  let ready = false;
  let wanted = false;
  let blocked = false;
  let parked = false;
  let attempt = 0;
  let lastTry = -Infinity;
  let nextDelay = 0;
  let retryTimer = 0;
  let heard = 0;
  let pingSeconds = 25;
  let pingTimer = 0;
  let welcomeTimer = 0;
  let me = kept.get("me") || {};

  /** Milliseconds, for measuring waits: a clock that nobody sets. */
  const tick = () => performance.now();

  function transmit(frame) {
    if (socket && socket.readyState === 1) socket.send(JSON.stringify(frame));
  }

  function connect() {
    wanted = true;
    if (socket || blocked) return;
    clearTimeout(retryTimer);
    parked = false;
    lastTry = tick();
    me = kept.get("me") || me;
    let opening;
    try {
      opening = new WebSocket(socketAddress);
    } catch (error) {
      // Mixed content or a policy of the page: no use in trying again.
      console.warn("tributary: cannot connect", error);
      return block(text.blocked);
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
        changes,
        page: page(),
        locale: (navigator.languages && navigator.languages[0]) || locale,
      });
    opening.onmessage = (message) => {
      if (opening !== socket) return;
      heard = tick();
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
        if (frame.state === "seen") sawUpto(frame.upto);
        return badge();
      case "changed":
        return change(frame);
      case "typing":
        return typing(frame.on);
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
    accepts = frame.uploads;
    attacher.hidden = !accepts;
    if (accepts) picker.accept = accepts.types.join();
    pingSeconds = frame.ping || pingSeconds;
    clearInterval(pingTimer);
    pingTimer = setInterval(beat, pingSeconds * 1000);
    if (frame.since > cursor) cursor = frame.since;
    changes = frame.changes || 0;
    readUpto = frame.read;
    sawUpto(frame.seen);
    // Said again: the server may not have noted it.
    deliveredUpto = 0;
    banner("");
    takeAll(frame.events || [], true);
    adopt();
    pump();
  }

  function beat() {
    if (tick() - heard > pingSeconds * 3000) drop();
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
    typing(false);
    answered();
    clearInterval(pingTimer);
    clearTimeout(welcomeTimer);
    // Links may be older than they seem: a clock that measures waits can stand still while the machine sleeps.
    for (const item of items) item.got = -Infinity;
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
    if (blocked) return;
    banner(ending(code, wasReady));
    if (!wasReady && attempt >= 2 && code === 1006) ask();
  }

  /** What a visitor is told about a connection that ended with this code. */
  function ending(code, wasReady) {
    if (code === 4401) return "";
    if (code === 4429) return wasReady ? text.slow : text.crowded;
    return { 1013: text.busy, 4409: text.tabs }[code] || text.offline;
  }

  /** Browsers do not say why a WebSocket was refused; this does. */
  function ask() {
    fetch(address("state"), { credentials: "omit", cache: "no-store" })
      .then(({ status: code }) => {
        const words = { 403: text.blocked, 404: text.unknown, 503: text.busy }[code];
        if (code === 503 && !ready) banner(words);
        else if (words) block(words);
      })
      .catch(() => {});
  }

  /** Gives up for a while. */
  function block(words) {
    blocked = true;
    clearTimeout(retryTimer);
    banner(words);
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
      if (parked || tick() - lastTry > 1000) connect();
      return;
    }
    if (!ready) return;
    const asked = tick();
    const probed = socket;
    transmit({ t: "ping" });
    setTimeout(() => {
      if (probed === socket && heard < asked) drop();
    }, 5000);
  }

