import { appendFileSync } from "node:fs";
import { start, work } from "./boss.mjs";

const now = () => Math.round((performance.timeOrigin + performance.now()) * 1e6);

function noop() {}

function ends(jobs) {
  return work.perJobResults ? jobs.map(({ id }) => ({ id, status: "completed" })) : undefined;
}

const boss = await start();
await boss.work("noop", work, async (jobs) => {
  for (const job of jobs) noop(job);
  return ends(jobs);
});
await boss.work("started", work, async (jobs) => {
  for (const { data } of jobs) {
    appendFileSync(process.env.STARTS_FILE, `${data.sent} ${now()}\n`);
  }
  return ends(jobs);
});
