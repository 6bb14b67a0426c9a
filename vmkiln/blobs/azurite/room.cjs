// What the blobs of users take of this machine, by Azurite's own records, and why something more is not taken. Each
// subscription has a bound for what its accounts hold, and all users together have one for what is on disk, for which
// what was deleted counts until Azurite has taken it away.
"use strict";
const fs = require("fs");
const path = require("path");

const LOOK_MILLISECONDS = 1000;
const SWEEP_MILLISECONDS = 60_000;
const SHARE_OF_DISK = 4; // users' blobs take at most one part of so many
const MIB = 1024 ** 2;
const A_USERS_ACCOUNT = /^[a-z0-9]{3,23}$/; // those of builds have 24 letters, see api/storage/users_accounts.py

// The bytes that each account holds, by the records of its blobs and of blocks that nobody has committed yet.
function held(blobs, blocks) {
  const found = new Map();
  const add = (account, bytes) => found.set(account, (found.get(account) || 0) + bytes);
  for (const blob of blobs) {
    for (const range of blob.pageRangesInOrder || []) add(blob.accountName, range.end - range.start + 1);
    for (const block of blob.committedBlocksInOrder || []) add(blob.accountName, block.size);
    if (blob.persistency) add(blob.accountName, blob.persistency.count);
  }
  for (const block of blocks) add(block.accountName, block.size);
  return found;
}

// What users have on disk: all that is there but what builds' accounts hold, which the service alone writes.
function onDisk(extents, byAccount) {
  let bytes = 0;
  for (const extent of extents) bytes += extent.size;
  for (const [account, held] of byAccount) if (!A_USERS_ACCOUNT.test(account)) bytes -= held;
  return Math.max(0, bytes);
}

// Keeps in mind what is arriving, which no record has yet. `look` gives what is on record: {byAccount, subscriptions,
// disk, total} with `disk` what users have on disk and `total` the size of the disk.
class Room {
  constructor(look, mostOfASubscription) {
    this.look = look;
    this.most = mostOfASubscription;
    this.arriving = new Set();
    this.looked = -Infinity;
  }

  // Why `length` bytes more are not taken, as [status, code, message]; else a function to call when they are written.
  take(account, length, now) {
    if (now - this.looked >= LOOK_MILLISECONDS) {
      for (const item of this.arriving) if (item.isWritten) this.arriving.delete(item);
      this.seen = this.look();
      this.looked = now;
    }
    const { byAccount, subscriptions, disk, total } = this.seen;
    const owner = (name) => subscriptions[name] || name;
    let here = length;
    let everywhere = disk + length;
    for (const [name, bytes] of byAccount) if (A_USERS_ACCOUNT.test(name) && owner(name) === owner(account)) here += bytes;
    for (const item of this.arriving) {
      everywhere += item.length;
      if (owner(item.account) === owner(account)) here += item.length;
    }
    if (length && here > this.most) {
      const text = `The storage accounts of this subscription hold at most ${Math.floor(this.most / MIB)} MiB`;
      return [409, "InsufficientStorage", `${text} (setting most_blob_mib): delete blobs.`];
    }
    if (length && everywhere > total / SHARE_OF_DISK) {
      const text = "The storage accounts of users take as much of this machine as they may";
      return [409, "InsufficientStorage", `${text}: delete blobs; what was deleted is taken away within half an hour.`];
    }
    const item = { account, length, isWritten: false };
    this.arriving.add(item);
    return () => { item.isWritten = true; };
  }
}

// The records of the Azurite whose main script this is, once it has loaded them; `beside` is a file of the service's,
// {"account": "its subscription"}.
function recordsOf(main, beside) {
  const here = path.dirname(main);
  const stores = {};
  const parts = {
    blobs: ["persistence/LokiBlobMetadataStore.js", "init"],
    extents: ["../common/persistence/LokiExtentMetadataStore.js", "init"],
    sweeper: ["gc/BlobGCManager.js", "start"],
  };
  for (const [name, [file, method]] of Object.entries(parts)) {
    const kind = fs.existsSync(path.join(here, file)) && require(path.join(here, file)).default;
    if (!kind || typeof kind.prototype[method] !== "function") {
      console.error("this Azurite keeps its records in a way that vmkiln does not know");
      process.exit(78);
    }
    const begin = kind.prototype[method];
    kind.prototype[method] = function (...given) {
      stores[name] = this;
      return begin.apply(this, given);
    };
  }
  const rows = (store, name) => store.db.getCollection(store[name]).data;
  let swept = -Infinity;
  return () => {
    const byAccount = held(rows(stores.blobs, "BLOBS_COLLECTION"), rows(stores.blobs, "BLOCKS_COLLECTION"));
    const room = fs.statfsSync(".");
    const total = room.blocks * room.bsize;
    const disk = onDisk(rows(stores.extents, "EXTENTS_COLLECTION"), byAccount);
    if (disk > total / SHARE_OF_DISK / 2 && performance.now() - swept > SWEEP_MILLISECONDS) {
      swept = performance.now(); // what builds deleted may be among it, and Azurite looks for that each ten minutes only
      stores.sweeper.markSweep().catch(() => {});
    }
    let subscriptions = {};
    try {
      subscriptions = JSON.parse(fs.readFileSync(beside, "utf8"));
    } catch {
      // the service writes it within half a minute; until then each account is alone
    }
    return { byAccount, subscriptions, disk, total };
  };
}

module.exports = { A_USERS_ACCOUNT, Room, held, onDisk, recordsOf };
