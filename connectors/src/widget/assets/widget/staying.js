  // ---- staying in the page, whatever it does to itself

  /** Within so long, in milliseconds, the widget comes back at once so often; then it waits a second each time. */
  const PATIENCE = 10000;
  const RETURNS = 20;
  let started = false;
  let returns = [];
  let stayTimer = 0;
  let watched = null;
  const watcher = new MutationObserver(stay);

  /** Puts the widget beside the body, which frameworks replace, unless it is in the page. */
  function stay() {
    const page = document.documentElement;
    if (!started || !page) return;
    if (page !== watched) {
      watched = page;
      watcher.disconnect();
      for (const node of [document, page]) watcher.observe(node, { childList: true });
    }
    if (!host.isConnected) {
      const now = tick();
      clearTimeout(stayTimer);
      returns = returns.filter((then) => now - then < PATIENCE);
      // A page that takes it out each time must not hang in a quarrel.
      if (returns.length >= RETURNS) {
        stayTimer = setTimeout(stay, 1000);
        returns.shift();
        return;
      }
      returns.push(now);
      root.classList.toggle("returned", returns.length > 1);
      page.append(host);
      listen();
      // Their listeners may be gone too.
      for (const item of items) paint(item);
      if (atEnd) scrollToEnd();
      else log.scrollTop = scrolled;
      const elsewhere = document.activeElement && document.activeElement !== document.body;
      if (inside && opened && !elsewhere) input.focus();
    }
    // The body may be another.
    fit();
  }

  function start() {
    if (started) return;
    started = true;
    stay();
    badge();
    const waiting = adopt();
    if (session()) show(false);
    else if (me.active || waiting) connect();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
