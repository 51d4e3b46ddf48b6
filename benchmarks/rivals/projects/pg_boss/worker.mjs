import { appendFileSync } from "node:fs";
import { start, work } from "./boss.mjs";

const now = () => Math.round((performance.timeOrigin + performance.now()) * 1e6);

const boss = await start();
await boss.work("noop", work, async () => {});
await boss.work("started", work, async (jobs) => {
  for (const { data } of jobs) {
    appendFileSync(process.env.STARTS_FILE, `${data.sent} ${now()}\n`);
  }
});
