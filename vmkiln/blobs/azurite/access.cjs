// Loaded into Azurite before it starts (node --require): what a storage account here promises, Azurite does not keep.
// Nobody reads without a key or a signature, whatever a container's own setting says (allowBlobPublicAccess: false),
// and a shared access signature lasts for at most seven days, as Azure's user delegation keys do. What users keep here
// leaves room for builds, and Azurite's list of blobs, which it holds in memory, stays within bounds. What builds'
// accounts hold is written by the service alone, which knows a word of its own (VMKILN_OWN_WORD is its file).
// Source: Microsoft, "Prevent anonymous read access" (409 PublicAccessNotPermitted), "Create a user delegation SAS".
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const path = require("path");
const { A_USERS_ACCOUNT, Room, recordsOf } = require("./room.cjs");

const MOST_SIGNATURE_DAYS = 7;
const LEAST_FREE_BYTES = 2 * 1024 ** 3;
const MOST_BODY_BYTES = 256 * 1024 ** 2; // of one request; a larger blob is sent in blocks, as az and the SDKs do
const MOST_LIST_BYTES = 32 * 1024 ** 2;
const LIST = "__azurite_db_blob__.json";
const OWN_WORD = "x-vmkiln-own";
const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,7})?)?Z)?$/;

// Why a request is refused, as [status, code, message]; nothing when Azurite is to look at it.
function refusal(method, url, headers, now) {
  const query = new URLSearchParams(url.includes("?") ? url.slice(url.indexOf("?") + 1) : "");
  const given = {};
  for (const [name, value] of query) {
    if (/[[\]]/.test(name)) { // Azurite takes `sig[]` for `sig`
      return [400, "InvalidQueryParameterValue", "The name of a query parameter has no brackets."];
    }
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

// Why nothing is copied from where a request names, as above. Whether its caller may read there Azurite finds out by
// asking the server of the Host header, which is whatever the caller says: here it has to be Azurite itself.
function copying(headers, port) {
  if (headers["x-ms-copy-source"] === undefined || headers.host === `127.0.0.1:${port}`) {
    return undefined;
  }
  return [403, "CannotVerifyCopySource", `Blobs are copied where the blob server is, at 127.0.0.1:${port}.`];
}

// Why something that a user sends is not taken, as above; `free` and `list` are bytes, `list` those of the list of
// blobs, `length` those of the body, NaN when nobody says.
function fullness(account, length, free, list) {
  if (!A_USERS_ACCOUNT.test(account)) {
    return [403, "AuthorizationPermissionMismatch", "What a build's account holds is written by the service alone."];
  }
  if (Number.isNaN(length)) {
    return [411, "MissingContentLengthHeader", "Content-Length was not specified."];
  }
  if (length > MOST_BODY_BYTES) {
    return [413, "RequestBodyTooLarge", "The request body is too large: send the blob in blocks."];
  }
  if (free - length < LEAST_FREE_BYTES) {
    return [409, "InsufficientStorage", "The machine of this storage account has no room for it: delete blobs."];
  }
  if (list > MOST_LIST_BYTES) {
    return [409, "InsufficientStorage", "The storage accounts of users hold too many blobs: delete some."];
  }
  return undefined;
}

// The account in a path, as it is written there: Azurite is told to look nowhere else. Another spelling is nobody's.
function accountOf(url) {
  return url.startsWith("/") ? url.split(/[/?#\\]/, 2)[1] : "";
}

// Whether the service itself asks.
function isOwn(headers, word) {
  const given = Buffer.from(String(headers[OWN_WORD] || ""));
  return given.length === word.length && word.length > 0 && crypto.timingSafeEqual(given, word);
}

function listBytes() {
  try {
    return fs.statSync(LIST).size;
  } catch {
    return 0; // it is written when there is something to write
  }
}

// Why what somebody sends is not taken, as above. `room` is for what others than the service send.
function full(request, response, room, word) {
  if (request.method !== "PUT" || isOwn(request.headers, word)) {
    return undefined;
  }
  const disk = fs.statfsSync(".");
  const length = Number(request.headers["content-length"] ?? (request.headers["transfer-encoding"] ? NaN : 0));
  const account = accountOf(request.url);
  const refused = fullness(account, length, disk.bavail * disk.bsize, listBytes());
  if (refused) {
    return refused;
  }
  const taken = room.take(account, length, performance.now());
  if (typeof taken !== "function") {
    return taken;
  }
  response.once("close", taken);
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
  const room = new Room(recordsOf(main, process.env.VMKILN_SUBSCRIPTIONS), Number(process.env.VMKILN_MOST_BLOB_BYTES));
  const word = fs.readFileSync(process.env.VMKILN_OWN_WORD);
  const emit = http.Server.prototype.emit;
  http.Server.prototype.emit = function (event, request, response) {
    const refused =
      event === "request" &&
      (refusal(request.method, request.url, request.headers, Date.now()) ||
        copying(request.headers, request.socket.localPort) ||
        full(request, response, room, word));
    if (refused) {
      answer(request, response, refused);
      return true;
    }
    return emit.apply(this, arguments);
  };
}

module.exports = { accountOf, copying, fullness, isOwn, refusal };
if (process.env.VMKILN_ACCOUNTS) {
  install(fs.realpathSync(process.argv[1]));
}
