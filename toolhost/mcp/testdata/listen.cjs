// Loaded into servers under test before their own code: they listen on this machine only, on a port that is free, and say
// which one it is.
const net = require("net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  if (typeof port === "object" && port !== null) return listen.call(this, port, ...rest);
  this.once("listening", () => console.error("\nLISTENING " + this.address().port));
  return listen.call(this, { port: 0, host: "127.0.0.1" }, ...rest.filter((f) => typeof f === "function"));
};
