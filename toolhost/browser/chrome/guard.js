(() => {
  const set = (object, name, value) => {
    try { Object.defineProperty(object, name, { value, writable: true, configurable: true, enumerable: true }); } catch {}
  };
  // Dialogs stop a page until somebody answers.
  set(window, "alert", function alert() {});
  set(window, "confirm", function confirm() { return false; });
  set(window, "prompt", function prompt() { return null; });
  set(window, "print", function print() {});
  set(window, "open", function open() { return null; });
  for (const name of ["RTCPeerConnection", "webkitRTCPeerConnection", "RTCDataChannel", "WebTransport", "SharedWorker"])
    try { delete window[name]; } catch {}
  try {
    const refused = () => Promise.reject(new DOMException("not supported", "NotSupportedError"));
    set(ServiceWorkerContainer.prototype, "register", function register() { return refused(); });
  } catch {}
})();
