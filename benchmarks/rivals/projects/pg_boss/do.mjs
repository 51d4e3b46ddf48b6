import { setTimeout as sleep } from "node:timers/promises";
import { queue, start } from "./boss.mjs";

const AT_ONCE = 10_000;
const [verb, count, pause] = process.argv.slice(2);
const boss = await start();

if (verb === "prepare") {
  await boss.createQueue("noop");
  await boss.createQueue("started");
} else {
  await boss.updateQueue("noop", queue);
  await boss.updateQueue("started", queue);
}
if (verb === "fill") {
  for (let left = Number(count); left > 0; left -= AT_ONCE) {
    await boss.insert("noop", Array.from({ length: Math.min(left, AT_ONCE) }, () => ({})));
  }
}
if (verb === "trickle") {
  for (let number = 0; number < Number(count); number++) {
    await sleep(Number(pause) * 1000 * (0.5 + Math.random()));
    const sent = String(Math.round((performance.timeOrigin + performance.now()) * 1e6));
    await boss.send("started", { sent });
  }
}
await boss.stop();
