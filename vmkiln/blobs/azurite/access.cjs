// Loaded into Azurite before it starts (node --require): what a storage account here promises, Azurite does not keep.
// Nobody reads without a key or a signature, whatever a container's own setting says (allowBlobPublicAccess: false),
// and a shared access signature lasts for at most seven days, as Azure's user delegation keys do.
// Source: Microsoft, "Prevent anonymous read access" (409 PublicAccessNotPermitted), "Create a user delegation SAS".
"use strict";
const fs = require("fs");
const http = require("http");
const path = require("path");

const MOST_SIGNATURE_DAYS = 7;
const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,7})?)?Z)?$/;

// Why a request is refused, as [status, code, message]; nothing when Azurite is to look at it.
function refusal(method, url, headers, now) {
  const query = new URLSearchParams(url.includes("?") ? url.slice(url.indexOf("?") + 1) : "");
  const given = {};
  for (const [name, value] of query) {
    (given[name.toLowerCase()] ||= []).push(value);
  }
  if (headers["x-ms-blob-public-access"] || (!headers.authorization && !given.sig && method !== "OPTIONS")) {
    return [409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account."];
  }
  if (!given.sig) {
    return undefined;
  }
  const [ends, another] = given.se || [];
  const last = now + MOST_SIGNATURE_DAYS * 86400_000;
  if (another !== undefined || !TIME.test(ends || "") || !(Date.parse(ends) <= last)) {
    const days = `${MOST_SIGNATURE_DAYS} days`;
    const message = `A shared access signature needs one expiry time (se), and it is at most ${days} from now.`;
    return [403, "AuthenticationFailed", message];
  }
  return undefined;
}

function answer(request, response, [status, code, message]) {
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  const length = Buffer.byteLength(body);
  const headers = { "x-ms-error-code": code, "Content-Type": "application/xml", "Content-Length": length };
  response.writeHead(status, { ...headers, Connection: "close" });
  response.end(request.method === "HEAD" ? undefined : body);
}

function install(main) {
  const store = path.join(path.dirname(main), "authentication", "PublicAccessAuthenticator.js");
  if (!fs.existsSync(store)) {
    console.error("this Azurite lets strangers in in a way that vmkiln does not know");
    process.exit(78);
  }
  require(store).default.prototype.validate = async function () {};
  const emit = http.Server.prototype.emit;
  http.Server.prototype.emit = function (event, request, response) {
    const refused = event === "request" && refusal(request.method, request.url, request.headers, Date.now());
    if (refused) {
      answer(request, response, refused);
      return true;
    }
    return emit.apply(this, arguments);
  };
}

module.exports = { refusal };
if (process.env.VMKILN_ACCOUNTS) {
  install(fs.realpathSync(process.argv[1]));
}
