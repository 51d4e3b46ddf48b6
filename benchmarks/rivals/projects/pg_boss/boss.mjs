import { PgBoss } from "pg-boss";

const best = Boolean(process.env.BEST);

export const queue = { notify: best };
export const work = best
  ? {
      batchSize: 10_000,
      burstWhenBatchFull: true,
      localConcurrency: 4,
      perJobResults: true,
    }
  : {};

export async function start() {
  const connectionString = process.env.DATABASE_URL;
  const boss = new PgBoss({ connectionString, useListenNotify: best });
  boss.on("error", console.error);
  await boss.start();
  return boss;
}
