// What sigstore's verifier says of each bundle on standard input: the digests of what it is about, or why it is refused.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/package.json`);
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const { keys, bundles } = JSON.parse(readFileSync(0, "utf8"));
const known = Object.fromEntries(Object.entries(keys).map(([id, der]) => [id, { rawBytes: Buffer.from(der, "base64") }]));
const authorities = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const verifier = new Verifier(toTrustMaterial(authorities, known), { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 });
const said = bundles.map((text) => {
  try {
    const bundle = bundleFromJSON(text);
    verifier.verify(toSignedEntity(bundle));
    return JSON.parse(bundle.content.dsseEnvelope.payload.toString()).subject.map((subject) => subject.digest.sha256);
  } catch (error) {
    return error.code ?? error.name;
  }
});
console.log(JSON.stringify(said));
