// What the program is made of, as a CycloneDX document on stdout: node tools/sbom.mjs > sbom.json
//
// Names, versions, licenses and who uses what are what cargo says is built on this machine; checksums are the lock
// file's. The same commit gives the same document.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const cargo = (...words) => execFileSync("cargo", words, { encoding: "utf8", maxBuffer: 64 << 20 });

const tree = cargo(
  "tree", "--locked", "--edges", "normal,build", "--prefix", "depth", "--format", "{p}|{l}|{r}",
);
const lock = readFileSync("Cargo.lock", "utf8");

const checksums = new Map();
for (const block of lock.split("[[package]]").slice(1)) {
  const field = (name) => block.match(new RegExp(`^${name} = "(.*)"$`, "m"))?.[1];
  checksums.set(`${field("name")} ${field("version")}`, field("checksum"));
}

const components = new Map();
const uses = new Map();
const above = []; // who stands at each depth of the line's branch
let own;
for (const line of tree.trim().split("\n")) {
  const [, depth, rest] = line.match(/^(\d+)(.*)$/);
  // What was printed before ends in an asterisk.
  const [id, license, repository] = rest.replace(/ \(\*\)$/, "").split("|");
  const [name, tagged] = id.split(" ");
  const version = tagged.replace(/^v/, "");
  const hash = checksums.get(`${name} ${version}`);
  const component = {
    type: hash ? "library" : "application",
    "bom-ref": `pkg:cargo/${name}@${version}`,
    name,
    version,
    purl: `pkg:cargo/${name}@${version}`,
    ...(hash && { hashes: [{ alg: "SHA-256", content: hash }] }),
    ...(license && { licenses: [{ expression: license.replaceAll(/ *\/ */g, " OR ") }] }),
    ...(repository && { externalReferences: [{ type: "vcs", url: repository }] }),
  };
  if (hash) components.set(component.purl, component);
  else own = component;
  if (!uses.has(component.purl)) uses.set(component.purl, new Set());
  if (depth > 0) uses.get(above[depth - 1]).add(component.purl);
  above[depth] = component.purl;
}

const ordered = (names) => [...names].sort();

const digest = createHash("sha256").update(lock).digest("hex");
const uuid = [digest.slice(0, 8), digest.slice(8, 12), `5${digest.slice(13, 16)}`, `8${digest.slice(17, 20)}`, digest.slice(20, 32)];
const document = {
  bomFormat: "CycloneDX",
  specVersion: "1.5",
  serialNumber: `urn:uuid:${uuid.join("-")}`,
  version: 1,
  metadata: { component: own },
  components: ordered(components.keys()).map((purl) => components.get(purl)),
  dependencies: ordered(uses.keys()).map((ref) => ({ ref, dependsOn: ordered(uses.get(ref)) })),
};
process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
