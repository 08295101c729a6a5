// Write updates into the files of a project, as Renovate does for a branch.
//
// node renovate_replace.mjs RENOVATE PROJECT UPDATES: the folder of Renovate's package, that of the
// project, and a file with the upgrades of a branch in JSON, as Renovate logs them.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [renovate, project, updates] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(renovate, "dist", path)));
const { GlobalConfig } = await load("config/global.js");
const { doAutoReplace } = await load("workers/repository/update/branch/auto-replace.js");

GlobalConfig.set({ localDir: project });
for (const upgrade of JSON.parse(readFileSync(updates, "utf8"))) {
  const file = join(project, upgrade.packageFile);
  const content = await doAutoReplace(upgrade, readFileSync(file, "utf8"), false);
  if (content === null) {
    throw new Error(`${upgrade.packageFile}: ${upgrade.depName} is not replaced`);
  }
  writeFileSync(file, content);
}
