// The life of an image template with the Azure SDK for JavaScript; ends with an error when anything is not as it should be.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.CLIENTS}/package.json`);
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const { ImageBuilderClient } = await load("@azure/arm-imagebuilder");
const { ClientSecretCredential } = await load("@azure/identity");
const { SERVICE_URL: url, TENANT: tenant, APP_ID: app, APP_SECRET: secret, SUBSCRIPTION: subscription, GROUP: group } = process.env;

const credential = new ClientSecretCredential(tenant, app, secret, { authorityHost: url, disableInstanceDiscovery: true });
const client = new ImageBuilderClient(credential, subscription, {
  endpoint: url,
  credentials: { scopes: [`${url}/.default`] },
});
const templates = client.virtualMachineImageTemplates;
const body = {
  location: "westus2",
  identity: { type: "None" },
  source: { type: "PlatformImage", publisher: "Debian", offer: "debian-12", sku: "12", version: "latest" },
  customize: [{ type: "Shell", name: "first", inline: ["true"] }],
  distribute: [
    {
      type: "ManagedImage",
      runOutputName: "out",
      imageId: `/subscriptions/${subscription}/resourceGroups/${group}/providers/Microsoft.Compute/images/js`,
      location: "westus2",
    },
  ],
};
const made = await templates.createOrUpdate(group, "js", body);
assert.equal(made.provisioningState, "Succeeded");
await templates.run(group, "js");
assert.equal((await templates.get(group, "js")).lastRunStatus.runState, "Succeeded");
const names = [];
for await (const item of templates.listByResourceGroup(group)) names.push(item.name);
assert.ok(names.includes("js"));
const outputs = [];
for await (const item of templates.listRunOutputs(group, "js")) outputs.push(item.name);
assert.deepEqual(outputs, ["out"]);
assert.equal((await templates.getRunOutput(group, "js", "out")).provisioningState, "Succeeded");
assert.deepEqual((await templates.update(group, "js", { tags: { a: "b" } })).tags, { a: "b" });
const everywhere = [];
for await (const item of templates.list()) everywhere.push(item.name);
assert.ok(everywhere.includes("js"));
assert.equal((await client.triggers.createOrUpdate(group, "js", "t", { properties: { kind: "SourceImage" } })).name, "t");
assert.equal((await client.triggers.get(group, "js", "t")).properties.status.code, "Healthy");
const triggers = [];
for await (const item of client.triggers.listByImageTemplate(group, "js")) triggers.push(item.name);
assert.deepEqual(triggers, ["t"]);
await client.triggers.delete(group, "js", "t");
const operations = [];
for await (const item of client.operations.list()) operations.push(item.name);
assert.ok(operations.length > 10);
await assert.rejects(templates.cancel(group, "js"), (error) => error.statusCode === 409 && error.code === "OperationNotAllowed");
await templates.delete(group, "js");
await assert.rejects(templates.get(group, "js"), (error) => error.statusCode === 404);
console.log("done");
