(most) => {
  // Shadow trees are not in the HTML of a document: each takes the place of its host's children, and slots take those.
  const hosts = [];
  const find = (root) => {
    for (const e of root.querySelectorAll("*")) {
      if (hosts.length >= 5000) return;
      if (e.shadowRoot) { find(e.shadowRoot); hosts.push(e); }
    }
  };
  find(document);
  for (const host of hosts) {
    for (const slot of host.shadowRoot.querySelectorAll("slot")) {
      const nodes = slot.assignedNodes();
      slot.replaceWith(...(nodes.length ? nodes : slot.childNodes));
    }
    host.replaceChildren(...host.shadowRoot.childNodes);
  }
  const root = document.documentElement;
  const html = root ? root.outerHTML : "";
  return {
    URL: location.href.slice(0, 20000),
    MIME: document.contentType,
    Title: String(document.title).slice(0, 1000),
    HTML: html.slice(0, most),
    Truncated: html.length > most,
  };
}
