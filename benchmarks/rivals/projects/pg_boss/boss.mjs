import { PgBoss } from "pg-boss";

const best = Boolean(process.env.BEST);

export const queue = { notify: best };
export const work = best
  ? {
      batchSize: Number(process.env.BATCH),
      burstWhenBatchFull: true,
      localConcurrency: Number(process.env.CONCURRENCY),
    }
  : {};

export async function start() {
  const connectionString = process.env.DATABASE_URL;
  const boss = new PgBoss({ connectionString, useListenNotify: best });
  boss.on("error", console.error);
  await boss.start();
  return boss;
}
