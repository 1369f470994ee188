  // ---- uploading: one file at a time; then it is a message like any other

  /** What the server takes: `limit` in bytes, `types`; unknown before the first welcome, null when it takes nothing. */
  let accepts = null;
  let uploading = null;

  function bytes(size) {
    const unit = size < 1e6 ? "kilobyte" : "megabyte";
    const format = new Intl.NumberFormat(tags, { style: "unit", unit, maximumFractionDigits: 1 });
    return format.format(size / (size < 1e6 ? 1000 : 1e6));
  }

  function attach(files) {
    if (!accepts) return;
    for (const file of files) {
      const image = /^image\/(png|jpeg|gif|webp)$/.test(file.type);
      const media = { name: file.name, size: file.size, url: image ? URL.createObjectURL(file) : "" };
      const why = file.size > accepts.limit ? text.big(bytes(accepts.limit)) : file.size ? "" : text.empty;
      const state = why ? "failed" : "waiting";
      write({ file, body: { type: image ? "image" : "file", media }, reply: answering(), state, why });
    }
  }

  function upload() {
    if (!ready || uploading) return;
    const item = items.find((item) => item.state === "waiting");
    if (!item) return;
    const request = (uploading = item.request = new XMLHttpRequest());
    request.open("POST", address("uploads"));
    request.setRequestHeader("authorization", `Bearer ${me.token}`);
    request.setRequestHeader("content-type", item.file.type || "application/octet-stream");
    request.setRequestHeader("x-file-name", encodeURIComponent(item.file.name));
    request.upload.onprogress = (event) => {
      if (item.bar && event.lengthComputable) item.bar.value = event.loaded / event.total;
    };
    request.onloadend = () => {
      uploading = item.request = null;
      if (item.state === "waiting") uploaded(item, request);
      upload();
    };
    request.send(item.file);
  }

  function uploaded(item, { status: code, responseText }) {
    let answer = null;
    try {
      answer = JSON.parse(responseText);
    } catch {
      // Not from us, or cut off.
    }
    if (code !== 200 || !answer) {
      const final = { 403: text.closed, 404: text.closed, 413: text.big(bytes(accepts.limit)), 415: text.kind }[code];
      const later = { 408: text.tardy, 429: text.many, 503: text.full }[code] || text.failed;
      return fail(item, final || later, !final);
    }
    item.say = { type: "upload", upload: answer.upload };
    item.body.type = answer.type;
    item.state = "sending";
    keep(item);
    paint(item);
    pump();
  }

