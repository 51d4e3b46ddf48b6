import { setTimeout as sleep } from "node:timers/promises";
import { makeWorkerUtils } from "graphile-worker";

const AT_ONCE = 10_000;
const [verb, count, pause] = process.argv.slice(2);
const utils = await makeWorkerUtils({ connectionString: process.env.DATABASE_URL });

if (verb === "prepare") {
  await utils.migrate();
} else if (verb === "fill") {
  for (let left = Number(count); left > 0; left -= AT_ONCE) {
    const specs = Array.from({ length: Math.min(left, AT_ONCE) }, () => ({ identifier: "noop" }));
    await utils.addJobs(specs);
  }
} else {
  for (let number = 0; number < Number(count); number++) {
    await sleep(Number(pause) * 1000 * (0.5 + Math.random()));
    const sent = String(Math.round((performance.timeOrigin + performance.now()) * 1e6));
    await utils.addJob("started", { sent });
  }
}
await utils.release();
