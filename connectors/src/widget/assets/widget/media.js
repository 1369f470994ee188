  // ---- pictures and files

  function media(item) {
    const { type, media: file } = item.body;
    if (type === "image" && file.url) return [picture(item, file, file.name || text.picture)];
    const url = safe(file.url);
    if (url && (type === "video" || type === "audio")) {
      const player = make(type, { controls: "", preload: "metadata", src: url, "aria-label": file.name || text.file });
      fresh(item, player);
      return [player];
    }
    return [chip(item, file)];
  }

  function picture(item, file, label) {
    const own = /^blob:/.test(file.url);
    const url = own ? file.url : safe(file.url);
    const image = make("img", { src: url, alt: label });
    if (file.width && file.height) image.style.aspectRatio = `${file.width} / ${file.height}`;
    const node = url ? link(url, { class: "picture" }, image) : image;
    image.onload = () => atEnd && scrollToEnd();
    // A policy of the page, or a link that has expired.
    image.onerror = () => (again(item) ? 0 : node.replaceWith(chip(item, file)));
    fresh(item, node);
    return node;
  }

  function chip(item, file) {
    const inside = [icon(FILE), make("span", { class: "name" }, file.name || text.file)];
    if (file.size) inside.push(make("span", { class: "size" }, bytes(file.size)));
    const url = safe(file.url);
    if (!url) return make("span", { class: "chip" }, ...inside);
    const node = link(url, { class: "chip" }, ...inside);
    fresh(item, node);
    return node;
  }

  /** Links to files expire: before an old one is used, a new one is asked for. */
  function fresh(item, node) {
    node.onpointerenter = node.onfocus = () => {
      if (tick() - item.got > 1200000) again(item);
    };
  }

  /** Asks for a message once more; false when that was done lately. */
  function again(item) {
    if (!ready || !item.seq || !item.got || tick() - item.asked < 60000) return false;
    item.asked = tick();
    transmit({ t: "again", seq: item.seq });
    return true;
  }

