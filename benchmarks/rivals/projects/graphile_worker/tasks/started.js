const { appendFileSync } = require("node:fs");

module.exports = async ({ sent }) => {
  const now = Math.round((performance.timeOrigin + performance.now()) * 1e6);
  appendFileSync(process.env.STARTS_FILE, `${sent} ${now}\n`);
};
