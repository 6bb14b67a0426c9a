// Loaded into Azurite before it starts (node --require): the accounts it knows are those of a file that the service
// writes, {"name": ["first key", "second key"]}, read again whenever it has changed. Azurite by itself reads its
// accounts from its environment, which nobody can change while it runs.
"use strict";
const fs = require("fs");
const path = require("path");

const file = process.env.VMKILN_ACCOUNTS;
const main = fs.realpathSync(process.argv[1]);
const store = path.join(path.dirname(main), "..", "common", "AccountDataStore.js");
if (!file || !fs.existsSync(store)) {
  console.error("this Azurite keeps its accounts in a way that vmkiln does not know");
  process.exit(78);
}

let seen = "";
let accounts = {};

function current() {
  const state = fs.statSync(file, { bigint: true });
  const now = `${state.ino}-${state.mtimeNs}-${state.size}`;
  if (now !== seen) {
    const found = {};
    for (const [name, keys] of Object.entries(JSON.parse(fs.readFileSync(file, "utf8")))) {
      found[name] = { name, key1: Buffer.from(keys[0], "base64"), key2: Buffer.from(keys[1], "base64") };
    }
    accounts = found;
    seen = now;
  }
  return accounts;
}

const { default: AccountDataStore } = require(store);
AccountDataStore.prototype.refresh = function () {};
AccountDataStore.prototype.getAccount = function (name) {
  try {
    const known = current();
    return Object.prototype.hasOwnProperty.call(known, name) ? known[name] : undefined;
  } catch (error) {
    console.error(`the accounts in ${file} cannot be read: ${error.message}`);
    return undefined;
  }
};
